"""Shapes seen by their points, by 1, 4 or 8 of their views, and by both: retrieval, and what encoding costs.

One recipe for all arms: a frozen image encoder, projections into a joint space and hash heads, trained with InfoNCE on
pairs of a render and a shape; with views, the other renders of the shape describe it. The numbers of views are those
of encoding; training draws up to 4. "Concatenated" and "averaged" are two ways to join points and views
(model.joining).

    python experiments/shape_views.py DATASET --out OUT --image-weights FILE --shape-weights FILE --jobs 2
    python experiments/shape_views.py --smoke --out OUT            (seconds, synthetic shapes, random weights)

No render is a query for a shape that it describes: where renders ask, every second one does, and the others, up to 4,
describe (model.views_from=even). For pictures and photos all renders may describe. A photo shows no shape of the
dataset; only its category counts. Encoders are MobileNetV2 and PointNet unless others are named. A killed experiment,
started again, resumes where it was.

Expected, on 41 categories (1,567 training and 271 measured shapes), render → shape by floats, one seed: Acc@1 0.289 by
points, 0.834 by four views, 0.847 by both, averaged; mAP by category 0.423, 0.470 and 0.489. The table is in
docs/results.md. Tolerance: not measured, one seed.

Hardware: 2 cores of an Intel Xeon with AVX-512, beside other work.

Time: 16 to 435 s of training per run there.
"""

import os
import tempfile
import time
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
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
from cmah.data.dataset import Dataset
from cmah.evaluation import evaluate
from cmah.files import write_json
from cmah.runs.encoder import Encoder
from cmah.runs.exporting import export

POINTS = ("model.shape_input=points",)
VIEWS = ("model.shape_input=views", "model.views=4")
BOTH = ("model.shape_input=both", "model.views=4")
ARMS = {
    "points": (POINTS, (0,)),
    "views": (VIEWS, (1, 4, 8)),
    "both, concatenated": (BOTH, (4, 8)),
    "both, averaged": ((*BOTH, "model.joining=average"), (4, 8)),
}
KINDS = ("render", "picture", "photo")
CONFIG = Path(__file__).parent / "configs" / "shape_views.toml"
SMOKE = ("model.head_hidden=16", "model.image_size=32", "model.joint_dim=16")
TIMED = 64  # shapes


@click.command(help=__doc__)
@shared_options
@click.option("--shape-weights", type=click.Path(path_type=Path), help="Weights file of the point encoder.")
def main(**options: Any) -> None:
    """Run every arm with every seed, then print the tables."""
    o = SimpleNamespace(**options)
    o.config = o.config or CONFIG
    with one_line_errors():
        if o.smoke:
            use_smoke_inputs(o)
            o.shape_encoder, o.shape_weights, o.seeds = "pointnet", None, 1
            o.settings = (*o.settings, *SMOKE)
        require_data(o)
        if o.one:
            measure(o)
            return
        names = [f"{arm}:{seed}" for seed, arm in product(range(o.seeds), ARMS)]
        numbers = all_runs(__file__, main, o, names)
        write_json(o.out / "shape_views.json", numbers)
        click.echo(tables(numbers, o.seeds, o.split))


def measure(o: SimpleNamespace) -> None:
    """One run: train, encode with each number of views, write numbers.json."""
    arm, seed = o.one.split(":")
    of_arm, counts = ARMS[arm]
    chosen = [*model_settings(o), *of_arm, f"training.seed={seed}"]
    if o.shape_weights is not None and arm != "views":
        chosen.append(f"model.shape_weights={Path(o.shape_weights).resolve()}")
    run, seconds = trained(o, "prealigned", chosen)
    numbers: dict[str, Any] = {"seconds": seconds}
    for count in counts:
        numbers[str(count)] = {"cost": cost(o, run, count)}
        for kind in KINDS:
            if kind == "render" and count > 4:
                continue  # more views than are left when every second one asks
            which = "even" if kind == "render" else "all"
            settings = [f"model.views={count}", f"model.views_from={which}"] if count else []
            numbers[str(count)][kind] = measured(o, run, settings, kind, odd_only=not count)
    write_json(o.out / "numbers.json", numbers)


def measured(
    o: SimpleNamespace, run: Path, settings: list[str], kind: str, *, odd_only: bool
) -> dict[str, Any]:
    """Measures of floats and codes for queries of one kind; the same renders ask whatever describes the shapes."""
    dataset, out = Dataset.read(o.target or o.dataset).select(o.split), o.out / "codes"
    if kind == "render" and odd_only:
        views = dataset.views()
        asking = [image for images in views.values() for image in images if image.kind == kind][1::2]
        dataset.images = [image for image in dataset.images if image.kind != kind] + asking
    numbers = {}
    for floats in (True, False):
        paths = export(run, dataset, out, split="all", embeddings=floats, settings=settings)[:2]
        pairs: dict[str, tuple[Any, Any]] = {}
        if floats:
            pairs["floats"] = Embeddings.load(paths[0]), Embeddings.load(paths[1])
        else:
            image, shape = BinaryCodes.load(paths[0]), BinaryCodes.load(paths[1])
            pairs |= {str(n): (image.truncate(n), shape.truncate(n)) for n in shape.prefixes}
        for name, (images, shapes) in pairs.items():
            queries = of_kind(images, [kind])
            if len(queries):
                report = evaluate(queries, shapes, bootstrap=0)
                numbers[name] = {key: report[key] for key in ("map", "acc@1", "acc@10") if key in report}
    return numbers


def cost(o: SimpleNamespace, run: Path, count: int) -> float:
    """Seconds per shape to read and encode it, with nothing computed before."""
    dataset = Dataset.read(o.target or o.dataset).select(o.split)
    with tempfile.TemporaryDirectory() as cache:
        before = os.environ.get("CMAH_CACHE")
        os.environ["CMAH_CACHE"] = cache
        try:
            encoder = Encoder.load(run, settings=[f"model.views={count}"] if count else [])
            shapes = dataset.shapes[:TIMED]
            start = time.perf_counter()
            encoder.dataset_shapes(dataset, shapes)
            return (time.perf_counter() - start) / len(shapes)
        finally:
            os.environ.pop("CMAH_CACHE")
            if before is not None:
                os.environ["CMAH_CACHE"] = before


def tables(numbers: dict[str, dict], seeds: int, split: str) -> str:
    """A table for each kind of query, and one of costs."""
    text = [f"split {split}, mean ± standard deviation over {seeds} seeds"]
    outputs = [*next(iter(numbers.values())).values()][1]["render"]
    for kind in KINDS:
        rows = []
        for arm, (_, counts) in ARMS.items():
            for count in counts:
                runs = [numbers[f"{arm}:{seed}"][str(count)].get(kind) for seed in range(seeds)]
                if not all(runs):
                    continue
                cells = []
                for output, measure in product(outputs, ("map", "acc@1", "acc@10")):
                    values = [run[output].get(measure) for run in runs]
                    known = all(value is not None and np.isfinite(value) for value in values)
                    cells.append(mean_and_deviation(values) if known else "")
                rows.append([arm, str(count or ""), *cells])
        if rows:
            heads = [f"{output}: {measure}" for output in outputs for measure in ("mAP", "Acc@1", "Acc@10")]
            text += [f"\n**{kind} → shape**\n", markdown(["seen by", "views", *heads], rows)]
    rows = []
    for arm, (_, counts) in ARMS.items():
        for count in counts:
            times = [1000 * numbers[f"{arm}:{seed}"][str(count)]["cost"] for seed in range(seeds)]
            rows.append([arm, str(count or ""), f"{min(times):.1f}"])
    text += ["\n**encoding**\n", markdown(["seen by", "views", "ms per shape (least)"], rows)]
    seconds = [run["seconds"] for run in numbers.values()]
    text.append(
        f"\ntraining {sum(seconds) / len(seconds):.0f} s a run ({min(seconds):.0f} to {max(seconds):.0f})"
    )
    return "\n".join(text)


if __name__ == "__main__":
    main()
