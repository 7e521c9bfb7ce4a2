"""Holes of glTF's alpha mode MASK whose edge runs through triangles: these are cut along it."""

import numpy as np

from cmah.meshes.part import Part

# of a triangle L, A, B with P on LA and Q on LB: what lies beside L, and the rest
PIECES = np.array([[0, 3, 4], [3, 1, 2], [3, 2, 4]])


def cut_by_opacity(part: Part, opacity: np.ndarray, cutoff: float) -> None:
    """Cut the triangles of a part where the opacity of its vertices passes the cutoff.

    The opacity of the vertices becomes 1 on one side and 0 on the other; all of the surface stays.

    Args:
        part: what is cut; it has `vertex_rgba`, and no `face_rgba` yet.
        opacity: float [v].
        cutoff: what is opaque has at least this opacity.

    Examples:
        >>> part = Part(np.array([[0, 0, 0], [2, 0, 0], [0, 2, 0]], float), np.array([[0, 1, 2]]))
        >>> part.vertex_rgba = np.ones((3, 4), np.float32)
        >>> cut_by_opacity(part, np.array([1.0, 0, 0]), 0.5)
        >>> part.vertices[part.faces[0]].tolist(), part.vertex_rgba[part.faces[:, 0], 3].tolist()
        ([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], [1.0, 0.0, 0.0])
    """
    assert part.vertex_rgba is not None
    inside = opacity >= cutoff
    part.vertex_rgba[:, 3] = inside
    many = inside[part.faces].sum(axis=1)
    mixed = np.flatnonzero((many == 1) | (many == 2))
    if len(mixed) == 0:
        return
    faces = part.faces[mixed]
    # the corner that lies alone on its side of the edge comes first
    alone = np.where(many[mixed] == 1, inside[faces].argmax(axis=1), (~inside[faces]).argmax(axis=1))
    faces = np.take_along_axis(faces, (alone[:, None] + np.arange(3)) % 3, axis=1)
    heights = opacity[faces].astype(np.float64)
    shares = ((cutoff - heights[:, :1]) / (heights[:, 1:] - heights[:, :1])).clip(0, 1)
    # the places L, A, B, P, Q as weights of the corners
    places = np.zeros((len(faces), 5, 3))
    places[:, [0, 1, 2], [0, 1, 2]] = 1
    places[:, 3, 0], places[:, 3, 1] = 1 - shares[:, 0], shares[:, 0]
    places[:, 4, 0], places[:, 4, 2] = 1 - shares[:, 1], shares[:, 1]
    weights = places[:, PIECES]

    def cut(values: np.ndarray) -> np.ndarray:
        added = np.einsum("ftcp,fpd->ftcd", weights, values[faces]).reshape(-1, values.shape[1])
        return np.concatenate([values, added.astype(values.dtype)])

    count = len(part.vertices)
    part.vertices, part.vertex_rgba = cut(part.vertices), cut(part.vertex_rgba)
    part.normals = None if part.normals is None else cut(part.normals)
    part.uv = None if part.uv is None else cut(part.uv)
    beside = inside[faces[:, 0]]
    part.vertex_rgba[count:, 3] = np.repeat(np.column_stack([beside, ~beside, ~beside]).ravel(), 3)
    added = np.arange(count, len(part.vertices)).reshape(-1, 3)
    part.faces = np.concatenate([np.delete(part.faces, mixed, axis=0), added])
