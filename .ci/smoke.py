"""Try out the built sdist and wheel: python .ci/smoke.py DIST FULL LIGHT.

DIST holds the two files; FULL is an environment with the wheel and all that it can use, LIGHT one with the wheel
and its base install only. Everything runs in an empty folder, so that nothing of the checkout can help.
"""

import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

CHECKOUT = Path(__file__).resolve().parents[1]

IMPORT_ALL = """
import importlib, pathlib, pkgutil, cmah
assert "site-packages" in cmah.__file__, cmah.__file__
names = [module.name for module in pkgutil.walk_packages(cmah.__path__, "cmah.")]
for folder in ("kernels", "cli"):
    module = importlib.import_module(f"cmah.{folder}")
    names += [f"cmah.{folder}.{path.stem}" for path in pathlib.Path(list(module.__path__)[0]).glob("*.py")]
for name in sorted({*names}):
    importlib.import_module(name)
print(len(names), "modules")
"""

MAKE_CODES = """
import numpy as np
from cmah import BinaryCodes
signs = np.where(np.random.default_rng(0).standard_normal((100, 64)) < 0, -1, 1)
names = [f"shape-{i}" for i in range(100)]
known = dict(ids=names, shape_ids=names, categories=[f"category-{i % 5}" for i in range(100)])
BinaryCodes.from_signs(signs, modality="shape", **known).save("shape.npz")
BinaryCodes.from_signs(signs, modality="image", **known).save("image.npz")
"""

IS_LIGHT = """
import importlib.util, sys
assert importlib.util.find_spec("torch") is None, "the base install has brought torch along"
"""


def main(dist: Path, full: Path, light: Path) -> None:
    """Check the contents of both files, then run the commands."""
    wheel, sdist = only(dist, "*.whl"), only(dist, "*.tar.gz")
    check_wheel(wheel)
    check_sdist(sdist)
    with tempfile.TemporaryDirectory() as folder:
        python = str(light / "bin" / "python")
        cmah = str(light / "bin" / "cmah")
        version = wheel.name.split("-")[1]
        expect(run(folder, cmah, "--version"), f"cmah, version {version}")
        expect(run(folder, cmah, "--help"), "search")
        run(folder, python, "-c", IS_LIGHT)
        run(folder, python, "-c", MAKE_CODES)
        run(folder, cmah, "index", "shape.npz", "shapes.cmah")
        expect(run(folder, cmah, "search", "shapes.cmah", "--codes", "image.npz", "-k", "1"), "shape-99")
        expect(run(folder, cmah, "eval", "--query", "image.npz", "--database", "shape.npz"), "mAP")
        expect(run(folder, cmah, "info", "shapes.cmah"), "64")
        expect(run(folder, cmah, "landmarks"), "airplane")
        print(run(folder, str(full / "bin" / "python"), "-c", IMPORT_ALL).strip(), "of the wheel import")
    print(f"{wheel.name} and {sdist.name} work")


def only(folder: Path, pattern: str) -> Path:
    """The one file of `folder` that matches."""
    (path,) = folder.resolve().glob(pattern)
    return path


def check_wheel(path: Path) -> None:
    """The wheel holds each module of cmah/, kernels/ and cli/ under cmah, and nothing else at its top."""
    with zipfile.ZipFile(path) as file:
        names = file.namelist()
    tops = {PurePosixPath(name).parts[0] for name in names}
    strange = {top for top in tops if top != "cmah" and not top.endswith(".dist-info")}
    assert not strange, f"{path.name}: unexpected {sorted(strange)}"
    expected = {"cmah/py.typed", "cmah/landmarks/landmarks.json", "cmah/report/page_template.html"}
    for folder, home in (("cmah", "cmah"), ("kernels", "cmah/kernels"), ("cli", "cmah/cli")):
        found = (CHECKOUT / folder).rglob("*.py")
        expected |= {f"{home}/{source.relative_to(CHECKOUT / folder).as_posix()}" for source in found}
    held = {name for name in names if name.startswith("cmah/")}
    assert held == expected, f"{path.name}: differs from the checkout in {sorted(held ^ expected)}"
    assert any(name.endswith("licenses/LICENSE") for name in names), f"{path.name}: no licence"


def check_sdist(path: Path) -> None:
    """The sdist holds every tracked kind of file that a packager needs."""
    with tarfile.open(path) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    for wanted in (
        "LICENSE",
        "README.md",
        "CITATION.cff",
        "CONTRIBUTING.md",
        "mkdocs.yml",
        "Makefile",
        ".ci/run",
    ):
        assert wanted in names, f"{path.name}: no {wanted}"
    for folder in ("tests", "docs", "experiments", "kernels", "cli"):
        sources = {p.relative_to(CHECKOUT).as_posix() for p in (CHECKOUT / folder).rglob("*.py")}
        assert sources <= names, f"{path.name}: lacks {sorted(sources - names)}"


def run(folder: str, *command: str) -> str:
    """What a command prints; its failure ends this program with its output."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)[:200]}\nexit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def expect(text: str, part: str) -> None:
    """End this program unless `part` stands in `text`."""
    if part not in text:
        sys.exit(f"expected {part!r} in:\n{text}")


if __name__ == "__main__":
    main(*(Path(argument).resolve() for argument in sys.argv[1:4]))
