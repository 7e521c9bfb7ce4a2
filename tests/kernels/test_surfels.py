"""Neighbourhoods and drawn blobs against NumPy over all pairs of points, and over all pixels of every blob."""

import numpy as np
import pytest

import cmah.compiling  # noqa: F401 (before the kernels)
from cmah.kernels import surfels


def plain_neighbourhoods(xyz, k):
    """Nearest other points by a stable sort, covariances, and their eigenvalues."""
    squared = ((xyz[:, None] - xyz[None]) ** 2).sum(axis=2)
    np.fill_diagonal(squared, -1)
    index = np.argsort(squared, axis=1, kind="stable")
    near = xyz[index[:, : k + 1]]  # with the point itself
    centred = near - near.mean(axis=1, keepdims=True)
    return index[:, 1 : k + 1], np.einsum("nki,nkj->nij", centred, centred) / (k + 1)


def in_cells(xyz, cell):
    low = xyz.min(axis=0)
    grid = (np.ptp(xyz, axis=0) / cell).astype(np.int64) + 1
    cells = np.minimum(((xyz - low) / cell).astype(np.int64), grid - 1)
    order = np.lexsort(cells.T[::-1])
    starts = np.zeros((*grid[:2], grid[2] + 1), np.int64)
    numbers = np.ravel_multi_index(tuple(cells[order].T), tuple(grid))
    for cell_number in range(int(grid.prod())):
        p, q, r = np.unravel_index(cell_number, tuple(grid))
        starts[p, q, r] = np.searchsorted(numbers, cell_number)
        starts[p, q, r + 1] = np.searchsorted(numbers, cell_number, side="right")
    return cells, starts, order


CLOUDS = {
    "scattered": lambda rng: rng.standard_normal((90, 3)),
    "equal distances": lambda rng: rng.integers(-2, 3, (90, 3)).astype(float),
    "all equal": lambda rng: np.ones((20, 3)),
    "a line": lambda rng: np.outer(rng.random(40), [1.0, 2.0, 0.0]),
    "two far groups": lambda rng: np.concatenate([rng.random((9, 3)), rng.random((30, 3)) + 40]),
    "few": lambda rng: rng.random((3, 3)),
}


@pytest.mark.parametrize("cell", [0.3, 1.0, 100.0])
@pytest.mark.parametrize("name", CLOUDS)
def test_neighbourhoods(name, cell):
    xyz = CLOUDS[name](np.random.default_rng(0))
    n, k = len(xyz), min(16, len(xyz) - 1)
    index, spreads, normals = np.empty((n, k), np.int64), np.empty((n, 3, 3)), np.empty((n, 3))
    cells, starts, order = in_cells(xyz, cell)
    surfels.neighbourhoods(xyz, cells, cell, starts, order, index, spreads, normals)
    expected, covariances = plain_neighbourhoods(xyz, k)
    np.testing.assert_array_equal(index, expected)
    np.testing.assert_allclose(spreads, covariances, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, rtol=1e-12)
    # up to sign, and where two directions spread alike any between them: the spread along it is the least there is
    along = np.einsum("ni,nij,nj->n", normals, covariances, normals)
    least, second = np.linalg.eigvalsh(covariances)[:, :2].T
    np.testing.assert_allclose(along, least, atol=1e-12 * max(1, covariances.max()))
    vectors = np.linalg.eigh(covariances)[1][:, :, 0]
    clear = second - least > 1e-6 * covariances.max()
    np.testing.assert_allclose(np.abs((vectors * normals).sum(axis=1))[clear], 1, atol=1e-9)


def plain_picture(xyz, spreads, normals, colours, axes, lens, light, blob, size):
    """Every blob at every pixel, by matrices."""
    distance, half_width = lens
    soft, behind, edge = blob
    eye, focal = axes @ xyz.T, size / (2 * half_width)
    rows, columns = np.mgrid[:size, :size] + 0.5
    away, depths, lit = [], [], []
    for i in range(len(xyz)):
        x, y, z = eye[0, i], eye[1, i], distance - eye[2, i]
        # column, row and depth by right, up and back
        jacobian = np.array(
            [[focal / z, 0, focal * x / z**2], [0, -focal / z, -focal * y / z**2], [0, 0, -1]]
        )
        moved = jacobian @ axes @ spreads[i] @ axes.T @ jacobian.T
        inverse = np.linalg.inv(moved[:2, :2] + soft**2 * np.eye(2))
        offset = np.stack([columns - (size / 2 + focal * x / z), rows - (size / 2 - focal * y / z)], axis=2)
        away.append(np.einsum("rci,ij,rcj->rc", offset, inverse, offset))
        depths.append(z + offset @ inverse @ moved[:2, 2])
        towards = np.array([0, 0, distance]) - eye[:, i]
        normal = axes @ normals[i]
        normal = -normal if normal @ towards < 0 else normal
        facing, lamp = normal @ towards / np.linalg.norm(towards), max(normal @ light[3:], 0)
        lit.append(colours[i] * (light[0] + light[1] * facing + light[2] * lamp))
    away, depths, lit = np.array(away), np.array(depths), np.array(lit)
    nearest = np.where(away <= 1.44, depths, np.inf).min(axis=0)
    weights = np.where(away < 4, (1 - away / 4) ** 2, 0)
    thick = behind * np.sqrt(np.trace(spreads, axis1=1, axis2=2))[:, None, None]
    front = np.where(depths <= nearest + thick, weights, 0)
    covered = (2 * weights.sum(axis=0) / edge - 1.5).clip(0, 1)
    mean = np.einsum("nrc,nk->krc", front, lit) / np.maximum(front.sum(axis=0), 1e-300)
    return (np.minimum(1 - covered + covered * mean, 1) * 255 + 0.5).astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures(channels):
    rng = np.random.default_rng(1)
    n, size = 120, 40
    xyz = rng.standard_normal((n, 3))
    xyz /= 1.02 * np.linalg.norm(xyz, axis=1, keepdims=True).max()
    factors = rng.normal(scale=0.08, size=(n, 3, 3)) * rng.random((n, 1, 3))  # flat and thin ones among them
    spreads, normals = factors @ factors.transpose(0, 2, 1), rng.standard_normal((n, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    colours = rng.random((n, channels))
    cameras = np.stack([np.linalg.qr(rng.standard_normal((3, 3)))[0] for _ in range(3)])
    lens, blob = np.array([3.9, 0.268]), np.array([0.5, 0.5, 1.0])
    light = np.array([0.38, 0.37, 0.25, -0.5, 0.7, 0.5])
    pictures = np.empty((3, channels, size, size), np.uint8)
    surfels.draw_blobs(xyz, spreads, normals, colours, cameras, lens, light, blob, pictures)
    for axes, picture in zip(cameras, pictures, strict=True):
        expected = plain_picture(xyz, spreads, normals, colours, axes, lens, light, blob, size)
        assert 0.1 < (expected < 255).mean() < 0.9
        # a level is rounded either way; a pixel exactly on an edge may fall on either side
        differ = np.abs(picture.astype(int) - expected) > 1
        assert differ.mean() < 1e-3


def test_what_lies_outside_the_picture_is_cut_off():
    xyz = np.array([[0.9, 0.9, 0.0], [0.0, -30.0, 0.0], [0.9, 0.0, 0.0]])
    spreads, normals = np.tile(np.eye(3) * 0.01, (3, 1, 1)), np.tile([[0.0, 0, 1]], (3, 1))
    lens, light, blob = np.array([2.0, 0.2]), np.array([1.0, 0, 0, 0, 0, 1]), np.array([0.5, 0.5, 0.5])
    pictures = np.empty((1, 1, 16, 16), np.uint8)
    surfels.draw_blobs(xyz, spreads, normals, np.zeros((3, 1)), np.eye(3)[None], lens, light, blob, pictures)
    assert (pictures == 255).all()  # they lie beyond the frame
    lens[1] = 0.45  # of a wider picture the last one reaches the edge
    surfels.draw_blobs(xyz, spreads, normals, np.zeros((3, 1)), np.eye(3)[None], lens, light, blob, pictures)
    assert pictures[0, 0, 7:9, -1].max() == 0
    assert (pictures[0, 0, :, :8] == 255).all()
