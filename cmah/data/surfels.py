"""Views of a shape drawn from its points alone, in the look of renders: grey surfaces on white, lit from the camera.

Each point becomes a surfel (Pfister et al. 2000): its nearest neighbours say which way the surface faces there, and how
far and in which directions the point stands for it. The hot loops are those of `cmah.kernels.surfels`.
"""

from types import ModuleType

import numpy as np

VERSION = 1  # what was computed from views changes with it: a new number whenever a picture changes
ELEVATION = 20.0  # degrees, as `cmah prepare` renders
NEIGHBOURS = 16
WIDTH = 0.95  # of a surfel, in standard deviations of the point's neighbourhood
WIDEST = 3.0  # times the median surfel, or a stray point would be a large blob
MOST_POINTS = 16_384  # a picture of 128 pixels has no more
# pixels that are added to a surfel's width, how far behind the nearest surface others lie on it, in their widths, and
# the sum of weights at the object's edge: within a surface they add up to some 5
SOFT, BEHIND, EDGE = 0.5, 0.5, 1.0
FIELD_OF_VIEW = 30.0  # degrees
# the unit sphere touches the frame
LENS = np.array([1 / np.sin(np.radians(FIELD_OF_VIEW / 2)), np.tan(np.radians(FIELD_OF_VIEW / 2))])
# ambient, headlight, lamp, and the direction to the lamp: above the camera's left shoulder
LIGHT = np.array([0.38, 0.37, 0.25, *(np.array([-0.5, 0.7, 0.5]) / np.sqrt(0.99))])
GREY, LEAST_REFLECTION = 0.65, 0.05


def draw_views(
    cloud: np.ndarray, views: int = 6, size: int = 128, *, elevation: float = ELEVATION, colours: bool = False
) -> np.ndarray:
    """Draw a cloud of points as a surface, from all round.

    The cloud is framed first: the middle of its bounding box comes to the middle of the picture, and its furthest
    point within the frame's sphere. The same points give the same pictures in whatever order they are; of more than
    16,384 different ones so many are drawn. No randomness, no threads.

    Args:
        cloud: numbers [n, 3] or [n, 6], xyz with y up and rgb in 0..1; n >= 1.
        views: how many, at azimuths 360 / views apart; the first one looks from +z, later ones from +x on.
        size: side of a picture in pixels.
        elevation: of the camera above the horizon, degrees.
        colours: draw the points' own colours if the cloud has any; else all are grey.

    Returns:
        uint8 [views, 3, size, size], on white.

    Raises:
        ValueError: for a cloud of another shape, with values that are not finite, or sizes below 1.

    Examples:
        >>> from PIL import Image
        >>> cloud = np.load("demo/dataset/points/chair.chair_000.obj.npy")
        >>> views = draw_views(cloud, views=4, size=64)
        >>> views.shape, views[0, :, 0, 0].tolist()
        ((4, 3, 64, 64), [255, 255, 255])
        >>> side_by_side = np.concatenate(views.transpose(0, 2, 3, 1), axis=1)
        >>> Image.fromarray(side_by_side).save("views.png")
    """
    cloud = np.asarray(cloud)
    if cloud.ndim != 2 or cloud.shape[1] not in (3, 6) or len(cloud) < 1:
        raise ValueError(f"expected a cloud [n, 3] or [n, 6], n >= 1, got shape {cloud.shape}")
    if not np.isfinite(cloud).all():
        raise ValueError("the cloud has a value that is not finite")
    if views < 1 or size < 1:
        raise ValueError(f"expected at least 1 view of 1 pixel, got {views} of {size}")
    points = _different(np.asarray(cloud[:, : 6 if colours else 3], np.float64))
    xyz, rgb = _framed(points[:, :3]), points[:, 3:]
    if not rgb.size:
        rgb = np.full((len(xyz), 1), GREY)
    spreads, normals = _surfels(xyz)
    near = min(NEIGHBOURS, len(xyz) - 1)
    # few points overlap less
    blob = np.array([SOFT, BEHIND, EDGE * (near + 1) / (NEIGHBOURS + 1)])
    pictures = np.empty((views, rgb.shape[1], size, size), np.uint8)
    reflected = rgb.clip(0, 1) * (1 - LEAST_REFLECTION) + LEAST_REFLECTION
    cameras = np.stack([_camera(360 / views * view, elevation) for view in range(views)])
    _kernels().draw_blobs(xyz, spreads, normals, reflected, cameras, LENS, LIGHT, blob, pictures)
    return pictures if pictures.shape[1] == 3 else pictures.repeat(3, axis=1)


def _different(points: np.ndarray) -> np.ndarray:
    """The points without repetitions, in order of x, y and z; evenly chosen ones of them if there are too many."""
    points = points[np.lexsort(points.T[::-1])]
    new = np.ones(len(points), bool)
    new[1:] = (points[1:, :3] != points[:-1, :3]).any(axis=1)
    points = points[new]
    step = max(len(points), MOST_POINTS)
    return points[np.arange(min(len(points), MOST_POINTS)) * step // MOST_POINTS]


def _framed(xyz: np.ndarray) -> np.ndarray:
    """Centred on the bounding box and scaled so that the largest norm is 1; a single point lies at the origin."""
    xyz = xyz - (xyz.min(axis=0) / 2 + xyz.max(axis=0) / 2)
    largest = np.abs(xyz).max()
    if largest > 0:
        xyz /= largest  # or squares of tiny or huge coordinates would be out of range
        xyz /= np.sqrt(np.square(xyz).sum(axis=1).max())
    return np.ascontiguousarray(xyz)


def _surfels(xyz: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Covariances float64 [n, 3, 3] of surfels, and their normals float64 [n, 3]."""
    n = len(xyz)
    low, extent = xyz.min(axis=0), np.ptp(xyz, axis=0)
    # a surface passes through some (longest side)² cells: a few points in each
    cell = max(float(extent.max()) / max(np.sqrt(n) / 2, 1), 1e-9)
    grid = (extent / cell).astype(np.int64) + 1
    cells = np.minimum(((xyz - low) / cell).astype(np.int64), grid - 1)
    numbers = np.ravel_multi_index(tuple(cells.T), tuple(grid))
    counts = np.bincount(numbers, minlength=int(grid.prod()))
    ends = counts.cumsum().reshape(grid)
    starts = np.concatenate([ends[..., :1] - counts.reshape(grid)[..., :1], ends], axis=2)
    index = np.empty((n, min(NEIGHBOURS, n - 1)), np.int64)
    spreads, normals = np.empty((n, 3, 3)), np.empty((n, 3))
    order = np.argsort(numbers, kind="stable")
    _kernels().neighbourhoods(xyz, cells, cell, starts, order, index, spreads, normals)
    size = np.trace(spreads, axis1=1, axis2=2)
    widest = WIDEST**2 * np.median(size)
    shrink = np.minimum(1, widest / np.where(size > 0, size, 1))
    return spreads * (WIDTH**2 * shrink)[:, None, None], normals


def _camera(azimuth: float, elevation: float) -> np.ndarray:
    """Float64 [3, 3]: right, up, and from the origin to the eye."""
    turn, lift = np.radians(azimuth), np.radians(elevation)
    back = np.array([np.sin(turn) * np.cos(lift), np.sin(lift), np.cos(turn) * np.cos(lift)])
    right = np.array([np.cos(turn), 0.0, -np.sin(turn)])
    return np.stack([right, np.cross(back, right), back])


def _kernels() -> ModuleType:
    """The hot loops; imported when something is drawn, since a search by a photo needs no Numba."""
    import cmah.compiling  # noqa: F401 (before the kernels)
    from cmah.kernels import surfels

    return surfels
