"""cmah search, as a user calls it: tables, CSV, JSON, the sheet, skipped files; no torch."""

import json

import numpy as np
import pytest

from cmah.codes import BinaryCodes
from cmah.search import HammingIndex


def test_index_and_search(call, files):
    status, out, _ = call("index", files / "shape.npz", files / "s.cmah", "--bits", 16)
    assert (status, "6 codes of 16 bits" in out) == (0, True)
    status, out, _ = call("search", files / "s.cmah", "--codes", files / "image.npz", "-k", 2, "--json")
    assert status == 0
    record = json.loads(out)
    assert list(record) == ["queries", "skipped"]
    queries = BinaryCodes.load(files / "image.npz").truncate(16)
    expected = HammingIndex.open(files / "s.cmah").search(queries, 2)
    assert [entry["query"] for entry in record["queries"]] == queries.ids.tolist()
    for entry, ids, distances in zip(record["queries"], expected.ids, expected.distances, strict=True):
        assert [hit["id"] for hit in entry["hits"]] == ids.tolist()
        assert [hit["distance"] for hit in entry["hits"]] == distances.tolist()
        assert [hit["rank"] for hit in entry["hits"]] == [1, 2]


@pytest.mark.slow
def test_search_prints_a_table_with_categories(call, files):
    call("index", files / "shape.npz", files / "s.cmah")
    common = ("search", files / "s.cmah", "--codes", files / "image.npz", "--database", files / "shape.npz")
    status, out, _ = call(*common, "-k", 1)
    lines = out.splitlines()
    assert (status, len(lines)) == (0, 30)
    assert lines[0] == "i0  (chair)"
    assert lines[1].split()[:2] == ["1", "s0"]
    assert lines[1].endswith("chair")
    status, out, _ = call(*common, "--csv", "--radius", 40)
    lines = out.splitlines()
    assert lines[0] == "query,rank,id,distance,category"
    assert len(lines) == 1 + 15 * 6
    status, out, _ = call(*common, "--radius", 0)
    assert "no hit" in out


def test_sheet(call, files, dataset):
    call("index", files / "shape.npz", files / "s.cmah")
    status, _, err = call(
        "search",
        files / "s.cmah",
        "--codes",
        files / "image.npz",
        "--dataset",
        dataset,
        "--sheet",
        files / "o.html",
    )
    assert (status, "o.html" in err) == (0, True)
    page = (files / "o.html").read_text(encoding="utf-8")
    assert page.count('class="search"') == 15
    assert page.count("<li>") == 15 * 6
    assert "http" not in page.replace("http-equiv", "")
    assert 'class="tile good"' in page
    assert 'class="tile bad"' in page
    assert "data:image/png" in page  # s5 has no render: its points are drawn


def test_search_with_a_run_skips_bad_files(call, files, monkeypatch):
    """The encoder is replaced: what matters here is what becomes of its answer."""
    import sys
    from types import ModuleType

    images = BinaryCodes.load(files / "image.npz")

    class Encoder:
        @classmethod
        def load(cls, run, device, verify):
            return cls()

        def encode_files(self, paths, up):
            good = [path for path in paths if "good" in path]
            named = BinaryCodes.from_packed(images[: len(good)].packed, 40, (16, 40), ids=good, space="run1")
            return named, [(path, f"{path}: not a picture") for path in paths if path not in good]

    module = ModuleType("cmah.runs.encoder")
    module.Encoder = Encoder
    monkeypatch.setitem(sys.modules, "cmah.runs.encoder", module)
    call("index", files / "shape.npz", files / "s.cmah", "--bits", 16)
    status, out, err = call(
        "search", files / "s.cmah", "--run", "R", "good1.jpg", "bad.jpg", "good2.jpg", "-k", 1
    )
    assert status == 0
    assert [line for line in out.splitlines() if not line.startswith(" ")] == ["good1.jpg", "good2.jpg"]
    assert "skipped bad.jpg: not a picture" in err
    assert "1 of 3 files were skipped" in err
    _, out, _ = call("search", files / "s.cmah", "--run", "R", "good1.jpg", "bad.jpg", "--json")
    assert json.loads(out)["skipped"] == [{"file": "bad.jpg", "reason": "bad.jpg: not a picture"}]
    status, _, err = call("search", files / "s.cmah", "--run", "R", "bad.jpg")
    assert (status, err.splitlines()[-1]) == (2, "Error: none of the 1 files could be read")


def test_together(call, files, dataset):
    call("index", files / "shape.npz", files / "s.cmah")
    codes, index = BinaryCodes.load(files / "image.npz"), HammingIndex.open(files / "s.cmah")
    common = ("search", files / "s.cmah", "--codes", files / "image.npz", "--together", "-k", 4)
    for arguments, by in (((), "mean"), (("--by", "mean"), "mean"), (("--by", "least"), "least")):
        status, out, _ = call(*common, *arguments, "--json")
        record = json.loads(out)
        assert (status, record["mode"]) == (0, {"together": by, "per_shape": False})
        (query,) = record["queries"]
        assert (query["query"], query["names"]) == ("i0 and 14 more", codes.ids.tolist())
        hits = index.search_together(codes, 4, by=by).to_list()[0]
        assert [{key: hit[key] for key in hits[0]} for hit in query["hits"]] == hits
    status, out, _ = call(*common, "--csv")
    assert out.splitlines()[1].startswith("i0 and 14 more,1,")
    status, out, _ = call(*common)
    assert (status, out.splitlines()[0], len(out.splitlines())) == (0, "i0 and 14 more", 5)
    assert f" {index.search_together(codes, 4).distances[0, 0]:.2f} bits" in out.splitlines()[1]
    status, _, err = call(*common, "--dataset", dataset, "--sheet", files / "o.html")
    assert (status, "o.html" in err) == (0, True)
    assert (files / "o.html").read_text(encoding="utf-8").count("<span> query</span>") == 8  # of 15


def test_per_shape(call, files, dataset):
    call("index", files / "image.npz", files / "views.cmah")
    views, queries = BinaryCodes.load(files / "image.npz"), BinaryCodes.load(files / "shape.npz")
    common = ("search", files / "views.cmah", "--codes", files / "shape.npz", "-k", 8, "--per-shape")
    common = (*common, "--database", files / "image.npz")
    status, out, _ = call(*common, "--json")
    record = json.loads(out)
    assert (status, record["mode"]) == (0, {"together": None, "per_shape": True})
    hits = HammingIndex.open(files / "views.cmah").search(queries, 8, group=views.shape_ids)
    for query, expected, positions in zip(record["queries"], hits.to_list(), hits.positions, strict=True):
        assert [{key: hit[key] for key in expected[0]} for hit in query["hits"]] == expected
        assert [hit["shape_id"] for hit in query["hits"]] == views.shape_ids[positions].tolist()
        assert [hit["category"] for hit in query["hits"]] == views.categories[positions].tolist()
        shapes = [hit["shape_id"] for hit in query["hits"] if hit["shape_id"]]
        assert len(shapes) == len(set(shapes))
    status, out, _ = call(*common, "--csv")
    assert out.splitlines()[0] == "query,rank,id,distance,category,shape_id"
    status, out, _ = call(*common, "--together", "--dataset", dataset, "--sheet", files / "o.html")
    assert (status, out.splitlines()[0], len(out.splitlines())) == (0, "s0 and 5 more", 9)
    assert "; each shape is there once" in (files / "o.html").read_text(encoding="utf-8")


def test_codes_of_another_space_are_refused(call, files):
    call("index", files / "shape.npz", files / "s.cmah")
    codes = BinaryCodes.load(files / "image.npz")
    BinaryCodes.from_packed(codes.packed, 40, space="run2").save(files / "other.npz")
    status, _, err = call("search", files / "s.cmah", "--codes", files / "other.npz")
    assert (status, "codes of space run2, expected run1" in err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("search", "nothing.cmah", "--codes", "image.npz"), "nothing.cmah: no such file"),
        (("search", "shape.npz", "--codes", "image.npz"), "shape.npz: not an index file"),
        (("search", "s.cmah", "--codes", "nothing.npz"), "nothing.npz: no such file"),
        (("search", "s.cmah"), "either as --codes"),
        (("search", "s.cmah", "photo.jpg"), "either as --codes"),
        (("search", "s.cmah", "--run", "R"), "--run needs files"),
        (("search", "s.cmah", "photo.jpg", "--codes", "image.npz"), "files need --run"),
        (("search", "s.cmah", "--codes", "image.npz", "-k", "3", "--radius", "2"), "exclude each other"),
        (("search", "s.cmah", "--codes", "image.npz", "--sheet", "o.html"), "--sheet needs --dataset"),
        (("search", "s.cmah", "--codes", "image.npz", "-k", "0"), "0 is not in the range"),
        (("search", "s.cmah", "--codes", "image.npz", "--by", "least"), "--by needs --together"),
        (("search", "s.cmah", "--codes", "image.npz", "--together", "--by", "most"), "'most' is not one of"),
        (
            ("search", "s.cmah", "--codes", "image.npz", "--together", "--radius", "0"),
            "--together and --radius exclude each other",
        ),
        (
            (
                "search",
                "s.cmah",
                "--codes",
                "image.npz",
                "--per-shape",
                "--radius",
                "3",
                "--database",
                "shape.npz",
            ),
            "--per-shape and --radius exclude each other",
        ),
        (("search", "s.cmah", "--codes", "image.npz", "--per-shape"), "--per-shape needs --database"),
        (
            ("search", "s.cmah", "--codes", "image.npz", "--per-shape", "--database", "image.npz"),
            "image.npz: has 15 rows, expected 6, one for each item of the index",
        ),
        (
            ("search", "s.cmah", "--codes", "image.npz", "--per-shape", "--database", "signs.npy"),
            "signs.npy: has no shape ids",
        ),
        (
            ("search", "s.cmah", "--codes", "image.npz", "--dataset", "data", "--sheet", "a.png"),
            "ends in .html",
        ),
    ],
)
def test_mistakes_end_with_one_line(call, files, monkeypatch, arguments, message):
    monkeypatch.chdir(files)
    call("index", "shape.npz", "s.cmah")
    np.save("signs.npy", BinaryCodes.load("shape.npz").signs())
    status, _, err = call(*arguments)
    assert status == 2
    assert message in err.splitlines()[-1]
    assert "Traceback" not in err
