"""Categories and files of items by id, from a dataset's tables: of before and of now, whole and damaged."""

import json

import pytest

from cmah.data.mesh_sources import mesh_folders
from cmah.errors import CmahError, DatasetError
from cmah.runs.item_details import ItemDetails, prepared_of


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "data"
    (root / "photos").mkdir(parents=True)
    (root / "dataset.json").write_text('{"format": "cmah-dataset", "version": 2}')
    (root / "shapes.csv").write_text(
        "shape_id,category,split,points,source\n"
        "new,chair,test,points/new.npy,/meshes/chair/new.obj\n"
        "old,lamp,test,points/old.npy,lamp/old.obj\n"
        "own,,test,points/own.npy,\n"
        "seen,sofa,test,,\n",
        encoding="utf-8-sig",
    )
    (root / "images.csv").write_text(
        "image_id,shape_id,category,split,path,kind\nview,new,,,photos/1.jpg,render\nphoto,,mug,test,photos/é.jpg,photo\n"
    )
    return root


def test_what_is_known_of_each_kind_of_item(root):
    details = ItemDetails(root)
    files = str(root.resolve())
    expected = {
        "new": ("chair", "/meshes/chair/new.obj"),
        "old": ("lamp", "lamp/old.obj"),
        "own": ("", f"{files}/points/own.npy"),
        "seen": ("sofa", ""),
        "view": ("chair", f"{files}/photos/1.jpg"),
        "photo": ("mug", f"{files}/photos/é.jpg"),
    }
    assert {name: (details.category(name), details.path(name)) for name in expected} == expected
    assert details.missing == set()
    assert (details.category("none"), details.path("none"), details.missing) == ("", "", {"none"})


def test_cells_are_cleaned_as_the_dataset_reader_cleans_them(root):
    (root / "shapes.csv").write_text(
        " shape_id ,category\u00a0,split,points, source\n"
        " caf\u0065\u0301 , flat ,test, points/a.npy ,/m/ x.obj\n\nb,,,\n",
        encoding="utf-8",
    )
    (root / "images.csv").write_text(
        "image_id,shape_id,category,split,path,kind\n view ,caf\u00e9,,, photos/cafe\u0301.jpg ,photo\n",
        encoding="utf-8",
    )
    (root / "photos" / "cafe\u0301.jpg").touch()
    details = ItemDetails(root)
    assert (details.category("caf\u00e9"), details.path("caf\u00e9")) == ("flat", "/m/ x.obj")
    assert (details.category("view"), details.path("view")) == (
        "flat",
        str(root.resolve() / "photos/cafe\u0301.jpg"),
    )
    assert (details.category("b"), details.path("b")) == ("", "")


def test_files_of_the_dataset_have_their_category(root, monkeypatch):
    monkeypatch.chdir(root)
    details = ItemDetails(root)
    for name, category in (
        ("photos/1.jpg", "chair"),
        (str(root / "photos" / ".." / "photos" / "1.jpg"), "chair"),
        ("points/old.npy", "lamp"),
        ("photos/2.jpg", ""),
        ("/elsewhere/1.jpg", ""),
    ):
        assert details.category(name) == category


def test_images_are_read_only_if_an_item_is_no_shape(root):
    (root / "images.csv").unlink()
    details = ItemDetails(root)
    assert details.category("new") == "chair"
    with pytest.raises(DatasetError, match=r"images\.csv: no such file"):
        details.path("view")


def test_pictures_may_lie_elsewhere(root):
    (root / "dataset.json").write_text('{"format": "cmah-dataset", "version": 2, "root": "/mnt/large"}')
    assert ItemDetails(root).path("view") == "/mnt/large/photos/1.jpg"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("shapes.csv", "id\n1\n", r"shapes\.csv: row 1: expected the columns shape_id"),
        ("shapes.csv", b"shape_id\n\xff\n", r"shapes\.csv: cannot be read"),
        ("dataset.json", "{", r"dataset\.json: not a readable JSON file"),
    ],
)
def test_damaged_tables_are_named(root, name, content, message):
    (root / name).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(DatasetError, match=message):
        ItemDetails(root)


def test_no_dataset(tmp_path):
    with pytest.raises(DatasetError, match=r"none: no such folder"):
        ItemDetails(tmp_path / "none")
    with pytest.raises(CmahError, match="a URL, expected a path; download it first"):
        ItemDetails("https://example.org/data")


def test_folders_of_meshes(root):
    assert prepared_of(root) == prepared_of(root / "none") == {}
    header = {"prepared": {"folders": [{"path": "/a", "prefix": ""}, {"path": "/b", "prefix": "new"}]}}
    (root / "dataset.json").write_text(json.dumps(header))
    assert mesh_folders(prepared_of(root)) == [{"path": "/a", "prefix": ""}, {"path": "/b", "prefix": "new"}]
    for wrong in (
        '{"prepared": {"folders": 7}}',
        '{"prepared": [1]}',
        "[]",
        '{"prepared": {"folders": [7]}}',
    ):
        (root / "dataset.json").write_text(wrong)
        assert mesh_folders(prepared_of(root)) == []
