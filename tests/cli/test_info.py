"""cmah info, as a user calls it; no torch but where a dataset folder is checked."""

import json
import shutil
from pathlib import Path

import pytest

from cmah.codes import BinaryCodes
from cmah.data.dataset import Dataset

GOLDEN = Path(__file__).parents[1] / "golden"


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
    assert lines[2] == f"Error: {damaged}: 2 of its files or rows are at fault"
    status, out, _ = call("info", damaged, "--check", "--json")
    assert (status, json.loads(out)["faults"]) == (2, lines[:2])


def test_shapes_without_images_are_counted(call, toy, tmp_path):
    data = Dataset.read(toy)
    data.images, data.file_root = data.images[:4], str(toy.resolve())
    (tmp_path / "clouds").mkdir()
    data.write(tmp_path / "clouds")
    _, out, _ = call("info", tmp_path / "clouds", "--json")
    assert json.loads(out)["shapes without images"] == len(data.shapes) - 2
    _, out, _ = call("info", toy, "--json")
    assert "shapes without images" not in json.loads(out)


def test_what_version_2_adds_is_counted(call, tmp_path):
    for name in ("dataset_v2", "dataset_v2_files"):
        shutil.copytree(GOLDEN / name, tmp_path / name)
    folder = tmp_path / "dataset_v2"
    found = json.loads(call("info", folder, "--json")[1])
    assert (found["version"], found["root"]) == (2, "../dataset_v2_files")
    assert (found["images whose split is not their shape's"], found["shapes without points"]) == (4, 1)
    assert (found["images with a mask"], found["images with a box"]) == (1, 4)
    assert found["shapes by split"] == {"(none)": 2, "train": 1, "test": 1}
    status, out, _ = call("info", folder, "--check")
    assert (status, out.splitlines()[-1]) == (0, "every file can be read")
    table = folder / "images.csv"
    table.write_text(table.read_text().replace('"1,1,5,5"', '"9,1,5,5"'))
    status, _, err = call("info", folder, "--check")
    assert (status, len(err.splitlines())) == (2, 2)
    assert err.startswith("images.csv: row of 'unknown': bbox 9,1,5,5 leaves the picture of 12 x 10 pixels")
    (tmp_path / "dataset_v2_files").rename(tmp_path / "unmounted")
    status, _, err = call("info", folder)
    assert (status, len(err.splitlines())) == (2, 1)
    assert "'root' is '../dataset_v2_files': no such folder" in err


def test_only_datasets_are_checked(call, toy_run):
    status, _, err = call("info", toy_run, "--check")
    assert (status, "--check needs a dataset folder" in err) == (2, True)


def test_info(call, files, dataset):
    call("index", files / "shape.npz", files / "s.cmah")
    run = files / "run"
    run.mkdir()
    (run / "config.json").write_text(
        json.dumps({"format": "cmah-run", "version": 1, "recipe": "cmah", "model": {"width": 8}})
    )
    lines = [{"epoch": n, "loss": 1.0, "validation": {"score": 1 / n}} for n in (1, 2)]
    (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"epoch": 3, "vali')
    found = {}
    for path in (files / "image.npz", files / "s.cmah", dataset, run):
        status, out, _ = call("info", path, "--json")
        assert status == 0
        found[path.name] = json.loads(out)
        status, text, _ = call("info", path)
        assert status == 0
        assert text.startswith("what")
    assert found["image.npz"]["kinds"] == {"render": 12, "photo": 3}
    assert found["image.npz"]["lengths that are codes"] == [16, 40]
    assert found["s.cmah"]["codes"] == 6
    assert (found["data"]["shapes"], found["data"]["images without a shape"]) == (6, 1)
    assert (found["run"]["epochs done"], found["run"]["best"]["epoch"]) == (2, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("info", "/dev/null"), "/dev/null: not a file"),
        (("info", "nothing"), "nothing: no such file"),
        (("info", ".."), "neither a dataset"),
    ],
)
def test_mistakes_end_with_one_line(call, files, monkeypatch, arguments, message):
    monkeypatch.chdir(files)
    call("index", "shape.npz", "s.cmah")
    status, _, err = call(*arguments)
    assert status == 2
    assert message in err.splitlines()[-1]
    assert "Traceback" not in err


def test_a_run_over_views_says_so(call, toy_run, tmp_path):
    run = shutil.copytree(toy_run, tmp_path / "run")
    config = json.loads((run / "config.json").read_text())
    assert "a shape is seen by" not in call("info", run)[1]
    config["model"] |= {"shape_input": "both", "views": 4, "views_from": "even"}
    (run / "config.json").write_text(json.dumps(config))
    status, out, _ = call("info", run)
    assert status == 0
    assert "a shape is seen by  points and up to 4 views, of every second render" in out


def test_faults_of_one_kind_are_counted(call, toy, tmp_path):
    folder = shutil.copytree(toy, tmp_path / "data")
    names = sorted((folder / "points").glob("*.npy"))
    for path in names[:5]:
        path.unlink()
    status, out, err = call("info", folder)
    lines = err.splitlines()
    assert (status, out.startswith("what"), len(lines)) == (2, True, 5)
    assert lines[0] == f"shapes.csv: row of {names[0].stem!r}: {names[0]}: no such file"
    assert lines[3] == "… and 2 more like this (--all lists them)"
    assert lines[4] == f"Error: {folder}: 5 of its files or rows are at fault"
    assert len(call("info", folder, "--all")[2].splitlines()) == 6
    assert len(json.loads(call("info", folder, "--json")[1])["faults"]) == 5


def test_tables_with_faults(call, toy, tmp_path):
    folder = shutil.copytree(toy, tmp_path / "data")
    table = folder / "shapes.csv"
    text = table.read_text()
    table.write_text(text.replace("shape_id,", "name,", 1))
    status, _, err = call("info", folder)  # and not that of each image's shape there is none
    assert (status, len(err.splitlines())) == (2, 1)
    assert "shapes.csv: row 1: no column shape_id" in err
    table.write_text("".join(f"{line},1\n" if row else f"{line}\n" for row, line in enumerate(text.split())))
    status, out, err = call("info", folder, "--json")
    assert (status, json.loads(out)["what"]) == (2, "dataset")
    assert len(json.loads(out)["faults"]) == len(text.split()) - 1
    status, out, err = call("info", folder)
    assert (status, len(err.splitlines())) == (2, 5)


def test_a_damaged_run(call, toy_run, tmp_path):
    run = shutil.copytree(toy_run, tmp_path / "run")
    weights = run / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    (run / "metrics.jsonl").write_text("none\n" + (run / "metrics.jsonl").read_text())
    status, out, err = call("info", run)
    lines = err.splitlines()
    assert (status, out.startswith("what"), len(lines)) == (2, True, 3)
    assert lines[0].startswith(f"{weights}: ")
    assert "row 1: expected the record of an epoch" in lines[1]
    weights.write_bytes(b"\xff" * 16)
    assert f"{weights}: not a readable safetensors file" in call("info", run)[2]


def test_a_folder_of_code_files(call, tmp_path):
    assert "nor a folder of code files" in call("info", tmp_path)[2]
    for name, count in (("image", 3), ("shape", 2)):
        BinaryCodes.from_bits([[0, 1]] * count, modality=name).save(tmp_path / f"{name}.npz")
    found = json.loads(call("info", tmp_path, "--json")[1])
    assert list(found) == ["what", "image.npz", "shape.npz"]
    assert found["image.npz"] == json.loads(call("info", tmp_path / "image.npz", "--json")[1])
    assert found["shape.npz"]["rows"] == 2
    lines = call("info", tmp_path)[1].splitlines()
    assert "image.npz" in lines
    assert sum(line.startswith("  bits") for line in lines) == 2
