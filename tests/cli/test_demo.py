"""A very small demo: every stage, the commands that it names, going on, and folders that it refuses."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from cmah.cli.main import group
from cmah.data.dataset import Shape
from cmah.demo import Scale, first_of_each_category, run_demo
from cmah.errors import CmahError

pytestmark = pytest.mark.slow

SMALL = Scale(per_category=3, views=2, epochs=1, hits=3)


@pytest.fixture
def demo(small_demo: tuple[Path, dict, list[str]]) -> tuple[Path, dict, list[str]]:
    """(folder, summary, lines) of a demo."""
    return small_demo


def commands(lines: list[str]) -> dict[str, list[str]]:
    """The arguments of each command that the demo names, by command."""
    named = [line.split("$ cmah ")[1].split() for line in lines if "$ cmah " in line]
    return {arguments[0]: arguments for arguments in named}


def run(arguments: list[str]) -> str:
    result = CliRunner().invoke(group, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_summary(demo: tuple[Path, dict, list[str]]) -> None:
    out, summary, lines = demo
    assert json.loads((out / "summary.json").read_text()) == summary
    assert list(summary["seconds"]) == ["shapes", "prepare", "train", "export", "index", "eval", "search"]
    for when in ("before", "after"):
        for direction in ("image -> shape", "shape -> image"):
            values = summary["map"][when][direction]
            assert list(values) == ["16", "32", "64"]
            assert all(0 < value <= 1 for value in values.values())
    assert {search["among"] for search in summary["searches"]} == {"shapes", "images"}
    assert all(search["distances"] == sorted(search["distances"]) for search in summary["searches"])
    assert sum(line.endswith(" s") for line in lines) >= 7


def test_page_shows_every_query_and_hit(demo: tuple[Path, dict, list[str]]) -> None:
    out, summary, _ = demo
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count("<figure") == sum(1 + len(search["hits"]) for search in summary["searches"])
    assert page.count('<img src="data:image/') == page.count("<figure")
    assert "http://" not in page
    assert "https://" not in page


def test_the_named_commands_do_the_same(demo: tuple[Path, dict, list[str]], tmp_path: Path) -> None:
    out, summary, lines = demo
    named = commands(lines)
    assert list(named) == ["prepare", "train", "export", "index", "eval", "search"]

    named["prepare"][2] = str(tmp_path / "dataset")
    run(named["prepare"])
    for name in ("shapes.csv", "images.csv"):
        assert (tmp_path / "dataset" / name).read_bytes() == (out / "dataset" / name).read_bytes()

    named["train"][3] = str(tmp_path / "run")
    run(named["train"])
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == (
        out / "run" / "model.safetensors"
    ).read_bytes()

    named["export"][named["export"].index("--out") + 1] = str(tmp_path / "codes")
    run(named["export"])
    named["index"][1:] = [str(tmp_path / "codes" / "shape.npz"), str(tmp_path / "shapes.cmah")]
    run(named["index"])
    assert (tmp_path / "shapes.cmah").read_bytes() == (out / "shapes.cmah").read_bytes()

    results = json.loads(run([*named["eval"], "--json", "-", "--bootstrap", "0"]))["results"]
    found = {(r["direction"], str(r["rules"]["width"])): round(r["values"]["map"], 4) for r in results}
    assert found == {
        (direction, bits): value
        for direction, row in summary["map"]["after"].items()
        for bits, value in row.items()
    }

    hits = json.loads(run([*named["search"], "--json", "-k", "3"]))["queries"][0]["hits"]
    assert [hit["id"] for hit in hits] == summary["searches"][0]["hits"]
    assert [hit["distance"] for hit in hits] == summary["searches"][0]["distances"]


def test_again_goes_on_and_finds_the_same(demo: tuple[Path, dict, list[str]]) -> None:
    out, summary, _ = demo
    model = (out / "run" / "model.safetensors").stat().st_mtime_ns
    (out / "report.html").unlink()
    again = run_demo(out, scale=SMALL, report=lambda line: None)
    assert (out / "run" / "model.safetensors").stat().st_mtime_ns == model
    assert {**again, "seconds": 0} == {**summary, "seconds": 0}
    assert (out / "report.html").is_file()


def test_refuses_a_demo_with_another_seed(demo: tuple[Path, dict, list[str]]) -> None:
    with pytest.raises(CmahError, match=re.escape(f"{demo[0]}: holds a demo with seed 0")):
        run_demo(demo[0], seed=1, scale=SMALL)


def test_refuses_a_folder_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(CmahError, match="neither empty nor a demo's folder"):
        run_demo(tmp_path)
    mine = tmp_path / "mine/meshes/chair/chair_000.obj"  # a name that the demo writes too
    mine.parent.mkdir(parents=True)
    mine.write_text("years of work")
    with pytest.raises(CmahError, match="neither empty nor a demo's folder"):
        run_demo(tmp_path / "mine")
    assert mine.read_text() == "years of work"


def test_shapes_that_were_not_all_made_are_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Made(Exception):
        pass

    def stop(path: Path, *_: object, **__: object) -> None:
        path.mkdir(exist_ok=True)
        raise Made

    monkeypatch.setattr("cmah.synthetic.make_shapes", stop)
    for _ in range(2):
        with pytest.raises(Made):
            run_demo(tmp_path / "demo", scale=SMALL, report=lambda line: None)


def test_first_of_each_category() -> None:
    shapes = [Shape(f"{name}{i}", name, "test", "p.npy") for i in range(2) for name in ("mug", "bed")]
    assert [shape.shape_id for shape in first_of_each_category(shapes)] == ["bed0", "mug0"]
