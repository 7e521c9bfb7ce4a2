"""The comparison of voxels runs on synthetic shapes and prints what it promises."""

import re
import runpy
from pathlib import Path

import pytest
from click.testing import CliRunner

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"


@pytest.mark.slow
def test_smoke(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    command = runpy.run_path(str(EXPERIMENTS / "bench_voxels.py"))["main"]
    done = CliRunner().invoke(command, ["--smoke"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert re.match(r"20 pairs of \d+ shapes; mean IoU of the meshes' solids 0\.\d+", lines[0])
    for line, factor in zip(lines[1:5], ("2.0", "2.5", "3.0", "4.0"), strict=True):
        assert f"128 points, radius {factor}: correlation 0." in line
    for line, what in zip(lines[5:], ("clouds", "meshes"), strict=True):
        assert line.startswith(f"{what}: 1000 queries over 24 shapes")
    missing = CliRunner().invoke(command, [])
    assert missing.exit_code == 2
