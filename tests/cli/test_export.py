"""cmah export says what it wrote, and what it left out."""

import json

import pytest
from click.testing import CliRunner

from cmah.cli.main import group

pytestmark = pytest.mark.slow


def run(*arguments):
    done = CliRunner().invoke(group, [*map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done


def test_what_was_written(toy, toy_run, tmp_path):
    done = run("export", toy_run, toy, "--split", "val", "--out", tmp_path / "a", "--workers", 0)
    lines = done.stdout.splitlines()
    assert lines[0] == f"{tmp_path / 'a' / 'image.npz'}: 12 codes of 16 bits (also 8)"
    assert lines[1] == f"{tmp_path / 'a' / 'shape.npz'}: 6 codes of 16 bits (also 8)"
    done = run(
        "export", toy_run, toy, "--split", "val", "--out", tmp_path / "b", "--embeddings", "--workers", 0
    )
    assert done.stdout.splitlines()[0].endswith("image_embeddings.npz: 12 embeddings of 16 numbers")


def test_json(toy, toy_run, tmp_path):
    done = run("export", toy_run, toy, "--split", "val", "--out", tmp_path, "--workers", 0, "--json")
    assert json.loads(done.stdout) == {
        "image": str(tmp_path / "image.npz"), "shape": str(tmp_path / "shape.npz"), "skipped": []
    }  # fmt: skip


def test_a_code_per_view_needs_views(toy, toy_run, tmp_path):
    done = CliRunner().invoke(
        group, ["export", str(toy_run), str(toy), "--split", "val", "--out", str(tmp_path), "--per-view"]
    )
    assert done.exit_code != 0
    assert "this run sees shapes by their points" in str(done.exception)
