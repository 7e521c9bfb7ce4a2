"""What a model sees of a picture: all of it or a crop, with its background or before black."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from cmah.data.images import Picture, load_image_and_alpha, load_mask, without_background
from cmah.data.object_masks import picture_mask
from cmah.errors import CmahError

Box = tuple[int, int, int, int]  # x, y, width, height in pixels, from the upper left corner
Crop = Literal["none", "box", "mask", "square"]
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
    """A picture on disk, or one that is read already, with what is known of the object in it.

    Attributes:
        path: the picture: a file, or as `images.load_image_and_alpha` takes it.
        mask: a grey picture of the same size, 255 = object; None where there is none.
        bbox: the object's box; None where unknown.

    Examples:
        >>> from cmah.data.dataset import Dataset
        >>> dataset = Dataset.read("demo/dataset")
        >>> dataset.picture(dataset.images[0])
        PictureFile(path=PosixPath('demo/dataset/renders/...00.jpg'), mask=PosixPath('...00_mask.png'), bbox=None)
    """

    path: Path | Picture
    mask: Path | None = None
    bbox: Box | None = None

    @property
    def name(self) -> str:
        """What messages call it."""
        return str(self.path) if isinstance(self.path, str | Path) else "a picture"


@dataclass(frozen=True)
class Framing:
    """How pictures are cut and cleaned before they are scaled.

    Attributes:
        crop: "box" keeps the box of an image, "mask" the smallest box around its mask (or, without a mask, around what
            is not transparent); an image without stays whole. "square" keeps the largest square in the middle, "none"
            everything.
        margin: what a crop to a box or mask keeps around it on each side, as a part of its width and height; nothing
            beyond the picture's edge.
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
        if self.crop == "none":
            return self.background
        margin = "" if self.crop == "square" else f" {self.margin:g}"
        return f"{self.background}, crop {self.crop}{margin}"

    def __str__(self) -> str:
        cropped = {
            "none": "whole",
            "box": "cropped to their boxes",
            "mask": "cropped to their masks",
            "square": "cropped to the square in their middle",
        }[self.crop]
        margin = f" (margin {self.margin:g})" if self.crop in ("box", "mask") else ""
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
    opened = _open(picture, framing)

    def mask() -> np.ndarray | None:
        known = opened.known_mask()
        return None if known is None else opened.cut(known)

    return opened.pixels, mask


def open_with_mask(picture: PictureFile, framing: Framing = WHOLE) -> tuple[np.ndarray, np.ndarray]:
    """Read a picture as a model with masks sees it, before it is scaled.

    The mask is that of the file, else the picture's opacity if any of it is transparent, else what
    `object_masks.picture_mask` makes of the whole picture; a crop cuts it as it cuts the pixels. What is guessed takes
    no part in the framing.

    Args:
        picture: the file, with mask and box where there are any.
        framing: what is cut off and painted over.

    Returns:
        The pixels, uint8 [h, w, 3], and their mask, uint8 [h, w], 255 = object.

    Raises:
        CmahError: as `open_picture`, and if the mask cannot be read or is not of the picture's size.

    Examples:
        >>> from PIL import Image
        >>> scene = Image.new("RGB", (40, 30), "white")
        >>> scene.paste("red", (10, 5, 30, 15))
        >>> scene.save("scene.png")
        >>> pixels, mask = open_with_mask(PictureFile(Path("scene.png"), bbox=(9, 5, 20, 10)), Framing("box", margin=0))
        >>> pixels.shape, mask[0, :3].tolist()
        ((10, 20, 3), [0, 255, 255])
    """
    opened = _open(picture, framing)
    known = opened.known_mask()
    if known is not None and known.shape != opened.original.shape[:2]:
        raise CmahError(f"{picture.mask}: not of the size of {picture.name}")
    if picture.mask is None and known is not None and known.min() == 255:
        known = None  # many programs write an opacity of 255 everywhere, which says nothing
    return opened.pixels, opened.cut(picture_mask(opened.original, known))


@dataclass(frozen=True)
class _Opened:
    """A framed picture, with what is needed for its mask."""

    pixels: np.ndarray  # framed
    original: np.ndarray  # as they were read
    known_mask: Callable[[], np.ndarray | None]  # of the original pixels
    cut: Callable[[np.ndarray], np.ndarray]  # what framing does to a mask


def _open(picture: PictureFile, framing: Framing) -> _Opened:
    original, alpha = load_image_and_alpha(picture.path)

    def whole_mask() -> np.ndarray | None:
        return alpha if picture.mask is None else load_mask(picture.mask)

    mask = whole_mask() if framing.reads_mask else None
    size, pixels = original.shape[:2], original
    if mask is not None and framing.background == "remove":
        try:
            pixels = without_background(pixels, mask)
        except CmahError as error:
            raise CmahError(f"{picture.name}: {error} ({picture.mask or ''})") from None
    known = whole_mask if mask is None else lambda: mask
    box = _box(picture, framing, mask, size)
    if box is None:
        return _Opened(pixels, original, known, lambda whole: whole)
    margin = 0.0 if framing.crop == "square" else framing.margin
    left, top, right, bottom = with_margin(box, margin, size)

    def cut(whole: np.ndarray) -> np.ndarray:
        if whole.shape != size:
            raise CmahError(f"{picture.mask}: not of the size of {picture.name}")
        return whole[top:bottom, left:right]

    return _Opened(np.ascontiguousarray(pixels[top:bottom, left:right]), original, known, cut)


def _box(
    picture: PictureFile, framing: Framing, mask: np.ndarray | None, size: tuple[int, ...]
) -> Box | None:
    """The box to crop to; None where the picture stays whole."""
    if framing.crop == "box" and picture.bbox is not None:
        try:
            check_box(picture.bbox, size)
        except CmahError as error:
            raise CmahError(f"{picture.name}: {error}") from None
        return picture.bbox
    if framing.crop == "square":
        (height, width), side = size, min(size)
        return (width - side) // 2, (height - side) // 2, side, side
    if framing.crop != "mask" or mask is None:
        return None
    if mask.shape != size:
        raise CmahError(f"{picture.mask}: not of the size of {picture.name}")
    box = box_of_mask(mask)
    if box is None:
        raise CmahError(
            f"{picture.mask or picture.name}: no pixel belongs to the object (expected some, to crop to)"
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
