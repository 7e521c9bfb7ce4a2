"""The mask of the object in a picture: what is known of it, else a guess. And another background behind the object."""

import numpy as np
import PIL.Image

from cmah.data.images import border, border_colour, fit_square

# Largest difference of a channel at which a pixel still counts as background: JPEG leaves ripples of about 10
BACKGROUND_TOLERANCE = 12
# Largest mean difference of an enclosed region that is taken for a hole, and not for a part of the object
HOLE_TOLERANCE = 3
# Part of the border that must be of one colour before a background is assumed
UNIFORM_BORDER = 0.8
# Difference from the background at which a pixel on the outline counts as fully covered by the object
OPAQUE = 96


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
    from scipy import (
        ndimage,
    )  # not needed by models without masks, for which it would take a tenth of a second

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


def picture_mask(image: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
    """The mask of a picture: the known one, else the guess of `object_mask`, else everything is object.

    Args:
        image: uint8 [h, w, 3].
        known: uint8 [h, w], 255 = object: of a file, or the picture's opacity; None where there is neither.

    Returns:
        uint8 [h, w].

    Raises:
        ValueError: if the known mask has another size.

    Examples:
        >>> noise = np.random.default_rng(0).integers(0, 256, (2, 3, 3)).astype(np.uint8)
        >>> picture_mask(noise, np.array([[0, 0, 255]] * 2, np.uint8)).tolist()
        [[0, 0, 255], [0, 0, 255]]
        >>> picture_mask(noise).tolist()  # no plain background, from which an object could be told
        [[255, 255, 255], [255, 255, 255]]
    """
    if known is not None and known.shape != image.shape[:2]:
        raise ValueError(f"mask {list(known.shape)}: expected the size of its picture {list(image.shape)}")
    mask = object_mask(image) if known is None else known
    return np.full(image.shape[:2], 255, np.uint8) if mask is None else mask


def square_picture(image: np.ndarray, size: int, *, masks: bool = False) -> np.ndarray:
    """A picture as a model takes it: scaled by `fit_square`, with the mask as fourth channel if the model has masks.

    Args:
        image: uint8 [h, w, 3], or, with `masks`, also [h, w, 4], whose fourth channel is the mask; without one, it is
            that of `picture_mask`.
        size: side of the result in pixels.
        masks: whether the result has the fourth channel.

    Returns:
        uint8 [size, size, 3], or [size, size, 4].

    Raises:
        ValueError: if the image has another shape.

    Examples:
        >>> image = np.full((2, 4, 3), 7, np.uint8)
        >>> square_picture(image, 4).shape
        (4, 4, 3)
        >>> square_picture(np.dstack([image, np.full((2, 4), 255)]).astype(np.uint8), 4, masks=True)[:, 0].tolist()
        [[7, 7, 7, 0], [7, 7, 7, 255], [7, 7, 7, 255], [7, 7, 7, 0]]
    """
    if image.ndim != 3 or image.shape[2] not in ((3, 4) if masks else (3,)):
        expected = "[h, w, 3] or, with its mask, [h, w, 4]" if masks else "[h, w, 3]"
        raise ValueError(f"image {list(image.shape)}: expected {expected}")
    if not masks:
        return fit_square(image, size)
    pixels, known = image[..., :3], image[..., 3] if image.shape[2] == 4 else None
    return np.dstack([fit_square(pixels, size), fit_square(picture_mask(pixels, known), size)])


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


def _random_background(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """float32 [h, w, 3] in 0..255: a grid of random colours, enlarged; a single cell is plain, two make a gradient."""
    cells = int(rng.choice([1, 2, 4, 8, 16]))
    spread = rng.uniform(0, 128)
    grid = rng.uniform(0, 255, 3) + rng.uniform(-spread, spread, (cells, cells, 3))
    small = PIL.Image.fromarray(grid.clip(0, 255).astype(np.uint8))
    return np.asarray(small.resize((width, height), PIL.Image.Resampling.BICUBIC), np.float32)


def _difference(pixels: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Largest difference of a channel, uint8 [...], of pixels uint8 [..., 3] from a colour."""
    apart = np.maximum(pixels, colour) - np.minimum(pixels, colour)
    return np.maximum(np.maximum(apart[..., 0], apart[..., 1]), apart[..., 2])
