"""Batches for encoding: images and point clouds in order, without augmentation, unreadable ones noted."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from cmah.data.dataset import Dataset, Image
from cmah.data.epochs import PREFETCH, quiet_worker
from cmah.data.framing import WHOLE, Framing, PictureFile, open_picture, open_with_mask
from cmah.data.object_masks import square_picture
from cmah.data.point_clouds import load_points_file, model_input
from cmah.errors import CmahError
from cmah.skipped_files import Skipped


class ImageBatches:
    """Pictures in order, without augmentation.

    Iterating yields ({"image": uint8 [b, 3, size, size]}, positions in `pictures`), with masks [b, 4, size, size]. A
    picture that cannot be read is left out and noted.

    Attributes:
        skipped: (path, reason) of each picture left out so far.

    Examples:
        >>> root = Path("demo/dataset")
        >>> paths = [*sorted(root.glob("renders/*/00.jpg"))[:3], root / "none.jpg"]
        >>> batches = ImageBatches([PictureFile(path) for path in paths], size=32, batch_size=2)
        >>> [(tuple(batch["image"].shape), positions) for batch, positions in batches]
        [((2, 3, 32, 32), [0, 1]), ((1, 3, 32, 32), [2])]
        >>> batches.skipped
        [('demo/dataset/none.jpg', 'demo/dataset/none.jpg: no such file (expected a picture)')]
    """

    def __init__(
        self,
        pictures: Sequence[PictureFile],
        size: int,
        batch_size: int,
        workers: int = 0,
        framing: Framing = WHOLE,
        masks: bool = False,
    ) -> None:
        """Prepare; nothing is read yet.

        Args:
            pictures: the files, with masks and boxes where there are any.
            size: side of the images in pixels; see `images.fit_square`.
            batch_size: images in a batch.
            workers: number of processes that decode; 0: this process does it.
            framing: what is cut off and painted over.
            masks: add the mask of the object as a fourth channel, 255 = object.
        """
        self.pictures, self.size, self.batch_size, self.workers = pictures, size, batch_size, workers
        self.framing, self.masks = framing, masks
        self.skipped: Skipped = []

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        images: Sequence[Image],
        size: int,
        batch_size: int,
        workers: int,
        framing: Framing,
        masks: bool = False,
    ) -> "ImageBatches":
        """The batches of images of a dataset; arguments as in the constructor.

        Examples:
            >>> dataset = Dataset.read("demo/dataset")
            >>> removed = Framing(background="remove")
            >>> batches = ImageBatches.of(dataset, dataset.images[:1], 32, 1, 0, removed)
            >>> batch, positions = next(iter(batches))
            >>> batch["image"][0, :, 0, 0].tolist()  # the corner has become black
            [0, 0, 0]
        """
        pictures = [dataset.picture(image) for image in images]
        return cls(pictures, size, batch_size, workers, framing, masks)

    def __iter__(self) -> Iterator[tuple[dict[str, torch.Tensor], list[int]]]:
        files = _Pictures(self.pictures, self.size, self.framing, self.masks)
        names = [picture.path for picture in self.pictures]
        yield from read_in_order(files, "image", names, self.batch_size, self.workers, self.skipped)


def read_in_order(
    files: "torch.utils.data.Dataset[tuple[np.ndarray | None, str]]",
    field: str,
    names: Sequence[object],
    batch_size: int,
    workers: int,
    skipped: Skipped,
) -> Iterator[tuple[dict[str, torch.Tensor], list[int]]]:
    """What is made of files in order, by worker processes, in batches without those that cannot be read.

    Args:
        files: gives, by position, an array, or None and why there is none.
        field: the name of the arrays in a batch.
        names: of the files.
        batch_size: files in a batch.
        workers: number of processes that read; 0: this process does it.
        skipped: emptied at first; (name, reason) of each file without an array is added to it.

    Yields:
        ({field: the arrays as one tensor, a batch axis in front}, their positions).

    Examples:
        >>> class Odd(torch.utils.data.Dataset):
        ...     def __len__(self):
        ...         return 3
        ...     def __getitem__(self, i):
        ...         return (np.array([i]), "") if i % 2 else (None, "even")
        >>> skipped = []
        >>> names = [Path(name) for name in "abc"]
        >>> [(batch["x"].tolist(), at) for batch, at in read_in_order(Odd(), "x", names, 2, 0, skipped)], skipped
        ([([[1]], [1])], [('a', 'even'), ('c', 'even')])
    """
    skipped.clear()
    loader = DataLoader(
        files,
        batch_size=batch_size,
        num_workers=workers,
        collate_fn=list,
        prefetch_factor=PREFETCH if workers else None,
        worker_init_fn=quiet_worker,
        generator=torch.Generator(),
    )
    position = 0
    for batch in loader:
        arrays, positions = [], []
        for array, reason in batch:
            if array is None:
                skipped.append((str(names[position]), reason))
            else:
                arrays.append(array)
                positions.append(position)
            position += 1
        if arrays:
            yield {field: torch.from_numpy(np.stack(arrays))}, positions


class PointBatches:
    """Point clouds in order, made the input of a model by `point_clouds.model_input`.

    Iterating yields ({"points": float32 [b, points, 3 or 6]}, positions in `paths`). A cloud that cannot be read is
    left out and noted.

    Attributes:
        skipped: (path, reason) of each cloud left out so far.

    Examples:
        >>> clouds = sorted(Path("demo/dataset/points").glob("*.npy"))[:3]
        >>> batches = PointBatches(clouds, points=100, batch_size=2, colours=True)
        >>> [(tuple(batch["points"].shape), positions) for batch, positions in batches]
        [((2, 100, 6), [0, 1]), ((1, 100, 6), [2])]
    """

    def __init__(
        self, paths: Sequence[Path], points: int, batch_size: int, colours: bool = False, up_axis: str = "y"
    ) -> None:
        """Prepare; nothing is read yet.

        Args:
            paths: the .npy files. They are read as a query is, without the rounding to float16 of
                `Dataset.load_points`, so that a file gives the same code either way.
            points: number of points of each cloud that the model takes.
            batch_size: clouds in a batch.
            colours: whether the clouds have six columns.
            up_axis: "y" or "z", the axis that points up in the files; the result has y up.
        """
        self.paths, self.points, self.batch_size, self.colours = paths, points, batch_size, colours
        self.up_axis = up_axis
        self.skipped: Skipped = []

    def __iter__(self) -> Iterator[tuple[dict[str, torch.Tensor], list[int]]]:
        self.skipped.clear()
        for first in range(0, len(self.paths), self.batch_size):
            clouds, positions = [], []
            for position, path in enumerate(self.paths[first : first + self.batch_size], first):
                try:
                    clouds.append(
                        model_input(load_points_file(path, self.up_axis), self.points, self.colours)
                    )
                    positions.append(position)
                except CmahError as error:
                    self.skipped.append((str(path), str(error)))
            if clouds:
                yield {"points": torch.from_numpy(np.stack(clouds))}, positions


def square_file(
    picture: PictureFile, size: int, framing: Framing = WHOLE, *, masks: bool = False
) -> np.ndarray:
    """A picture on disk as a model takes it, framed and scaled by `fit_square`.

    Args:
        picture: the file, with mask and box where there are any.
        size: side of the result in pixels.
        framing: what is cut off and painted over.
        masks: add the mask of the object as a fourth channel, see `framing.open_with_mask`.

    Returns:
        uint8 [size, size, 3], or [size, size, 4] with masks.

    Raises:
        CmahError: if a file that is needed cannot be read, as `framing.open_picture` says.

    Examples:
        >>> dataset = Dataset.read("demo/dataset")
        >>> square_file(dataset.picture(dataset.images[0]), 32, masks=True).shape
        (32, 32, 4)
    """
    pixels = np.dstack(open_with_mask(picture, framing)) if masks else open_picture(picture, framing)[0]
    return square_picture(pixels, size, masks=masks)


class _Pictures(torch.utils.data.Dataset):
    """(uint8 [3 or 4, size, size] or None, reason) of each file."""

    def __init__(self, pictures: Sequence[PictureFile], size: int, framing: Framing, masks: bool) -> None:
        self.pictures, self.size, self.framing, self.masks = pictures, size, framing, masks

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, position: int) -> tuple[np.ndarray | None, str]:
        try:
            square = square_file(self.pictures[position], self.size, self.framing, masks=self.masks)
        except CmahError as error:
            return None, str(error)
        return square.transpose(2, 0, 1), ""


def with_left_out(batches: Any, count: int) -> Iterator[tuple[Any, list[int], list[tuple[int, str]], int]]:
    """Batches with what was left out before each of them, by position.

    Args:
        batches: yields (inputs, positions) in order; its `skipped` holds, at each moment, (name, reason) of the items
            that were left out so far.
        count: number of items.

    Yields:
        (inputs, positions, (position, reason) of what was left out, position up to which all is told); last what was
        left out behind the last batch, without inputs.

    Examples:
        >>> clouds = PointBatches([Path("none.npy")], points=8, batch_size=2)
        >>> list(with_left_out(clouds, 1))
        [(None, [], [(0, 'none.npy: no such file (expected ...)')], 1)]
    """
    told = at = 0
    for inputs, positions in batches:
        reasons = [reason for _, reason in batches.skipped[told:]]
        told, stop = len(batches.skipped), at + len(positions) + len(reasons)
        missing = sorted(set(range(at, stop)) - set(positions))
        yield inputs, positions, list(zip(missing, reasons, strict=True)), stop
        at = stop
    reasons = [reason for _, reason in batches.skipped[told:]]
    yield None, [], list(zip(range(at, count), reasons, strict=True)), count
