"""Every public class and function has an example in its docstring, and the examples do what they show."""

import ast
import doctest
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted([*(ROOT / "cmah").rglob("*.py"), *(ROOT / "kernels").glob("*.py")])
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def module_name(path: Path) -> str:
    """The name by which a source is imported: kernels/points.py is cmah.kernels.points."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts if parts[0] == "cmah" else ("cmah", *parts)).removesuffix(".__init__")


def public(path: Path) -> list[ast.FunctionDef | ast.ClassDef]:
    """The classes and functions of a source whose names have no underscore before them."""
    nodes = ast.parse(path.read_text(encoding="utf-8")).body
    return [n for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef) and not n.name.startswith("_")]


@pytest.mark.parametrize("path", [path for path in SOURCES if public(path)], ids=module_name)
def test_every_public_name_has_an_example(path: Path) -> None:
    assert [node.name for node in public(path) if ">>>" not in (ast.get_docstring(node) or "")] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", [path for path in SOURCES if ">>>" in path.read_text(encoding="utf-8")], ids=module_name
)
def test_examples(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    source = path.read_text(encoding="utf-8")
    if '"demo/' in source:
        request.getfixturevalue("beside_demo")
    monkeypatch.chdir(tmp_path)
    module = import_module(module_name(path))
    examples = [test for test in doctest.DocTestFinder(exclude_empty=True).find(module) if test.examples]
    assert {test.name.rpartition(".")[2] for test in examples} >= {
        node.name for node in public(path) if ">>>" in (ast.get_docstring(node) or "")
    }
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    for test in examples:
        runner.run(test)
    assert runner.summarize(verbose=False).failed == 0
