"""What the preset `towers` gives: learned codes, their floats, and post-hoc hashes of the same floats.

    python experiments/towers_table.py DATASET --out OUT --image-encoder timm:NAME --image-weights FILE \
        --shape-encoder pointnet --shape-weights FILE
    python experiments/towers_table.py --smoke --out OUT          (seconds, synthetic shapes, random weights)

Each run is `cmah train DATASET --preset towers --bits 16,32,64,128` with another seed. Nothing is chosen on the split
that is measured on. ITQ, PCA and LSH are fitted to the run's floats of the training images and shapes, at the first 64
and at all 128 numbers; the better of both widths is shown. For each kind of query, image → shape and shape → image:
category mAP (full ranking, ties by expectation), and Acc@10 of the very shape where the images show shapes. Also with
the first 100 items of each query re-ranked by its real-valued code (asymmetric search).

A killed experiment, started again, resumes where it was.

Expected: the table in docs/results.md, to within two of its standard deviations.

Hardware and time: see there.
"""

import math
import time
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
from common import markdown, mean_and_deviation, of_kind
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
from cmah.codes.posthoc import HashMethod, fit_hash
from cmah.codes.real_codes import real_file_of, real_part
from cmah.data.dataset import Dataset
from cmah.evaluation import evaluate
from cmah.files import write_json
from cmah.runs.encoder import Encoder
from cmah.runs.exporting import export

KINDS = ("render", "picture", "photo")
BITS = (16, 32, 64, 128)
METHODS: tuple[HashMethod, ...] = ("itq", "pca", "lsh")
SHOWN = ("map", "acc@10")
RERANKED = 100  # of the first items of each query, by its real-valued code


@click.command(help=__doc__)
@shared_options
@click.option("--shape-weights", type=click.Path(path_type=Path), help="Weights file of the point encoder.")
def main(**options: Any) -> None:
    """Run every seed, then print the tables."""
    o = SimpleNamespace(**options)
    with one_line_errors():
        if o.smoke:
            use_smoke_towers(o)
        require_data(o)
        if o.one:
            measure(o)
            return
        numbers = all_runs(__file__, main, o, [f"seed:{seed}" for seed in range(o.seeds)])
        write_json(o.out / "towers.json", numbers)
        click.echo(tables(list(numbers.values()), o.split))


def measure(o: SimpleNamespace) -> None:
    """One run: train, export, fit the other hashes, write numbers.json."""
    seed = o.one.partition(":")[2]
    chosen = [f"model.bits={','.join(map(str, BITS))}", *model_settings(o), f"training.seed={seed}"]
    chosen += shape_weights_of(o)
    run, seconds = trained(o, "towers", chosen, preset="towers")
    dataset = Dataset.read(o.target or o.dataset)
    paths = export(run, dataset, o.out / "codes", split=o.split, real=True)[:2]
    images, shapes = (BinaryCodes.load(path) for path in paths)
    rows: dict[str, tuple[Any, Any]] = {
        f"{bits} bits, learned": (images.truncate(bits), shapes.truncate(bits)) for bits in images.prefixes
    }
    floats = floats_of(run, dataset, o.out / "floats", o.split)
    training = floats_of(run, Dataset.read(o.dataset), o.out / "training", "train")
    for width in (64, 128):
        rows[f"{width} floats"] = first(floats[0], width), first(floats[1], width)
    results = {name: measured(*pair) for name, pair in rows.items()}
    real = [Embeddings.load(real_file_of(path)) for path in paths]
    for bits in images.prefixes:
        pair = images.truncate(bits), shapes.truncate(bits)
        cut = [real_part(part, codes) for part, codes in zip(real, pair, strict=True)]
        results[f"{bits} bits, first {RERANKED} re-ranked"] = measured(*pair, *cut)
    for method, bits in product(METHODS, images.prefixes):
        each = [hashed(training, floats, width, bits, method) for width in (64, 128) if bits <= width]
        best = max((measured(*pair) for pair in each), key=lambda numbers: numbers["render"]["map"][0])
        results[f"{bits} bits, {method.upper()}"] = best
    write_json(o.out / "numbers.json", {"seconds": seconds, "rows": results, "cost": cost(o, run)})


def shape_weights_of(o: SimpleNamespace) -> list[str]:
    """The setting that --shape-weights gives."""
    return [] if o.shape_weights is None else [f"model.shape_weights={Path(o.shape_weights).resolve()}"]


def floats_of(run: Path, dataset: Dataset, out: Path, split: str) -> tuple[Embeddings, Embeddings]:
    """The embeddings of a split's images and shapes."""
    image, shape, _ = export(run, dataset, out, split=split, embeddings=True)
    return Embeddings.load(image), Embeddings.load(shape)


def first(rows: Embeddings, width: int) -> Embeddings:
    """The first numbers of each row, with the columns of the rows."""
    columns = {
        name: getattr(rows, name)
        for name in ("ids", "shape_ids", "categories", "kinds", "splits", "modality")
    }
    return Embeddings(rows.embeddings[:, :width], space=f"{rows.space}:{width}", **columns)


def hashed(
    training: tuple[Embeddings, Embeddings],
    floats: tuple[Embeddings, Embeddings],
    width: int,
    bits: int,
    method: Any,
) -> tuple[BinaryCodes, BinaryCodes]:
    """Codes of images and shapes by a hash that is fitted to the training floats."""
    fitted = fit_hash([first(part, width) for part in training], bits, method)
    image, shape = (fitted.encode(first(part, width), which) for which, part in enumerate(floats))
    return image, shape


def measured(
    images: Any, shapes: Any, real_images: Any = None, real_shapes: Any = None
) -> dict[str, dict[str, list[float]]]:
    """Of each kind of image and each measure, image → shape and shape → image; re-ranked where real codes are given."""
    numbers = {}
    for kind in KINDS:
        queries = of_kind(images, [kind])
        if len(queries):
            options: list[dict[str, Any]] = [{}, {}]
            if real_images is not None:
                real = of_kind(real_images, [kind]), real_shapes
                options = [{"real": each, "rerank": RERANKED} for each in real]
            reports = (
                evaluate(queries, shapes, bootstrap=0, **options[0]),
                evaluate(shapes, queries, bootstrap=0, **options[1]),
            )
            numbers[kind] = {name: [number(report, name) for report in reports] for name in SHOWN}
    return numbers


def number(report: Any, name: str) -> float:
    """A measure of a report; nan where it has none, as of photos that show no shape of the data."""
    return float(report[name]) if name in report else math.nan


def cost(o: SimpleNamespace, run: Path) -> dict[str, float]:
    """Milliseconds to read and encode an image and a shape, files that nothing is kept of; least of three times."""
    dataset, encoder = Dataset.read(o.target or o.dataset).select(o.split), Encoder.load(run)
    files = {
        "image": [str(dataset.file(image.path)) for image in dataset.images[:32]],
        "shape": [str(dataset.file(shape.points)) for shape in dataset.shapes[:32]],
    }
    least = {}
    for what, paths in files.items():
        times = []
        for _ in range(3):
            start = time.perf_counter()
            encoder.encode_files(paths, workers=0)
            times.append(1000 * (time.perf_counter() - start) / len(paths))
        least[what] = min(times)
    return least


def tables(runs: list[dict[str, Any]], split: str) -> str:
    """A row for each hash and length; a column for each kind of query and direction."""
    names, kinds = [*runs[0]["rows"]], [*next(iter(runs[0]["rows"].values()))]
    head = [f"{kind}s: {way}" for kind, way in product(kinds, ("mAP image → shape", "shape → image"))]
    paired = [kind for kind in kinds if kind != "photo"]
    rows = []
    for name in names:
        of_runs = [run["rows"][name] for run in runs]
        cells = [
            mean_and_deviation([each[kind]["map"][way] for each in of_runs])
            for kind, way in product(kinds, (0, 1))
        ]
        cells += [mean_and_deviation([each[kind]["acc@10"][0] for each in of_runs]) for kind in paired]
        rows.append([name, *cells])
    seconds = [run["seconds"] for run in runs]
    costs = {what: min(run["cost"][what] for run in runs) for what in ("image", "shape")}
    return "\n".join(
        [
            f"split {split}, mean ± standard deviation over {len(runs)} seeds",
            "",
            markdown(["", *head, *(f"{kind}s: Acc@10" for kind in paired)], rows),
            "",
            f"training {sum(seconds) / len(seconds):.0f} s a run (features are computed by the first one); encoding "
            f"{costs['image']:.1f} ms an image, {costs['shape']:.1f} ms a shape (least)",
        ]
    )


def use_smoke_towers(o: SimpleNamespace) -> None:
    """Change the options to a synthetic dataset and encoders with random weights."""
    import timm
    import torch
    from safetensors.torch import save_file

    from cmah.models.pretrained import point_encoder

    use_smoke_inputs(o)
    torch.manual_seed(0)
    for path, net in (
        (o.out / "image.safetensors", timm.create_model("test_resnet")),
        (o.out / "shape.safetensors", point_encoder("pointnet")),
    ):
        if not path.exists():
            save_file(net.state_dict(), path)
    o.image_encoder, o.image_weights = "timm:test_resnet", str(o.out / "image.safetensors")
    o.shape_encoder, o.shape_weights, o.seeds = "pointnet", o.out / "shape.safetensors", 2
    small = ("model.image_size=32", "model.image_stages=2", "model.views=2", "model.head_hidden=16")
    o.settings = (*small, *(s for s in o.settings if not s.startswith("training.held_out")))


if __name__ == "__main__":
    main()
