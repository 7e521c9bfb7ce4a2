"""The files that a mesh file names: found, confined, decoded within limits."""

import os
from pathlib import Path

import numpy as np
import pytest
from mesh_samples import TEXTURED, texture, write
from PIL import Image

from cmah.meshes.mesh_loading import load_mesh
from cmah.meshes.mesh_resources import ConfinedResolver
from cmah.meshes.point_sampling import sample_points


@pytest.mark.parametrize(("said", "there"), [
    ("red.png", "red.png"),
    (".\\maps\\red.png", "maps/red.png"),
    ("-s 2 2 1 -clamp on red one.png", "red one.png"),
    ("Maps/RED.png", "maps/red.png"),
])  # fmt: skip
def test_textures_are_found(tmp_path: Path, said: str, there: str) -> None:
    texture(tmp_path / there)
    write(tmp_path / "m.mtl", f"newmtl a\nKd 0 0 0\nmap_Kd {said}\n")
    mesh = load_mesh(write(tmp_path / "a.obj", TEXTURED))
    np.testing.assert_allclose(sample_points(mesh, 50, 0)[:, 3:], [[1, 0, 0]] * 50, atol=1e-6)


def test_paths_are_confined_and_cost_only_the_texture(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "out"
    texture(outside / "red.png")
    inside.mkdir()
    (inside / "link.png").symlink_to(outside / "red.png")
    (inside / "linked").symlink_to(outside)
    os.mkfifo(inside / "pipe.png")
    names = ["../out/red.png", str(outside / "red.png"), "link.png", "linked/red.png", "pipe.png", "gone.png",
             "http://example.com/red.png", "file:///red.png", "C:\\red.png", "%2e%2e/out/red.png", "."]  # fmt: skip
    resolver = ConfinedResolver(inside)
    for name in names:
        with pytest.raises(FileNotFoundError):
            resolver.get(name)
        write(inside / "m.mtl", f"newmtl a\nKd 0 0 1\nmap_Kd {name}\n")
        mesh = load_mesh(write(inside / "a.obj", TEXTURED))
        assert len(mesh.textures) == 0
        np.testing.assert_allclose(mesh.face_rgba[0], [0, 0, 1, 1], atol=1e-6)
    write(inside / "a.obj", TEXTURED.replace("m.mtl", "../out/m.mtl"))
    write(outside / "m.mtl", "newmtl a\nKd 0 1 0\n")
    assert not load_mesh(inside / "a.obj").coloured


def test_large_and_broken_textures(tmp_path: Path) -> None:
    write(tmp_path / "m.mtl", "newmtl a\nKd 0 0 1\nmap_Kd t.png\n")
    path = write(tmp_path / "a.obj", TEXTURED)
    Image.new("1", (12000, 12000)).save(tmp_path / "t.png")
    assert len(load_mesh(path).textures) == 0
    texture(tmp_path / "t.png", (3000, 1500))
    assert load_mesh(path).textures.tolist() == [[0, 500, 1000]]
    (tmp_path / "t.png").write_bytes((tmp_path / "t.png").read_bytes()[:200])
    mesh = load_mesh(path)
    assert len(mesh.textures) == 0
    np.testing.assert_allclose(mesh.face_rgba[0], [0, 0, 1, 1])
