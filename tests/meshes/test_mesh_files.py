"""Foreign mesh files: every format, scenes, materials and buffers."""

import json
from pathlib import Path

import numpy as np
import pytest
from mesh_samples import refusal, write

from cmah.meshes.mesh import Mesh
from cmah.meshes.mesh_files import read_parts
from cmah.meshes.mesh_loading import load_mesh
from cmah.meshes.point_sampling import sample_points
from cmah.synthetic import WRITERS, make_model


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
    assert refusal(path) == "buffers[0]: file not found (../secret.bin)"
    (tmp_path / "in/my data.bin").write_bytes((tmp_path / "secret.bin").read_bytes())
    write(path, json.dumps({**tree, "buffers": [{"byteLength": 36, "uri": "my%20data.bin"}]}))
    assert len(load_mesh(path).faces) == 1


def seen(path: Path, root: Path) -> tuple[Mesh, np.ndarray]:
    """A mesh, and the colours float32 [2000, 3] of points of it."""
    mesh = load_mesh(path, root=root)
    return mesh, sample_points(mesh, 2000, 0)[:, 3:]


def proportions(mesh: Mesh) -> list[float]:
    size = np.ptp(mesh.vertices, axis=0)
    return (size / size[size > 1e-6].min()).round(2).tolist()


def test_samples_of_the_field(shared: Path) -> None:
    """What shared/data/field/README.md says must happen; tests of each reader have the same kinds made by hand."""
    field = shared / "data/field"
    if not field.is_dir():
        pytest.skip("no samples of the field")
    for name in (
        "B01-shapenet-textures/b01_shapenet",
        "B03-windows-absolute/b03_winabs",
        "B16-no-usemtl/b12_nousemtl",
    ):
        (path,) = (field / name).rglob("*.obj")
        mesh, colours = seen(path, field / name)
        assert (len(mesh.textures), mesh.remarks) == (1, ())
        assert np.ptp(colours, axis=0).min() > 0.5  # the four quarters of the texture
    for name in ("b04_mtllib_one", "b04_mtllib_lines"):
        _, colours = seen(field / "B04-several-mtllib" / name / "x.obj", field)
        np.testing.assert_allclose(colours.mean(axis=0), [0.5, 0, 0.5], atol=0.05)
    assert proportions(load_mesh(field / "B05-bom-vertex/x.obj")) == [1, 1, 1.5]
    assert len(load_mesh(field / "B07-tabs/b05_tabv/x.obj").faces) == 2
    np.testing.assert_allclose(
        seen(field / "B07-tabs/b05_tabusemtl/x.obj", field)[1], [[1, 0, 0]] * 2000, atol=1e-6
    )
    for name in ("x.off", "x.ply"):
        assert load_mesh(field / "B09-concave-ngon" / name).face_areas.sum() == pytest.approx(1.25)
    assert "not in the file" in refusal(field / "B10-zero-based/x.obj")
    for name in ("h08_vc_mtl", "h08_vc_noMtl_uv"):
        _, colours = seen(field / "B12-vertex-colour-and-mtl" / name / "x.obj", field)
        np.testing.assert_allclose(colours.mean(axis=0), [0.8, 0.1, 0.1], atol=0.01)
    mesh, _ = seen(field / "B14-map_d/b11_map_d/x.obj", field)
    assert not mesh.opaque
    for name in ("c01_tex16grey", "c11_textiff16"):
        _, colours = seen(field / "C01-16bit-texture" / name / "x.obj", field)
        np.testing.assert_allclose(colours, 0.25, atol=0.003)
    mesh, colours = seen(field / "C03-texture-alpha-0/h06_texalpha0/x.obj", field)
    assert mesh.remarks == ("texture all transparent, taken as opaque (t.png)",)
    assert colours[:, 1].min() > 0.7
    assert len(load_mesh(field / "D01-ply-binary-mixed/x.ply").faces) == 4
    assert len(load_mesh(field / "D03-ply-two-lists/x.ply").faces) == 2
    for name in ("D07-vertex-alpha-0/x.ply", "F01-coff-alpha/x.off"):
        mesh, colours = seen(field / name, field)
        assert mesh.opaque
        np.testing.assert_allclose(colours, [[1, 0, 0]] * 2000, atol=1e-6)


def test_a_second_reader_agrees_on_plain_files(shared: Path) -> None:
    """Triangles, as trimesh reads them, of files whose polygons are all convex."""
    import trimesh

    paths = sorted((shared / "data/meshes").glob("[b-d]*/*/*.obj"))[::6]
    assert len(paths) > 3
    agreed = 0
    for path in paths:
        own = np.concatenate([part.vertices[part.faces] for part in read_parts(path)])
        scene = trimesh.load_scene(path, process=False, skip_materials=True)
        other = np.concatenate([np.asarray(mesh.triangles) for mesh in scene.geometry.values()])
        assert len(own) == pytest.approx(len(other), rel=0.01)

        def in_order(triangles: np.ndarray) -> np.ndarray:
            middles = np.sort(triangles, axis=1).reshape(-1, 9)
            return middles[np.lexsort(middles.T)]

        agreed += own.shape == other.shape and bool((in_order(own) == in_order(other)).all())
    assert agreed > len(paths) * 0.6
