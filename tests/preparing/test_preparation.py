"""What prepare keeps, adds, moves and removes in a dataset that is there; meshes are texts, made in no time."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from quick_meshes import SETTINGS, QuickWorkers, as_before_folders_were_recorded, put, tree

from cmah.data.dataset import Dataset
from cmah.data.table_rows import Image, Shape
from cmah.errors import CmahError, DatasetError
from cmah.preparing.prepare_log import LOG
from cmah.preparing.preparing import prepare
from cmah.runs.describing import describe
from cmah.skipped_files import read_skipped

ALL_TRAIN = (1.0, 0.0, 0.0)


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> QuickWorkers:
    quick = QuickWorkers()
    monkeypatch.setattr("cmah.preparing.preparation.run_isolated", quick)
    return quick


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def call(workers: QuickWorkers, tmp_path: Path, lines: list[str]) -> Any:
    """Prepare a folder into tmp_path/out; what was said before is forgotten, and what was made."""

    def run(folder: Path, **options: Any) -> Dataset:
        lines.clear()
        workers.made.clear()
        settings = {**SETTINGS, "split_fractions": ALL_TRAIN, "report": lines.append, **options}
        dataset = prepare(folder, tmp_path / "out", **settings)
        written = Dataset.read(tmp_path / "out")
        assert written.checksum() == dataset.checksum()
        return written

    return run


@pytest.fixture
def a(tmp_path: Path) -> Path:
    return put(tmp_path / "a", chair_one="1", chair_two="22", lamp_one="333")


@pytest.fixture
def b(tmp_path: Path) -> Path:
    return put(tmp_path / "b", mug_one="4444", mug_two="55555")


def ids(dataset: Dataset) -> list[str]:
    return [shape.shape_id for shape in dataset.shapes]


A_IDS = ["chair.one.obj", "chair.two.obj", "lamp.one.obj"]
B_IDS = ["mug.one.obj", "mug.two.obj"]


def test_another_folder_is_added(
    call: Any, a: Path, b: Path, workers: QuickWorkers, lines: list[str]
) -> None:
    first = call(a)
    dataset = call(b, split_fractions=(0.0, 0.0, 1.0))
    assert ids(dataset) == A_IDS + B_IDS
    assert workers.made == B_IDS
    assert [shape.split for shape in dataset.shapes] == ["train"] * 3 + ["test"] * 2
    assert dataset.images[:6] == first.images
    assert dataset.name == "a"
    assert [shape.extra["source"] for shape in dataset.shapes] == [
        str(a / "chair/one.obj"), str(a / "chair/two.obj"), str(a / "lamp/one.obj"),
        str(b / "mug/one.obj"), str(b / "mug/two.obj"),
    ]  # fmt: skip
    assert dataset.mesh_folders == [{"path": str(a), "prefix": ""}, {"path": str(b), "prefix": ""}]
    assert lines == []
    log = [json.loads(line) for line in (dataset.root / LOG).read_text().splitlines()]
    assert [line["folder"] for line in log if "shape_id" in line] == [str(a)] * 3 + [str(b)] * 2
    # and again, in any order, nothing changes, nor is anything made
    before = tree(dataset.root)
    call(a)
    call(b, split_fractions=(0.0, 0.0, 1.0))
    assert workers.made == []
    assert tree(dataset.root) == before
    put(a, bed_new="6")
    assert ids(call(a)) == ["bed.new.obj", *A_IDS, *B_IDS]
    assert workers.made == ["bed.new.obj"]


def test_another_split_of_the_same_shapes_is_told(call: Any, a: Path, b: Path, lines: list[str]) -> None:
    call(a)
    call(b)
    dataset = call(a, split_fractions=(0.0, 0.0, 1.0))
    assert [shape.split for shape in dataset.shapes] == ["test"] * 3 + ["train"] * 2
    assert lines == [f"3 of 3 shapes of {a} are in another split or category than before"]


def test_the_same_id_from_two_folders_is_refused_before_any_work(
    call: Any, a: Path, tmp_path: Path, workers: QuickWorkers
) -> None:
    other = put(tmp_path / "other", chair_one="a", chair_two="b", mug_new="c")
    call(a)
    before = tree(tmp_path / "out")
    with pytest.raises(CmahError) as caught:
        call(other)
    assert str(caught.value) == (
        f"{other}/chair/one.obj and {a}/chair/one.obj have the same shape id 'chair.one.obj' (and 1 more); "
        "--prefix NAME gives the ids of this folder NAME. in front"
    )
    assert workers.made == []
    assert tree(tmp_path / "out") == before
    assert not (tmp_path / "out/.partial").exists()


def test_a_prefix_is_remembered(call: Any, a: Path, tmp_path: Path, workers: QuickWorkers) -> None:
    other = put(tmp_path / "other", chair_one="a", mug_new="c")
    call(a)
    dataset = call(other, prefix="o")
    assert ids(dataset) == [*A_IDS, "o.chair.one.obj", "o.mug.new.obj"]
    assert dataset.mesh_folders[1] == {"path": str(other), "prefix": "o"}
    put(other, mug_more="d")
    assert ids(call(other))[3:] == ["o.chair.one.obj", "o.mug.more.obj", "o.mug.new.obj"]
    assert workers.made == ["o.mug.more.obj"]
    for folder, prefix, had in (
        (other, "p", "with the prefix 'o'"),
        (other, "", "with the"),
        (a, "p", "without a prefix"),
    ):
        with pytest.raises(CmahError, match=f"{folder}: was prepared {had}"):
            call(folder, prefix=prefix)
    put(a, **{"chair_one": "x"})
    (a / "o").mkdir()
    (a / "o/chair.one.obj").write_text("z")  # its id is another: a dot within a name becomes "_"
    put(a, o_chair_one="clash")
    with pytest.raises(CmahError, match="rename one of them"):  # its prefix can no longer be chosen
        call(a)


def test_a_folder_that_has_moved_keeps_its_ids(
    call: Any, a: Path, b: Path, tmp_path: Path, workers: QuickWorkers, lines: list[str]
) -> None:
    call(a)
    call(b, prefix="b")
    a.rename(tmp_path / "c")
    (tmp_path / "c/lamp/one.obj").unlink()
    put(tmp_path / "c", chair_one="changed", lamp_new="n")
    dataset = call(tmp_path / "c")
    assert sorted(workers.made) == ["chair.one.obj", "lamp.new.obj"]
    assert lines == [
        f"{tmp_path}/c takes the place of {a}, which is no longer there",
        f"1 shape of {tmp_path}/c is no longer there and stays; --prune removes it",
    ]
    assert ids(dataset) == [
        "chair.one.obj",
        "chair.two.obj",
        "lamp.new.obj",
        "lamp.one.obj",
        "b.mug.one.obj",
        "b.mug.two.obj",
    ]
    assert {shape.extra["source"].rpartition("/")[0] for shape in dataset.shapes[:4]} == {
        f"{tmp_path}/c/chair", f"{tmp_path}/c/lamp"
    }  # fmt: skip
    assert [folder["path"] for folder in dataset.mesh_folders] == [f"{tmp_path}/c", str(b)]
    b.rename(tmp_path / "d")
    with pytest.raises(CmahError, match="was prepared with the prefix 'b'"):
        call(tmp_path / "d", prefix="d")
    assert ids(call(tmp_path / "d"))[4:] == ["b.mug.one.obj", "b.mug.two.obj"]
    assert workers.made == []


def test_a_folder_that_is_away_is_not_replaced_by_one_of_equal_names(
    call: Any, a: Path, tmp_path: Path
) -> None:
    """Such as another medium with the same names of files."""
    call(a)
    a.rename(tmp_path / "away")
    with pytest.raises(CmahError, match=f"x/chair/one.obj and {a}/chair/one.obj have the same"):
        call(put(tmp_path / "x", chair_one="something else"))
    (tmp_path / "away").rename(a)
    assert ids(call(a)) == A_IDS


def test_a_dataset_of_before_goes_on(
    call: Any, a: Path, b: Path, tmp_path: Path, workers: QuickWorkers, lines: list[str]
) -> None:
    before = call(a)
    as_before_folders_were_recorded(tmp_path / "out", a)
    old = Dataset.read(tmp_path / "out")
    assert old.shapes[0].extra["source"] == "chair/one.obj"
    (a / "lamp/one.obj").unlink()
    put(a, chair_new="n")
    (tmp_path / "copy").mkdir()
    shutil.copytree(tmp_path / "out", tmp_path / "copy/out")
    dataset = call(a)
    assert workers.made == ["chair.new.obj"]
    assert ids(dataset) == ["chair.new.obj", *A_IDS]
    assert [shape for shape in dataset.shapes if shape.shape_id in A_IDS] == before.shapes
    assert lines == [f"1 shape of {a} is no longer there and stays; --prune removes it"]
    # as a dataset to which another folder is added first
    shutil.rmtree(tmp_path / "out")
    shutil.move(tmp_path / "copy/out", tmp_path / "out")
    dataset = call(b)
    assert ids(dataset) == A_IDS + B_IDS
    assert [shape.extra["source"] for shape in dataset.shapes[:3]] == [
        "chair/one.obj",
        "chair/two.obj",
        "lamp/one.obj",
    ]
    assert [folder["path"] for folder in dataset.mesh_folders] == [str(b)]
    with pytest.raises(
        CmahError, match=r"chair/one.obj and chair/one.obj \(of a folder that was not recorded\) have"
    ):
        call(put(tmp_path / "x", chair_one="another"))
    dataset = call(a)
    assert ids(dataset) == [*B_IDS, "chair.new.obj", *A_IDS]
    assert dataset.shapes[3:] == before.shapes


def test_what_a_dataset_of_before_had_lost_is_not_there_again(
    call: Any, a: Path, b: Path, tmp_path: Path
) -> None:
    """Its log names the shapes of a folder that another one replaced; the tables do not."""
    call(a)
    call(b)
    out = tmp_path / "out"
    as_before_folders_were_recorded(out, a, b)
    dataset = Dataset.read(out)
    dataset.shapes, dataset.images = dataset.shapes[3:], dataset.images[6:]
    dataset.write()
    assert ids(call(b)) == B_IDS
    assert ids(call(a)) == B_IDS + A_IDS


def test_shapes_whose_meshes_are_gone_leave_by_prune_only(
    call: Any, a: Path, b: Path, tmp_path: Path, lines: list[str]
) -> None:
    out = tmp_path / "out"
    call(a)
    call(b)
    shutil.rmtree(a / "chair")
    dataset = call(a)
    assert ids(dataset) == A_IDS + B_IDS
    assert lines == [f"2 shapes of {a} are no longer there and stay; --prune removes them"]
    call(b, prune=True)  # is for the folder that is given
    assert lines == []
    dataset.images.append(Image("mine", "chair.one.obj", "chair", "train", "photos/1.jpg", "photo"))
    dataset.write()
    dataset = call(a, prune=True)
    assert lines == [
        f"removing 2 shapes of {a} whose meshes are no longer there",
        "1 images of removed shapes stay in images.csv, as images of no shape",
    ]
    assert ids(dataset) == ["lamp.one.obj", *B_IDS]
    assert dataset.images[-1] == Image("mine", "", "chair", "train", "photos/1.jpg", "photo")
    assert sorted(path.name for path in (out / "renders").iterdir()) == ["lamp.one.obj", *B_IDS]
    assert sorted(path.name for path in (out / "points").iterdir()) == [
        f"{n}.npy" for n in ["lamp.one.obj", *B_IDS]
    ]
    before = tree(out)
    call(a)
    assert tree(out) == before
    put(a, chair_one="1")  # back again
    assert ids(call(a)) == ["chair.one.obj", "lamp.one.obj", *B_IDS]


def test_prune_of_a_folder_that_is_gone_or_empty(
    call: Any, a: Path, b: Path, tmp_path: Path, lines: list[str]
) -> None:
    call(a)
    call(b)
    shutil.rmtree(b)
    with pytest.raises(CmahError, match="b: no such file or folder"):
        call(b)
    assert ids(call(b, prune=True)) == A_IDS
    assert lines == [f"removing 2 shapes of {b} whose meshes are no longer there"]
    with pytest.raises(CmahError, match="b: no such file or folder"):
        call(b, prune=True)
    shutil.rmtree(a / "chair")
    shutil.rmtree(a / "lamp")
    before = tree(tmp_path / "out")
    with pytest.raises(CmahError, match="no shape would be left; delete the folder instead"):
        call(a, prune=True)
    with pytest.raises(CmahError, match="one file; expected a folder"):
        call(put(tmp_path / "c", x="1") / "x.obj", prune=True)
    assert tree(tmp_path / "out") == before


def test_shapes_of_a_folder_that_moved_a_level_deeper_are_told_and_can_leave(
    call: Any, a: Path, b: Path, tmp_path: Path, lines: list[str]
) -> None:
    call(a)
    call(b)
    (tmp_path / "all").mkdir()
    for folder in (a, b):
        folder.rename(tmp_path / "all" / folder.name)
    assert len(call(tmp_path / "all").shapes) == 10
    assert lines == [
        f"{count} shapes of {folder} stay, although it is no longer there; cmah prepare {folder} {tmp_path}/out "
        "--prune removes them"
        for folder, count in ((a, 3), (b, 2))
    ]
    call(a, prune=True)
    call(b, prune=True)
    assert len(call(tmp_path / "all").shapes) == 5
    assert lines == []


def test_a_mesh_that_is_broken_now_keeps_its_shape_until_prune(
    call: Any, a: Path, b: Path, tmp_path: Path, lines: list[str]
) -> None:
    first = call(a)
    put(a, chair_one="broken", chair_bad="broken")
    dataset = call(a)
    assert (dataset.shapes, dataset.images) == (first.shapes, first.images)
    skipped = tmp_path / "out/skipped.csv"
    kept = f"keeping 1 shape of {a} as before whose changed meshes can no longer be used (see {skipped})"
    assert lines == [f"{kept}; --prune removes what is kept so"]
    assert read_skipped(tmp_path / "out") == [("chair/bad.obj", "no faces"), ("chair/one.obj", "no faces")]
    call(a)
    assert len(lines) == 1
    call(b)  # the list keeps what others have, with paths that tell the folders apart
    assert read_skipped(tmp_path / "out") == [
        (f"{a}/chair/{name}.obj", "no faces") for name in ("bad", "one")
    ]
    assert ids(call(a, prune=True)) == ["chair.two.obj", "lamp.one.obj", *B_IDS]
    assert lines == [f"removing 1 shape of {a} whose changed meshes can no longer be used (see {skipped})"]
    assert not (tmp_path / "out/renders/chair.one.obj").exists()
    put(a, chair_one="good")
    assert ids(call(a)) == A_IDS + B_IDS


def test_rows_that_prepare_did_not_make_stay(call: Any, a: Path, b: Path, tmp_path: Path) -> None:
    dataset = call(a)
    (tmp_path / "out/points/mine.npy").write_bytes(b"")
    mine = Shape("mine", "sofa", "val", "points/mine.npy", {"source": "", "wood": "oak"})
    first = replace(dataset.shapes[0], extra={**dataset.shapes[0].extra, "wood": "elm"})
    dataset.shapes = [first, *dataset.shapes[1:], mine]
    photos = [
        Image("p1", "chair.one.obj", "chair", "train", "photos/1.jpg", "photo"),
        Image("p2", "", "lamp", "test", "photos/2.jpg", "photo"),
        Image("p3", "mine", "sofa", "val", "photos/3.jpg", "picture"),
    ]
    dataset.images += photos
    dataset.extra["licence"] = "CC0"
    dataset.name = "ours"
    dataset.write()
    dataset = call(b)
    assert ids(dataset) == [*A_IDS, *B_IDS, "mine"]
    assert [shape.extra.get("wood", "") for shape in dataset.shapes] == ["elm", "", "", "", "", "oak"]
    assert dataset.images[-3:] == photos
    assert (dataset.extra["licence"], dataset.name) == ("CC0", "ours")
    before = tree(tmp_path / "out")
    call(a)
    assert tree(tmp_path / "out") == before
    dataset = call(a, split_fractions=(0.0, 0.0, 1.0))  # a photo of a shape follows it
    assert [image.split for image in dataset.images[-3:]] == ["test", "test", "val"]
    put(a, x="1")
    (a / "x.obj").rename(a / "mine.obj")
    dataset.shapes[-1] = replace(mine, shape_id="mine.obj")
    dataset.images[-1] = replace(dataset.images[-1], shape_id="mine.obj")
    dataset.write()
    with pytest.raises(CmahError, match=r"mine\.obj and a shape that prepare did not make have"):
        call(a)


def test_a_damaged_table_is_refused_rather_than_replaced(call: Any, a: Path, tmp_path: Path) -> None:
    call(a)
    with open(tmp_path / "out/images.csv", "a") as file:
        file.write("torn,row\n")
    before = tree(tmp_path / "out")
    with pytest.raises(CmahError, match=r"images\.csv: row 8: 2 cells"):
        call(a)
    assert tree(tmp_path / "out") == before


@pytest.mark.parametrize("table", ["images.csv", "shapes.csv"])
def test_a_table_that_is_gone_is_refused(call: Any, a: Path, b: Path, tmp_path: Path, table: str) -> None:
    call(a)
    call(b)
    (tmp_path / "out" / table).unlink()
    before = tree(tmp_path / "out")
    with pytest.raises(CmahError, match=rf"out/{table}: is gone"):
        call(a)
    assert tree(tmp_path / "out") == before


def test_other_parameters_make_all_folders_anew(
    call: Any, a: Path, b: Path, tmp_path: Path, workers: QuickWorkers, lines: list[str]
) -> None:
    call(a)
    put(b, mug_bad="broken")
    dataset = call(b, prefix="b", split_fractions=(0.0, 0.0, 1.0))
    dataset.images.append(Image("p", "chair.one.obj", "chair", "train", "photos/1.jpg", "photo"))
    dataset.write()
    out = tmp_path / "out"
    with pytest.raises(CmahError, match=r"other parameters \(views 2 -> 3\)"):
        call(a, views=3)
    (a / "lamp/one.obj").rename(a / "lamp/gone")
    before = tree(out)
    with pytest.raises(
        CmahError, match=r"out: 1 shape cannot be made anew.*a/lamp/one\.obj\); --prune removes"
    ):
        call(a, views=3, overwrite=True)
    b.rename(tmp_path / "c")
    with pytest.raises(CmahError, match=r"out: 3 shapes cannot be made anew"):
        call(a, views=3, overwrite=True)
    (tmp_path / "c").rename(b)
    assert tree(out) == before
    (a / "lamp/gone").rename(a / "lamp/one.obj")
    dataset = call(a, views=3, overwrite=True)
    assert ids(dataset) == [*A_IDS, "b.mug.one.obj", "b.mug.two.obj"]
    assert workers.made == ids(dataset)
    assert len(dataset.images) == 16
    assert read_skipped(out) == [(f"{b}/mug/bad.obj", "no faces")]
    assert lines == [f"2 of 5 shapes of {a} are in another split or category than before"]
    assert not (out / ".dataset.json").exists()
    call(
        b, views=3, overwrite=True, split_fractions=(1.0, 0.0, 0.0)
    )  # the same parameters: nothing to start anew
    assert workers.made == []
    (a / "lamp/one.obj").unlink()
    dataset = call(a, views=2, overwrite=True, prune=True)
    assert ids(dataset) == [*A_IDS[:2], "b.mug.one.obj", "b.mug.two.obj"]
    assert not (out / "renders/lamp.one.obj").exists()


@pytest.mark.parametrize("name", ["skipped.csv", "remarks.csv"])
def test_a_folder_where_a_list_is_to_be_written_is_refused_before_the_work(
    call: Any, a: Path, b: Path, tmp_path: Path, workers: QuickWorkers, name: str
) -> None:
    call(a)
    (tmp_path / "out" / name).mkdir()
    with pytest.raises(CmahError, match=rf"out/{name}: not a file"):
        call(b)
    assert workers.made == []


def test_a_dataset_that_is_being_made_anew_is_told_as_stopped(
    call: Any, a: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call(a)

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cmah.preparing.preparation.run_isolated", stop)
    with pytest.raises(KeyboardInterrupt):
        call(a, views=3, overwrite=True)
    with pytest.raises(CmahError, match="out: prepare was stopped here; the same cmah prepare goes on"):
        describe(tmp_path / "out")
    with pytest.raises(DatasetError, match="out: prepare was stopped here; the same cmah prepare goes on"):
        Dataset.read(tmp_path / "out")


def cloud_state(dataset: Dataset, shape_id: str) -> tuple[int, bool, bool]:
    """The views of a shape in the table, and whether its folder of views and its points are there."""
    views = dataset.views()[shape_id]
    folder, points = dataset.root / "renders" / shape_id, dataset.root / "points" / f"{shape_id}.npy"
    return len(views), folder.exists(), points.is_file()


def test_a_cloud_has_points_and_no_views_and_is_made_once(
    call: Any, tmp_path: Path, workers: QuickWorkers
) -> None:
    a = put(tmp_path / "a", chair_one="1", scan_one="cloud")
    dataset = call(a)
    assert ids(dataset) == ["chair.one.obj", "scan.one.obj"]
    assert cloud_state(dataset, "scan.one.obj") == (0, False, True)
    assert cloud_state(dataset, "chair.one.obj") == (2, True, True)
    assert dataset.version == 1
    before = tree(dataset.root)
    call(a)
    assert workers.made == []
    assert tree(dataset.root) == before
    (dataset.root / "points/scan.one.obj.npy").unlink()
    call(a)
    assert workers.made == ["scan.one.obj"]
    only = put(tmp_path / "only", scan_two="cloud")
    assert ids(call(only)) == ["chair.one.obj", "scan.one.obj", "scan.two.obj"]


def test_clouds_alone_make_a_dataset(call: Any, tmp_path: Path) -> None:
    dataset = call(put(tmp_path / "a", scan_one="cloud", scan_two="cloud"))
    assert (ids(dataset), dataset.images) == (["scan.one.obj", "scan.two.obj"], [])
    assert dataset.check_files() == []
    assert (dataset.root / "images.csv").read_text() == "image_id,shape_id,category,split,path,kind\n"


def test_a_mesh_becomes_a_cloud_and_a_cloud_a_mesh(
    call: Any, tmp_path: Path, workers: QuickWorkers, lines: list[str]
) -> None:
    a = put(tmp_path / "a", chair_one="1", scan_one="cloud")
    dataset = call(a)
    dataset.images.append(Image("mine", "chair.one.obj", "chair", "train", "photos/1.jpg", "photo"))
    dataset.write()
    put(a, chair_one="cloud, now", scan_one="mesh, now")
    dataset = call(a)
    assert workers.made == ["chair.one.obj", "scan.one.obj"]
    assert cloud_state(dataset, "chair.one.obj") == (1, False, True)  # the photo
    assert cloud_state(dataset, "scan.one.obj") == (2, True, True)
    assert lines == []
    put(a, chair_one="11", scan_one="cloud")
    dataset = call(a)
    assert cloud_state(dataset, "chair.one.obj") == (3, True, True)
    assert cloud_state(dataset, "scan.one.obj") == (0, False, True)


@pytest.mark.parametrize("prune", [False, True])
def test_a_cloud_that_is_broken_or_gone_stays_until_pruned(
    call: Any, tmp_path: Path, lines: list[str], prune: bool
) -> None:
    a = put(tmp_path / "a", chair_one="1", scan_one="cloud", scan_two="cloud")
    call(a)
    put(a, scan_one="broken")
    (a / "scan/two.obj").unlink()
    dataset = call(a, prune=prune)
    assert len(lines) == 2
    if prune:
        assert ids(dataset) == ["chair.one.obj"]
        assert [path.name for path in (dataset.root / "points").iterdir()] == ["chair.one.obj.npy"]
    else:
        assert ids(dataset) == ["chair.one.obj", "scan.one.obj", "scan.two.obj"]
        assert lines[1].startswith("keeping 1 shape of")
        assert cloud_state(dataset, "scan.one.obj") == (0, False, True)


def test_all_anew_with_clouds(call: Any, tmp_path: Path, workers: QuickWorkers) -> None:
    a = put(tmp_path / "a", chair_one="1", scan_one="cloud")
    call(a)
    dataset = call(a, views=3, overwrite=True)
    assert workers.made == ["chair.one.obj", "scan.one.obj"]
    assert cloud_state(dataset, "chair.one.obj") == (3, True, True)
    assert cloud_state(dataset, "scan.one.obj") == (0, False, True)


def test_pictures_that_somebody_put_where_the_views_of_a_cloud_would_lie_stay(
    call: Any, tmp_path: Path
) -> None:
    a = put(tmp_path / "a", scan_one="cloud")
    dataset = call(a)
    mine = dataset.root / "renders/scan.one.obj/mine.jpg"
    mine.parent.mkdir(parents=True)
    mine.write_text("photo")
    dataset.images.append(
        Image("mine", "scan.one.obj", "scan", "train", "renders/scan.one.obj/mine.jpg", "photo")
    )
    dataset.write()
    call(a)
    assert mine.is_file()


def test_clouds_that_an_earlier_version_skipped_are_tried_again(
    call: Any, tmp_path: Path, workers: QuickWorkers
) -> None:
    a = put(tmp_path / "a", chair_one="1", chair_two="broken")
    (a / "chair/scan.ply").write_text("broken")
    out = call(a).root
    (a / "chair/scan.ply").write_text("clouds")
    times = (a / "chair/scan.ply").stat()
    log = [json.loads(line) for line in (out / LOG).read_text().splitlines()]
    for line in log:
        if line.get("shape_id") == "chair.scan.ply":
            line |= {"size": times.st_size, "modified": times.st_mtime_ns}
    (out / LOG).write_text("".join(json.dumps(line) + "\n" for line in log))
    call(a)
    assert workers.made == ["chair.scan.ply"]
    assert read_skipped(out) == [("chair/two.obj", "no faces")]
