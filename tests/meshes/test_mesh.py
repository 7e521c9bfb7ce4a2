"""The colour of surface points."""

from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from mesh_samples import SQUARE, write
from PIL import Image

from cmah.meshes.mesh import WRAPS, Mesh, surface_colours
from cmah.meshes.mesh_loading import load_mesh
from cmah.meshes.part import Part


def test_texture_lookup_is_bilinear_and_repeats(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    texels = generator.integers(0, 256, (3, 5, 3), dtype=np.uint8)
    Image.fromarray(texels).save(tmp_path / "t.png")
    write(tmp_path / "m.mtl", "newmtl a\nmap_Kd t.png\n")
    uv = [(-0.3, 0.2), (1.7, 0.1), (0.4, 2.2)]
    lines = "".join(f"vt {u} {v}\n" for u, v in uv)
    mesh = load_mesh(write(tmp_path / "a.obj", f"mtllib m.mtl\n{SQUARE}{lines}usemtl a\nf 1/1 2/2 3/3\n"))
    weights = generator.dirichlet([1, 1, 1], 40).astype(np.float32)
    got = surface_colours(mesh, np.zeros(40, int), weights)
    corner_uv = mesh.uv[mesh.faces[0]]  # type: ignore[index]
    for weight, rgba in zip(weights, got, strict=True):
        u, v = (weight[:, None] * corner_uv).sum(axis=0)
        x, y = u * 5 - 0.5, (1 - v) * 3 - 0.5
        expected = np.zeros(3)
        for column in (np.floor(x), np.floor(x) + 1):
            for row in (np.floor(y), np.floor(y) + 1):
                share = (1 - abs(x - column)) * (1 - abs(y - row))
                expected += share * texels[int(row) % 3, int(column) % 5] / 255
        np.testing.assert_allclose(rgba[:3], expected, atol=1e-4)


def slow_place(at: float, wrap: str) -> float:
    """Where in 0..1 a texture coordinate lands."""
    if wrap == "clamp":
        return min(max(at, 0.0), 1.0)
    whole = int(np.floor(at))
    return 1 - (at - whole) if wrap == "mirror" and whole % 2 else at - whole


@pytest.mark.parametrize("wrap", [(u, v) for u in WRAPS for v in WRAPS])
def test_textures_wrap_as_they_say(tmp_path: Path, wrap: tuple[str, str]) -> None:
    generator = np.random.default_rng(1)
    texels = generator.integers(0, 256, (3, 5, 3), dtype=np.uint8)
    part = Part(
        np.eye(3), np.array([[0, 1, 2]]), uv=np.array([(-1.3, 0.2), (2.7, -1.1), (0.4, 2.2)], np.float32)
    )
    part.texture, part.wrap = Image.fromarray(texels), wrap
    repeated = Part(np.eye(3) + 1, part.faces, uv=part.uv, texture=part.texture)
    mesh = mesh_of([repeated, part], tmp_path)
    assert mesh.textures.tolist() == [[0, 3, 5]] * (2 if wrap != ("repeat", "repeat") else 1)
    weights = generator.dirichlet([1, 1, 1], 60).astype(np.float32)
    got = surface_colours(mesh, np.ones(60, int), weights)
    for weight, rgba in zip(weights, got, strict=True):
        u, v = (weight[:, None] * part.uv).sum(axis=0)
        x, y = slow_place(u, wrap[0]) * 5 - 0.5, (1 - slow_place(v, wrap[1])) * 3 - 0.5
        expected = np.zeros(3)
        for column in (np.floor(x), np.floor(x) + 1):
            for row in (np.floor(y), np.floor(y) + 1):
                place = [int(row) % 3 if wrap[1] == "repeat" else min(max(int(row), 0), 2),
                         int(column) % 5 if wrap[0] == "repeat" else min(max(int(column), 0), 4)]  # fmt: skip
                expected += (1 - abs(x - column)) * (1 - abs(y - row)) * texels[tuple(place)] / 255
        np.testing.assert_allclose(rgba[:3], expected, atol=1e-4)


@pytest.mark.parametrize("wrap", WRAPS)
def test_texture_coordinates_that_are_no_numbers_do_no_harm(tmp_path: Path, wrap: str) -> None:
    uv = np.array([(np.nan, np.inf), (-np.inf, 1e38), (3e9, -3e9)], np.float32)
    part = Part(
        np.eye(3),
        np.array([[0, 1, 2]]),
        uv=uv,
        texture=Image.new("RGB", (2, 2), (255, 0, 0)),
        wrap=(wrap, wrap),
    )
    mesh = mesh_of([part], tmp_path)
    got = surface_colours(mesh, np.zeros(3, int), np.eye(3, dtype=np.float32))
    np.testing.assert_allclose(got, [[1, 0, 0, 1]] * 3)


def mesh_of(parts: list[Part], folder: Path) -> Mesh:
    """Parts as `load_mesh` gives them."""
    with patch("cmah.meshes.mesh_loading.read_parts", lambda path, **options: parts):
        return load_mesh(folder / "none.obj")
