"""Training batches of nothing but features of frozen encoders, which are computed once."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from cmah.data.training_batches import TrainingBatches, TrainingPairs
from cmah.features.image_embedder import EmbeddingTable
from cmah.features.unpaired_images import Neighbours

OTHERS = 1024  # shapes that unpaired images are compared with, beside one that each is to be near
UNPAIRED_STREAM = 14  # the random stream of unpaired images, beside those of `training_batches`


class FrozenBatches(TrainingBatches):
    """Batches of pairs of an image and a shape, and of unpaired images with shapes that they are to be near.

    A batch holds, of b pairs, image_features (float32 [b, d]), image_kinds (int64 [b]), shape_features (float32
    [b, e]) and index (int64 [b]), and, where it is given, likeness (float32 [b, b]) of the shapes. With unpaired images
    it also holds, of u of them, unpaired_features (float32 [u, d]) and unpaired_kinds (int64 [u]), of v shapes
    unpaired_shapes (float32 [v, e]), among them one or more that each of these images is to be near, and
    unpaired_targets (float32 [u, v]), what each image is to give to each of these shapes.

    Everything drawn is a function of (seed, epoch, batch).

    Examples:
        Four shapes with a render each:

        >>> from pathlib import Path
        >>> from cmah.data.dataset import Dataset
        >>> from cmah.features.shards import Shard
        >>> dataset = Dataset.read("demo/dataset").select("test")
        >>> dataset.shapes = dataset.shapes[:4]
        >>> pairs = TrainingPairs(dataset, 32, 64, clouds=False, pictures=False)
        >>> count = sum(map(len, pairs.images))
        >>> shard = Shard(Path("none.npy"), np.random.rand(count, 6).astype("f"), count, [])
        >>> table = EmbeddingTable(6, [shard], list(range(count)), [])
        >>> kinds, shapes = np.zeros(count, np.int64), np.random.rand(4, 5).astype("f")
        >>> batches = FrozenBatches(pairs, table, np.arange(count), kinds, shapes, batch_size=4)
        >>> batch = next(batches.epoch(0))
        >>> {name: tuple(value.shape) for name, value in sorted(batch.items())}
        {'image_features': (4, 6), 'image_kinds': (4,), 'index': (4,), 'shape_features': (4, 5), 'view': (4,)}
    """

    def __init__(
        self,
        pairs: TrainingPairs,
        table: EmbeddingTable,
        rows: np.ndarray,
        kinds: np.ndarray,
        shapes: np.ndarray,
        batch_size: int,
        *,
        likeness: np.ndarray | None = None,
        in_rows: bool = False,
        unpaired: EmbeddingTable | None = None,
        unpaired_kinds: Sequence[int] = (),
        near: Neighbours | None = None,
        unpaired_batch: int = 128,
    ) -> None:
        """Prepare; the features stay as they are given.

        Args:
            pairs: what is drawn from, without its clouds and pictures.
            table: the features of the images.
            rows: int64 [n], the row of `table` of each image of `pairs`, shape after shape.
            kinds: int64 [n], the number of the kind of each.
            shapes: float32 [m, e], of the shapes of `pairs`.
            batch_size: pairs in a batch.
            likeness: how alike the shapes are: float32 [m, m], or, with `in_rows`, rows [m, f] whose inner products say
                it; None for none.
            in_rows: see `likeness`.
            unpaired: the features of images without a shape; None for none.
            unpaired_kinds: the number of the kind of each.
            near: the shapes that each of these is to be near.
            unpaired_batch: of them in a batch, or all if they are fewer.
        """
        super().__init__(pairs, batch_size, workers=0)
        self.table, self.rows, self.kinds, self.shapes = table, rows, kinds, shapes
        self.in_rows = in_rows
        self.likeness, self.unpaired, self.near = likeness, unpaired, near
        self.unpaired_kinds = np.asarray(unpaired_kinds, np.int64)
        self.unpaired_batch = 0 if unpaired is None else min(unpaired_batch, len(unpaired))
        self.first_view = np.cumsum([0, *map(len, pairs.images)])

    def epoch(self, number: int, first_batch: int = 0) -> Iterator[dict[str, Tensor]]:
        """As in `TrainingBatches`."""
        for step, batch in enumerate(super().epoch(number, first_batch), first_batch):
            index = batch["index"].numpy()
            drawn = self.first_view[index] + batch["view"].numpy()
            batch["image_features"] = torch.from_numpy(self.table.rows(self.rows[drawn]))
            batch["image_kinds"] = torch.from_numpy(self.kinds[drawn])
            batch["shape_features"] = torch.from_numpy(self.shapes[index])
            if self.likeness is not None:
                rows = self.likeness[index]
                batch["likeness"] = torch.from_numpy(rows @ rows.T if self.in_rows else rows[:, index])
            yield batch | self._unpaired(number, step) if self.unpaired_batch else batch

    def _unpaired(self, epoch: int, step: int) -> dict[str, Tensor]:
        """The unpaired images of a batch with a shape for each."""
        assert self.unpaired is not None
        assert self.near is not None
        rng = np.random.default_rng([self.pairs.seed, UNPAIRED_STREAM, epoch, step])
        chosen = rng.choice(len(self.unpaired), self.unpaired_batch, replace=False)
        near, weights = self.near.shapes[chosen], self.near.weights[chosen]
        # of each row the first place whose share of the row is passed, so that none is without a shape to be near
        passed = weights.cumsum(axis=1) < rng.random((len(chosen), 1))
        drawn = near[np.arange(len(chosen)), passed.sum(axis=1).clip(max=near.shape[1] - 1)]
        others = rng.permutation(len(self.shapes))[:OTHERS]
        compared = np.union1d(drawn, others)
        return {
            "unpaired_features": torch.from_numpy(self.unpaired.rows(chosen)),
            "unpaired_kinds": torch.from_numpy(self.unpaired_kinds[chosen]),
            "unpaired_shapes": torch.from_numpy(self.shapes[compared]),
            "unpaired_targets": torch.from_numpy(targets_of(near, weights, compared)),
        }


def targets_of(near: np.ndarray, weights: np.ndarray, compared: np.ndarray) -> np.ndarray:
    """What each image is to give to each of some shapes.

    Args:
        near: int64 [u, k], the shapes that each image is to be near.
        weights: float32 [u, k], their weights.
        compared: int64 [v], the shapes, ascending, each once; one or more of each row of `near`.

    Returns:
        float32 [u, v], rows that sum to 1: the weights of those of its shapes that are there.

    Examples:
        >>> targets_of(np.array([[7, 3], [3, 9]]), np.float32([[0.75, 0.25], [0.5, 0.5]]), np.array([3, 7])).tolist()
        [[0.25, 0.75], [1.0, 0.0]]
    """
    place = np.searchsorted(compared, near).clip(max=len(compared) - 1)
    there = compared[place] == near
    rows = np.broadcast_to(np.arange(len(near))[:, None], near.shape)
    given = np.zeros((len(near), len(compared)), np.float32)
    given[rows[there], place[there]] = weights[there]
    return np.asarray(given / given.sum(axis=1, keepdims=True))
