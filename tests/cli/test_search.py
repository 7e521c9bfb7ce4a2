"""cmah search, as a user calls it: tables, CSV, JSON, the sheet, skipped files; no torch."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cmah.codes import BinaryCodes, Embeddings
from cmah.errors import CmahError
from cmah.file_names import path_of_name
from cmah.search import HammingIndex
from cmah.search.reranking import Reranking, rerank, search_real
from cmah.skipped_files import SkippedFiles


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


def test_json_is_whole_where_the_sheet_fails(call, files, dataset, monkeypatch):
    def fail(self, note):
        raise CmahError("o.html: cannot be written (No space left on device)")

    monkeypatch.setattr("cmah.runs.hit_sheet.HitSheet.write", fail)
    call("index", files / "shape.npz", files / "s.cmah")
    common = ("search", files / "s.cmah", "--codes", files / "image.npz", "--dataset", dataset)
    status, out, err = call(*common, "--sheet", files / "o.html", "--json")
    record = json.loads(out)
    assert (status, err.splitlines()[-1]) == (2, f"Error: {record['error']}")
    assert (len(record["queries"]), list(record)) == (15, ["queries", "error"])


def test_search_with_a_run_skips_bad_files(call, files, monkeypatch):
    """The encoder is replaced: what matters here is what becomes of its answer."""
    import sys
    from types import ModuleType

    images = BinaryCodes.load(files / "image.npz")

    class Encoder:
        @classmethod
        def load(cls, run, device, verify):
            return cls()

        def encode_queries(self, files, names, up, *, workers, label, refused, vectors, keep):
            good = [name for name in names if "good" in name]
            named = BinaryCodes.from_packed(images[: len(good)].packed, 40, (16, 40), ids=good, space="run1")
            bad = [(name, f"{name}: not a picture") for name in names if name not in good]
            lost = [(name, "texture not found (a.png)") for name in good if name.endswith(".obj")]
            return named, {}, SkippedFiles([*refused, *bad], lost)

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
    # what meshes have lost: of each of a few, counted for many, all of it in JSON, where there is any
    assert "remarks" not in json.loads(out)
    monkeypatch.chdir(files)
    meshes = [f"good{number}.obj" for number in range(12)]
    for name in [*meshes, "bad.obj"]:
        (files / name).write_text("v 0 0 0")
    search = ("search", files / "s.cmah", "--run", "R", "-k", 1)
    status, _, err = call(*search, *meshes[:2], "good.jpg", "bad.obj")
    assert [line for line in err.splitlines() if "texture" in line] == [
        f"remark on {name}: texture not found (a.png)" for name in meshes[:2]
    ]
    status, out, err = call(*search, *meshes, "good.jpg", "bad.obj", "--json")
    assert [line for line in err.splitlines() if "texture" in line] == [
        "12 of 12 meshes lost something each: 12 texture not found; --json lists each"
    ]
    assert json.loads(out)["remarks"] == [
        {"file": name, "remark": "texture not found (a.png)"} for name in meshes
    ]


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
    by_index = json.loads(call(*common[:-2], "--json")[1])[
        "queries"
    ]  # the index knows the shapes, not the categories
    shown = [[(hit["id"], hit["shape_id"]) for hit in query["hits"]] for query in by_index]
    assert shown == [[(hit["id"], hit["shape_id"]) for hit in query["hits"]] for query in record["queries"]]
    status, out, _ = call(*common, "--csv")
    assert out.splitlines()[0] == "query,rank,id,distance,category,shape_id"
    status, out, _ = call(*common, "--together", "--dataset", dataset, "--sheet", files / "o.html")
    assert (status, out.splitlines()[0], len(out.splitlines())) == (0, "s0 and 5 more", 9)
    assert "; each shape is there once" in (files / "o.html").read_text(encoding="utf-8")


@pytest.fixture
def real(files):
    """real.npz, a vector of each of the six shapes, views.npz, two of each, and asked.npz of the 15 images."""
    random = np.random.default_rng(1)
    names = [f"s{i}" for i in range(6)]
    rows = random.normal(size=(12, 5)).astype(np.float32)
    Embeddings(rows[:6], ids=names, space="run1").save(files / "real.npz")
    views = [f"i{i}" for i in range(12)]
    Embeddings(rows, ids=views, shape_ids=names * 2, space="run1").save(files / "views.npz")
    asked = random.normal(size=(15, 5)).astype(np.float32)
    Embeddings(asked, ids=[f"i{i}" for i in range(15)], space="run1").save(files / "asked.npz")
    return files


@pytest.mark.parametrize("by", ["real", "views"])
def test_rerank(call, real, dataset, by):
    call("index", real / "shape.npz", real / "s.cmah")
    common = ("search", real / "s.cmah", "--codes", real / "image.npz", "--rerank", 4, "--rerank-by", by)
    common = (*common, "--rerank-with", real / f"{by}.npz", "--rerank-queries", real / "asked.npz", "-k", 3)
    status, out, _ = call(*common, "--json")
    record = json.loads(out)
    assert (status, record["mode"]) == (
        0, {"together": None, "per_shape": False, "rerank": 4, "rerank_by": by},
    )  # fmt: skip
    index, queries = HammingIndex.open(real / "s.cmah"), BinaryCodes.load(real / "image.npz")
    reranking, vectors = Reranking.read(real / f"{by}.npz", 4, by), Embeddings.load(real / "asked.npz")
    hits = rerank(index.search(queries, 4), vectors, reranking, k=3).to_list()
    listed = [query["hits"] for query in record["queries"]]
    assert [[{key: hit[key] for key in hits[0][0]} for hit in query] for query in listed] == hits
    status, out, _ = call(*common, "--csv")
    assert out.splitlines()[0] == "query,rank,id,distance,category,score"
    assert out.splitlines()[1].endswith(f",{hits[0][0]['score']}")
    status, out, _ = call(*common)
    assert f" bits  {hits[0][0]['score']:7.4f}" in out.splitlines()[1]
    status, out, _ = call(*common, "--together", "--by", "least", "--json")
    together = rerank(
        index.search_together(queries, 4, by="least"), vectors, reranking, k=3, together="least"
    )
    assert [hit["score"] for hit in json.loads(out)["queries"][0]["hits"]] == together.scores[0].tolist()
    status, _, err = call(*common, "--dataset", dataset, "--sheet", real / "o.html")
    assert (status, "o.html" in err) == (0, True)
    assert "the 4 nearest are in order of that score, " in (real / "o.html").read_text(encoding="utf-8")


def test_rerank_by_the_sum(call, real, real_codes):
    """By files beside the codes: image_real.npz and image_views.npz; the items' views are named."""
    files = real_codes
    Embeddings.load(real / "asked.npz").save(files / "image_views.npz")
    call("index", files / "shape.npz", files / "s.cmah")
    common = ("search", files / "s.cmah", "--codes", files / "image.npz", "--rerank", 4, "--rerank-with",
              real / "views.npz", "-k", 3)  # fmt: skip
    status, out, _ = call(*common, "--rerank-by", "real+views", "--json")
    record = json.loads(out)
    assert (status, record["mode"]["rerank_by"]) == (0, "real+views")
    index, queries = HammingIndex.open(files / "s.cmah"), BinaryCodes.load(files / "image.npz")
    reranking = Reranking.read(real / "views.npz", 4, "real+views")
    vectors, numbers = Embeddings.load(real / "asked.npz"), Embeddings.load(files / "image_real.npz")
    near = index.search(queries, 4)
    hits = rerank(near, vectors, reranking, k=3, index=index, real=numbers).to_list()
    listed = [query["hits"] for query in record["queries"]]
    assert [[{key: hit[key] for key in hits[0][0]} for hit in query] for query in listed] == hits
    named = ("--rerank-by", "real+views", "--rerank-queries", files / "image_views.npz", "--json")
    assert call(*common, *named)[1] == out
    status, out, _ = call(*common, "--rerank-by", "views", "--json")
    by_views = rerank(near, vectors, Reranking.read(real / "views.npz", 4, "views"), k=3).to_list()
    assert [hit["score"] for hit in json.loads(out)["queries"][0]["hits"]] == [
        hit["score"] for hit in by_views[0]
    ]
    (files / "image_views.npz").unlink()
    status, _, err = call(*common, "--rerank-by", "real+views")
    assert (status, "image_views.npz: no such file (expected the vectors of" in err) == (2, True)


def test_rerank_shapes_of_several_codes(call, real):
    call("index", real / "image.npz", real / "v.cmah")
    status, _, err = call(
        "search", real / "v.cmah", "--codes", real / "image.npz", "--per-shape", "--database", real / "image.npz",
        "-k", 2, "--rerank", 3, "--rerank-by", "views", "--rerank-with", real / "views.npz", "--rerank-queries",
        real / "asked.npz", "--json",
    )  # fmt: skip
    # three photos show no shape that is named, and have no vectors
    assert (status, "views.npz: has no vector for i1" in err) == (2, True)
    views = BinaryCodes.load(real / "image.npz")
    named = views[views.shape_ids != ""]
    named.save(real / "named.npz")
    call("index", real / "named.npz", real / "n.cmah")
    status, out, _ = call(
        "search", real / "n.cmah", "--codes", real / "image.npz", "--per-shape", "--database", real / "named.npz",
        "-k", 2, "--rerank", 3, "--rerank-by", "views", "--rerank-with", real / "views.npz", "--rerank-queries",
        real / "asked.npz", "--csv",
    )  # fmt: skip
    assert status == 0
    assert out.splitlines()[0] == "query,rank,id,distance,category,shape_id,score"
    assert len(out.splitlines()) == 1 + 2 * 15


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--rerank-by real", "--rerank-by needs --rerank N"),
        ("--rerank-with real.npz", "--rerank-with needs --rerank N"),
        ("--rerank-queries asked.npz", "--rerank-queries needs --rerank N"),
        ("--rerank 20", "--rerank needs --rerank-by, the score, and --rerank-with"),
        ("--rerank 20 --rerank-by views", "--rerank needs --rerank-by, the score, and --rerank-with"),
        (
            "--rerank 20 --rerank-by real",
            "image_real.npz: no such file (expected the real-valued codes of image.npz",
        ),
        (
            "--rerank 20 --rerank-by real --rerank-queries asked.npz",
            "5 numbers a row, expected 40, one for each bit",
        ),
        ("--rerank 20 --rerank-with real.npz", "--rerank needs --rerank-by"),
        (
            "--rerank 20 --rerank-by real+views",
            "--rerank needs --rerank-by, the score, and --rerank-with",
        ),
        (
            "--rerank 20 --rerank-by views --rerank-with views.npz",
            "image_views.npz: no such file (expected the vectors of image.npz to compare views by, as",
        ),
        (
            "--rerank 20 --rerank-by real+views --rerank-with views.npz",
            "image_real.npz: no such file (expected the real-valued codes of image.npz",
        ),
        ("--rerank 0", "0 is not in the range"),
        ("--rerank 9 --rerank-by real --rerank-with real.npz", "--rerank 9 is less than the 10 hits to show"),
        ("--rerank 2 -k 3 --rerank-by real --rerank-with real.npz", "--rerank 2 is less than the 3 hits"),
        ("--rerank 20 --rerank-by real --rerank-with real.npz --radius 3", "--rerank and --radius exclude"),
        ("--rerank 20 --rerank-by most --rerank-with real.npz", "'most' is not one of"),
        ("--rerank 20 --rerank-by attention --rerank-with views.npz", "attention needs --run RUN"),
        ("--rerank 20 --rerank-by real --rerank-with real.npz", "--codes needs --rerank-queries"),
        (
            "--rerank 20 --rerank-by real --rerank-with nothing.npz --rerank-queries asked.npz",
            "nothing.npz: no such",
        ),
        (
            "--rerank 20 --rerank-by real --rerank-with shape.npz --rerank-queries asked.npz",
            "binary codes, expected",
        ),
        (
            "--rerank 20 --rerank-by views --rerank-with real.npz --rerank-queries asked.npz",
            "has no shape ids",
        ),
        (
            "--rerank 20 --rerank-by real --rerank-with views.npz --rerank-queries asked.npz",
            "has no vector for s",
        ),
        (
            "--rerank 20 --rerank-by real --rerank-with real.npz --rerank-queries real.npz",
            "has no row for query i0",
        ),
        (
            "--rerank 20 --rerank-by real --rerank-with real.npz --rerank-queries other.npz",
            "space run1, expected run2",
        ),
        (
            "--rerank 20 --rerank-by real --rerank-with real.npz --rerank-queries wide.npz",
            "5 numbers, expected 6",
        ),
    ],
)
def test_mistakes_of_reranking(call, real, monkeypatch, arguments, message):
    monkeypatch.chdir(real)
    call("index", "shape.npz", "s.cmah")
    asked = Embeddings.load("asked.npz")
    Embeddings(asked.embeddings, ids=asked.ids, space="run2").save("other.npz")
    Embeddings(np.ones((15, 6), np.float32)).save("wide.npz")
    status, _, err = call("search", "s.cmah", "--codes", "image.npz", *arguments.split())
    assert (status, "Traceback" in err) == (2, False)
    assert message in err.splitlines()[-1]


@pytest.mark.parametrize("bits", [16, 40])
def test_rerank_by_real_valued_codes(call, real_codes, dataset, bits):
    files = real_codes
    call("index", files / "shape.npz", files / "s.cmah", "--bits", bits)
    common = (
        "search",
        files / "s.cmah",
        "--codes",
        files / "image.npz",
        "--rerank",
        4,
        "--rerank-by",
        "real",
    )
    common = (*common, "-k", 3)
    status, out, _ = call(*common, "--json")
    record = json.loads(out)
    assert (status, record["mode"]) == (
        0, {"together": None, "per_shape": False, "rerank": 4, "rerank_by": "real"},
    )  # fmt: skip
    real = Embeddings.load(files / "image_real.npz").embeddings[:, :bits]
    hits = search_real(HammingIndex.open(files / "s.cmah"), Embeddings(real), 3, first=4).to_list()
    listed = [query["hits"] for query in record["queries"]]
    assert [[{key: hit[key] for key in hits[0][0]} for hit in query] for query in listed] == hits
    (files / "image_real.npz").rename(files / "other.npz")
    assert call(*common, "--json")[0] == 2
    assert call(*common, "--json", "--rerank-queries", files / "other.npz")[1] == out
    status, _, err = call(
        *common, "--rerank-queries", files / "other.npz", "--dataset", dataset, "--sheet", files / "o.html"
    )
    assert (status, "o.html" in err) == (0, True)
    page = (files / "o.html").read_text(encoding="utf-8")
    assert "the 4 nearest are in order of that score, the cosine of the query" in page
    (files / "shape_real.npz").rename(files / "wrong.npz")
    status, _, err = call(*common, "--rerank-queries", files / "wrong.npz")
    assert (status, err.count("\n"), "wrong.npz: has no row for query i0" in err) == (2, 1, True)


def test_vectors_of_files_come_from_the_run(call, real):
    status, _, err = call(
        "search", real / "s.cmah", "--run", "R", "photo.jpg", "--rerank", 20, "--rerank-by", "real",
        "--rerank-with", real / "real.npz", "--rerank-queries", real / "asked.npz",
    )  # fmt: skip
    assert (status, "--rerank-queries goes with --codes" in err) == (2, True)


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
        (("search", "s.cmah", "--codes", "image.npz", "--sheet", "o.html"), "a sheet needs a dataset folder"),
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
        (
            ("search", "s.cmah", "--codes", "image.npz", "--per-shape"),
            "s.cmah: has no shape ids, by which each shape is given once",
        ),
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


def test_hits_have_category_and_path_where_a_code_file_names_its_dataset(call, files, dataset, monkeypatch):
    monkeypatch.chdir(files)
    for name in ("image", "shape"):
        codes = replace(BinaryCodes.load(files / f"{name}.npz"), categories=None, dataset=str(dataset))
        codes.save(files / f"{name}.npz")
    call("index", files / "shape.npz", files / "s.cmah")
    common = ("search", files / "s.cmah", "--codes", files / "image.npz", "-k", 2)
    status, out, err = call(*common, "--json")
    hits = [hit for query in json.loads(out)["queries"] for hit in query["hits"]]
    source = f"paths and categories of hits: from {dataset} (named by {files / 'image.npz'})\n"
    assert (status, err) == (0, source)
    assert list(hits[0]) == ["rank", "id", "distance", "position", "category", "path"]
    for hit in hits:
        assert hit["category"] == ("chair", "lamp")[int(hit["id"][1:]) % 2]
        assert hit["path"] == str(dataset.resolve() / "points" / f"{hit['id']}.npy")
    _, out, _ = call(*common, "--csv")
    assert out.splitlines()[0] == "query,rank,id,distance,category,path"
    _, out, _ = call(*common)
    assert out.splitlines()[1].endswith(f"  {hits[0]['path']}")
    status, _, err = call(*common, "--sheet", "o.html")
    assert (status, err) == (0, f"{source}sheet: o.html\n")

    # a dataset of other items, and one that is gone: one remark, and the hits all the same
    (dataset / "shapes.csv").write_text("shape_id,category,split,points\ns1,lamp,,points/s1.npy\n")
    (dataset / "images.csv").write_text("image_id,shape_id,category,split,path,kind\n")
    status, out, err = call(*common, "--json")
    assert [hit["id"] for query in json.loads(out)["queries"] for hit in query["hits"]] == [
        h["id"] for h in hits
    ]
    assert (status, len(err.splitlines())) == (0, 2)
    assert "items among the hits are not in" in err
    dataset.rename(files / "moved")
    status, out, err = call(*common, "--json")
    assert [hit["id"] for query in json.loads(out)["queries"] for hit in query["hits"]] == [
        h["id"] for h in hits
    ]
    assert "path" not in json.loads(out)["queries"][0]["hits"][0]
    assert (status, len(err.splitlines())) == (0, 1)
    assert "image.npz names its dataset, but" in err
    status, _, err = call(*common, "--sheet", "new.html")
    assert (status, "a sheet needs a dataset folder" in err) == (2, True)
    status, out, err = call(*common, "--json", "--dataset", files / "moved")
    assert (status, "path" in json.loads(out)["queries"][0]["hits"][0]) == (0, True)


def test_more_hits_than_memory_are_refused_before_anything_is_printed(call, files, monkeypatch):
    from cmah import memory

    call("index", files / "shape.npz", files / "s.cmah")
    monkeypatch.setattr(memory, "SMALL", 0)
    monkeypatch.setattr(memory, "available_bytes", lambda: 3000)
    status, out, err = call(
        "search", files / "s.cmah", "--codes", files / "image.npz", "-k", 1_000_000, "--json"
    )
    assert (status, out) == (2, "")
    assert err.startswith("Error: k is 6: the hits of a query need 4.2 kB of memory, 3.0 kB are available")
    assert "(-k)" in err


@pytest.mark.parametrize("at_once", [1, 7, 1 << 18])
@pytest.mark.parametrize("form", ["--json", "--csv", None])
def test_hits_are_printed_the_same_however_many_at_a_time(call, files, monkeypatch, at_once, form):
    """A few queries are searched for at a time; each has as many hits as the index has items."""
    call("index", files / "shape.npz", files / "s.cmah")
    common = (
        "search",
        files / "s.cmah",
        "--codes",
        files / "image.npz",
        "-k",
        1_000_000,
        *([form] if form else []),
    )
    _, expected, _ = call(*common)
    monkeypatch.setattr("cmah.search.hit_records.AT_ONCE", at_once)
    status, out, _ = call(*common)
    assert (status, out) == (0, expected)
    if form == "--json":
        assert out == json.dumps(json.loads(out), indent=1) + "\n"
        assert len(json.loads(out)["queries"]) == 15
    assert out.count("s3") == 15


def test_cells_that_are_formulas_are_guarded_in_csv(call, files):
    codes = BinaryCodes.from_bits([[0, 1], [1, 1]], ids=["=1+1", "@x"], categories=["-a", "+b"])
    codes.save(files / "c.npz")
    call("index", files / "c.npz", files / "c.cmah")
    _, out, _ = call(
        "search", files / "c.cmah", "--codes", files / "c.npz", "--database", files / "c.npz", "--csv"
    )
    assert out.splitlines()[1] == "'=1+1,1,'=1+1,0,'-a"
    _, out, _ = call("search", files / "c.cmah", "--codes", files / "c.npz", "--json")
    assert json.loads(out)["queries"][0]["query"] == "=1+1"


@pytest.mark.slow
def test_files_of_any_name_and_number(call, toy, toy_run, tmp_path, monkeypatch):
    """Folders, lists, URLs, names that are no text, in every form, with hits that the dataset of the run knows."""
    from cmah.data.dataset import Dataset
    from cmah.runs.encoder import Encoder

    data = Dataset.read(toy)
    codes, _ = Encoder.load(toy_run).dataset_shapes(data, data.shapes)
    codes.save(tmp_path / "shape.npz")
    call("index", tmp_path / "shape.npz", tmp_path / "s.cmah")
    monkeypatch.chdir(tmp_path)
    picture = (toy / data.images[0].path).read_bytes()
    odd = os.fsdecode(b"photos/caf\xe9.png")
    Path("photos").mkdir()
    Path("photos/a.png").write_bytes(picture)
    Path(odd).write_bytes(picture)
    Path("list").write_bytes(b"photos/a.png\n" + os.fsencode(odd) + b"\nnone.png\n")
    url = "https://example.org/a.png"
    common = ("search", "s.cmah", "--run", toy_run, "-k", 2)
    status, out, err = call(*common, "photos", url, "--files-from", "list", "--json", "--sheet", "o.html")
    assert status == 0
    record = json.loads(out.encode())  # UTF-8, whatever the names
    named = f"file://{tmp_path.resolve()}/photos/caf%E9.png"
    assert [query["query"] for query in record["queries"]] == ["photos/a.png", named, "photos/a.png", named]
    assert os.fsencode(path_of_name(named)).endswith(b"caf\xe9.png")
    assert [entry["file"] for entry in record["skipped"]] == [url, "none.png"]
    assert record["skipped"][0]["reason"] == f"{url}: a URL, expected a path; download it first"
    hits = record["queries"][0]["hits"]
    assert hits == record["queries"][1]["hits"]
    assert all(hit["category"] in ("flat", "tall") and hit["path"].startswith(str(toy)) for hit in hits)
    assert "photos: 2 pictures\n" in err
    assert "2 of 6 files were skipped\n" in err
    assert Path("o.html").read_text(encoding="utf-8").count("data:image") >= 4
    for form in ("--csv", "--threads=1"):
        status, out, _ = call(*common, odd, form)
        out.encode()
        assert (status, named in out) == (0, True)
    status, _, err = call(*common, "https://example.org/a.png")
    assert (status, err.splitlines()[-1]) == (2, "Error: none of the 1 files could be read")
    for wrong in (
        ("search", "s3://x/s.cmah", "--codes", "shape.npz"),
        ("search", "s.cmah", "--run", "s3://x", "a.png"),
    ):
        status, _, err = call(*wrong)
        assert (status, "a URL, expected a path; download it first" in err) == (2, True)
