"""Random changes of training images and point clouds; with every field off, nothing changes.

Everything random is drawn from the generator that is passed in, so that a sample is a function of its seed alone.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import PIL.Image
from scipy import ndimage

from cmah.data.images import border, border_colour, fit_square
from cmah.errors import ConfigError
from cmah.settings import Range, Settings, Share

# Rec. 709 luma weights, and the sine part of a hue rotation (SVG 1.1, feColorMatrix hueRotate)
LUMA = np.tile([0.213, 0.715, 0.072], (3, 1))
HUE_SINE = np.array([[-0.213, -0.715, 0.928], [0.143, 0.140, -0.283], [-0.787, 0.715, 0.072]])
# Largest difference of a channel at which a pixel still counts as background: JPEG leaves ripples of about 10
BACKGROUND_TOLERANCE = 12
# Largest mean difference of an enclosed region that is taken for a hole, and not for a part of the object
HOLE_TOLERANCE = 3
# Part of the border that must be of one colour before a background is assumed
UNIFORM_BORDER = 0.8
# Difference from the background at which a pixel on the outline counts as fully covered by the object
OPAQUE = 96
ERASED = (0.02, 0.25)  # range of the erased part of the area
Turn = Annotated[float, Range(0, 0.5)]
Part = Annotated[float, Range(0, 0.99)]
Factor = Annotated[float, Range(1, 10)]  # 1: no change
Degrees = Annotated[float, Range(0, 180)]
Length = Annotated[float, Range(0, 10)]  # in units of the normalised cloud


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

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crop == 0:
            raise ConfigError(
                "image_augmentation.crop = 0: expected a number above 0: the smallest part of the area that is kept"
            )


@dataclass(frozen=True)
class PointAugmentation(Settings):
    """How training clouds vary, in units of the normalised cloud (largest norm 1).

    Examples:
        >>> PointAugmentation(scale=0.8)
        Traceback (most recent call last):
        cmah.errors.ConfigError: point_augmentation.scale = 0.8: expected a number from 1 to 10
    """

    table = "point_augmentation"

    rotation: Degrees = 180.0  # degrees, largest turn about the up axis, either way; 180: any direction
    tilt: Degrees = 0.0  # degrees, largest tilt of the up axis
    scale: Factor = 1.25  # largest factor of each axis, either way; 1: none
    shift: Length = 0.1  # largest shift along each axis
    jitter: Length = 0.01  # standard deviation of the noise on each coordinate
    jitter_clip: Length = 0.05  # largest noise on a coordinate
    dropout: Annotated[float, Range(0, 0.99)] = (
        0.3  # largest part of the points that is replaced by repeats of the others
    )
    mirror: Share = 0.5  # probability of a mirror image (left and right exchanged)


NO_IMAGE_AUGMENTATION = ImageAugmentation(1, 1, 0, 0, 0, 0, 0, 0, 0, 0)
NO_POINT_AUGMENTATION = PointAugmentation(0, 0, 1, 0, 0, 0, 0, 0)


def augment_image(
    image: np.ndarray,
    size: int,
    config: ImageAugmentation,
    rng: np.random.Generator,
    mask: Callable[[], np.ndarray | None] = lambda: None,
) -> np.ndarray:
    """A random variant of an image.

    Args:
        image: uint8 [h, w, 3].
        size: side of the result in pixels.
        config: what may happen.
        rng: the generator of everything random.
        mask: called if the background is to be replaced; gives uint8 [h, w], 255 = object, or None if there is none
            (then `object_mask` guesses).

    Returns:
        uint8 [size, size, 3].

    Examples:
        >>> from dataclasses import replace
        >>> flip = replace(NO_IMAGE_AUGMENTATION, flip=1)  # and nothing else
        >>> black_and_white = np.array([[[0] * 3, [255] * 3]] * 2, np.uint8)
        >>> augment_image(black_and_white, 2, flip, np.random.default_rng(0))[0].tolist()
        [[255, 255, 255], [0, 0, 0]]
    """
    if rng.random() < config.background:
        image = replace_background(image, mask(), rng)
    if image.shape[0] != image.shape[1]:
        # twice the size leaves a crop its sharpness
        image = fit_square(image, size if config.crop == 1 else min(max(image.shape[:2]), 2 * size))
    picture = _random_crop(PIL.Image.fromarray(image), size, config, rng)
    if rng.random() < config.flip:
        picture = picture.transpose(PIL.Image.Transpose.FLIP_LEFT_RIGHT)
    picture = _random_colours(picture, config, rng)
    if rng.random() < config.erase:
        side = np.sqrt(rng.uniform(*ERASED)) * size
        width, height = (max(1, round(side * factor)) for factor in _reciprocal(rng, 2.0))
        left, top = (int(rng.integers(1 - extent, size)) for extent in (width, height))
        picture.paste(_random_colour(rng), (left, top, left + width, top + height))
    return np.asarray(picture)


def replace_background(image: np.ndarray, mask: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """Lay the object of uint8 [h, w, 3] over a random background; unchanged if the object cannot be made out.

    Where a pixel is partly object (mask a in 0..1), the old background shows through: c = a f + (1 - a) w, with
    w the colour of the border. So the new pixel is c + (1 - a) (b - w), without a halo of the old background.

    Examples:
        >>> image = np.full((3, 3, 3), 255, np.uint8)
        >>> image[1, 1] = 0  # a black object on white
        >>> changed = replace_background(image, None, np.random.default_rng(0))
        >>> (changed != image).any(axis=2).astype(int).tolist()
        [[1, 1, 1], [1, 0, 1], [1, 1, 1]]
    """
    old = border_colour(image)
    opacity = object_mask(image) if mask is None else mask
    if opacity is None or opacity.shape != image.shape[:2]:
        return image
    change = _random_background(image.shape[0], image.shape[1], rng)
    change -= np.asarray(old, np.float32)
    change *= (1 - opacity.astype(np.float32) / 255)[..., None]
    change += image
    return np.clip(change, 0, 255, out=change).astype(np.uint8)


def object_mask(image: np.ndarray) -> np.ndarray | None:
    """Guess the mask uint8 [h, w], 255 = object, of an object before a plain background.

    Background is what resembles the border's median colour and is connected to the border, or resembles it
    closely. Pixels of the outline get a value between, by their difference from the background.

    Returns:
        None if the border is not of one colour.

    Examples:
        >>> image = np.full((3, 4, 3), 255, np.uint8)
        >>> image[1, 1], image[1, 2] = 207, 0  # one pixel is half object, the next all of it
        >>> object_mask(image).tolist()
        [[0, 0, 0, 0], [0, 127, 255, 0], [0, 0, 0, 0]]
    """
    colour = np.asarray(border_colour(image), np.uint8)
    if (_difference(border(image), colour) <= BACKGROUND_TOLERANCE).mean() < UNIFORM_BORDER:
        return None
    difference = _difference(image, colour)
    regions, count = ndimage.label(difference <= BACKGROUND_TOLERANCE)
    pixels = np.maximum(np.bincount(regions.ravel(), minlength=count + 1), 1)
    outside = np.bincount(regions.ravel(), difference.ravel(), count + 1) <= HOLE_TOLERANCE * pixels
    outside[border(regions[..., None])] = True
    outside[0] = False
    background = outside[regions]
    outline = background.copy()
    outline[1:] |= background[:-1]
    outline[:-1] |= background[1:]
    outline[:, 1:] |= background[:, :-1]
    outline[:, :-1] |= background[:, 1:]
    mask = np.full(background.shape, 255, np.uint8)
    mask[outline] = np.minimum(difference[outline], OPAQUE).astype(np.uint16) * 255 // OPAQUE
    mask[background] = 0
    return mask


def augment_points(points: np.ndarray, config: PointAugmentation, rng: np.random.Generator) -> np.ndarray:
    """A random variant of a normalised cloud, y up.

    Args:
        points: float32 [n, 3] or [n, 6]; only the coordinates change.
        config: what may happen.
        rng: the generator of everything random.

    Returns:
        float32 of the same shape.

    Examples:
        >>> mirror = PointAugmentation(0, 0, 1, 0, 0, 0, 0, mirror=1)  # and nothing else
        >>> cloud = np.array([[1, 2, 3, 0.5, 0.5, 0.5]], np.float32)
        >>> augment_points(cloud, mirror, np.random.default_rng(0)).round(3).tolist()
        [[-1.0, 2.0, 3.0, 0.5, 0.5, 0.5]]
    """
    n = len(points)
    matrix = _random_rotation(config, rng) * _reciprocal(rng, config.scale, 3)
    if rng.random() < config.mirror:
        matrix[:, 0] *= -1
    xyz = points[:, :3] @ matrix.T.astype(np.float32)
    if config.jitter > 0:
        noise = rng.standard_normal((n, 3), dtype=np.float32) * np.float32(config.jitter)
        xyz += noise.clip(-config.jitter_clip, config.jitter_clip)
    xyz += rng.uniform(-config.shift, config.shift, 3).astype(np.float32)
    points = np.concatenate([xyz, points[:, 3:]], axis=1)
    dropped = int(n * rng.uniform(0, config.dropout))
    if dropped:
        order = rng.permutation(n)
        points[order[:dropped]] = points[rng.choice(order[dropped:], dropped)]
    return points


def _random_crop(
    picture: PIL.Image.Image, size: int, config: ImageAugmentation, rng: np.random.Generator
) -> PIL.Image.Image:
    area = rng.uniform(config.crop, 1)
    extents = np.sqrt(area) * _reciprocal(rng, math.sqrt(config.stretch))
    width, height = np.minimum(extents, 1) * picture.size
    left, top = rng.random(2) * (picture.width - width, picture.height - height)
    if picture.size == (size, size) == (width, height):
        return picture
    box = (left, top, left + width, top + height)
    return picture.resize((size, size), PIL.Image.Resampling.BICUBIC, box=box)


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


def _random_background(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """float32 [h, w, 3] in 0..255: a grid of random colours, enlarged; a single cell is plain, two make a gradient."""
    cells = int(rng.choice([1, 2, 4, 8, 16]))
    spread = rng.uniform(0, 128)
    grid = rng.uniform(0, 255, 3) + rng.uniform(-spread, spread, (cells, cells, 3))
    small = PIL.Image.fromarray(grid.clip(0, 255).astype(np.uint8))
    return np.asarray(small.resize((width, height), PIL.Image.Resampling.BICUBIC), np.float32)


def _random_colour(rng: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = (int(value) for value in rng.integers(0, 256, 3))
    return red, green, blue


def _random_rotation(config: PointAugmentation, rng: np.random.Generator) -> np.ndarray:
    """A turn about the up axis, then a tilt about a random horizontal axis: float64 [3, 3]."""
    first, up, second = range(3)
    turn, tilt = np.radians(rng.uniform(-1, 1, 2) * (config.rotation, config.tilt))
    towards = rng.uniform(0, 2 * math.pi)
    about_up = _plane_rotation(first, second, turn)
    direction = _plane_rotation(first, second, towards)
    return direction @ _plane_rotation(first, up, tilt) @ direction.T @ about_up


def _plane_rotation(first: int, second: int, angle: float) -> np.ndarray:
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = math.cos(angle)
    matrix[second, first] = math.sin(angle)
    matrix[first, second] = -math.sin(angle)
    return matrix


def _reciprocal(rng: np.random.Generator, largest: float, count: int = 0) -> np.ndarray:
    """Factors between 1 / largest and largest, uniform in the logarithm; count 0 gives a pair x, 1 / x."""
    logarithm = rng.uniform(-1, 1, count or 1) * math.log(largest)
    return np.exp(logarithm if count else np.concatenate([logarithm, -logarithm]))


def _difference(pixels: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Largest difference of a channel, uint8 [...], of pixels uint8 [..., 3] from a colour."""
    apart = np.maximum(pixels, colour) - np.minimum(pixels, colour)
    return np.maximum(np.maximum(apart[..., 0], apart[..., 1]), apart[..., 2])
