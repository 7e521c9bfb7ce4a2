"""Loading, checking, colours and sampling of meshes."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cmah.errors import CmahError
from cmah.meshes.mesh import Mesh, surface_colours
from cmah.meshes.mesh_loading import load_mesh, points_of_mesh, sample_points
from cmah.meshes.mesh_resources import ConfinedResolver
from cmah.meshes.off import read_off
from cmah.synthetic import WRITERS, make_model

SQUARE = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n"
TEXTURED = "mtllib m.mtl\n" + SQUARE + "vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\nusemtl a\nf 1/1 2/2 3/3 4/4\n"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(CmahError) as caught:
        load_mesh(path)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value).removeprefix(f"{path}: ")


def test_normalisation_is_about_the_box_and_ignores_unused_vertices(tmp_path: Path) -> None:
    path = write(tmp_path / "a.obj", "v 99 99 99\nv 10 0 0\nv 12 0 0\nv 10 6 0\nv 10 0 3\nf 2 3 4\nf 2 3 5\n")
    mesh = load_mesh(path)
    corners = [(10, 0, 0), (12, 0, 0), (10, 6, 0), (10, 0, 3)]
    centred = [[x - 11, y - 3, z - 1.5] for x, y, z in corners]
    largest = max((x * x + y * y + z * z) ** 0.5 for x, y, z in centred)
    expected = [[x / largest, y / largest, z / largest] for x, y, z in centred]
    np.testing.assert_allclose(np.sort(mesh.vertices, axis=0), np.sort(expected, axis=0), atol=1e-6)
    assert mesh.vertices.dtype == np.float32


def test_z_up_is_rotated_not_mirrored(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.obj", "v 0 0 0\nv 1 0 0\nv 0 2 0\nv 0 0 3\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"
    )
    upright, turned = load_mesh(path), load_mesh(path, "z")
    rotation = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], np.float32)
    assert np.linalg.det(rotation) == pytest.approx(1)
    np.testing.assert_allclose(turned.vertices, upright.vertices @ rotation.T, atol=1e-6)
    assert turned.vertices[3].argmax() == 1  # what pointed along z points up


@pytest.mark.parametrize(("text", "vertices", "triangles"), [
    ("OFF8 6 0\n" + "\n".join(f"{x} {y} {z}" for x in (0, 1) for y in (0, 1) for z in (0, 1))
     + "\n4 0 1 3 2\n4 4 6 7 5\n4 0 4 5 1\n4 2 3 7 6\n4 0 2 6 4\n4 1 5 7 3\n", 8, 12),
    ("# made by hand\nOFF\n\n3 1 # no edges\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n", 3, 1),
    ("OFF 5 2 0\n0 0 0\n1 0 0\n1 1 0\n.5 2 0\n0 1 0\n5 0 1 2 3 4\n2 0 1\n", 5, 3),
    ("NOFF\n3 1 0\n0 0 0 0 0 1\n1 0 0 0 0 1\n0 1 0 0 0 1\n3 0 1 2\n", 3, 1),
])  # fmt: skip
def test_off_variants(tmp_path: Path, text: str, vertices: int, triangles: int) -> None:
    off = read_off(write(tmp_path / "a.off", text))
    assert (off.vertices.shape, off.faces.shape) == ((vertices, 3), (triangles, 3))
    assert off.vertex_rgba is None
    assert off.face_rgba is None


def test_off_colours(tmp_path: Path) -> None:
    body = "3 1 0\n0 0 0 255 0 0 255\n1 0 0 0 255 0 255\n0 1 0 0 0 51 255\n3 0 1 2\n"
    colours = read_off(write(tmp_path / "a.off", "COFF\n" + body)).vertex_rgba
    assert colours is not None
    np.testing.assert_allclose(colours, [[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 0.2, 1]])
    faces = "OFF\n4 2 0\n0 0 0\n1 0 0\n0 1 0\n1 1 0\n3 0 1 2 0.5 0 1\n3 1 2 3\n"
    mesh = load_mesh(write(tmp_path / "b.off", faces))
    assert mesh.coloured
    np.testing.assert_allclose(sorted(mesh.face_rgba[:, 0].tolist()), [0.5, 0.7])


def test_polygons_keep_their_area(tmp_path: Path) -> None:
    angle = np.linspace(0, 2 * np.pi, 7, endpoint=False)
    vertices = "".join(f"v {np.cos(a)} {np.sin(a)} 0\n" for a in angle)
    mesh = load_mesh(write(tmp_path / "a.obj", vertices + "f 1 2 3 4 5 6 7\n"))
    # the box of a heptagon is not centred on it: scale the area back
    scale = np.linalg.norm(mesh.vertices[1] - mesh.vertices[0]) / np.hypot(
        np.cos(angle[1]) - 1, np.sin(angle[1])
    )
    assert mesh.face_areas.sum() / scale**2 == pytest.approx(7 / 2 * np.sin(2 * np.pi / 7), rel=1e-5)


def test_relative_indices_count_from_the_face(tmp_path: Path) -> None:
    text = SQUARE + "f -4 -3 -2 -1\n" + SQUARE.replace(" 0\n", " 5\n") + "f -4 -3 -2 -1\n"
    absolute = SQUARE + SQUARE.replace(" 0\n", " 5\n") + "f 1 2 3 4\nf 5 6 7 8\n"
    one, two = load_mesh(write(tmp_path / "a.obj", text)), load_mesh(write(tmp_path / "b.obj", absolute))
    assert one.face_areas.sum() == pytest.approx(two.face_areas.sum())
    assert len(one.vertices) == 8
    assert "not in the file" in refusal(write(tmp_path / "c.obj", SQUARE + "f -9 -3 -2\n"))


@pytest.mark.parametrize("category", ["chair", "mug"])
def test_all_formats_give_the_same_shape_and_colour(tmp_path: Path, category: str) -> None:
    model = make_model(category, 1)
    meshes = []
    for suffix, writer in dict(WRITERS).items():
        writer(model, tmp_path / f"x{suffix}")
        meshes.append(load_mesh(tmp_path / f"x{suffix}"))
    assert len(meshes) == 4
    reference = meshes[0]
    for mesh in meshes:
        assert mesh.coloured
        assert mesh.face_areas.sum() == pytest.approx(reference.face_areas.sum(), rel=1e-3)
        np.testing.assert_allclose(mean_colour(mesh), mean_colour(reference), atol=0.03)


def mean_colour(mesh: Mesh) -> np.ndarray:
    return sample_points(mesh, 20000, 0)[:, 3:].mean(axis=0)


def test_scene_transforms_are_applied(tmp_path: Path) -> None:
    import trimesh

    scene = trimesh.Scene()
    box = trimesh.creation.box((1, 1, 1))
    scene.add_geometry(box, geom_name="box")
    move = np.diag([1.0, 2.0, 1.0, 1.0])
    move[:3, 3] = [10, 0, 0]
    scene.add_geometry(box, geom_name="box", transform=move)
    for name in ("a.glb", "a.gltf"):
        if name.endswith("gltf"):
            for file, data in scene.export(file_type="gltf").items():
                (tmp_path / ("a.gltf" if file.endswith("gltf") else file)).write_bytes(data)
        else:
            (tmp_path / name).write_bytes(scene.export(file_type="glb"))
        mesh = load_mesh(tmp_path / name)
        size = np.ptp(mesh.vertices, axis=0)
        np.testing.assert_allclose(size / size[2], [11, 2, 1], rtol=1e-5)


def test_refusals(tmp_path: Path) -> None:
    assert refusal(write(tmp_path / "a.obj", SQUARE)) == "no faces"
    assert "not finite" in refusal(write(tmp_path / "b.obj", SQUARE + "v nan 0 0\nf 1 2 5\n"))
    assert "no extent" in refusal(write(tmp_path / "c.obj", "v 1 1 1\n" * 3 + "f 1 2 3\n"))
    assert "no area" in refusal(write(tmp_path / "d.obj", "v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n"))
    assert "normalised" in refusal(write(tmp_path / "e.obj", "v 0 0 0\nv 1e200 0 0\nv 0 1e200 0\nf 1 2 3\n"))
    far = "v 1e15 0 0\nv 1000000000000001 0 0\nv 1e15 1 0\nf 1 2 3\n"
    assert "normalised" in refusal(write(tmp_path / "f.obj", far))
    assert "promises 4000000000 vertices" in refusal(
        write(tmp_path / "g.off", "OFF\n4000000000 1 0\n0 0 0\n")
    )
    assert "counts" in refusal(write(tmp_path / "h.off", "OFF\n-3 1 0\n0 0 0\n"))
    assert "not in the file" in refusal(
        write(tmp_path / "i.off", "OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 7\n")
    )
    assert "expected a face" in refusal(
        write(tmp_path / "j.off", "OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n4 0 1 2\n")
    )
    assert "no faces" in refusal(write(tmp_path / "k.stl", "nothing"))
    assert "not readable as GLB" in refusal(write(tmp_path / "k.glb", "nothing"))
    (tmp_path / "n.stl").write_bytes(b"solid \xff\xfe\n" * 20)
    assert "neither its text nor binary form" in refusal(tmp_path / "n.stl")
    assert "triangles" in refusal(write(tmp_path / "o.obj", "v 0 0\nv 1 0\nv 0 1\nf 1 2 3\n"))
    assert "no such file" in refusal(tmp_path / "l.obj")
    assert "not a mesh file" in refusal(write(tmp_path / "m.txt", "x"))


def texture(path: Path, size: tuple[int, int] = (4, 4)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (255, 0, 0)).save(path)


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


def test_latin_1_names(tmp_path: Path) -> None:
    """Old exporters write the machine's own encoding: names of materials and textures must still be found."""
    texture(tmp_path / "niño.png")
    (tmp_path / "m.mtl").write_bytes("newmtl año\nmap_Kd niño.png\n".encode("latin-1"))
    (tmp_path / "a.obj").write_bytes(TEXTURED.replace("usemtl a", "usemtl año").encode("latin-1"))
    np.testing.assert_allclose(
        sample_points(load_mesh(tmp_path / "a.obj"), 9, 0)[:, 3:], [[1, 0, 0]] * 9, atol=1e-6
    )


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


def test_gltf_buffers_are_confined(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "secret.bin").write_bytes(np.eye(3, dtype="<f4").tobytes())
    tree = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}],
        "bufferViews": [{"buffer": 0, "byteLength": 36}],
        "buffers": [{"byteLength": 36, "uri": "../secret.bin"}],
    }
    path = write(tmp_path / "in/a.gltf", json.dumps(tree))
    assert "not readable as GLTF" in refusal(path)
    (tmp_path / "in/my data.bin").write_bytes((tmp_path / "secret.bin").read_bytes())
    write(path, json.dumps({**tree, "buffers": [{"byteLength": 36, "uri": "my%20data.bin"}]}))
    assert len(load_mesh(path).faces) == 1


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


def test_sampling_is_by_area_on_the_surface_and_seeded(tmp_path: Path) -> None:
    # two squares in planes z = 0 and z = 5, of area 1 and 9
    big = "v 0 0 5\nv 3 0 5\nv 3 3 5\nv 0 3 5\n"
    mesh = load_mesh(write(tmp_path / "a.obj", SQUARE + big + "f 1 2 3 4\nf 5 6 7 8\n"))
    points = sample_points(mesh, 20000, 3)
    assert points.shape == (20000, 3)
    assert points.dtype == np.float32
    lower, upper = np.unique(mesh.vertices[:, 2])
    assert np.isclose(points[:, 2], lower, atol=1e-6).mean() == pytest.approx(0.1, abs=0.01)
    assert np.isclose(points[:, 2], upper, atol=1e-6).mean() == pytest.approx(0.9, abs=0.01)
    on_big = points[np.isclose(points[:, 2], upper, atol=1e-6), :2]
    low, high = mesh.vertices[mesh.vertices[:, 2] == upper, :2].min(0), mesh.vertices[:, :2].max(0)
    quarters = ((on_big - low) / (high - low) * 2).astype(int).clip(0, 1) @ [1, 2]
    assert np.bincount(quarters) / len(on_big) == pytest.approx([0.25] * 4, abs=0.02)
    np.testing.assert_array_equal(points, sample_points(mesh, 20000, 3))
    assert not np.array_equal(points, sample_points(mesh, 20000, 4))


def test_holes_of_a_texture_get_no_points(tmp_path: Path) -> None:
    texels = np.full((2, 80, 4), 255, np.uint8)
    texels[:, 40:] = 0
    Image.fromarray(texels).save(tmp_path / "t.png")
    write(tmp_path / "m.mtl", "newmtl a\nmap_Kd t.png\n")
    mesh = load_mesh(write(tmp_path / "a.obj", TEXTURED))
    assert not mesh.opaque
    x = sample_points(mesh, 2000, 0)[:, 0] / np.abs(mesh.vertices[:, 0]).max()
    assert ((x > 0.02) & (x < 0.98)).mean() < 0.01


def test_points_of_mesh_runs_elsewhere(tmp_path: Path) -> None:
    path = write(tmp_path / "a.obj", SQUARE + "f 1 2 3 4\n")
    np.testing.assert_array_equal(points_of_mesh(path, 64), sample_points(load_mesh(path), 64, 0))
    with pytest.raises(CmahError, match=r"b\.obj: no faces$"):
        points_of_mesh(write(tmp_path / "b.obj", SQUARE), 64)


def test_hostile_files(shared: Path) -> None:
    folder = shared / "data/hostile/meshes"
    fine = {"huge_coordinates.obj", "missing_texture.obj", "modelnet_glued_header.off", "mtl_outside.obj"}
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name in fine:
            assert np.isfinite(sample_points(load_mesh(path), 100, 0)).all()
        elif path.is_file():
            assert len(refusal(path)) < 250
