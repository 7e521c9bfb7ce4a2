"""Masks by the opacity of vertices: a triangle is cut where an interpolated value passes the cutoff."""

import numpy as np
import pytest
from gltf_samples import SQUARE, Gltf, read

from cmah.meshes.gltf_masks import cut_by_opacity
from cmah.meshes.part import Part


def areas(part: Part) -> np.ndarray:
    corners = part.vertices[part.faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return across[:, 2] / 2


@pytest.mark.parametrize("seed", range(6))
def test_every_place_is_on_the_side_of_its_interpolated_opacity(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = np.column_stack([rng.random((30, 2)), np.zeros(30)])
    faces = rng.permuted(np.tile(np.arange(30), (20, 1)), axis=1)[:, :3]
    opacity, cutoff = rng.random(30), 0.2 + 0.6 * rng.random()
    uv = rng.random((30, 2)).astype(np.float32)
    rgba = rng.random((30, 4)).astype(np.float32)
    for face in faces:
        part = Part(points, face[None], normals=points + 1, uv=uv, vertex_rgba=rgba.copy())
        signed = areas(part)
        cut_by_opacity(part, opacity, cutoff)
        assert part.vertex_rgba is not None
        assert part.normals is not None
        assert part.uv is not None
        np.testing.assert_allclose(areas(part).sum(), signed.sum(), atol=1e-12)
        assert (areas(part) * signed >= -1e-12).all()  # none is turned over
        # barycentric weights of the middle of each piece, by solving for them
        corners = np.vstack([points[face, :2].T, np.ones(3)])
        for piece in part.faces:
            middle = np.append(part.vertices[piece, :2].mean(axis=0), 1)
            weights = np.linalg.solve(corners, middle)
            seen = part.vertex_rgba[piece, 3]
            assert seen.min() == seen.max() == (weights @ opacity[face] >= cutoff)
            np.testing.assert_allclose(part.uv[piece].mean(axis=0), weights @ uv[face], atol=1e-5)
            np.testing.assert_allclose(
                part.normals[piece].mean(axis=0), weights @ (points + 1)[face], atol=1e-6
            )
            np.testing.assert_allclose(
                part.vertex_rgba[piece, :3].mean(axis=0), weights @ rgba[face, :3], atol=1e-5
            )


def test_half_a_square_is_a_hole() -> None:
    made = Gltf()
    fading = made.square(material=made.add("materials", {"alphaMode": "MASK", "alphaCutoff": 0.25}))
    fading["attributes"]["COLOR_0"] = made.accessor(
        np.column_stack([np.ones((4, 3)), SQUARE[:, 0]]).astype("<f4")
    )
    made.show(fading)
    (part,), _ = read(made.glb())
    assert part.vertex_rgba is not None
    there = part.vertex_rgba[part.faces[:, 0], 3] == 1
    assert areas(part).sum() == pytest.approx(1)
    assert areas(part)[there].sum() == pytest.approx(0.75)
