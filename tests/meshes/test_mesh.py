"""The colour of surface points."""

from pathlib import Path

import numpy as np
from mesh_samples import SQUARE, write
from PIL import Image

from cmah.meshes.mesh import surface_colours
from cmah.meshes.mesh_loading import load_mesh


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
