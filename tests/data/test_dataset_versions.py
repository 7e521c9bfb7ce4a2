"""Both versions of the dataset folder: read field by field, and written as the older one where that says it all."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cmah.data.dataset import Dataset, Image, Shape, without_points
from cmah.data.pictures import DatasetPictures
from cmah.errors import CmahError, DatasetError

GOLDEN = Path(__file__).parents[1] / "golden"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def cars(tmp_path):
    """A copy of the folder of version 2."""
    for name in ("dataset_v2", "dataset_v2_files"):
        shutil.copytree(GOLDEN / name, tmp_path / name)
    return tmp_path / "dataset_v2"


def changed(folder, file, old, new):
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new))
    return folder


def fault(folder):
    with pytest.raises(DatasetError) as caught:
        Dataset.read(folder)
    return caught.value.faults[0].removeprefix(f"{folder}/")


def test_version_2_is_read_field_by_field():
    dataset = Dataset.read(GOLDEN / "dataset_v2")
    assert (dataset.name, dataset.points_per_shape, dataset.up_axis, dataset.image_size) == (
        "cars",
        8,
        "z",
        16,
    )
    assert (dataset.file_root, dataset.extra, dataset.version) == (
        "../dataset_v2_files",
        {"licence": "CC0"},
        2,
    )
    assert dataset.shapes == [
        Shape("sedan", "car", "", "points/sedan.npy", {"maker": "Ann"}),
        Shape("estate", "car", "train", "points/estate.npy", {"maker": "Bob, Eve"}),
        Shape("coupe", "car", "", "", {"maker": ""}),
        Shape("lorry", "van", "test", "points/lorry.npy", {"maker": ""}),
    ]
    empty, a, b = {"camera": ""}, {"camera": "A"}, {"camera": "B"}
    photos, mask = "photos/", "masks/sedan-2.png"
    assert dataset.images == [
        Image("sedan-1", "sedan", "car", "train", f"{photos}sedan-1.png", "photo", extra=a, bbox=(2, 3, 6, 4)),
        Image("sedan-2", "sedan", "car", "test", f"{photos}sedan-2.png", "photo", mask=mask, extra=empty),
        Image(
            "estate-1", "estate", "car", "train", f"{photos}estate-1.png", "render", 0, 12.5, -3.0,
            extra=empty, bbox=(0, 0, 12, 10),
        ),
        Image("estate-2", "estate", "car", "test", f"{photos}estate-2.png", "photo", extra=b),
        Image("coupe-1", "coupe", "car", "train", f"{photos}coupe-1.png", "picture", extra=empty, bbox=(11, 9, 1, 1)),
        Image("lorry-1", "lorry", "van", "test", f"{photos}lorry-1.png", "render", 1, 90.0, 20.0, extra=empty),
        Image("unknown", "", "van", "test", f"{photos}unknown.png", "photo", extra=empty, bbox=(1, 1, 5, 5)),
    ]  # fmt: skip
    assert dataset.check_files() == []
    assert dataset.load_points(dataset.shapes[3]).shape == (8, 3)
    assert dataset.checksum() == "9db81eecce40b492470f505dec1431aba73bf2f38c58387934eb9c3ac4053db7"


def test_version_1_is_read_and_written_as_it_was(tmp_path):
    folder = GOLDEN / "whole_way/dataset"
    dataset = Dataset.read(folder)
    run = json.loads((GOLDEN / "whole_way/run/config.json").read_text())
    assert dataset.checksum() == run["dataset"]["checksum"]
    assert (dataset.version, dataset.file_root, dataset.images_apart()) == (1, "", [])
    dataset.write(tmp_path)
    for name in ("dataset.json", "shapes.csv", "images.csv"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    assert (dataset.name, dataset.points_per_shape, dataset.up_axis, dataset.image_size) == (
        "toy",
        64,
        "y",
        16,
    )
    assert dataset.shapes[3] == Shape("box03", dataset.shapes[3].category, "val", "points/box03.npy")
    assert dataset.images[7] == Image(
        "box03_1", "box03", dataset.shapes[3].category, "val", "renders/box03_1.png", "render", 1
    )
    assert (len(dataset.shapes), len(dataset.images)) == (24, 48)


def test_what_says_the_same_has_the_same_checksum_in_either_version(tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(GOLDEN / "whole_way/dataset", folder)
    before = Dataset.read(folder)
    again = Dataset.read(changed(folder, "dataset.json", '"version": 1', '"version": 2'))
    assert (again.checksum(), again.version) == (before.checksum(), 1)
    # the files move elsewhere: the tables say what they said
    (tmp_path / "large").mkdir()
    for name in ("points", "renders"):
        (folder / name).rename(tmp_path / "large" / name)
    for root in ("../large", str(tmp_path / "large")):
        moved = replace(before, file_root=root)
        moved.write()
        moved = Dataset.read(folder)
        assert (moved.checksum(), moved.version, moved.file_root) == (before.checksum(), 2, root)
        assert moved.check_files() == []


def test_what_version_2_adds_is_a_fault_or_means_nothing_in_version_1(cars):
    changed(cars, "dataset.json", '"version": 2', '"version": 1')
    with pytest.raises(DatasetError) as caught:
        Dataset.read(cars)
    faults = [each.removeprefix(f"{cars}/") for each in caught.value.faults]
    assert faults == [
        "shapes.csv: row 4: points is empty (expected a path relative to the dataset folder)",
        "images.csv: row 2: split is 'train', but that of its shape 'sedan' is '' (allowed in version 2)",
        "images.csv: row 3: split is 'test', but that of its shape 'sedan' is '' (allowed in version 2)",
        "images.csv: row 5: split is 'test', but that of its shape 'estate' is 'train' (allowed in version 2)",
        "images.csv: row 6: split is 'train', but that of its shape 'coupe' is '' (allowed in version 2)",
    ]
    for file, old, new in (
        ("shapes.csv", "coupe,car,,,", "coupe,car,train,x.npy,"),
        ("shapes.csv", "sedan,car,,", "sedan,car,train,"),
        ("images.csv", "estate,car,test", "estate,car,train"),
        ("images.csv", "sedan,,test", "sedan,,train"),
    ):
        changed(cars, file, old, new)
    dataset = Dataset.read(cars)
    assert (dataset.file_root, dataset.extra["root"]) == ("", "../dataset_v2_files")
    assert dataset.images[0].bbox is None
    assert dataset.images[0].extra == {"bbox": "2,3,6,4", "camera": "A"}
    text = (cars / "images.csv").read_text()
    dataset.write()
    assert Dataset.read(cars).images == dataset.images
    assert '"2,3,6,4"' in text
    # what version 2 would understand otherwise cannot be written as version 2
    dataset.shapes[0] = replace(dataset.shapes[0], points="")
    with pytest.raises(DatasetError, match="key 'root' means something in version 2"):
        dataset.write()
    dataset.extra.clear()
    with pytest.raises(DatasetError, match="column 'bbox' means something in version 2"):
        dataset.checksum()


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("images.csv", '"2,3,6,4"', '"2,3,0,4"', "images.csv: row 2: bbox is '2,3,0,4' (expected x,y,width,height in"),
        ("images.csv", '"2,3,6,4"', '"-2,3,6,4"', "images.csv: row 2: bbox is '-2,3,6,4' (expected"),
        ("images.csv", '"2,3,6,4"', '"2,3,6"', "images.csv: row 2: bbox is '2,3,6' (expected"),
        ("images.csv", '"2,3,6,4"', '"2.5,3,6,4"', "images.csv: row 2: bbox is '2.5,3,6,4' (expected"),
        ("images.csv", '"2,3,6,4"', "2,3,6,4", "images.csv: row 2: 15 cells (expected 12, as in row 1)"),
        ("images.csv", "sedan-1,sedan,car", "sedan-1,sedan,van", "images.csv: row 2: category is 'van', but that of"),
        ("images.csv", "photos/sedan-1", "../sedan-1", "images.csv: row 2: path is '../sedan-1.png' (expected a path"),
        ("images.csv", "photos/sedan-1", "/sedan-1", "images.csv: row 2: path is '/sedan-1.png' (expected a path in"),
        ("shapes.csv", "points/lorry", "a/../../b", "shapes.csv: row 5: points is 'a/../../b.npy' (expected a path in"),
        ("dataset.json", '"../dataset_v2_files"', '""', "dataset.json: 'root' is '' (expected the path of the folder"),
        ("dataset.json", '"../dataset_v2_files"', "3", "dataset.json: 'root' is 3 (expected the path of the folder"),
        ("dataset.json", "_files", "_flies", "dataset.json: 'root' is '../dataset_v2_flies': no such folder (expected"),
        ("dataset.json", '"../dataset_v2_files"', '"a\\u0000b"', r"dataset.json: 'root' is 'a\x00b' (expected the"),
    ],
)  # fmt: skip
def test_one_fault(cars, file, old, new, expected):
    assert fault(changed(cars, file, old, new)).startswith(expected)


def test_a_copy_of_the_tables_leads_to_the_same_files(cars, tmp_path):
    dataset = Dataset.read(cars)
    files = sorted(path for path in (tmp_path / "dataset_v2_files").rglob("*"))
    dataset.write(tmp_path / "elsewhere/deep/copy")
    copy = Dataset.read(tmp_path / "elsewhere/deep/copy")
    assert copy.file_root == str(tmp_path / "dataset_v2_files")
    assert (copy.check_files(), copy.checksum()) == ([], dataset.checksum())
    dataset.write()
    dataset.write(cars)
    assert Dataset.read(cars).file_root == "../dataset_v2_files"
    assert sorted(path for path in (tmp_path / "dataset_v2_files").rglob("*")) == files


def test_a_box_that_leaves_its_picture_is_found_when_files_are_checked(cars):
    dataset = Dataset.read(changed(cars, "images.csv", '"2,3,6,4"', '"7,3,6,4"'))
    assert dataset.check_files() == [
        "images.csv: row of 'sedan-1': bbox 7,3,6,4 leaves the picture of 12 x 10 pixels (expected x,y,width,height of "
        "an area inside it)"
    ]


@pytest.mark.parametrize(
    ("split", "shapes", "images"),
    [
        ("train", ["sedan", "estate", "coupe"], ["sedan-1", "estate-1", "coupe-1"]),
        ("test", ["sedan", "lorry"], ["sedan-2", "estate-2", "lorry-1", "unknown"]),
    ],
)
def test_a_shape_without_a_split_is_in_that_of_each_of_its_images(split, shapes, images):
    dataset = Dataset.read(GOLDEN / "dataset_v2")
    part, whole = dataset.select(split), dataset.select(split, database="all")
    assert [shape.shape_id for shape in part.shapes] == shapes
    assert [image.image_id for image in part.images] == [image.image_id for image in whole.images] == images
    assert whole.shapes == dataset.shapes
    assert [image.image_id for image in part.views()["sedan"]] == [name for name in images if "sedan" in name]


def test_a_selection_is_of_something():
    dataset = Dataset.read(GOLDEN / "dataset_v2")
    assert dataset.select("all") == dataset
    for database in ("split", "all"):
        with pytest.raises(
            DatasetError, match=r"no shape or image of split 'tset' \(there are: , test, train\)"
        ):
            dataset.select("tset", database)
    with pytest.raises(DatasetError, match="database 'some': expected 'split' or 'all'"):
        dataset.select("test", "some")
    assert [image.image_id for image in dataset.images_apart()] == [
        "sedan-1",
        "sedan-2",
        "estate-2",
        "coupe-1",
    ]


def test_shapes_without_points():
    dataset = Dataset.read(GOLDEN / "dataset_v2")
    assert without_points(dataset.shapes) == "1 of 4 shapes have no points (first: 'coupe')"
    assert without_points(dataset.shapes[:2]) == ""
    with pytest.raises(CmahError, match="shape 'coupe': no points"):
        dataset.load_points(dataset.shapes[2])


def test_pictures_of_files_elsewhere():
    folder = GOLDEN / "dataset_v2"
    pictures = DatasetPictures(Dataset.read(folder))
    assert pictures.category(str(GOLDEN / "dataset_v2_files/photos/lorry-1.png")) == "van"
    assert pictures.category(str(GOLDEN / "dataset_v2_files/points/lorry.npy")) == "van"
    assert pictures.category(str(GOLDEN / "dataset_v2_files")) == ""
    kinds = {name: pictures.picture(name).split(",")[0] for name in ("sedan", "estate", "coupe")}
    assert kinds == {
        "sedan": "data:image/png;base64",  # its points: photos may show anything
        "estate": "data:image/jpeg;base64",
        "coupe": "data:image/jpeg;base64",
    }
    photos_only = Dataset.read(folder)
    photos_only.images = [replace(image, kind="photo") for image in photos_only.images]
    assert DatasetPictures(photos_only).picture("coupe").startswith("data:image/jpeg")


def test_every_path_of_the_tables_goes_through_one_method():
    sources = [path for name in ("cmah", "cli", "experiments") for path in (ROOT / name).rglob("*.py")]
    assert len(sources) > 100
    joined = re.compile(
        r"\b(?!self\b)\w*(data|dataset)\w*\.root\s*/|/\s*\w*(image|shape|first)\w*\.(path|points|mask)\b"
    )
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in sources
        for line in path.read_text(encoding="utf-8").splitlines()
        if joined.search(line)
    ]
    assert found == []


def test_clouds_without_points_have_no_distance():
    from cmah.data.cloud_lookup import cloud_lookup

    lines = []
    cloud_of = cloud_lookup(Dataset.read(GOLDEN / "dataset_v2"), lines.append)
    assert cloud_of("coupe") is None
    assert np.linalg.norm(cloud_of("lorry"), axis=1).max() == pytest.approx(1, abs=1e-6)
    assert lines == ["no distances to some shapes: 1 of 4 shapes have no points (first: 'coupe')"]
