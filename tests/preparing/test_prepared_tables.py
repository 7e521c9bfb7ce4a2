"""Whatever moment a process is killed at, the same call again gives what one that was not killed gives."""

import os
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from quick_meshes import SETTINGS, QuickWorkers, as_before_folders_were_recorded, put, tree

from cmah.data.dataset import Dataset
from cmah.data.table_rows import Image
from cmah.errors import CmahError
from cmah.preparing.prepare_log import LOG
from cmah.preparing.preparing import prepare

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}


def killed_at(moment: int, call: Callable[[], object]) -> bool:
    """Run in a process that is gone before it changes the disk for the nth time; whether it was."""
    pid = os.fork()
    if pid == 0:
        count = 0

        def watch(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal count
            writes = (
                event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
            )
            if event in CHANGES or writes:
                count += 1
                if count > moment:
                    os._exit(9)

        sys.addaudithook(watch)
        try:
            call()
        finally:
            os._exit(0 if sys.exc_info()[0] is None else 1)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, 9)
    return status == 9


def without_log(out: Path) -> dict[str, bytes]:
    return {name: data for name, data in tree(out).items() if name != LOG and ".tmp." not in name}


def plain(tmp_path: Path) -> Callable[[], object]:
    a = put(tmp_path / "a", chair_one="1", chair_two="broken", lamp_one="333")
    return lambda: prepare(a, tmp_path / "out", **SETTINGS)


def adding(tmp_path: Path) -> Callable[[], object]:
    """To a dataset with a photo; one of its meshes is gone, another broken, and the shapes change their splits."""
    plain(tmp_path)()
    dataset = Dataset.read(tmp_path / "out")
    dataset.images.append(
        Image("p", "chair.one.obj", "chair", dataset.shapes[0].split, "photos/1.jpg", "photo")
    )
    dataset.write()
    b = put(tmp_path / "b", mug_one="1", mug_two="22", mug_three="333")
    prepare(b, tmp_path / "out", **SETTINGS, prefix="b")
    (b / "mug/one.obj").unlink()
    put(b, mug_two="broken", mug_new="x")
    fractions = (0.0, 0.0, 1.0)
    return lambda: [
        prepare(tmp_path / name, tmp_path / "out", **SETTINGS, split_fractions=fractions) for name in "ba"
    ]


def pruning(tmp_path: Path) -> Callable[[], object]:
    adding(tmp_path)
    (tmp_path / "a/chair/one.obj").unlink()
    return lambda: [prepare(tmp_path / name, tmp_path / "out", **SETTINGS, prune=True) for name in "ba"]


def pruning_all(tmp_path: Path) -> Callable[[], object]:
    adding(tmp_path)
    shutil.rmtree(tmp_path / "b")

    def call() -> None:
        with suppress(CmahError):  # that it knows no such folder, when all has been done
            prepare(tmp_path / "b", tmp_path / "out", **SETTINGS, prune=True)

    return call


def clouds(tmp_path: Path) -> Callable[[], object]:
    """A mesh becomes a cloud, a cloud a mesh, a cloud is broken, one is gone, one is new."""
    a = put(
        tmp_path / "a",
        chair_one="1",
        chair_two="cloud",
        chair_three="cloud 3",
        chair_four="cloud",
        lamp_one="2",
    )
    prepare(a, tmp_path / "out", **SETTINGS)
    (a / "chair/four.obj").unlink()
    put(a, chair_one="cloud 1", chair_two="22", chair_three="broken", mug_new="cloud")
    return lambda: prepare(a, tmp_path / "out", **SETTINGS, prune=True)


def clouds_anew(tmp_path: Path) -> Callable[[], object]:
    """With other parameters, and a mesh that has become a cloud."""
    clouds(tmp_path)
    settings = {**SETTINGS, "views": 3, "overwrite": True, "prune": True}
    return lambda: prepare(tmp_path / "a", tmp_path / "out", **settings)


def moved(tmp_path: Path) -> Callable[[], object]:
    adding(tmp_path)
    (tmp_path / "b").rename(tmp_path / "c")
    return lambda: prepare(tmp_path / "c", tmp_path / "out", **SETTINGS)


def of_before(tmp_path: Path) -> Callable[[], object]:
    """A dataset that records no folders, of a mesh that is gone."""
    plain(tmp_path)()
    as_before_folders_were_recorded(tmp_path / "out", tmp_path / "a")
    (tmp_path / "a/lamp/one.obj").unlink()
    return lambda: prepare(tmp_path / "a", tmp_path / "out", **SETTINGS)


def of_before_anew(tmp_path: Path) -> Callable[[], object]:
    of_before(tmp_path)
    settings = {**SETTINGS, "image_size": 9, "overwrite": True, "prune": True}
    return lambda: prepare(tmp_path / "a", tmp_path / "out", **settings)


def anew(tmp_path: Path) -> Callable[[], object]:
    """With other parameters, and a mesh that is gone."""
    adding(tmp_path)
    settings = {**SETTINGS, "views": 3, "overwrite": True, "prune": True}
    return lambda: prepare(tmp_path / "a", tmp_path / "out", **settings)


@pytest.mark.slow
@pytest.mark.parametrize(
    "scene",
    [plain, adding, pruning, pruning_all, clouds, clouds_anew, moved, anew, of_before, of_before_anew],
)
def test_killed_at_any_moment(
    scene: Callable[[Path], Callable[[], object]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cmah.preparing.preparation.run_isolated", QuickWorkers())
    call = scene(tmp_path)
    out, start, expected = tmp_path / "out", tmp_path / "start", tmp_path / "expected"
    out.mkdir(exist_ok=True)
    shutil.copytree(out, start)
    call()
    shutil.copytree(out, expected)
    moment = 0
    while True:
        shutil.rmtree(out)
        shutil.copytree(start, out)
        killed = killed_at(moment, call)
        call()
        assert without_log(out) == without_log(expected), f"killed before change {moment}"
        assert Dataset.read(out).shapes
        assert not (out / ".partial").exists()
        if not killed:
            break
        moment += 1
    assert moment > 10
