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
    assert refusal(path) == (
        "buffers[0]: file not found (../secret.bin); not read, as it lies outside the folder: ../secret.bin"
    )
    (tmp_path / "in/my data.bin").write_bytes((tmp_path / "secret.bin").read_bytes())
    write(path, json.dumps({**tree, "buffers": [{"byteLength": 36, "uri": "my%20data.bin"}]}))
    assert len(load_mesh(path).faces) == 1


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
