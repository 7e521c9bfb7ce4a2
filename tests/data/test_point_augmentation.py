"""Augmentation of clouds: nothing happens when all is off, what happens stays in its range, a seed repeats it."""

from dataclasses import replace

import numpy as np
import pytest

from cmah.data.point_augmentation import NO_POINT_AUGMENTATION, PointAugmentation, augment_points
from cmah.data.point_clouds import normalise
from cmah.errors import ConfigError


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture
def cloud():
    return normalise(rng().standard_normal((200, 3)))


def test_with_everything_off_nothing_changes(cloud):
    coloured = np.hstack([cloud, rng().random((200, 3), np.float32)])
    np.testing.assert_array_equal(augment_points(coloured, NO_POINT_AUGMENTATION, rng()), coloured)


def test_the_same_seed_gives_the_same(cloud):
    kept = cloud.copy()
    first, second, other = (augment_points(cloud, PointAugmentation(), rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()
    assert first.dtype == np.float32
    np.testing.assert_array_equal(cloud, kept)  # the input is left alone


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


@pytest.mark.parametrize("settings", [{"dropout": 1.0}, {"scale": 0.9}, {"rotation": "all"}])
def test_impossible_settings_are_refused(settings):
    with pytest.raises(ConfigError, match=rf"point_augmentation\.{next(iter(settings))} = .*: expected"):
        PointAugmentation(**settings)
