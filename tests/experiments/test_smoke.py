"""Each experiment over two towers runs on synthetic shapes, and prints the rows it promises with sane numbers.

They run in this process: starting one for each of their runs would take minutes.
"""

import json
import re
import runpy
from pathlib import Path

import pytest
from click.testing import CliRunner
from small_office31 import make_office31

from cmah.runs.metrics_log import read_metrics

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
NUMBER = r"\d+\.\d"
FIELDS = (
    "epoch",
    "step",
    "lr",
    "loss",
    "seconds",
    "pairs_per_second",
)  # of a record that are no terms of the loss


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


@pytest.mark.slow
def test_style_mixed_instance(tmp_path: Path) -> None:
    text = smoke("style_mixed_instance", tmp_path)
    of_style_mixed = ["CMIC form", "+ style", "+ style, consistency", "+ style, contrast", "all (SC-IBSR)"]
    arms = {False: of_style_mixed, True: [*of_style_mixed, "captionless", "cmah"]}
    titles = {
        "attention over views": False,
        "cosine of pooled vectors": True,
        "codes": True,
        "codes, first 8 re-ranked by attention": False,
        "codes, first 8 re-ranked by cosine": True,
    }
    rankings = {}
    for title, others in titles.items():
        rows = table(text.partition(f": {title}**")[2])
        assert list(rows) == arms[others]
        rankings[title] = rows
        for first, tenth, hau in ([float(cell) for cell in row] for row in rows.values()):
            assert 0 <= first <= tenth == 100  # of 8 shapes the right one is among the first 10
            assert (hau == 0) == (first == 100)  # a wrong first hit lies somewhere else
    # all 8 shapes are re-ranked, so nothing is left of the codes' order
    for by, score in (("attention", "attention over views"), ("cosine", "cosine of pooled vectors")):
        again = rankings[f"codes, first 8 re-ranked by {by}"]
        assert again == {arm: rankings[score][arm] for arm in again}
    assert list(table(text.partition("**training**")[2])) == arms[True]
    published = table(text.partition("not measured here")[2])
    assert published["Pix3D, SC-IBSR"] == ["80.2", "96.9"]


@pytest.mark.slow
def test_style_mixed_category(tmp_path: Path) -> None:
    text = smoke("style_mixed_category", tmp_path)
    arms = [
        "source only", "domain adaptation", "+ style", "+ style, consistency", "+ style, contrast", "all (SC-IBSR)",
        "all, codes by ITQ",
    ]  # fmt: skip
    assert text.startswith("split val, 8 images, 8 shapes, relevant by category")
    for title in ("embeddings, cosine", "embeddings after ReLU, cosine", "codes of 16 bits"):
        rows = table(text.partition(f"images → shapes: {title}")[2])
        assert list(rows) == arms
        means(rows)
        for _, ft, st, f, _, _, _, _ in ([float(cell) for cell in row] for row in rows.values()):
            assert ft <= st
            # two shapes of eight are relevant, and the database ends before rank 20: whatever the order, 2·2 / (20 + 2)
            assert f == pytest.approx(100 * 4 / 22, abs=0.1)
    right = table(text.partition("**classification of 4 shapes and 8 images")[2])
    assert list(right) == arms
    means(right)
    published = table(text.partition("not measured here")[2])
    assert published["Ours-SF"] == ["77.1", "66.3", "79.6", "15.6", "69.2", "31.4"]
    # what each arm was trained with
    terms = {}
    for path in tmp_path.glob("*/run"):
        config = json.loads((path / "config.json").read_text())
        last = read_metrics(path)[-1]
        terms[path.parent.name] = {*last} - {*FIELDS}
        assert config["model"]["head"] == ("itq" if "codes" not in last else "tanh")
        assert config["training"]["lr"] == 1e-3  # not that of a pair of Office-31
    adapted = {"classes", "domain", "nuclear", "codes"}
    every = {*adapted, "centres", "orthogonal", "consistency", "contrast"}
    assert terms == {
        "source-only-0": {"classes"},
        "domain-adaptation-0": adapted,
        "style-0": adapted,
        "style-consistency-0": adapted | {"consistency"},
        "style-contrast-0": adapted | {"contrast"},
        "all-sc-ibsr-0": every,
        "all-codes-by-itq-0": every - {"codes"},
    }


@pytest.mark.slow
def test_style_mixed_category_closed(tmp_path: Path) -> None:
    """Lamps, of which there is no photo, are not ranked."""
    text = smoke("style_mixed_category", tmp_path, "--closed", "--arms", "source only")
    assert text.startswith("split val, 8 images, 4 shapes")
    assert "classification of 4 shapes" in text


@pytest.mark.slow
def test_style_mixed_category_with_office31(tmp_path: Path) -> None:
    folder = make_office31(tmp_path / "office")
    arm = "all (SC-IBSR)"
    text = smoke("style_mixed_category", tmp_path / "out", "--office31", str(folder), "--arms", arm)
    for title in ("groups of up to 4 images of a class", "single images"):
        body = text.partition(f"**{title}**")[2]
        assert "| arm | A→W | D→W | W→D | A→D | D→A | W→A | mean |" in body.partition("**")[0]
        rows = table(body)
        assert list(rows) == [arm]
        values = means(rows)
        assert abs(sum(values[:6]) / 6 - values[6]) < 0.1
    rates = {
        path.name.removesuffix("-all-sc-ibsr-0"): json.loads((path / "run" / "config.json").read_text())[
            "training"
        ]
        for path in (tmp_path / "out").glob("*-all-sc-ibsr-0")
    }
    slow, fast = 1e-3 / 3, 5e-3 / 3
    assert {pair: training["lr"] for pair, training in rates.items()} == pytest.approx(
        {
            "amazon-webcam": slow, "dslr-webcam": slow, "webcam-dslr": fast, "amazon-dslr": slow, "dslr-amazon": fast,
            "webcam-amazon": fast,
        }
    )  # fmt: skip


@pytest.mark.slow
def test_towers_table(tmp_path: Path) -> None:
    text = smoke("towers_table", tmp_path)
    assert text.startswith("split val, mean ± standard deviation over 2 seeds")
    rows = table(text)
    lengths = (16, 32, 64, 128)
    names = [f"{bits} bits, learned" for bits in lengths] + ["64 floats", "128 floats"]
    names += [f"{bits} bits, first 100 re-ranked" for bits in lengths]
    names += [f"{bits} bits, {method}" for method in ("ITQ", "PCA", "LSH") for bits in lengths]
    assert list(rows) == names
    for cells in rows.values():
        values = [float(cell.split(" ± ")[0]) for cell in cells]
        assert len(values) == 3  # renders both ways, and the very shape among 8
        assert all(0 < value <= 1 for value in values)
        assert values[2] == 1
    assert re.search(r"encoding \d+\.\d ms an image, \d+\.\d ms a shape", text)


PEERS = tuple(f"{name}-style objective (reimplementation)" for name in ("UCCH", "DJSRH", "CIBHash"))


@pytest.mark.slow
def test_hashing_peers(tmp_path: Path) -> None:
    text = smoke("hashing_peers", tmp_path)
    assert text.startswith("split val, mean ± standard deviation over 2 seeds")
    rows = table(text)
    names = ["towers", "towers without photos", "towers without photos, one-hot targets", *PEERS]
    names += [
        f"{method} on {floats} floats" for floats in ("towers'", "frozen") for method in ("ITQ", "PCA", "LSH")
    ]
    assert list(rows) == [f"{bits} bits, {name}" for name in names for bits in (16, 32, 64)]
    for photos, maps, accuracy in rows.values():
        assert photos in ("yes", "no")
        assert all(0 < float(value) <= 1 for value in maps.partition(" ± ")[0].split(" / "))
        assert float(accuracy.partition(" ± ")[0]) == 1  # the very shape among 8
    losses = {
        run.parent.name: set(read_metrics(run)[-1]) - set(FIELDS) for run in tmp_path.glob("*-32-1/run")
    }
    assert losses == {
        "ucch-32-1": {"contrast", "ranking"},
        "djsrh-32-1": {"reconstruction"},
        "cib-32-1": {"contrast", "divergence"},
    }


@pytest.mark.slow
def test_hashing_peers_held_out(tmp_path: Path) -> None:
    text = smoke("hashing_peers", tmp_path, "--held-out")
    rows = [line.split(" | ") for line in text.splitlines()[2:]]
    assert [row[0].removeprefix("| ") for row in rows] == [*[PEERS[0]] * 4, *[PEERS[1]] * 4, *[PEERS[2]] * 3]
    assert len({tuple(row[:2]) for row in rows}) == len(rows)  # no setting twice
    assert all(0 < float(value.removesuffix(" |")) <= 1 for row in rows for value in row[2:])
