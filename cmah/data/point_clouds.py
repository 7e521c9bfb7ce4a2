"""Reading point clouds, and the one rule that makes a cloud the input of a model.

The rule, in training, evaluation and queries alike: draw as many points as the model takes, then `normalise` them
(mean at the origin, largest norm 1). Augmentation comes after it and is not undone.
"""

from pathlib import Path
from typing import BinaryIO

import numpy as np

from cmah.errors import CmahError
from cmah.reading import require_file

MAX_POINTS = 50_000_000
# A cloud further from the origin than this many times its size is centred in float64, as float32 has 24 bits only
FAR = 100.0
# Squares of larger coordinates leave the range of float32, and sums of them may leave that of float64
LARGEST = 1e30
EXPECTED = "expected an .npy array of numbers [n, 3] or [n, 6], xyz and rgb in 0..1"


def load_points_file(path: str | Path, up_axis: str = "y") -> np.ndarray:
    """Read an .npy file of points as float32 [n, 3] (xyz) or [n, 6] (xyz, rgb in 0..1), n >= 1, y up.

    Integers and floats of any size are read. A cloud very far from the origin for its size comes back centred, since
    float32 could not hold its form otherwise.

    Args:
        path: the file.
        up_axis: "y" or "z", the axis that points up in the file; z up is turned to y up (a rotation about x).

    Raises:
        CmahError: if the file is missing, truncated, not such an array (pickled objects are never loaded), or
            has values that are not finite or colours out of range.

    Examples:
        >>> np.save("cloud.npy", [[1, 2, 3], [1, 2, 4]])
        >>> load_points_file("cloud.npy", up_axis="z").tolist()
        [[1.0, 3.0, -2.0], [1.0, 4.0, -2.0]]
    """
    path = Path(path)
    require_file(path, EXPECTED)
    with open(path, "rb") as file:
        points = _read_array(file, path)
    xyz = points[:, :3].astype(np.float64)
    if not np.isfinite(points).all():
        row = int(np.flatnonzero(~np.isfinite(points).all(axis=1))[0])
        raise CmahError(f"{path}: row {row} has a value that is not finite (expected finite numbers)")
    largest = np.abs(xyz).max()
    if largest > LARGEST:
        raise CmahError(f"{path}: a coordinate of {largest:.3g} (expected at most {LARGEST:g})")
    colours = points[:, 3:]
    if colours.size and not (colours.min() >= -0.001 and colours.max() <= 1.001):
        raise CmahError(
            f"{path}: colours from {colours.min():.4g} to {colours.max():.4g} (expected rgb in 0..1)"
        )
    if up_axis == "z":
        xyz = np.stack([xyz[:, 0], xyz[:, 2], -xyz[:, 1]], axis=1)
    extent = np.ptp(xyz, axis=0).max()
    if largest > FAR * extent > 0:
        xyz -= xyz.mean(axis=0)
    return np.concatenate([xyz, colours.clip(0, 1)], axis=1, dtype=np.float32)


def normalise(points: np.ndarray) -> np.ndarray:
    """Centre on the mean and scale so that the largest norm is 1.

    Args:
        points: numbers [..., n, 3] or [..., n, 6]; columns from the fourth on are kept as they are.

    Returns:
        float32 of the same shape. Points that are all equal give zeros.

    Examples:
        >>> normalise(np.array([[0.0, 0, 0], [4, 0, 0]])).tolist()
        [[-1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]
    """
    xyz = points[..., :3].astype(np.float64)
    magnitude = np.abs(xyz).max(axis=(-2, -1), keepdims=True)
    xyz -= xyz.mean(axis=-2, keepdims=True)
    radius = np.sqrt(np.square(xyz).sum(axis=-1).max(axis=-1))[..., None, None]
    # equal points leave the rounding of their mean, which must not be scaled up
    flat = radius <= 1e-12 * magnitude
    xyz = np.where(flat, 0.0, xyz / np.where(flat, 1.0, radius))
    return np.concatenate([xyz, points[..., 3:]], axis=-1, dtype=np.float32)


def fixed_subset(n: int, wanted: int) -> np.ndarray:
    """Indices int64 [wanted] into n points, always the same: evenly spaced, or repeated in turn if there are too few.

    Points that `prepare` has drawn are in random order, and even spacing is as good as a random draw.

    Examples:
        >>> fixed_subset(10, 4).tolist(), fixed_subset(2, 4).tolist()
        ([0, 2, 5, 7], [0, 1, 0, 1])
    """
    if n >= wanted:
        return np.arange(wanted, dtype=np.int64) * n // wanted
    return np.arange(wanted, dtype=np.int64) % n


def model_input(points: np.ndarray, wanted: int, colours: bool = False) -> np.ndarray:
    """The input of a model for a cloud in evaluation or as a query: a fixed subset, normalised.

    Args:
        points: numbers [n, 3] or [n, 6].
        wanted: the number of points that the model takes.
        colours: whether the result has six columns (see `with_colours`).

    Returns:
        float32 [wanted, 3] or [wanted, 6].

    Examples:
        >>> model_input(np.array([[0.0, 0, 0], [4, 0, 0]]), 3, colours=True).shape
        (3, 6)
        >>> model_input(np.array([[0.0, 0, 0], [4, 0, 0]]), 4).tolist()  # too few points are repeated
        [[-1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [-1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]
    """
    points = points[fixed_subset(len(points), wanted)]
    return normalise(with_colours(points) if colours else points[:, :3])


def with_colours(points: np.ndarray) -> np.ndarray:
    """Numbers [n, 3] or [n, 6] as [n, 6]; clouds without colours become grey (0.4, as in OpenShape).

    Examples:
        >>> with_colours(np.array([[1.0, 2.0, 3.0]])).tolist()
        [[1.0, 2.0, 3.0, 0.4, 0.4, 0.4]]
    """
    if points.shape[1] == 6:
        return points
    grey = np.full(points.shape, 0.4, np.result_type(points, np.float16))  # exact where the points are
    return np.concatenate([points, grey], axis=1)


def _read_array(file: BinaryIO, path: Path) -> np.ndarray:
    """The array of an .npy file [n >= 1, 3 or 6], its header checked before anything is allocated."""
    try:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise CmahError(f"{path}: npy version {version} ({EXPECTED})")
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = read(file)
    except CmahError:
        raise
    except Exception:  # the header is parsed as Python text: TokenError, RecursionError and more
        raise CmahError(f"{path}: not a readable .npy file ({EXPECTED})") from None
    if dtype.kind not in "fiu" or dtype.itemsize > 8:
        what = "pickled objects, which are never loaded" if dtype.hasobject else f"values of type {dtype}"
        raise CmahError(f"{path}: {what} ({EXPECTED})")
    if len(shape) != 2 or shape[1] not in (3, 6) or shape[0] < 1:
        raise CmahError(f"{path}: an array of shape {shape} ({EXPECTED})")
    if shape[0] > MAX_POINTS:
        raise CmahError(f"{path}: {shape[0]:,} points (at most {MAX_POINTS:,} are read)")
    count = shape[0] * shape[1]
    available = path.stat().st_size - file.tell()
    if available < count * dtype.itemsize:
        raise CmahError(
            f"{path}: {available} bytes of data (its header promises {count * dtype.itemsize}; truncated?)"
        )
    values = np.fromfile(file, dtype=dtype, count=count)
    return values.reshape(shape, order="F" if fortran else "C")
