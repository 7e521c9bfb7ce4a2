"""From meshes to a dataset folder: the same whatever the number of workers, interruptions and additions."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cmah.data.dataset import Dataset
from cmah.errors import CmahError, DatasetError
from cmah.preparing.prepare_log import LOG
from cmah.preparing.preparing import prepare
from cmah.skipped_files import read_skipped
from cmah.synthetic import make_shapes
from cmah.synthetic.solids import Model
from cmah.synthetic.writing import write_off

SMALL: dict[str, Any] = {"views": 3, "image_size": 24, "points": 64}


@pytest.fixture(scope="module")
def meshes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("meshes")
    make_shapes(folder, 4, ["chair", "lamp", "mug"])
    (folder / "mug/broken.obj").write_text("v 0 0 0\n")
    (folder / "mug/empty.ply").write_text("")
    return folder


@pytest.fixture(scope="module")
def prepared(meshes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("prepared") / "dataset"
    prepare(meshes, out, jobs=1, **SMALL)
    return out


def differences(one: Path, two: Path) -> list[str]:
    """The files that are not the same in both folders, the log aside (it is in order of completion).

    Where the meshes lie does not count, only where within their folder.
    """
    files = [
        {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()} - {LOG}
        for root in (one, two)
    ]
    changed = [name for name in files[0] & files[1] if content(one, name) != content(two, name)]
    return sorted(files[0] ^ files[1]) + sorted(changed)


def content(root: Path, name: str) -> bytes:
    """A file of a dataset, with the folders of meshes by numbers."""
    data = (root / name).read_bytes()
    if name in ("dataset.json", "shapes.csv", "skipped.csv") and (root / "dataset.json").is_file():
        folders = json.loads((root / "dataset.json").read_text())["prepared"].get("folders", [])
        for number, folder in enumerate(folders):
            data = data.replace(folder["path"].encode(), f"folder {number}".encode())
    return data


def test_the_dataset_is_whole(meshes: Path, prepared: Path) -> None:
    dataset = Dataset.read(prepared)
    assert dataset.check_files() == []
    assert (dataset.name, dataset.up_axis, dataset.image_size) == (meshes.name, "y", 24)
    assert [shape.category for shape in dataset.shapes] == ["chair"] * 4 + ["lamp"] * 4 + ["mug"] * 4
    assert len(dataset.images) == 36
    assert {image.kind for image in dataset.images} == {"render"}
    first = dataset.images[:3]
    assert [(image.view, image.azimuth, image.elevation) for image in first] == [
        (0, 0, 20),
        (1, 120, 20),
        (2, 240, 20),
    ]
    for shape in dataset.shapes:
        points = dataset.load_points(shape)
        assert points.shape == (64, 6)
        assert points.dtype == np.float16
        assert np.linalg.norm(points[:, :3].astype(float), axis=1).max() <= 1.001
    for image in dataset.images:
        mask = np.asarray(Image.open(prepared / image.mask))
        pixels = np.asarray(Image.open(prepared / image.path)).astype(int)
        assert mask.shape == (24, 24)
        assert (mask == 255).any()
        # JPEG blurs the edge a little
        assert (pixels[mask == 0] > 200).mean() > 0.97
    assert read_skipped(prepared) == [("mug/broken.obj", "no faces"), ("mug/empty.ply", "the file is empty")]
    assert not (prepared / ".partial").exists()


@pytest.mark.slow
def test_two_workers_make_the_same(meshes: Path, prepared: Path, tmp_path: Path) -> None:
    prepare(meshes, tmp_path / "out", jobs=2, **SMALL)
    assert differences(prepared, tmp_path / "out") == []


def test_points_and_views_are_of_the_same_frame(prepared: Path) -> None:
    """Project the points with the camera of each view: they must fall on the object."""
    dataset = Dataset.read(prepared)
    for shape in dataset.shapes:
        xyz = dataset.load_points(shape)[:, :3].astype(float)
        for image in dataset.views()[shape.shape_id]:
            a, e = np.radians(image.azimuth or 0), np.radians(image.elevation or 0)
            back = np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])
            right = np.array([np.cos(a), 0, -np.sin(a)])
            depth = 1 / np.sin(np.radians(15)) - xyz @ back
            scale = 12 / (depth * np.tan(np.radians(15)))
            columns = (12 + xyz @ right * scale).astype(int).clip(0, 23)
            rows = (12 - xyz @ np.cross(back, right) * scale).astype(int).clip(0, 23)
            mask = np.asarray(Image.open(prepared / image.mask))
            # a thin part may slip between the rays of a pixel: its neighbours count too
            near = np.pad(mask, 1)
            near = np.max([near[i : i + 24, j : j + 24] for i in range(3) for j in range(3)], axis=0)
            assert (near[rows, columns] > 0).mean() > 0.95
            assert (mask[rows, columns] > 0).mean() > 0.9


@pytest.mark.slow
def test_kill_and_resume(meshes: Path, prepared: Path, tmp_path: Path) -> None:
    """kill -9 after a few shapes, a torn last line, then the same call again."""
    out = tmp_path / "out"
    code = f"from cmah.preparing.preparing import prepare; prepare({str(meshes)!r}, {str(out)!r}, jobs=1, **{SMALL!r})"
    process = subprocess.Popen([sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if (out / LOG).is_file() and len((out / LOG).read_text().splitlines()) > 5:
            break
        time.sleep(0.005)
    process.kill()
    process.wait()
    done = (out / LOG).read_text().count("\n") - 2
    assert 3 <= done < 14
    assert not (out / "shapes.csv").exists()
    with open(out / LOG, "a") as log:
        log.write('{"shape_id": "chair.chair_0')
    kept = {path: path.stat().st_mtime_ns for path in (out / "points").iterdir()}
    prepare(meshes, out, jobs=2, **SMALL)
    assert differences(prepared, out) == []
    # what was logged was not made again
    assert sum(path.stat().st_mtime_ns == made for path, made in kept.items()) >= done - 2


@pytest.mark.slow
def test_links_into_a_store_of_files_without_suffixes(tmp_path: Path) -> None:
    """As caches of downloads and of versioned data have them: a link's own name says what the file is."""
    (tmp_path / "store").mkdir()
    (tmp_path / "store/0a1b2c").write_text("OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n")
    (tmp_path / "meshes/flat").mkdir(parents=True)
    (tmp_path / "meshes/flat/a.off").symlink_to(tmp_path / "store/0a1b2c")
    dataset = prepare(tmp_path / "meshes", tmp_path / "out", jobs=1, **SMALL)
    assert [shape.shape_id for shape in dataset.shapes] == ["flat.a.off"]


@pytest.mark.slow
def test_only_what_is_new_or_changed_is_made(meshes: Path, prepared: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "meshes", tmp_path / "out"
    shutil.copytree(meshes, source)
    for name in ("lamp", "chair/chair_002.obj"):
        os.rename(source / name, tmp_path / Path(name).name)
    prepare(source, out, jobs=1, **SMALL)
    before = {path.name: path.stat().st_mtime_ns for path in (out / "points").iterdir()}
    assert len(before) == 7
    os.rename(tmp_path / "lamp", source / "lamp")
    os.rename(tmp_path / "chair_002.obj", source / "chair/chair_002.obj")
    shutil.rmtree(out / "renders/chair.chair_001.glb")
    dataset = prepare(source, out, jobs=1, **SMALL)
    assert len(dataset.shapes) == 12
    assert sorted(set(differences(prepared, out))) == ["dataset.json"] or differences(prepared, out) == []
    after = {path.name: path.stat().st_mtime_ns for path in (out / "points").iterdir()}
    assert [name for name in before if before[name] != after[name]] == ["chair.chair_001.glb.npy"]
    os.utime(source / "mug/broken.obj", ns=(1, 1))
    (source / "mug/broken.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    shutil.rmtree(source / "lamp")
    assert len(prepare(source, out, jobs=1, **SMALL).shapes) == 13
    dataset = prepare(source, out, jobs=1, prune=True, **SMALL)
    assert len(dataset.shapes) == 9
    assert Dataset.read(out).check_files() == []
    assert read_skipped(out) == [("mug/empty.ply", "the file is empty")]


@pytest.mark.slow
def test_other_parameters_need_another_folder(meshes: Path, prepared: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(prepared, out)
    with pytest.raises(CmahError, match=r"other parameters \(views 3 -> 2\).*--overwrite"):
        prepare(meshes, out, **{**SMALL, "views": 2})
    assert differences(prepared, out) == []
    dataset = prepare(meshes, out, jobs=1, overwrite=True, **{**SMALL, "views": 2})
    assert len(dataset.images) == 24
    assert not list(out.rglob("02.jpg"))


@pytest.mark.slow
def test_fractions_and_jitter(meshes: Path, prepared: Path, tmp_path: Path) -> None:
    source = tmp_path / "meshes"
    shutil.copytree(meshes / "chair", source / "chair")
    dataset = prepare(
        source,
        tmp_path / "a",
        jobs=1,
        jitter=10,
        elevations=(0.0, 40.0),
        split_fractions=(0.0, 0.0, 1.0),
        **SMALL,
    )
    assert {shape.split for shape in dataset.shapes} == {"test"}
    azimuths = {image.azimuth for image in dataset.images}
    assert len(azimuths) == len(dataset.images)
    reference = Dataset.read(prepared)
    for image in dataset.images:
        ring = 120 * (image.view or 0)
        assert abs((((image.azimuth or 0) - ring) + 180) % 360 - 180) <= 10.01
        assert abs((image.elevation or 0) - (0, 40, 0)[image.view or 0]) <= 10.01
    for shape, same in zip(dataset.shapes, reference.shapes, strict=False):
        np.testing.assert_array_equal(dataset.load_points(shape), reference.load_points(same))


SLOW_TARGET = """
import time
from pathlib import Path
from cmah.preparing import shape_task
from cmah.preparing.shape_task import warm_up

def prepare_shape(task):
    if "slow" in task["path"] and Path(task["path"]).with_name("slow.txt").exists():
        time.sleep(1000)
    if "bomb" in task["path"]:
        bytearray(1 << 32)
    return shape_task.prepare_shape(task)
"""


@pytest.mark.slow
def test_lost_workers_are_skipped_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = tmp_path / "meshes", tmp_path / "out"
    make_shapes(source, 1, ["chair"])
    shutil.copy(source / "chair/chair_000.obj", source / "slow.obj")
    shutil.copy(source / "chair/chair_000.obj", source / "bomb.obj")
    (source / "slow.txt").write_text("for now")
    (tmp_path / "slow_target.py").write_text(SLOW_TARGET)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("cmah.preparing.preparation.TASK", "slow_target:prepare_shape")
    options = {"jobs": 1, "memory_limit": 1.0, **SMALL}
    dataset = prepare(source, out, time_limit=3, **options)
    assert [shape.category for shape in dataset.shapes] == ["chair"]
    bomb = ("bomb.obj", "needed more than 1 GiB of memory")
    assert read_skipped(out) == [bomb, ("slow.obj", "took longer than 3 s")]
    (source / "slow.txt").unlink()
    assert len(prepare(source, out, **options).shapes) == 2
    assert read_skipped(out) == [bomb]


@pytest.mark.slow
def test_worker_killed_from_outside(tmp_path: Path) -> None:
    """A worker that the system kills is replaced, and its mesh is made by another."""
    source, out = tmp_path / "meshes", tmp_path / "out"
    make_shapes(source, 12, ["vase"])
    options = {"jobs": 1, "image_size": 80, "views": 5}
    code = (
        f"from cmah.preparing.preparing import prepare; prepare({str(source)!r}, {str(out)!r}, **{options!r})"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    killed = 0
    while process.poll() is None and killed < 2:
        lines = (out / LOG).read_text().count("\n") if (out / LOG).is_file() else 0
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        if children and lines >= 3 + 3 * killed:
            os.kill(int(children[0]), signal.SIGKILL)
            killed += 1
        time.sleep(0.002)
    assert process.wait() == 0
    assert killed == 2
    assert len(Dataset.read(out).shapes) == 12
    assert not (out / "skipped.csv").exists()


@pytest.mark.slow
def test_interrupt_ends_the_workers(tmp_path: Path) -> None:
    source, out = tmp_path / "meshes", tmp_path / "out"
    make_shapes(source, 30, ["chair"])
    code = f"from cmah.preparing.preparing import prepare; prepare({str(source)!r}, {str(out)!r}, jobs=2)"
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    while not (out / LOG).is_file() or (out / LOG).read_text().count("\n") < 3:
        time.sleep(0.005)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.send_signal(signal.SIGINT)
    process.wait(10)
    assert children
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]


@pytest.mark.slow
def test_what_is_not_a_dataset_folder_is_left_alone(meshes: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(CmahError, match="not made by prepare"):
            prepare(meshes, tmp_path / "mine", overwrite=overwrite, **SMALL)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    (tmp_path / "only").mkdir()
    (tmp_path / "only/bad.obj").write_text("v 0 0 0\n")
    with pytest.raises(CmahError, match=r"none of the 1 meshes can be used: no faces; see .*skipped\.csv"):
        prepare(tmp_path / "only", tmp_path / "out", jobs=1, **SMALL)
    assert read_skipped(tmp_path / "out") == [("bad.obj", "no faces")]
    with pytest.raises(
        DatasetError, match=r"out: prepare was stopped here, or no mesh could be used \(see skipped"
    ):
        Dataset.read(tmp_path / "out")


def test_where_no_mesh_can_be_used_the_commonest_reason_is_told(tmp_path: Path) -> None:
    (tmp_path / "only").mkdir()
    for name, text in (("a", ""), ("b", "v 0 0 0\n"), ("c", "v 0 0 0\n")):
        (tmp_path / f"only/{name}.obj").write_text(text)
    with pytest.raises(CmahError, match=r"none of the 3 meshes can be used: no faces \(2 of 3\); see "):
        prepare(tmp_path / "only", tmp_path / "out", jobs=1, **SMALL)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *(("views", value) for value in (0, "3", 2.5, True)),
        *(("jobs", value) for value in (0, "2", 1.5)),
        *(("elevations", value) for value in ((95.0,), 20, "20", ("20",), ())),
        *(("split_fractions", value) for value in ((1, 1, 1), 1, ("1", 0, 0))),
        *(("jitter", value) for value in (-1, "1", float("nan"))),
        *(("prefix", value) for value in (3, 0, "a b")),
        ("up", "x"),
        ("up", 3),
        ("points", True),
        ("seed", -1),
        ("image_size", "24"),
        ("time_limit", "60"),
    ],
)
def test_wrong_parameters(meshes: Path, tmp_path: Path, name: str, wrong: Any) -> None:
    with pytest.raises(CmahError, match=f"^{name.replace('_', '.')} "):
        prepare(meshes, tmp_path / "out", **{name: wrong})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("paths", [(None, "out"), (3, "out"), ("meshes", None), ("meshes", 3)])
def test_what_is_no_path_is_refused(paths: tuple[Any, Any]) -> None:
    with pytest.raises(CmahError, match=r"the path is (None|3), expected a text or a path"):
        prepare(*paths)


@pytest.mark.slow
def test_hostile_folder(shared: Path, tmp_path: Path) -> None:
    dataset = prepare(shared / "data/hostile/meshes", tmp_path / "out", jobs=2, **SMALL)
    assert {shape.category for shape in dataset.shapes} == {"", "renderer_crash_1", "renderer_crash_2"}
    assert len(dataset.shapes) == 6
    assert len(read_skipped(tmp_path / "out")) == 9
    assert dataset.check_files() == []


def test_what_is_not_given_is_as_before_and_each_folder_has_its_up_axis(tmp_path):
    def tower(path, up):
        path.parent.mkdir(parents=True)
        box = Model()
        size = (1, 4, 1) if up == "y" else (1, 1, 4)
        box.box(centre=(0, 0, 0), size=size, colour=(1, 0, 0))
        write_off(box, path)

    tower(tmp_path / "a" / "upright.off", "y")
    tower(tmp_path / "b" / "lying.off", "z")
    out = tmp_path / "out"
    prepare(tmp_path / "a", out, views=2, image_size=24, points=50, jobs=1)
    dataset = prepare(tmp_path / "b", out, up="z", jobs=1)

    def heights(dataset):
        clouds = [dataset.load_points(shape)[:, :3].astype(float) for shape in dataset.shapes]
        return [round(float(np.ptp(cloud, axis=0)[1] / np.ptp(cloud, axis=0)[0]), 1) for cloud in clouds]

    assert [shape.shape_id for shape in dataset.shapes] == ["upright.off", "lying.off"]
    assert all(3 < height < 5 for height in heights(dataset))
    assert (dataset.points_per_shape, dataset.image_size, len(dataset.images)) == (50, 24, 4)
    assert [folder.get("up", "y") for folder in dataset.extra["prepared"]["folders"]] == ["y", "z"]

    tables = [(out / name).read_bytes() for name in ("dataset.json", "shapes.csv", "images.csv")]
    prepare(tmp_path / "b", out, jobs=1)  # its own axis is remembered
    assert [(out / name).read_bytes() for name in ("dataset.json", "shapes.csv", "images.csv")] == tables
    with pytest.raises(CmahError, match=r"b: was prepared with --up z, got --up y; --overwrite"):
        prepare(tmp_path / "b", out, up="y", jobs=1)

    anew = prepare(tmp_path / "a", out, points=60, overwrite=True, jobs=1)
    assert anew.points_per_shape == 60
    assert all(3 < height < 5 for height in heights(anew))
    turned = prepare(tmp_path / "b", out, up="y", overwrite=True, jobs=1)
    upright, lying = heights(turned)
    assert 3 < upright < 5
    assert 0.5 < lying < 2
    assert turned.points_per_shape == 60


def test_the_parts_of_the_splits_are_remembered(tmp_path):
    make_shapes(tmp_path / "meshes", 6, ["mug"])
    options = {"views": 1, "image_size": 16, "points": 16, "jobs": 1}
    splits = [
        [shape.split for shape in prepare(tmp_path / "meshes", tmp_path / "out", **each, **options).shapes]
        for each in ({"split_fractions": (0.0, 0.0, 1.0)}, {}, {"split_fractions": (1.0, 0.0, 0.0)}, {})
    ]
    assert splits == [["test"] * 6, ["test"] * 6, ["train"] * 6, ["train"] * 6]
