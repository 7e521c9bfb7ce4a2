"""Views of points as blobs: each point's neighbours say how far it spreads, and what lies in front hides the rest.

All sums are in float64 and in a fixed order. The loops release the interpreter's lock and start no threads.
"""

import numpy as np
from numba import njit

SWEEPS = 12  # of Jacobi's rotations; after 5 or 6 a 3 x 3 matrix is diagonal to the last bit


@njit(cache=True, nogil=True)
def least_axis(a: np.ndarray, out: np.ndarray) -> None:
    """The direction of least spread: the eigenvector of the least eigenvalue, by Jacobi's rotations.

    Args:
        a: float64 [3, 3], symmetric; it is made diagonal.
        out: float64 [3], filled with a unit vector.

    Examples:
        >>> axis = np.empty(3)
        >>> least_axis(np.diag([3.0, 1.0, 2.0]), axis)
        >>> axis.tolist()
        [0.0, 1.0, 0.0]
    """
    v = np.eye(3)
    for _ in range(SWEEPS):
        off = a[0, 1] * a[0, 1] + a[0, 2] * a[0, 2] + a[1, 2] * a[1, 2]
        diagonal = a[0, 0] * a[0, 0] + a[1, 1] * a[1, 1] + a[2, 2] * a[2, 2]
        if off <= 1e-28 * diagonal:
            break
        for p in range(2):
            for q in range(p + 1, 3):
                if a[p, q] == 0:
                    continue
                theta = (a[q, q] - a[p, p]) / (2 * a[p, q])
                t = 1 / (abs(theta) + np.sqrt(theta * theta + 1))
                if theta < 0:
                    t = -t
                c = 1 / np.sqrt(t * t + 1)
                s = t * c
                for i in range(3):
                    x, y = a[i, p], a[i, q]
                    a[i, p], a[i, q] = c * x - s * y, s * x + c * y
                for i in range(3):
                    x, y = a[p, i], a[q, i]
                    a[p, i], a[q, i] = c * x - s * y, s * x + c * y
                for i in range(3):
                    x, y = v[i, p], v[i, q]
                    v[i, p], v[i, q] = c * x - s * y, s * x + c * y
    least = 0
    for i in range(1, 3):
        if a[i, i] < a[least, least]:
            least = i
    for i in range(3):
        out[i] = v[i, least]


@njit(cache=True, nogil=True)
def neighbourhoods(
    xyz: np.ndarray,
    cells: np.ndarray,
    cell: float,
    starts: np.ndarray,
    order: np.ndarray,
    index: np.ndarray,
    spreads: np.ndarray,
    normals: np.ndarray,
) -> None:
    """The nearest points of each point, their spread, and its least direction: the normal of the surface there.

    The cells of a grid are looked at in rings about each point's own one, until no nearer point can be in the next.

    Args:
        xyz: float64 [n, 3].
        cells: int64 [n, 3], the cell of each point: the coordinates over `cell`, from a common corner, rounded down.
        cell: side of a cell.
        starts: int64 [x, y, z + 1]: the points of a cell are those of `order` from its entry to the next one.
        order: int64 [n], the points' indices by cell, z fastest.
        index: int64 [n, k], k < n, filled with the nearest other points, by (squared distance, index).
        spreads: float64 [n, 3, 3], filled with covariances of each point and its neighbours, divided by k + 1.
        normals: float64 [n, 3], filled with unit vectors of either sign.

    Examples:
        >>> xyz = np.array([[0.0, 0, 0], [1, 0, 0], [1, 2, 0], [3, 1, 0]])
        >>> starts, order = np.array([[[0, 4]]]), np.arange(4)  # all in one cell
        >>> index, spreads, normals = np.empty((4, 2), np.int64), np.empty((4, 3, 3)), np.empty((4, 3))
        >>> neighbourhoods(xyz, np.zeros((4, 3), np.int64), 4.0, starts, order, index, spreads, normals)
        >>> index[0].tolist(), normals[0].tolist()
        ([1, 2], [0.0, 0.0, 1.0])
    """
    n, k = index.shape
    squared = np.empty(k)
    near = np.empty(k, np.int64)
    spread = np.empty((3, 3))
    gx, gy, gz = starts.shape[0], starts.shape[1], starts.shape[2] - 1
    for i in range(n):
        a, b, c = cells[i]
        kept = 0
        for ring in range(max(gx, gy, gz)):
            # a point of this ring is at least so far away, less a little for the rounding of cells
            far = (ring - 1) * cell * 0.999999
            if kept == k and (k == 0 or (far > 0 and squared[k - 1] < far * far)):
                break
            for p in range(max(a - ring, 0), min(a + ring, gx - 1) + 1):
                for q in range(max(b - ring, 0), min(b + ring, gy - 1) + 1):
                    side = abs(p - a) == ring or abs(q - b) == ring
                    for r in range(c - ring, c + ring + 1, 1 if side else 2 * ring):
                        if r < 0 or r >= gz:
                            continue
                        for m in range(starts[p, q, r], starts[p, q, r + 1]):
                            if order[m] != i:
                                kept = _insert(xyz, i, order[m], squared, near, kept)
        _spread(xyz, i, near, spread)
        for p in range(3):
            for q in range(3):
                spreads[i, p, q] = spread[p, q]
        least_axis(spread, normals[i])
        index[i] = near


@njit(cache=True, nogil=True)
def _insert(xyz: np.ndarray, i: int, j: int, squared: np.ndarray, near: np.ndarray, kept: int) -> int:
    """Point j among the nearest ones of i, `kept` of them, in order; how many are kept then."""
    k = len(near)
    dx, dy, dz = xyz[j, 0] - xyz[i, 0], xyz[j, 1] - xyz[i, 1], xyz[j, 2] - xyz[i, 2]
    d = (dx * dx + dy * dy) + dz * dz
    if kept == k and (d > squared[k - 1] or (d == squared[k - 1] and j > near[k - 1])):
        return kept
    place = kept if kept < k else k - 1
    while place > 0 and (d < squared[place - 1] or (d == squared[place - 1] and j < near[place - 1])):
        squared[place] = squared[place - 1]
        near[place] = near[place - 1]
        place -= 1
    squared[place] = d
    near[place] = j
    return min(kept + 1, k)


@njit(cache=True, nogil=True)
def _spread(xyz: np.ndarray, i: int, near: np.ndarray, out: np.ndarray) -> None:
    """The covariance [3, 3] of a point and its neighbours, about their mean."""
    k = len(near)
    x, y, z = xyz[i, 0], xyz[i, 1], xyz[i, 2]
    for j in near:
        x += xyz[j, 0]
        y += xyz[j, 1]
        z += xyz[j, 2]
    x /= k + 1
    y /= k + 1
    z /= k + 1
    out[:] = 0
    for m in range(k + 1):
        j = i if m == k else near[m]
        dx, dy, dz = xyz[j, 0] - x, xyz[j, 1] - y, xyz[j, 2] - z
        out[0, 0] += dx * dx
        out[0, 1] += dx * dy
        out[0, 2] += dx * dz
        out[1, 1] += dy * dy
        out[1, 2] += dy * dz
        out[2, 2] += dz * dz
    out[1, 0], out[2, 0], out[2, 1] = out[0, 1], out[0, 2], out[1, 2]
    for p in range(3):
        for q in range(3):
            out[p, q] /= k + 1


@njit(cache=True, nogil=True)
def draw_blobs(
    xyz: np.ndarray,
    spreads: np.ndarray,
    normals: np.ndarray,
    colours: np.ndarray,
    cameras: np.ndarray,
    lens: np.ndarray,
    light: np.ndarray,
    blob: np.ndarray,
    oversampling: int,
    pictures: np.ndarray,
) -> None:
    """Perspective pictures on white of the ellipses that blobs cover; those of the nearest surface are blended.

    A blob's ellipse is that of one standard deviation of its spread, projected as if it were small and far (EWA
    splatting: Zwicker et al. 2001). Within it the depth is that of the blob's plane.

    Args:
        xyz: float64 [n, 3], within the unit sphere.
        spreads: float64 [n, 3, 3], covariances.
        normals: float64 [n, 3]; the side that faces the camera is lit.
        colours: float64 [n, 1 or 3] in 0..1.
        cameras: float64 [v, 3, 3], of each camera the directions right, up, and from the origin to the eye.
        lens: float64 [2]: the eye's distance from the origin, and half the picture's width at distance 1.
        light: float64 [6]: ambient, headlight, lamp, and the direction to the lamp as right, up, back.
        blob: float64 [2]: least standard deviation in pixels, and how far behind the nearest surface a blob is still
            blended, in its standard deviations.
        oversampling: samples of a pixel along each side.
        pictures: uint8 [v, 1 or 3, s, s], filled.
    """
    n, channels, size = len(xyz), colours.shape[1], pictures.shape[2] * oversampling
    depth = np.empty((size, size))
    weight = np.empty((size, size))
    total = np.empty((channels, size, size))
    ellipses = np.empty((n, 9))
    shades = np.empty(n)
    least = blob[0] * oversampling
    for view in range(len(cameras)):
        depth[:] = np.inf
        weight[:] = 0
        total[:] = 0
        for i in range(n):
            _project(xyz[i], spreads[i], cameras[view], lens, least, size, ellipses[i])
            shades[i] = _shade(xyz[i], normals[i], cameras[view], lens, light)
            _nearest(ellipses[i], depth)
        for i in range(n):
            _blend(ellipses[i], shades[i], colours[i], blob[1], depth, weight, total)
        _average(weight, total, oversampling, pictures[view])


@njit(cache=True, nogil=True)
def _project(
    xyz: np.ndarray,
    spread: np.ndarray,
    axes: np.ndarray,
    lens: np.ndarray,
    least: float,
    size: int,
    out: np.ndarray,
) -> None:
    """A blob's ellipse, [9]: column, row, depth, inverse covariance (cc, cr, rr), slopes of the depth, thickness."""
    x = axes[0, 0] * xyz[0] + axes[0, 1] * xyz[1] + axes[0, 2] * xyz[2]
    y = axes[1, 0] * xyz[0] + axes[1, 1] * xyz[1] + axes[1, 2] * xyz[2]
    z = lens[0] - (axes[2, 0] * xyz[0] + axes[2, 1] * xyz[1] + axes[2, 2] * xyz[2])
    f = size / (2 * lens[1]) / z  # samples for a unit at this depth
    # how column, row and depth change with the point
    column, row = np.empty(3), np.empty(3)
    for axis in range(3):
        column[axis] = f * axes[0, axis] + f * x / z * axes[2, axis]
        row[axis] = -f * axes[1, axis] - f * y / z * axes[2, axis]
    back = axes[2]
    cc = _product(column, spread, column) + least * least
    rr = _product(row, spread, row) + least * least
    cr = _product(column, spread, row)
    zc, zr = -_product(back, spread, column), -_product(back, spread, row)
    determinant = cc * rr - cr * cr
    out[0], out[1], out[2] = size / 2 + f * x, size / 2 - f * y, z
    out[3], out[4], out[5] = rr / determinant, -cr / determinant, cc / determinant
    out[6], out[7] = zc * out[3] + zr * out[4], zc * out[4] + zr * out[5]
    out[8] = np.sqrt(spread[0, 0] + spread[1, 1] + spread[2, 2])


@njit(cache=True, nogil=True)
def _product(a: np.ndarray, matrix: np.ndarray, b: np.ndarray) -> float:
    total = 0.0
    for p in range(3):
        total += a[p] * (matrix[p, 0] * b[0] + matrix[p, 1] * b[1] + matrix[p, 2] * b[2])
    return total


@njit(cache=True, nogil=True)
def _shade(
    xyz: np.ndarray, normal: np.ndarray, axes: np.ndarray, lens: np.ndarray, light: np.ndarray
) -> float:
    """The light on the side of a surface that faces the eye."""
    facing = lamp = length = 0.0
    for p in range(3):
        towards = axes[2, p] * lens[0] - xyz[p]
        facing += normal[p] * towards
        length += towards * towards
        for q in range(3):
            lamp += light[3 + q] * axes[q, p] * normal[p]
    if facing < 0:
        lamp = -lamp
    return light[0] + light[1] * abs(facing) / np.sqrt(length) + light[2] * max(lamp, 0.0)


@njit(cache=True, nogil=True)
def _box(ellipse: np.ndarray, size: int) -> tuple[int, int, int, int]:
    """Rows and columns, from and to, of the samples that an ellipse may cover."""
    determinant = ellipse[3] * ellipse[5] - ellipse[4] * ellipse[4]
    wide, high = np.sqrt(ellipse[5] / determinant), np.sqrt(ellipse[3] / determinant)
    left, right = int(np.ceil(ellipse[0] - wide - 0.5)), int(np.floor(ellipse[0] + wide - 0.5))
    top, bottom = int(np.ceil(ellipse[1] - high - 0.5)), int(np.floor(ellipse[1] + high - 0.5))
    return max(top, 0), min(bottom, size - 1) + 1, max(left, 0), min(right, size - 1) + 1


@njit(cache=True, nogil=True)
def _nearest(ellipse: np.ndarray, depth: np.ndarray) -> None:
    top, bottom, left, right = _box(ellipse, len(depth))
    u, v, z, cc, cr, rr, slope, fall, _ = ellipse
    for row in range(top, bottom):
        dv = row + 0.5 - v
        for column in range(left, right):
            du = column + 0.5 - u
            if cc * du * du + 2 * cr * du * dv + rr * dv * dv <= 1:
                depth[row, column] = min(depth[row, column], z + slope * du + fall * dv)


@njit(cache=True, nogil=True)
def _blend(
    ellipse: np.ndarray,
    shade: float,
    colour: np.ndarray,
    behind: float,
    depth: np.ndarray,
    weight: np.ndarray,
    total: np.ndarray,
) -> None:
    """Add a blob's colour where it lies on the nearest surface; its weight falls off towards its edge."""
    top, bottom, left, right = _box(ellipse, len(depth))
    u, v, z, cc, cr, rr, slope, fall, thick = ellipse
    for row in range(top, bottom):
        dv = row + 0.5 - v
        for column in range(left, right):
            du = column + 0.5 - u
            away = cc * du * du + 2 * cr * du * dv + rr * dv * dv
            if away <= 1 and z + slope * du + fall * dv <= depth[row, column] + behind * thick:
                share = 1.001 - away
                weight[row, column] += share
                for channel in range(len(colour)):
                    total[channel, row, column] += share * shade * colour[channel]


@njit(cache=True, nogil=True)
def _average(weight: np.ndarray, total: np.ndarray, oversampling: int, picture: np.ndarray) -> None:
    """The mean over each pixel's samples, white where there is no blob."""
    for channel in range(len(picture)):
        for row in range(picture.shape[1]):
            for column in range(picture.shape[2]):
                value = 0.0
                for i in range(row * oversampling, (row + 1) * oversampling):
                    for j in range(column * oversampling, (column + 1) * oversampling):
                        value += total[channel, i, j] / weight[i, j] if weight[i, j] > 0 else 1.0
                picture[channel, row, column] = int(min(value / oversampling**2, 1.0) * 255 + 0.5)
