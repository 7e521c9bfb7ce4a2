"""From which folders an editable install and `python -m cmah` work."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BUILD = "import sys; from setuptools import build_meta; build_meta.build_editable(sys.argv[1])"


def python(folder: Path, *arguments: str, path: str = "") -> str:
    environment = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
def test_no_folder_named_cmah_hides_an_editable_install(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", minversion="77")
    clone, site = tmp_path / "parent" / "cmah", tmp_path / "site"
    for name in ("cmah", "cli", "kernels"):
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, clone)
    python(clone, "-c", BUILD, str(tmp_path))
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(site)
    # what Python does with the .pth files of an install; -S leaves out those of the environment that runs the tests,
    # -I the current folder, for which "" stands
    start = f"import site, sys; site.addsitedir({str(site)!r}); sys.path.insert(0, '')\n"
    code = (
        start
        + "import cmah, importlib.util as find; cmah.CmahError; print(find.find_spec('cmah.cli.main').origin)"
    )
    (tmp_path / "else").mkdir()
    for folder in (clone.parent, clone, tmp_path / "else"):
        assert python(folder, "-I", "-S", "-c", code) == str(clone / "cli" / "main.py")
    # a package of that name that comes first on the path goes first, as that of another clone does
    (tmp_path / "other" / "cmah").mkdir(parents=True)
    (tmp_path / "other" / "cmah" / "__init__.py").write_text("")
    code = start + "import cmah; print(cmah.__file__)"
    assert python(tmp_path / "other", "-I", "-S", "-c", code) == str(
        tmp_path / "other" / "cmah" / "__init__.py"
    )


def test_python_m_cmah(tmp_path: Path) -> None:
    assert python(tmp_path, "-m", "cmah", "--version", path=str(ROOT)).startswith("cmah, version")
