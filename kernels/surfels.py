"""Views of points as blobs: each point's neighbours say how far it spreads, and what lies in front hides the rest.

All sums are in float64 and in a fixed order. The loops release the interpreter's lock and start no threads.
"""

import numpy as np
from numba import njit

CUT = 4.0  # squared standard deviations from a blob's middle at which its weight has fallen to 0
CORE = 1.44  # … within which it hides what lies behind
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
        spreads[i] = spread
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
    pictures: np.ndarray,
) -> None:
    """Perspective pictures on white of the surface that blobs make up.

    A blob is an ellipse of the picture: its spread, projected as if it were small and far (EWA splatting: Zwicker et
    al. 2001). Its weight is (1 - a / 4)² at squared distance a from its middle, in standard deviations. Where the
    weights of all blobs add up to enough there is the object, so that its edge is smooth. Its colour is the weighted
    mean of the blobs that lie on the nearest surface: that of the middle parts, a <= 1.44, of all blobs.

    Args:
        xyz: float64 [n, 3], nearer to the origin than the cameras.
        spreads: float64 [n, 3, 3], covariances.
        normals: float64 [n, 3]; the side that faces the camera is lit.
        colours: float64 [n, 1 or 3] in 0..1.
        cameras: float64 [v, 3, 3], of each camera the directions right, up, and from the origin to the eye.
        lens: float64 [2]: the eye's distance from the origin, and half the picture's width at distance 1.
        light: float64 [6]: ambient, headlight, lamp, and the direction to the lamp as right, up, back.
        blob: float64 [3]: standard deviation in pixels that is added to each blob, how far behind the nearest surface
            a blob still lies on it, in its standard deviations, and the sum of weights that is half a pixel of object:
            3/4 of it are none and 5/4 a whole one.
        pictures: uint8 [v, 1 or 3, s, s], filled.

    Examples:
        One black blob in the middle of a picture of three pixels:

        >>> xyz, spreads, normals = np.zeros((1, 3)), np.zeros((1, 3, 3)), np.array([[0.0, 0, 1]])
        >>> camera, lens, light = np.eye(3)[None], np.array([4.0, 0.25]), np.array([1.0, 0, 0, 0, 0, 1])
        >>> pictures = np.empty((1, 1, 3, 3), np.uint8)
        >>> draw_blobs(xyz, spreads, normals, np.zeros((1, 1)), camera, lens, light, np.array([0.5, 1, 0.5]), pictures)
        >>> pictures[0, 0].tolist()
        [[255, 255, 255], [255, 0, 255], [255, 255, 255]]
    """
    n, channels, size = len(xyz), colours.shape[1], pictures.shape[2]
    depth = np.empty((size, size))
    # of each pixel the weights of all blobs, those of the nearest surface, and the weighted colours of these
    sums = np.empty((size, size, 2 + channels))
    ellipses = np.empty((n, 9))
    lit = np.empty((n, channels))
    for view in range(len(cameras)):
        depth[:] = np.inf
        sums[:] = 0
        for i in range(n):
            _project(xyz[i], spreads[i], cameras[view], lens, blob[0], size, ellipses[i])
            shade = _shade(xyz[i], normals[i], cameras[view], lens, light)
            for channel in range(channels):
                lit[i, channel] = shade * colours[i, channel]
            _nearest(ellipses[i], depth)
        for i in range(n):
            _blend(ellipses[i], lit[i], blob[1], depth, sums)
        _finish(sums, blob[2], pictures[view])


@njit(cache=True, nogil=True)
def _project(
    xyz: np.ndarray,
    spread: np.ndarray,
    axes: np.ndarray,
    lens: np.ndarray,
    soft: float,
    size: int,
    out: np.ndarray,
) -> None:
    """A blob's ellipse, [9]: column, row, depth, inverse covariance (cc, cr, rr), slopes of the depth, thickness."""
    x = axes[0, 0] * xyz[0] + axes[0, 1] * xyz[1] + axes[0, 2] * xyz[2]
    y = axes[1, 0] * xyz[0] + axes[1, 1] * xyz[1] + axes[1, 2] * xyz[2]
    z = lens[0] - (axes[2, 0] * xyz[0] + axes[2, 1] * xyz[1] + axes[2, 2] * xyz[2])
    f = size / (2 * lens[1]) / z  # samples for a unit at this depth
    xx, xy, xz = (
        _product(axes[0], spread, axes[0]),
        _product(axes[0], spread, axes[1]),
        _product(axes[0], spread, axes[2]),
    )
    yy, yz, zz = (
        _product(axes[1], spread, axes[1]),
        _product(axes[1], spread, axes[2]),
        _product(axes[2], spread, axes[2]),
    )
    # how column and row change with the distance to the eye
    p, q = x / z, y / z
    cc = f * f * (xx + 2 * p * xz + p * p * zz) + soft * soft
    rr = f * f * (yy + 2 * q * yz + q * q * zz) + soft * soft
    cr = -f * f * (xy + q * xz + p * yz + p * q * zz)
    zc, zr = -f * (xz + p * zz), f * (yz + q * zz)
    determinant = cc * rr - cr * cr
    out[0], out[1], out[2] = size / 2 + f * x, size / 2 - f * y, z
    out[3], out[4], out[5] = rr / determinant, -cr / determinant, cc / determinant
    out[6], out[7] = zc * out[3] + zr * out[4], zc * out[4] + zr * out[5]
    out[8] = np.sqrt(spread[0, 0] + spread[1, 1] + spread[2, 2])


@njit(cache=True, nogil=True)
def _product(a: np.ndarray, matrix: np.ndarray, b: np.ndarray) -> float:
    """The bilinear form aᵀ M b."""
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
    shade: float = light[0] + light[1] * abs(facing) / np.sqrt(length) + light[2] * max(lamp, 0.0)
    return shade


@njit(cache=True, nogil=True)
def _rows(ellipse: np.ndarray, squared: float, size: int) -> tuple[int, int]:
    """Rows, from and to, of the pixels up to a squared distance from the middle of an ellipse."""
    determinant = ellipse[3] * ellipse[5] - ellipse[4] * ellipse[4]
    high = np.sqrt(squared * ellipse[3] / determinant)
    top, bottom = int(np.ceil(ellipse[1] - high - 0.5)), int(np.floor(ellipse[1] + high - 0.5))
    return max(top, 0), min(bottom, size - 1) + 1


@njit(cache=True, nogil=True)
def _columns(ellipse: np.ndarray, squared: float, dv: float, size: int) -> tuple[int, int]:
    """Columns, from and to, of these pixels in the row at dv below the middle."""
    u, cc, cr, rr = ellipse[0], ellipse[3], ellipse[4], ellipse[5]
    middle = u - cr * dv / cc
    wide = np.sqrt(max(cr * cr * dv * dv - cc * (rr * dv * dv - squared), 0.0)) / cc
    left, right = int(np.ceil(middle - wide - 0.5)), int(np.floor(middle + wide - 0.5))
    return max(left, 0), min(right, size - 1) + 1


@njit(cache=True, nogil=True)
def _nearest(ellipse: np.ndarray, depth: np.ndarray) -> None:
    """Bring depths nearer, to that of a blob where its middle part lies before what was there."""
    top, bottom = _rows(ellipse, CORE, len(depth))
    u, v, z, slope, fall = ellipse[0], ellipse[1], ellipse[2], ellipse[6], ellipse[7]
    for row in range(top, bottom):
        dv = row + 0.5 - v
        left, right = _columns(ellipse, CORE, dv, len(depth))
        for column in range(left, right):
            du = column + 0.5 - u
            depth[row, column] = min(depth[row, column], z + slope * du + fall * dv)


@njit(cache=True, nogil=True)
def _blend(
    ellipse: np.ndarray,
    colour: np.ndarray,
    behind: float,
    depth: np.ndarray,
    sums: np.ndarray,
) -> None:
    """Add a blob's weight, and where it lies on the nearest surface its colour."""
    top, bottom = _rows(ellipse, CUT, len(depth))
    u, v, z, cc, cr, rr, slope, fall, thick = ellipse
    for row in range(top, bottom):
        dv = row + 0.5 - v
        left, right = _columns(ellipse, CUT, dv, len(depth))
        cross, upright, level = 2 * cr * dv, rr * dv * dv - CUT, z + fall * dv - behind * thick
        for column in range(left, right):
            du = column + 0.5 - u
            root = (cc * du + cross) * du + upright
            share = root * root * (1 / CUT**2)
            sums[row, column, 0] += share
            if level + slope * du <= depth[row, column]:
                sums[row, column, 1] += share
                for channel in range(len(colour)):
                    sums[row, column, 2 + channel] += share * colour[channel]


@njit(cache=True, nogil=True)
def _finish(sums: np.ndarray, half: float, picture: np.ndarray) -> None:
    """The object's colour over white, as far as it covers each pixel."""
    for row in range(picture.shape[1]):
        for column in range(picture.shape[2]):
            covered = min(2 * sums[row, column, 0] / half - 1.5, 1.0)
            front = sums[row, column, 1]
            for channel in range(len(picture)):
                value = 1.0
                if covered > 0 and front > 0:
                    value = 1 - covered + covered * sums[row, column, 2 + channel] / front
                picture[channel, row, column] = int(min(value, 1.0) * 255 + 0.5)
