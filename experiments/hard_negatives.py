"""InfoNCE against hard negatives: HCL, I2I by category, and I2I over all pairs of a batch.

Frozen image encoder, point encoder trained from random weights and from given ones, learned 64-bit codes beside the
floats of the same run; queries are rendered views and, where a dataset has them, pictures of the shapes by their
authors. I2I takes the mean over all pairs of views, as cameras need not correspond. I2I by category reads the category
labels of the training shapes; the other arms read no labels, and I2I over the batch is the one that is fair beside
InfoNCE.

HCL is run with β on the similarity, as Kühn et al. write it, and on the logit, as Robinson et al.'s code has it.

    python experiments/hard_negatives.py DATASET --out OUT --image-weights FILE --shape-weights FILE --jobs 2
    python experiments/hard_negatives.py --smoke --out OUT        (seconds, synthetic shapes, random weights)

By default the encoders are MobileNetV2 and PointNet: networks with known weights that a CPU can train in minutes; any
others can be named with --set model.image_encoder=… . Settings are those of configs/hard_negatives.toml. Numbers seen
on 41 categories, with time and hardware, are in the README. Killed and started again, it goes on where it was.
"""

import json
from itertools import product
from pathlib import Path

import click
import numpy as np
from common import each_in_a_process, export, markdown, mean_and_deviation, of_kind, smoke_dataset

from cmah.codes import BinaryCodes, Embeddings
from cmah.evaluation import evaluate
from cmah.training.loop import train

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
SMOKE = (
    "model.bits=8,16", "model.head_hidden=16", "training.epochs=2", "training.batch_size=8", "training.workers=0",
    "training.warmup_epochs=0", "model.points=64", "model.image_size=32",
)  # fmt: skip


@click.command(help=__doc__)
@click.argument("dataset", required=False, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path))
@click.option("--image-weights", type=click.Path(path_type=Path), help="Of the frozen image encoder.")
@click.option("--shape-weights", type=click.Path(path_type=Path), help="Where the arms 'weights' start from.")
@click.option("--config", default=CONFIG, type=click.Path(path_type=Path), help="TOML file of settings.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE")
@click.option("--split", default="val", show_default=True)
@click.option("--bits", default=64, show_default=True, help="Length of the codes in the table.")
@click.option("--seeds", default=3, show_default=True)
@click.option("--jobs", default=1, show_default=True, help="Runs at a time, of one thread each.")
@click.option("--smoke", is_flag=True, help="A few synthetic shapes, random weights, two seeds, two epochs.")
@click.option("--one", hidden=True, help="Run one arm: ARM:START:SEED.")
def main(
    dataset: Path | None,
    out: Path,
    image_weights: Path | None,
    shape_weights: Path | None,
    config: Path,
    settings: tuple[str, ...],
    split: str,
    bits: int,
    seeds: int,
    jobs: int,
    smoke: bool,
    one: str | None,
) -> None:
    """Run every arm from every start with every seed, then print the tables."""
    if smoke and not one:
        dataset, image_weights, shape_weights = smoke_inputs(out)
        settings, bits, seeds = (*SMOKE, *settings), 16, 2
    if dataset is None or image_weights is None or shape_weights is None:
        raise click.UsageError("give a DATASET, --image-weights and --shape-weights, or --smoke")
    if one:
        arm, start, seed = one.split(":")
        recipe, own = ARMS[arm]
        chosen = [f"model.image_weights={image_weights.resolve()}", *settings, *own, f"training.seed={seed}"]
        if start == "weights":
            chosen.append(f"model.shape_weights={shape_weights.resolve()}")
        measure(dataset, out, recipe, config, chosen, split, bits)
        return
    names = [f"{arm}:{start}:{seed}" for seed, start, arm in product(range(seeds), STARTS, ARMS)]
    tasks = {name: out / name.replace(" ", "_").replace(":", "-") for name in names}
    common = ["--split", split, "--bits", str(bits), "--config", str(config)]
    common += ["--image-weights", str(image_weights), "--shape-weights", str(shape_weights)]
    common += [part for setting in settings for part in ("--set", setting)]
    each_in_a_process(__file__, dataset, tasks, common, jobs)
    numbers = {name: json.loads((tasks[name] / "numbers.json").read_text(encoding="utf-8")) for name in names}
    (out / "hard_negatives.json").write_text(json.dumps(numbers, indent=1), encoding="utf-8")
    click.echo(tables(numbers, seeds, split, bits))


def measure(
    dataset: Path, out: Path, recipe: str, config: Path, settings: list[str], split: str, bits: int
) -> None:
    """One run: train, export, write numbers.json."""
    from cmah.training.metrics import read_metrics

    run = train(dataset, out / "run", recipe=recipe, config=config, settings=settings, resume=True)
    numbers: dict[str, object] = {"seconds": read_metrics(run)[-1]["seconds"]}
    for floats in (True, False):
        load = Embeddings.load if floats else BinaryCodes.load
        images, database = map(load, export(run, dataset, out / "codes", split=split, embeddings=floats)[:2])
        if not floats:
            images, database = images.truncate(bits), database.truncate(bits)
        for kind in ("render", "picture"):
            queries = of_kind(images, [kind])
            if not len(queries):
                continue
            report = evaluate(queries, database, bootstrap=0, map_depth=None)
            found = evaluate(queries, database, relevance="instance", map_depth=10, bootstrap=0)
            values = {key: report[key] for key in MEASURES[:3]} | {MEASURES[3]: found["map"]}
            numbers[f"{kind} {'floats' if floats else 'codes'}"] = values
    (out / "numbers.json").write_text(json.dumps(numbers), encoding="utf-8")


def tables(numbers: dict[str, dict], seeds: int, split: str, bits: int) -> str:
    """A table for each kind of query and each output; differences are paired by seed with the arm InfoNCE."""
    text = [f"split {split}, mean ± standard deviation over {seeds} seeds; difference from InfoNCE by seed"]
    first = next(iter(numbers.values()))
    for what in (key for key in first if key != "seconds"):
        text.append(f"\n**{what.replace('codes', f'{bits} bits')} → shape**\n")
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


def smoke_inputs(out: Path) -> tuple[Path, Path, Path]:
    """A synthetic dataset and weights files with random numbers."""
    import timm
    import torch
    from safetensors.torch import save_file

    from cmah.models.pretrained import point_encoder

    dataset = smoke_dataset(out / "data")
    torch.manual_seed(0)
    files = (out / "image.safetensors", out / "shape.safetensors")
    save_file(timm.create_model("mobilenetv2_100", pretrained=False).state_dict(), files[0])
    save_file(point_encoder("pointnet").state_dict(), files[1])
    return dataset, *files


if __name__ == "__main__":
    main()
