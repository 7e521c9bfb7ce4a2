"""Random changes of training images; with every field off, nothing changes.

Everything random is drawn from the generator that is passed in, so that a sample is a function of its seed alone.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Annotated

import numpy as np
import PIL.Image

from cmah.data.colour_transfer import transfer_colours
from cmah.data.images import fit_square
from cmah.data.object_masks import object_mask, picture_mask, replace_background
from cmah.errors import ConfigError
from cmah.settings import Range, Settings, Share

# Rec. 709 luma weights, and the sine part of a hue rotation (SVG 1.1, feColorMatrix hueRotate)
LUMA = np.tile([0.213, 0.715, 0.072], (3, 1))
HUE_SINE = np.array([[-0.213, -0.715, 0.928], [0.143, 0.140, -0.283], [-0.787, 0.715, 0.072]])
ERASED = (0.02, 0.25)  # range of the erased part of the area
MaskOf = Callable[[], np.ndarray | None]  # gives uint8 [h, w], 255 = object
StyleOf = Callable[[], np.ndarray | None]  # gives uint8 [h, w, 3]
Turn = Annotated[float, Range(0, 0.5)]
Factor = Annotated[float, Range(1, 10)]  # 1: no change


@dataclass(frozen=True)
class ImageAugmentation(Settings):
    """How training images vary; the defaults suit rendered views of 128 to 224 pixels.

    Examples:
        >>> ImageAugmentation(crop=0.7, flip=0.0).hue  # what is not given keeps its default
        0.05
        >>> ImageAugmentation(hue=0.7)
        Traceback (most recent call last):
        cmah.errors.ConfigError: image_augmentation.hue = 0.7: expected a number from 0 to 0.5
    """

    table = "image_augmentation"

    crop: Share = 0.5  # smallest part of the area that a crop keeps; 1: no crop
    stretch: Factor = 1.25  # largest factor by which a crop changes width : height, either way; 1: none
    flip: Share = 0.5  # probability of a mirror image
    brightness: Share = 0.3  # factor from 1 - x to 1 + x
    contrast: Share = 0.3  # factor from 1 - x to 1 + x, about the mean grey
    saturation: Share = 0.3  # factor from 1 - x to 1 + x
    hue: Turn = 0.05  # largest turn of the colour circle, either way; 0.5: half of it
    greyscale: Share = 0.2  # probability of losing the colours
    background: Share = 0.5  # probability of another background: a colour, a gradient or clutter
    erase: Share = 0.0  # probability that a rectangle is painted over
    colour_transfer: Share = 0.0  # probability of taking on the colours of another training image

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crop == 0:
            raise ConfigError(
                "image_augmentation.crop = 0: expected a number above 0: the smallest part of the area that is kept"
            )


NO_IMAGE_AUGMENTATION = ImageAugmentation(1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0)


def augment_image(
    image: np.ndarray,
    size: int,
    config: ImageAugmentation,
    rng: np.random.Generator,
    mask: MaskOf = lambda: None,
    style: StyleOf = lambda: None,
    *,
    masks: bool = False,
) -> np.ndarray:
    """A random variant of an image.

    Args:
        image: uint8 [h, w, 3].
        size: side of the result in pixels.
        config: what may happen.
        rng: the generator of everything random.
        mask: called if the background is to be replaced, or with `masks`; gives uint8 [h, w], 255 = object, or None if
            there is none (then `object_mask` guesses).
        style: called if the image is to take on the colours of another; gives that one, uint8 [h, w, 3] of any size,
            or None if there is none.
        masks: add the mask as a fourth channel. It is cropped, stretched and flipped with the image; colours and the
            background do not change it, and what is painted over is 0.

    Returns:
        uint8 [size, size, 3], or [size, size, 4] with `masks`.

    Raises:
        ValueError: with `masks`, if the mask is not of the image's size.

    Examples:
        >>> from dataclasses import replace
        >>> flip = replace(NO_IMAGE_AUGMENTATION, flip=1)  # and nothing else
        >>> black_and_white = np.array([[[0] * 3, [255] * 3]] * 2, np.uint8)
        >>> augment_image(black_and_white, 2, flip, np.random.default_rng(0))[0].tolist()
        [[255, 255, 255], [0, 0, 0]]
        >>> mask = np.array([[255, 0]] * 2, np.uint8)
        >>> augment_image(black_and_white, 2, flip, np.random.default_rng(0), lambda: mask, masks=True)[0].tolist()
        [[255, 255, 255, 0], [0, 0, 0, 255]]
    """
    return _seen(*_in_place(image, size, config, rng, mask, style, masks), size, config, rng)


def augment_together(
    images: Sequence[np.ndarray],
    size: int,
    config: ImageAugmentation,
    rng: np.random.Generator,
    mask_of: Sequence[MaskOf] = (),
    style: StyleOf = lambda: None,
    *,
    masks: bool = False,
) -> np.ndarray:
    """Variants of several images, all changed by the same random numbers: views of one shape stay views of one shape.

    Crop, stretch, flip, colours and what is painted over are the same for all; so is the image whose colours they take
    on, and another background, where an image gets one.

    Args:
        images: uint8 [h, w, 3] each; the same crop is the same part of each one's width and height.
        size: side of the results in pixels.
        config: what may happen.
        rng: the generator of everything random.
        mask_of: for each image, what gives its mask, as in `augment_image`; () for none.
        style: as in `augment_image`.
        masks: as in `augment_image`.

    Returns:
        uint8 [n, size, size, 3], or [n, size, size, 4] with `masks`.

    Examples:
        >>> images = [np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)] * 2
        >>> first, second = augment_together(images, 8, ImageAugmentation(), np.random.default_rng(0))
        >>> (first == second).all()
        np.True_
    """
    # one seed for what happens before the crop, one for the rest: a background is drawn for some images and not for
    # others, which must not shift what is drawn after it
    before, after = rng.integers(2**63, size=2)
    style = cache(style)
    drawn = []
    for image, mask in zip(images, mask_of or [lambda: None] * len(images), strict=True):
        placed = _in_place(image, size, config, np.random.default_rng(before), mask, style, masks)
        drawn.append(_seen(*placed, size, config, np.random.default_rng(after)))
    return np.stack(drawn) if drawn else np.zeros((0, size, size, 3 + masks), np.uint8)


def _in_place(
    image: np.ndarray,
    size: int,
    config: ImageAugmentation,
    rng: np.random.Generator,
    mask: MaskOf,
    style: StyleOf,
    masks: bool,
) -> tuple[np.ndarray, np.ndarray | None]:
    """What changes the pixels where they are, another's colours and another background; and, with `masks`, the mask."""
    if masks:
        complete = picture_mask(image, mask())
        mask = lambda: complete  # noqa: E731, one line where a function would take three
    if config.colour_transfer > 0 and rng.random() < config.colour_transfer:
        image, mask = _transferred(image, 2 * size, mask, style())
    if rng.random() < config.background:
        return replace_background(image, mask(), rng), mask() if masks else None
    return image, mask() if masks else None


def _seen(
    image: np.ndarray, mask: np.ndarray | None, size: int, config: ImageAugmentation, rng: np.random.Generator
) -> np.ndarray:
    """Crop, flip, colours and what is painted over: uint8 [size, size, 3], or 4 if there is a mask."""
    layers = [image] if mask is None else [image, mask]
    if image.shape[0] != image.shape[1]:
        # twice the size leaves a crop its sharpness
        side = size if config.crop == 1 else min(max(image.shape[:2]), 2 * size)
        layers = [fit_square(layer, side) for layer in layers]
    pictures = _random_crop([PIL.Image.fromarray(layer) for layer in layers], size, config, rng)
    if rng.random() < config.flip:
        pictures = [picture.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT) for picture in pictures]
    pictures[0] = _random_colours(pictures[0], config, rng)
    if rng.random() < config.erase:
        side = np.sqrt(rng.uniform(*ERASED)) * size
        width, height = (max(1, round(side * factor)) for factor in reciprocal(rng, 2.0))
        left, top = (int(rng.integers(1 - extent, size)) for extent in (width, height))
        box = (left, top, left + width, top + height)
        pictures[0].paste(_random_colour(rng), box)
        for picture in pictures[1:]:
            picture.paste(0, box)
    return np.asarray(pictures[0]) if mask is None else np.dstack([np.asarray(each) for each in pictures])


def _transferred(
    image: np.ndarray, largest: int, mask: MaskOf, other: np.ndarray | None
) -> tuple[np.ndarray, MaskOf]:
    """An image with the colours of another, and what gives its mask.

    Both are made smaller before, to `largest` pixels a side: the conversion of a large photo takes seconds, and the
    crop is scaled to half of that in any case.
    """
    if other is None or min(image.size, other.size) < 2 * 3:  # a single pixel has no spread
        return image, mask

    def small_mask() -> np.ndarray | None:
        known = mask()
        known = object_mask(image) if known is None else known  # a guess from the colours that were
        return None if known is None or known.shape != image.shape[:2] else _at_most(known, largest)

    return transfer_colours(_at_most(image, largest), _at_most(other, largest)), small_mask


def _at_most(layer: np.ndarray, largest: int) -> np.ndarray:
    """An image or a mask, made smaller if its longer side is above `largest`."""
    height, width = layer.shape[:2]
    scale = largest / max(height, width)
    if scale >= 1:
        return layer
    inner = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(PIL.Image.fromarray(layer).resize(inner, PIL.Image.Resampling.BICUBIC))


def _random_crop(
    pictures: list[PIL.Image.Image], size: int, config: ImageAugmentation, rng: np.random.Generator
) -> list[PIL.Image.Image]:
    """The same part of pictures of one size, scaled."""
    picture = pictures[0]
    area = rng.uniform(config.crop, 1)
    extents = np.sqrt(area) * reciprocal(rng, math.sqrt(config.stretch))
    width, height = np.minimum(extents, 1) * picture.size
    left, top = rng.random(2) * (picture.width - width, picture.height - height)
    if picture.size == (size, size) == (width, height):
        return pictures
    box = (left, top, left + width, top + height)
    return [picture.resize((size, size), PIL.Image.Resampling.BICUBIC, box=box) for picture in pictures]


def _random_colours(
    picture: PIL.Image.Image, config: ImageAugmentation, rng: np.random.Generator
) -> PIL.Image.Image:
    """Brightness, contrast, saturation and hue in one affine map of the colours."""
    amounts = np.array([config.brightness, config.contrast, config.saturation])
    brightness, contrast, saturation = 1 + amounts * rng.uniform(-1, 1, 3)
    angle = 2 * math.pi * config.hue * rng.uniform(-1, 1)
    if rng.random() < config.greyscale:
        saturation = 0.0
    one = np.eye(3)
    hue = LUMA + math.cos(angle) * (one - LUMA) + math.sin(angle) * HUE_SINE
    matrix = brightness * contrast * ((saturation * one + (1 - saturation) * LUMA) @ hue)
    mean = picture.resize((1, 1), PIL.Image.Resampling.BOX).getpixel((0, 0))
    offset = brightness * (1 - contrast) * float(LUMA[0] @ np.asarray(mean))
    if offset == 0 and np.allclose(matrix, one, atol=1e-9):
        return picture
    return picture.convert("RGB", tuple(np.column_stack([matrix, np.full(3, offset)]).ravel().tolist()))


def _random_colour(rng: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in rng.integers(0, 256, 3))
    return red, green, blue


def reciprocal(rng: np.random.Generator, largest: float, count: int = 0) -> np.ndarray:
    """Factors between 1 / largest and largest, uniform in the logarithm.

    Args:
        rng: the generator.
        largest: 1 or more.
        count: how many; 0 gives a pair x, 1 / x.

    Returns:
        float64 [count], or [2] for a count of 0.

    Examples:
        >>> pair = reciprocal(np.random.default_rng(0), 2.0)
        >>> float(pair[0] * pair[1])
        1.0
    """
    logarithm = rng.uniform(-1, 1, count or 1) * math.log(largest)
    return np.exp(logarithm if count else np.concatenate([logarithm, -logarithm]))
