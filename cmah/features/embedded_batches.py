"""Training batches whose images are the embeddings of a frozen encoder, computed once and kept on disk."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from cmah.config.schema import Config
from cmah.data.dataset import Dataset
from cmah.data.training_batches import TrainingBatches, TrainingPairs
from cmah.errors import DatasetError
from cmah.features.describing_views import DescribingViews
from cmah.features.drawn_views import DrawnViews
from cmah.features.image_embedder import EmbeddingTable, ImageEmbedder


class EmbeddedBatches(TrainingBatches):
    """Batches with the field image_features (float32 [b, d]) in place of image.

    For a model that sees shapes by their views, view_features (float32 [b, views, d]) and view_mask (bool [b, views])
    hold other renders of each shape, drawn at random; the render that is the query is never among them. Views that are
    drawn from points are always the same.

    Attributes:
        embedder: the frozen encoder.
        table: the embeddings.
        rows: int64, the row of `table` of each image of `pairs`, shape after shape.

    Examples:
        Four shapes, and an encoder of random weights that gives 96 numbers.

        >>> from pathlib import Path
        >>> from timm import create_model
        >>> from cmah.recipes.resolving import make_config
        >>> torch.save(create_model("test_resnet").state_dict(), "weights.pt")
        >>> embedder = ImageEmbedder("timm:test_resnet", "weights.pt", cache=Path("cache"))
        >>> dataset = Dataset.read("demo/dataset")
        >>> few = replace(dataset, shapes=dataset.shapes[:4])
        >>> config = make_config("cmah", "tiny", assignments=["training.workers=0"])
        >>> batches = EmbeddedBatches(few, config, embedder, points=64, colours=False)
        >>> {name: tuple(value.shape) for name, value in sorted(next(batches.epoch(0)).items())}
        {'image_features': (4, 96), 'index': (4,), 'points': (4, 64, 3), 'view': (4,)}
    """

    def __init__(
        self,
        dataset: Dataset,
        config: Config,
        embedder: ImageEmbedder,
        *,
        points: int,
        colours: bool,
        views: int = 0,
        drawn: bool = False,
    ) -> None:
        """Embed every image that takes part, or read the embeddings from disk.

        Args:
            dataset: of the training shapes.
            config: of the run.
            embedder: the frozen encoder.
            points: points of each cloud; 0 for none.
            colours: whether the clouds have colours, six columns in place of three.
            views: how many views describe each shape at most; 0 for none.
            drawn: whether these are drawn from the shape's points, of which there are always so many, in place of
                renders.

        Raises:
            DatasetError: if no shape can take part, or no image can be read.
        """
        self.embedder, workers = embedder, config.training.workers
        draw = partial(
            TrainingPairs,
            image_size=embedder.size,
            points=points,
            point_augmentation=config.point_augmentation,
            kinds=config.data.kinds,
            picture_weight=config.data.picture_weight,
            colours=colours,
            clouds=points > 0,
            pictures=False,
            seed=config.training.seed,
        )
        drawn_views = DrawnViews(embedder, dataset, views, workers) if views and drawn else None
        if drawn_views is not None:
            dataset = drawn_views.dataset
        pairs, self.table, self.rows = readable_pairs(draw, dataset, embedder, workers)
        self.first_view = np.cumsum([0, *map(len, pairs.images)])
        self.views: DescribingViews | DrawnViews | None = None
        if drawn_views is not None:
            pairs.skipped += drawn_views.skipped
            drawn_views.order(pairs.shapes)
            self.views = drawn_views
        elif views:
            self.views = DescribingViews(pairs, self.table, self.rows, views)
        super().__init__(pairs, config.training.batch_size, workers)

    def epoch(self, number: int, first_batch: int = 0) -> Iterator[dict[str, torch.Tensor]]:
        """As in `TrainingBatches`, with the embeddings of the views that were drawn."""
        for batch in super().epoch(number, first_batch):
            index, asked = batch["index"].numpy(), batch["view"].numpy()
            wanted = self.rows[self.first_view[index] + asked]
            batch["image_features"] = torch.from_numpy(self.table.rows(wanted))
            yield batch if self.views is None else batch | self.views.of_batch(number, index, asked)


def readable_pairs(
    draw: Callable[[Dataset], TrainingPairs], dataset: Dataset, embedder: ImageEmbedder, workers: int = 0
) -> tuple[TrainingPairs, EmbeddingTable, np.ndarray]:
    """The pairs of a dataset without the images that cannot be read, and the embeddings of the others.

    Args:
        draw: makes the pairs of a dataset.
        dataset: of the training shapes.
        embedder: the frozen encoder.
        workers: processes that decode images.

    Returns:
        The pairs, to whose `skipped` the unreadable images are added; the embeddings; and int64, the row of each image
        of the pairs, shape after shape.

    Raises:
        DatasetError: if no image can be read, or no shape can be trained on.

    Examples:
        >>> from pathlib import Path
        >>> from timm import create_model
        >>> torch.save(create_model("test_resnet").state_dict(), "weights.pt")
        >>> embedder = ImageEmbedder("timm:test_resnet", "weights.pt", cache=Path("cache"))
        >>> draw = partial(TrainingPairs, image_size=embedder.size, points=64, pictures=False)
        >>> pairs, table, rows = readable_pairs(draw, Dataset.read("demo/dataset").select("test"), embedder)
        >>> len(table) == len(rows) == sum(map(len, pairs.images))
        True
    """
    pairs = draw(dataset)
    images = [image for views in pairs.images for image in views]
    table = embedder.embed(dataset, images, workers=workers, label="image embeddings")
    if table.skipped and not len(table):
        raise DatasetError([f"{dataset.root}: no image could be read; the first: {table.skipped[0][1]}"])
    if not table.skipped:
        return pairs, table, np.arange(len(images))
    readable = {images[i].image_id: row for row, i in enumerate(table.kept)}
    pairs = draw(replace(dataset, images=[i for i in dataset.images if i.image_id in readable]))
    pairs.skipped += table.skipped
    images = [image for views in pairs.images for image in views]
    return pairs, table, np.array([readable[image.image_id] for image in images])
