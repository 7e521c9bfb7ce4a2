"""Features of frozen towers, computed once for a few augmented copies of every image and cloud."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from cmah.data.training_batches import TrainingBatches, TrainingPairs
from cmah.errors import DatasetError
from cmah.features.tower_features import tower_features

IMAGE_STREAM, CLOUD_STREAM, COPY_STREAM, VIEW_STREAM = (
    10,
    11,
    12,
    13,
)  # separate the random streams of one seed


class FeatureBatches(TrainingBatches):
    """Training batches with the fields image_features and shape_features beside the others.

    Which copy a sample gets is a function of (seed, epoch, batch), so that a resumed run goes on as it was.

    Examples:
        Two copies of every cloud go once through a tower that gives 8 numbers.

        >>> from cmah.data.dataset import Dataset
        >>> pairs = TrainingPairs(Dataset.read("demo/dataset").select("test"), image_size=32, points=64)
        >>> tower = nn.Sequential(nn.Flatten(), nn.Linear(64 * 3, 8))
        >>> batches = FeatureBatches(pairs, 4, 0, image_tower=None, shape_tower=tower, copies=2, pictured=4)
        >>> batch = next(batches.epoch(0))
        >>> tuple(batch["points"].shape), tuple(batch["shape_features"].shape)
        ((4, 64, 3), (4, 8))
    """

    def __init__(
        self,
        pairs: TrainingPairs,
        batch_size: int,
        workers: int,
        *,
        image_tower: nn.Module | None,
        shape_tower: nn.Module | None,
        copies: int,
        pictured: int,
    ) -> None:
        """Run the towers over every copy, on the device they are on; features are kept as float16, also in the cache.

        Images that cannot be read are added to `pairs.skipped`: another view of the shape takes the place of each, and
        the next shape that of a shape without any other, as in `TrainingPairs`.

        Args:
            pairs: what to draw from.
            batch_size: samples per batch.
            workers: processes that decode and augment; 0 does it in this one.
            image_tower: from uint8 images scaled to [0, 1], float [b, 3, s, s]; None adds no image features.
            shape_tower: from clouds float32 [b, n, 3]; None adds no shape features.
            copies: augmented copies of every image and cloud.
            pictured: samples of a batch, from the first on, that come with their image and points; where both
                towers are given, the others need none, and reading them would take most of the time.
        """
        super().__init__(pairs, batch_size, workers)
        self.copies = copies
        self.pictured = pictured if image_tower and shape_tower else len(pairs)
        self.first_view = np.cumsum([0, *map(len, pairs.images)])
        self.image_features = self.shape_features = None
        # of each shape the one that takes its place: itself, but for shapes of which no image can be read
        self.stand_in = np.arange(len(pairs))
        if image_tower is not None:
            self.image_features = self._of_images(image_tower)
        if shape_tower is not None:
            features, _ = tower_features(
                shape_tower,
                pairs.draw_points,
                len(pairs),
                copies,
                (pairs.seed, CLOUD_STREAM),
                content=pairs.clouds_key,
                label="shape features",
            )
            self.shape_features = torch.from_numpy(features)

    def _of_images(self, tower: nn.Module) -> Tensor:
        """Features float16 [images, copies, dim] of all images, shape after shape."""
        pairs = self.pairs
        images = [image for views in pairs.images for image in views]
        features, unreadable = tower_features(
            tower,
            lambda i, rng: pairs.draw_view(images[i], rng),
            len(images),
            self.copies,
            (pairs.seed, IMAGE_STREAM),
            content=pairs.views_key,
            label="image features",
        )
        if len(unreadable) == len(images):
            raise DatasetError([f"{pairs.dataset.root}: no image could be read; the first: {unreadable[0]}"])
        pairs.skipped += [(images[i].image_id, reason) for i, reason in unreadable.items()]
        readable = [i for i in range(len(images)) if i not in unreadable]
        for i in unreadable:
            shape = int(np.searchsorted(self.first_view, i, side="right")) - 1
            own = [j for j in range(*self.first_view[shape : shape + 2].tolist()) if j not in unreadable]
            if own:
                features[i] = features[min(own, key=lambda j: abs(j - i))]
            else:
                later = next((j for j in readable if j > i), readable[0])
                self.stand_in[shape] = np.searchsorted(self.first_view, later, side="right") - 1
        return torch.from_numpy(features)

    def epoch(self, number: int, first_batch: int = 0) -> Iterator[dict[str, Tensor]]:
        """As in `TrainingBatches`, with the features of a random copy of each sample."""
        few = self.pictured < self.order.batch_size
        batches = self._few_pictured(number, first_batch) if few else super().epoch(number, first_batch)
        for place, batch in enumerate(batches, first_batch):
            rng = np.random.default_rng([self.pairs.seed, COPY_STREAM, number, place])
            copy = torch.from_numpy(rng.integers(self.copies, size=(2, len(batch["index"]))))
            if self.image_features is not None:
                row = torch.from_numpy(self.first_view)[batch["index"]] + batch["view"]
                batch["image_features"] = self.image_features[row, copy[0]].float()
            if self.shape_features is not None:
                batch["shape_features"] = self.shape_features[batch["index"], copy[1]].float()
            yield batch

    def _few_pictured(self, number: int, first_batch: int) -> Iterator[dict[str, Tensor]]:
        """Batches whose image and points have `pictured` rows only, read in this process."""
        self.order.epoch, self.order.first_batch = number, first_batch
        for place, keys in enumerate(self.order, first_batch):
            rng = np.random.default_rng([self.pairs.seed, VIEW_STREAM, number, place])
            read = [self.pairs[key] for key in keys[: self.pictured]]
            index = [int(item["index"]) for item in read]
            index += [int(self.stand_in[position]) for _, position in keys[self.pictured :]]
            view = [int(item["view"]) for item in read]
            view += [int(rng.integers(len(self.pairs.images[i]))) for i in index[self.pictured :]]
            fields = {name: np.stack([item[name] for item in read]) for name in ("image", "points")}
            fields |= {"index": np.array(index), "view": np.array(view)}
            yield {name: torch.from_numpy(value) for name, value in fields.items()}
