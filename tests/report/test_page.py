"""The report page: whole, self-contained, escaped, the same each time, and true to the numbers."""

import importlib.util
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from cmah.codes import BinaryCodes, Embeddings
from cmah.errors import CmahError
from cmah.evaluation import evaluate
from cmah.evaluation.evaluations import Evaluation
from cmah.report import sections
from cmah.report.nearest_items import nearest
from cmah.report.page import write_report

pytestmark = pytest.mark.slow
ODD = "<script>alert('&')</script>"
CATEGORIES = np.array([ODD, "mug_cup", "chair", "lamp"])
PICTURE = "data:image/png;base64,AAAA"


class Page(HTMLParser):
    """What a reader of HTML finds in a page."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.tables, self.text, self.open = [], [], "", []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        if "style" not in self.open and "script" not in self.open:
            self.text += data
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def sides(n=24, bits=16, noise=0.2, seed=0):
    """Images and shapes whose codes agree by category, as far as the noise lets them."""
    rng = np.random.default_rng(seed)
    centres = rng.integers(0, 2, (4, bits))
    made = {}
    for modality, count in (("image", 2 * n), ("shape", n)):
        shape = np.arange(count) % n
        known = {
            "ids": [f"{modality[0]}{i}" for i in range(count)],
            "shape_ids": [f"s{i}" for i in shape],
            "categories": CATEGORIES[shape % 4],
        }
        values = centres[shape % 4] ^ (rng.random((count, bits)) < noise)
        made[modality] = BinaryCodes.from_bits(values, (bits // 2, bits), modality=modality, **known)
    return made["image"], made["shape"]


def measured(pair, lengths, name="", **settings):
    results = []
    for direction, a, b in (("image -> shape", *pair), ("shape -> image", *pair[::-1])):
        for length in lengths:
            cut = a.truncate(length), b.truncate(length)
            results.append(Evaluation(direction, *cut, evaluate(*cut, bootstrap=20, **settings), name))
    return results


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    results = measured(sides(), (8, 16))
    path = write_report(
        folder,
        results,
        title="Title & more",
        lead=["a lead"],
        before=measured(sides(noise=0.5, seed=1), (16,)),
        pictures=lambda name, modality: "" if name == "s3" else PICTURE,
        provenance=[("command", "cmah eval <x>")],
        settings=("Settings", '{"a": "<b>"}'),
    )
    return results, path, Page(path.read_text(encoding="utf-8"))


def test_page_needs_nothing_from_elsewhere(made):
    _, path, page = made
    text = path.read_text(encoding="utf-8")
    assert "http" not in text
    assert "@import" not in text
    assert len(re.findall(r"url\(", text)) == len(re.findall(r"url\(#", text))
    for tag, attributes in page.elements:
        assert tag not in ("link", "iframe", "object")
        for name in ("src", "href", "xlink:href", "data", "srcset"):
            assert attributes.get(name, "#").startswith(("#", "data:image/")), (tag, attributes)


def test_links_and_ids_fit(made):
    page = made[2]
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {attributes["href"][1:] for attributes in page.all("a")}
    assert targets == {"numbers", "curves", "classes", "confusion", "plane", "bits", "searches", "made"}
    for _, attributes in page.elements:
        if attributes.get("href", "").startswith("#"):
            assert attributes["href"][1:] in ids


def test_pictures_are_described_and_reached_by_the_keyboard(made):
    page = made[2]
    assert all(attributes.get("alt") for attributes in page.all("img"))
    for attributes in page.all("svg"):
        assert attributes.get("aria-label") or attributes.get("aria-hidden") == "true"
    assert len(page.all("img")) == sum(attributes.get("class") == "zoom" for attributes in page.all("button"))
    assert page.all("html") == [{"lang": "en"}]


def test_everything_is_escaped(made):
    page = made[2]
    assert len(page.all("script")) == 1
    for part in (ODD.replace("_", " "), "Title & more", "cmah eval <x>", '{"a": "<b>"}', "mug cup", "a lead"):
        assert part in page.text


def test_numbers_are_those_of_the_reports(made):
    results, _, page = made
    ranking, tiers, shape = page.tables[:3]
    assert len(ranking) == len(tiers) == len(shape) == 1 + len(results)
    for table, wanted in (
        (ranking, {"mAP": "map", "P@10": "p@10", "NDCG@10": "ndcg@10", "class mAP": "map_class"}),
        (tiers, {"NN": "nn", "FT": "ft", "ST": "st", "ANMRR": "anmrr"}),
        (shape, {"Acc@1": "acc@1", "MRR": "mrr"}),
    ):
        assert len({len(row) for row in table}) == 1
        for result, row in zip(results, table[1:], strict=True):
            assert row[:2] == [result.direction.replace("->", "→"), result.width]
            for heading, name in wanted.items():
                assert row[table[0].index(heading)] == f"{result.report[name]:.3f}"
    for result, row in zip(results, ranking[1:], strict=True):
        value = result.report.values
        assert f"{value['map_low']:.3f} – {value['map_high']:.3f}" in row
        assert f"{value['map_worst']:.3f} – {value['map_best']:.3f}" in row
    assert [row[ranking[0].index("before")] != "–" for row in ranking[1:]] == [False, True, False, True]


def test_searches_show_the_first_hits(made):
    """Each query with its hits in order: frames by category, distances, stars for the very shape."""
    results, path, _ = made
    text = path.read_text(encoding="utf-8")
    found = {
        results[i].direction: (results[i], *nearest(results[i].query, results[i].database, 10))
        for i in (1, 3)
    }
    blocks = re.split(r'<div class="search">', text)[1:]
    assert len(blocks) == 2 * 3 * 5
    for number, block in enumerate(blocks):
        result, positions, distances = found[results[1 if number < 15 else 3].direction]
        tiles = re.findall(r'<figure class="tile ?(\w*)" title="([^"]*)">(.*?)</figure>', block)
        row = result.query.ids.tolist().index(tiles[0][1])
        assert f"AP {result.report.per_query['ap'][row]:.2f}" in tiles[0][2]
        assert [name for _, name, _ in tiles[1:]] == result.database.ids[positions[row]].tolist()
        for (kind, name, inside), j, distance in zip(tiles[1:], positions[row], distances[row], strict=True):
            same = result.database.categories[j] == result.query.categories[row]
            assert kind == ("good" if same else "bad")
            assert f"{distance} bits" in inside
            assert ("★" in inside) == (result.database.shape_ids[j] == result.query.shape_ids[row])
            assert ("<img" in inside) == (name != "s3")


def test_figures_lie_beside_the_page(made):
    _, path, page = made
    names = {
        "lengths",
        "precision",
        "precision-recall",
        "radius",
        "categories",
        "confusion",
        "tsne",
        "balance",
    }
    files = {file.name for file in (path.parent / "figures").iterdir()}
    assert files == {f"{name}.{suffix}" for name in (*names, "correlation") for suffix in ("svg", "png")}
    assert all(f"figures/{name}" in page.text for name in names)


def test_page_is_light_dark_narrow_and_printable(made):
    text = made[1].read_text(encoding="utf-8")
    for part in ("prefers-color-scheme: dark", "max-width: 640px", "@media print", "width=device-width"):
        assert part in text


def test_comparison_has_a_row_for_each_method_and_length(tmp_path):
    """The same input gives the same bytes, too."""
    results = [*measured(sides(), (8, 16), "one"), *measured(sides(seed=5, noise=0.3), (16,), "two <b>")]
    first, again = (write_report(tmp_path / name, results).read_bytes() for name in "ab")
    assert first == again
    page = Page(first.decode())
    rows = page.tables[0][1:]
    assert [row[:2] for row in rows] == [
        ["image → shape", "one, 8 bits"],
        ["image → shape", "one, 16 bits"],
        ["image → shape", "two <b>, 16 bits"],
        ["shape → image", "one, 8 bits"],
        ["shape → image", "one, 16 bits"],
        ["shape → image", "two <b>, 16 bits"],
    ]
    assert {attributes["href"] for attributes in page.all("a")} == {
        "#numbers",
        "#curves",
        "#classes",
        "#made",
    }


def test_embeddings_beside_codes_show_what_hashing_costs(tmp_path):
    image, shape = sides()
    results = measured((image, shape), (16,))[:1]
    floats = [
        Embeddings(rows.signs() + np.float32(0.5), categories=rows.categories, modality=rows.modality)
        for rows in (image, shape)
    ]
    results.append(Evaluation("image -> shape", *floats, evaluate(*floats, bootstrap=0)))
    page = Page(write_report(tmp_path, results).read_text(encoding="utf-8"))
    cost = results[1].report["map"] - results[0].report["map"]
    assert f"cost of hashing, image → shape, 16 bits: {cost:+.3f} (float mAP − code mAP)" in page.text
    assert len(page.all("img")) == 0  # without a dataset, hits are words
    assert "lamp" in page.text


def test_embeddings_alone(tmp_path):
    rows = Embeddings(np.eye(4), categories=["a", "a", "b", "b"])
    report = evaluate(rows, rows, bootstrap=0)
    page = Page(write_report(tmp_path, [Evaluation("query -> database", rows, rows, report)]).read_text())
    assert f"{report['map']:.3f}" in page.text


def test_rows_of_which_little_is_known(tmp_path):
    """No categories, no ids, one modality, instances only: the page leaves out what cannot be shown."""
    rng = np.random.default_rng(0)
    rows = BinaryCodes.from_bits(rng.integers(0, 2, (6, 8)), shape_ids=[f"s{i % 3}" for i in range(6)])
    result = Evaluation(
        "query -> database", rows, rows, evaluate(rows, rows, relevance="instance", bootstrap=0)
    )
    page = Page(write_report(tmp_path, [result]).read_text(encoding="utf-8"))
    assert {"#searches", "#bits", "#plane"} < {attributes["href"] for attributes in page.all("a")}
    assert "#confusion" not in {attributes["href"] for attributes in page.all("a")}
    assert "row 5" in page.text


def test_missing_packages_are_named(tmp_path, monkeypatch):
    known = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "jinja2" else known(name, *rest)
    )
    with pytest.raises(CmahError, match=r'jinja2: pip install "\.\[report\]"'):
        write_report(tmp_path, measured(sides(), (16,)))
    monkeypatch.undo()
    with pytest.raises(CmahError, match="got none"):
        write_report(tmp_path, [])
    assert not list(tmp_path.iterdir())


def test_many_categories():
    names = [f"c{i:03d}" for i in range(70)]
    rng = np.random.default_rng(0)
    codes = [
        BinaryCodes.from_bits(rng.random((70, 8)) < 0.5, categories=names, modality=modality)
        for modality in ("image", "shape")
    ]
    result = Evaluation("image -> shape", *codes, evaluate(*codes, bootstrap=0))
    hits = np.arange(70)[:, None]
    found = sections.confusion_section([(result, hits, np.zeros_like(hits))])
    assert "the 60 largest of 70 categories" in found.figures[0].panels[0].title
