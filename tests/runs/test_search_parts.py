"""A stopped search of many files goes on from what it has encoded, to the same hits."""

import json
import os
import shutil

import numpy as np
import PIL.Image
import pytest

from cmah.cache import cache_folder
from cmah.cli.main import run
from cmah.codes import BinaryCodes
from cmah.features import shards
from cmah.files import locked
from cmah.runs import file_batches, search_parts
from cmah.runs.encoder import Encoder
from cmah.runs.search_parts import SearchParts
from cmah.search import HammingIndex

MESH = "v 0 0 0\nv {} 0 0\nv 0 1 0\nv 0 0 1\nf 1 2 3\nf 1 2 4\nf 1 3 4\nf 2 3 4\n"


@pytest.fixture
def folder(toy_run, tmp_path, monkeypatch):
    """Ten pictures, of which one is none, two meshes and two clouds, as in a search of thousands of files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CMAH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("cmah.cache._told", set())
    monkeypatch.setattr(shards, "SHARD", 8)
    monkeypatch.setattr(file_batches, "BATCH", 3)
    monkeypatch.setattr(file_batches, "FEW", 10)
    random = np.random.default_rng(0)
    (tmp_path / "f").mkdir()
    for i in range(10):
        picture = PIL.Image.fromarray(random.integers(0, 256, (40, 50, 3)).astype(np.uint8))
        picture.save(tmp_path / f"f/{'zyxwvutsrq'[i]}.png")
    (tmp_path / "f/x.png").write_bytes(b"no picture")
    for i in range(2):
        (tmp_path / f"f/mesh{i}.obj").write_text(MESH.format(i + 1))
        np.save(tmp_path / f"cloud{i}.npy", random.standard_normal((50, 3)))
    with open(tmp_path / "f/mesh0.obj", "a") as file:
        file.write("mtllib lost.mtl\n")
    codes = Encoder.load(toy_run).encode_points(list(random.standard_normal((9, 50, 3))))
    index = HammingIndex(codes.bits)
    index.add(codes, ids=list("abcdefghi"))
    index.save("i.cmah")
    return tmp_path


@pytest.fixture
def search(toy_run, capsys):
    """Call `cmah search`; gives (exit status, hits, lines on standard error)."""

    def call(*more):
        arguments = [
            "search",
            "i.cmah",
            "--run",
            str(toy_run),
            "cloud1.npy",
            "f",
            "cloud0.npy",
            "--workers",
            "0",
        ]
        with pytest.raises(SystemExit) as end:
            run([*arguments, *more, "--json"])
        out, err = capsys.readouterr()
        return end.value.code or 0, out, err.splitlines()

    return call


@pytest.fixture
def stop_after(monkeypatch):
    """Stop at the n-th batch; returns the sizes of those that were encoded."""
    original, sizes = Encoder.outputs, []

    def set_to(count):
        sizes.clear()

        def outputs(self, inputs, batches):
            (batch,) = batches
            if len(sizes) == count:
                raise KeyboardInterrupt
            sizes.append(len(batch if inputs == "image" else batch["points"]))
            return original(self, inputs, [batch])

        monkeypatch.setattr(Encoder, "outputs", outputs)
        return sizes

    return set_to


def parts():
    return sorted(path.name for path in (cache_folder() / "searches").rglob("*") if path.is_file())


@pytest.mark.parametrize("stop", [1, 2, 3, 5])
def test_a_stopped_search_goes_on_to_the_same_hits(folder, search, stop_after, stop):
    status, whole, _ = search()
    assert (status, parts(), len(json.loads(whole)["queries"])) == (0, [], 13)
    assert json.loads(whole)["remarks"] == [
        {"file": "f/mesh0.obj", "remark": "material library not found (lost.mtl)"}
    ]
    before = stop_after(stop)
    status, out, err = search()
    done = sum(before)
    assert (status, out) == (130, "")
    assert err[-1].startswith("stopped; cmah search i.cmah --run")
    assert err[-1].endswith("goes on from here")
    after = stop_after(None)
    assert search()[:2] == (0, whole)
    assert sum(after) == 13 - done
    assert parts() == []


def test_the_codes_are_those_of_each_file_alone(folder, toy_run):
    encoder = Encoder.load(toy_run)
    codes, skipped = encoder.encode_files(["cloud1.npy", "f", "cloud0.npy"])
    names = [str(path) for path in sorted((folder / "f").iterdir()) if path.name != "x.png"]
    alone = [
        encoder.encode_files(name)[0].packed
        for name in [folder / "cloud1.npy", *names, folder / "cloud0.npy"]
    ]
    assert np.array_equal(codes.packed, np.concatenate(alone))
    assert [name for name, _ in skipped] == ["f/x.png"]
    assert skipped.remarks == [("f/mesh0.obj", "material library not found (lost.mtl)")]
    assert isinstance(codes, BinaryCodes)


@pytest.mark.parametrize("change", ["file", "other files", "up", "material"])
def test_parts_of_something_else_are_not_used(folder, search, stop_after, change):
    stop_after(3)
    assert search()[0] == 130
    sizes = stop_after(None)
    if change == "file":
        os.utime("f/z.png", (1, 1))
    elif change == "other files":
        shutil.copy("f/z.png", "f/0.png")
    elif change == "material":
        (folder / "f/lost.mtl").write_text("newmtl m\n")
    assert search(*(["--up", "z"] if change == "up" else []))[0] == 0
    assert sum(sizes) == 13 + (change == "other files")
    assert parts() != []  # the stopped one can still go on


def test_output_beside_the_meshes_does_not_keep_a_search_from_going_on(folder, search, stop_after):
    before = stop_after(3)
    assert search()[0] == 130
    done = sum(before)
    (folder / "f/hits.json").write_text("what the shell has redirected")
    sizes = stop_after(None)
    assert search()[0] == 0
    assert sum(sizes) == 13 - done


def test_few_files_and_codes_are_not_kept(folder, search, stop_after, monkeypatch):
    monkeypatch.setattr(file_batches, "FEW", 15)
    stop_after(3)
    status, _, err = search()
    assert (status, parts()) == (130, [])
    assert err[-1].endswith("starts anew")


def test_a_cache_that_cannot_be_written_costs_time_only(folder, search, stop_after, monkeypatch):
    whole = search()[1]
    (folder / "file").touch()
    monkeypatch.setenv("CMAH_CACHE", str(folder / "file"))
    status, out, err = search()
    assert (status, out) == (0, whole)
    assert len([line for line in err if "what is computed is not kept for the next time" in line]) == 1
    stop_after(3)
    assert search()[2][-1].endswith("starts anew")


def test_a_second_search_for_the_same_files_keeps_nothing(folder):
    with SearchParts().of([], []) as first, SearchParts().of([], []) as second:
        assert first is not None
        assert second is None
        assert (cache_folder() / "searches").is_dir()


def test_parts_of_old_searches_are_removed(folder, monkeypatch):
    monkeypatch.setattr(search_parts, "MOST", 3)
    root = cache_folder() / "searches"
    for i in range(5):
        (root / str(i)).mkdir(parents=True)
        (root / str(i) / "file-000000000.part.npz").touch()
        os.utime(root / str(i), (2e9 + i, 2e9 + i))
    os.utime(root / "4", (1e9, 1e9))
    with locked(root / "0"), SearchParts().of([], []):
        pass
    assert sorted(path.name for path in root.iterdir()) == ["0", "1", "2", "3"]
    os.utime(root / "2", (1e9, 1e9))
    with SearchParts().of([], []):
        pass
    assert sorted(path.name for path in root.iterdir()) == ["0", "1", "3"]
