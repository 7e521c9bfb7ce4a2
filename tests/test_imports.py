"""Imports go down only: kernels, then the light half, then the learning half, then cli and experiments."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIGHT = (
    "codes",
    "code_files",
    "compiling",
    "rows",
    "npz",
    "posthoc",
    "errors",
    "files",
    "landmarks",
    "chat",
    "progress",
    "search",
    "evaluation",
)
BASE = {"numpy", "numba", "bitarray", "click", "tqdm"}
REPORT = {"matplotlib", "sklearn", "jinja2", "PIL", "openai"}
FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("cmah", "kernels", "cli", "experiments")
    for path in (ROOT / folder).rglob("*.py")
)


def imports(path: Path) -> Iterator[tuple[str, bool, int]]:
    """(dotted name, whether it stands at the top level of the module, line) of each import of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            # both may be modules: `from cmah.kernels import hamming`
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            yield name, node in tree.body, node.lineno


def home(file: str) -> str:
    """Which layer a file belongs to."""
    folder, _, rest = file.partition("/")
    if folder != "cmah":
        return folder
    part = rest.partition("/")[0].removesuffix(".py")
    return "package" if part == "__init__" else "light" if part in LIGHT else "learning"


def layer(name: str) -> str:
    """Which layer an imported name belongs to, or "outside"."""
    top, _, rest = name.partition(".")
    part = rest.partition(".")[0]
    if top in ("kernels", "cli", "experiments", "tests"):
        return "bare"
    if top != "cmah":
        return "outside"
    if part in ("kernels", "cli"):
        return part
    if part in ("", "__version__"):
        return "package"
    return "light" if part in LIGHT else "learning"


ALLOWED = {
    "kernels": {"outside"},
    "package": {"outside", "light", "learning"},  # its imports of both halves serve type checkers only
    "light": {"outside", "package", "kernels", "light"},
    "learning": {"outside", "package", "kernels", "light", "learning"},
    "cli": {"outside", "package", "kernels", "light", "learning", "cli"},
    "experiments": {"outside", "package", "kernels", "light", "learning", "cli"},
}


@pytest.mark.parametrize("file", FILES)
def test_layers(file: str) -> None:
    faults = [
        f"{file}:{line} imports {name}"
        for name, _, line in imports(ROOT / file)
        if layer(name) not in ALLOWED[home(file)]
    ]
    assert not faults


@pytest.mark.parametrize("file", [file for file in FILES if home(file) in ("kernels", "light", "package")])
def test_the_light_half_needs_the_base_install_only(file: str) -> None:
    triton = file.startswith("kernels/") and "triton" in (ROOT / file).read_text(encoding="utf-8")
    for name, at_top, line in imports(ROOT / file):
        top = name.partition(".")[0]
        known = top in sys.stdlib_module_names or top == "cmah" or top in BASE
        known |= triton and top in ("torch", "triton")
        known |= home(file) == "light" and not at_top and top in REPORT
        assert known, f"{file}:{line} imports {name}"
        assert top != "pickle", f"{file}:{line} imports pickle"


@pytest.mark.parametrize("file", [file for file in FILES if home(file) == "cli"])
def test_commands_import_heavy_packages_inside_functions(file: str) -> None:
    for name, at_top, line in imports(ROOT / file):
        light = name.partition(".")[0] in sys.stdlib_module_names or name.partition(".")[0] in (
            "click",
            "cmah",
        )
        assert light or not at_top, f"{file}:{line} imports {name} at the top"


def test_no_folder_shadows_another_distribution() -> None:
    for folder in ("kernels", "cli", "experiments", "tests"):
        assert not list((ROOT / folder).rglob("__init__.py")), f"{folder}/ must have no __init__.py"


def loaded(code: str, folder: Path) -> set[str]:
    """The top-level modules that a fresh process has loaded after running `code`."""
    code += "\nimport sys; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_import_and_help_load_nothing_heavy(tmp_path: Path) -> None:
    code = "import cmah, cmah.cli.main as m\ntry: m.run(['--help'])\nexcept SystemExit: pass"
    assert not loaded(code, tmp_path) & {"torch", "numba", "numpy", "PIL", "trimesh"}


def test_search_and_evaluation_do_not_load_torch(tmp_path: Path) -> None:
    code = """
import numpy as np
from cmah import BinaryCodes, HammingIndex
from cmah.evaluation import evaluate
signs = np.where(np.random.default_rng(0).standard_normal((20, 32)) < 0, -1, 1)
codes = BinaryCodes.from_signs(signs, categories=[str(i % 4) for i in range(20)])
index = HammingIndex(bits=32)
index.add(codes)
index.save("i.cmah")
hits = HammingIndex.open("i.cmah").search(codes, k=3)
assert (hits.distances[:, 0] == 0).all()
evaluate(codes, codes)
"""
    assert not loaded(code, tmp_path) & {"torch", "torchvision", "timm", "trimesh", "safetensors"}
