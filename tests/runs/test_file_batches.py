"""Files of every kind as a model takes them."""

import numpy as np
import PIL.Image
import pytest
import torch
from cloud_samples import write_cloud

from cmah.codes import BinaryCodes
from cmah.preparing.preparing import prepare
from cmah.runs.encoder import Encoder
from cmah.runs.exporting import export
from cmah.runs.file_batches import FileBatches
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
