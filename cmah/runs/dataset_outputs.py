"""A dataset's images and shapes to the outputs of a model, kept while they are computed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from cmah.data.dataset import NO_POINTS, Dataset, Image, Shape
from cmah.data.encoding_batches import ImageBatches
from cmah.data.framing import WHOLE, Framing
from cmah.data.shape_views import ViewsFrom, described, in_groups
from cmah.features.image_embedder import EmbeddingTable, ImageEmbedder
from cmah.features.inference import BATCH
from cmah.features.shape_batches import NO_VIEW, ShapeBatches
from cmah.features.shards import Piece, Shards, in_shards, pieces
from cmah.models.encoder_model import EncoderModel, draws_views, needs_points
from cmah.progress import progress
from cmah.runs.model_codes import ModelCodes
from cmah.skipped_files import Skipped

VIEWED = 128  # shapes seen by their views of which an export that is killed loses at most so many
Outputs = tuple[
    np.ndarray, list[int], Skipped
]  # outputs, positions of their items, and what could not be read


def image_outputs(
    encoder: ModelCodes,
    dataset: Dataset,
    images: Sequence[Image],
    *,
    framing: Framing = WHOLE,
    embedder: ImageEmbedder | None = None,
    workers: int = 0,
    label: str = "",
    keep: Shards | None = None,
) -> Outputs:
    """The outputs of a dataset's images.

    Args:
        encoder: the model.
        dataset: the folder.
        images: rows of its images.csv.
        framing: what of each image is cut off and painted over.
        embedder: keeps what the model's frozen image encoder makes of them, with the same framing; None where it has
            none.
        workers: processes that decode images.
        label: of the progress bar; none without it.
        keep: where outputs are kept; see `Encoder.dataset_images`.

    Returns:
        (float32 [n, width], the position of each row's image, (file, reason) of those that could not be read).

    Examples:
        >>> from cmah.runs.encoder import Encoder
        >>> dataset = Dataset.read("demo/dataset")
        >>> outputs, kept, skipped = image_outputs(Encoder.load("demo/run"), dataset, dataset.images[:3])
        >>> outputs.shape, kept, skipped
        ((3, 64), [0, 1, 2], [])
    """
    if embedder is not None:
        table = embedder.embed(dataset, images, workers=workers, label=label)
        numbers = np.arange(len(table))
        kinds = _kinds([images[position] for position in table.kept], encoder.model)
        parts = (_features(table, numbers[i : i + BATCH], kinds) for i in range(0, len(table), BATCH))
        return encoder.outputs("features", parts), table.kept, table.skipped

    def compute(begin: int, end: int) -> Iterator[Piece]:
        part, size = images[begin:end], encoder.model.image_size
        batches = ImageBatches.of(dataset, part, size, BATCH, workers, framing, encoder.model.masks)
        return pieces(batches, begin, end, lambda batch: encoder.outputs("image", [batch["image"]]))

    bar = progress(range(len(images)), label, unit="image") if label else None
    outputs, left_out = in_shards(keep, "image", len(images), encoder.model.width, compute, bar)
    skipped = [(str(dataset.picture(images[i]).path), reason) for i, reason in left_out]
    return outputs, _others(len(images), left_out), skipped


@dataclass
class ShapeRows:
    """The shapes that are encoded, one a row, or one of their views a row.

    Attributes:
        shapes: the shape of each row.
        views: the views of each row; none where the model sees no views, or draws them.
        drawn: of each row the number of its view, where a row is one view that the model draws; else none.
        ids: of each row: the shape's, or that of the first of its views.
        lacking: (shape id, reason) of the shapes that have no row.

    Examples:
        >>> from cmah.runs.encoder import Encoder
        >>> dataset = Dataset.read("demo/dataset")
        >>> rows = ShapeRows.of(Encoder.load("demo/run").model, dataset, dataset.shapes[:2])
        >>> rows.ids, rows.views, rows.lacking
        (['airplane.airplane_000.obj', 'airplane.airplane_001.glb'], [], [])
    """

    shapes: list[Shape]
    views: list[list[Image]]
    ids: list[str]
    lacking: Skipped
    drawn: list[int] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        model: EncoderModel,
        dataset: Dataset,
        shapes: Sequence[Shape],
        views_from: ViewsFrom | None = None,
        *,
        per_view: bool = False,
    ) -> "ShapeRows":
        """The rows of shapes; arguments as in `Encoder.dataset_shapes`."""
        wanted = needs_points(model)
        lacking = [(s.shape_id, NO_POINTS) for s in shapes if wanted and not s.points]
        shapes = [shape for shape in shapes if shape.points or not wanted]
        which = model.views_from if draws_views(model) else views_from or model.views_from
        views = described(dataset, shapes, model.views, which) if model.views and which != "points" else []
        if not per_view:
            return cls(shapes, views, [shape.shape_id for shape in shapes], lacking)
        if draws_views(model):
            rows = [shape for shape in shapes for _ in range(model.views)]
            drawn = list(range(model.views)) * len(shapes)
            ids = [f"{shape.shape_id}_view{view}" for shape, view in zip(rows, drawn, strict=True)]
            return cls(rows, [], ids, lacking, drawn)
        lacking += [
            (shape.shape_id, f"shape {shape.shape_id!r}: {NO_VIEW} (model.views_from={which})")
            for shape, images in zip(shapes, views, strict=True)
            if not images
        ]
        groups = [in_groups(images, model.view_group) for images in views]
        rows = [shape for shape, each in zip(shapes, groups, strict=True) for _ in each]
        views = [group for each in groups for group in each]
        return cls(rows, views, [group[0].image_id for group in views], lacking)


def shape_outputs(
    encoder: ModelCodes,
    dataset: Dataset,
    rows: ShapeRows,
    *,
    framing: Framing = WHOLE,
    embedder: ImageEmbedder | None = None,
    workers: int = 0,
    label: str = "",
    keep: Shards | None = None,
) -> Outputs:
    """The outputs of a dataset's shapes or of their views.

    Args:
        encoder: the model.
        dataset: the folder.
        rows: what is encoded.
        framing: what of each view is cut off and painted over, where there is no embedder.
        embedder: keeps what the model's frozen image encoder makes of the views; None where it has none.
        workers: processes that decode or draw the views.
        label: of the progress bar; none without it.
        keep: where outputs are kept; see `Encoder.dataset_images`.

    Returns:
        (float32 [n, width], the position of each in `rows`, (file or id, reason) of those that could not be read).

    Examples:
        >>> from cmah.runs.encoder import Encoder
        >>> encoder, dataset = Encoder.load("demo/run"), Dataset.read("demo/dataset")
        >>> rows = ShapeRows.of(encoder.model, dataset, dataset.shapes[:2])
        >>> outputs, kept, skipped = shape_outputs(encoder, dataset, rows)
        >>> outputs.shape, kept, skipped
        ((2, 64), [0, 1], [])
    """
    shapes, views, model = rows.shapes, rows.views, encoder.model
    bar = progress(range(len(shapes)), label, unit="shape") if label else None

    def batches_of(begin: int, end: int) -> ShapeBatches:
        part = views[begin:end] if views else ()
        options: dict[str, Any] = {"embedder": embedder, "framing": framing, "workers": workers}
        options["drawn"] = rows.drawn[begin:end]
        return ShapeBatches(dataset, shapes[begin:end], model, views=part, **options)

    if model.shape_input == "points":

        def compute(begin: int, end: int) -> Iterator[Piece]:
            batches = batches_of(begin, end)
            return pieces(batches, begin, end, lambda batch: encoder.outputs("shape", [batch]))

        outputs, left_out = in_shards(keep, "shape", len(shapes), model.width, compute, bar)
        skipped = [(str(dataset.file(shapes[i].points)), reason) for i, reason in left_out]
        return outputs, _others(len(shapes), left_out), skipped
    parts = [np.zeros((0, model.width), np.float32)]
    kept: list[int] = []
    skipped = []
    # where an embedder keeps what its views give, all shapes are one part
    size = VIEWED if embedder is None and keep is not None else max(1, len(shapes))
    for begin in range(0, len(shapes), size):
        end = min(begin + size, len(shapes))
        name = f"shape-{begin:09d}"
        shard = keep.find(name, end - begin) if embedder is None and keep is not None else None
        if shard is not None:  # of which nothing was left out
            parts.append(shard.load())
            kept += range(begin, end)
            if bar is not None:
                bar.skip(end - begin)
            continue
        batches = batches_of(begin, end)
        positions: list[int] = []
        computed = []
        for batch, here in batches:
            computed.append(encoder.outputs("shape", [batch]))
            positions += here
            if bar is not None:
                bar.update(len(here))
        parts += computed
        kept += [begin + position for position in positions]
        skipped += batches.skipped
        if embedder is None and keep is not None and not batches.skipped:
            keep.put(name, np.concatenate(computed))
    if bar is not None:
        bar.close()
    return np.concatenate(parts), kept, skipped


def _kinds(images: Sequence[Image], model: EncoderModel) -> np.ndarray | None:
    """The number of the kind of each image, -1 where the model knows none such; None where it treats all alike."""
    numbers = {kind: number for number, kind in enumerate(model.image_kinds)}
    return np.array([numbers.get(image.kind, -1) for image in images], np.int64) if numbers else None


def _features(table: EmbeddingTable, rows: np.ndarray, kinds: np.ndarray | None) -> Any:
    """Features of images, with their kinds where the model asks for them."""
    features = torch.from_numpy(table.rows(rows))
    return features if kinds is None else {"features": features, "kinds": torch.from_numpy(kinds[rows])}


def _others(count: int, left_out: Sequence[tuple[int, str]]) -> list[int]:
    """The positions of the items that were not left out."""
    missing = {position for position, _ in left_out}
    return [i for i in range(count) if i not in missing]
