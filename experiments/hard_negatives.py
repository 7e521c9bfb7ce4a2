"""InfoNCE against hard negatives: HCL, I2I by category, and I2I over all pairs of a batch.

Frozen image encoder, point encoder trained from random weights and from given ones, learned 64-bit codes beside the
floats of the same run, and codes by ITQ of these floats; queries are rendered views and, where a dataset has them,
pictures of the shapes by their authors. I2I takes the mean over all pairs of views, as cameras need not correspond.
I2I by category reads the category labels of the training shapes; the other arms read no labels, and I2I over the batch
is the one that is fair beside InfoNCE.

HCL is run with β on the similarity, as Kühn et al. write it, and on the logit, as Robinson et al.'s code has it.

    python experiments/hard_negatives.py DATASET --out OUT --image-weights FILE --shape-weights FILE --jobs 2
    python experiments/hard_negatives.py --smoke --out OUT        (seconds, synthetic shapes, random weights)

By default the encoders are MobileNetV2 and PointNet: networks with known weights that a CPU can train in minutes; any
others can be named with --set model.image_encoder=… . Settings are those of configs/hard_negatives.toml. A killed
experiment, started again, resumes where it was.

Expected, on 41 categories (1,567 training and 271 measured shapes), render → shape, mAP by category, mean ± standard
deviation over three seeds: InfoNCE from random weights 0.424 ± 0.001 with floats and 0.412 ± 0.003 with 64 bits, HCL on
the similarity 0.425 ± 0.003 and 0.412 ± 0.005. The whole table is in docs/results.md.

Hardware: 2 cores of an AMD EPYC with AVX-512.

Time: 151 to 170 s per run, two at a time; 30 runs.
"""

from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
from common import markdown, mean_and_deviation, of_kind
from prealigned_instance import smoke_weights
from two_towers import (
    all_runs,
    model_settings,
    one_line_errors,
    require_data,
    shared_options,
    trained,
    use_smoke_inputs,
)

from cmah.codes import BinaryCodes, Embeddings
from cmah.data.dataset import Dataset
from cmah.evaluation import evaluate
from cmah.files import write_json
from cmah.runs.encoder import Encoder
from cmah.runs.exporting import export
from cmah.training.fitting import fitted_codes

ARMS = {
    "InfoNCE": ("prealigned", ("loss.beta=0", "loss.beta_end=0")),
    "HCL": ("prealigned", ()),
    "HCL on logits": ("prealigned", ("loss.tilt=logit",)),
    "I2I by category": ("captionless", ("loss.negatives.kind=i2i", "loss.negatives.views=all_pairs")),
    "I2I over the batch": ("captionless", ("loss.negatives.kind=i2i_all", "loss.negatives.views=all_pairs")),
}
STARTS = ("scratch", "weights")
MEASURES = ("map", "acc@1", "acc@10", "map_instance@10")
CONFIG = Path(__file__).parent / "configs" / "hard_negatives.toml"
SMOKE = ("model.head_hidden=16", "model.image_size=32")


@click.command(help=__doc__)
@shared_options
@click.option(
    "--shape-weights",
    type=click.Path(path_type=Path),
    help="Weights file that the arms 'weights' start from.",
)
@click.option("--bits", default=64, show_default=True, help="Length of the codes in the table.")
def main(**options: Any) -> None:
    """Run every arm from every start with every seed, then print the tables."""
    o = SimpleNamespace(**options)
    o.config = o.config or CONFIG
    with one_line_errors():
        if o.smoke:
            use_smoke_inputs(o)
            o.shape_encoder, o.shape_weights, o.bits, o.seeds = "pointnet", smoke_weights(o.out), 16, 1
            o.settings = (*o.settings, *SMOKE)
        require_data(o)
        if o.shape_weights is None:
            raise click.UsageError("give --shape-weights, or --smoke")
        if o.one:
            measure(o)
            return
        names = [f"{arm}:{start}:{seed}" for seed, start, arm in product(range(o.seeds), STARTS, ARMS)]
        numbers = all_runs(__file__, main, o, names)
        write_json(o.out / "hard_negatives.json", numbers)
        click.echo(tables(numbers, o.seeds, o.split, o.bits))


def measure(o: SimpleNamespace) -> None:
    """One run: train, export, write numbers.json."""
    arm, start, seed = o.one.split(":")
    recipe, of_arm = ARMS[arm]
    chosen = [*model_settings(o), f"model.bits={o.bits}", *of_arm, f"training.seed={seed}"]
    if start == "weights":
        chosen.append(f"model.shape_weights={Path(o.shape_weights).resolve()}")
    run, seconds = trained(o, recipe, chosen)
    write_json(o.out / "numbers.json", {"seconds": seconds, **measured(outputs(o, run))})


def measured(vectors: dict[str, tuple[Any, Any]]) -> dict[str, dict[str, float]]:
    """The measures of each kind of query in each output."""
    numbers: dict[str, dict[str, float]] = {}
    for output, (images, database) in vectors.items():
        for kind in ("render", "picture"):
            queries = of_kind(images, [kind])
            if not len(queries):
                continue
            report = evaluate(queries, database, bootstrap=0, map_depth=None)
            of_instance = evaluate(queries, database, relevance="instance", map_depth=10, bootstrap=0)
            values = {key: report[key] for key in MEASURES[:3]} | {MEASURES[3]: of_instance["map"]}
            numbers[f"{kind} {output}"] = values
    return numbers


def outputs(o: SimpleNamespace, run: Path) -> dict[str, tuple[Any, Any]]:
    """Images and shapes of --split as floats, as learned codes, and as codes by ITQ of the training split's floats."""
    target, out = o.target or o.dataset, o.out / "codes"
    image, shape, _ = export(run, target, out, split=o.split, embeddings=True)
    floats = Embeddings.load(image), Embeddings.load(shape)
    image, shape, _ = export(run, target, out, split=o.split)
    codes = BinaryCodes.load(image), BinaryCodes.load(shape)
    fitted = fitted_codes(Encoder.load(run), Dataset.read(o.dataset).select("train"), ["render"], 4, 0)
    itq = fitted.encode(floats[0], 0), fitted.encode(floats[1], 1)
    return {"floats": floats, "codes": codes, "itq": itq}


def tables(numbers: dict[str, dict], seeds: int, split: str, bits: int) -> str:
    """A table for each kind of query and each output; differences are paired by seed with the arm InfoNCE."""
    text = [f"split {split}, mean ± standard deviation over {seeds} seeds; difference from InfoNCE by seed"]
    first = next(iter(numbers.values()))
    for what in (key for key in first if key != "seconds"):
        title = what.replace("codes", f"{bits} bits").replace("itq", f"{bits} bits by ITQ")
        text.append(f"\n**{title} → shape**\n")
        rows = []
        for start, arm in product(STARTS, ARMS):
            runs = [numbers[f"{arm}:{start}:{seed}"][what] for seed in range(seeds)]
            plain = [numbers[f"InfoNCE:{start}:{seed}"][what] for seed in range(seeds)]
            cells = [mean_and_deviation([run[key] for run in runs]) for key in MEASURES]
            for key in ("map", "acc@1"):
                gaps = [run[key] - base[key] for run, base in zip(runs, plain, strict=True)]
                cells.append("" if arm == "InfoNCE" else " ".join(f"{100 * gap:+.1f}" for gap in gaps))
            rows.append([arm, start, *cells])
        head = [
            "arm",
            "start",
            "mAP (category)",
            "Acc@1",
            "Acc@10",
            "mAP@10 (instance)",
            "Δ mAP ·100",
            "Δ Acc@1 ·100",
        ]
        text.append(markdown(head, rows))
    seconds = [run["seconds"] for run in numbers.values()]
    text.append(f"\ntraining {np.mean(seconds):.0f} s a run ({min(seconds):.0f} to {max(seconds):.0f})")
    return "\n".join(text)


if __name__ == "__main__":
    main()
