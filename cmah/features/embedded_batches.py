"""Training batches whose images are the embeddings of a frozen encoder, computed once and kept on disk."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch

from cmah.config.schema import Config
from cmah.data.dataset import Dataset
from cmah.data.training_batches import TrainingBatches, TrainingPairs
from cmah.errors import DatasetError
from cmah.features.image_embedder import ImageEmbedder
from cmah.recipes import Recipe


class EmbeddedBatches(TrainingBatches):
    """Batches with the field image_features (float32 [b, d]) in place of image.

    Attributes:
        embedder: the frozen encoder.
        table: the embeddings.
        rows: int64, the row of `table` of each image of `pairs`, shape after shape.
    """

    def __init__(self, recipe: Recipe, dataset: Dataset, config: Config, embedder: ImageEmbedder) -> None:
        """Embed every image that takes part, or read the embeddings from disk.

        Args:
            recipe: says how many points there are and whether with colours.
            dataset: of the training shapes.
            config: of the run.
            embedder: the frozen encoder.

        Raises:
            DatasetError: if no shape can take part, or no image can be read.
        """
        self.embedder, workers = embedder, config.training.workers
        pairs = self._pairs(recipe, dataset, config)
        images = [image for own in pairs.images for image in own]
        self.table = embedder.embed(pairs.root, images, workers=workers, label="image embeddings")
        if self.table.skipped and not len(self.table):
            raise DatasetError(
                [f"{pairs.root}: no image could be read; the first: {self.table.skipped[0][1]}"]
            )
        if self.table.skipped:
            kept = {images[i].image_id for i in self.table.kept}
            readable = [image for image in dataset.images if image.image_id in kept]
            pairs = self._pairs(recipe, replace(dataset, images=readable), config)
            pairs.skipped += self.table.skipped
            row = {images[i].image_id: number for number, i in enumerate(self.table.kept)}
            images = [image for own in pairs.images for image in own]
            self.rows = np.array([row[image.image_id] for image in images])
        else:
            self.rows = np.arange(len(images))
        self.first_view = np.cumsum([0, *map(len, pairs.images)])
        super().__init__(pairs, config.training.batch_size, workers)

    @staticmethod
    def _pairs(recipe: Recipe, dataset: Dataset, config: Config) -> TrainingPairs:
        return TrainingPairs(
            dataset,
            recipe.image_size,
            recipe.points,
            point_augmentation=config.point_augmentation,
            kinds=config.data.kinds,
            colours=recipe.colours,
            pictures=False,
            seed=config.training.seed,
        )

    def epoch(self, number: int, first_batch: int = 0) -> Iterator[dict[str, torch.Tensor]]:
        """As in `TrainingBatches`, with the embeddings of the views that were drawn."""
        for batch in super().epoch(number, first_batch):
            wanted = self.rows[self.first_view[batch["index"].numpy()] + batch["view"].numpy()]
            yield {**batch, "image_features": torch.from_numpy(self.table.rows(wanted))}
