"""The tree of docs/architecture.md, from the first sentence of each file's docstring; run this file to write it."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "architecture.md"
FOLDERS = ("cmah", "kernels", "cli", "experiments")
BEGIN, END = "<!-- tree -->\n", "<!-- end of tree -->\n"


def clause(path: Path) -> str:
    """The first sentence of a module's docstring, without its full stop."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    sentence = re.split(r"(?<!et al)\.(?:\s|$)", " ".join(text.split()), maxsplit=1)[0]
    return sentence.removesuffix(".")


def lines(folder: Path, depth: int = 0) -> Iterator[str]:
    """A line for the folder, then one for each file in it, then its folders."""
    head = folder / "__init__.py"
    yield f"{'  ' * depth}{folder.name}/".ljust(34) + (clause(head) if head.is_file() else "")
    inside = sorted(path for path in folder.iterdir() if not path.name.startswith(("_", ".")))
    for path in inside:
        if path.suffix == ".py":
            yield f"{'  ' * (depth + 1)}{path.name}".ljust(34) + clause(path)
    for path in inside:
        if path.is_dir() and any(path.glob("*.py")):
            yield from lines(path, depth + 1)


def tree() -> str:
    """The tree as an indented block of Markdown."""
    every = [line.rstrip() for name in FOLDERS for line in lines(ROOT / name)]
    return "\n" + "".join(f"    {line}\n" for line in every) + "\n"


if __name__ == "__main__":
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(before + BEGIN + tree() + END + rest.partition(END)[2], encoding="utf-8")
