"""A comparison as a folder: the rule of its splits stands on the page, and all of it is written or nothing."""

import errno
import json
import os

import numpy as np
import pytest

from cmah.codes import BinaryCodes
from cmah.errors import CmahError
from cmah.evaluation import Protocol
from cmah.evaluation.comparing import evaluate_files
from cmah.report.comparison_page import refuse_to_replace, write_comparison


@pytest.fixture
def result(tmp_path):
    """Six images and six shapes, of which four each are of the split test."""
    rng = np.random.default_rng(0)
    files = [tmp_path / f"{modality}.npz" for modality in ("image", "shape")]
    for file in files:
        known = {"categories": ["a", "b"] * 3, "splits": ["test"] * 4 + ["train"] * 2, "modality": file.stem}
        known["ids"] = [f"{split}-{i}" for i, split in enumerate(known["splits"])]
        BinaryCodes.from_bits(rng.integers(0, 2, (6, 8)), **known).save(file)
    return evaluate_files(*files, protocol=Protocol(bootstrap=0))


@pytest.mark.slow
def test_the_page_names_what_is_measured_and_shows_nothing_else(result, tmp_path):
    page = write_comparison(tmp_path / "page", result).read_text()
    line = (
        "measured: 4 of 6 queries, 4 of 6 items (split test); 2 queries and 2 items of other splits left out"
    )
    assert line in page
    assert "4 images, 4 shapes" in page
    assert "test-0" in page
    assert "train-" not in page
    record = json.loads((tmp_path / "page/report.json").read_text())
    assert record == result.record()
    assert record["splits"]["measured"] == ["test"]


@pytest.mark.slow
@pytest.mark.parametrize("there", [False, True])
def test_a_full_disk_leaves_what_there_was(result, tmp_path, monkeypatch, there):
    folder = tmp_path / "deep/page"
    if there:
        write_comparison(folder, result)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    folders = {path for path in tmp_path.rglob("*") if path.is_dir()}
    synced = os.fsync

    def fsync(handle):
        if "index" in os.readlink(f"/proc/self/fd/{handle}"):
            raise OSError(errno.ENOSPC, "No space left on device")
        synced(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(CmahError) as caught:
        write_comparison(folder, result)
    assert str(caught.value) == f"{folder / 'index.html'}: cannot be written (No space left on device)"
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert {path for path in tmp_path.rglob("*") if path.is_dir()} == folders


def test_files_in_place_of_folders_are_refused(tmp_path):
    (tmp_path / "page").mkdir()
    refuse_to_replace(tmp_path / "page")
    (tmp_path / "page/figures").write_text("mine")
    for folder, named in ((tmp_path / "page", "figures"), (tmp_path / "page/figures", "figures")):
        with pytest.raises(CmahError, match=f"{named}: is a file, expected a folder to write to"):
            refuse_to_replace(folder)
