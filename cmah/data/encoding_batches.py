"""Batches for encoding: images and point clouds in order, without augmentation, unreadable ones noted."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch.utils.data import DataLoader

from cmah.data.dataset import Image
from cmah.data.images import fit_square, load_image, load_image_and_alpha, load_mask, without_background
from cmah.data.point_clouds import load_points_file, model_input
from cmah.data.training_batches import PREFETCH, quiet_worker
from cmah.errors import CmahError
from cmah.files import Skipped


class ImageBatches:
    """Pictures in order, without augmentation.

    Iterating yields ({"image": uint8 [b, 3, size, size]}, positions in `paths`). A picture that cannot be read is
    left out and noted.

    Attributes:
        skipped: (path, reason) of each picture left out so far.

    Examples:
        >>> root = Path("demo/dataset")
        >>> pictures = sorted(root.glob("renders/*/00.jpg"))[:3]
        >>> batches = ImageBatches([*pictures, root / "none.jpg"], size=32, batch_size=2)
        >>> [(tuple(batch["image"].shape), positions) for batch, positions in batches]
        [((2, 3, 32, 32), [0, 1]), ((1, 3, 32, 32), [2])]
        >>> batches.skipped
        [('demo/dataset/none.jpg', 'demo/dataset/none.jpg: no such file (expected a picture)')]
    """

    def __init__(
        self,
        paths: Sequence[Path],
        size: int,
        batch_size: int,
        workers: int = 0,
        masks: Sequence[Path | str] | None = None,
    ) -> None:
        """Prepare; nothing is read yet.

        Args:
            paths: the picture files.
            size: side of the images in pixels; see `images.fit_square`.
            batch_size: images in a batch.
            workers: number of processes that decode; 0: this process does it.
            masks: None keeps the backgrounds. Otherwise they become black: the file of each picture's mask, or "" for
                the opacity in the picture itself; a picture with neither stays as it is.
        """
        self.paths, self.size, self.batch_size, self.workers = paths, size, batch_size, workers
        self.masks = masks
        self.skipped: Skipped = []

    @classmethod
    def of(
        cls,
        root: Path,
        images: Sequence[Image],
        size: int,
        batch_size: int,
        workers: int,
        background: Literal["keep", "remove"],
    ) -> "ImageBatches":
        """The batches of images of a dataset.

        Args:
            root: the dataset folder.
            images: the images, in the order wanted.
            size: side of the images in pixels.
            batch_size: images in a batch.
            workers: number of processes that decode; 0: this process does it.
            background: "remove" paints black what is not the object.

        Examples:
            >>> from cmah.data.dataset import Dataset
            >>> dataset = Dataset.read("demo/dataset")
            >>> batches = ImageBatches.of(dataset.root, dataset.images[:1], 32, 1, 0, background="remove")
            >>> batch, positions = next(iter(batches))
            >>> batch["image"][0, :, 0, 0].tolist()  # the corner has become black
            [0, 0, 0]
        """
        masks = [image.mask and root / image.mask for image in images] if background == "remove" else None
        return cls([root / image.path for image in images], size, batch_size, workers, masks)

    def __iter__(self) -> Iterator[tuple[dict[str, torch.Tensor], list[int]]]:
        self.skipped.clear()
        loader = DataLoader(
            _Pictures(self.paths, self.size, self.masks),
            batch_size=self.batch_size,
            num_workers=self.workers,
            collate_fn=list,
            prefetch_factor=PREFETCH if self.workers else None,
            worker_init_fn=quiet_worker,
            generator=torch.Generator(),
        )
        position = 0
        for batch in loader:
            pictures, positions = [], []
            for picture, reason in batch:
                if picture is None:
                    self.skipped.append((str(self.paths[position]), reason))
                else:
                    pictures.append(picture)
                    positions.append(position)
                position += 1
            if pictures:
                yield {"image": torch.from_numpy(np.stack(pictures))}, positions


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


class _Pictures(torch.utils.data.Dataset):
    """(uint8 [3, size, size] or None, reason) of each file."""

    def __init__(self, paths: Sequence[Path], size: int, masks: Sequence[Path | str] | None) -> None:
        self.paths, self.size, self.masks = paths, size, masks

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, position: int) -> tuple[np.ndarray | None, str]:
        try:
            if self.masks is None:
                picture = load_image(self.paths[position])
            else:
                picture = _object_only(self.paths[position], self.masks[position])
        except CmahError as error:
            return None, str(error)
        return fit_square(picture, self.size).transpose(2, 0, 1), ""


def _object_only(path: Path, mask_path: Path | str) -> np.ndarray:
    """A picture uint8 [h, w, 3], black where its mask, or without one its opacity, is 0."""
    picture, alpha = load_image_and_alpha(path)
    mask = load_mask(mask_path) if mask_path else alpha
    if mask is None:
        return picture
    try:
        return without_background(picture, mask)
    except CmahError as error:
        raise CmahError(f"{path}: {error} ({mask_path})") from None
