"""Reading pictures: what a camera, a scanner or a renderer wrote becomes uint8 RGB, or one clear error."""

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from cmah.errors import CmahError, CodesError
from cmah.file_names import readable_name
from cmah.pixels import UnusablePixels, eight_bits
from cmah.reading import require_file

Picture = str | Path | PIL.Image.Image | np.ndarray

# Larger pictures are refused before a pixel is decoded: 64 million pixels take 192 MB as RGB
MAX_PIXELS = 64_000_000
# These cover cameras, scanners and the web; some of the other formats that Pillow reads run programs (EPS)
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")


ORIENTATION = 0x0112  # tag of EXIF; what turns a picture upright, by its value
TURNS = {
    2: PIL.Image.Transpose.FLIP_LEFT_RIGHT,
    3: PIL.Image.Transpose.ROTATE_180,
    4: PIL.Image.Transpose.FLIP_TOP_BOTTOM,
    5: PIL.Image.Transpose.TRANSPOSE,
    6: PIL.Image.Transpose.ROTATE_270,
    7: PIL.Image.Transpose.TRANSVERSE,
    8: PIL.Image.Transpose.ROTATE_90,
}


def load_image(path: str | Path) -> np.ndarray:
    """Read a picture as uint8 [h, w, 3] RGB.

    Transparent parts are laid over white, a camera's rotation mark (EXIF) is obeyed, 16-bit values keep their
    high byte, palettes, grey and CMYK become RGB, and an animation gives its first frame.

    Raises:
        CmahError: if the file is missing, not a picture in one of FORMATS, broken, or larger than MAX_PIXELS.

    Examples:
        >>> PIL.Image.new("L", (3, 2), 128).save("grey.png")  # 3 pixels wide, 2 high
        >>> image = load_image("grey.png")
        >>> image.shape, image[0, 0].tolist()
        ((2, 3, 3), [128, 128, 128])
    """
    return load_image_and_alpha(path)[0]


def load_image_and_alpha(path: Picture) -> tuple[np.ndarray, np.ndarray | None]:
    """Like `load_image`, with the opacity as uint8 [h, w] (255 = object), None if the picture has none.

    Args:
        path: a file, a picture of Pillow, which is treated as its file would be, or an array, see `picture_of_array`.

    Examples:
        >>> PIL.Image.new("RGBA", (1, 1), (255, 0, 0, 0)).save("clear.png")
        >>> image, alpha = load_image_and_alpha("clear.png")
        >>> image.tolist(), alpha.tolist()  # what is transparent shows white
        ([[[255, 255, 255]]], [[0]])
    """
    if isinstance(path, np.ndarray):
        image = eight_bits(picture_of_array(path))
    else:
        image = _opened(path) if isinstance(path, PIL.Image.Image) else _decoded(path)
    if image.mode == "RGB":
        return np.asarray(image), None
    alpha = image.getchannel("A")
    image = PIL.Image.composite(image.convert("RGB"), PIL.Image.new("RGB", image.size, "white"), alpha)
    return np.asarray(image), np.asarray(alpha)


def picture_of_array(pixels: np.ndarray) -> PIL.Image.Image:
    """An array as a picture.

    Args:
        pixels: [h, w] or [h, w, 1] grey, [h, w, 3] RGB, or [h, w, 4] RGB with opacity; uint8, or floats from 0 to 1,
            which are rounded to uint8.

    Raises:
        CodesError: for another shape, type or value.

    Examples:
        >>> np.asarray(picture_of_array(np.array([[0.0, 0.5, 1.0]]))).tolist()
        [[0, 128, 255]]
        >>> picture_of_array(np.zeros((2, 3, 2), np.uint8))
        Traceback (most recent call last):
        cmah.errors.CodesError: a picture of shape [2, 3, 2], expected [h, w], [h, w, 3] or [h, w, 4]
    """
    shape = list(pixels.shape)
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (1, 3, 4)) or 0 in shape:
        raise CodesError(f"a picture of shape {shape}, expected [h, w], [h, w, 3] or [h, w, 4]")
    if pixels.dtype.kind == "f":
        values = pixels.astype(np.float32)
        if not ((values >= 0) & (values <= 1)).all():
            raise CodesError(
                f"a picture of {pixels.dtype} from {values.min():g} to {values.max():g}, expected 0 to 1, or uint8"
            )
        pixels = np.floor(values * 255 + 0.5).astype(np.uint8)
    if pixels.dtype != np.uint8:
        raise CodesError(f"a picture of {pixels.dtype}, expected uint8, or floats from 0 to 1")
    return PIL.Image.fromarray(np.ascontiguousarray(pixels[..., 0] if shape[2:] == [1] else pixels))


def load_mask(path: str | Path) -> np.ndarray:
    """Read an object mask as uint8 [h, w], 255 = object.

    Raises:
        CmahError: as `load_image`.

    Examples:
        >>> PIL.Image.fromarray(np.array([[0, 255]], np.uint8)).save("mask.png")
        >>> load_mask("mask.png").tolist()
        [[0, 255]]
    """
    return np.asarray(PIL.Image.fromarray(load_image(path)).convert("L"))


def without_background(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Paint uint8 [h, w, 3] black where its mask, uint8 [h, w], is 0.

    Raises:
        CmahError: if the mask has another size.

    Examples:
        >>> image = np.full((1, 2, 3), 200, np.uint8)
        >>> without_background(image, np.array([[0, 255]], np.uint8)).tolist()
        [[[0, 0, 0], [200, 200, 200]]]
    """
    if mask.shape != image.shape[:2]:
        height, width = mask.shape
        raise CmahError(
            f"the mask is {width} x {height} pixels, its picture {image.shape[1]} x {image.shape[0]}"
        )
    return image * (mask > 0)[..., None]


def fit_square(image: np.ndarray, size: int) -> np.ndarray:
    """Scale uint8 [h, w, 3] to [size, size, 3] without distortion, or a mask [h, w] to [size, size] in the same way.

    An image that is not square is centred on the colour of its border (median of each channel), a mask on 0. An image
    that already has the size is returned as it is.

    Examples:
        >>> fit_square(np.zeros((20, 10, 3), np.uint8), 8).shape
        (8, 8, 3)
        >>> fit_square(np.full((4, 2), 255, np.uint8), 4).tolist()[0]  # the mask of an image that is all object
        [0, 255, 255, 0]
    """
    height, width = image.shape[:2]
    if height == width == size:
        return image
    scale = size / max(height, width)
    inner = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = PIL.Image.fromarray(image).resize(inner, PIL.Image.Resampling.BICUBIC)
    if height == width:
        return np.asarray(small)
    canvas = PIL.Image.new(small.mode, (size, size), 0 if image.ndim == 2 else border_colour(image))
    canvas.paste(small, ((size - inner[0]) // 2, (size - inner[1]) // 2))
    return np.asarray(canvas)


def border_colour(image: np.ndarray) -> tuple[int, int, int]:
    """The median of each channel over the outermost pixels of uint8 [h, w, 3].

    Examples:
        >>> image = np.full((5, 5, 3), (250, 240, 230), np.uint8)
        >>> image[1:4, 1:4] = 0
        >>> border_colour(image)
        (250, 240, 230)
    """
    red, green, blue = np.median(border(image), axis=0).astype(int)
    return int(red), int(green), int(blue)


def border(image: np.ndarray) -> np.ndarray:
    """The outermost pixels of [h, w, c] as [n, c].

    Examples:
        >>> border(np.arange(9).reshape(3, 3, 1)).ravel().tolist()  # all but the middle, 4
        [0, 1, 2, 6, 7, 8, 3, 5]
    """
    return np.concatenate([image[0], image[-1], image[1:-1, 0], image[1:-1, -1]])


def _opened(image: PIL.Image.Image) -> PIL.Image.Image:
    """A picture of Pillow, decoded, its size checked before, turned upright."""
    name = readable_name(getattr(image, "filename", "") or "a picture")
    try:
        return _loaded(image, name)
    except CmahError:
        raise
    except Exception as error:  # as in `_decoded`; also if the file was closed meanwhile
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CmahError(f"{name}: cannot be decoded ({reason})") from None


def _loaded(image: PIL.Image.Image, name: str | Path) -> PIL.Image.Image:
    pixels = image.width * image.height
    if pixels > MAX_PIXELS:
        raise CmahError(f"{name}: {image.width} x {image.height} pixels (at most {MAX_PIXELS:,} are read)")
    try:
        upright = eight_bits(image)
    except UnusablePixels as error:
        raise CmahError(f"{name}: {error}") from None
    turn = TURNS.get(_orientation(image))
    return upright if turn is None else upright.transpose(turn)


def _decoded(path: str | Path) -> PIL.Image.Image:
    """The picture as RGB or RGBA, its size checked before decoding, turned upright."""
    path = Path(path)
    require_file(path, "expected a picture")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd metadata and large sizes
        try:
            with PIL.Image.open(path, formats=FORMATS) as image:
                return _loaded(image, path)
        except CmahError:
            raise
        except PIL.UnidentifiedImageError:
            empty = path.stat().st_size == 0
            raise CmahError(
                f"{path}: {'empty file' if empty else 'not a picture'} (expected {', '.join(FORMATS)})"
            ) from None
        except PIL.Image.DecompressionBombError:
            raise CmahError(f"{path}: too many pixels (at most {MAX_PIXELS:,} are read)") from None
        except (
            Exception
        ) as error:  # decoders of foreign bytes raise nearly anything, also struct.error, KeyError
            reason = " ".join(str(error).split()) or type(error).__name__
            raise CmahError(f"{path}: cannot be decoded ({reason})") from None


def _orientation(image: PIL.Image.Image) -> int:
    """The EXIF orientation; 1, upright, where there is none or the metadata is broken."""
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # the pixels are sound, only the metadata is not
        return 1


def encoded(picture: PIL.Image.Image, file_format: str, **options: Any) -> bytes:
    """The bytes of a picture file: Pillow, writing a file itself, would not say why the system refused it.

    Args:
        picture: what to encode.
        file_format: "JPEG" or "PNG".
        options: as `PIL.Image.Image.save` takes them, such as `quality`.

    Examples:
        >>> encoded(PIL.Image.new("RGB", (3, 2)), "PNG")[:4]
        b'\x89PNG'
    """
    buffer = io.BytesIO()
    picture.save(buffer, file_format, **options)
    return buffer.getvalue()
