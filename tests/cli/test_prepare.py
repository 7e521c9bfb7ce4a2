"""cmah prepare on the command line."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from quick_meshes import QuickWorkers, put, tree

from cmah.cli.main import main
from cmah.synthetic import make_shapes

SMALL = ["--views", "2", "--image-size", "16", "--points", "16", "-j", "1"]


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["prepare", *map(str, arguments)])
    return caught.value.code if isinstance(caught.value.code, int) else 0


@pytest.mark.slow
def test_prepare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    meshes, out = tmp_path / "meshes", tmp_path / "out"
    make_shapes(meshes, 2, ["mug", "lamp"])
    for name in ("a", "b"):
        (meshes / f"mug/{name}.obj").write_text("v 0 0 0\n")
    (meshes / "lamp/c.off").write_text("OFF\n9 9 9\n")
    assert run(meshes, out, *SMALL, "--sheet", tmp_path / "sheet.png", "--elevation", "0,30") == 0
    text = capsys.readouterr().out
    assert "4 shapes" in text
    assert "2 categories, 8 views" in text
    assert "3 skipped" in text
    assert "2  no faces" in text
    assert f"next: cmah train {out}" in text
    assert (tmp_path / "sheet.png").is_file()
    assert run(meshes, out, *SMALL, "--elevation", "0,30", "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["shapes"] == 4
    assert summary["skipped"][1] == {"path": "mug/a.obj", "reason": "no faces"}
    assert run(meshes, out) == 0  # with the options of before
    assert "4 shapes" in capsys.readouterr().out
    assert run(meshes, out, "--views", "3") == 2
    assert capsys.readouterr().err.startswith(f"Error: {out}: was prepared with other parameters")


@pytest.mark.parametrize(("arguments", "expected"), [
    (["--split-fractions", "0.5,0.4"], "three numbers that sum to 1"),
    (["--split-fractions", "nan,nan,nan"], "three numbers that sum to 1"),
    (["--jitter", "nan"], "nan, expected a number"),
    (["--memory-limit", "1e30"], "below 1,000,000"),
    (["--elevation", "20,x"], "not a list of numbers"),
    (["--elevation", "100"], "above -90 and below 90"),
    (["--sheet", "a.pdf"], "ends in .png or .jpg"),
    (["--up", "x"], "'x' is not one of"),
])  # fmt: skip
def test_wrong_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    make_shapes(tmp_path / "meshes", 1, ["mug"])
    assert run(tmp_path / "meshes", tmp_path / "out", *arguments) == 2
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_import_is_light() -> None:
    import subprocess

    code = (
        "import sys, cmah.cli.prepare; print([m for m in ('torch', 'trimesh', 'numpy') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


@pytest.mark.parametrize(
    ("option", "value"), [("--elevation", "100"), ("--split-fractions", "0.5,0.4"), ("--sheet", "a.pdf")]
)
def test_a_wrong_value_is_told_with_its_option_and_the_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    assert run(tmp_path, tmp_path / "out", option, value) == 2
    text = capsys.readouterr().err
    assert text.startswith("Usage: cmah prepare")
    assert f"Invalid value for '{option}'" in text


@pytest.mark.slow
def test_a_sheet_replaces_pictures_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_shapes(tmp_path / "meshes", 1, ["mug"])
    sheet = tmp_path / "sheet.png"
    sheet.write_text("<html>years of work</html>")
    assert run(tmp_path / "meshes", tmp_path / "out", *SMALL, "--sheet", sheet) == 2
    assert "choose another name" in capsys.readouterr().err
    assert sheet.read_text() == "<html>years of work</html>"
    sheet.unlink()
    for _ in range(2):  # its own is written anew
        assert run(tmp_path / "meshes", tmp_path / "out", *SMALL, "--sheet", sheet) == 0
    assert sheet.read_bytes()[:4] == b"\x89PNG"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cmah.preparing.preparation.run_isolated", QuickWorkers())


def test_adding_and_pruning_are_counted(
    quick: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b, out = (
        put(tmp_path / "a", x_1="1", x_2="2", x_3="3"),
        put(tmp_path / "b", y_1="1", y_2="2"),
        tmp_path / "out",
    )
    assert run(a, out, *SMALL) == 0
    assert "added" not in capsys.readouterr().out
    assert run(b, out, *SMALL, "--prefix", "b") == 0
    text = capsys.readouterr().out
    assert "out: 5 shapes" in text
    assert "added 2 shapes to 3\n" in text
    (a / "x/1.obj").unlink()
    put(a, x_4="4")
    assert run(a, out, *SMALL, "--json") == 0
    captured = capsys.readouterr()
    assert captured.err == f"1 shape of {a} is no longer there and stays; --prune removes it\n"
    summary = json.loads(captured.out)
    counts = {key: summary[key] for key in ("shapes", "added", "kept", "removed")}
    assert counts == {"shapes": 6, "added": 1, "kept": 5, "removed": 0}
    folders = [{"path": str(a), "prefix": "", "shapes": 4}, {"path": str(b), "prefix": "b", "shapes": 2}]
    assert summary["folders"] == folders
    assert run(a, out, *SMALL, "--prune") == 0
    assert "added 0 shapes to 6, removed 1\n" in capsys.readouterr().out
    assert run(b, out, *SMALL, "--prefix", "other") == 2
    assert capsys.readouterr().err.startswith(f"Error: {b}: was prepared with the prefix 'b'")
    assert run(b, out, *SMALL, "--prefix", "a b") == 2
    assert "expected up to 40 letters" in capsys.readouterr().err
    assert run(tmp_path / "nowhere", out, *SMALL) == 2
    assert capsys.readouterr().err == f"Error: {tmp_path / 'nowhere'}: no such file or folder\n"


def test_clouds_are_counted(quick: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, out = put(tmp_path / "a", x_1="1", x_2="cloud"), tmp_path / "out"
    assert run(a, out, *SMALL) == 0
    text = capsys.readouterr().out
    assert "of 1 categories, 2 views; 1 shape has points only\n" in text
    assert "next: cmah train" in text
    assert run(a, out, *SMALL, "--json") == 0
    assert json.loads(capsys.readouterr().out)["points_only"] == 1
    put(a, x_1="cloud")
    assert run(a, out, *SMALL) == 0
    text = capsys.readouterr().out
    assert "0 views; 2 shapes have points only\n" in text
    assert "no shape has a view to train on" in text
    put(a, x_1="1", x_2="2")
    assert run(a, out, *SMALL) == 0
    assert "only" not in capsys.readouterr().out
    assert run(a, out, *SMALL, "--json") == 0
    assert "points_only" not in json.loads(capsys.readouterr().out)


def test_what_another_wrote_is_left_alone(
    quick: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dataset made by hand, a file, and a folder that cannot be made."""
    a, hand = put(tmp_path / "a", x_1="1"), tmp_path / "hand"
    hand.mkdir()
    (hand / "dataset.json").write_text("{}")
    (tmp_path / "file").write_text("text")
    before = tree(tmp_path)
    for out, told in (
        ("hand", "was not made by prepare"),
        ("file", "was not made by"),
        ("file/out", "cannot be used"),
    ):
        for options in ([], ["--overwrite"], ["--prune"]):
            assert run(a, tmp_path / out, *SMALL, *options) == 2
            error = capsys.readouterr().err
            assert error.startswith(f"Error: {tmp_path / out}: ")
            assert told in error
            assert error.count("\n") == 1
    assert tree(tmp_path) == before


def test_ctrl_c_is_one_line(
    quick: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cmah.preparing.preparation.Preparation.write", interrupt)
    assert run(put(tmp_path / "a", x_1="1"), tmp_path / "out", *SMALL) == 130
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"stopped; cmah prepare {tmp_path / 'a'} {tmp_path / 'out'} --views")
    assert line.endswith("goes on from here")


def in_a_process(*arguments: object, limit: int | None = None) -> subprocess.CompletedProcess[str]:
    """The command in a process that may write no file of more than `limit` bytes."""

    def before() -> None:
        os.umask(0o022)
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    code = "from cmah.cli.main import main; main()"
    command = [sys.executable, "-B", "-c", code, "prepare", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        command, capture_output=True, text=True, env=environment, preexec_fn=before, check=False
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("meshes", "views", "limit", "where"),
    [
        (3, 4, 100, "prepare.jsonl"),
        (3, 4, 300, "renders/mug"),
        (9, 1, 1500, "prepare.jsonl"),
        (1, 20, 1500, "images.csv"),
    ],
)
def test_a_disk_that_takes_no_more_ends_the_job_and_keeps_what_is_done(
    tmp_path: Path, meshes: int, views: int, limit: int, where: str
) -> None:
    source, out, whole = tmp_path / "meshes", tmp_path / "out", tmp_path / "whole"
    make_shapes(source, meshes, ["mug"])
    options = [
        "--views",
        views,
        "--image-size",
        "8",
        "--points",
        "8",
        "-j",
        "1",
        "--split-fractions",
        "1,0,0",
    ]
    failed = in_a_process(source, out, *options, limit=limit)
    assert failed.returncode == 2
    assert failed.stderr.startswith(f"Error: {out}/{where}")
    assert failed.stderr.endswith("cannot be written (File too large)\n")
    assert failed.stderr.count("\n") == 1
    assert not (out / "dataset.json").exists()
    assert not [path.name for path in out.rglob("*") if path.name == ".partial" or ".tmp" in path.name]
    for target in (out, whole):
        done = in_a_process(source, target, *options)
        assert (done.returncode, done.stderr) == (0, "")
    (out / "prepare.jsonl").unlink()
    (whole / "prepare.jsonl").unlink()
    assert tree(out) == tree(whole)


@pytest.mark.slow
def test_files_have_ordinary_permissions(tmp_path: Path) -> None:
    meshes, out = tmp_path / "meshes", tmp_path / "out"
    make_shapes(meshes, 1, ["mug"])
    (meshes / "broken.obj").write_text("v 0 0 0\n")
    assert in_a_process(meshes, out, *SMALL, "--sheet", out / "sheet.png").returncode == 0
    modes = {path.relative_to(out).as_posix(): path.stat().st_mode & 0o777 for path in out.rglob("*")}
    assert len(modes) > 10
    assert {name: oct(mode) for name, mode in modes.items() if mode not in (0o644, 0o755)} == {}


def test_a_folder_that_cannot_be_written_is_refused_before_the_work(
    quick: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tmp_path.chmod(0o555)
    if os.access(tmp_path, os.W_OK):
        pytest.skip("the superuser may write everywhere")
    tmp_path.chmod(0o755)
    a, out = put(tmp_path / "a", x_1="1"), tmp_path / "out"
    assert run(a, out, *SMALL) == 0
    put(a, x_2="2")
    before = tree(out)
    places = [out / "prepare.jsonl", out]
    for place, told in zip(places, ("prepare.jsonl", ".partial"), strict=True):
        mode = place.stat().st_mode
        place.chmod(0o555)
        capsys.readouterr()
        assert run(a, out, *SMALL) == 2
        assert capsys.readouterr().err == f"Error: {out / told}: cannot be written (Permission denied)\n"
        place.chmod(mode)
    assert tree(out) == before
    out.chmod(0o555)
    assert run(a, out / "new", *SMALL) == 2
    assert (
        capsys.readouterr().err == f"Error: {out / 'new'}: cannot be used as a folder (Permission denied)\n"
    )
    out.chmod(0o755)


def test_no_category_is_none_of_the_categories(
    quick: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "my data"
    assert run(put(tmp_path / "a", top="1", x_1="2"), out, *SMALL) == 0
    told = capsys.readouterr().out
    assert "of 1 categories" in told
    assert f"next: cmah train '{out}' --out RUN" in told
