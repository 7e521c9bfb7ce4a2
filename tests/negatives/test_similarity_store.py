"""The store of similarities against the whole matrix; killed, damaged and shared stores."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from slow_similarities import fast, some_views

from cmah.errors import CmahError
from cmah.negatives import similarities, similarity_store
from cmah.negatives.similarities import i2i, i2l2
from cmah.negatives.similarity_store import SimilarityStore

ROUNDING = 2.0**-11  # of float16, relative


BLOCKS = (np.array([0, 7, 3, 9, 12]), np.array([5]), np.array([1, 2, 11, 10]), np.array([4, 8]))  # 6 has none


def build(folder, measure="i2i", views=None, landmarks=None, blocks=BLOCKS):
    given, marks = some_views()
    landmarks = [marks + number for number in range(4)] if landmarks is None else landmarks
    return SimilarityStore.build(
        folder, measure, blocks, views or (lambda p: given[p]), landmarks if "l2" in measure else None
    )


@pytest.mark.parametrize("measure", similarities.MEASURES)
def test_the_store_is_the_matrix_rounded(measure, tmp_path, small_tiles):
    store, (views, landmarks) = build(tmp_path, measure), some_views()
    expected = np.full((13, 13), 0.25)
    np.fill_diagonal(expected, 1)
    for number, block in enumerate(BLOCKS):
        expected[np.ix_(block, block)] = fast(measure, views[block], landmarks + number)
    for index in (np.arange(13), np.array([12, 6, 3, 5, 1, 4]), np.array([6]), np.array([9, 2, 7])):
        got = store.batch(index, 0.25)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, expected[np.ix_(index, index)], rtol=ROUNDING)
        assert np.array_equal(got, got.T)
    sizes = [len(np.load(path)) for path in sorted(tmp_path.glob("*.npy"))]
    assert sizes == [10, 6, 1]
    assert not list(tmp_path.glob(".*"))


def test_a_shape_that_is_there_twice_is_its_own_twin(tmp_path):
    got = build(tmp_path).batch(np.array([3, 0, 3, 6, 6]), 0.1)
    assert got[0, 2] == got[3, 4] == 1
    assert got[0, 1] == got[2, 1] < 1


def test_what_is_there_is_not_computed_again(tmp_path):
    before = build(tmp_path).batch(np.arange(13), 0.25)

    def never(_):
        raise AssertionError("computed again")

    assert np.array_equal(build(tmp_path, views=never).batch(np.arange(13), 0.25), before)


@pytest.mark.parametrize("damage", ["cut", "gone", "foreign", "empty", "zeroed", "unsigned"])
def test_a_damaged_block_is_computed_again_and_only_that(damage, tmp_path):
    before = build(tmp_path).batch(np.arange(13), 0.25)
    path = tmp_path / "block_00002.npy"
    if damage == "gone":
        path.unlink()
    elif damage == "foreign":
        np.save(path, np.zeros(6, np.float32))
    elif damage == "zeroed":  # of the right size and type
        np.save(path, np.zeros_like(np.load(path)))
    elif damage == "unsigned":
        path.with_suffix(".crc").unlink()
    else:
        path.write_bytes(path.read_bytes()[: -3 if damage == "cut" else 0])
    asked, views = set(), some_views()[0]

    def watched(positions):
        asked.update(positions.tolist())
        return views[positions]

    assert np.array_equal(build(tmp_path, views=watched).batch(np.arange(13), 0.25), before)
    assert asked == set(BLOCKS[2].tolist())


def test_a_folder_of_something_else_is_filled_anew(tmp_path):
    build(tmp_path, blocks=BLOCKS[:1])
    other = build(tmp_path, blocks=(np.arange(5),))  # as many pairs
    assert other.batch(np.arange(2), 0.25)[0, 1] != 0.25
    build(tmp_path, "i2l2", blocks=(np.arange(5),))
    header = json.loads((tmp_path / "similarities.json").read_text())
    assert header["measure"] == "i2l2"
    expected = i2l2(some_views()[0][:5], some_views()[1])
    np.testing.assert_allclose(
        np.load(tmp_path / "block_00000.npy"), expected[np.triu_indices(5, 1)], rtol=1e-3
    )


def test_a_killed_build_goes_on_at_its_block(tmp_path):
    """Killed with a signal that leaves no time to tidy up, in the middle of the second file."""
    code = f"""
import os, signal, sys
sys.path[:0] = {sys.path!r}
import numpy as np
from pathlib import Path
from cmah.negatives.similarity_store import SimilarityStore
rng = np.random.default_rng(0)
all_views = rng.normal(size=(40, 2, 8)).astype(np.float32)
def views(positions):
    if positions.max() >= 30 and len(positions) > 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return all_views[positions]
SimilarityStore.build(Path({str(tmp_path)!r}), "i2i", [np.arange(20), np.arange(20, 40)], views)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    assert {path.name for path in tmp_path.glob("block*.npy")} == {"block_00000.npy"}
    assert list(tmp_path.glob(".*.tmp.npy"))
    written = (tmp_path / "block_00000.npy").stat().st_mtime_ns
    given = np.random.default_rng(0).normal(size=(40, 2, 8)).astype(np.float32)
    blocks = [np.arange(20), np.arange(20, 40)]
    store = SimilarityStore.build(tmp_path, "i2i", blocks, lambda p: given[p])
    assert (tmp_path / "block_00000.npy").stat().st_mtime_ns == written
    assert not list(tmp_path.glob(".*"))
    own = np.arange(25, 30)
    np.testing.assert_allclose(store.batch(own, 0.25), i2i(given[own]), rtol=ROUNDING)


@pytest.mark.slow
def test_two_processes_build_once(tmp_path):
    """The second waits for the first, and computes nothing."""
    code = f"""
import sys, time
sys.path[:0] = {sys.path!r}
import numpy as np
from pathlib import Path
from cmah.negatives.similarity_store import SimilarityStore
def views(positions):
    Path({str(tmp_path / "started")!r}).touch()
    time.sleep(0.5)
    return np.ones((len(positions), 2, 4), np.float32)
SimilarityStore.build(Path({str(tmp_path / "store")!r}), "i2i", [np.arange(3)], views)
"""
    first = subprocess.Popen([sys.executable, "-c", code])
    while not (tmp_path / "started").exists():
        assert first.poll() is None
        time.sleep(0.01)
    calls = []

    def views(positions):
        calls.append(positions)
        return np.ones((len(positions), 2, 4), np.float32)

    SimilarityStore.build(tmp_path / "store", "i2i", [np.arange(3)], views)
    assert first.wait() == 0
    assert not calls


def test_faults_are_one_line(tmp_path):
    store = build(tmp_path / "store")
    (tmp_path / "store" / "block_00000.npy").write_bytes(b"no array")
    fresh = SimilarityStore(store.folder, BLOCKS)
    with pytest.raises(CmahError, match=r"block_00000.npy: not readable .*; remove .* and start again"):
        fresh.batch(np.array([0, 3]), 0.25)


def test_few_files_stay_open(tmp_path, monkeypatch):
    monkeypatch.setattr(similarity_store, "OPEN_FILES", 2)
    store = build(tmp_path)
    expected = store.batch(np.arange(13), 0.25)
    assert len(store._open) == 2
    assert np.array_equal(store.batch(np.arange(13), 0.25), expected)


@pytest.mark.parametrize("name", ["similarities.json", "block_00002.npy", "block_00002.crc"])
def test_a_pipe_in_the_folder_is_neither_read_nor_written(tmp_path, name, capsys, monkeypatch):
    wanted = build(tmp_path / "whole").batch(np.arange(13), 0.25)
    folder = tmp_path / "kept"
    build(folder)
    (folder / name).unlink()
    os.mkfifo(folder / name)
    monkeypatch.setattr("cmah.cache._told", set())
    assert np.array_equal(build(folder).batch(np.arange(13), 0.25), wanted)
    assert f"{name}: a device or a pipe" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_done_without(tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("cmah.cache._told", set())
    store = build(tmp_path / "file/kept")
    assert np.array_equal(
        store.batch(np.arange(13), 0.25), build(tmp_path / "whole").batch(np.arange(13), 0.25)
    )
    assert "CMAH_CACHE" in capsys.readouterr().err
    temporary = store.folder
    del store
    assert not temporary.exists()
