"""metrics.jsonl: what is no record of an epoch is refused by its row."""

import shutil

import pytest

from cmah.errors import CmahError
from cmah.runs.encoder import Encoder
from cmah.runs.metrics_log import read_metrics
from cmah.training.starting import train


@pytest.fixture
def run(toy_run, tmp_path):
    return shutil.copytree(toy_run, tmp_path / "run")


def refused(toy, run, message, loads=False):
    """Resuming is refused and changes nothing; so is loading, unless it does not need what is damaged."""
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(CmahError, match=message):
        train(toy, run, resume=True)
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    if loads:
        Encoder.load(run)
    else:
        with pytest.raises(CmahError, match=message):
            Encoder.load(run)


@pytest.mark.parametrize(
    "line", ["{}", "3", "null", '{"epoch": "x", "loss": 1}', '{"epoch": 1, "loss": 1, "validation": 3}']
)
def test_metrics(toy, run, line):
    lines = (run / "metrics.jsonl").read_text()
    (run / "metrics.jsonl").write_text(line + "\n" + lines)
    refused(toy, run, r"metrics\.jsonl: row 1: expected the record of an epoch", loads=True)
    (run / "metrics.jsonl").write_text(lines + line)  # cut off by a kill, as far as one can tell
    assert len(read_metrics(run)) == len(lines.splitlines())
