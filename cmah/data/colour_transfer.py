"""Colour transfer (Reinhard et al. 2001): an image takes the mean and spread of another's colours, in CIE Lab.

The augmentation of CMIC's queries (Lin et al., ICCV 2021), where the other image is any of the batch. Their released
code feeds the conversion numbers of 0 to 255 where it expects 0 to 1; here they are 0 to 1.
"""

import numpy as np

# Linear sRGB to XYZ and the white point D65, with the digits of the released code
TO_XYZ = np.array(
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]]
)
FROM_XYZ = np.linalg.inv(TO_XYZ)
WHITE = np.array([0.95047, 1.0, 1.08883])
# The cube root of CIE Lab is continued by a line below this number
LINE_BELOW = 0.008856
SLOPE, OFFSET = 7.787, 16 / 116
# Least variance of a channel of Lab, in hundredths: a grey or plain image has none to be divided by
LEAST_VARIANCE = 1e-6


def transfer_colours(image: np.ndarray, style: np.ndarray) -> np.ndarray:
    """An image with the colours of another.

    In each channel of Lab, (x - mean) · s' / s + mean', with mean and standard deviation s (divisor n - 1) over all
    pixels of the image, and mean' and s' those of the style image.

    Args:
        image: uint8 [h, w, 3], sRGB, or floating in 0..1.
        style: likewise, of any size.

    Returns:
        [h, w, 3] of the type of `image`; what leaves the range of colours is clipped.

    Raises:
        ValueError: if either is not [h, w, 3] with two pixels or more.

    Examples:
        Black and white become a dark and a light red.

        >>> image = np.array([[[0] * 3, [255] * 3]], np.uint8)
        >>> style = np.array([[[90, 0, 0], [200, 60, 60]]], np.uint8)
        >>> transfer_colours(image, style).tolist()
        [[[99, 0, 0], [188, 73, 65]]]
    """
    for name, pixels in (("image", image), ("style", style)):
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.shape[0] * pixels.shape[1] < 2:
            raise ValueError(f"{name} {list(pixels.shape)}: expected [h, w, 3] with two pixels or more")
    lab, other = _lab_of(_unit(image)), _lab_of(_unit(style))
    mean, spread = _statistics(lab)
    new_mean, new_spread = _statistics(other)
    changed = _rgb_of((lab - mean) * (new_spread / spread) + new_mean)
    return np.rint(changed * 255).astype(np.uint8) if image.dtype == np.uint8 else changed.astype(image.dtype)


def _unit(pixels: np.ndarray) -> np.ndarray:
    """Pixels as float in 0..1; 8-bit ones in float32, which is exact enough for them."""
    return pixels.astype(np.float32) / 255 if pixels.dtype == np.uint8 else pixels


def _statistics(lab: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel, [3] each."""
    flat = lab.reshape(-1, 3)
    return flat.mean(axis=0), np.sqrt(np.maximum(flat.var(axis=0, ddof=1), LEAST_VARIANCE))


def _lab_of(rgb: np.ndarray) -> np.ndarray:
    """Pixels of sRGB in 0..1 to (L, a, b) / 100."""
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    share = linear @ (TO_XYZ / WHITE[:, None]).T.astype(rgb.dtype)
    x, y, z = np.moveaxis(np.where(share > LINE_BELOW, np.cbrt(share), SLOPE * share + OFFSET), -1, 0)
    return np.stack([1.16 * y - 0.16, 5 * (x - y), 2 * (y - z)], axis=-1)


def _rgb_of(lab: np.ndarray) -> np.ndarray:
    """Pixels of (L, a, b) / 100 to sRGB, clipped to 0..1."""
    lightness, a, b = np.moveaxis(lab, -1, 0)
    y = (lightness + 0.16) / 1.16
    root = np.stack([a / 5 + y, y, np.maximum(y - b / 2, 0)], axis=-1)
    share = np.where(root > 0.2068966, root**3, (root - OFFSET) / SLOPE)
    linear = np.maximum(share @ (FROM_XYZ * WHITE).T.astype(lab.dtype), 0)
    rgb = np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
    return rgb.clip(0, 1)
