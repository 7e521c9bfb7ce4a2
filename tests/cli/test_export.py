"""cmah export says what it encoded and wrote, and what it left out."""

import json

import pytest
from click.testing import CliRunner
from toy_dataset import make_cars

from cmah.cli.main import group


def run(*arguments):
    done = CliRunner().invoke(group, [*map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done


@pytest.mark.slow
def test_what_was_written(toy, toy_run, tmp_path):
    done = run("export", toy_run, toy, "--split", "val", "--out", tmp_path / "a", "--workers", 0)
    lines = done.stdout.splitlines()
    assert lines[0] == f"{tmp_path / 'a' / 'image.npz'}: 12 codes of 16 bits (also 8)"
    assert lines[1] == f"{tmp_path / 'a' / 'shape.npz'}: 6 codes of 16 bits (also 8)"
    done = run(
        "export", toy_run, toy, "--split", "val", "--out", tmp_path / "b", "--embeddings", "--workers", 0
    )
    assert done.stdout.splitlines()[0].endswith("image_embeddings.npz: 12 embeddings of 16 numbers")


@pytest.mark.slow
def test_json(toy, toy_run, tmp_path):
    done = run("export", toy_run, toy, "--split", "val", "--out", tmp_path, "--workers", 0, "--json")
    assert json.loads(done.stdout) == {
        "image": str(tmp_path / "image.npz"), "shape": str(tmp_path / "shape.npz"), "split": "val",
        "database": "split", "skipped": [],
    }  # fmt: skip


@pytest.mark.slow
def test_a_code_per_view_needs_views(toy, toy_run, tmp_path):
    done = CliRunner().invoke(
        group, ["export", str(toy_run), str(toy), "--split", "val", "--out", str(tmp_path), "--per-view"]
    )
    assert done.exit_code != 0
    assert "this run sees shapes by their points" in str(done.exception)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_file_in_place_of_the_folder_is_refused_before_encoding(call, toy, toy_run, tmp_path):
    (tmp_path / "file").write_text("mine")
    status, _, err = call("export", toy_run, toy, "--split", "val", "--out", tmp_path / "file")
    assert (status, err.strip()) == (
        2,
        f"Error: {tmp_path / 'file'}: is a file, expected a folder to write to",
    )
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.slow
def test_what_is_encoded_is_told_in_a_few_lines(call, toy_run, tmp_path):
    cars = make_cars(tmp_path / "cars")
    (tmp_path / "cars/files/renders/box05_1.png").write_bytes(b"")
    arguments = ("export", toy_run, cars, "--out", tmp_path / "codes", "--workers", 0)
    status, out, err = call(*arguments, "--database", "all", "--crop", "box")
    assert status == 0
    lines = [line for line in err.splitlines() if not line.startswith("warning: ")]
    assert lines[:3] == [
        "16 images of split test, all 16 shapes of any split",
        "images: cropped to their boxes (margin 0.1), backgrounds kept",
        "1 of 16 shapes have no points (first: 'box02')",
    ]
    assert len(lines) == 4
    assert lines[3].startswith("skipped ")
    assert "box05_1.png: empty file" in lines[3]
    assert (tmp_path / "codes/skipped.csv").read_text().count("\n") == 3
    status, out, _ = call(*arguments, "--json")
    printed = json.loads(out)
    assert (status, printed["split"], printed["database"]) == (0, "test", "split")
    assert printed["skipped"][1] == ["box02", "no points"]
    files = ("--query", printed["image"], "--database", printed["shape"], "--relevance", "instance")
    status, out, _ = call("eval", *files)
    assert "15 queries of split test, 14 items of splits (none), test; 2 queries have no relevant item" in out


@pytest.mark.parametrize("option", [("--database", "some"), ("--crop", "face"), ("--crop-margin", "2")])
def test_mistakes_end_with_one_line(call, toy_run, toy, tmp_path, option):
    status, _, err = call("export", toy_run, toy, "--out", tmp_path, *option)
    assert (status, f"Invalid value for '{option[0]}'" in err.splitlines()[-1]) == (2, True)
