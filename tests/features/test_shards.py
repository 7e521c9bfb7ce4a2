"""Shards: whole or not at all, computed once, resumed where they were stopped, and never used if damaged."""

import errno
import os

import numpy as np
import pytest

from cmah.errors import CmahError
from cmah.features import shards as module
from cmah.features.shards import Shards


def squares(count, broken=(), log=None, stop=None, width=2):
    """Computes rows of item numbers and their squares, three items at a time."""

    def compute(begin):
        for first in range(begin, count, 3):
            if first == stop:
                raise KeyboardInterrupt
            end = min(first + 3, count)
            if log is not None:
                log.extend(range(first, end))
            rows = [[i, i * i][:width] for i in range(first, end) if i not in broken]
            yield (
                np.array(rows, np.float32).reshape(-1, width),
                [(i, f"broken {i}") for i in range(first, end) if i in broken],
                end,
            )

    return compute


@pytest.fixture
def wanted():
    return np.array([[i, i * i] for i in range(10) if i != 4], np.float32)


@pytest.mark.parametrize("seconds", [0.0, 1000.0])
@pytest.mark.parametrize("stop", [3, 6, 9])
def test_a_stopped_shard_goes_on(tmp_path, wanted, monkeypatch, stop, seconds):
    monkeypatch.setattr(module, "SECONDS", seconds)
    shards, log = Shards(tmp_path / "cut", 2), []
    with pytest.raises(KeyboardInterrupt):
        shards.get("a", 10, squares(10, [4], log, stop))
    assert [path.name for path in shards.folder.iterdir()] == ["a.part.npz"]
    shard = shards.get("a", 10, squares(10, [4], log))
    assert log == list(range(10))
    assert np.array_equal(shard.load(), wanted)
    assert shard.left_out == [(4, "broken 4")]
    Shards(tmp_path / "whole", 2).get("a", 10, squares(10, [4]))
    for name in ("a.npy", "a.json"):
        assert (shards.folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert sorted(path.name for path in shards.folder.iterdir()) == ["a.json", "a.npy"]


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path):
    path.write_bytes(path.read_bytes()[:-5])


def empty(path):
    path.write_bytes(b"")


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [flip, cut, empty])
@pytest.mark.parametrize("name", ["a.npy", "a.json", "a.part.npz"])
def test_what_is_damaged_is_computed_again(tmp_path, wanted, name, damage):
    shards = Shards(tmp_path, 2)
    if "part" in name:
        with pytest.raises(KeyboardInterrupt):
            shards.get("a", 10, squares(10, [4], stop=6))
    else:
        shards.get("a", 10, squares(10, [4]))
    damage(tmp_path / name)
    log = []
    shard = shards.get("a", 10, squares(10, [4], log))
    # a flipped byte of the record may lie in a reason, which nothing depends on
    assert log == list(range(10)) or (name, damage) == ("a.json", flip)
    assert np.array_equal(shard.load(), wanted)


@pytest.mark.parametrize("thing", [pipe, folder])
@pytest.mark.parametrize("name", ["a.npy", "a.json", "a.part.npz"])
def test_what_is_no_file_is_not_waited_for(tmp_path, wanted, name, thing):
    faults = []
    shards = Shards(tmp_path, 2, unwritable=faults.append)
    with pytest.raises(KeyboardInterrupt):
        shards.get("a", 10, squares(10, [4], stop=6))
    if "part" not in name:
        shards.get("a", 10, squares(10, [4]))
    thing(tmp_path / name)
    shard = shards.get("a", 10, squares(10, [4]))
    assert np.array_equal(shard.load(), wanted)
    assert bool(faults) == ("part" not in name)


def test_parts_of_another_shape_are_not_used(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        Shards(tmp_path, 2).get("a", 10, squares(10, stop=6))
    log = []
    assert Shards(tmp_path, 1).get("a", 10, squares(10, log=log, width=1)).load().shape == (10, 1)
    assert log == list(range(10))
    assert Shards(tmp_path, 2).get("a", 5, squares(5)).load().shape == (5, 2)


def test_a_full_disk_ends_the_job_or_is_borne(tmp_path, wanted, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("cmah.files.os.fsync", full)
    monkeypatch.setattr(module, "SECONDS", 0.0)
    with pytest.raises(CmahError, match=r"a\.part\.npz: cannot be written \(No space left on device\)"):
        Shards(tmp_path, 2).get("a", 10, squares(10, [4]))
    assert list(tmp_path.iterdir()) == []
    faults = []
    shard = Shards(tmp_path, 2, unwritable=faults.append).get("a", 10, squares(10, [4]))
    assert np.array_equal(shard.load(), wanted)
    assert len(faults) == 4
    assert list(tmp_path.iterdir()) == []
