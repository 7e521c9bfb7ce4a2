"""What the README says stays true: its links, its example, and the version in the changelog."""

import re
import subprocess
import sys
from pathlib import Path

import cmah

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_links_lead_somewhere() -> None:
    pages = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    for page in [*pages, *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert target.startswith("https://") or (page.parent / target).exists(), f"{page.name}: {target}"


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
