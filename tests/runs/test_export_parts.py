"""A stopped export goes on to the same bytes; two writers, a full disk and a closed folder are refused whole."""

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from toy_dataset import make_toy

from cmah.data.dataset import Dataset
from cmah.errors import CmahError
from cmah.features import shards
from cmah.features.shape_batches import ShapeBatches
from cmah.files import locked
from cmah.runs import dataset_outputs
from cmah.runs.encoder import Encoder
from cmah.runs.exporting import export


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(shards, "SHARD", 8)
    monkeypatch.setattr(dataset_outputs, "BATCH", 4)


@pytest.fixture
def stop_after(monkeypatch):
    """Stop at the n-th batch; returns the sizes of the batches that were encoded."""
    original, sizes = Encoder.outputs, []

    def set_to(count):
        sizes.clear()

        def outputs(self, inputs, batches):
            batches = list(batches)
            if len(sizes) == count:
                raise KeyboardInterrupt
            first = batches[0] if isinstance(batches[0], torch.Tensor) else next(iter(batches[0].values()))
            sizes.append(len(first))
            return original(self, inputs, batches)

        monkeypatch.setattr(Encoder, "outputs", outputs)
        return sizes

    return set_to


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def data(tmp_path):
    root = make_toy(tmp_path / "data", shapes=12)
    dataset = Dataset.read(root)
    for path in (dataset.images[3].path, dataset.images[17].path, dataset.shapes[5].points):
        (root / path).write_bytes(b"")
    return root


@pytest.mark.parametrize("stop", [0, 1, 3, 6, 7])
def test_a_stopped_export_goes_on_to_the_same_bytes(toy_run, data, tmp_path, stop_after, stop):
    export(toy_run, data, tmp_path / "whole", split="all", workers=0)
    out = tmp_path / "codes"
    before = stop_after(stop)
    with pytest.raises(KeyboardInterrupt):
        export(toy_run, data, out, split="all", workers=0)
    done = sum(before)
    if not stop:
        assert not out.exists()
    after = stop_after(None)
    export(toy_run, data, out, split="all", workers=0)
    assert sum(after) == 22 + 11 - done
    assert files(out) == files(tmp_path / "whole")


@pytest.mark.parametrize("change", ["run", "image", "points", "framing", "row"])
def test_parts_of_something_else_are_not_used(toy_run, data, tmp_path, stop_after, change):
    out, run = tmp_path / "codes", shutil.copytree(toy_run, tmp_path / "run")
    stop_after(6)
    with pytest.raises(KeyboardInterrupt):
        export(run, data, out, split="all", workers=0)
    options = {}
    if change == "run":
        run = shutil.copytree(run, tmp_path / "other")
        weights = run / "model.safetensors"
        content = bytearray(weights.read_bytes())
        content[-2] ^= 1
        weights.write_bytes(content)
    elif change == "framing":
        options = {"background": "remove"}
    elif change == "row":
        table = data / "images.csv"
        header, first, *others = table.read_text().splitlines()
        table.write_text("\n".join([header, first.replace(",render,", ",picture,", 1), *others]))
        assert first != table.read_text().splitlines()[1]
    else:
        dataset = Dataset.read(data)
        os.utime(data / (dataset.images[0].path if change == "image" else dataset.shapes[0].points), (1, 1))
    sizes = stop_after(None)
    export(run, data, out, split="all", workers=0, **options)
    assert sum(sizes) == 22 + 11
    assert not (out / ".export").exists()


def test_a_second_export_into_a_folder_is_refused(toy_run, data, tmp_path):
    with locked(tmp_path / "codes"), pytest.raises(CmahError, match="codes: another process is at work in"):
        export(toy_run, data, tmp_path / "codes", split="all", workers=0)


def test_a_full_disk_leaves_the_old_files_whole(toy_run, data, tmp_path, monkeypatch):
    out = tmp_path / "codes"
    export(toy_run, data, out, split="all", workers=0)
    old = files(out)
    (data / Dataset.read(data).images[3].path).write_bytes(b"no picture")
    fsync, full = os.fsync, []

    def fail(handle):
        full.append(os.readlink(f"/proc/self/fd/{handle}"))
        if Path(full[-1]).name.startswith("..shape"):  # the temporary file of the last of the two
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(handle)

    monkeypatch.setattr("cmah.files.os.fsync", fail)
    with pytest.raises(CmahError, match=r"codes/shape\.npz: cannot be written \(No space left on device\)"):
        export(toy_run, data, out, split="all", workers=0)
    assert files(out) == old
    monkeypatch.setattr("cmah.files.os.fsync", fsync)
    export(toy_run, data, out, split="all", workers=0)
    assert files(out).keys() == old.keys()


def test_a_folder_that_cannot_be_written_is_refused_before_the_work(toy_run, data, tmp_path, monkeypatch):
    (tmp_path / "codes").mkdir()
    make = Path.mkdir

    def mkdir(self, *arguments, **options):
        if ".export" in self.parts:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        make(self, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    monkeypatch.setattr(Encoder, "outputs", None)
    with pytest.raises(CmahError, match=r"codes: cannot be written to \(Read-only file system\)"):
        export(toy_run, data, tmp_path / "codes", split="all", workers=0)
    assert list((tmp_path / "codes").iterdir()) == []


def test_what_shape_batches_leave_out_is_told_as_it_is_noticed(toy_run, data):
    dataset = Dataset.read(data)
    batches = ShapeBatches(dataset, dataset.shapes, Encoder.load(toy_run).model)
    seen = [(len(positions), len(batches.skipped)) for _, positions in batches]
    assert seen == [(11, 1)]


def test_shapes_seen_by_views_are_kept_in_parts(toy_run, data, tmp_path, monkeypatch):
    """A stand-in for a model that sees views: only what nothing was left out of is kept."""
    monkeypatch.setattr(dataset_outputs, "VIEWED", 4)
    encoder, dataset = Encoder.load(toy_run), Dataset.read(data)
    seen = []

    class Views:
        def __init__(self, dataset, shapes, model, **_):
            self.shapes, self.skipped = shapes, []

        def __iter__(self):
            seen.append(len(self.shapes))
            kept = [i for i, shape in enumerate(self.shapes) if shape.shape_id != "box05"]
            self.skipped = [("box05", "no view")] * (len(kept) < len(self.shapes))
            yield {"points": torch.zeros(len(kept), 32, 3)}, kept

    monkeypatch.setattr(dataset_outputs, "ShapeBatches", Views)
    ones = np.ones((4, 16), np.float32)
    monkeypatch.setattr(Encoder, "outputs", lambda self, _, batches: ones[: len(batches[0]["points"])])
    monkeypatch.setattr(encoder.model, "shape_input", "views", raising=False)
    keep = shards.Shards(tmp_path / "parts", None)
    rows = dataset_outputs.ShapeRows(dataset.shapes, [], [], [])
    results = [dataset_outputs.shape_outputs(encoder, dataset, rows, keep=keep) for _ in range(2)]
    assert seen == [4, 4, 4, 4]  # the second time only the part with the broken one
    for outputs, kept, skipped in results:
        assert (outputs.shape, len(kept), skipped) == ((11, 16), 11, [("box05", "no view")])
