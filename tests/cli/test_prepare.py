"""cmah prepare on the command line."""

import json
import sys
from pathlib import Path

import pytest

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
    assert run(meshes, out, *SMALL) == 2
    assert capsys.readouterr().err.startswith(f"Error: {out}: was prepared with other parameters")


@pytest.mark.parametrize(("arguments", "expected"), [
    (["--split-fractions", "0.5,0.4"], "three numbers that sum to 1"),
    (["--split-fractions", "nan,nan,nan"], "three numbers that sum to 1"),
    (["--jitter", "nan"], "nan, expected a number"),
    (["--memory-limit", "1e30"], "below 1,000,000"),
    (["--elevation", "20,x"], "not a list of numbers"),
    (["--elevation", "100"], "between -90 and 90"),
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
