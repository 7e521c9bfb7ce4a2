"""Augmentation: nothing happens when all is off, what happens stays in its range, and the same seed repeats it."""

import time
from dataclasses import replace

import numpy as np
import pytest
from batch_dataset import disc

from cmah.data.augmentation import (
    NO_IMAGE_AUGMENTATION,
    ImageAugmentation,
    augment_image,
    augment_together,
)
from cmah.data.colour_transfer import transfer_colours
from cmah.data.images import fit_square
from cmah.errors import ConfigError


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture
def noise():
    return rng().integers(0, 256, (32, 32, 3)).astype(np.uint8)


def test_with_everything_off_nothing_changes(noise):
    np.testing.assert_array_equal(augment_image(noise, 32, NO_IMAGE_AUGMENTATION, rng()), noise)
    wide = noise[:20]
    np.testing.assert_array_equal(augment_image(wide, 24, NO_IMAGE_AUGMENTATION, rng()), fit_square(wide, 24))
    np.testing.assert_array_equal(
        augment_image(noise, 16, NO_IMAGE_AUGMENTATION, rng()), fit_square(noise, 16)
    )


def test_the_same_seed_gives_the_same(noise):
    kept = noise.copy()
    first, second, other = (augment_image(noise, 24, ImageAugmentation(), rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()
    assert first.shape == (24, 24, 3)
    np.testing.assert_array_equal(noise, kept)  # the input is left alone


def test_crops_keep_at_least_their_part_of_the_area():
    ramp = np.zeros((100, 100, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = np.arange(100), np.arange(100)[:, None]
    areas, ratios = [], []
    for seed in range(300):
        config = replace(NO_IMAGE_AUGMENTATION, crop=0.25, stretch=2.0)
        cropped = augment_image(ramp, 100, config, rng(seed)).astype(float)
        # the inner half, where the edges of the picture do not tell
        width = 2 * (cropped[50, 75, 0] - cropped[50, 25, 0])
        height = 2 * (cropped[75, 50, 1] - cropped[25, 50, 1])
        areas.append(width * height / 1e4)
        ratios.append(width / height)
    assert 0.22 < min(areas) < 0.35
    assert 0.85 < max(areas) < 1.04
    assert 0.45 < min(ratios) < 0.65
    assert 1.5 < max(ratios) < 2.2


def test_flip(noise):
    config = replace(NO_IMAGE_AUGMENTATION, flip=1)
    np.testing.assert_array_equal(augment_image(noise, 32, config, rng()), noise[:, ::-1])
    config = replace(NO_IMAGE_AUGMENTATION, flip=0.5)
    flipped = sum((augment_image(noise, 32, config, rng(seed)) != noise).any() for seed in range(400))
    assert 150 < flipped < 250


def test_brightness_and_contrast_are_affine_in_the_pixels(noise):
    middle = noise // 2 + 64
    factors = []
    for seed in range(200):
        config = replace(NO_IMAGE_AUGMENTATION, brightness=0.2)
        factors.append((augment_image(middle, 32, config, rng(seed)) / middle).mean())
        config = replace(NO_IMAGE_AUGMENTATION, contrast=0.4)
        changed = augment_image(middle, 32, config, rng(seed)).astype(float)
        slope, offset = np.polyfit(middle.ravel().astype(float), changed.ravel(), 1)
        assert 0.59 < slope < 1.41
        grey = middle.reshape(-1, 3).mean(0) @ [0.213, 0.715, 0.072]
        assert offset == pytest.approx((1 - slope) * grey, abs=1.5)
    assert 0.79 < min(factors) < 0.85
    assert 1.15 < max(factors) < 1.21


def test_hue_turns_about_the_grey_axis_and_greyscale_loses_colour(noise):
    middle = noise // 4 + 96
    grey = middle.mean(2, keepdims=True).round().astype(np.uint8).repeat(3, 2)
    for seed in range(20):
        config = replace(NO_IMAGE_AUGMENTATION, hue=0.5, saturation=1.0)
        turned = augment_image(grey, 32, config, rng(seed))
        np.testing.assert_allclose(turned.astype(int), grey, atol=1)
    config = replace(NO_IMAGE_AUGMENTATION, hue=0.5)
    luma = np.array([0.213, 0.715, 0.072])
    turned = augment_image(middle, 32, config, rng(3))
    assert np.abs(turned.astype(int) - middle).max() > 20
    np.testing.assert_allclose(turned @ luma, middle @ luma, atol=1.5)
    lost = augment_image(noise, 32, replace(NO_IMAGE_AUGMENTATION, greyscale=1), rng())
    np.testing.assert_allclose(lost[..., 0], noise @ luma, atol=1)
    assert (np.ptp(lost.astype(int), axis=2) <= 1).all()


def test_erasing_paints_one_rectangle(noise):
    config = replace(NO_IMAGE_AUGMENTATION, erase=1)
    parts = []
    for seed in range(100):
        changed = (augment_image(noise, 32, config, rng(seed)) != noise).any(2)
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        assert changed[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].mean() > 0.9
        parts.append(changed.mean())
    assert 0.1 < max(parts) < 0.3


def test_the_mask_is_only_fetched_when_wanted(noise):
    def mask():
        calls.append(1)
        return np.full((32, 32), 255, np.uint8)

    calls: list[int] = []
    augment_image(noise, 32, NO_IMAGE_AUGMENTATION, rng(), mask)
    assert not calls
    config = replace(NO_IMAGE_AUGMENTATION, background=1)
    np.testing.assert_array_equal(augment_image(noise, 32, config, rng(), mask), noise)
    assert calls


def test_what_is_drawn_is_what_was_drawn_before_there_were_masks():
    """The numbers that the first version left in the generator: a stored run draws the same samples when it resumes."""
    picture = np.full((30, 50, 3), 250, np.uint8)
    picture[10:20, 15:35] = 30
    for seed, expected in enumerate((0.10549527957, 0.25126757814, 0.31814660061, 0.89171107045)):
        generator = rng(seed)
        augment_image(picture, 24, ImageAugmentation(background=0.9, erase=0.5), generator)
        assert generator.random() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("shape", [(40, 40), (60, 30), (24, 24)])
def test_masks_do_not_change_what_is_drawn(shape):
    config = ImageAugmentation(background=0.5, erase=0.5)
    picture = rng().integers(0, 256, (*shape, 3)).astype(np.uint8)
    mask = rng(1).integers(0, 256, shape).astype(np.uint8)
    for seed in range(20):
        first, second = rng(seed), rng(seed)
        without = augment_image(picture, 24, config, first, lambda: mask)
        with_mask = augment_image(picture, 24, config, second, lambda: mask, masks=True)
        assert with_mask.dtype == np.uint8
        np.testing.assert_array_equal(with_mask[..., :3], without)
        assert first.random() == second.random()


@pytest.mark.parametrize("shape", [(50, 50), (70, 40), (31, 64)])
def test_a_mask_goes_through_the_crop_and_flip_of_its_picture(shape):
    """Red is the mask, over a border of 0, so that red and mask stay one."""
    mask = np.zeros(shape, np.uint8)
    mask[8:-6, 5:-9] = rng().integers(0, 256, (shape[0] - 14, shape[1] - 14))
    picture = np.dstack([mask, np.full(shape, 90), np.full(shape, 90)]).astype(np.uint8)
    config = replace(NO_IMAGE_AUGMENTATION, crop=0.3, stretch=2.0, flip=0.5)
    seen = [augment_image(picture, 24, config, rng(seed), lambda: mask, masks=True) for seed in range(30)]
    for drawn in seen:
        np.testing.assert_array_equal(drawn[..., 3], drawn[..., 0])
    assert len({drawn.tobytes() for drawn in seen}) == 30


def test_colours_and_backgrounds_leave_the_mask_alone_and_what_is_painted_over_is_no_object():
    picture, opacity = disc()
    mask = (opacity * 255).round().astype(np.uint8)
    config = replace(NO_IMAGE_AUGMENTATION, brightness=0.5, hue=0.5, greyscale=0.5, background=1)
    config = replace(config, colour_transfer=1)
    for seed in range(10):
        drawn = augment_image(
            picture, 64, config, rng(seed), lambda: mask, lambda: picture[::-1] // 2, masks=True
        )
        np.testing.assert_array_equal(drawn[..., 3], mask)
        assert (drawn[..., :3] != picture).any()
    noise = rng().integers(1, 256, (32, 32, 3)).astype(np.uint8)
    config = replace(NO_IMAGE_AUGMENTATION, erase=1)
    for seed in range(10):  # no mask, no plain background: all is object, but for the rectangle
        drawn = augment_image(noise, 32, config, rng(seed), masks=True)
        assert set(np.unique(drawn[..., 3])) == {0, 255}
        assert (drawn[..., :3] == noise)[drawn[..., 3] == 255].all()
        assert not (drawn[..., :3] == noise).all(axis=2)[drawn[..., 3] == 0].any()
    with pytest.raises(ValueError, match=r"mask \[3, 3\]: expected the size of its picture"):
        augment_image(noise, 32, config, rng(), lambda: np.zeros((3, 3), np.uint8), masks=True)


def test_colours_are_taken_on_as_often_as_is_asked_for(noise):
    style = (noise // 4 + [120, 30, 0]).astype(np.uint8)
    config = replace(NO_IMAGE_AUGMENTATION, colour_transfer=1)
    changed = augment_image(noise, 32, config, rng(), style=lambda: style)
    np.testing.assert_array_equal(changed, transfer_colours(noise, style))
    for image in (noise, style):  # nothing to take from, or too small to have a spread
        np.testing.assert_array_equal(augment_image(image, 32, config, rng()), image)
        np.testing.assert_array_equal(
            augment_image(image, 32, config, rng(), style=lambda: noise[:1, :1]), image
        )
    calls = []

    def counted():
        calls.append(1)
        return style

    for seed in range(400):
        augment_image(noise[:8, :8], 8, replace(config, colour_transfer=0.25), rng(seed), style=counted)
    assert 70 < len(calls) < 130
    calls.clear()
    generator = rng(5)
    augment_image(noise, 32, ImageAugmentation(), generator, style=counted)
    assert not calls  # 0 asks for no picture


def test_large_pictures_take_on_colours_at_the_size_that_is_needed():
    """The picture is made smaller first, and its mask with it."""
    picture, opacity = disc(256, 80)
    mask = (opacity * 255).round().astype(np.uint8)
    style = rng().integers(0, 120, (300, 200, 3)).astype(np.uint8)
    config = replace(NO_IMAGE_AUGMENTATION, colour_transfer=1)
    plain = augment_image(picture, 32, NO_IMAGE_AUGMENTATION, rng(), lambda: mask, masks=True)
    drawn = augment_image(picture, 32, config, rng(), lambda: mask, lambda: style, masks=True)
    assert np.abs(drawn[..., 3].astype(int) - plain[..., 3]).max() < 25
    assert np.abs(drawn[..., :3].mean((0, 1)) - style.mean((0, 1))).max() < 12
    # another background finds the object by the colours that it had
    laid = augment_image(picture, 32, replace(config, background=1), rng(1), style=lambda: style)
    inside = plain[..., 3] == 255
    np.testing.assert_allclose(laid[inside], drawn[..., :3][inside], atol=12)


def test_images_together_are_changed_alike(noise):
    """Also where one has no object that can be made out, and so keeps its background."""
    plain, opacity = disc(32, 10)
    red = np.dstack([(opacity * 255).round(), np.zeros((32, 32, 2))]).astype(np.uint8)
    geometry = replace(NO_IMAGE_AUGMENTATION, crop=0.3, stretch=1.5, flip=0.5, background=0.5)
    nothing = lambda: None  # noqa: E731
    for seed in range(20):
        masks = [lambda: np.full((32, 32), 255, np.uint8), nothing, nothing]
        first, textured, second = augment_together([red, noise, red], 16, geometry, rng(seed), masks)
        alone = augment_together([noise], 16, geometry, rng(seed))
        np.testing.assert_array_equal(textured, alone[0])
        seen = augment_together([red, noise], 16, replace(geometry, background=0), rng(seed), masks=True)
        np.testing.assert_array_equal(first, seen[0, ..., :3])  # all is object: no background to replace
        assert second.shape == (16, 16, 3)
    for seed in range(5):  # one and the same style for all
        styles = iter([noise, plain])
        config = replace(ImageAugmentation(), colour_transfer=1)
        first, second = augment_together(
            [plain, plain], 16, config, rng(seed), style=lambda s=styles: next(s)
        )
        np.testing.assert_array_equal(first, second)
    assert augment_together([], 16, config, rng()).shape == (0, 16, 16, 3)


@pytest.mark.parametrize(
    "settings",
    [
        {"crop": 0},
        {"flip": 1.5},
        {"hue": -0.1},
        {"stretch": 0.5},
        {"colour_transfer": 1.1},
        {"brightness": float("nan")},
    ],
)
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ConfigError, match=rf"_augmentation\.{next(iter(settings))} = .*: expected"):
        ImageAugmentation(**settings)


def test_an_image_takes_about_a_millisecond():
    picture, _ = disc(128, 40)
    start = time.process_time()
    for seed in range(100):
        augment_image(picture, 128, ImageAugmentation(), rng(seed))
    assert (time.process_time() - start) / 100 < 0.005  # generous: the machine may be busy
