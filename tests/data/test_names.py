"""Cells of a dataset's tables that only look equal: one name, a fault, or a remark."""

import json
import unicodedata
import warnings

import numpy as np
import pytest

from cmah.data.dataset import Dataset
from cmah.data.names import alike_but_for_case, clean_name, clean_path, split_faults
from cmah.errors import DatasetError

HEADER = {
    "format": "cmah-dataset",
    "version": 2,
    "name": "toys",
    "points_per_shape": 4,
    "up_axis": "y",
    "image_size": 6,
}
IMAGES = "image_id,shape_id,category,split,path,kind\n"


def folder_of(root, shapes, images=""):
    (root / "points").mkdir(parents=True, exist_ok=True)
    (root / "dataset.json").write_text(json.dumps(HEADER))
    (root / "shapes.csv").write_text("shape_id,category,split,points\n" + shapes, encoding="utf-8")
    (root / "images.csv").write_text(IMAGES + images, encoding="utf-8")
    return root


@pytest.mark.parametrize(
    "blank", [" ", "\t", "\u00a0", "\u3000", "\ufeff", "\u200b", " \u2009 ", "\u202a", "\u200e "]
)
def test_blanks_around_a_cell_make_no_other_name(tmp_path, blank):
    shapes = f"s1,flat{blank},train{blank},points/a.npy\n"
    shapes += f"{blank}s2,{blank}flat,{blank}train,{blank}points/b.npy{blank}\n"
    images = f"i1,s2{blank},,,{blank}a.png,{blank}photo{blank}\n"
    dataset = Dataset.read(folder_of(tmp_path, shapes, images))
    assert {(shape.category, shape.split) for shape in dataset.shapes} == {("flat", "train")}
    assert [shape.shape_id for shape in dataset.shapes] == ["s1", "s2"]
    assert dataset.images[0].kind == "photo"
    assert dataset.images[0].category == "flat"
    assert dataset.remarks == []


def test_composed_and_decomposed_letters_are_one_name(tmp_path):
    forms = [unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD")]
    assert forms[0] != forms[1]
    dataset = Dataset.read(folder_of(tmp_path, f"a,{forms[0]},train,x.npy\nb,{forms[1]},train,y.npy\n"))
    assert {shape.category for shape in dataset.shapes} == {forms[0]}
    with pytest.raises(DatasetError, match=r"row 3: id .* is already that of row 2"):
        Dataset.read(folder_of(tmp_path, f"{forms[0]},x,train,x.npy\n{forms[1]},x,train,y.npy\n"))


@pytest.mark.parametrize(
    ("on_disk", "in_table"), [("NFD", "NFC"), ("NFC", "NFD"), ("NFC", "NFC"), ("NFD", "NFD")]
)
def test_a_file_is_found_whichever_form_its_name_has(tmp_path, on_disk, in_table):
    names = {form: unicodedata.normalize(form, "points/caf\u00e9.npy") for form in ("NFC", "NFD")}
    root = folder_of(tmp_path, f"a,x,train,{names[in_table]}\n")
    np.save(root / names[on_disk], np.eye(4, 3, dtype=np.float32))
    dataset = Dataset.read(root)
    assert dataset.load_points(dataset.shapes[0]).shape == (4, 3)


@pytest.mark.parametrize(
    "splits", [("train", "Train"), ("Train", "train"), ("Train", "Train"), ("gallery", "Gallery")]
)
def test_a_split_of_another_case_is_a_fault(tmp_path, splits):
    first, second = splits
    with pytest.raises(DatasetError, match="differ by case alone are different splits"):
        Dataset.read(folder_of(tmp_path, f"a,x,{first},x.npy\nb,x,{second},y.npy\n"))
    with pytest.raises(DatasetError, match=r"images\.csv: row 2: split is"):
        Dataset.read(
            folder_of(tmp_path, f"a,x,{first.lower()},x.npy\n", f"i,,x,{first.title()},a.png,photo\n")
        )


def test_a_split_of_any_one_spelling_is_allowed(tmp_path):
    assert (
        Dataset.read(folder_of(tmp_path, "a,x,Gallery,x.npy\nb,x,Gallery,y.npy\n")).shapes[1].split
        == "Gallery"
    )
    assert split_faults([("row 2", ""), ("row 3", "test"), ("row 4", "")]) == []


def test_categories_of_another_case_are_remarked(tmp_path):
    root = folder_of(tmp_path, "a,Chair,train,x.npy\nA,chair,train,y.npy\n", "i,,CHAIR,,p.png,photo\n")
    with pytest.warns(UserWarning, match="by case alone") as warned:
        dataset = Dataset.read(root)
    assert len(warned) == 2
    assert [remark.split(" by ")[0] for remark in dataset.remarks] == [
        "2 of 3 categories differ from others",
        "1 of 2 shape ids differs from another",
    ]
    assert [shape.category for shape in dataset.shapes] == ["Chair", "chair"]


def test_a_shape_id_of_another_case_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"shape_id 'Seat' is not in shapes\.csv, which has 'seat'"):
        Dataset.read(folder_of(tmp_path, "seat,x,train,x.npy\n", "i,Seat,x,,p.png,photo\n"))


def test_blank_columns_and_rows_of_a_spreadsheet(tmp_path):
    root = folder_of(tmp_path, "")
    (root / "shapes.csv").write_text("shape_id,category,split,points,,\na,x,train,a.npy,,\n,,,,,\n")
    assert [shape.shape_id for shape in Dataset.read(root).shapes] == ["a"]
    (root / "shapes.csv").write_text("shape_id,category,split,points,,\na,x,train,a.npy,,note\n")
    with pytest.raises(DatasetError, match="row 2: a cell in a column without a name"):
        Dataset.read(root)


@pytest.mark.parametrize("name", ["flat", "caf\u00e9", "\u5bb6\u5177", "a b", "\U0001f600"])
def test_cleaning_is_done_once_and_for_all(name):
    assert clean_name(name) == name == clean_name(clean_name(f" {name}\u00a0"))
    assert clean_path(name) == name


def test_remarks_name_three_and_count_the_rest():
    names = {text: f"row {row}" for row, text in enumerate(["a", "A", "b", "B", "c", "C", "d", "D", "e"], 2)}
    (remark,) = alike_but_for_case("ids", names)
    assert remark.startswith("4 of 9 ids differ from others by case alone: 'A' (row 3) and 'a' (row 2), ")
    assert remark.endswith(" and 1 more")


@pytest.mark.parametrize("sample", ["K01-blanks-in-cells/ws_cat", "K01-blanks-in-cells/ws_split"])
def test_samples_with_blanks(shared, sample):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = Dataset.read(shared / "data" / "field" / sample)
    assert len({shape.category for shape in dataset.shapes}) == 2
    assert all(shape.split == shape.split.strip() for shape in dataset.shapes)


def test_sample_with_splits_of_two_cases(shared):
    with pytest.raises(DatasetError, match="expected 'train'"):
        Dataset.read(shared / "data" / "field" / "K03-split-case" / "case_split_mixed")
