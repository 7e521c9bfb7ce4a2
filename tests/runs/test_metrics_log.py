"""metrics.jsonl: what is no record of an epoch is refused by its row."""

import pytest
from damaged_runs import refused

from cmah.runs.metrics_log import read_metrics


@pytest.mark.parametrize(
    "line", ["{}", "3", "null", '{"epoch": "x", "loss": 1}', '{"epoch": 1, "loss": 1, "validation": 3}']
)
def test_metrics(toy, run, line):
    lines = (run / "metrics.jsonl").read_text()
    (run / "metrics.jsonl").write_text(line + "\n" + lines)
    refused(toy, run, r"metrics\.jsonl: row 1: expected the record of an epoch", loads=True)
    (run / "metrics.jsonl").write_text(lines + line)  # cut off by a kill, as far as one can tell
    assert len(read_metrics(run)) == len(lines.splitlines())
