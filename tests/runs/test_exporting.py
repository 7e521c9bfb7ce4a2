"""Export: the same input gives the same bits in any company, and what is written can be read."""

import csv
import shutil

import numpy as np
import pytest
from toy_dataset import make_toy

from cmah.codes import BinaryCodes, Embeddings, read_codes
from cmah.data.dataset import Dataset
from cmah.errors import CmahError, DatasetError, RunError
from cmah.runs.encoder import Encoder
from cmah.runs.exporting import export


@pytest.fixture(scope="module")
def encoder(toy_run):
    return Encoder.load(toy_run)


@pytest.mark.slow
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


def test_shapes_that_share_their_codes_are_told(toy, toy_run, tmp_path, monkeypatch):
    lines = []
    for name, spread in (("all different", 1), ("all equal", 0)):

        def packed(self, outputs, modality, spread=spread):
            return np.stack([np.arange(len(outputs)) * spread, np.zeros(len(outputs))], axis=1).astype(
                np.uint8
            )

        monkeypatch.setattr(Encoder, "_packed", packed)
        export(toy_run, toy, tmp_path / name, split="all", workers=0, report=lines.append)
    (line,) = lines
    assert line.startswith("warning: 24 shapes have only 1 different codes, so many will be found together")
