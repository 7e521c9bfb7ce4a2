"""Voxels of meshes: closed forms, a plain second implementation, and files that cannot be read."""

from pathlib import Path

import numpy as np
import pytest
from mesh_samples import write

from cmah.evaluation.voxels import cloud_grid, intersection_over_union
from cmah.meshes.mesh import Mesh
from cmah.meshes.mesh_loading import load_mesh
from cmah.meshes.mesh_voxels import grids_of_meshes, mesh_grid
from cmah.meshes.point_sampling import sample_points
from cmah.synthetic import make_model
from cmah.synthetic.solids import Model
from cmah.synthetic.writing import write_glb

RED = (1.0, 0.0, 0.0)


def mesh_of(model: Model, folder: Path) -> Mesh:
    write_glb(model, folder / "x.glb")
    return load_mesh(folder / "x.glb")


def box(folder: Path, *sides: float) -> Mesh:
    model = Model()
    model.box(centre=(3, 1, -2), size=sides, colour=RED)
    return mesh_of(model, folder)


def plain_grid(mesh: Mesh, resolution: int) -> np.ndarray:
    """Where every line of cells meets every triangle, by solving for each; then every cell's six lines of sight."""
    corners = mesh.vertices[mesh.faces].astype(np.float64)
    centres = (np.arange(resolution) + 0.5) * 2 / resolution - 1
    full = np.zeros((resolution,) * 3, bool)
    for axis in range(3):
        others = [other for other in range(3) if other != axis]
        for i, j in np.ndindex(resolution, resolution):
            met = []
            for a, b, c in corners:
                sides = np.stack([b[others] - a[others], c[others] - a[others]], axis=1)
                if abs(np.linalg.det(sides)) < 1e-12:
                    continue
                u, v = np.linalg.solve(sides, np.array([centres[i], centres[j]]) - a[others])
                if min(u, v, 1 - u - v) >= 0:
                    met.append(a[axis] + u * (b - a)[axis] + v * (c - a)[axis])
            for place in (min(met), max(met)) if met else ():
                cell = [0, 0, 0]
                cell[others[0]], cell[others[1]] = i, j
                cell[axis] = int(np.clip((place + 1) * resolution // 2, 0, resolution - 1))
                full[tuple(cell)] = True
    solid = full.copy()
    for i, j, k in np.argwhere(~full):
        lines = full[: i + 1, j, k], full[i:, j, k], full[i, : j + 1, k]
        lines += full[i, j:, k], full[i, j, : k + 1], full[i, j, k:]
        solid[i, j, k] = all(line.any() for line in lines)
    return solid


@pytest.mark.slow
def test_plain_second_implementation(tmp_path: Path) -> None:
    model = Model()
    model.box(centre=(0, 0, 0), size=(1.1, 0.13, 0.9), colour=RED)
    model.box(centre=(0.4, -0.5, 0.3), size=(0.1, 0.9, 0.11), colour=RED)
    mesh = mesh_of(model, tmp_path)
    grid = mesh_grid(mesh, 17)
    assert grid.any()
    np.testing.assert_array_equal(grid, plain_grid(mesh, 17))


def test_boxes_overlap_as_their_volumes_do(tmp_path: Path) -> None:
    """A box of half side s reaches into 2 ceil(64 s) cells along each axis: rays along it meet both ends."""
    boxes = (1.2, 0.8, 0.6), (0.6, 0.8, 1.2), (1, 1, 1)
    grids = [mesh_grid(box(tmp_path, *sides)) for sides in boxes]
    cells = [2 * np.ceil(64 * np.array(sides) / np.linalg.norm(sides)) for sides in boxes]
    for grid, counts in zip(grids, cells, strict=True):
        assert grid.sum() == counts.prod()
    for a, b in ((0, 1), (0, 2), (1, 2)):
        common = np.minimum(cells[a], cells[b]).prod()
        expected = common / (cells[a].prod() + cells[b].prod() - common)
        assert intersection_over_union(grids[a], grids[b]) == pytest.approx(expected, abs=1e-12)


def test_a_ball_has_the_volume_of_a_ball(tmp_path: Path) -> None:
    heights = np.cos(np.linspace(0, np.pi, 80))
    model = Model()
    model.lathe([(np.sqrt(max(1 - h * h, 0)), h) for h in heights], RED, sides=120)
    grid = mesh_grid(mesh_of(model, tmp_path))
    cells = (np.arange(128) + 0.5) / 64 - 1
    distance = np.sqrt(sum(axis**2 for axis in np.meshgrid(cells, cells, cells, indexing="ij")))
    assert grid[distance < 0.985].all()
    assert not grid[distance > 1 + 0.015].any()
    assert grid.mean() * 8 == pytest.approx(4 / 3 * np.pi, rel=0.02)


def test_what_a_thin_or_open_surface_gives(tmp_path: Path) -> None:
    """A sheet is one cell thick; a box without its lid is not solid, and one with half a lid is so in part."""
    flat = "v 0 0 0\nv 1 0 0\nv 1 0 1\nv 0 0 1\nf 1 2 3 4\n"
    sheet = mesh_grid(load_mesh(write(tmp_path / "a.obj", flat)), 32)
    # half its side is 0.707, of 16 cells 11.3: rays through 11 centres on either side meet it
    assert sheet.sum() == 22**2
    assert sheet[5:27, 16, 5:27].all()
    walls = "v 0 0 0\nv 1 0 0\nv 1 0 1\nv 0 0 1\nv 0 1 0\nv 1 1 0\nv 1 1 1\nv 0 1 1\nf 1 2 3 4\n"
    walls += "f 1 2 6 5\nf 2 3 7 6\nf 3 4 8 7\nf 4 1 5 8\n"
    bowl = mesh_grid(load_mesh(write(tmp_path / "b.obj", walls)), 32)
    lid = mesh_grid(load_mesh(write(tmp_path / "c.obj", walls + "f 5 6 7 8\n")), 32)
    # half its side is 9.2 cells: rays through 9 centres on either side meet it, in the tenth cell
    assert lid.sum() == 18**3 + 6 * 18**2
    assert bowl.sum() == 5 * 18**2
    torn = mesh_grid(load_mesh(write(tmp_path / "d.obj", walls + "f 5 6 7\n")), 32)
    assert bowl.sum() < torn.sum() < lid.sum()


@pytest.mark.slow
def test_clouds_give_nearly_the_same(tmp_path: Path) -> None:
    for category in ("mug", "airplane"):
        mesh = mesh_of(make_model(category, 0), tmp_path)
        grid = mesh_grid(mesh)
        cloud = cloud_grid(sample_points(mesh, 20_000, 0))
        assert intersection_over_union(grid, cloud) > 0.6
        again = mesh_grid(mesh)
        np.testing.assert_array_equal(grid, again)


@pytest.mark.slow
def test_files_in_other_processes(tmp_path: Path) -> None:
    good = tmp_path / "good.obj"
    write(good, "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0.5\nf 1 2 3\nf 1 3 4\n")
    files = {"good": good, "none": write(tmp_path / "none.obj", "v 0 0 0\n"), "gone": tmp_path / "gone.obj"}
    lines: list[str] = []
    grids = dict(grids_of_meshes(files, 16, jobs=2, warn=lines.append))
    assert list(grids) == ["good"]
    np.testing.assert_array_equal(grids["good"], mesh_grid(load_mesh(good), 16))
    assert sorted(lines) == [
        f"no voxels of shape gone: {tmp_path / 'gone.obj'}: no such file",
        f"no voxels of shape none: {tmp_path / 'none.obj'}: no faces",
    ]
    assert list(grids_of_meshes({}, 16)) == []
