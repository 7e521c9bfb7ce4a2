"""Random changes of training point clouds; with every field off, nothing changes.

Everything random is drawn from the generator that is passed in, so that a sample is a function of its seed alone.
"""

import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np

from cmah.data.augmentation import Factor, reciprocal
from cmah.settings import Range, Settings, Share

Degrees = Annotated[float, Range(0, 180)]
Length = Annotated[float, Range(0, 10)]  # in units of the normalised cloud


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


NO_POINT_AUGMENTATION = PointAugmentation(0, 0, 1, 0, 0, 0, 0, 0)


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
    matrix = _random_rotation(config, rng) * reciprocal(rng, config.scale, 3)
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
