"""Retrieval without captions, image ↔ shape: Table 2 of Sbrolli & Matteucci (arXiv 2406.02202).

A point encoder is aligned with a frozen CLIP image encoder on DATASET by InfoNCE, I2I, (I2L)² or AVG. On --split of
--target, an image is to find its very shape and a shape an image of itself: top-1 and top-5, with the images as they
are and with everything black that their mask says is background.

    python experiments/captionless_retrieval.py DATASET --target PIX3D --split all --kind photo --out OUT
        --image-weights download:laion2b_s34b_b79k
    python experiments/captionless_retrieval.py --smoke --out OUT          (seconds, synthetic shapes, random weights)

Two rankings, which must not be compared with each other. "Whole base": all shapes, or all images, of the split.
"Within 128": (image, shape) rows are shuffled (seed 0) and cut into batches of 128, an image is ranked against the
shapes of its batch, and only its own row counts, so that a second row with the same shape is a miss; that is what the
released test does, and what the published values most likely are. Tied ranks count by their expected value; in the
released test, which samples the points of each row anew, there are no ties.

The published values need the ShapeNet-55 of ULIP, with 30 renders of each shape, one every 12°
(github.com/mortorit/ShapeNetRenderer), open_clip's ViT-B-32 of laion2b_s34b_b79k, 500 epochs, and as --target Pix3D
(github.com/xingyuansun/pix3d) with its photos and masks. The paper's landmarks and checkpoints were not published.

Expected: the published values, printed beside the measured ones with --published. Tolerances are not known: the paper
gives one value each.

Hardware, time: not measured; not run at full size.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import click
import numpy as np
from captionless_classification import ARMS, align, arm_option, check_encoders
from common import DIRECTIONS
from two_towers import (
    all_runs,
    one_line_errors,
    percent,
    reference_list,
    require_data,
    shared_options,
    table,
    use_smoke_inputs,
)

from cmah.data.dataset import Dataset
from cmah.data.table_rows import KINDS
from cmah.errors import DatasetError
from cmah.evaluation import evaluate
from cmah.files import write_json
from cmah.runs.encoder import Encoder
from cmah.runs.run_folder import RunFolder

ROWS = 128
DEPTHS = (1, 5)
BACKGROUNDS: dict[Literal["remove", "keep"], str] = {"remove": "no background", "keep": "background"}
RANKINGS = {"whole": "whole base", "batches": f"within {ROWS}"}
COLUMNS = tuple(
    f"{title}, {direction} top-{k}"
    for title in BACKGROUNDS.values()
    for direction in DIRECTIONS
    for k in DEPTHS
)
# in percent, in the order of COLUMNS
PUBLISHED: dict[str, tuple[float | None, ...]] = {
    "PointCLIP": (13.6, 47.3, 10.1, 42.5, 9.9, 41.2, 7.4, 34.8),
    "CLIP2Point": (20.4, 63.2, 16.5, 53.7, 15.0, 50.1, 10.9, 45.2),
    "ULIP-PointNet++": (23.9, 64.6, 17.2, 55.9, 15.1, 49.2, 11.4, 47.3),
    "ULIP-PointBERT": (25.1, 65.8, 17.5, 55.6, 14.8, 51.4, 12.0, 47.5),
    "ReCon": (31.4, 72.8, 22.8, 63.1, 20.7, 56.4, 19.6, 53.2),
    "I2I": (35.2, 74.4, 27.7, 68.1, 26.3, 60.4, 22.8, 56.6),
    "(I2L)²": (33.3, 74.4, 26.8, 66.8, 25.3, 59.9, 22.2, 55.5),
    "AVG": (35.6, 75.1, 29.0, 68.7, 25.9, 60.1, 23.3, 57.8),
}


def kind_option(command: Any) -> Any:
    """The option --kind."""
    return click.option(
        "--kind",
        "kinds",
        multiple=True,
        default=["render"],
        show_default=True,
        type=click.Choice(KINDS),
        help="Use images of this kind; may be repeated.",
    )(command)


@click.command(help=__doc__)
@shared_options
@arm_option
@kind_option
@click.option(
    "--published",
    type=click.Choice(["Pix3D"]),
    help="Name of the data set of --target: prints its published values beside.",
)
def main(**options: Any) -> None:
    """Run every arm with every seed, then print the tables."""
    o = SimpleNamespace(**options)
    with one_line_errors():
        if o.smoke:
            use_smoke_inputs(o)
            o.seeds = 1
        require_data(o)
        if o.one:
            arm, seed = o.one.split(":")
            run, seconds = align(o, arm, int(seed))
            accuracies = retrieval(o, run, o.target or o.dataset)
            write_json(o.out / "numbers.json", {"seconds": seconds, **accuracies})
            return
        check_encoders(o, texts=any(ARMS[arm] in ("i2l2", "avg") for arm in o.arms))
        names = [f"{arm}:{seed}" for seed in range(o.seeds) for arm in o.arms]
        numbers = all_runs(__file__, main, o, names)
        write_json(o.out / "captionless_retrieval.json", numbers)
        click.echo(tables(o, numbers))


def retrieval(o: SimpleNamespace, run: Path, target: Path) -> dict[str, Any]:
    """Top-1 and top-5 of a run on --split of a dataset.

    Returns:
        {background: {ranking: {direction: {top1, top5}}}}, and the numbers of images, of those with a mask, and of
        shapes.
    """
    folder, data = RunFolder(run), Dataset.read(target).select(o.split)
    encoder, workers = Encoder.of(folder, o.device), folder.config.training.workers
    images = [image for image in data.images if image.kind in o.kinds and image.shape_id]
    if not images:
        raise DatasetError(
            [f"{data.root}: split {o.split!r} has no image of kind {' or '.join(o.kinds)} with a shape"]
        )
    shape, _ = encoder.dataset_shapes(data, data.shapes, embeddings=True, label="shapes")
    accuracies: dict[str, Any] = {
        "images": len(images),
        "with_mask": sum(bool(image.mask) for image in images),
        "shapes": len(shape),
    }
    for background in BACKGROUNDS:
        image, _ = encoder.dataset_images(
            data,
            images,
            embeddings=True,
            framing=replace(encoder.framing, background=background),
            workers=workers,
            label="images",
        )
        whole = {
            direction: {f"top{k}": report[f"acc@{k}"] for k in DEPTHS}
            for direction, report in zip(
                DIRECTIONS,
                (
                    evaluate(*pair, relevance="instance", accuracy_at=DEPTHS, bootstrap=0)
                    for pair in ((image, shape), (shape, image))
                ),
                strict=True,
            )
        }
        row = {name: number for number, name in enumerate(shape.ids)}
        paired = [number for number, name in enumerate(image.shape_ids) if name in row]
        targets = [row[image.shape_ids[number]] for number in paired]
        batches = within_batches(image.embeddings[paired], shape.embeddings[targets])
        accuracies[background] = {"whole": whole, "batches": batches}
    return accuracies


def within_batches(
    images: np.ndarray, shapes: np.ndarray, size: int = ROWS, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Top-1 and top-5 within shuffled batches, where only the same row is right.

    Args:
        images: float [n, d], of any norm.
        shapes: float [n, d]; row i is the shape that image i shows.
        size: rows of a batch; the last may have fewer.
        seed: of the shuffling.

    Returns:
        {direction: {top1, top5}}, parts of the rows; of rows as similar (as float32) as the right one, each order is
        as likely as the other.
    """
    order = np.random.default_rng(seed).permutation(len(images))
    hits: dict[str, dict[int, list[np.ndarray]]] = {way: {k: [] for k in DEPTHS} for way in DIRECTIONS}
    for first in range(0, len(order), size):
        batch = order[first : first + size]
        # rounded to float32, the last bits of float64 do not tell equal shapes apart
        similar = (_unit(images[batch]) @ _unit(shapes[batch]).T).astype(np.float32)
        for way, scores in zip(DIRECTIONS, (similar, similar.T), strict=True):
            right = np.diagonal(scores)[:, None]
            before, equal = (scores > right).sum(axis=1), (scores == right).sum(axis=1)
            for k in DEPTHS:
                hits[way][k].append(np.clip((k - before) / equal, 0, 1))
    return {
        way: {f"top{k}": float(np.concatenate(parts).mean()) for k, parts in by_depth.items()}
        for way, by_depth in hits.items()
    }


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = vectors.astype(np.float64)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-300)


def cells(runs: Sequence[dict[str, Any]], ranking: str) -> list[str]:
    """The cells of `COLUMNS` for the runs of an arm with all seeds."""
    return [
        percent([run[background][ranking][direction][f"top{k}"] for run in runs])
        for background in BACKGROUNDS
        for direction in DIRECTIONS
        for k in DEPTHS
    ]


def tables(o: SimpleNamespace, numbers: dict[str, Any]) -> str:
    """A table for each ranking, then what is published."""
    first = next(iter(numbers.values()))
    text = [
        f"split {o.split}, {first['images']} images ({' and '.join(o.kinds)}), {first['with_mask']} of them with a "
        f"mask, {first['shapes']} shapes; percent, mean ± standard deviation (seeds: {o.seeds})"
    ]
    for ranking, title in RANKINGS.items():
        rows = {arm: cells([numbers[f"{arm}:{seed}"] for seed in range(o.seeds)], ranking) for arm in o.arms}
        published = PUBLISHED if o.published and ranking == "batches" else None
        text += [f"\n**{title}**\n", table("arm", COLUMNS, rows, published)]
    source = f"arXiv 2406.02202, Table 2, Pix3D, most likely within {ROWS}"
    text.append(reference_list(source, "method", COLUMNS, PUBLISHED))
    return "\n".join(text)


if __name__ == "__main__":
    main()
