"""Export: the same input gives the same bits in any company, and what is written can be read."""

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from toy_dataset import make_cars, make_toy

from cmah.codes import BinaryCodes, Embeddings, read_codes
from cmah.data.dataset import Dataset
from cmah.errors import CmahError, ConfigError, DatasetError, RunError
from cmah.evaluation import evaluate
from cmah.runs.encoder import Encoder
from cmah.runs.exporting import export

OTHERS = [f"box{i:02d}" for i in range(3, 16)]  # those of `make_cars` with nothing special about them


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
    assert images.dataset == shapes.dataset == str(toy.resolve())
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


def test_real_valued_codes_beside_the_codes(toy, toy_run, encoder, tmp_path):
    from cmah.codes.real_codes import real_part

    export(toy_run, toy, tmp_path / "plain", split="val", workers=0)
    export(toy_run, toy, tmp_path / "real", split="val", workers=0, real=True)
    export(toy_run, toy, tmp_path / "floats", split="val", workers=0, embeddings=True)
    for name in ("image", "shape"):
        codes, real = tmp_path / "real" / f"{name}.npz", tmp_path / "real" / f"{name}_real.npz"
        assert codes.read_bytes() == (tmp_path / "plain" / f"{name}.npz").read_bytes()
        table = Embeddings.load(real)
        assert real_part(table, BinaryCodes.load(codes)) is table
        # this recipe's embeddings are the same numbers
        assert table == Embeddings.load(tmp_path / "floats" / f"{name}_embeddings.npz")
    with pytest.raises(CmahError, match="real-valued codes are written beside codes, expected no embeddings"):
        export(toy_run, toy, tmp_path / "none", split="val", workers=0, real=True, embeddings=True)
    assert not (tmp_path / "none").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "shape_real.npz").write_bytes(b"mine")
    with pytest.raises(CmahError, match=r"shape_real\.npz: exists and is not such a file"):
        export(toy_run, toy, tmp_path / "full", split="val", workers=0, real=True)


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

        monkeypatch.setattr(Encoder, "packed", packed)
        export(toy_run, toy, tmp_path / name, split="all", workers=0, report=lines.append)
    (line,) = (line for line in lines if "different codes" in line)
    assert line.startswith("warning: 24 shapes have only 1 different codes, so many will be found together")


@pytest.fixture(scope="module")
def cars(tmp_path_factory):
    return make_cars(tmp_path_factory.mktemp("cars"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("database", "shapes", "line"),
    [
        ("split", ["box00", *OTHERS], "16 images of split test, 15 shapes of split test"),
        ("all", ["box00", "box01", *OTHERS], "16 images of split test, all 16 shapes of any split"),
    ],
)
def test_which_shapes_are_searched(cars, toy_run, tmp_path, database, shapes, line):
    lines = []
    arguments = {"split": "test", "database": database, "workers": 0, "report": lines.append}
    image, shape, skipped = export(toy_run, cars, tmp_path, **arguments)
    images, codes = BinaryCodes.load(image), BinaryCodes.load(shape)
    assert set(images.splits) == {"test"}
    assert len(images) == 16
    assert codes.ids.tolist() == shapes
    assert dict(zip(codes.ids, codes.splits, strict=True))["box00"] == "test"
    assert set(codes.splits) == ({"test", ""} if database == "split" else {"test", "train", ""})
    assert lines[0].startswith(line)
    shapes_left = "" if database == "all" else " and 1 shapes"
    assert lines[1] == f"16 images{shapes_left} of other splits are left out"
    assert lines[2].endswith(f" of {len(shapes) + 1} shapes have no points (first: 'box02')")
    assert skipped == [("box02", "no points")]
    assert (tmp_path / "skipped.csv").read_text().splitlines() == ["path,reason", "box02,no points"]
    rules = evaluate(images, codes, relevance="instance").rules
    splits = "(none), test" if database == "split" else "(none), test, train"
    left = 2 if database == "split" else 1  # box02 has no points, box01 is of another split
    assert rules.counts() == (
        f"16 queries of split test, {len(shapes)} items of splits {splits}; {left} queries have no relevant item and "
        f"are left out; {left} queries have no item of their shape and are left out of Acc@K"
    )
    assert rules.record()["database_splits"] == [
        name.strip().replace("(none)", "") for name in splits.split(",")
    ]


@pytest.mark.slow
def test_a_dataset_without_any_points_gives_images(cars, toy_run, tmp_path):
    data = Dataset.read(cars)
    data.shapes = [replace(shape, points="") for shape in data.shapes]
    image, shape, skipped = export(toy_run, data, tmp_path, split="train", workers=0)
    assert (len(read_codes(image)), len(read_codes(shape)), len(skipped)) == (16, 0, 15)


@pytest.mark.slow
def test_images_are_framed_as_in_training_unless_told(cars, toy_run, tmp_path):
    framed = tmp_path / "framed"
    shutil.copytree(toy_run, framed)
    config = json.loads((framed / "config.json").read_text())
    assert (config["data"]["crop"], config["data"]["background"]) == ("none", "keep")
    config["data"]["crop"] = "box"
    (framed / "config.json").write_text(json.dumps(config))
    data = Dataset.read(cars)

    def codes(run, **options):
        lines = []
        arguments = {"embeddings": True, "workers": 0, "report": lines.append, **options}
        image, _, _ = export(run, data, tmp_path / "out", split="train", **arguments)
        return Embeddings.load(image).embeddings, lines

    whole, told = codes(toy_run)
    assert not any("cropped" in line for line in told)
    cropped, told = codes(framed)
    assert told[2] == (
        "images: cropped to their boxes (margin 0.1), backgrounds kept; 1 of 16 have no bbox and stay whole (first: "
        "'box00_0')"
    )
    same = (whole == cropped).all(axis=1)
    assert same[0]  # it has no box
    assert not same[1:].all()
    np.testing.assert_array_equal(codes(toy_run, crop="box")[0], cropped)
    np.testing.assert_array_equal(codes(framed, crop="none")[0], whole)
    assert not np.array_equal(codes(framed, crop_margin=1.0)[0], cropped)
    with pytest.raises(ConfigError, match=r"data\.crop_margin = 2\.0"):
        codes(framed, crop_margin=2.0)
    # a run of an earlier version says nothing of it
    for name in ("crop", "crop_margin", "background"):
        del config["data"][name]
    (framed / "config.json").write_text(json.dumps(config))
    np.testing.assert_array_equal(codes(framed)[0], whole)
    # a query has no box
    picture = data.file(data.images[2].path)
    by_file = [Encoder.load(run).encode_files([picture])[0].packed for run in (toy_run, framed)]
    np.testing.assert_array_equal(*by_file)


@pytest.mark.parametrize(
    ("name", "wrong"), [("format", "x"), ("format", 3), ("workers", "2"), ("workers", True)]
)
def test_wrong_types_are_told_before_anything_is_read(tmp_path, name, wrong):
    with pytest.raises(CmahError, match=f"^{name} is "):
        export("no-run", "no-dataset", tmp_path, **{name: wrong})
