"""The dataset folder: round trips, and every fault named with its file and row."""

import json
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest

from cmah.data.dataset import Dataset, Image, Shape
from cmah.data.point_clouds import normalise
from cmah.errors import CmahError, DatasetError

HEADER = {
    "format": "cmah-dataset",
    "version": 1,
    "name": "toys",
    "points_per_shape": 8,
    "up_axis": "y",
    "image_size": 6,
}
SHAPES = """shape_id,category,split,points,licence
s1,chair,train,points/s1.npy,CC0
s2,lamp,val,points/s2.npy,
"""
IMAGES = """image_id,shape_id,category,split,path,kind,view,azimuth,elevation,mask,author
i1,s1,chair,train,renders/i1.png,render,0,12.5,-3,masks/i1.png,"Ann, Bob"
i2,s1,,,renders/i2.png,picture,,,,,
i3,s2,lamp,val,renders/i3.png,render,1,0,0.1,,
p1,,chair,val,photos/p1.png,photo,,,,,
"""


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "toys"
    for name in ("points", "renders", "masks", "photos"):
        (root / name).mkdir(parents=True)
    (root / "dataset.json").write_text(json.dumps(HEADER))
    (root / "shapes.csv").write_text(SHAPES)
    (root / "images.csv").write_text(IMAGES)
    rng = np.random.default_rng(0)
    for name in ("s1", "s2"):
        np.save(root / f"points/{name}.npy", rng.uniform(-0.5, 0.5, (8, 3)).astype(np.float16))
    for name in ("renders/i1", "renders/i2", "renders/i3", "masks/i1", "photos/p1"):
        PIL.Image.fromarray(rng.integers(0, 256, (6, 6, 3)).astype(np.uint8)).save(root / f"{name}.png")
    return root


def faults(root):
    with pytest.raises(DatasetError) as caught:
        Dataset.read(root)
    assert all("\n" not in fault for fault in caught.value.faults)
    return [fault.replace(f"{root}/", "") for fault in caught.value.faults]


def test_a_folder_is_read(folder):
    dataset = Dataset.read(folder)
    assert (dataset.name, dataset.points_per_shape, dataset.up_axis, dataset.image_size) == (
        "toys",
        8,
        "y",
        6,
    )
    assert dataset.shapes[0] == Shape("s1", "chair", "train", "points/s1.npy", {"licence": "CC0"})
    assert dataset.images[0] == Image(
        "i1",
        "s1",
        "chair",
        "train",
        "renders/i1.png",
        "render",
        0,
        12.5,
        -3.0,
        "masks/i1.png",
        {"author": "Ann, Bob"},
    )
    # what an image leaves empty is its shape's
    assert (dataset.images[1].category, dataset.images[1].split) == ("chair", "train")
    assert {key: [i.image_id for i in views] for key, views in dataset.views().items()} == {
        "s1": ["i1", "i2"],
        "s2": ["i3"],
    }
    assert dataset.check_files() == []
    points = dataset.load_points(dataset.shapes[1])
    assert points.dtype == np.float16
    np.testing.assert_array_equal(points, np.load(folder / "points/s2.npy"))


def test_writing_and_reading_give_the_same(folder, tmp_path):
    dataset = Dataset.read(folder)
    dataset.extra["made_by"] = "hand"
    dataset.shapes[1] = replace(dataset.shapes[1], extra={"year": "1999"})
    dataset.write(tmp_path / "copy")
    copy = Dataset.read(tmp_path / "copy")
    assert copy.extra == {"made_by": "hand"}
    assert copy.images == dataset.images
    assert copy.shapes[0].extra == {"licence": "CC0", "year": ""}
    before = copy.checksum()
    copy.write()
    again = Dataset.read(tmp_path / "copy")
    assert again.checksum() == before
    again.shapes[0] = replace(again.shapes[0], category="sofa")
    assert again.checksum() != before
    assert sorted(path.name for path in (tmp_path / "copy").iterdir()) == [
        "dataset.json",
        "images.csv",
        "shapes.csv",
    ]


def test_columns_of_views_appear_where_they_are_known(folder):
    dataset = Dataset.read(folder)
    dataset.images = [image for image in dataset.images if image.kind == "photo"]
    dataset.write()
    head = (folder / "images.csv").read_text().splitlines()[0]
    assert head == "image_id,shape_id,category,split,path,kind,author"


def test_select(folder):
    dataset = Dataset.read(folder)
    part = dataset.select("val")
    assert [shape.shape_id for shape in part.shapes] == ["s2"]
    assert [image.image_id for image in part.images] == ["i3", "p1"]
    assert len(dataset.select("all").images) == 4
    with pytest.raises(DatasetError, match=r"no shape or image of split 'test' \(there are: train, val\)"):
        dataset.select("test")


def test_spreadsheets_are_understood(folder):
    text = "\ufeff" + SHAPES.replace("\n", "\r\n").replace("lamp", '"lamp"') + "\r\n"
    (folder / "shapes.csv").write_bytes(text.encode())
    assert [shape.category for shape in Dataset.read(folder).shapes] == ["chair", "lamp"]


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("shapes.csv", "s2,lamp", "s1,lamp", "shapes.csv: row 3: id 's1' is already that of row 2"),
        ("images.csv", "i2,s1", "i1,s1", "images.csv: row 3: id 'i1' is already that of row 2"),
        ("shapes.csv", "s2,lamp", ",lamp", "shapes.csv: row 3: shape_id is empty"),
        ("images.csv", "i3,s2", ",s2", "images.csv: row 4: image_id is empty"),
        (
            "images.csv",
            ",photo,",
            ",drawing,",
            "images.csv: row 5: kind is 'drawing' (expected render, picture, photo)",
        ),
        ("images.csv", "i3,s2", "i3,s9", "images.csv: row 4: shape_id 's9' is not in shapes.csv"),
        (
            "images.csv",
            "i3,s2,lamp,val",
            "i3,s2,lamp,train",
            "images.csv: row 4: split is 'train', but that of its shape 's2' is 'val'",
        ),
        (
            "images.csv",
            "i3,s2,lamp",
            "i3,s2,sofa",
            "images.csv: row 4: category is 'sofa', but that of its shape 's2' is 'lamp'",
        ),
        ("images.csv", "12.5", "left", "images.csv: row 2: azimuth is 'left' (expected a finite number)"),
        ("images.csv", "12.5", "nan", "images.csv: row 2: azimuth is 'nan' (expected a finite number)"),
        (
            "images.csv",
            "render,1,",
            "render,1.5,",
            "images.csv: row 4: view is '1.5' (expected a whole number from 0)",
        ),
        (
            "images.csv",
            "render,1,",
            "render,-1,",
            "images.csv: row 4: view is '-1' (expected a whole number from 0)",
        ),
        ("shapes.csv", "points/s2.npy", "", "shapes.csv: row 3: points is empty (expected a path"),
        (
            "shapes.csv",
            "points/s2.npy",
            "../s2.npy",
            "shapes.csv: row 3: points is '../s2.npy' (expected a path inside",
        ),
        (
            "shapes.csv",
            "points/s2.npy",
            "/etc/passwd",
            "shapes.csv: row 3: points is '/etc/passwd' (expected",
        ),
        ("shapes.csv", "points/s2.npy", "a/../../b", "shapes.csv: row 3: points is 'a/../../b' (expected"),
        ("images.csv", "masks/i1.png", "C:mask.png", "images.csv: row 2: mask is 'C:mask.png' (expected"),
        ("images.csv", "photos/p1.png", "a\\b.png", r"images.csv: row 5: path is 'a\\b.png' (expected"),
        ("shapes.csv", ",val,", ",", "shapes.csv: row 3: 4 cells (expected 5, as in row 1)"),
        ("shapes.csv", ",val,", ",val,val,", "shapes.csv: row 3: 6 cells (expected 5, as in row 1)"),
        ("shapes.csv", "lamp", "la\0mp", "shapes.csv: row 3: contains a NUL character"),
        (
            "shapes.csv",
            "lamp",
            '"la\nmp"',
            r"shapes.csv: row 3: category is 'la\nmp' (expected text without control",
        ),
        ("shapes.csv", "lamp", '"lamp', "shapes.csv: row 3: not readable as CSV"),
        (
            "shapes.csv",
            "points/s2.npy",
            "x" * 140_000,
            "shapes.csv: row 3: not readable as CSV (field larger",
        ),
        (
            "shapes.csv",
            "category",
            "class",
            "shapes.csv: row 1: no column category (expected shape_id,category,",
        ),
        ("shapes.csv", "licence", "split", "shapes.csv: row 1: two columns named 'split'"),
        ("shapes.csv", ",", ";", "shapes.csv: row 1: cells separated by ';', expected commas"),
        ("dataset.json", '"version": 1', '"version": 3', "dataset.json: 'version' is 3 (expected 1 or 2)"),
        (
            "dataset.json",
            '"version": 1',
            '"version": true',
            "dataset.json: 'version' is True (expected 1 or 2)",
        ),
        ("dataset.json", "cmah-dataset", "zip", "dataset.json: 'format' is 'zip' (expected 'cmah-dataset')"),
        ("dataset.json", '"y"', '"x"', "dataset.json: 'up_axis' is 'x' (expected 'y' or 'z')"),
        ("dataset.json", "8", "true", "dataset.json: 'points_per_shape' is True (expected a whole number"),
        ("dataset.json", "image_size", "size", "dataset.json: 'image_size' is missing"),
        ("dataset.json", "{", "", "dataset.json: not a readable JSON file"),
        ("dataset.json", "{", "[" * 100_000, "dataset.json: not a readable JSON file"),
    ],
)
def test_one_fault(folder, file, old, new, expected):
    text = (folder / file).read_text()
    assert old in text
    count = -1 if old == "," else 1
    (folder / file).write_text(text.replace(old, new, count))
    assert any(fault.startswith(expected) for fault in faults(folder)), faults(folder)


def test_all_faults_are_collected(folder):
    (folder / "dataset.json").write_text("[]")
    (folder / "shapes.csv").write_text(SHAPES.replace("points/", "/points/"))
    (folder / "images.csv").write_text(IMAGES.replace(",photo", ",?").replace("12.5", "x").replace("-3", "y"))
    found = faults(folder)
    assert [fault.split(" is ")[0] for fault in found] == [
        "dataset.json: expected an object with the key 'format', found an empty list",
        "shapes.csv: row 2: points",
        "shapes.csv: row 3: points",
        "images.csv: row 2: azimuth",
        "images.csv: row 2: elevation",
        "images.csv: row 5: kind",
    ]
    with pytest.raises(DatasetError, match=r"and 5 more faults"):
        Dataset.read(folder)


def test_missing_and_unreadable_tables(folder):
    (folder / "shapes.csv").write_bytes(
        SHAPES.encode() + "s3,fl\u00fcgel,train,points/s1.npy,\n".encode("latin-1")
    )
    (folder / "images.csv").unlink()
    (folder / "dataset.json").unlink()
    assert faults(folder) == [
        "dataset.json: no such file",
        "shapes.csv: row 4: not UTF-8 text (save the table as CSV UTF-8)",
        "images.csv: no such file",
    ]
    with pytest.raises(DatasetError, match="no such folder"):
        Dataset.read(folder / "nowhere")
    (folder / "images.csv").touch()
    assert any("images.csv: row 1: no column image_id" in fault for fault in faults(folder))


def test_faults_of_the_files_themselves(folder):
    dataset = Dataset.read(folder)
    np.save(folder / "points/s1.npy", np.zeros((5, 3)))
    np.save(folder / "points/s2.npy", np.full((8, 3), np.nan))
    (folder / "renders/i2.png").write_text("no picture")
    PIL.Image.new("L", (3, 3)).save(folder / "masks/i1.png")
    (folder / "photos/p1.png").unlink()
    found = dataset.check_files()
    assert len(found) == 5
    for fault, (row, message) in zip(
        found,
        [
            ("shapes.csv: row of 's1'", "5 points (dataset.json says 8)"),
            ("shapes.csv: row of 's2'", "not finite"),
            ("images.csv: row of 'i1'", "not of the size of"),
            ("images.csv: row of 'i2'", "not a picture"),
            ("images.csv: row of 'p1'", "no such file"),
        ],
        strict=True,
    ):
        assert fault.startswith(row)
        assert message in fault
    with pytest.raises(CmahError, match="not finite"):
        dataset.load_points(dataset.shapes[1])


def test_clouds_far_outside_the_unit_sphere_keep_their_form_as_float16(folder):
    dataset = Dataset.read(folder)
    rng = np.random.default_rng(0)
    cloud = rng.standard_normal((8, 3)) * 0.5
    np.save(folder / "points/s1.npy", cloud + 1000)
    loaded = normalise(dataset.load_points(dataset.shapes[0]))
    cloud -= cloud.mean(0)
    np.testing.assert_allclose(loaded, cloud / np.linalg.norm(cloud, axis=1).max(), atol=1e-3)


@pytest.mark.slow
def test_real_data(shared, tmp_path):
    root = shared / "data/shapes41"
    dataset = Dataset.read(root)
    assert (len(dataset.shapes), len(dataset.images)) == (1838, 17076)
    dataset.write(tmp_path)
    for name in ("shapes.csv", "images.csv"):
        assert (tmp_path / name).read_bytes() == (root / name).read_bytes()
    assert Dataset.read(tmp_path).checksum() == dataset.checksum()


def test_faults_beside_the_first_are_counted():
    assert str(DatasetError(["a", "b"])) == "a (and 1 more fault)"
    assert str(DatasetError(["a"])) == "a"


def test_a_shape_without_renders_may_have_fewer_points(folder):
    dataset = Dataset.read(folder)
    dataset.images = [image for image in dataset.images if image.kind != "render"]
    name = dataset.shapes[0].shape_id
    for points, expected in ((5, []), (9, ["9 points (dataset.json says 8)"])):
        np.save(dataset.file(dataset.shapes[0].points), np.zeros((points, 3)))
        found = [fault for fault in dataset.check_files() if repr(name) in fault]
        assert len(found) == len(expected)
        assert all(text in fault for text, fault in zip(expected, found, strict=True))
