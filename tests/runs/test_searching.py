"""Searching by code files and by files that a run encodes, from Python: as the command does, and without torch."""

import subprocess
import sys

import numpy as np
import pytest

from cmah.codes import BinaryCodes, Embeddings
from cmah.errors import CmahError, ConfigError
from cmah.runs.searching import search_codes, search_files
from cmah.search import HammingIndex
from cmah.search.reranking import Reranking, rerank


@pytest.fixture
def files(tmp_path):
    """items.npz (20 codes of two categories), its index, and queries.npz."""
    random = np.random.default_rng(0)
    categories = ["chair" if i % 2 else "lamp" for i in range(20)]
    items = BinaryCodes.from_bits(
        random.integers(0, 2, (20, 16)), ids=[f"s{i}" for i in range(20)], categories=categories, space="one"
    )
    items.save(tmp_path / "items.npz")
    items[:3].save(tmp_path / "queries.npz")
    index = HammingIndex(16)
    index.add(items)
    index.save(tmp_path / "items.cmah")
    return tmp_path


def test_codes_give_the_hits_of_the_index(files):
    queries = BinaryCodes.load(files / "queries.npz")
    items = BinaryCodes.load(files / "items.npz")
    categories = dict(zip(items.ids.tolist(), items.categories.tolist(), strict=True))
    for limit in ({"k": 4}, {"radius": 6}):
        records = search_codes(
            files / "items.cmah", files / "queries.npz", database=files / "items.npz", threads=1, **limit
        )
        index = HammingIndex.open(files / "items.cmah")
        hits = index.search(queries, 4) if "k" in limit else index.search_radius(queries, 6)
        assert [record["query"] for record in records] == queries.ids.tolist()
        assert [record["category"] for record in records] == queries.categories.tolist()
        for record, expected in zip(records, hits.to_list(), strict=True):
            assert record["hits"] == [
                {"rank": rank, **hit, "category": categories[hit["id"]]}
                for rank, hit in enumerate(expected, start=1)
            ]


def test_an_unknown_up_axis_is_refused(files):
    for search in (
        lambda: search_codes(files / "items.cmah", files / "queries.npz", up="x"),
        lambda: search_files(files / "items.cmah", "no run", ["a.obj"], up=None),
    ):
        with pytest.raises(CmahError, match=r"^up is .*, expected 'y' or 'z'"):
            search()


def test_files_of_a_run(toy_run, toy, files):
    from cmah.runs.encoder import Encoder

    encoder = Encoder.load(toy_run)
    pictures = sorted((toy / "renders").glob("*.png"))[:3]
    (files / "broken.png").write_bytes(b"no picture")
    codes, _ = encoder.encode_files(pictures)
    index = HammingIndex(codes.bits)
    index.add(codes)
    index.save(files / "toy.cmah")
    lines = []
    records, skipped = search_files(
        files / "toy.cmah", toy_run, [*pictures, files / "broken.png"], 2,
        dataset=toy, sheet=files / "sheet.html", report=lines.append,
    )  # fmt: skip
    assert [record["query"] for record in records] == list(map(str, pictures))
    assert [record["hits"][0]["distance"] for record in records] == [0, 0, 0]
    assert all(record["category"] in ("flat", "tall") for record in records)
    assert [path for path, _ in skipped] == [str(files / "broken.png")]
    assert lines[:2] == [f"skipped {skipped[0][1]}", "1 of 4 files were skipped"]
    assert (files / "sheet.html").read_text(encoding="utf-8").count('class="search"') == 3
    with pytest.raises(CmahError, match="none of the 1 files could be read"):
        search_files(files / "toy.cmah", toy_run, [files / "broken.png"])


def test_photos_of_one_object(toy_run, toy, files):
    """The shapes of a dataset, found by two of its views at once, each by its nearest view."""
    from cmah.data.dataset import Dataset
    from cmah.runs.encoder import Encoder

    encoder, dataset = Encoder.load(toy_run), Dataset.read(toy)
    views, _ = encoder.dataset_images(dataset, dataset.images)
    views.save(files / "views.npz")
    index = HammingIndex(views.bits)
    index.add(views)
    index.save(files / "views.cmah")
    photos = [toy / image.path for image in dataset.images[:2]]
    (files / "broken.png").write_bytes(b"no picture")
    for way in ("mean", "least"):
        (record,), skipped = search_files(
            files / "views.cmah", toy_run, [*photos, files / "broken.png"], 3, together=way, per_shape=True,
            database=files / "views.npz", dataset=toy, sheet=files / "sheet.html",
        )  # fmt: skip
        queries, _ = encoder.encode_files(photos)
        hits = index.search_together(queries, 3, by=way, group=views.shape_ids)
        assert [hit["distance"] for hit in record["hits"]] == hits.distances[0].tolist()
        shown = views.shape_ids[hits.positions[0]].tolist()
        assert [hit["shape_id"] for hit in record["hits"]] == shown
        assert len(set(shown)) == 3
        assert record["names"] == [str(path) for path in photos]
        assert [path for path, _ in skipped] == [str(files / "broken.png")]
        page = (files / "sheet.html").read_text(encoding="utf-8")
        assert (page.count('class="search"'), page.count("<li>"), page.count("<span> query</span>")) == (
            1,
            3,
            2,
        )
        assert f"under each hit its {way} Hamming distance from all queries, which are taken as one" in page
        assert f"bits, {shown[0]}</span>" in page


def test_shapes_without_categories(files):
    codes = BinaryCodes.load(files / "items.npz")
    shape_ids = [f"shape {i // 4}" for i in range(20)]
    BinaryCodes(codes.packed, 16, ids=codes.ids, shape_ids=shape_ids).save(files / "plain.npz")
    records = search_codes(
        files / "items.cmah", files / "queries.npz", 9, per_shape=True, database=files / "plain.npz"
    )
    for record in records:
        assert sorted(hit["shape_id"] for hit in record["hits"]) == sorted(set(shape_ids))
        assert {hit["category"] for hit in record["hits"]} == {""}


def test_what_does_not_go_together(files):
    index, queries, items = files / "items.cmah", files / "queries.npz", files / "items.npz"
    for wrong, message in (
        ({"per_shape": True}, "has no shape ids, by which each shape is given once"),
        ({"per_shape": True, "database": items}, r"items\.npz: has no shape ids"),
        ({"per_shape": True, "database": items, "radius": 3}, "radius is 3, expected none"),
        ({"together": "mean", "radius": 3}, "radius is 3, expected none"),
        ({"together": "median"}, "by is 'median', expected 'mean' or 'least'"),
    ):
        with pytest.raises(CmahError, match=message):
            search_codes(index, queries, **wrong)


def real_vectors(files):
    """shape.npz, views.npz and image.npz: vectors of items, of one view of each, and of queries in another order."""
    items, random = BinaryCodes.load(files / "items.npz"), np.random.default_rng(1)
    rows = random.normal(size=(20, 6)).astype(np.float32)
    Embeddings(rows, ids=items.ids, shape_ids=items.ids, space="two").save(files / "shape.npz")
    names = [f"{name}_0" for name in items.ids]
    Embeddings(rows, ids=names, shape_ids=items.ids, space="two").save(files / "views.npz")
    Embeddings(rows[2::-1] + 0.1, ids=items.ids[2::-1], space="two").save(files / "image.npz")
    return files / "shape.npz", files / "image.npz"


@pytest.mark.parametrize("by", ["real", "views"])
def test_codes_reranked_by_files(files, by):
    with_file, of_queries = real_vectors(files)
    reranking = Reranking.read(with_file if by == "real" else files / "views.npz", 12, by)
    records = search_codes(
        files / "items.cmah", files / "queries.npz", 4, reranking=reranking, rerank_queries=of_queries
    )
    hits = HammingIndex.open(files / "items.cmah").search(BinaryCodes.load(files / "queries.npz"), 12)
    expected = rerank(hits, Embeddings.load(of_queries)[::-1], reranking, k=4)
    assert [[(hit["id"], hit["score"]) for hit in record["hits"]] for record in records] == [
        [(hit["id"], hit["score"]) for hit in each] for each in expected.to_list()
    ]
    # the query is nearly the item of its name, which is at distance 0
    assert [record["hits"][0]["id"] for record in records] == ["s0", "s1", "s2"]


def test_reranking_that_does_not_fit(files):
    with_file, of_queries = real_vectors(files)
    real = Reranking.read(with_file, 5, "real")
    few = Reranking.of(Embeddings.load(with_file)[:4], 20, "real", source="few.npz")
    for wrong, message in (
        ({"reranking": real}, "10 hits of the first 5 items that are re-ranked"),
        ({"reranking": real, "k": 2}, "re-ranking needs the real vectors of the queries"),
        (
            {"reranking": real, "k": 2, "radius": 3},
            "radius is 3, expected none in a search that is re-ranked",
        ),
        ({"rerank_queries": of_queries}, "for re-ranking, which was not asked for"),
        (
            {"reranking": real, "k": 2, "rerank_queries": files / "queries.npz"},
            "binary codes, expected embeddings",
        ),
        ({"reranking": few, "rerank_queries": of_queries}, r"few\.npz: has no vector for s\d+"),
    ):
        with pytest.raises(CmahError, match=message):
            search_codes(files / "items.cmah", files / "queries.npz", **wrong)


@pytest.fixture(scope="module")
def over_views(toy, tmp_path_factory):
    """A run that sees shapes by their views, its codes per view with their index, and real vectors of the views."""
    from toy_dataset import MICRO

    from cmah.runs.exporting import export
    from cmah.training.starting import train

    folder = tmp_path_factory.mktemp("over_views")
    seen = ["model.shape_input=views", "model.views=2"]
    run = train(toy, folder / "run", settings=[*MICRO, *seen, "training.epochs=1"])
    for more, out in (({}, "codes"), ({"embeddings": True}, "real")):
        export(run, toy, folder / out, split="all", device="cpu", workers=0, per_view=True, **more)
    codes = BinaryCodes.load(folder / "codes" / "shape.npz")
    index = HammingIndex(codes.bits)
    index.add(codes)
    index.save(folder / "views.cmah")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("by", ["real", "views", "attention"])
@pytest.mark.parametrize("together", [None, "mean"])
def test_photos_of_a_run_find_shapes_reranked(over_views, toy, tmp_path, monkeypatch, by, together):
    from cmah.data.dataset import Dataset
    from cmah.runs.encoder import Encoder

    pictures = sorted((toy / "renders").glob("*.png"))[:3]
    codes, vectors = (read.load(over_views / name / file) for read, name, file in (
        (BinaryCodes, "codes", "shape.npz"), (Embeddings, "real", "shape_embeddings.npz"),
    ))  # fmt: skip
    assert codes.space == vectors.space
    width = vectors.embeddings.shape[1]
    weight = np.random.default_rng(0).normal(size=(width, width)).astype(np.float32)
    encoder = Encoder.load(over_views / "run")
    if by == "attention":
        with pytest.raises(ConfigError, match="expected real or views"):
            encoder.attention_weight()
        monkeypatch.setattr(Encoder, "attention_weight", lambda self: weight)
    shapes, firsts = np.unique(codes.shape_ids, return_index=True)
    table = (
        Embeddings(vectors.embeddings[firsts], ids=shapes, space=vectors.space) if by == "real" else vectors
    )
    reranking = Reranking.of(table, 24, by)
    records, skipped = search_files(
        over_views / "views.cmah", over_views / "run", pictures, 3, together=together, per_shape=True,
        database=over_views / "codes" / "shape.npz", dataset=toy, sheet=tmp_path / "sheet.html", reranking=reranking,
    )  # fmt: skip
    assert not skipped
    asked = encoder.codes_and_embeddings(pictures)[1].embeddings
    scores = reranking.vectors.scores(asked, weight if by == "attention" else None)
    scores = scores.mean(axis=0, keepdims=True) if together else scores
    assert len(Dataset.read(toy).shapes) == scores.shape[1] == 24  # all are re-ranked
    for record, row in zip(records, scores, strict=True):
        shown = [reranking.vectors.names.tolist().index(hit["shape_id"]) for hit in record["hits"]]
        np.testing.assert_allclose([hit["score"] for hit in record["hits"]], -np.sort(-row)[:3], atol=2e-9)
        np.testing.assert_allclose(row[shown], -np.sort(-row)[:3], atol=2e-9)
    page = (tmp_path / "sheet.html").read_text(encoding="utf-8")
    assert "the 24 nearest are in order of that score" in page
    assert f"score {records[0]['hits'][0]['score']:.3f}" in page


@pytest.mark.slow
def test_photos_of_a_run_reranked_by_the_sum(over_views, toy, tmp_path):
    """Of a recipe that has no others, vectors of views are its embeddings, of images and single views."""
    from cmah.runs.encoder import Encoder
    from cmah.runs.exporting import export

    out = tmp_path / "codes"
    _, shape, _ = export(
        over_views / "run", toy, out, split="all", device="cpu", workers=0, views=True, real=True
    )
    for name in ("image", "shape"):
        views, real = (
            Embeddings.load(out / f"{name}_views.npz"),
            Embeddings.load(over_views / "real" / f"{name}_embeddings.npz"),
        )
        assert views.embeddings.tobytes() == real.embeddings.tobytes()
        assert (views.ids.tolist(), views.space) == (real.ids.tolist(), real.space)
    codes = BinaryCodes.load(shape)
    index = HammingIndex(codes.bits)
    index.add(codes)
    index.save(tmp_path / "shapes.cmah")
    pictures = sorted((toy / "renders").glob("*.png"))[:3]
    reranking = Reranking.read(out / "shape_views.npz", 24, "real+views")
    records, _ = search_files(tmp_path / "shapes.cmah", over_views / "run", pictures, 24, reranking=reranking)
    encoder = Encoder.load(over_views / "run")
    asked, real, _ = encoder.codes_and_real_codes(pictures)
    vectors = encoder.codes_and_embeddings(pictures)[1]
    hits = rerank(index.search(asked, 24), vectors, reranking, index=index, real=real)
    assert [[hit["id"] for hit in record["hits"]] for record in records] == hits.ids.tolist()
    assert [[hit["score"] for hit in record["hits"]] for record in records] == hits.scores.tolist()


@pytest.mark.slow
def test_views_beside_codes_need_views_and_codes(over_views, toy, toy_run, tmp_path):
    from cmah.runs.exporting import export

    with pytest.raises(
        ConfigError, match=r"vectors of views: this run sees shapes by their points \(model\.shape"
    ):
        export(toy_run, toy, tmp_path / "out", views=True)
    with pytest.raises(CmahError, match="vectors of views are written beside codes, expected no embeddings"):
        export(over_views / "run", toy, tmp_path / "out", views=True, embeddings=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_vectors_of_another_run_are_refused(over_views, toy):
    vectors = Embeddings.load(over_views / "real" / "shape_embeddings.npz")
    other = Embeddings(vectors.embeddings, shape_ids=vectors.shape_ids, space="other")
    pictures = sorted((toy / "renders").glob("*.png"))[:1]
    with pytest.raises(
        CmahError, match=r"other\.npz: vectors of space other, expected [0-9a-f]{16} as the queries"
    ):
        search_files(
            over_views / "views.cmah", over_views / "run", pictures, 3,
            reranking=Reranking.of(other, 9, "views", source="other.npz"),
        )  # fmt: skip


def test_a_sheet_is_refused_before_anything_is_encoded(files):
    with pytest.raises(CmahError, match="a sheet needs a dataset folder"):
        search_codes(files / "items.cmah", files / "queries.npz", sheet=files / "o.html")
    (files / "o.html").write_text("mine")
    with pytest.raises(CmahError, match="exists and is not such a file"):
        search_codes(files / "nothing.cmah", files / "queries.npz", sheet=files / "o.html", dataset=files)


def test_codes_need_no_torch(files):
    real_vectors(files)
    code = """
import sys
from cmah.runs.searching import search_codes
assert len(search_codes("items.cmah", "queries.npz", database="items.npz")) == 3
from cmah.search.reranking import Reranking
more = {"reranking": Reranking.read("views.npz", 12, "views"), "rerank_queries": "image.npz"}
assert "score" in search_codes("items.cmah", "queries.npz", **more)[0]["hits"][0]
assert not {"torch", "PIL", "trimesh", "numba"} & set(sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=files, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("together", [None, "mean"])
def test_photos_of_a_run_reranked_by_the_codes_of_the_items(toy, toy_run, tmp_path, bits, together):
    """No file of vectors is needed: the run makes the real-valued codes of the photos."""
    from cmah.runs.encoder import Encoder
    from cmah.runs.exporting import export

    _, shapes, _ = export(toy_run, toy, tmp_path, split="all", workers=0, device="cpu")
    codes = BinaryCodes.load(shapes).truncate(bits)
    index = HammingIndex(bits)
    index.add(codes)
    index.save(tmp_path / "shapes.cmah")
    pictures = sorted((toy / "renders").glob("*.png"))[:3]
    records, skipped = search_files(
        tmp_path / "shapes.cmah", toy_run, pictures, 4, together=together, reranking=Reranking(24)
    )
    assert not skipped
    own, real, _ = Encoder.load(toy_run).codes_and_real_codes(pictures)
    assert np.array_equal(real.embeddings >= 0, own.unpacked())
    rows = real.embeddings[:, :bits].astype(np.float64)
    scores = rows @ codes.signs().T / np.linalg.norm(rows, axis=1, keepdims=True) / np.sqrt(bits)
    scores = scores.mean(axis=0, keepdims=True) if together else scores
    for record, row in zip(records, scores, strict=True):
        np.testing.assert_allclose([hit["score"] for hit in record["hits"]], -np.sort(-row)[:4], atol=2e-9)
        positions = [hit["position"] for hit in record["hits"]]
        np.testing.assert_allclose(row[positions], -np.sort(-row)[:4], atol=2e-9)
