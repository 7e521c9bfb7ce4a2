"""Training: it learns, resumes bit-equal after a kill, and stops cleanly where it cannot go on."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
from toy_dataset import MICRO, make_toy

from cmah.data.dataset import Dataset
from cmah.errors import DatasetError, RunError
from cmah.runs.metrics_log import read_metrics
from cmah.runs.tensor_files import load_tensors, save_tensors
from cmah.training.starting import train
from cmah.training.validation import hold_out

TIMING = ("seconds", "pairs_per_second")


def numbers(run):
    """What must not depend on how often a run was interrupted."""
    records = [{k: v for k, v in r.items() if k not in TIMING} for r in read_metrics(run)]
    return records, (run / "model.safetensors").read_bytes()


def test_learns_and_leaves_a_run_folder(toy_run):
    records = read_metrics(toy_run)
    assert [r["epoch"] for r in records] == list(range(1, 7))
    assert records[-1]["loss"] < records[0]["loss"]
    assert {"full_full", "mask_full", "pixels", "points", "validation"} <= records[0].keys()
    assert (toy_run / "curves.png").read_bytes()[:4] == b"\x89PNG"
    config = json.loads((toy_run / "config.json").read_text())
    assert (config["format"], config["version"], config["model"]["bits"]) == ("cmah-run", 1, [8, 16])
    best = max(records, key=lambda r: r["validation"]["score"])
    assert load_tensors(toy_run / "model.safetensors")[1]["epoch"] == best["epoch"]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_numbers(toy, toy_run, tmp_path):
    again = train(toy, tmp_path / "run", settings=[*MICRO, "training.epochs=6", "training.workers=1"])
    records, weights = numbers(again)
    assert records == numbers(toy_run)[0]
    assert weights == numbers(toy_run)[1]


@pytest.mark.slow
def test_another_seed_gives_others(toy, toy_run, tmp_path):
    other = train(toy, tmp_path / "run", settings=[*MICRO, "training.epochs=1", "training.seed=1"])
    assert read_metrics(other)[0]["loss"] != read_metrics(toy_run)[0]["loss"]


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.0, 0.35])
def test_killed_and_resumed_equals_uninterrupted(toy, toy_run, tmp_path, delay):
    """SIGKILL after the first saved state (and again a little later), then resume to the end."""
    run = tmp_path / "run"
    settings = [*MICRO, "training.epochs=6", "training.save_minutes=0"]
    code = "import sys, torch; torch.set_num_threads(int(sys.argv[1])); from cmah import train; " + (
        "train(sys.argv[2], sys.argv[3], settings=sys.argv[4:], resume=True)"
    )
    command = [sys.executable, "-c", code, str(torch.get_num_threads()), str(toy), str(run), *settings]
    process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})
    state = run / "state" / "last.safetensors"
    deadline = time.monotonic() + 60
    while not state.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert state.exists()
    train(toy, run, settings=settings, resume=True)
    # save_minutes is part of the stored configuration, but of no number
    assert numbers(run)[0] == numbers(toy_run)[0]
    assert numbers(run)[1] == numbers(toy_run)[1]


@pytest.mark.slow
def test_a_finished_run_resumes_to_itself(toy, toy_run):
    before = numbers(toy_run)
    train(toy, toy_run, resume=True)
    assert numbers(toy_run) == before


def test_resuming_says_what_it_lacks(toy, toy_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(toy_run, run)
    (run / "model.safetensors").unlink()
    with pytest.raises(RunError, match=r"model\.safetensors: no such file .*start anew"):
        train(toy, run, resume=True)


def test_a_loss_that_is_not_finite_ends_the_run(toy, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(RunError, match=r"not finite at epoch \d+, "):
        train(toy, run, settings=[*MICRO, "training.epochs=20", "training.lr=1e18", "training.clip_norm=0"])
    tensors, _ = load_tensors(run / "model.safetensors")
    assert all(bool(value.isfinite().all()) for value in tensors.values() if value.is_floating_point())


@pytest.mark.slow
def test_where_nothing_can_be_validated_the_last_epoch_is_kept(tmp_path):
    data = Dataset.read(make_toy(tmp_path / "toy"))
    data = replace(
        data,
        shapes=[replace(shape, category="") for shape in data.shapes],
        images=[replace(image, category="") for image in data.images],
    )
    _, held_out = hold_out(data.select("train"), 0.3, ("render",))
    first, *others = held_out.shapes
    for shape in others:
        (data.root / shape.points).write_bytes(b"no points")
    for image in data.views()[first.shape_id]:
        (data.root / image.path).write_bytes(b"no picture")
    settings = [*MICRO, "training.epochs=3", "training.held_out=0.3", "training.patience=1"]
    lines = []
    run = train(data, tmp_path / "run", settings=settings, report=lines.append)
    assert load_tensors(run / "model.safetensors")[1]["epoch"] == 3
    assert [line for line in lines if "last epoch is kept" in line]
    assert all("validation" not in record for record in read_metrics(run))


@pytest.mark.slow
def test_patience_stops_early(toy, tmp_path):
    settings = [*MICRO, "training.epochs=50", "training.lr=1e-12", "training.patience=2"]
    records = read_metrics(train(toy, tmp_path / "run", settings=settings))
    assert len(records) < 50


@pytest.mark.gpu
def test_bfloat16_on_cuda_stays_near_float32(toy, tmp_path):
    losses = []
    for precision in ("float32", "bfloat16"):
        settings = [*MICRO, "training.epochs=3", f"training.precision={precision}"]
        losses.append(
            read_metrics(train(toy, tmp_path / precision, settings=settings, device="cuda"))[-1]["loss"]
        )
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


@pytest.mark.parametrize("where", [0.5, 0.999])
def test_a_flipped_bit_in_the_state_is_noticed(toy, toy_run, tmp_path, where):
    run = shutil.copytree(toy_run, tmp_path / "run")
    state = run / "state/last.safetensors"
    data = bytearray(state.read_bytes())
    data[int(len(data) * where)] ^= 4
    state.write_bytes(data)
    with pytest.raises(RunError, match=r"last\.safetensors: damaged \(its checksum is another\)"):
        train(toy, run, resume=True)


def test_a_state_of_before_without_checksum_is_read(toy, toy_run, tmp_path):
    run = shutil.copytree(toy_run, tmp_path / "run")
    tensors, values = load_tensors(run / "state/last.safetensors")
    del values["crc32"]
    save_tensors(run / "state/last.safetensors", tensors, values)
    train(toy, run, resume=True)


def test_a_training_that_cannot_begin_leaves_no_folder(toy, tmp_path):
    with pytest.raises(DatasetError):
        train(toy, tmp_path / "a/run", settings=[*MICRO, "data.split=nonsense"])
    assert list(tmp_path.iterdir()) == []
