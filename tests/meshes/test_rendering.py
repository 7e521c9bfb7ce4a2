"""Views by ray casting, beside a slow and plain second renderer."""

from pathlib import Path

import numpy as np
import pytest

from cmah.meshes import rendering
from cmah.meshes.mesh import Mesh, surface_colours
from cmah.meshes.mesh_loading import load_mesh
from cmah.meshes.rendering import Camera, render, ring_of_cameras
from cmah.synthetic import make_model
from cmah.synthetic.solids import Model
from cmah.synthetic.writing import write_glb

RED = (1.0, 0.0, 0.0)


def mesh_of(model: Model, folder: Path) -> Mesh:
    write_glb(model, folder / "x.glb")
    return load_mesh(folder / "x.glb")


def slow_view(mesh: Mesh, camera: Camera, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Every ray against every triangle, in float64, one by one."""
    azimuth, elevation = np.radians(camera.azimuth), np.radians(camera.elevation)
    back = np.array(
        [np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)]
    )
    right = np.cross([0, 1, 0], back) / np.linalg.norm(np.cross([0, 1, 0], back))
    up = np.cross(back, right)
    eye = back / np.sin(np.radians(15))
    reach = np.tan(np.radians(15))
    lamp = -0.5 * right + 0.7 * up + 0.5 * back
    lamp /= np.linalg.norm(lamp)
    triangles = mesh.vertices[mesh.faces].astype(float)
    rays = np.ones((2 * size, 2 * size, 3))
    hits = np.zeros((2 * size, 2 * size))
    for row in range(2 * size):
        for column in range(2 * size):
            x = ((column + 0.5) / size - 1) * reach
            y = (1 - (row + 0.5) / size) * reach
            towards = x * right + y * up - back
            best = np.inf
            for number, (a, b, c) in enumerate(triangles):
                matrix = np.stack([b - a, c - a, -towards], axis=1)
                if abs(np.linalg.det(matrix)) < 1e-12:
                    continue
                u, v, t = np.linalg.solve(matrix, eye - a)
                if u >= 0 and v >= 0 and u + v <= 1 and 0 < t < best:
                    best = t
                    normal = np.cross(b - a, c - a) / np.linalg.norm(np.cross(b - a, c - a))
                    facing = -normal @ towards / np.linalg.norm(towards)
                    side = 1 if facing >= 0 else -1
                    light = 0.38 + 0.37 * abs(facing) + 0.25 * max(0, side * normal @ lamp)
                    weights = np.array([[1 - u - v, u, v]], np.float32)
                    colour = surface_colours(mesh, np.array([number]), weights)[0, :3]
                    rays[row, column] = (0.05 + 0.95 * colour) * light
                    hits[row, column] = 1
    pooled = rays.reshape(size, 2, size, 2, 3).mean(axis=(1, 3))
    return pooled * 255, hits.reshape(size, 2, size, 2).mean(axis=(1, 3)) * 255


@pytest.mark.slow
@pytest.mark.parametrize("camera", [Camera(0, 20), Camera(132.5, -35), Camera(250, 60)])
def test_equals_the_slow_renderer(tmp_path: Path, camera: Camera) -> None:
    model = Model()
    model.box((0, 0, 0), (1, 0.4, 0.6), RED)
    model.box((0.3, 0.5, 0), (0.2, 0.7, 0.2), (0.2, 0.4, 0.9))
    mesh = mesh_of(model, tmp_path)
    images, masks = render(mesh, [camera], 14)
    image, mask = slow_view(mesh, camera, 14)
    # a ray that grazes an edge may fall on either side of it
    different = (np.abs(images[0] - image).max(axis=2) > 1.5) | (np.abs(masks[0] - mask) > 1.5)
    assert different.mean() < 0.02
    assert (masks[0] == 255).sum() > 20


def test_unit_sphere_touches_the_frame_all_round(tmp_path: Path) -> None:
    model = Model()
    angle = np.linspace(-np.pi / 2, np.pi / 2, 80)
    model.lathe(np.stack([np.cos(angle), np.sin(angle)], axis=1), RED, sides=160)
    images, masks = render(mesh_of(model, tmp_path), ring_of_cameras(3, (0.0, 50.0)), 64)
    assert images.shape == (3, 64, 64, 3)
    y, x = np.mgrid[0:64, 0:64] + 0.5 - 32
    for image, mask in zip(images, masks, strict=True):
        assert mask[0].any()
        assert mask[-1].any()
        assert mask[:, 0].any()
        assert mask[:, -1].any()
        assert (mask[np.hypot(x, y) < 31] == 255).all()
        assert (mask[np.hypot(x, y) > 33] == 0).all()
        assert (image[mask == 0] == 255).all()


def test_cameras() -> None:
    cameras = ring_of_cameras(12)
    assert [camera.azimuth for camera in cameras] == [30.0 * view for view in range(12)]
    assert {camera.elevation for camera in cameras} == {20.0}
    np.testing.assert_allclose(Camera(0, 0).axes(), np.eye(3), atol=1e-12)
    np.testing.assert_allclose(Camera(90, 0).axes()[2], [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(Camera(123, 45).axes() @ Camera(123, 45).axes().T, np.eye(3), atol=1e-12)
    assert [camera.elevation for camera in ring_of_cameras(4, (0.0, 30.0))] == [0, 30, 0, 30]
    moved = ring_of_cameras(200, jitter=10, generator=np.random.default_rng(0))
    offsets = [(m.azimuth - 1.8 * view + 180) % 360 - 180 for view, m in enumerate(moved)]
    assert max(map(abs, offsets)) <= 10.01
    assert np.ptp(offsets) > 15
    assert moved == ring_of_cameras(200, jitter=10, generator=np.random.default_rng(0))
    assert all(0 <= camera.azimuth < 360 for camera in moved)


def test_azimuth_turns_around_the_shape(tmp_path: Path) -> None:
    """From +x one sees the side that lies at +x, and what is up is up in the picture."""
    model = Model()
    model.box((0.5, 0, 0), (0.1, 1, 1), RED)
    model.box((0, 0.5, 0), (0.9, 0.1, 1), (0.0, 0.0, 1.0))
    images, _ = render(mesh_of(model, tmp_path), [Camera(90, 10)], 32)
    middle = images[0][:, 16].astype(int)
    assert middle[16, 0] > middle[16, 2] + 80
    blue = np.flatnonzero(middle[:, 2] > middle[:, 0] + 50)
    red = np.flatnonzero(middle[:, 0] > middle[:, 2] + 50)
    assert blue.max() <= red.min() + 1


def test_both_sides_of_a_face_are_lit(tmp_path: Path) -> None:
    (tmp_path / "a.obj").write_text("v -1 -1 0\nv 1 -1 0\nv 1 1 0\nv -1 1 0\nf 1 2 3 4\n")
    images, masks = render(load_mesh(tmp_path / "a.obj"), [Camera(0, 0), Camera(180, 0)], 32)
    np.testing.assert_array_equal(masks[0], masks[1])
    assert np.abs(images[0].astype(int) - images[1]).max() <= 1
    assert images[0][16, 16].min() > 150


def test_glass_lets_what_is_behind_shine_through(tmp_path: Path) -> None:
    (tmp_path / "m.mtl").write_text("newmtl glass\nKd 0 0 1\nd 0.5\nnewmtl red\nKd 1 0 0\n")
    squares = "".join(f"v -1 -1 {z}\nv 1 -1 {z}\nv 1 1 {z}\nv -1 1 {z}\n" for z in (0.5, -0.5))
    text = f"mtllib m.mtl\n{squares}usemtl glass\nf 1 2 3 4\nusemtl red\nf 5 6 7 8\n"
    (tmp_path / "a.obj").write_text(text)
    mesh = load_mesh(tmp_path / "a.obj")
    images, masks = render(mesh, [Camera(0, 0), Camera(180, 0)], 32)
    through, behind = images[0][16, 16].astype(int), images[1][16, 16].astype(int)
    assert masks[0][16, 16] == masks[1][16, 16] == 255
    assert through[0] > 80
    assert through[2] > 80
    assert behind[0] > 150
    assert behind[2] < 60
    alone = load_mesh(write_glass(tmp_path))
    _, masks = render(alone, [Camera(0, 0)], 32)
    assert int(masks[0][16, 16]) == pytest.approx(127, abs=2)


def write_glass(folder: Path) -> Path:
    path = folder / "glass.obj"
    path.write_text("mtllib m.mtl\nv -1 -1 0\nv 1 -1 0\nv 1 1 0\nv -1 1 0\nusemtl glass\nf 1 2 3 4\n")
    return path


def test_normals_of_the_file_smooth_the_light(tmp_path: Path) -> None:
    square = "v -1 -1 0\nv 1 -1 0\nv 1 1 0\nv -1 1 0\n"
    (tmp_path / "flat.obj").write_text(square + "f 1 2 3 4\n")
    normals = "vn -1 0 1\nvn 1 0 1\n"
    (tmp_path / "smooth.obj").write_text(square + normals + "f 1//1 2//2 3//2 4//1\n")
    flat, smooth = (
        render(load_mesh(tmp_path / f"{n}.obj"), [Camera(0, 0)], 32)[0][0] for n in ("flat", "smooth")
    )
    assert np.ptp(flat[16, 8:24, 0].astype(int)) <= 2
    assert np.ptp(smooth[16, 8:24, 0].astype(int)) > 15


def test_blocks_of_rays_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mesh = mesh_of(make_model("airplane", 0), tmp_path)
    whole = render(mesh, ring_of_cameras(2), 48)
    monkeypatch.setattr(rendering, "RAYS_AT_ONCE", 100)
    blocks = render(mesh, ring_of_cameras(2), 48)
    np.testing.assert_array_equal(whole[0], blocks[0])
    np.testing.assert_array_equal(whole[1], blocks[1])


def test_normals_that_contradict_their_face_are_not_used(tmp_path: Path) -> None:
    square = "v -1 -1 0\nv 1 -1 0\nv 1 1 0\nv -1 1 0\n"
    (tmp_path / "flat.obj").write_text(square + "f 1 2 3 4\n")
    (tmp_path / "wrong.obj").write_text(square + "vn 1 0 0.2\nvn 0 0 0\nf 1//1 2//1 3//1 4//2\n")
    flat, wrong = (
        render(load_mesh(tmp_path / f"{n}.obj"), [Camera(0, 0)], 32)[0][0] for n in ("flat", "wrong")
    )
    np.testing.assert_array_equal(flat, wrong)
