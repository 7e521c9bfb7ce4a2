"""README and site stay true: their links lead somewhere, their commands exist, their examples do what they show."""

import copy
import re
import shutil
from pathlib import Path

import click
import commands_page
import pytest
from pages import PAGES, ROOT, blocks, lay_out, require_alike, require_same, run_page

import cmah
from cmah.cli.main import COMMANDS, group

README = ROOT / "README.md"


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=name)
def test_blocks_run(page: Path, beside_demo: Path) -> None:
    lay_out(beside_demo)
    run_page(page)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_options_in_the_text_exist(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for command, rest in re.findall(r"`cmah (\w+)([^`]*)`", text):
        named = group.get_command(click.Context(group), command)
        assert named is not None, command
        known = {option for parameter in named.params for option in parameter.opts} | {"--help", "--debug"}
        assert set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", rest)) <= known, f"cmah {command}{rest}"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_code_stands_in_fenced_blocks(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert re.findall(r"^    (?:cmah|python|make|pip|from|import) .*", text, re.MULTILINE) == []


def test_outputs_are_compared() -> None:
    require_same("mAP 0.52, 98% of 50\n", "mAP 0.50, 97% of 50\n")
    require_alike("a.npz: 42 codes\n\n  1  chair.chair_001.obj\n", "a.npz: 9 codes\n 1 x2\n")
    with pytest.raises(AssertionError):
        require_same("98% of 50\n", "98% of 51\n")
    with pytest.raises(AssertionError):
        require_same("0.52\n", "0.56\n")
    with pytest.raises(AssertionError):
        require_alike("42 items\n", "42 codes\n")


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    monkeypatch.chdir(tmp_path)
    shown = nbformat.read(ROOT / "docs" / "guides" / "code-length.ipynb", as_version=4)
    ran = nbclient.NotebookClient(copy.deepcopy(shown), timeout=300, kernel_name="python3").execute()
    texts = [
        [
            "".join(output.get("text", "") for output in cell.outputs)
            for cell in book.cells
            if "outputs" in cell
        ]
        for book in (shown, ran)
    ]
    assert sum(map(bool, texts[0])) == 3
    for ours, theirs in zip(*texts, strict=True):
        require_same(ours, theirs)


def test_every_command_is_in_the_readme() -> None:
    assert re.findall(r"^\| `cmah (\w+)", README.read_text(encoding="utf-8"), re.MULTILINE) == list(COMMANDS)


def test_the_page_of_commands_shows_their_help() -> None:
    assert commands_page.PAGE.read_text(encoding="utf-8") == commands_page.page(), (
        "python tests/helpers/commands_page.py"
    )


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150


def test_every_module_has_its_place_in_the_reference() -> None:
    named = [
        module
        for page in (ROOT / "docs" / "api").glob("*.md")
        for module in re.findall(r"^::: (\S+)", page.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    sources = [*(ROOT / "cmah").rglob("*.py"), *(ROOT / "kernels").glob("*.py")]
    public = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in sources
        if re.search(r"^(?:class|def) [a-z]", path.read_text(encoding="utf-8"), re.MULTILINE | re.IGNORECASE)
    ]
    assert len(named) == len({*named})
    assert {*public} <= {*named}


def test_the_changelog_knows_this_version() -> None:
    assert cmah.__version__ in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_no_page_is_left_out_of_the_site() -> None:
    menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in [*(ROOT / "docs").rglob("*.md"), *(ROOT / "docs").rglob("*.ipynb")]:
        if ".ipynb_checkpoints" not in page.parts:
            assert f"- {page.relative_to(ROOT / 'docs').as_posix()}\n" in menu


@pytest.mark.slow
def test_a_copy_of_the_demo_may_be_changed(beside_demo: Path) -> None:
    assert (beside_demo / "demo" / "shapes.cmah").is_file()
    shutil.rmtree(beside_demo / "demo")
