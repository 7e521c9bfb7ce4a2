"""Batches for training on images as queries and shapes as sets of views, each shape once in a batch.

What a batch holds is a function of (seed, epoch, number of the batch) alone.
"""

import warnings
from collections.abc import Iterator, Sequence
from operator import itemgetter

import numpy as np
import torch

from cmah.data.augmented_pictures import AugmentedPictures
from cmah.data.dataset import Dataset, Image
from cmah.data.epochs import SAMPLE_STREAM, EpochLoader, EpochOrder
from cmah.data.shape_views import ViewsFrom, described, describing_views
from cmah.errors import CmahError, CmahWarning, DatasetError
from cmah.skipped_files import Skipped

SHAPE_STREAM, QUERY_VIEW_STREAM = 3, 4  # random streams beside those of `training_batches`


class ImageQueries(torch.utils.data.Dataset):
    """Images as queries, and shapes that are described by their views.

    With `labels` queries show no shape of the data, and the shapes of a batch are drawn at random, whatever the queries
    show and whatever category the shapes have. Without, each query shows one of the shapes of its batch.

    Attributes:
        dataset: what they are drawn from.
        images: the queries.
        shapes: the shapes that have views.
        skipped: (id, reason) of shapes and images that are left out.
        unit: what the queries are, for messages.

    Examples:
        >>> from cmah.data.augmentation import NO_IMAGE_AUGMENTATION
        >>> dataset = Dataset.read("demo/dataset").select("test")
        >>> pictures = AugmentedPictures(dataset, 32, NO_IMAGE_AUGMENTATION)
        >>> queries = ImageQueries(dataset, pictures, pictures, batch_size=4, views=2)
        >>> batch = queries.batch(epoch=0, number=0)
        >>> {name: array.shape for name, array in sorted(batch.items()) if name in ("image", "views", "instance")}
        {'image': (4, 3, 32, 32), 'instance': (4,), 'views': (4, 2, 3, 32, 32)}
    """

    unit = "images"

    def __init__(
        self,
        dataset: Dataset,
        pictures: AugmentedPictures,
        views_of_shapes: AugmentedPictures,
        *,
        batch_size: int,
        views: int,
        views_from: ViewsFrom = "all",
        kinds: Sequence[str] = ("render",),
        labels: Sequence[str] | None = None,
        seed: int = 0,
    ) -> None:
        """Choose what takes part; nothing is read yet.

        Args:
            dataset: the shapes and images.
            pictures: draws the queries.
            views_of_shapes: draws the views.
            batch_size: queries, and shapes, in a batch.
            views: how many views describe a shape at most, evenly spaced in their order. A query is not among those
                of its own shape, unless the shape has no other.
            views_from: which renders may be views; "even" and "odd" leave only the other renders as queries.
            kinds: the kinds of images that are queries.
            labels: the categories of queries that show no shape of the data, in the order of their numbers.
            seed: seed of everything random.

        Raises:
            DatasetError: if there are fewer than two queries or shapes.
        """
        self.dataset, self.pictures, self.views_of_shapes = dataset, pictures, views_of_shapes
        self.batch_size, self.seed = batch_size, seed
        self.labels = None if labels is None else {name: number for number, name in enumerate(labels)}
        self.skipped: Skipped = []
        images = dataset.views()
        self.shapes, self.describing = [], []
        for shape in dataset.shapes:
            renders = [image for image in images[shape.shape_id] if image.kind == "render"]
            describing = describing_views(renders, len(renders), views_from)
            if describing:
                self.shapes.append(shape)
                self.describing.append(describing)
            else:
                which = (
                    "no image of kind render"
                    if not renders
                    else f"too few renders for views_from={views_from}"
                )
                self.skipped.append((shape.shape_id, f"{which}, as which its views are seen"))
        self.views = min(views, max(map(len, self.describing), default=1))
        self.row = {shape.shape_id: row for row, shape in enumerate(self.shapes)}
        queries = query_images(dataset, kinds, views_from, labelled=labels is not None)
        if self.labels is None:
            self.images = [image for image in queries if image.shape_id in self.row]
            names = sorted({shape.category for shape in self.shapes} - {""})
            numbers = {name: number for number, name in enumerate(names)}
            self.categories = [numbers.get(shape.category, -1) for shape in self.shapes]
        else:
            self.images = [image for image in queries if image.category in self.labels]
        unused = sum(image.kind in kinds for image in dataset.images) - len(self.images)
        if unused:
            why = "describe shapes, show one that is left out, or show none"
            why = why if self.labels is None else "have no category, or show a shape of the data"
            self.skipped.append(
                (f"{unused} image{'s' * (unused > 1)} of kind {' or '.join(kinds)}", f"they {why}")
            )
        if len(self.images) < 2 or len(self.shapes) < 2:
            what = "that show one of them" if self.labels is None else "with a category"
            raise DatasetError(
                [
                    f"{dataset.root}: {len(self.shapes)} shapes with renders and {len(self.images)} images of kind "
                    f"{' or '.join(kinds)} {what}, expected two or more of each"
                ]
            )
        self.order = _WholeBatches(len(self.images), batch_size, seed)

    def __len__(self) -> int:
        """The number of queries."""
        return len(self.images)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, np.ndarray]:
        """The batch of a key (epoch, number)."""
        return self.batch(*key)

    def batch(self, epoch: int, number: int) -> dict[str, np.ndarray]:
        """Draw a batch of b queries and s shapes. An image that cannot be read gives way to the next, with a warning.

        Args:
            epoch: number of the epoch.
            number: of the batch within it.

        Returns:
            image: uint8 [b, 3 or 4, size, size], the queries.
            views: uint8 [s, views, 3, size, size]; places without a view repeat others.
            view_mask: bool [s, views], which places hold a view.
            label: int64 [b], the number of each query's category, with `labels`; without, instead of it
            instance: int64 [b], the row of the shape that each query shows,
            category, shape_category: int64 [b] and [s], numbers of categories; -1 where there is none.

        Raises:
            CmahError: if no query, or no view of any shape, can be read.
        """
        wanted = self.order.positions(epoch, number)
        queries = [self._query(epoch, int(position)) for position in wanted]
        images, asked = [image for image, _ in queries], {image.image_id for image, _ in queries}
        rng = np.random.default_rng([self.seed, SHAPE_STREAM, epoch, number])
        first = [] if self.labels is not None else [self.row[image.shape_id] for image in images]
        candidates = [*dict.fromkeys(first), *rng.permutation(len(self.shapes)).tolist()]
        views: dict[int, np.ndarray] = {}
        for row in dict.fromkeys(candidates):
            if len(views) == min(self.batch_size, len(self.shapes)):
                break
            drawn = self._described(epoch, number, row, asked)
            if drawn is not None:
                views[row] = drawn
        kept = [
            i
            for i, image in enumerate(images)
            if self.labels is not None or self.row[image.shape_id] in views
        ]
        if not views or not kept:
            raise CmahError(f"{self.dataset.root}: no view of the shapes of a batch can be read")
        there = np.array([[place < len(each) for place in range(self.views)] for each in views.values()])
        filled = [each[np.arange(self.views) % len(each)] for each in views.values()]
        batch = {
            "image": np.stack([queries[i][1] for i in kept]),
            "views": np.stack(filled),
            "view_mask": there,
        }
        return batch | self._targets([images[i] for i in kept], list(views))

    def _targets(self, images: Sequence[Image], rows: Sequence[int]) -> dict[str, np.ndarray]:
        """What is to be learned of the queries."""
        if self.labels is not None:
            return {"label": np.array([self.labels[image.category] for image in images], np.int64)}
        place = {row: i for i, row in enumerate(rows)}
        shown = [self.row[image.shape_id] for image in images]
        return {
            "instance": np.array([place[row] for row in shown], np.int64),
            "category": np.array([self.categories[row] for row in shown], np.int64),
            "shape_category": np.array([self.categories[row] for row in rows], np.int64),
        }

    def _query(self, epoch: int, wanted: int) -> tuple[Image, np.ndarray]:
        """An image and its pixels; an unreadable one gives way to the next."""
        fault: CmahError | None = None
        for offset in range(len(self)):
            position = (wanted + offset) % len(self)
            rng = np.random.default_rng([self.seed, SAMPLE_STREAM, epoch, position])
            try:
                return self.images[position], self.pictures.draw(self.images[position], rng)
            except CmahError as error:
                fault = fault or error
                warnings.warn(f"{error}; the next image takes its place", CmahWarning, stacklevel=2)
        raise fault or CmahError(f"{self.dataset.root}: no image")

    def _described(self, epoch: int, number: int, row: int, asked: set[str]) -> np.ndarray | None:
        """The views of a shape, uint8 [v, 3, size, size], without the queries; None where none can be read."""
        images = [image for image in self.describing[row] if image.image_id not in asked]
        images = images or self.describing[row]
        rng = np.random.default_rng([self.seed, QUERY_VIEW_STREAM, epoch, number, row])
        drawn, _, skipped = self.views_of_shapes.draw_together(describing_views(images, self.views), rng)
        for _, reason in skipped:
            warnings.warn(f"{reason}; the shape has fewer views", CmahWarning, stacklevel=2)
        return drawn if len(drawn) else None


def query_images(
    dataset: Dataset, kinds: Sequence[str], views_from: ViewsFrom = "all", *, labelled: bool = False
) -> list[Image]:
    """The images of a dataset that are queries in training.

    Args:
        dataset: the images and shapes.
        kinds: the kinds of images that are queries.
        views_from: where every second render describes a shape ("even", "odd"), only the others are queries.
        labelled: whether queries must have a category and show no shape of the dataset, whose category would be read
            with theirs; otherwise they must show one.

    Examples:
        >>> dataset = Dataset.read("demo/dataset").select("test")
        >>> len(query_images(dataset, ["render"], "even")) == len(query_images(dataset, ["render"])) // 2
        True
    """
    views = dataset.views()
    every = [] if views_from == "all" else described(dataset, dataset.shapes, len(dataset.images), views_from)
    describing = {image.image_id for images in every for image in images}
    return [
        image
        for image in dataset.images
        if image.kind in kinds
        and image.image_id not in describing
        and (image.shape_id in views) != labelled
        and (image.category or not labelled)
    ]


class QueryBatches(EpochLoader):
    """The epochs of `ImageQueries` in batches; the worker processes live as long as this object.

    Attributes:
        pairs: the queries, what the batches are made of.

    Examples:
        >>> from cmah.data.augmentation import NO_IMAGE_AUGMENTATION
        >>> dataset = Dataset.read("demo/dataset").select("test")
        >>> pictures = AugmentedPictures(dataset, 32, NO_IMAGE_AUGMENTATION)
        >>> batches = QueryBatches(ImageQueries(dataset, pictures, pictures, batch_size=4, views=2))
        >>> len(batches) == len(batches.pairs) // 4, tuple(next(batches.epoch(0))["view_mask"].shape)
        (True, (4, 2))
    """

    def __init__(self, pairs: ImageQueries, workers: int = 0) -> None:
        """Prepare; the workers start with the first epoch.

        Args:
            pairs: what the batches are made of.
            workers: processes that decode and augment; 0: this process does it.
        """
        self.pairs = pairs
        picture = pairs.pictures.image_size**2
        batch_bytes = pairs.batch_size * (pairs.pictures.channels + 3 * pairs.views) * picture
        super().__init__(pairs, pairs.order, workers=workers, batch_bytes=batch_bytes, together=itemgetter(0))


class _WholeBatches(EpochOrder):
    """One key for each batch, (epoch, number of the batch)."""

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        yield from ([(self.epoch, number)] for number in range(self.first_batch, self.batches))
