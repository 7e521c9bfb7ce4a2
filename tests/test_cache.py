"""The cache folder, and digests of files that are remembered in it."""

import hashlib
import os
import time

import pytest

from cmah.cache import NOWHERE, cache_folder, file_digest, tell_not_kept
from cmah.files import sha256


def test_the_cache_folder(monkeypatch, cache):
    assert cache_folder() == cache
    monkeypatch.delenv("CMAH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert str(cache_folder()) == "/somewhere/cmah"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", "/home/someone")
    assert str(cache_folder()) == "/home/someone/.cache/cmah"


@pytest.fixture
def old_file(tmp_path):
    """A file that was last changed an hour ago."""
    path = tmp_path / "weights.bin"
    path.write_bytes(b"weights")
    age(path)
    return path


def age(path):
    """Put a file's modification time an hour back, and let its inode's own time stand for the past too."""
    hour_ago = time.time() - 3600
    os.utime(path, (hour_ago, hour_ago))


@pytest.fixture
def settled(monkeypatch):
    """Digests are remembered at once: no test waits until a change of its file has settled."""
    monkeypatch.setattr("cmah.cache.SETTLED", -1.0)


@pytest.fixture
def hashed(monkeypatch):
    """The files that were read to be hashed."""
    paths = []

    def counting(path):
        paths.append(str(path))
        return sha256(path)

    monkeypatch.setattr("cmah.cache.sha256", counting)
    return paths


def test_a_digest_is_computed_once(old_file, settled, hashed):
    expected = hashlib.sha256(b"weights").hexdigest()
    assert [file_digest(old_file) for _ in range(3)] == [expected] * 3
    assert len(hashed) == 1
    assert file_digest(old_file, verify=True) == expected
    assert len(hashed) == 2


@pytest.mark.parametrize("change", ["content", "inode", "time"])
def test_a_changed_file_is_hashed_anew(old_file, settled, hashed, change):
    file_digest(old_file)
    state = os.stat(old_file)
    if change == "content":  # of the same size, with the time put back
        old_file.write_bytes(b"WEIGHTS")
        os.utime(old_file, ns=(state.st_atime_ns, state.st_mtime_ns))
    elif change == "inode":
        other = old_file.with_name("other")
        other.write_bytes(b"WEIGHTS")
        os.utime(other, ns=(state.st_atime_ns, state.st_mtime_ns))
        os.replace(other, old_file)
    else:
        os.utime(old_file)
    assert file_digest(old_file) == hashlib.sha256(old_file.read_bytes()).hexdigest()
    assert len(hashed) == 2


def test_a_file_that_was_just_written_is_not_remembered(tmp_path, hashed):
    path = tmp_path / "fresh.bin"
    path.write_bytes(b"1")
    file_digest(path)
    file_digest(path)
    assert len(hashed) == 2


def test_a_damaged_record_costs_time_only(old_file, settled, hashed, cache):
    value = file_digest(old_file)
    record = next(path for path in (cache / "digests").iterdir() if str(old_file) in path.read_text())
    for text in ("{", '{"format": "cmah-digest", "version": 1}', "[1]"):
        record.write_text(text)
        assert file_digest(old_file) == value
    assert len(hashed) == 4


def test_a_cache_that_cannot_be_written_costs_time_only(old_file, settled, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("CMAH_CACHE", str(tmp_path / "file"))
    assert file_digest(old_file) == hashlib.sha256(b"weights").hexdigest()


def test_without_a_home_nothing_is_kept(monkeypatch, capsys, old_file, settled):
    def homeless(self):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("cmah.cache._told", set())
    monkeypatch.setattr("pathlib.Path.expanduser", homeless)
    for name in ("CMAH_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert cache_folder() == NOWHERE
    assert file_digest(old_file) == hashlib.sha256(b"weights").hexdigest()
    tell_not_kept("/dev/null/cmah/features: cannot be written (Not a directory)")
    assert capsys.readouterr().err.startswith("no home folder is known; what is computed is not kept")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_pipe_or_folder_in_place_of_a_record_costs_time_only(
    make, old_file, settled, tmp_path, monkeypatch
):
    monkeypatch.setenv("CMAH_CACHE", str(tmp_path / "cache"))
    value = file_digest(old_file)
    (record,) = (tmp_path / "cache/digests").iterdir()
    record.unlink()
    make(record)
    assert file_digest(old_file) == value
