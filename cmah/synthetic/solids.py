"""Building blocks of the synthetic shapes: boxes, cylinders, lathed, swept and extruded solids with a colour.

All lengths are in one arbitrary unit; y points up, the front looks to +z.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

Vector = Sequence[float] | np.ndarray
Colour = tuple[float, float, float]


@dataclass
class Solid:
    """A piece of one colour.

    Attributes:
        vertices: float64 [v, 3].
        faces: int64 [f, 3].
        colour: r, g, b in 0..1 (sRGB).
        pattern: "", or the name of a texture ("wood", "stripes", "checks") tinted with the colour.

    Examples:
        >>> triangle = Solid(np.eye(3), np.array([[0, 1, 2]]), colour=(0.8, 0.6, 0.4), pattern="wood")
        >>> triangle.vertices[triangle.faces].shape  # the corners of each face
        (1, 3, 3)
    """

    vertices: np.ndarray
    faces: np.ndarray
    colour: Colour
    pattern: str = ""


@dataclass
class Model:
    """An object made of solids; most methods add one.

    Examples:
        >>> stool = Model()
        >>> stool.box(centre=(0, 1, 0), size=(1, 0.1, 1), colour=(0.8, 0.6, 0.4))
        >>> stool.rod(start=(0, 0, 0), end=(0, 1, 0), radius=0.1, colour=(0.2, 0.2, 0.2))
        >>> [len(solid.vertices) for solid in stool.solids]  # of the box, and of 4 rings of 16 corners
        [8, 64]
    """

    solids: list[Solid] = field(default_factory=list)

    def add(self, vertices: np.ndarray, faces: np.ndarray, colour: Colour, pattern: str = "") -> None:
        """Add a solid of any shape."""
        self.solids.append(Solid(np.asarray(vertices, float), np.asarray(faces), colour, pattern))

    def box(
        self, centre: Vector, size: Vector, colour: Colour, pattern: str = "", taper: float = 1.0
    ) -> None:
        """Add an upright box; its top is `taper` times as wide and deep as its bottom."""
        corners = np.array([(x, y, z) for y in (0, 1) for z in (0, 1) for x in (0, 1)], float) - 0.5
        corners[4:, [0, 2]] *= taper
        quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
        faces = [face for a, b, c, d in quads for face in ((a, b, c), (a, c, d))]
        self.add(corners * np.asarray(size) + np.asarray(centre), np.array(faces), colour, pattern)

    def rod(
        self, start: Vector, end: Vector, radius: float, colour: Colour, end_radius: float | None = None
    ) -> None:
        """Add a closed cylinder, or a cone with another radius at its end."""
        path = np.array([start, start, end, end], float)
        last = radius if end_radius is None else end_radius
        self.sweep(path, [0.0, radius, last, 0.0], colour, sides=16)

    def sweep(self, path: np.ndarray, radii: Vector | float, colour: Colour, sides: int = 12) -> None:
        """Add a round tube along a path of points [n, 3], with one radius or one for each point."""
        path = np.asarray(path, float)
        radius = np.broadcast_to(np.asarray(radii, float), len(path))
        along = path[-1] - path[0] if np.allclose(path[0], path[1]) else np.gradient(path, axis=0)
        along = np.broadcast_to(along, path.shape)
        along = along / np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
        helper = np.eye(3)[np.abs(along).sum(axis=0).argmin()]
        across = np.cross(along, helper)
        across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-9)
        angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)[None, :, None]
        ring = np.cos(angle) * across[:, None] + np.sin(angle) * np.cross(along, across)[:, None]
        vertices = path[:, None] + ring * radius[:, None, None]
        self.add(vertices.reshape(-1, 3), _grid_faces(len(path), sides), colour)

    def lathe(
        self,
        profile: Sequence[Vector],
        colour: Colour,
        centre: Vector = (0, 0, 0),
        sides: int = 32,
    ) -> None:
        """Add a solid of revolution: a profile of (radius, height) about the upright axis through `centre`.

        Examples:
            >>> model = Model()
            >>> model.lathe([(1, 0), (0, 2)], colour=(1, 0, 0), sides=4)  # a pyramid without a bottom
            >>> np.ptp(model.solids[0].vertices, axis=0).round(3).tolist()
            [2.0, 2.0, 2.0]
        """
        radius, height = np.array(profile, float).T
        angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)
        ring = np.stack([np.cos(angle), np.zeros(sides), np.sin(angle)], axis=1)
        vertices = radius[:, None, None] * ring + height[:, None, None] * np.array([0, 1.0, 0])
        self.add(vertices.reshape(-1, 3) + np.asarray(centre), _grid_faces(len(radius), sides), colour)

    def ball(self, centre: Vector, radii: Vector, colour: Colour) -> None:
        """Add an ellipsoid with its axes along x, y and z."""
        angle = np.linspace(-np.pi / 2, np.pi / 2, 11)
        unit = Model()
        unit.lathe(list(zip(np.cos(angle), np.sin(angle), strict=True)), colour, sides=20)
        solid = unit.solids[0]
        self.add(solid.vertices * np.asarray(radii) + np.asarray(centre), solid.faces, colour)

    def plate(
        self, outline: np.ndarray, thickness: float, colour: Colour, axes: str = "xyz", at: Vector = (0, 0, 0)
    ) -> None:
        """Add a plate: an outline [n, 2], star-shaped about its mean, thickened along the third of `axes`."""
        outline = np.asarray(outline, float)
        n = len(outline)
        rim = np.vstack([outline, outline.mean(axis=0)])
        depth = np.repeat([-thickness / 2, thickness / 2], n + 1)
        flat = np.column_stack([np.vstack([rim, rim]), depth])
        vertices = np.empty_like(flat)
        vertices[:, ["xyz".index(axis) for axis in axes]] = flat
        i = np.arange(n)
        j = (i + 1) % n
        faces = np.concatenate(
            [
                np.stack([j, i, np.full(n, n)], 1),
                np.stack([i, j, np.full(n, n)], 1) + n + 1,
                np.stack([i, j, j + n + 1], 1),
                np.stack([i, j + n + 1, i + n + 1], 1),
            ]
        )
        self.add(vertices + np.asarray(at), faces, colour)

    def turned(self, degrees: float, axis: str = "y") -> "Model":
        """A copy that is rotated about an axis through the origin.

        Examples:
            >>> front = Model([Solid(np.array([[0.0, 0, 1]]), np.zeros((0, 3), int), (1, 0, 0))])
            >>> front.turned(90).solids[0].vertices.round(3).tolist()
            [[1.0, 0.0, 0.0]]
        """
        first, second = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
        cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        matrix = np.eye(3)
        matrix[[first, first, second, second], [first, second, first, second]] = cos, -sin, sin, cos
        return Model([Solid(s.vertices @ matrix.T, s.faces, s.colour, s.pattern) for s in self.solids])

    def moved(self, by: Vector) -> "Model":
        """A copy that is shifted.

        Examples:
            >>> point = Model([Solid(np.array([[0.0, 0, 1]]), np.zeros((0, 3), int), (1, 0, 0))])
            >>> point.moved((0, 5, 0)).solids[0].vertices.tolist()
            [[0.0, 5.0, 1.0]]
        """
        return Model([Solid(s.vertices + np.asarray(by), s.faces, s.colour, s.pattern) for s in self.solids])


def _grid_faces(rows: int, columns: int) -> np.ndarray:
    """The triangles between rings of points, one ring per row, int64 [2 (rows - 1) columns, 3]."""
    row, column = np.meshgrid(np.arange(rows - 1), np.arange(columns), indexing="ij")
    a = (row * columns + column).ravel()
    b = (row * columns + (column + 1) % columns).ravel()
    return np.concatenate([np.stack([a, a + columns, b], 1), np.stack([b, a + columns, b + columns], 1)])


def curve(points: Sequence[Vector], n: int = 24) -> np.ndarray:
    """A smooth curve float64 [n, d] through control points (Catmull-Rom).

    Examples:
        >>> curve([(0, 0), (1, 1), (2, 0)], 5).tolist()
        [[0.0, 0.0], [0.5, 0.625], [1.0, 1.0], [1.5, 0.625], [2.0, 0.0]]
    """
    p = np.asarray(points, float)
    p = np.vstack([2 * p[0] - p[1], p, 2 * p[-1] - p[-2]])
    t = np.linspace(0, len(p) - 3, n)
    i = np.minimum(t.astype(int), len(p) - 4)
    u = (t - i)[:, None]
    a, b, c, d = p[i], p[i + 1], p[i + 2], p[i + 3]
    return 0.5 * (2 * b + (c - a) * u + (2 * a - 5 * b + 4 * c - d) * u**2 + (3 * b - a - 3 * c + d) * u**3)
