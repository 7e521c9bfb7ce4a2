"""cmah export says what it encoded and wrote, and what it left out."""

import json
import shlex

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
    assert lines[0] == f"{tmp_path / 'a' / 'image.npz'}: 12 codes of 16 bits (also 8; 12 val)"
    assert lines[1] == f"{tmp_path / 'a' / 'shape.npz'}: 6 codes of 16 bits (also 8; 6 val)"
    done = run(
        "export", toy_run, toy, "--split", "val", "--out", tmp_path / "b", "--embeddings", "--workers", 0
    )
    assert done.stdout.splitlines()[0].endswith("image_embeddings.npz: 12 embeddings of 16 numbers (12 val)")


@pytest.mark.slow
def test_without_a_split_everything_is_found_and_eval_keeps_to_one(call, toy, toy_run, tmp_path):
    status, out, err = call("export", toy_run, toy, "--out", tmp_path, "--workers", 0)
    assert (status, err.splitlines()[0]) == (0, "all 48 images and 24 shapes, of any split")
    image, shape = tmp_path / "image.npz", tmp_path / "shape.npz"
    assert out.splitlines() == [
        f"{image}: 48 codes of 16 bits (also 8; 36 train, 12 val)",
        f"{shape}: 24 codes of 16 bits (also 8; 18 train, 6 val)",
        f"next: cmah eval --query {image} --database {shape} --both",
        f"  or: cmah index {shape} {tmp_path / 'shapes.cmah'}",
    ]
    status, out, _ = call("eval", "--query", image, "--database", shape, "--bootstrap", 0)
    assert status == 0
    assert out.splitlines()[-1] == (
        "measured: 12 of 48 queries, 6 of 24 items (split val); 36 queries and 18 items of other splits left out; "
        "--splits all measures everything"
    )


@pytest.mark.slow
def test_nothing_to_measure_is_not_recommended(call, toy, toy_run, tmp_path):
    status, out, err = call("export", toy_run, toy, "--split", "train", "--out", tmp_path, "--workers", 0)
    assert status == 0
    assert err.splitlines()[:2] == [
        "36 images of split train, 18 shapes of split train",
        "12 images and 6 shapes of other splits are left out",
    ]
    assert "cmah eval" not in out
    assert "cmah index" in out
    files = ("--query", tmp_path / "image.npz", "--database", tmp_path / "shape.npz")
    status, _, err = call("eval", *files)
    assert (status, err.count("\n")) == (2, 1)
    assert (
        "36 train, nothing but what was trained on; --splits train measures these, --splits all everything"
        in err
    )
    assert call("eval", *files, "--splits", "train", "--bootstrap", 0)[0] == 0


@pytest.mark.slow
def test_json(toy, toy_run, tmp_path):
    done = run("export", toy_run, toy, "--split", "val", "--out", tmp_path, "--workers", 0, "--json")
    assert json.loads(done.stdout) == {
        "image": str(tmp_path / "image.npz"), "shape": str(tmp_path / "shape.npz"), "split": "val",
        "database": "split", "skipped": [],
    }  # fmt: skip


@pytest.mark.slow
def test_real_valued_codes(call, toy, toy_run, tmp_path):
    common = ("export", toy_run, toy, "--split", "val", "--workers", 0)
    status, out, _ = call(*common, "--out", tmp_path, "--real")
    files = {name: tmp_path / f"{name}.npz" for name in ("image", "shape", "image_real", "shape_real")}
    assert status == 0
    assert out.splitlines()[:3] == [
        f"{files['image_real']}: the real-valued codes of image.npz",
        f"{files['shape_real']}: the real-valued codes of shape.npz",
        f"{files['image']}: 12 codes of 16 bits (also 8; 12 val)",
    ]
    assert "--both --rerank 100 --rerank-by real" in out
    pair = ("eval", "--query", files["image"], "--database", files["shape"], "--both", "--bootstrap", 0)
    status, out, _ = call(*pair, "--rerank", 3, "--rerank-by", "real")
    assert (status, out.count("gain of re-ranking")) == (0, 4)
    status, out, _ = call(*common, "--out", tmp_path, "--real", "--json")
    assert {name: json.loads(out)[name] for name in files} == {
        name: str(path) for name, path in files.items()
    }
    status, _, err = call(*common, "--out", tmp_path, "--real", "--embeddings")
    assert (status, "--real writes beside codes, which --embeddings replaces" in err) == (2, True)
    status, _, err = call(*common, "--out", tmp_path, "--views", "--embeddings")
    assert (status, "--views writes beside codes, which --embeddings replaces" in err) == (2, True)
    status, _, err = call(*common, "--out", tmp_path, "--views")
    assert (status, err.splitlines()[-1]) == (
        2,
        "Error: vectors of views: this run sees shapes by their points (model.shape_input)",
    )


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
    arguments = ("export", toy_run, cars, "--split", "test", "--out", tmp_path / "codes", "--workers", 0)
    status, out, err = call(*arguments, "--database", "all", "--crop", "box")
    assert status == 0
    lines = [line for line in err.splitlines() if not line.startswith("warning: ")]
    assert lines[:4] == [
        "16 images of split test, all 16 shapes of any split",
        "16 images of other splits are left out",
        "images: cropped to their boxes (margin 0.1), backgrounds kept",
        "1 of 16 shapes have no points (first: 'box02')",
    ]
    assert len(lines) == 5
    assert lines[4].startswith(f"1 skipped, listed in {tmp_path / 'codes/skipped.csv'}: ")
    assert "box05_1.png: empty file" in lines[4]
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


@pytest.mark.parametrize(
    ("part", "expected"), [(None, "starts anew"), ("image-000000000.npy", "goes on from here")]
)
def test_stopped_with_or_without_anything_kept(call, monkeypatch, tmp_path, part, expected):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("cmah.export", stop, raising=False)
    folder = tmp_path / ".export/key"
    folder.mkdir(parents=True)
    if part:
        (folder / part).touch()
    status, _, err = call("export", "run", "data", "--out", tmp_path)
    assert (status, err) == (130, f"stopped; cmah export run data --out {tmp_path} {expected}\n")


def test_paths_of_the_next_command_are_quoted(call, toy, toy_run, tmp_path):
    folder = tmp_path / "Läufe neu"
    status, out, _ = call("export", toy_run, toy, "--out", folder, "--workers", 0)
    assert status == 0
    for line in out.splitlines()[-2:]:
        assert f"'{folder}/shape.npz'" in line
    status, out, _ = call(*shlex.split(out.splitlines()[-1].partition(": cmah ")[2]))
    assert (status, f"cmah search '{folder}/shapes.cmah' --codes" in out) == (0, True)
