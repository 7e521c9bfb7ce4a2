"""Voxels of a dataset's shapes from its clouds and from its meshes, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
from cloud_samples import write_cloud

from cmah.data.cloud_lookup import cloud_lookup
from cmah.data.dataset import Dataset, Shape
from cmah.data.voxel_lookup import voxel_lookup
from cmah.errors import CmahError
from cmah.evaluation.voxels import cloud_grid, intersection_over_union

SQUARE = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nf 1 2 3 4\n"
TRIANGLE = "v 0 0 0\nv 1 0 0\nv 1 1 0\nf 1 2 3\n"


@pytest.fixture
def dataset(tmp_path):
    """Two shapes with clouds, a third without, and meshes for the first and the third."""
    (tmp_path / "points").mkdir()
    for i, name in enumerate("ab"):
        points = np.random.default_rng(i).uniform(-1, 1, (60, 3)).astype(np.float16)
        np.save(tmp_path / f"points/{name}.npy", points)
    (tmp_path / "meshes").mkdir()
    (tmp_path / "meshes/a.obj").write_text(SQUARE)
    (tmp_path / "meshes/c.obj").write_text(TRIANGLE)
    shapes = [Shape(name, "", "", f"points/{name}.npy", {"source": f"{name}.obj"}) for name in "abc"]
    return Dataset(tmp_path, "d", 60, "y", 16, shapes, [])


def test_voxels_of_clouds(dataset):
    lines = []
    voxels = voxel_lookup(dataset, resolution=16, radius=0.2, warn=lines.append)
    voxels.make(["a", "b", "c", "no such shape"])
    cloud_of = cloud_lookup(dataset)
    grids = [cloud_grid(cloud_of(name), 16, 0.2) for name in "ab"]
    assert voxels.iou("a", "b") == intersection_over_union(*grids)
    assert np.isnan(voxels.iou("a", "c"))
    assert np.isnan(voxels.iou("a", "no such shape"))
    assert len(lines) == 1
    assert "16^3 cells; full: nearer to a point of the cloud than 0.2, " in voxels.made


@pytest.mark.slow
def test_voxels_of_meshes(dataset):
    lines = []
    voxels = voxel_lookup(dataset, [dataset.root / "meshes"], resolution=16, warn=lines.append)
    voxels.make(["a", "b", "c"])
    assert 0.4 < voxels.iou("a", "c") < 0.8
    assert np.isnan(voxels.iou("a", "b"))
    assert lines == [f"no voxels of shape b: {dataset.root / 'meshes/b.obj'}: no such file"]
    assert "meets the mesh" in voxels.made


@pytest.mark.slow
def test_what_a_mesh_names_is_read_within_its_folder_of_meshes(dataset, tmp_path):
    """As prepare does: here the corners of a glTF file lie in a folder beside its own."""
    corners = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0]], np.float32)
    for folder in ("one", "two"):
        (tmp_path / folder / "models").mkdir(parents=True)
        (tmp_path / folder / "buffers").mkdir()
        (tmp_path / folder / "buffers/x.bin").write_bytes(corners.tobytes())
        scene = {
            "asset": {"version": "2.0"}, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}],
            "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
            "accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}],
            "bufferViews": [{"buffer": 0, "byteLength": 36}],
            "buffers": [{"uri": "../buffers/x.bin", "byteLength": 36}],
        }  # fmt: skip
        (tmp_path / folder / "models/x.gltf").write_text(json.dumps(scene))
    sources = [tmp_path / "one/models/x.gltf", tmp_path / "two/models/x.gltf"]
    dataset.shapes = [
        replace(shape, extra={"source": str(source)})
        for shape, source in zip(dataset.shapes[:2], sources, strict=True)
    ]
    folders = [{"path": str(tmp_path / name), "prefix": ""} for name in ("one", "two")]
    dataset.extra = {"prepared": {"folders": folders}}
    lines = []
    voxels = voxel_lookup(dataset, [tmp_path / "one"], resolution=16, warn=lines.append)
    voxels.make(["a", "b"])
    assert (voxels.iou("a", "b"), lines) == (1, [])


def test_a_cloud_has_no_voxels_of_a_mesh(dataset):
    write_cloud(dataset.root / "meshes/b.obj", np.eye(3))
    lines = []
    voxels = voxel_lookup(dataset, [dataset.root / "meshes"], resolution=16, warn=lines.append)
    voxels.make(["a", "b"])
    assert np.isnan(voxels.iou("a", "b"))
    path = dataset.root / "meshes/b.obj"
    assert lines == [f"no voxels of shape b: {path}: no faces (it is a cloud of 3 points)"]


@pytest.mark.slow
def test_voxels_of_meshes_by_absolute_sources(dataset, tmp_path):
    """Of two folders, one of which has moved; --meshes names its new place, the other is where it was."""
    (tmp_path / "more").mkdir()
    (tmp_path / "meshes/c.obj").rename(tmp_path / "more/c.obj")
    sources = {"a": "/gone/a.obj", "b": "/gone/b.obj", "c": str(tmp_path / "more/c.obj")}
    dataset.shapes = [replace(shape, extra={"source": sources[shape.shape_id]}) for shape in dataset.shapes]
    folders = [{"path": "/gone", "prefix": ""}, {"path": str(tmp_path / "more"), "prefix": ""}]
    dataset.extra = {"prepared": {"folders": folders}}
    lines = []
    voxels = voxel_lookup(dataset, [tmp_path / "meshes"], resolution=16, warn=lines.append)
    voxels.make(["a", "b", "c"])
    assert 0.4 < voxels.iou("a", "c") < 0.8
    assert lines == [f"no voxels of shape b: {tmp_path / 'meshes/b.obj'}: no such file"]
    with pytest.raises(CmahError, match="has none of the meshes"):
        voxel_lookup(dataset, [tmp_path / "elsewhere"])
    dataset.extra = {}  # an absolute path that is in no recorded folder is not followed
    with pytest.raises(CmahError, match=r"row of 'a': source is '/gone/a\.obj'"):
        voxel_lookup(dataset, [tmp_path / "meshes"])


def test_refusals(dataset, tmp_path):
    with pytest.raises(CmahError, match="2 folders of meshes for 1 datasets"):
        voxel_lookup(dataset, ["x", "y"])
    with pytest.raises(
        CmahError, match=r"nowhere: has none of the meshes that the column source of .*shapes.csv"
    ):
        voxel_lookup(dataset, ["nowhere"])
    with pytest.raises(CmahError, match="shape 'a' is in"):
        voxel_lookup([dataset, dataset], ["x", "y"])
    shapes = [Shape("a", "", "", "points/a.npy", {"source": "../../etc/x.obj"})]
    other = Dataset(tmp_path, "d", 60, "y", 16, shapes, [])
    with pytest.raises(CmahError, match=r"row of 'a': source is '\.\./\.\./etc/x\.obj'"):
        voxel_lookup(other, [tmp_path])
    bare = Dataset(tmp_path, "d", 60, "y", 16, [Shape("a", "", "", "points/a.npy")], [])
    with pytest.raises(CmahError, match="has none of the meshes"):
        voxel_lookup(bare, [tmp_path])
