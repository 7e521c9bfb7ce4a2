"""What the README says stays true: its tree, its links, its example, and the version in the changelog."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import cmah

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TREE = README.partition("## The tree")[2].partition("\n## ")[0]


def tree_paths() -> set[str]:
    """The files and folders that the tree names: two spaces a level, several .py files may share a line."""
    paths, parents = set(), [""]
    for line in re.findall(r"^    (.+)$", TREE, re.MULTILINE):
        depth = (len(line) - len(line.lstrip())) // 2
        first, *rest = line.split()
        parents[depth + 1 :] = [parents[depth] + first]
        paths.add(parents[depth] + first)
        for word in rest:
            if not word.endswith(".py"):
                break
            paths.add(parents[depth] + word)
    return paths


@pytest.mark.parametrize("folder", ["cmah", "kernels", "cli", "experiments"])
def test_the_tree_names_every_file(folder: str) -> None:
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*.py")}
    files -= {path for path in files if path.endswith("__init__.py") and path != "cmah/__init__.py"}
    assert files == {path for path in tree_paths() if path.startswith(f"{folder}/") and path.endswith(".py")}


def test_links_lead_somewhere() -> None:
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            assert target.startswith("https://") or (ROOT / target).exists(), f"{name}: {target}"


def test_every_command_is_in_the_table() -> None:
    from cmah.cli.main import COMMANDS

    assert re.findall(r"^\| `cmah (\w+)", README, re.MULTILINE) == list(COMMANDS)


def test_the_example_runs(tmp_path: Path) -> None:
    first, more, _ = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    check = "assert hits.ids[:, 0].tolist() == [0, 1, 2] and not hits.distances[:, 0].any()\n"
    after = "assert len(index) == 1000 and set(hits.ids.ravel()) == {1, 2, 5000} and near.offsets[3] >= 3"
    command = [sys.executable, "-c", first + check + more + after]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_changelog_knows_this_version() -> None:
    assert cmah.__version__ in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
