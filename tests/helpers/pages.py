"""The code blocks of the Markdown pages, and running them as a reader would.

Blocks of `python`, one after the other, are one program per page; what it prints must be the block of `text` behind it.
Commands are run in a folder with demo/ (as `make demo` leaves it, but small), meshes/ and photo.jpg; of what they show
numbers and names of items may differ. A block behind a line `<!-- not run: why -->` is only checked for its options.
"""

import contextlib
import io
import re
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner

from cmah.cli.main import group

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<why>[^\n]+) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
# `cmah train` as the pages have it, but short
FASTER = ("--set", "training.epochs=1", "--set", "training.batch_size=8", "--set", "training.workers=0")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and why it is not run ("" if it is)."""

    language: str
    text: str
    why: str


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page."""
    found = BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [Block(match["language"], match["text"], match["why"] or "") for match in found]


def commands(block: Block) -> list[list[str]]:
    """The words of each command of a block; lines that end in a backslash go on."""
    lines = block.text.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def lay_out(folder: Path) -> None:
    """Beside demo/: what the pages suppose that a reader has."""
    shutil.copytree(folder / "demo" / "meshes", folder / "meshes")
    shutil.copy(
        folder / "demo" / "dataset" / "renders" / "chair.chair_000.obj" / "01.jpg", folder / "photo.jpg"
    )


def run_page(page: Path) -> None:
    """Run all blocks of a page in the current folder; what they show must be what they print."""
    namespace: dict[str, Any] = {"__name__": "page"}
    printed, language = "", ""
    for block in blocks(page):
        if block.language == "text":
            if language == "python":
                require_same(block.text, printed)
            elif language == "sh":
                require_alike(block.text, printed)
        elif block.why:
            printed = ""
            for words in commands(block):
                check_command(words)
        elif block.language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(block.text, str(page), "exec"), namespace)
            printed = out.getvalue()
        elif block.language == "sh":
            printed = "".join(run_command(words) for words in commands(block))
        language = "" if block.why else block.language


def run_command(words: list[str]) -> str:
    """Run a command of cmah; others (pip, make, the experiments) are checked. Give its standard output."""
    if words[0] != "cmah":
        check_command(words)
        return ""
    short = FASTER if words[1] == "train" and "--epochs" not in words else ()
    done = CliRunner().invoke(group, [*words[1:], *short], catch_exceptions=False)
    assert done.exit_code == 0, f"{' '.join(words)}: {done.output}"
    return done.stdout


def check_command(words: list[str]) -> None:
    """A command that is not run here names programs, targets, extras and options that there are."""
    program, *rest = words
    if program == "cmah":
        named = group.get_command(click.Context(group), rest[0])
        assert named is not None, words
        named.make_context(rest[0], rest[1:], parent=click.Context(group, **group.context_settings))
    elif program == "pip":
        extras = re.findall(r"\[(.*)\]", rest[-1])
        known = re.findall(
            r'^        "(\w+)":', (ROOT / "setup.py").read_text(encoding="utf-8"), re.MULTILINE
        )
        assert rest[0] == "install", words
        assert {extra for group in extras for extra in group.split(",")} <= set(known), words
    elif program == "make":
        targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        assert {word for word in rest if "=" not in word} <= set(targets), words
    elif program == "python" and rest[0].startswith("experiments/"):
        check_options(ROOT / rest[0], rest[1:])
    elif program == "python":
        path = Path(*rest[1].split(".")).with_suffix(".py") if rest[0] == "-m" else Path(rest[0])
        assert (ROOT / path).is_file(), words
    else:
        assert program == ".venv/bin/pre-commit", words


def check_options(experiment: Path, words: list[str]) -> None:
    """The options of an experiment are named in its source, or in that of the helpers that it imports."""
    helpers = [experiment.parent / name for name in ("common.py", "two_towers.py")]
    sources = "".join(path.read_text(encoding="utf-8") for path in [experiment, *helpers])
    named = [*re.findall(r'"(--[a-z-]+)', sources), "--help"]
    assert {word.partition("=")[0] for word in words if word.startswith("--")} <= set(named), words


def require_same(shown: str, printed: str) -> None:
    """What Python prints is what the page shows; the last digit of fractions and percentages may differ by 3."""
    words, other = shown.split(), printed.split()
    assert len(words) == len(other), f"shown:\n{shown}\nprinted:\n{printed}"
    for ours, theirs in zip(words, other, strict=True):
        assert ours == theirs or _near(ours, theirs), f"shown:\n{shown}\nprinted:\n{printed}"


def _near(shown: str, printed: str) -> bool:
    """Whether both are fractions, or percentages, that differ by 3 in the last digit at most."""
    number = re.compile(r"(\d+)(?:\.(\d+))?(%?)\W*")
    ours, theirs = number.fullmatch(shown), number.fullmatch(printed)
    if not (ours and theirs and (ours[2] or ours[3])):
        return False
    values = [int(match[1] + (match[2] or "")) for match in (ours, theirs)]
    return len(ours[2] or "") == len(theirs[2] or "") and abs(values[0] - values[1]) <= 3


def require_alike(shown: str, printed: str) -> None:
    """Each line that a page shows of a command is one that it prints, up to numbers and names of items."""
    lines = {skeleton(line) for line in printed.splitlines()}
    for line in shown.splitlines():
        assert line.strip() in ("", "...") or skeleton(line) in lines, f"shown:\n{line}\nprinted:\n{printed}"


def skeleton(line: str) -> str:
    """A line of a command's output without what depends on the data."""
    from cmah.synthetic import CATEGORIES

    words = ["#" if re.search(r"\d", word) else word for word in line.split()]
    words = ["category" if word.strip("(),") in CATEGORIES else word for word in words]
    return " ".join("-" if set(word) == {"-"} else word for word in words)
