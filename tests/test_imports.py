"""Imports go down only, in no circle; a name stands once; the light half is a set of whole folders.

`NEIGHBOURS` is the plan of the house: each package, from the ground up, with the packages that it may import beside
the ground and the kernels. What is above the line of the light half may import torch.
"""

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
GROUND = (
    "errors",
    "file_names",
    "memory",
    "spreadsheets",
    "reading",
    "files",
    "skipped_files",
    "cache",
    "checks",
    "threads",
    "worker_process",
    "workers",
    "progress",
    "compiling",
    "vectors",
    "settings",
)
LIGHT = {
    "codes": (),
    "search": ("codes",),
    "evaluation": ("codes", "search"),
    "report": ("codes", "search", "evaluation"),
    "bench": ("codes", "search"),
    "landmarks": (),
}
LEARNING = {
    "devices": (),
    "point_backends": (),
    "point_ops": ("point_backends",),
    "pixels": (),
    "meshes": ("pixels",),
    "data": ("evaluation", "meshes", "pixels", "report"),
    "preparing": ("meshes", "data"),
    "synthetic": ("preparing",),
    "models": ("codes", "devices", "point_ops"),
    "losses": ("point_ops",),
    "config": ("data",),
    "features": ("config", "data", "devices", "models"),
    "negatives": ("data", "features", "landmarks", "losses"),
    "recipes": ("config", "data", "features", "losses", "models", "negatives"),
    "runs": (
        *("codes", "search", "report", "meshes", "data", "preparing", "devices", "models", "config", "features"),
        "recipes",
    ),
    "training": ("codes", "evaluation", "config", "data", "devices", "models", "features", "recipes", "runs"),
    "encoding": ("runs",),
    "demo_page": ("data", "report", "runs"),
    "demo": (
        *("codes", "search", "evaluation", "demo_page", "data", "preparing", "synthetic", "runs", "training"),
    ),
}  # fmt: skip
NEIGHBOURS = {**LIGHT, **LEARNING}
ABOVE = ("cli", "experiments")  # may import everything; nothing imports them
BASE = {"numpy", "numba", "bitarray", "click", "tqdm"}
OPTIONAL = {
    "matplotlib",
    "sklearn",
    "jinja2",
    "PIL",
    "openai",
    "httpx",
}  # in the light half, inside functions only
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


def room(file: str) -> str:
    """The package (or module of the ground) that a file belongs to."""
    folder, _, rest = file.partition("/")
    return folder if folder != "cmah" else rest.partition("/")[0].removesuffix(".py")


def imported_room(name: str) -> str:
    """The package (or module of the ground) that an imported name belongs to; "" for another distribution."""
    top, _, rest = name.partition(".")
    if top in ("kernels", "cli", "experiments", "tests"):
        return f"{top}, without cmah. before it"
    if top != "cmah":
        return ""
    part = rest.partition(".")[0]
    return "" if part in ("", "__version__", "CmahError") else part


def allowed(file: str) -> set[str] | None:
    """What a file may import of cmah; None for everything."""
    here = room(file)
    # the façade imports for type checkers only, and `python -m cmah` is the command line
    if here in ABOVE or file in ("cmah/__init__.py", "cmah/__main__.py"):
        return None
    if here == "kernels":
        return {here}
    if here in GROUND:
        return {*GROUND, "kernels"}
    assert here in NEIGHBOURS, f"{file}: cmah/{here} is not in the plan of tests/test_imports.py"
    return {here, "kernels", *GROUND, *NEIGHBOURS[here]}


@pytest.mark.parametrize("file", FILES)
def test_a_package_imports_its_neighbours_below_only(file: str) -> None:
    permitted = allowed(file)
    for name, _, line in imports(ROOT / file):
        there = imported_room(name)
        assert "without" not in there, f"{file}:{line} imports {there}"
        if permitted is not None and there:
            assert there in permitted, f"{file}:{line} imports {name}"


def test_the_plan_has_no_arrow_up() -> None:
    """Each package is written behind all that it may import, and the light half imports none of the learning half."""
    seen: list[str] = []
    for package, below in NEIGHBOURS.items():
        assert set(below) <= set(seen), f"{package} stands before {set(below) - set(seen)}"
        seen.append(package)
    assert all(set(below) <= set(LIGHT) for below in LIGHT.values())


@pytest.mark.slow
def test_no_circle_also_none_inside_functions() -> None:
    modules = {file.removesuffix(".py").removesuffix("/__init__").replace("/", "."): file for file in FILES}
    modules |= {
        f"cmah.{name}": file for name, file in modules.items() if name.partition(".")[0] in ("kernels", "cli")
    }
    graph: dict[str, set[str]] = {}
    for file in FILES:
        if file == "cmah/__init__.py":
            continue
        edges = graph.setdefault(file, set())
        for name, _, _ in imports(ROOT / file):
            target = name if name in modules else name.rpartition(".")[0]
            if target in modules and modules[target] not in (file, "cmah/__init__.py"):
                edges.add(modules[target])
    done: set[str] = set()

    def visit(file: str, way: tuple[str, ...]) -> None:
        assert file not in way, " -> ".join([*way[way.index(file) :], file])
        if file not in done:
            for other in sorted(graph[file]):
                visit(other, (*way, file))
            done.add(file)

    for file in sorted(graph):
        visit(file, ())


def test_no_name_stands_twice_in_the_package() -> None:
    """Whoever opens a file by its name gets one answer."""
    names = Counter(Path(file).name for file in FILES if file.startswith("cmah/"))
    assert [name for name, count in names.items() if count > 1 and name != "__init__.py"] == []


@pytest.mark.parametrize("file", [file for file in FILES if room(file) in {"kernels", *GROUND, *LIGHT}])
def test_the_light_half_needs_the_base_install_only(file: str) -> None:
    triton = file.startswith("kernels/") and "triton" in (ROOT / file).read_text(encoding="utf-8")
    for name, at_top, line in imports(ROOT / file):
        top = name.partition(".")[0]
        known = top in sys.stdlib_module_names or top == "cmah" or top in BASE
        known |= triton and top in ("torch", "triton")
        known |= room(file) in LIGHT and not at_top and top in OPTIONAL
        assert known, f"{file}:{line} imports {name}"
        assert top != "pickle", f"{file}:{line} imports pickle"


@pytest.mark.parametrize("file", [file for file in FILES if room(file) == "cli"])
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


@pytest.mark.slow
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


def test_the_encoder_is_fetched_on_first_use() -> None:
    import cmah
    from cmah.runs.encoder import Encoder

    assert "Encoder" in dir(cmah)
    assert cmah.Encoder is Encoder
