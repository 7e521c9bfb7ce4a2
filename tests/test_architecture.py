"""docs/architecture.md names every file of the code with the first sentence of its docstring."""

import importlib.util
from pathlib import Path

HELPER = Path(__file__).parent / "helpers" / "tree.py"


def test_the_tree_is_that_of_the_code() -> None:
    spec = importlib.util.spec_from_file_location("tree", HELPER)
    assert spec is not None
    assert spec.loader is not None
    tree = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tree)
    _, _, rest = tree.PAGE.read_text(encoding="utf-8").partition(tree.BEGIN)
    assert rest.partition(tree.END)[0] == tree.tree(), f"write it anew: python {HELPER}"
