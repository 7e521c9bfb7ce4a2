"""Filling grids of voxels: balls around points, and what lies behind a surface from every side.

The loops release the interpreter's lock and start no threads of their own.
"""

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def fill_balls(points: np.ndarray, radius: float, grid: np.ndarray) -> None:
    """Fill the cells that hold a point, and those whose centre lies within a radius of one.

    Args:
        points: float64 [n, 3] in units of cells: cell i reaches from i to i + 1. Points outside fill the cell at the
            border that is nearest to them.
        radius: in units of cells.
        grid: uint8 [x, y, z], 1 = full; cells are added.

    Examples:
        >>> grid = np.zeros((3, 3, 3), np.uint8)
        >>> fill_balls(np.array([[1.5, 1.5, 1.5]]), 1.0, grid)
        >>> grid[1].tolist(), int(grid.sum())  # the cell in the middle and its six neighbours
        ([[0, 1, 0], [1, 1, 1], [0, 1, 0]], 7)
    """
    nx, ny, nz = grid.shape
    for i in range(len(points)):
        x, y, z = points[i]
        a = min(max(int(np.floor(x)), 0), nx - 1)
        b = min(max(int(np.floor(y)), 0), ny - 1)
        c = min(max(int(np.floor(z)), 0), nz - 1)
        grid[a, b, c] = 1
        for j in range(
            max(int(np.ceil(x - radius - 0.5)), 0), min(int(np.floor(x + radius - 0.5)), nx - 1) + 1
        ):
            over_x = radius * radius - (j + 0.5 - x) ** 2
            wide = np.sqrt(max(over_x, 0.0))
            for k in range(
                max(int(np.ceil(y - wide - 0.5)), 0), min(int(np.floor(y + wide - 0.5)), ny - 1) + 1
            ):
                deep = np.sqrt(max(over_x - (k + 0.5 - y) ** 2, 0.0))
                first = max(int(np.ceil(z - deep - 0.5)), 0)
                last = min(int(np.floor(z + deep - 0.5)), nz - 1)
                for m in range(first, last + 1):
                    grid[j, k, m] = 1


@njit(cache=True, nogil=True)
def fill_hidden(grid: np.ndarray) -> None:
    """Fill the cells that cannot be seen from outside along any axis, in either direction.

    Args:
        grid: uint8 [x, y, z], 1 = full; cells are added.

    Examples:
        A hollow box becomes solid; a box without its lid stays as it is.

        >>> box = np.ones((4, 4, 4), np.uint8)
        >>> box[1:3, 1:3, 1:3] = 0
        >>> bowl = box.copy()
        >>> bowl[1:3, 3, 1:3] = 0
        >>> fill_hidden(box), fill_hidden(bowl)
        (None, None)
        >>> int(box.sum()), int(bowl.sum())
        (64, 52)
    """
    seen = np.zeros_like(grid)
    _see_along_x(grid, seen)
    _see_along_y(grid, seen)
    _see_along_z(grid, seen)
    for x in range(grid.shape[0]):
        for y in range(grid.shape[1]):
            for z in range(grid.shape[2]):
                grid[x, y, z] |= 1 ^ seen[x, y, z]


# Below, a ray goes along each line of cells until it meets a full one, from both ends; rays that lie side by side in
# memory go together, as vectors.


@njit(cache=True, nogil=True)
def _see_along_x(grid: np.ndarray, seen: np.ndarray) -> None:
    nx, ny, nz = grid.shape
    going = np.empty((ny, nz), grid.dtype)
    for way in range(2):
        going[:] = 1
        for step in range(nx):
            x = nx - 1 - step if way else step
            for y in range(ny):
                for z in range(nz):
                    going[y, z] &= 1 ^ grid[x, y, z]
                    seen[x, y, z] |= going[y, z]


@njit(cache=True, nogil=True)
def _see_along_y(grid: np.ndarray, seen: np.ndarray) -> None:
    nx, ny, nz = grid.shape
    going = np.empty(nz, grid.dtype)
    for x in range(nx):
        for way in range(2):
            going[:] = 1
            for step in range(ny):
                y = ny - 1 - step if way else step
                for z in range(nz):
                    going[z] &= 1 ^ grid[x, y, z]
                    seen[x, y, z] |= going[z]


@njit(cache=True, nogil=True)
def _see_along_z(grid: np.ndarray, seen: np.ndarray) -> None:
    nx, ny, nz = grid.shape
    for x in range(nx):
        for y in range(ny):
            z = 0
            while z < nz and grid[x, y, z] == 0:
                seen[x, y, z] = 1
                z += 1
            z = nz - 1
            while z >= 0 and grid[x, y, z] == 0:
                seen[x, y, z] = 1
                z -= 1
