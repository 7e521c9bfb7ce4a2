"""What a model sees of a picture: all of it or a crop, with its background or before black."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from cmah.data.images import load_image_and_alpha, load_mask, without_background
from cmah.errors import CmahError

Box = tuple[int, int, int, int]  # x, y, width, height in pixels, from the upper left corner
Crop = Literal["none", "box", "mask"]
Background = Literal["keep", "remove"]


class HasBox(Protocol):
    """What is known of an image beside its picture.

    Examples:
        >>> from cmah.data.dataset import Image
        >>> Image("a", "", "chair", "test", "a.jpg", "photo", bbox=(10, 20, 100, 80)).bbox
        (10, 20, 100, 80)
    """

    @property
    def image_id(self) -> str:
        """Its id."""

    @property
    def mask(self) -> str:
        """Path of its mask, or ""."""

    @property
    def bbox(self) -> Box | None:
        """Where the object is."""


@dataclass(frozen=True)
class PictureFile:
    """A picture on disk, with what is known of the object in it.

    Attributes:
        path: the picture.
        mask: a grey picture of the same size, 255 = object; None where there is none.
        bbox: the object's box; None where unknown.

    Examples:
        >>> from cmah.data.dataset import Dataset
        >>> dataset = Dataset.read("demo/dataset")
        >>> dataset.picture(dataset.images[0])
        PictureFile(path=PosixPath('demo/dataset/renders/...00.jpg'), mask=PosixPath('...00_mask.png'), bbox=None)
    """

    path: Path
    mask: Path | None = None
    bbox: Box | None = None


@dataclass(frozen=True)
class Framing:
    """How pictures are cut and cleaned before they are scaled.

    Attributes:
        crop: "box" keeps the box of an image, "mask" the smallest box around its mask (or, without a mask, around what
            is not transparent); an image without stays whole. "none" keeps everything.
        margin: what a crop keeps around the box on each side, as a part of the box's width and height; nothing beyond
            the picture's edge.
        background: "remove" paints black what the mask, or the opacity, says is not the object.

    Examples:
        >>> Framing().key, Framing("box", 0.1, "remove").key
        ('keep', 'remove, crop box 0.1')
        >>> print(Framing("mask", 0.25))
        cropped to their masks (margin 0.25), backgrounds kept
    """

    crop: Crop = "none"
    margin: float = 0.1
    background: Background = "keep"

    @property
    def reads_mask(self) -> bool:
        """Whether the mask of a picture has to be read."""
        return self.crop == "mask" or self.background == "remove"

    @property
    def key(self) -> str:
        """What tells the outputs of one framing from those of another, in the keys of caches."""
        return (
            self.background if self.crop == "none" else f"{self.background}, crop {self.crop} {self.margin:g}"
        )

    def __str__(self) -> str:
        cropped = {"none": "whole", "box": "cropped to their boxes", "mask": "cropped to their masks"}[
            self.crop
        ]
        margin = "" if self.crop == "none" else f" (margin {self.margin:g})"
        return f"{cropped}{margin}, backgrounds {'kept' if self.background == 'keep' else 'removed'}"

    def remark(self, images: Sequence[HasBox]) -> str:
        """A line for people on how images are framed and how many cannot be; "" where nothing is done to them.

        Examples:
            >>> from cmah.data.dataset import Dataset
            >>> images = Dataset.read("demo/dataset").images[:5]
            >>> Framing().remark(images)
            ''
            >>> Framing("box").remark(images)
            "images: cropped to their boxes (margin 0.1), backgrounds kept; 5 of 5 have no bbox and stay whole (first:
            'airplane.airplane_000.obj_00')"
        """
        if self.crop == "none" and self.background == "keep":
            return ""
        lines = [f"images: {self}"]
        without_box = [image.image_id for image in images if image.bbox is None]
        without_mask = [image.image_id for image in images if not image.mask]
        if self.crop == "box" and without_box:
            lines.append(
                f"{len(without_box)} of {len(images)} have no bbox and stay whole (first: {without_box[0]!r})"
            )
        if self.reads_mask and without_mask:
            lines.append(
                f"{len(without_mask)} of {len(images)} have no mask: their own opacity counts, if they have one "
                f"(first: {without_mask[0]!r})"
            )
        return "; ".join(lines)


WHOLE = Framing()


def open_picture(
    picture: PictureFile, framing: Framing = WHOLE
) -> tuple[np.ndarray, Callable[[], np.ndarray | None]]:
    """Read a picture as a model sees it, before it is scaled.

    Args:
        picture: the file, with mask and box where there are any.
        framing: what is cut off and painted over.

    Returns:
        The pixels, uint8 [h, w, 3], and a function that gives the mask of these pixels, uint8 [h, w], 255 = object, or
        None where there is neither a mask nor opacity.

    Raises:
        CmahError: if a file that is needed cannot be read; if the mask is not of the picture's size or marks nothing;
            if the box leaves the picture.

    Examples:
        >>> from PIL import Image
        >>> Image.new("RGB", (40, 30), "red").save("red.png")
        >>> picture = PictureFile(Path("red.png"), bbox=(10, 5, 20, 10))
        >>> open_picture(picture)[0].shape, open_picture(picture, Framing("box", margin=0.5))[0].shape
        ((30, 40, 3), (20, 40, 3))
    """
    pixels, alpha = load_image_and_alpha(picture.path)

    def whole_mask() -> np.ndarray | None:
        return alpha if picture.mask is None else load_mask(picture.mask)

    mask = whole_mask() if framing.reads_mask else None
    size = pixels.shape[:2]
    if mask is not None and framing.background == "remove":
        try:
            pixels = without_background(pixels, mask)
        except CmahError as error:
            raise CmahError(f"{picture.path}: {error} ({picture.mask or ''})") from None
    box = _box(picture, framing, mask, size)
    if box is None:
        return pixels, whole_mask if mask is None else lambda: mask
    left, top, right, bottom = with_margin(box, framing.margin, size)

    def cut_mask() -> np.ndarray | None:
        whole = whole_mask() if mask is None else mask
        if whole is not None and whole.shape != size:
            raise CmahError(f"{picture.mask}: not of the size of {picture.path}")
        return None if whole is None else whole[top:bottom, left:right]

    return np.ascontiguousarray(pixels[top:bottom, left:right]), cut_mask


def _box(
    picture: PictureFile, framing: Framing, mask: np.ndarray | None, size: tuple[int, ...]
) -> Box | None:
    """The box to crop to; None where the picture stays whole."""
    if framing.crop == "box" and picture.bbox is not None:
        try:
            check_box(picture.bbox, size)
        except CmahError as error:
            raise CmahError(f"{picture.path}: {error}") from None
        return picture.bbox
    if framing.crop != "mask" or mask is None:
        return None
    if mask.shape != size:
        raise CmahError(f"{picture.mask}: not of the size of {picture.path}")
    box = box_of_mask(mask)
    if box is None:
        raise CmahError(
            f"{picture.mask or picture.path}: no pixel belongs to the object (expected some, to crop to)"
        )
    return box


def check_box(box: Box, size: tuple[int, ...]) -> None:
    """Refuse a box that leaves its picture or has no area.

    Args:
        box: x, y, width, height in pixels.
        size: height and width of the picture in pixels.

    Raises:
        CmahError: naming both.

    Examples:
        >>> check_box((10, 20, 100, 80), size=(100, 110))
        >>> check_box((11, 20, 100, 80), size=(100, 110))
        Traceback (most recent call last):
        cmah.errors.CmahError: bbox 11,20,100,80 leaves the picture of 110 x 100 pixels (expected ...)
    """
    x, y, width, height = box
    if min(x, y) < 0 or min(width, height) < 1 or x + width > size[1] or y + height > size[0]:
        raise CmahError(
            f"bbox {x},{y},{width},{height} leaves the picture of {size[1]} x {size[0]} pixels (expected "
            "x,y,width,height of an area inside it)"
        )


def box_of_mask(mask: np.ndarray) -> Box | None:
    """The smallest box around the pixels above 0 of a mask, uint8 [h, w]; None where there are none.

    Examples:
        >>> mask = np.zeros((5, 6), np.uint8)
        >>> mask[1, 2] = mask[3, 4] = 255
        >>> box_of_mask(mask)
        (2, 1, 3, 3)
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    x, y = int(columns[0]), int(rows[0])
    return x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y


def with_margin(box: Box, margin: float, size: tuple[int, ...]) -> Box:
    """A box with a margin on each side, as far as the picture goes.

    Args:
        box: x, y, width, height in pixels.
        margin: on each side, as a part of the box's width and height.
        size: height and width of the picture in pixels.

    Returns:
        left, top, right, bottom in pixels, the last two exclusive.

    Examples:
        >>> with_margin((10, 20, 40, 20), margin=0.25, size=(44, 100))
        (0, 15, 60, 44)
    """
    x, y, width, height = box
    aside, above = round(margin * width), round(margin * height)
    return (
        max(0, x - aside),
        max(0, y - above),
        min(size[1], x + width + aside),
        min(size[0], y + height + above),
    )
