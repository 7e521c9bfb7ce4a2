"""Vectors of a dataset's images and of single views of its shapes, by which hits are put in order."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from cmah.codes import Embeddings
from cmah.data.dataset import Dataset, Image, Shape
from cmah.data.framing import Framing
from cmah.features.drawn_views import drawn_features
from cmah.features.image_embedder import EmbeddingTable, ImageEmbedder
from cmah.features.inference import BATCH, in_batches
from cmah.features.shards import Shards
from cmah.models.frozen_towers import FrozenTowers
from cmah.models.standardising import UNKNOWN
from cmah.runs.dataset_encoder import DatasetEncoder


def dataset_views(
    encoder: DatasetEncoder,
    dataset: Dataset,
    images: Sequence[Image],
    shapes: Sequence[Shape],
    *,
    framing: Framing | None = None,
    workers: int = 0,
    keep: Shards | None = None,
) -> tuple[Embeddings, Embeddings]:
    """Vectors to compare images with single views of shapes by.

    Those of the recipe towers are what its frozen image encoder makes of the images, and of each view that it draws of
    a shape, standardised. Of any other model they are its embeddings, of images and of single views.

    Args:
        encoder: a model that sees shapes by views.
        dataset: the folder.
        images: rows of its images.csv.
        shapes: rows of its shapes.csv.
        framing: what of each image is cut off and painted over; None: as in training.
        workers: processes that decode images or draw views.
        keep: where the outputs of the images are kept, see `DatasetEncoder.dataset_images`.

    Returns:
        (a row for each image, a row for each view with the shape's id); what cannot be read is left out.

    Raises:
        ConfigError: for a model that sees shapes by their points alone.

    Examples:
        >>> from cmah.runs.encoder import Encoder
        >>> dataset = Dataset.read("demo/dataset")
        >>> dataset_views(Encoder.load("demo/run"), dataset, dataset.images[:2], dataset.shapes[:2])
        Traceback (most recent call last):
        cmah.errors.ConfigError: vectors of views: this run sees shapes by their points (model.shape_input)
    """
    encoder.require_views("vectors of views")
    if encoder.view_width:
        return _frozen_views(
            encoder, dataset, images, shapes, encoder.framing if framing is None else framing, workers
        )
    options: dict[str, Any] = {"workers": workers, "embeddings": True}
    of_images, _ = encoder.dataset_images(dataset, images, framing=framing, keep=keep, **options)
    of_views, _ = encoder.dataset_shapes(dataset, shapes, per_view=True, **options)
    return of_images, of_views


def _frozen_views(
    encoder: DatasetEncoder,
    dataset: Dataset,
    images: Sequence[Image],
    shapes: Sequence[Shape],
    framing: Framing,
    workers: int,
) -> tuple[Embeddings, Embeddings]:
    """Standardised features of the frozen image encoder, which lie in the cache where the codes were made of them."""
    model = cast(FrozenTowers, encoder.model)

    def encoded(encode: Callable[[Any], Tensor], batches: Iterator[Any]) -> np.ndarray:
        return in_batches(encode, batches, encoder.device, model.view_width, model, "vectors of views")

    of_pictures, of_drawn = (cast(ImageEmbedder, encoder.embedder(f)) for f in (framing, encoder.framing))
    table = of_pictures.embed(dataset, images, workers=workers)
    seen = [images[position] for position in table.kept]
    numbers = {kind: number for number, kind in enumerate(model.image_kinds)}
    kinds = torch.tensor([numbers.get(image.kind, UNKNOWN) for image in seen], dtype=torch.int64)
    parts = (
        {"features": torch.from_numpy(table.rows(rows)), "kinds": kinds[rows]} for rows in _pieces(len(table))
    )
    of_images = encoded(lambda batch: model.image_vectors(batch["features"], batch["kinds"]), parts)
    shapes = [shape for shape in shapes if shape.points]
    drawn = drawn_features(of_drawn, dataset, shapes, model.views, workers=workers)
    views = encoded(model.view_vectors, map(partial(_single, drawn, model.views), _pieces(len(drawn))))
    shown = [shapes[position] for position in drawn.kept for _ in range(model.views)]
    columns = {
        "ids": [f"{shape.shape_id}_view{row % model.views}" for row, shape in enumerate(shown)],
        "shape_ids": [shape.shape_id for shape in shown],
        "kinds": ["shape"] * len(shown),
        "modality": "shape",
    }
    of_image = {
        "ids": [image.image_id for image in seen],
        "shape_ids": [image.shape_id for image in seen],
        "kinds": [image.kind for image in seen],
        "modality": "image",
    }
    return _table(encoder, of_images, seen, of_image), _table(encoder, views, shown, columns)


def _table(
    encoder: DatasetEncoder, rows: np.ndarray, items: Sequence[Image | Shape], columns: dict[str, Any]
) -> Embeddings:
    """Vectors with the columns that their codes have."""
    columns["categories"] = [item.category for item in items]
    columns["splits"] = [item.split for item in items]
    return Embeddings(embeddings=rows, space=encoder.view_space, **columns)


def _single(table: EmbeddingTable, views: int, rows: np.ndarray) -> Tensor:
    """Features of single views, [rows x views, d], of rows that hold those of all views of a shape."""
    return torch.from_numpy(table.rows(rows).reshape(len(rows) * views, -1))


def _pieces(count: int) -> Iterator[np.ndarray]:
    """Numbers below a count, some at a time."""
    return (np.arange(first, min(first + BATCH, count)) for first in range(0, count, BATCH))
