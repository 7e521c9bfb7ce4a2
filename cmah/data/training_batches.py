"""Batches for training: random pairs of an image and a point cloud.

A training sample is a function of (seed, epoch, position of the shape) alone, and the order of an epoch of (seed,
epoch): the batches are the same with any number of workers, and a resumed run sees what an uninterrupted one would
have seen. Workers only decode, augment and draw; they never run Numba's parallel kernels, which do not survive a fork.
"""

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from cmah.data.augmentation import NO_IMAGE_AUGMENTATION, ImageAugmentation
from cmah.data.augmented_pictures import AugmentedPictures
from cmah.data.dataset import Dataset, Image
from cmah.data.epochs import SAMPLE_STREAM, EpochLoader, EpochOrder
from cmah.data.file_states import image_states
from cmah.data.framing import WHOLE, Framing
from cmah.data.point_augmentation import NO_POINT_AUGMENTATION, PointAugmentation, augment_points
from cmah.data.point_clouds import fixed_subset, normalise, with_colours
from cmah.data.surfels import draw_views
from cmah.errors import CmahError, CmahWarning, DatasetError
from cmah.files import digest
from cmah.progress import progress
from cmah.skipped_files import Skipped


class TrainingPairs(torch.utils.data.Dataset):
    """Shapes with their views, as random pairs of an image and a point cloud.

    The points are read once and kept as float16, one array for all clouds; images are decoded when they are drawn.

    Attributes:
        dataset: what they are drawn from.
        shapes: the shapes that are trained on: those with a readable cloud, if clouds are read, and an image.
        images: the images of each of these shapes.
        skipped: (shape_id, reason) of the other shapes.
        unit: what one of the pairs is, for messages.

    Examples:
        >>> pairs = TrainingPairs(Dataset.read("demo/dataset"), image_size=32, points=64)
        >>> {key: value.shape for key, value in pairs[0, 5].items()}  # epoch 0, the sixth shape
        {'points': (64, 3), 'index': (), 'view': (), 'image': (3, 32, 32)}
    """

    unit = "shapes"

    def __init__(
        self,
        dataset: Dataset,
        image_size: int,
        points: int,
        image_augmentation: ImageAugmentation = NO_IMAGE_AUGMENTATION,
        point_augmentation: PointAugmentation = NO_POINT_AUGMENTATION,
        *,
        kinds: Sequence[str] = ("render",),
        picture_weight: float = 1.0,
        views: int = 1,
        drawn: int = 0,
        colours: bool = False,
        clouds: bool = True,
        pictures: bool = True,
        framing: Framing = WHOLE,
        masks: bool = False,
        seed: int = 0,
    ) -> None:
        """Read the clouds.

        Args:
            dataset: the shapes and images; images without a shape are not used.
            image_size: side of the images in pixels.
            points: number of points drawn from each cloud.
            image_augmentation: how images vary.
            point_augmentation: how clouds vary.
            kinds: the kinds of images to use: "render", "picture", "photo".
            picture_weight: how many times as often as another image of a shape a "picture" of it is drawn.
            views: number of images drawn for each shape, without repetition if there are enough.
            drawn: number of pictures that are drawn from all points of each shape, turned and scaled as its cloud is
                augmented; 0 for none.
            colours: whether the clouds have six columns.
            clouds: whether the clouds are read, for a model that sees shapes by their points.
            pictures: whether the images are read. Otherwise only the number of one is drawn, for a caller that has
                the features of all images.
            framing: what is cut off and painted over; a background that is removed is not replaced by another.
            masks: whether images have a fourth channel, the mask of the object.
            seed: seed of everything random.

        Raises:
            DatasetError: if no shape can be trained on.
        """
        self.dataset, self.image_size, self.points = dataset, image_size, points
        self.point_augmentation = point_augmentation
        self.views, self.colours, self.pictures, self.seed = views, colours, pictures, seed
        self.clouds, self.picture_weight, self.drawn = clouds, picture_weight, drawn if pictures else 0
        reads_points = clouds or drawn > 0
        self.skipped: Skipped = []
        self.shapes, self.images = [], []
        parts = []
        all_views = dataset.views()
        for shape in progress(dataset.shapes, "reading points") if reads_points else dataset.shapes:
            images = [image for image in all_views[shape.shape_id] if image.kind in kinds]
            if not images:
                self.skipped.append((shape.shape_id, f"no image of kind {' or '.join(kinds)}"))
                continue
            if reads_points:
                try:
                    cloud = dataset.load_points(shape)
                except CmahError as error:
                    self.skipped.append((shape.shape_id, str(error)))
                    continue
                parts.append(with_colours(cloud) if colours else cloud[:, :3])
            self.shapes.append(shape)
            self.images.append(images)
        if not self.shapes:
            reason = f" ({self.skipped[0][1]})" if self.skipped else ""
            raise DatasetError([f"{dataset.root}: no shape to train on{reason}"])
        self._drawing = AugmentedPictures(
            dataset,
            image_size,
            image_augmentation,
            framing,
            masks=masks,
            styles=[image for images in self.images for image in images],
        )
        self._points = np.concatenate(parts) if reads_points else np.zeros((0, 3), np.float16)
        self._offsets = np.cumsum([0, *map(len, parts)])

    def __len__(self) -> int:
        return len(self.shapes)

    def cloud(self, position: int) -> np.ndarray:
        """All points of the shape at a position: float16 [n, 3] or [n, 6], neither drawn from nor normalised."""
        return self._points[self._offsets[position] : self._offsets[position + 1]]

    def __getitem__(self, key: tuple[int, int]) -> dict[str, np.ndarray]:
        """Draw a pair; if no image of the shape can be read, the next shape takes its place.

        Args:
            key: (epoch, position of the shape).

        Returns:
            image: uint8 [3, size, size], or [views, 3, size, size] if more than one view is drawn; 4 in place of 3
                with masks; missing if `pictures` is off.
            points: float32 [points, 3] or [points, 6], normalised, then augmented; missing if `clouds` is off.
            index: int64 [], position of the shape in `shapes`.
            view: int64 [], number of the (first) image drawn among `images[index]`.
            drawn: int64 [], how many different images were drawn, if more than one is wanted.
            views: uint8 [v, 3, size, size], pictures drawn from the points; missing if none are wanted.
            view_mask: bool [v], all True, beside them.

        Raises:
            CmahError: if no image of any shape can be read.
        """
        epoch, wanted = key
        fault: CmahError | None = None
        for offset in range(len(self)):
            try:
                return self._pair(epoch, (wanted + offset) % len(self))
            except CmahError as error:
                fault = fault or error
                warnings.warn(f"{error}; the next shape takes its place", CmahWarning, stacklevel=2)
        raise fault or CmahError(f"{self.dataset.root}: no shape")

    def _pair(self, epoch: int, position: int) -> dict[str, np.ndarray]:
        rng = np.random.default_rng([self.seed, SAMPLE_STREAM, epoch, position])
        pair = {"points": self.draw_points(position, rng)} if self.clouds else {}
        pair["index"] = np.array(position, np.int64)
        if not self.pictures:
            return {**pair, "view": np.array(self._order(position, rng, 1)[0])}
        drawn, view = self._views(position, rng)
        pair["view"] = np.array(view, np.int64)
        if self.drawn:
            pair["views"] = self._drawn_views(position, rng)
            pair["view_mask"] = np.ones(self.drawn, bool)
        if self.views == 1:
            return {**pair, "image": drawn[0]}
        filled = np.stack([drawn[k % len(drawn)] for k in range(self.views)])
        return {**pair, "image": filled, "drawn": np.array(len(drawn), np.int64)}

    def draw_points(self, position: int, rng: np.random.Generator) -> np.ndarray:
        """A random subset of a shape's points, normalised, then augmented: float32 [points, 3 or 6]."""
        cloud = self.cloud(position)
        if len(cloud) >= self.points:
            chosen = rng.choice(len(cloud), self.points, replace=False)
        else:
            chosen = fixed_subset(len(cloud), self.points)
        return augment_points(normalise(cloud[chosen]), self.point_augmentation, rng)

    def _drawn_views(self, position: int, rng: np.random.Generator) -> np.ndarray:
        """Pictures uint8 [drawn, 3, size, size] of a shape's points, augmented but for noise, which has no surface."""
        calm = replace(self.point_augmentation, shift=0.0, jitter=0.0, dropout=0.0)
        cloud = augment_points(normalise(self.cloud(position)[:, :3]), calm, rng)
        return draw_views(cloud, self.drawn, self.image_size)

    def _views(self, position: int, rng: np.random.Generator) -> tuple[list[np.ndarray], int]:
        """Up to `self.views` augmented views, and the number of the first; an unreadable one gives way to the next."""
        order = self._order(position, rng)
        drawn: list[np.ndarray] = []
        first = -1
        fault: CmahError | None = None
        for choice in order:
            try:
                drawn.append(self.draw_view(self.images[position][choice], rng))
                first = int(choice) if first < 0 else first
            except CmahError as error:
                fault = error
                warnings.warn(f"{error}; another view takes its place", CmahWarning, stacklevel=2)
            if len(drawn) == self.views:
                return drawn, first
        if not drawn:
            raise CmahError(f"shape {self.shapes[position].shape_id!r}: no view can be read: {fault}")
        return drawn, first

    def _order(self, position: int, rng: np.random.Generator, first: int | None = None) -> np.ndarray:
        """The numbers of a shape's images in a random order, or the first of them: int64 [n] or [first]."""
        images = self.images[position]
        if self.picture_weight == 1:
            return rng.permutation(len(images)) if first is None else rng.integers(len(images), size=first)
        weights = np.array([self.picture_weight if image.kind == "picture" else 1.0 for image in images])
        count = len(images) if first is None else first
        return rng.choice(len(images), count, replace=False, p=weights / weights.sum())

    def draw_view(self, image: Image, rng: np.random.Generator) -> np.ndarray:
        """An image of the dataset, augmented: uint8 [3, size, size], or [4, size, size] with masks."""
        return self._drawing.draw(image, rng)

    @property
    def views_key(self) -> str:
        """A hash that changes with any of the images' files, and with how images vary.

        Examples:
            >>> dataset = Dataset.read("demo/dataset").select("test")
            >>> keys = [TrainingPairs(dataset, image_size=size, points=64).views_key for size in (32, 32, 64)]
            >>> keys[0] == keys[1], keys[0] == keys[2]
            (True, False)
        """
        drawing = self._drawing
        how = [repr(drawing.augmentation), drawing.framing.key, drawing.masks, self.image_size]
        images = [image for views in self.images for image in views]
        return digest([how, image_states(self.dataset, images)])

    @property
    def clouds_key(self) -> str:
        """A hash that changes with any point, and with how clouds are drawn.

        Examples:
            >>> dataset = Dataset.read("demo/dataset").select("test")
            >>> keys = [TrainingPairs(dataset, image_size=32, points=n).clouds_key for n in (64, 64, 32)]
            >>> keys[0] == keys[1], keys[0] == keys[2]
            (True, False)
        """
        content = hashlib.sha256(np.ascontiguousarray(self._points).data).hexdigest()
        return digest([content, self._offsets.tolist(), self.points, repr(self.point_augmentation)])

    @property
    def sample_bytes(self) -> int:
        """Bytes of the points and images of one sample.

        Examples:
            >>> dataset = Dataset.read("demo/dataset").select("test")
            >>> TrainingPairs(dataset, image_size=32, points=64).sample_bytes == 64 * 3 * 4 + 3 * 32 * 32
            True
        """
        points = self.points * (24 if self.colours else 12) if self.clouds else 0
        channels = self.views * self._drawing.channels + 3 * self.drawn
        pictures = channels * self.image_size**2 if self.pictures else 0
        return points + pictures


class TrainingBatches(EpochLoader):
    """The epochs of `TrainingPairs` in batches: what a pair holds, with a batch axis in front.

    Attributes:
        pairs: the pairs that the batches are made of.

    Examples:
        >>> dataset = Dataset.read("demo/dataset")
        >>> dataset.shapes = dataset.shapes[:10]
        >>> batches = TrainingBatches(TrainingPairs(dataset, image_size=32, points=64), batch_size=4)
        >>> [tuple(batch["points"].shape) for batch in batches.epoch(0)]  # two shapes are left over
        [(4, 64, 3), (4, 64, 3)]
    """

    def __init__(self, pairs: TrainingPairs, batch_size: int, workers: int = 0) -> None:
        """Prepare; the workers start with the first epoch.

        Args:
            pairs: the pairs that the batches are made of.
            batch_size: samples in a batch. An incomplete last batch is dropped, unless it is the only one.
            workers: number of processes that decode and augment; 0: this process does it.
        """
        self.pairs = pairs
        order = EpochOrder(len(pairs), batch_size, pairs.seed)
        super().__init__(pairs, order, workers=workers, batch_bytes=batch_size * pairs.sample_bytes)
