"""Colour transfer: the reference outputs as meant and as released, pixel by pixel, and the statistics it promises."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmah.data.colour_transfer import transfer_colours

CASES = range(3)


def slow_lab(red, green, blue):
    """One pixel to Lab, rescaled as in the released code."""
    r, g, b = (((c + 0.055) / 1.055) ** 2.4 if c > 0.04045 else c / 12.92 for c in (red, green, blue))
    x = (0.412453 * r + 0.357580 * g + 0.180423 * b) / 0.95047
    y = 0.212671 * r + 0.715160 * g + 0.072169 * b
    z = (0.019334 * r + 0.119193 * g + 0.950227 * b) / 1.08883
    x, y, z = (t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in (x, y, z))
    return (116 * y - 16 - 50) / 100, 500 * (x - y) / 100, 200 * (y - z) / 100


def slow_rgb(lightness, a, b):
    y = (lightness * 100 + 50 + 16) / 116
    x, z = a * 100 / 500 + y, max(0.0, y - b * 100 / 200)
    x, y, z = (t**3 if t > 0.2068966 else (t - 16 / 116) / 7.787 for t in (x, y, z))
    x, z = 0.95047 * x, 1.08883 * z
    linear = (
        3.24048134 * x - 1.53715152 * y - 0.49853633 * z,
        -0.96925495 * x + 1.87599 * y + 0.04155593 * z,
        0.05564664 * x - 0.20404134 * y + 1.05731107 * z,
    )
    linear = [max(c, 0.0) for c in linear]
    return [1.055 * c ** (1 / 2.4) - 0.055 if c > 0.0031308 else 12.92 * c for c in linear]


def slow_transfer(image, style, largest):
    """`largest` is 1, or 255 for the released form, which scales pixels before the conversion and back at the end."""
    lab, other = (
        np.array([slow_lab(*(largest * pixel)) for pixel in x.reshape(-1, 3)]) for x in (image, style)
    )
    (mean, s), (new_mean, new_s) = (
        (x.mean(axis=0), [math.sqrt(max(v, 1e-6)) for v in x.var(axis=0, ddof=1)]) for x in (lab, other)
    )
    changed = (lab - mean) * new_s / s + new_mean
    rgb = np.array([slow_rgb(*pixel) for pixel in changed])
    return (rgb.clip(0, largest) / largest).reshape(image.shape)


def lab_statistics(image):
    lab = np.array([slow_lab(*pixel) for pixel in image.reshape(-1, 3)])
    return lab.mean(axis=0), lab.std(axis=0, ddof=1)


def muted(seed, height=6, width=5):
    """Random colours near grey, which no transfer takes out of range."""
    rng = np.random.default_rng(seed)
    return 0.5 + 0.1 * rng.uniform(-1, 1, 3) + 0.05 * rng.uniform(-1, 1, (height, width, 3))


@pytest.fixture(scope="module")
def reference(shared):
    return np.load(shared / "goldens" / "losses" / "style_mixed_extra.npz", allow_pickle=False)


@pytest.mark.parametrize("case", CASES)
def test_matches_the_reference(reference, case):
    image, style, unit, released = (
        reference[f"color_{name}"][case].transpose(1, 2, 0)
        for name in ("target", "style", "unit", "released")
    )
    # theirs has the inverse matrix rounded to eight digits
    np.testing.assert_allclose(transfer_colours(image, style), unit, atol=1e-6)
    np.testing.assert_allclose(transfer_colours(image.astype(np.float32), style), unit, atol=2e-5)
    np.testing.assert_allclose(slow_transfer(image, style, 1), unit, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(slow_transfer(image, style, 255), released, rtol=1e-9, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_result_has_the_statistics_of_the_style(seed):
    image, style = muted(seed), muted(seed + 1, 4, 9)
    got, expected = lab_statistics(transfer_colours(image, style)), lab_statistics(style)
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_ones_own_colours_change_nothing():
    image = muted(0)
    np.testing.assert_allclose(transfer_colours(image, image), image, atol=1e-6)
    pixels = np.random.default_rng(1).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    assert np.abs(transfer_colours(pixels, pixels).astype(int) - pixels).max() <= 1


def test_bytes_give_the_bytes_of_the_exact_result():
    rng = np.random.default_rng(2)
    image, style = (rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((9, 7, 3), (5, 4, 3)))
    kept = image.copy(), style.copy()
    got = transfer_colours(image, style)
    exact = 255 * slow_transfer(image / 255, style / 255, 1)
    assert got.dtype == np.uint8
    assert np.abs(got - exact).max() < 0.51
    np.testing.assert_array_equal((image, style)[0], kept[0])
    np.testing.assert_array_equal((image, style)[1], kept[1])


def test_colours_far_out_of_range_are_those_of_the_released_formulas():
    rng = np.random.default_rng(5)
    # a few yellow pixels among greys, in the colours of yellow and black: they leave the range of every formula
    image = np.repeat(0.4 + 0.02 * rng.uniform(-1, 1, (8, 8, 1)), 3, axis=2)
    image[0, :3] = 0.45, 0.45, 0.3
    style = np.where(rng.random((8, 8, 1)) < 0.5, [0.9, 0.9, 0.0], [0.0, 0.0, 0.1])
    got = transfer_colours(image, style)
    assert ((got == 0) | (got == 1)).any()
    np.testing.assert_allclose(got, slow_transfer(image, style, 1), atol=1e-6)


def test_plain_and_grey_images_stay_finite():
    plain, style = np.full((4, 4, 3), 90, np.uint8), (255 * muted(3)).astype(np.uint8)
    mean_colour = transfer_colours(plain, style)
    assert len(np.unique(mean_colour.reshape(-1, 3), axis=0)) == 1
    assert np.abs(mean_colour[0, 0] - style.reshape(-1, 3).mean(axis=0)).max() < 3
    assert transfer_colours(style, plain).dtype == np.uint8
    black = transfer_colours(np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2, 3), np.uint8))
    assert not black.any()


def test_what_is_not_two_pixels_of_rgb_is_refused():
    style = muted(4)
    for wrong in (style[..., 0], style[..., :2], style[:1, :1], style[:0]):
        with pytest.raises(ValueError, match=r"image .* expected"):
            transfer_colours(wrong, style)
        with pytest.raises(ValueError, match=r"style .* expected"):
            transfer_colours(style, wrong)
