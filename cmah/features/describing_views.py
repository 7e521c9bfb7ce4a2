"""The views that describe shapes in training, as features of a frozen image encoder that are computed once."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from cmah.data.epochs import Batches
from cmah.data.shape_views import drawn_views
from cmah.data.training_batches import TrainingPairs
from cmah.errors import DatasetError
from cmah.features.drawn_views import DrawnViews
from cmah.features.image_embedder import EmbeddingTable, ImageEmbedder

VIEW_STREAM = 2  # the random stream of which views describe a shape, beside those of `training_batches`


class DescribingViews:
    """Draws the views that describe each shape of a batch; the render that is the query is never among them.

    Examples:
        An encoder of random weights, and shapes with two views, of which one asks and the other describes:

        >>> from timm import create_model
        >>> from cmah.data.dataset import Dataset
        >>> dataset = Dataset.read("demo/dataset").select("test")
        >>> dataset.images = [image for image in dataset.images if image.view < 2]
        >>> pairs = TrainingPairs(dataset, image_size=32, points=64)
        >>> torch.save(create_model("test_resnet").state_dict(), "weights.pt")
        >>> views = DescribingViews.of(pairs, ImageEmbedder("timm:test_resnet", "weights.pt"), count=3)
        >>> drawn = views.of_batch(0, index=np.array([0, 1]), asked=np.array([0, 1]))
        >>> tuple(drawn["view_features"].shape), drawn["view_mask"].tolist()[0]
        ((2, 3, 96), [True, False, False])
    """

    def __init__(self, pairs: TrainingPairs, table: EmbeddingTable, rows: np.ndarray, count: int) -> None:
        """Take what was computed before.

        Args:
            pairs: the shapes with their images.
            table: features of these images.
            rows: int64, the row of `table` of each image of `pairs`, shape after shape; -1 for one that could not be
                read.
            count: how many views describe a shape at most.

        Raises:
            DatasetError: if no image of a shape can be read.
        """
        self.pairs, self.table, self.rows, self.count = pairs, table, rows, count
        self.first_view = np.cumsum([0, *map(len, pairs.images)])
        self.renders: list[list[int]] = []  # of each shape, the numbers of those that can be read
        for first, images in zip(self.first_view[:-1].tolist(), pairs.images, strict=True):
            known = [i for i in range(len(images)) if rows[first + i] >= 0]
            self.renders.append([i for i in known if images[i].kind == "render"] or known)
        if not all(self.renders):
            name = pairs.shapes[self.renders.index([])].shape_id
            raise DatasetError([f"{pairs.dataset.root}: shape {name!r}: no view can be read"])

    @classmethod
    def of(
        cls, pairs: TrainingPairs, embedder: ImageEmbedder, count: int, workers: int = 0
    ) -> "DescribingViews":
        """Compute the features of all images of the pairs, or read them from disk.

        Images that cannot be read describe nothing; they are added to `pairs.skipped`.

        Raises:
            DatasetError: if no image of a shape can be read.
        """
        images = [image for views in pairs.images for image in views]
        table = embedder.embed(pairs.dataset, images, workers=workers, label="views")
        pairs.skipped += table.skipped
        rows = np.full(len(images), -1)
        rows[table.kept] = np.arange(len(table))
        return cls(pairs, table, rows, count)

    def of_batch(self, epoch: int, index: np.ndarray, asked: np.ndarray) -> dict[str, Tensor]:
        """The views of a batch: a function of (seed, epoch, position of the shape) and of the query.

        Args:
            epoch: number of the epoch.
            index: int64 [b], position of each shape.
            asked: int64 [b], number of the image that is the query, among those of the shape.

        Returns:
            view_features: float32 [b, count, d].
            view_mask: bool [b, count], which places hold a view.
        """
        rows = np.empty((len(index), self.count), np.int64)
        there = np.zeros((len(index), self.count), bool)
        for place, (position, query) in enumerate(zip(index.tolist(), asked.tolist(), strict=True)):
            rng = np.random.default_rng([self.pairs.seed, VIEW_STREAM, epoch, position])
            drawn = drawn_views(self.renders[position], query, self.count, rng)
            there[place, : len(drawn)] = True
            rows[place] = np.resize(drawn, self.count) + self.first_view[position]
        features = self.table.rows(self.rows[rows.ravel()]).reshape(*rows.shape, -1)
        return {"view_features": torch.from_numpy(features), "view_mask": torch.from_numpy(there)}


class DescribedBatches:
    """Training batches with the describing views of their shapes.

    Attributes:
        pairs: the pairs that the batches are made of.

    Examples:
        >>> from timm import create_model
        >>> from cmah.data.dataset import Dataset
        >>> from cmah.data.training_batches import TrainingBatches
        >>> pairs = TrainingPairs(Dataset.read("demo/dataset").select("test"), image_size=32, points=64)
        >>> torch.save(create_model("test_resnet").state_dict(), "weights.pt")
        >>> views = DescribingViews.of(pairs, ImageEmbedder("timm:test_resnet", "weights.pt"), count=3)
        >>> batch = next(DescribedBatches(TrainingBatches(pairs, batch_size=4), views).epoch(0))
        >>> tuple(batch["view_features"].shape)
        (4, 3, 96)
    """

    def __init__(self, batches: Batches, views: DescribingViews | DrawnViews) -> None:
        self.batches, self.views, self.pairs = batches, views, batches.pairs

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, number: int, first_batch: int = 0) -> Iterator[dict[str, Tensor]]:
        """As in `TrainingBatches`."""
        for batch in self.batches.epoch(number, first_batch):
            yield batch | self.views.of_batch(number, batch["index"].numpy(), batch["view"].numpy())
