"""cmah info --check: every file of a dataset folder is opened."""

import json
import shutil

import pytest


@pytest.fixture
def damaged(toy, tmp_path):
    """A copy of the toy dataset with two broken files."""
    shutil.copytree(toy, tmp_path / "data")
    names = sorted(path for path in (tmp_path / "data").rglob("*") if path.suffix in {".npy", ".png", ".jpg"})
    points = next(path for path in names if path.suffix == ".npy")
    picture = next(path for path in names if path.suffix != ".npy")
    points.write_bytes(b"no array")
    picture.write_bytes(b"no picture")
    return tmp_path / "data"


def test_a_sound_dataset(call, toy):
    status, out, err = call("info", toy, "--check")
    assert (status, out.splitlines()[-1], err) == (0, "every file can be read", "")
    status, out, _ = call("info", toy, "--check", "--json")
    assert (status, json.loads(out)["faults"]) == (0, [])
    assert "faults" not in json.loads(call("info", toy, "--json")[1])


def test_faults_are_listed_by_file_and_row(call, damaged):
    assert call("info", damaged)[0] == 0
    status, out, err = call("info", damaged, "--check")
    lines = err.splitlines()
    assert (status, len(lines), out.startswith("what")) == (2, 3, True)
    assert lines[0].startswith("shapes.csv: row of ")
    assert lines[1].startswith("images.csv: row of ")
    assert lines[2] == f"Error: {lines[0]} (and 1 more faults)"
    status, out, _ = call("info", damaged, "--check", "--json")
    assert (status, json.loads(out)["faults"]) == (2, lines[:2])


def test_only_datasets_are_checked(call, toy_run):
    status, _, err = call("info", toy_run, "--check")
    assert (status, "--check needs a dataset folder" in err) == (2, True)
