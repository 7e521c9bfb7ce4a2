"""Files written whole or not at all, and what is no file."""

import errno
import os

import pytest

from cmah.errors import CmahError
from cmah.files import atomic_path, atomic_paths, locked, require_replaceable, require_writable, write_json
from cmah.reading import read_json


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    write_json(tmp_path / "a.json", 1)

    def fill() -> None:
        with atomic_path(tmp_path / "a.json") as temporary:
            temporary.write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(CmahError, match=r"a\.json: cannot be written \(No space left on device\)"):
        fill()
    assert read_json(tmp_path / "a.json") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("target", ["", "folder", "file/a.json", "x" * 300])
def test_places_that_cannot_be_written(tmp_path, target):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(CmahError, match="cannot be written"):
        write_json(tmp_path / target, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_inputs_foreign_files_links_and_pipes_are_not_written_over(tmp_path):
    given, foreign, own = tmp_path / "given", tmp_path / "foreign", tmp_path / "own"
    given.write_bytes(b"MARK")
    foreign.write_bytes(b"something else")
    own.write_bytes(b"MARK of old")
    require_replaceable(own, b"MARK", [given, tmp_path / "nothing"])
    require_replaceable(tmp_path / "new", b"MARK", [given])
    with pytest.raises(CmahError, match="is read here"):
        require_replaceable(given, b"MARK", [tmp_path / "." / "given"])
    with pytest.raises(CmahError, match="exists and is not such a file"):
        require_replaceable(foreign, b"MARK")
    link = tmp_path / "link"
    link.symlink_to(own)
    with atomic_path(link) as temporary:
        temporary.write_bytes(b"new")
    assert link.is_symlink()
    assert own.read_bytes() == b"new"
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(CmahError, match="loop: "):
        write_json(loop, 1)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CmahError, match="a device or a pipe"), atomic_path(tmp_path / "pipe"):
        pass


def test_files_that_belong_together_are_replaced_together(tmp_path):
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    for path in paths:
        write_json(path, "old")

    def fail() -> None:
        with atomic_paths(paths) as temporary:
            write_json(temporary[0], "new")
            (tmp_path / "b.json").unlink()
            with atomic_path(temporary[1]):
                raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(CmahError, match=r"/b\.json: cannot be written \(No space left on device\)"):
        fail()
    assert read_json(paths[0]) == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("target", ["folder", "file/a.json", "x" * 300, "link/a.json"])
def test_what_cannot_be_written_is_refused_before_the_work(tmp_path, target):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("nowhere")
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(CmahError, match="cannot be written"):
        require_writable(tmp_path / target)
    require_writable(tmp_path / "new" / "folder" / "a.json")
    assert sorted(os.listdir(tmp_path)) == before


def test_a_long_name_is_written(tmp_path):
    write_json(tmp_path / ("x" * 250 + ".json"), 1)
    assert [len(name) for name in os.listdir(tmp_path)] == [255]


def test_what_a_killed_process_left_is_removed_after_an_hour(tmp_path):
    dead, alive, young, foreign = (
        tmp_path / name
        for name in (".a.4194999.1.tmp.json", f".a.{os.getpid()}.1.tmp.json", ".a.4194998.1.tmp", ".a.x.tmp")
    )
    for path in (dead, alive, young, foreign):
        path.write_text("half")
        os.utime(path, (0, 0) if path != young else None)
    write_json(tmp_path / "b.json", 1)
    assert sorted(os.listdir(tmp_path)) == sorted([alive.name, young.name, foreign.name, "b.json"])


def test_files_and_folders_have_ordinary_permissions(tmp_path):
    old = os.umask(0o022)
    try:
        write_json(tmp_path / "new" / "a.json", 1)
    finally:
        os.umask(old)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "new" / "a.json").stat().st_mode & 0o777 == 0o644


def test_a_folder_that_was_made_for_nothing_is_removed(tmp_path):
    (tmp_path / "mine").mkdir()
    for name in ("mine/a/b", "mine"):
        with pytest.raises(ZeroDivisionError), locked(tmp_path / name):
            _ = 1 / 0
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert list((tmp_path / "mine").iterdir()) == []

    def fail() -> None:
        with locked(tmp_path / "kept"):
            (tmp_path / "kept/a").touch()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (tmp_path / "kept/a").exists()
