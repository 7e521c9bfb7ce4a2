"""Each experiment over two towers runs on synthetic shapes, and prints the rows it promises with sane numbers.

They run in this process: starting one for each of their runs would take minutes.
"""

import re
import runpy
from pathlib import Path

import pytest
from click.testing import CliRunner

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
NUMBER = r"\d+\.\d"


@pytest.fixture(autouse=True)
def _modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """They import each other by their bare names; pictures of the loss would take a third of the time."""
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    monkeypatch.setattr("cmah.training.loop.plot_curves", lambda run: None)


def smoke(name: str, out: Path, *options: str) -> str:
    """What `--smoke` prints; run again, it makes nothing anew and prints the same."""
    pytest.importorskip("open_clip")
    command = runpy.run_path(str(EXPERIMENTS / f"{name}.py"))["main"]
    arguments = ["--smoke", "--out", str(out), *options]
    first = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert first.exit_code == 0, first.output
    written = {path: path.stat().st_mtime_ns for path in out.glob("*/numbers.json")}
    again = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert again.stdout == first.stdout
    assert {path: path.stat().st_mtime_ns for path in out.glob("*/numbers.json")} == written != {}
    return first.stdout


def table(text: str) -> dict[str, list[str]]:
    """The cells of the first table in a text, by the label of the row."""
    lines = re.search(r"(?:^\|.*\n?)+", text, re.MULTILINE)
    assert lines
    _, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines[0].splitlines())
    return {label: cells for label, *cells in rows}


def means(rows: dict[str, list[str]]) -> list[float]:
    """All cells, the deviations left out; each is a part in percent."""
    cells = [cell for row in rows.values() for cell in row]
    assert all(re.fullmatch(rf"{NUMBER}( ± {NUMBER})?", cell) for cell in cells), cells
    values = [float(cell.split()[0]) for cell in cells]
    assert all(0 <= value <= 100 for value in values)
    return values


@pytest.mark.slow
def test_prealigned_instance(tmp_path: Path) -> None:
    text = smoke("prealigned_instance", tmp_path)
    labels = [
        "zero-shot, pre-aligned", "InfoNCE, scratch", "HCL, scratch", "InfoNCE, pre-aligned", "HCL, pre-aligned",
    ]  # fmt: skip
    for title in ("floats", "16 bits"):
        rows = table(text.partition(f"**render, {title}**")[2])
        assert list(rows) == labels
        means(rows)
        for top1, top10, ap in ([float(cell.split()[0]) for cell in row] for row in rows.values()):
            # of 8 shapes the right one is among the first 10; one relevant shape: its reciprocal rank
            assert top10 == 100
            assert max(top1, 100 / 8) <= ap + 0.1 <= 100
    published = table(text.partition("not measured here")[2])
    assert published["ModelNet40, Point-BERT(L), HCL, scratch"] == ["38.0", "–", "–"]
    # the zero-shot run is the published pair as it is: nothing but its codes was fitted
    assert (tmp_path / "zero-shot-pre-aligned-0" / "run" / "hash.npz").exists()
    assert not (tmp_path / "zero-shot-pre-aligned-0" / "run" / "metrics.jsonl").read_text()


@pytest.mark.slow
def test_captionless_classification(tmp_path: Path) -> None:
    text = smoke("captionless_classification", tmp_path)
    assert text.startswith("8 shapes of split val, 3 categories")
    rows = table(text)
    assert list(rows) == ["InfoNCE", "I2I", "(I2L)²", "AVG"]
    means(rows)
    for row in rows.values():
        assert row[1] == row[3] == "100.0 ± 0.0"  # one of 3 is among the first 5
    assert table(text.partition("not measured here")[2])["ModelNet40, AVG"] == ["65.9", "87.0", "93.7"]


@pytest.mark.slow
def test_captionless_retrieval(tmp_path: Path) -> None:
    text = smoke("captionless_retrieval", tmp_path)
    assert "16 images (render), 16 of them with a mask, 8 shapes" in text
    for title, chance in (("whole base", 5 / 8), ("within 128", 5 / 16)):
        rows = table(text.partition(f"**{title}**")[2])
        assert list(rows) == ["InfoNCE", "I2I", "(I2L)²", "AVG"]
        means(rows)
        for row in rows.values():
            values = [float(cell.split()[0]) for cell in row]
            assert all(first <= fifth for first, fifth in zip(values[::2], values[1::2], strict=True))
            # next to nothing is learned: not far from chance, which tells the two rankings apart
            assert abs(values[1] - 100 * chance) < 25
    published = table(text.partition("not measured here")[2])
    assert published["AVG"] == ["35.6", "75.1", "29.0", "68.7", "25.9", "60.1", "23.3", "57.8"]


@pytest.mark.slow
def test_captionless_landmarks(tmp_path: Path) -> None:
    text = smoke("captionless_landmarks", tmp_path)
    rows = table(text)
    assert list(rows) == ["L = 8", "L = 32"]  # 64 are more than there are
    means(rows)
    configs = {p.parts[-3]: p.read_text() for p in tmp_path.glob("*/run/config.json")}
    assert len(configs) == 2
    assert all(
        f'"landmarks_per_category": {name.split("-")[0]}' in config for name, config in configs.items()
    )


@pytest.mark.slow
def test_hard_negatives(tmp_path: Path) -> None:
    text = smoke("hard_negatives", tmp_path, "--jobs", "0")
    for title in ("render floats", "render 16 bits"):
        body = text.partition(f"**{title} → shape**")[2]
        lines = re.findall(
            r"^\| (.+?) \| (scratch|weights) \| (.+) \|$", body.partition("**")[0], re.MULTILINE
        )
        assert len(lines) == 10
        for _, _, cells in lines:
            values = [float(cell.split()[0]) for cell in cells.split(" | ")[:4]]
            assert all(0 < value <= 1 for value in values)
            assert values[2] == 1
