"""What a frozen image encoder makes of views that are drawn from the points of shapes, computed once and kept on disk.

The rows lie beside those of images (`cmah.features.image_embedder`), in shards `drawn-….npy`, float32 [shapes, views x
dim], whose names change with the clouds' files, with the number and size of the views, and with `surfels.VERSION`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from cmah.data.dataset import Dataset, Shape
from cmah.data.drawn_batches import DrawnBatches
from cmah.data.file_states import file_states
from cmah.data.surfels import VERSION
from cmah.features.image_embedder import EmbeddingTable, ImageEmbedder
from cmah.features.inference import BATCH, in_batches
from cmah.features.shards import Piece, Shard, Shards, pieces
from cmah.files import digest
from cmah.progress import progress
from cmah.skipped_files import Skipped

SHARD = 512  # shapes


def drawn_features(
    embedder: ImageEmbedder,
    dataset: Dataset,
    shapes: Sequence[Shape],
    views: int,
    *,
    workers: int = 0,
    label: str = "",
) -> EmbeddingTable:
    """Features of views of a dataset's shapes, drawn from their points; no image of the dataset is read.

    Args:
        embedder: the frozen encoder; the views have its size.
        dataset: the folder.
        shapes: rows of its shapes.csv.
        views: how many of each, see `draw_views`.
        workers: processes that draw.
        label: of the progress bar; none without it.

    Returns:
        A row [views x dim] for each shape whose cloud could be read.

    Examples:
        >>> from timm import create_model
        >>> torch.save(create_model("test_resnet").state_dict(), "weights.pt")
        >>> embedder = ImageEmbedder("timm:test_resnet", "weights.pt")
        >>> dataset = Dataset.read("demo/dataset")
        >>> table = drawn_features(embedder, dataset, dataset.shapes[:2], views=3)
        >>> table.rows([0, 1]).reshape(2, 3, embedder.dim).shape
        (2, 3, 96)
    """
    width = views * embedder.dim
    shards = Shards(embedder.folder, width, unwritable=embedder.shards.unwritable)
    bar = progress(range(len(shapes)), label, unit="shape") if label else None
    parts: list[Shard] = []
    kept: list[int] = []
    skipped: Skipped = []
    for first in range(0, len(shapes), SHARD):
        part = shapes[first : first + SHARD]
        paths = [dataset.file(shape.points) for shape in part]

        def compute(begin: int, paths: list = paths, first: int = first) -> Iterator[Piece]:
            batches = DrawnBatches(paths[begin:], views, embedder.size, BATCH, workers, dataset.up_axis)
            for piece in pieces(
                batches, begin, len(paths), lambda batch: _features(embedder, batch["views"])
            ):
                if bar is not None:
                    bar.skip(first + begin - bar.n)
                    bar.update(first + piece[2] - bar.n)
                yield piece

        states = file_states(dataset, [shape.points for shape in part])
        content = [VERSION, views, embedder.size, dataset.up_axis, str(dataset.file("").resolve()), states]
        shard = shards.get(f"drawn-{digest(content)}", len(part), compute)
        if bar is not None:
            bar.skip(first + len(part) - bar.n)
        missing = {position for position, _ in shard.left_out}
        kept += [first + i for i in range(len(part)) if i not in missing]
        skipped += [(str(paths[i]), reason) for i, reason in shard.left_out]
        parts.append(shard)
    if bar is not None:
        bar.close()
    return EmbeddingTable(width, parts, kept, skipped)


def _features(embedder: ImageEmbedder, views: Tensor) -> np.ndarray:
    """Views uint8 [b, v, 3, s, s] to rows float32 [b, v x dim]."""
    rows = in_batches(
        lambda x: embedder.backbone(x.float() / 255),
        [views.flatten(0, 1)],
        embedder.device,
        embedder.dim,
        embedder.backbone,
    )
    return rows.reshape(len(views), -1)


class DrawnViews:
    """The drawn views that describe the shapes of training batches: always the same, whatever image asks.

    Attributes:
        dataset: the dataset without shapes whose points cannot be read.
        skipped: (path, reason) of these.

    Examples:
        >>> from timm import create_model
        >>> torch.save(create_model("test_resnet").state_dict(), "weights.pt")
        >>> dataset = Dataset.read("demo/dataset").select("test")
        >>> views = DrawnViews(ImageEmbedder("timm:test_resnet", "weights.pt"), dataset, views=2)
        >>> views.order(dataset.shapes)
        >>> batch = views.of_batch(0, index=np.array([4, 1]), asked=np.array([0, 0]))
        >>> tuple(batch["view_features"].shape), batch["view_mask"].tolist()
        ((2, 2, 96), [[True, True], [True, True]])
    """

    def __init__(self, embedder: ImageEmbedder, dataset: Dataset, views: int, workers: int = 0) -> None:
        """Compute the features of all shapes of a dataset, or read them from disk; arguments as in `drawn_features`."""
        self.count = views
        self.table = drawn_features(
            embedder, dataset, dataset.shapes, views, workers=workers, label="drawn views"
        )
        self.skipped = self.table.skipped
        self.dataset = replace(dataset, shapes=[dataset.shapes[i] for i in self.table.kept])
        self.order(self.dataset.shapes)

    def order(self, shapes: Sequence[Shape]) -> None:
        """Say which shapes the positions of `of_batch` mean; all of them must be of `dataset`."""
        rows = {shape.shape_id: row for row, shape in enumerate(self.dataset.shapes)}
        self._rows = np.array([rows[shape.shape_id] for shape in shapes], np.int64)

    def of_batch(self, epoch: int, index: np.ndarray, asked: np.ndarray) -> dict[str, Tensor]:
        """The views of a batch, as in `DescribingViews.of_batch`; only `index` matters."""
        features = self.table.rows(self._rows[index]).reshape(len(index), self.count, -1)
        there = torch.ones(len(index), self.count, dtype=torch.bool)
        return {"view_features": torch.from_numpy(features), "view_mask": there}
