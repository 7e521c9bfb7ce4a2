"""Augmentation: nothing happens when all is off, what happens stays in its range, and the same seed repeats it."""

import time
from dataclasses import replace

import numpy as np
import pytest

from cmah.data.augmentation import (
    NO_IMAGE_AUGMENTATION,
    NO_POINT_AUGMENTATION,
    ImageAugmentation,
    PointAugmentation,
    augment_image,
    augment_points,
)
from cmah.data.images import fit_square
from cmah.data.object_masks import object_mask, replace_background
from cmah.data.point_clouds import normalise
from cmah.errors import ConfigError


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture
def noise():
    return rng().integers(0, 256, (32, 32, 3)).astype(np.uint8)


@pytest.fixture
def cloud():
    return normalise(rng().standard_normal((200, 3)))


def disc(size=64, radius=20, colour=(200, 30, 40), back=255):
    """A smooth-edged disc with a square hole, its opacity, and the picture."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    opacity = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1)
    opacity[(np.abs(x) < 4) & (np.abs(y) < 4)] = 0
    picture = opacity[..., None] * np.asarray(colour) + (1 - opacity[..., None]) * back
    return picture.round().astype(np.uint8), opacity


def test_with_everything_off_nothing_changes(noise, cloud):
    np.testing.assert_array_equal(augment_image(noise, 32, NO_IMAGE_AUGMENTATION, rng()), noise)
    wide = noise[:20]
    np.testing.assert_array_equal(augment_image(wide, 24, NO_IMAGE_AUGMENTATION, rng()), fit_square(wide, 24))
    np.testing.assert_array_equal(
        augment_image(noise, 16, NO_IMAGE_AUGMENTATION, rng()), fit_square(noise, 16)
    )
    coloured = np.hstack([cloud, rng().random((200, 3), np.float32)])
    np.testing.assert_array_equal(augment_points(coloured, NO_POINT_AUGMENTATION, rng()), coloured)


def test_the_same_seed_gives_the_same(noise, cloud):
    kept = noise.copy(), cloud.copy()
    first, second, other = (augment_image(noise, 24, ImageAugmentation(), rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()
    assert first.shape == (24, 24, 3)
    first, second, other = (augment_points(cloud, PointAugmentation(), rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()
    assert first.dtype == np.float32
    np.testing.assert_array_equal(noise, kept[0])  # the input is left alone
    np.testing.assert_array_equal(cloud, kept[1])


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


def test_the_mask_of_an_object_before_a_plain_background_is_found():
    for back in (255, 0, 90):
        picture, opacity = disc(back=back, colour=(180, 120, 30))
        found = object_mask(picture) / 255
        assert (found[opacity == 0] == 0).all()
        inside = np.hypot(*(np.mgrid[:64, :64] - 31.5)) < 18
        assert (found[inside & (opacity == 1)] > 0.9).all()
        assert np.abs(found - opacity).mean() < 0.03
    assert object_mask(rng().integers(0, 256, (20, 20, 3)).astype(np.uint8)) is None


def test_a_part_as_bright_as_the_background_belongs_to_the_object():
    picture, _ = disc()
    picture[20:28, 20:28] = 248
    assert (object_mask(picture)[21:27, 21:27] == 255).all()


def test_a_new_background_leaves_the_object_and_no_halo():
    picture, opacity = disc(colour=(40, 60, 20))
    for seed in range(20):
        exact = (opacity * 255).round().astype(np.uint8)
        changed = replace_background(picture, exact, rng(seed))
        np.testing.assert_array_equal(changed[opacity == 1], picture[opacity == 1])
        background = changed[opacity == 0]
        assert not np.array_equal(background, picture[opacity == 0])
        # a partly covered pixel lies between the object and the new background, never towards the old white one
        outline = (opacity > 0.1) & (opacity < 0.9)
        assert changed[outline].max() <= max(60, int(background.max())) + 12
        guessed = replace_background(picture, None, rng(seed))
        assert np.abs(guessed.astype(int) - changed).mean() < 6
    textured = rng().integers(0, 256, (64, 64, 3)).astype(np.uint8)
    np.testing.assert_array_equal(replace_background(textured, None, rng()), textured)
    np.testing.assert_array_equal(replace_background(textured, np.zeros((3, 3), np.uint8), rng()), textured)


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


def test_rotation_leaves_the_up_axis_alone(cloud):
    first, up, second = range(3)
    config = replace(NO_POINT_AUGMENTATION, rotation=180)
    angles = []
    for seed in range(200):
        turned = augment_points(cloud, config, rng(seed))
        np.testing.assert_array_equal(turned[:, up], cloud[:, up])
        np.testing.assert_allclose(np.linalg.norm(turned, axis=1), np.linalg.norm(cloud, axis=1), atol=1e-6)
        before = cloud[:, first] + 1j * cloud[:, second]
        after = turned[:, first] + 1j * turned[:, second]
        turn = np.vdot(before, after)
        assert abs(turn) == pytest.approx(np.vdot(before, before).real, rel=1e-5)  # one angle for all
        angles.append(np.angle(turn))
    assert min(angles) < -3
    assert max(angles) > 3
    limited = augment_points(cloud, replace(config, rotation=10), rng(1))
    cosine = (limited * cloud).sum() / (cloud * cloud).sum()
    assert np.cos(np.radians(10)) - 1e-6 <= cosine < 1


def test_tilt_moves_the_up_axis_by_no_more_than_its_angle():
    axis = np.array([[0, 1, 0]], np.float32)
    config = replace(NO_POINT_AUGMENTATION, rotation=180, tilt=15)
    cosines = [augment_points(axis, config, rng(seed))[0, 1] for seed in range(200)]
    assert np.degrees(np.arccos(min(cosines))) == pytest.approx(15, abs=0.5)


def test_scale_and_shift_and_jitter_keep_to_their_ranges(cloud):
    config = replace(NO_POINT_AUGMENTATION, scale=1.5)
    factors = np.array([augment_points(cloud, config, rng(seed)) / cloud for seed in range(200)])
    np.testing.assert_allclose(np.ptp(factors, axis=1), 0, atol=1e-4)  # one factor for each axis
    factors = factors[:, 0]
    assert 1 / 1.5 - 1e-4 < factors.min() < 0.69
    assert 1.45 < factors.max() < 1.5 + 1e-4
    assert np.ptp(factors, axis=1).min() > 0
    shifts = np.array(
        [augment_points(cloud, replace(NO_POINT_AUGMENTATION, shift=0.2), rng(s)) - cloud for s in range(200)]
    )
    np.testing.assert_allclose(np.ptp(shifts, axis=1), 0, atol=1e-6)
    assert 0.19 < np.abs(shifts).max() < 0.2 + 1e-6
    config = replace(NO_POINT_AUGMENTATION, jitter=0.01, jitter_clip=0.02)
    noise = np.concatenate([augment_points(cloud, config, rng(seed)) - cloud for seed in range(50)])
    assert noise.std() == pytest.approx(0.01, rel=0.1)
    assert np.abs(noise).max() == pytest.approx(0.02, abs=1e-6)


def test_dropped_points_are_replaced_by_others(cloud):
    config = replace(NO_POINT_AUGMENTATION, dropout=0.6)
    original = {tuple(point) for point in cloud}
    left = []
    for seed in range(100):
        dropped = augment_points(cloud, config, rng(seed))
        assert len(dropped) == len(cloud)
        kept = {tuple(point) for point in dropped}
        assert kept <= original
        left.append(len(kept))
    assert 80 <= min(left) < 90
    assert max(left) > 190


def test_mirror_exchanges_left_and_right(cloud):
    config = replace(NO_POINT_AUGMENTATION, mirror=1)
    np.testing.assert_array_equal(augment_points(cloud, config, rng()), cloud * np.float32([-1, 1, 1]))


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (ImageAugmentation, {"crop": 0}),
        (ImageAugmentation, {"flip": 1.5}),
        (ImageAugmentation, {"hue": -0.1}),
        (ImageAugmentation, {"stretch": 0.5}),
        (ImageAugmentation, {"brightness": float("nan")}),
        (PointAugmentation, {"dropout": 1.0}),
        (PointAugmentation, {"scale": 0.9}),
        (PointAugmentation, {"rotation": "all"}),
    ],
)
def test_impossible_settings_are_refused(kind, settings):
    with pytest.raises(ConfigError, match=rf"_augmentation\.{next(iter(settings))} = .*: expected"):
        kind(**settings)


def test_an_image_takes_about_a_millisecond():
    picture, _ = disc(128, 40)
    start = time.process_time()
    for seed in range(100):
        augment_image(picture, 128, ImageAugmentation(), rng(seed))
    assert (time.process_time() - start) / 100 < 0.005  # generous: the machine may be busy
