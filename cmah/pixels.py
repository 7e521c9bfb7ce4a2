"""Pictures of every depth and mode that Pillow opens, as 8-bit RGB or RGBA, with their values kept."""

from typing import Any

import numpy as np
import PIL.Image

BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339  # tags of TIFF
WHITE_IS_ZERO, SIGNED = 0, 2  # values of these
ALPHA_MODES = ("RGBA", "LA", "PA", "La", "RGBa")


class UnusablePixels(ValueError):
    """Pixels that have no values of 8 bits.

    Examples:
        >>> eight_bits(PIL.Image.new("F", (1, 1)))
        Traceback (most recent call last):
        cmah.pixels.UnusablePixels: floating-point pixels (expected 8 or 16 bits a channel)
    """


def eight_bits(image: PIL.Image.Image) -> PIL.Image.Image:
    """The picture in mode RGB or, where anything in it can be seen through, RGBA.

    Grey of 9 to 16 bits keeps its highest 8; how many a value has is what the file states (see `depth_of_values`).
    Pillow (13.0) clips such grey at 255, and compares the one transparent colour of a PNG of 2, 4 or 16 bits with
    values of 8 bits.

    Args:
        image: as Pillow opened it, decoded here: its format, tags and `info` tell what the values mean.

    Raises:
        UnusablePixels: for pixels of floating-point numbers, or beyond 16 bits.

    Examples:
        >>> deep = PIL.Image.fromarray(np.array([[0, 0x80FF, 65535]], np.uint16))
        >>> np.asarray(eight_bits(deep))[0].tolist()
        [[0, 0, 0], [128, 128, 128], [255, 255, 255]]
    """
    grey_depth = _depth_of_grey(image)
    image.load()
    if image.mode == "F":
        raise UnusablePixels("floating-point pixels (expected 8 or 16 bits a channel)")
    if image.mode.startswith("I"):
        return _from_deep_grey(image)
    if image.mode == "La":
        image = image.convert("LA")
    key = image.info.get("transparency")
    if image.mode in ("1", "L", "RGB") and key is not None and image.format == "PNG":
        return _with_transparent_colour(image, key, grey_depth)
    return image.convert("RGBA" if image.mode in ALPHA_MODES or key is not None else "RGB")


def depth_of_values(image: PIL.Image.Image, highest: int) -> int:
    """Of how many bits the values of a grey picture of more than 8 bits are: the largest such number is white.

    Up to 16 bits that is what the file states, however dark the picture is. Pillow scales the values of PNM to 16 bits
    whatever their maxval is. 32 bits are stated where a program keeps whole numbers of any scale: there, and where no
    file states anything, it is 8, 16 or 31 bits, the fewest that hold the values.

    Args:
        image: of mode "I" or "I;16", as Pillow opened or made it.
        highest: the highest of its values.

    Examples:
        >>> numbers = PIL.Image.fromarray(np.array([[0, 200]], np.int32))
        >>> depth_of_values(numbers, 200), depth_of_values(numbers, 300), depth_of_values(numbers, 70_000)
        (8, 16, 31)
        >>> numbers.save("numbers.pgm")
        >>> depth_of_values(PIL.Image.open("numbers.pgm"), 200)
        16
    """
    tags: Any = getattr(image, "tag_v2", {})
    stated = tags[BITS_PER_SAMPLE][0] if BITS_PER_SAMPLE in tags else 16 if image.format else 32
    if image.mode != "I" or stated <= 16:
        signed = tags.get(SAMPLE_FORMAT, (1,))[0] == SIGNED
        return min(stated, 16) - signed
    return 8 if highest < 1 << 8 else 16 if highest < 1 << 16 else 31


def _from_deep_grey(image: PIL.Image.Image) -> PIL.Image.Image:
    """Grey of up to 16 bits, with the transparent value of a PNG."""
    values = np.asarray(image).astype(np.int64)
    tags: Any = getattr(image, "tag_v2", {})
    highest = int(values.max(initial=0))
    depth = depth_of_values(image, highest)
    if depth > 16 or highest >= 1 << depth or values.min(initial=0) < 0:
        raise UnusablePixels("pixels beyond 16 bits (expected 8 or 16 bits a channel)")
    grey = (values >> (depth - 8)).astype(np.uint8)
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        grey = 255 - grey
    rgb = np.repeat(grey[..., None], 3, axis=2)
    key = image.info.get("transparency")
    if not isinstance(key, int):
        return PIL.Image.fromarray(rgb)
    alpha = np.where(values == key, 0, 255).astype(np.uint8)
    return PIL.Image.fromarray(np.dstack([rgb, alpha]))


def _with_transparent_colour(image: PIL.Image.Image, key: Any, grey_depth: int) -> PIL.Image.Image:
    """A PNG of which one colour is transparent, given in the depth of the file."""
    # The colour of 1-bit pictures is scaled by Pillow already; of 2 and 4 bits the pixels are, but not the colour; of
    # 16 bits a channel the pixels keep their high byte only.
    colour = np.atleast_1d(np.asarray(key, dtype=np.int64))
    if image.mode == "RGB":
        colour = colour >> 8 if colour.max() > 255 else colour
    elif image.mode == "L":
        colour = colour * (255 // ((1 << grey_depth) - 1))
    rgb = np.asarray(image.convert("RGB"))
    alpha = np.where((rgb == colour).all(axis=2), 0, 255).astype(np.uint8)
    return PIL.Image.fromarray(np.dstack([rgb, alpha]))


def _depth_of_grey(image: PIL.Image.Image) -> int:
    """Bits of a pixel of a grey PNG in the file, of which Pillow makes 8; told by the raw mode, such as "L;4"."""
    tiles: Any = getattr(image, "tile", None)  # emptied by decoding
    raw = str(tiles[0].args) if tiles else ""
    return int(raw.removeprefix("L;")) if raw in ("L;2", "L;4") else 8
