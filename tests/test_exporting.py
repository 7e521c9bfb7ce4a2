"""Export: the same input gives the same bits in any company, and what is written can be read."""

import csv
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from toy_dataset import make_toy

from cmah.codes import BinaryCodes, Embeddings, read_codes
from cmah.data.dataset import Dataset
from cmah.data.images import load_image
from cmah.errors import CmahError, DatasetError, RunError
from cmah.runs.encoder import BATCH, Encoder
from cmah.runs.exporting import export


@pytest.fixture(scope="module")
def encoder(toy_run):
    return Encoder.load(toy_run)


def test_writes_both_files_with_what_is_known(toy, toy_run, tmp_path):
    image_file, shape_file, skipped = export(toy_run, toy, tmp_path, split="val", workers=0)
    images, shapes = BinaryCodes.load(image_file), BinaryCodes.load(shape_file)
    assert skipped == []
    assert (len(images), len(shapes)) == (12, 6)
    assert images.prefixes == shapes.prefixes == (8, 16)
    assert images.space == shapes.space != ""
    assert (images.modality, shapes.modality) == ("image", "shape")
    assert set(images.shape_ids) == set(shapes.ids)
    assert set(images.kinds) == {"render"}
    assert set(images.splits) == {"val"}
    assert images.truncate(8).bits == 8


@pytest.mark.parametrize("modality", ["image", "shape"])
def test_company_and_order_do_not_matter(toy, encoder, modality):
    data = Dataset.read(toy)
    rng = np.random.default_rng(0)
    if modality == "image":
        inputs = [load_image(toy / image.path) for image in data.images]
        encode = encoder.encode_images
    else:
        inputs = [data.load_points(shape).astype(np.float32) for shape in data.shapes]
        encode = encoder.encode_points
    together = encode(inputs)
    assert len(inputs) % BATCH  # an incomplete batch among them
    alone = np.concatenate([encode([one]).packed for one in inputs])
    assert np.array_equal(together.packed, alone)
    order = rng.permutation(len(inputs))
    assert np.array_equal(encode([inputs[i] for i in order]).packed, together.packed[order])


def test_outputs_are_bit_equal_in_any_place(encoder):
    """Not only the signs: the real outputs too, so that no sign can ever flip."""
    cloud = torch.randn(1, 32, 3, generator=torch.Generator().manual_seed(1))
    others = torch.randn(BATCH, 32, 3, generator=torch.Generator().manual_seed(2))
    alone = encoder.outputs("shape", [cloud])[0]
    for place in (0, 1, 7, BATCH - 1):
        batch = others.clone()
        batch[place] = cloud[0]
        assert np.array_equal(encoder.outputs("shape", [batch])[place], alone)


def test_files_and_dataset_give_the_same_codes(toy, encoder):
    data = Dataset.read(toy)
    images, shapes = data.images[:3], data.shapes[:3]
    paths = [toy / image.path for image in images] + [toy / shape.points for shape in shapes]
    codes, skipped = encoder.encode_files(paths)
    assert skipped == []
    assert codes.kinds.tolist() == ["photo"] * 3 + ["shape"] * 3
    from_images, _ = encoder.dataset_images(data, images)
    from_shapes, _ = encoder.dataset_shapes(data, shapes)
    assert np.array_equal(codes.packed, np.concatenate([from_images.packed, from_shapes.packed]))


def test_a_dataset_with_z_up_gives_the_codes_of_one_with_y_up(toy, encoder, tmp_path):
    data = Dataset.read(toy)
    (tmp_path / "points").mkdir()
    for shape in data.shapes[:5]:
        x, y, z = np.load(toy / shape.points, allow_pickle=False).T
        np.save(tmp_path / shape.points, np.stack([x, -z, y], axis=1))
    turned = replace(data, root=tmp_path, up_axis="z", shapes=data.shapes[:5])
    codes, _ = encoder.dataset_shapes(turned, turned.shapes)
    assert np.array_equal(codes.packed, encoder.dataset_shapes(data, data.shapes[:5])[0].packed)
    assert np.array_equal(turned.load_points(data.shapes[0]), data.load_points(data.shapes[0]))
    queried, _ = encoder.encode_files([tmp_path / data.shapes[0].points], up="z")
    assert np.array_equal(queried.packed, codes.packed[:1])


def test_one_bad_file_costs_itself_only(toy, encoder, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "notes.txt").write_text("hello")
    good = toy / Dataset.read(toy).images[0].path
    codes, skipped = encoder.encode_files([tmp_path / "broken.jpg", good, tmp_path / "notes.txt"])
    assert codes.ids.tolist() == [str(good)]
    assert [name for name, _ in skipped] == [str(tmp_path / "broken.jpg"), str(tmp_path / "notes.txt")]


def test_an_unreadable_image_is_skipped_and_listed(toy_run, tmp_path):
    data = make_toy(tmp_path / "data", shapes=8)
    broken = data / Dataset.read(data).images[6].path
    broken.write_bytes(b"")
    image_file, _, skipped = export(toy_run, data, tmp_path / "codes", split="all", workers=0)
    assert len(read_codes(image_file)) == 15
    assert [path for path, _ in skipped] == [str(broken)]
    with open(tmp_path / "codes" / "skipped.csv", newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == [str(broken)]


def test_embeddings_have_the_signs_of_the_codes(toy, toy_run, tmp_path):
    image_file, _, _ = export(toy_run, toy, tmp_path, split="val", workers=0)
    float_file, _, _ = export(toy_run, toy, tmp_path, split="val", embeddings=True, workers=0)
    floats, codes = Embeddings.load(float_file), BinaryCodes.load(image_file)
    assert floats.embeddings.shape == (12, 16)
    assert np.array_equal(np.where(floats.embeddings >= 0, 1, -1), codes.signs())
    assert floats.space == codes.space


def test_other_formats(toy, toy_run, tmp_path):
    path, _, _ = export(toy_run, toy, tmp_path, split="val", format="pm1", workers=0)
    signs = np.load(path, allow_pickle=False)
    assert np.array_equal(signs, BinaryCodes.load(tmp_path / "image.npz").signs())


@pytest.mark.parametrize("name", ["image.npz", "shape.npz", "shape.faiss", "skipped.csv"])
def test_foreign_files_are_not_written_over(toy, toy_run, tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(CmahError, match=f"{name}: exists and is not such a file"):
        export(toy_run, toy, tmp_path, split="val", format="faiss", workers=0)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_an_export_replaces_an_earlier_one(toy_run, tmp_path):
    data = make_toy(tmp_path / "data", shapes=8)
    picture = data / Dataset.read(data).images[6].path
    whole = picture.read_bytes()
    for content, lost in ((b"", 1), (whole, 0)):
        picture.write_bytes(content)
        for form in ("faiss", "packed", "pm1"):
            _, _, skipped = export(toy_run, data, tmp_path / "codes", split="all", format=form, workers=0)
            assert len(skipped) == lost
            assert (tmp_path / "codes" / "skipped.csv").exists() == bool(lost)


def test_faults_are_named(toy, toy_run, tmp_path):
    with pytest.raises(DatasetError, match="split 'nonsense'"):
        export(toy_run, toy, tmp_path, split="nonsense")
    with pytest.raises(RunError, match="no such run"):
        export(tmp_path / "nowhere", toy, tmp_path, split="val")
    with pytest.raises(RunError, match=r"config\.json"):
        export(toy, toy, tmp_path, split="val")
    broken = tmp_path / "broken"
    shutil.copytree(toy_run, broken)
    with open(broken / "model.safetensors", "r+b") as file:
        file.truncate(1000)
    with pytest.raises(RunError, match=r"model\.safetensors"):
        Encoder.load(broken)
