"""Files of every kind as a model takes them."""

import json
import os
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest
import torch
from cloud_samples import write_cloud

from cmah.codes import BinaryCodes
from cmah.data.dataset import Dataset
from cmah.preparing.preparing import prepare
from cmah.runs.encoder import Encoder
from cmah.runs.exporting import export
from cmah.runs.file_batches import FileBatches, cloud_tensor
from cmah.runs.query_files import query_files
from cmah.synthetic import make_shapes


def test_files_are_told_by_their_bytes_and_ply_clouds_are_clouds(tmp_path, toy_run):
    model = Encoder.load(toy_run, device="cpu").model
    PIL.Image.new("RGB", (8, 8), "red").save(tmp_path / "photo.jfif", format="JPEG")
    PIL.Image.new("RGB", (8, 8), "red").save(tmp_path / "photo", format="PPM")
    points = np.random.default_rng(0).normal(size=(2000, 3)).astype(np.float32)
    header = f"ply\nformat ascii 1.0\nelement vertex {len(points)}\n"
    header += "".join(f"property float {name}\n" for name in "xyz") + "end_header\n"
    (tmp_path / "cloud.ply").write_text(
        header + "\n".join(" ".join(map(repr, row)) for row in points.tolist())
    )
    np.save(tmp_path / "cloud.npy", points)
    names = ["photo.jfif", "photo", "cloud.ply", "cloud.npy"]
    for up in ("y", "z"):
        batches = FileBatches([tmp_path / name for name in names], model, up=up)
        taken = list(batches)
        assert batches.skipped == []
        assert sorted(position for _, _, positions in taken for position in positions) == [0, 1, 2, 3]
        clouds = {
            names[position]: batch["points"][row]
            for kind, batch, positions in taken
            for row, position in enumerate(positions)
            if kind == "shape"
        }
        assert torch.allclose(clouds["cloud.ply"], clouds["cloud.npy"], atol=1e-6)


def test_a_cloud_with_a_hole_in_its_numbers_is_refused(tmp_path, toy_run):
    header = "ply\nformat ascii 1.0\nelement vertex 2\n" + "".join(f"property float {c}\n" for c in "xyz")
    (tmp_path / "a.ply").write_text(header + "end_header\n0 0 0\nnan 0 0\n")
    batches = FileBatches([tmp_path / "a.ply"], Encoder.load(toy_run, device="cpu").model)
    assert list(batches) == []
    assert "point 1 has a value that is not finite" in batches.skipped[0][1]


@pytest.mark.parametrize("points", [30, 50, 5000])  # as many as the dataset has, fewer, more
def test_a_prepared_cloud_has_the_code_that_its_dataset_has(tmp_path, toy_run, points):
    random = np.random.default_rng(0)
    for i in range(6):
        write_cloud(tmp_path / f"scans/x/{i}.ply", random.normal(size=(points, 3)) + 5e6)
    out = tmp_path / "data"
    prepare(tmp_path / "scans", out, jobs=1, views=1, image_size=16, points=50, seed=7, up="z")
    image, shapes, skipped = export(toy_run, out, tmp_path / "codes")
    assert (len(BinaryCodes.load(image)), skipped) == (0, [])
    exported = BinaryCodes.load(shapes)
    encoder = Encoder.load(toy_run)
    encoder.dataset = str(out)
    queries = encoder.encode_files(sorted((tmp_path / "scans/x").iterdir()), up="z")[0]
    assert np.array_equal(queries.packed, exported.packed)


@pytest.mark.parametrize("prefix", ["", "old"])
def test_a_prepared_mesh_has_the_code_that_its_dataset_has(tmp_path, toy_run, prefix):
    make_shapes(tmp_path / "meshes", 3, ["chair", "mug"])
    out = tmp_path / "data"
    prepare(
        tmp_path / "meshes", out, jobs=1, views=1, image_size=16, points=50, seed=7, prefix=prefix or None
    )
    _, shapes, _ = export(toy_run, out, tmp_path / "codes")
    exported = BinaryCodes.load(shapes)
    encoder = Encoder.load(toy_run)
    encoder.dataset = str(out)
    codes, skipped = encoder.encode_files(tmp_path / "meshes")
    assert skipped == []
    order = [exported.ids.tolist().index(name) for name in codes.ids.tolist()]
    assert np.array_equal(codes.packed, exported.packed[order])
    # alone, and named by another path
    one = tmp_path / "meshes" / "chair" / ".." / "mug"
    assert np.array_equal(encoder.encode_files(one)[0].packed, codes.packed[3:])
    encoder = Encoder.load(toy_run)  # whose dataset was not prepared from them
    assert not np.array_equal(encoder.encode_files(tmp_path / "meshes")[0].packed, codes.packed)


def test_a_picture_of_any_name_is_a_photo(tmp_path, toy_run):
    picture = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)
    names = ["photo.png", "photo", "photo.obj", "photo.npy"]
    for name in names:
        PIL.Image.fromarray(picture).save(tmp_path / name, format="PNG")
    codes, skipped = Encoder.load(toy_run, device="cpu").encode_files([tmp_path / name for name in names])
    assert skipped == []
    assert codes.kinds.tolist() == ["photo"] * 4
    assert len(np.unique(codes.packed, axis=0)) == 1


COLOURED = SimpleNamespace(points=64, colours=True, views=0, image_size=16, masks=False)
SEEN = SimpleNamespace(points=0, colours=False, views=2, views_from="all", image_size=16, masks=False)
OUTSIDE = "file outside the folder is not read"


@pytest.fixture
def shapenet(tmp_path):
    """Meshes as ShapeNet has them, with green textures in another folder than that of the mesh."""
    for name in ("one", "two"):
        (tmp_path / f"meshes/box/{name}/models").mkdir(parents=True)
        (tmp_path / f"meshes/box/{name}/images").mkdir()
        PIL.Image.new("RGB", (2, 2), (0, 255, 0)).save(tmp_path / f"meshes/box/{name}/images/t.png")
        model = tmp_path / f"meshes/box/{name}/models/model"
        model.with_suffix(".mtl").write_text("newmtl m\nKd 1 0 0\nmap_Kd ../images/t.png\n")
        corners = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nvt 0 0\nvt 1 0\nvt 0 1\n"
        faces = "f 1/1 2/2 3/3\nf 1/1 2/2 4/3\nf 2/1 3/2 4/3\nf 1/1 3/2 4/3\n"
        model.with_suffix(".obj").write_text(f"mtllib model.mtl\n{corners}usemtl m\n{faces}")
    return tmp_path / "meshes"


def encoded(files, model, **more):
    """What a model takes of each of the files, and the batches."""
    batches = FileBatches(files, model, **more)
    taken = {}
    for _, batch, positions in batches:
        taken |= {
            place: {name: values[row] for name, values in batch.items()}
            for row, place in enumerate(positions)
        }
    return [taken[i] for i in range(len(files))], batches


def test_textures_elsewhere_are_read_within_the_folder_that_was_prepared(shapenet, tmp_path, monkeypatch):
    data = prepare(shapenet, tmp_path / "data", jobs=1, views=1, image_size=16, points=200, seed=3)
    paths = sorted(shapenet.glob("box/*/models/*.obj"))
    expected = [cloud_tensor(np.load(data.file(shape.points)), COLOURED)[0] for shape in data.shapes]
    assert all(cloud[:, 3:].mean(axis=0).round().tolist() == [0, 1, 0] for cloud in expected)
    prepared = Dataset.read(tmp_path / "data").extra["prepared"]
    found, batches = encoded(paths, COLOURED, prepared=prepared)
    assert all(torch.equal(each["points"], cloud) for each, cloud in zip(found, expected, strict=True))
    assert (batches.skipped, batches.remarks) == ([], [])
    # that folder counts too where another is given, and where it has been moved and a link left
    found, batches = encoded(paths, COLOURED, prepared=prepared, roots=[path.parent for path in paths])
    assert batches.remarks == []
    os.rename(shapenet, tmp_path / "moved")
    shapenet.symlink_to(tmp_path / "moved")
    found, batches = encoded(paths, COLOURED, prepared=prepared)
    assert all(torch.equal(each["points"], cloud) for each, cloud in zip(found, expected, strict=True))
    assert batches.remarks == []


@pytest.mark.parametrize("model", [COLOURED, SEEN])
def test_textures_elsewhere_are_read_within_the_folder_that_is_given_else_told(shapenet, model):
    files = [file for file in query_files(shapenet)[0] if file.kind == "mesh"]
    found, batches = encoded([file.path for file in files], model, roots=[file.root for file in files])
    assert batches.remarks == []
    alone, batches = encoded([file.path for file in files], model)
    assert batches.skipped == []
    assert sorted(batches.remarks) == [
        (i, f"{what} (../images/t.png)") for i in range(2) for what in (OUTSIDE, "texture not found")
    ]

    def green(shape):
        if "points" in shape:
            return shape["points"][:, 4].mean() > shape["points"][:, 3].mean()
        return shape["views"][:, 1].sum() > shape["views"][:, 0].sum()

    assert [bool(green(shape)) for shape in [*found, *alone]] == [True, True, False, False]


def test_a_mesh_that_is_a_link_is_read_where_it_lies(shapenet, tmp_path):
    (tmp_path / "linked.obj").symlink_to(shapenet / "box/one/models/model.obj")
    (tmp_path / "model.mtl").write_text("newmtl m\nKd 0 0 1\n")  # another one, beside the link
    _, batches = encoded([tmp_path / "linked.obj"], COLOURED)
    assert batches.remarks == [(0, f"{what} (../images/t.png)") for what in ("texture not found", OUTSIDE)]


def test_geometry_elsewhere_gives_the_code_that_its_dataset_has(tmp_path, toy_run):
    """A glTF file whose numbers lie in a folder beside its own."""
    corners = np.array([[0, 0, 0], [2, 0, 0], [0, 1, 0], [0, 0, 1]], np.float32)
    faces = np.array([0, 1, 2, 0, 1, 3, 1, 2, 3, 0, 2, 3], np.uint16)
    for folder in ("meshes/box/a/models", "meshes/box/a/buffers"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "meshes/box/a/buffers/a.bin").write_bytes(corners.tobytes() + faces.tobytes())
    views = [
        {"buffer": 0, "byteOffset": 0, "byteLength": 48},
        {"buffer": 0, "byteOffset": 48, "byteLength": 24},
    ]
    accessors = [
        {
            "bufferView": 0,
            "componentType": 5126,
            "count": 4,
            "type": "VEC3",
            "min": [0, 0, 0],
            "max": [2, 1, 1],
        },
        {"bufferView": 1, "componentType": 5123, "count": 12, "type": "SCALAR"},
    ]
    scene = {
        "asset": {"version": "2.0"}, "scenes": [{"nodes": [0]}], "scene": 0, "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}], "accessors": accessors,
        "bufferViews": views, "buffers": [{"uri": "../buffers/a.bin", "byteLength": 72}],
    }  # fmt: skip
    mesh = tmp_path / "meshes/box/a/models/a.gltf"
    mesh.write_text(json.dumps(scene))
    out = tmp_path / "data"
    prepare(tmp_path / "meshes", out, jobs=1, views=1, image_size=16, points=50, split_fractions=(0, 0, 1))
    _, shapes, _ = export(toy_run, out, tmp_path / "codes")
    encoder = Encoder.load(toy_run)
    none, skipped = encoder.encode_files(mesh)
    assert (len(none), "a.bin" in skipped[0][1]) == (0, True)
    codes, skipped = encoder.encode_files(tmp_path / "meshes")
    assert (len(codes), skipped, skipped.remarks) == (1, [], [])
    encoder = Encoder.load(toy_run)
    encoder.dataset = str(out)
    codes, skipped = encoder.encode_files(mesh)
    assert (skipped, codes.ids.tolist()) == ([], ["box.a.models.a.gltf"])
    assert np.array_equal(codes.packed, BinaryCodes.load(shapes).packed)
