"""Re-ranking: what plain sorting of all scores gives, of the items that the codes found."""

import numpy as np
import pytest
from slow_search import clustered, distances, found

from cmah.codes import BinaryCodes, Embeddings
from cmah.errors import CodesError
from cmah.search import HammingIndex, MultiIndex
from cmah.search.hit_lines import records_csv, records_table
from cmah.search.hit_records import search_records
from cmah.search.reranking import DIGITS, RerankedHits, Reranking, rerank, search_real

ITEMS, QUERIES, WIDTH, BITS = 30, 5, 6, 16
WAYS = ("real", "views", "attention")
SHAPES = [f"item {i}" for i in range(ITEMS)]


@pytest.fixture
def index():
    index = HammingIndex(BITS)
    index.add(clustered(ITEMS, BITS), ids=SHAPES)
    return index


@pytest.fixture
def queries():
    return clustered(QUERIES, BITS, 1)


def vectors(n, seed, **columns):
    """Few values, so that some scores are equal."""
    return Embeddings(np.random.default_rng(seed).integers(1, 3, (n, WIDTH)).astype(np.float32), **columns)


def reranking(by, first):
    weight = np.random.default_rng(5).normal(size=(WIDTH, WIDTH)) if by == "attention" else None
    if by == "real":
        order = np.random.default_rng(6).permutation(ITEMS)
        return Reranking.of(vectors(ITEMS, 2, ids=np.array(SHAPES)[order]), first, by)
    shown = np.random.default_rng(6).permutation(np.concatenate([np.arange(ITEMS)] * 3))[: 2 * ITEMS]
    shown = np.concatenate([np.arange(ITEMS), shown])  # one view at least of each
    return Reranking.of(vectors(len(shown), 2, shape_ids=np.array(SHAPES)[shown]), first, by, weight)


def score_of(by, query, name, rank):
    """The score of one query with the item of a name."""
    items = rank.vectors
    (at,) = np.flatnonzero(items.names == name)
    rows = items.vectors[items.offsets[at] : items.offsets[at + 1]].astype(np.float64)
    rows, query = rows / np.linalg.norm(rows, axis=1, keepdims=True), query / np.linalg.norm(query)
    if by == "attention":
        e = np.exp(rows @ (rank.weight @ query))
        return float((e / e.sum()) @ (rows @ query))
    return float((rows @ query).max())


@pytest.mark.parametrize("by", WAYS)
@pytest.mark.parametrize("first", [4, 13, ITEMS, 99])
def test_is_the_order_of_plain_sorting(index, queries, by, first):
    """With `first` = all items, that is a search of the whole database by the score."""
    rank, wanted = reranking(by, first), vectors(QUERIES, 3)
    hits = rerank(index.search(queries, first), wanted, rank, k=4)
    assert isinstance(hits, RerankedHits)
    assert hits.distances.dtype == np.int32
    between = distances(queries, clustered(ITEMS, BITS))
    for row in range(QUERIES):
        near = found(between[row], k=first)
        scored = [
            (-round(score_of(by, wanted.embeddings[row], SHAPES[p], rank), DIGITS), d, p) for d, p in near
        ]
        expected = sorted(scored)[:4]
        np.testing.assert_allclose(hits.scores[row], [-score for score, _, _ in expected], atol=1e-8)
        assert hits.positions[row].tolist() == [p for _, _, p in expected]
        assert hits.distances[row].tolist() == [d for _, d, _ in expected]
        assert hits.ids[row].tolist() == [SHAPES[p] for _, _, p in expected]
    if first >= ITEMS:
        whole = np.round(rank.vectors.scores(wanted.embeddings, rank.weight), DIGITS)
        np.testing.assert_allclose(hits.scores, -np.sort(-whole, axis=1)[:, :4], atol=2e-9)


@pytest.mark.parametrize("by", WAYS)
def test_hits_are_of_the_nearest_and_all_of_them_if_all_are_wanted(index, queries, by):
    near = index.search(queries, 9)
    hits = rerank(near, vectors(QUERIES, 3), reranking(by, 9))
    assert np.array_equal(np.sort(hits.positions, axis=1), np.sort(near.positions, axis=1))
    assert (np.diff(hits.scores, axis=1) <= 0).all()
    few = rerank(near, vectors(QUERIES, 3), reranking(by, 9), k=2)
    assert np.array_equal(few.positions, hits.positions[:, :2])


@pytest.mark.parametrize("by", WAYS)
def test_a_query_alone_gives_the_same(index, queries, by):
    wanted, rank = vectors(QUERIES, 3), reranking(by, 9)
    together = rerank(index.search(queries, 9), wanted, rank, k=3)
    for row in range(QUERIES):
        alone = rerank(index.search(queries[[row]], 9), wanted[[row]], rank, k=3)
        assert alone.to_list() == [together.to_list()[row]]


def test_equal_vectors_are_ordered_by_distance_and_position(index, queries):
    same = Embeddings(np.tile(np.random.default_rng(0).normal(size=WIDTH), (ITEMS, 1)), ids=SHAPES)
    near = index.search(queries, 20)
    hits = rerank(near, vectors(QUERIES, 3), Reranking.of(same, 20, "real"))
    assert np.array_equal(hits.positions, near.positions)
    assert (hits.scores == hits.scores[:, :1]).all()


@pytest.mark.parametrize("by", WAYS)
@pytest.mark.parametrize("way", ["mean", "least"])
def test_several_queries_as_one(index, queries, by, way):
    rank, wanted = reranking(by, 9), vectors(QUERIES, 3)
    owners = ["mug", "sofa", "mug", "mug", "sofa"]
    near = index.search_together(queries, 9, by=way, owners=owners)
    hits = rerank(near, wanted, rank, k=3, together=way, owners=owners)
    for row, name in enumerate(["mug", "sofa"]):
        rows = [i for i, owner in enumerate(owners) if owner == name]
        scores = {
            int(p): [score_of(by, wanted.embeddings[i], SHAPES[p], rank) for i in rows]
            for p in near.positions[row]
        }
        merged = {p: max(each) if way == "least" else sum(each) / len(each) for p, each in scores.items()}
        expected = sorted(merged, key=lambda p: -round(merged[p], DIGITS))[:3]  # in order of distance already
        assert hits.positions[row].tolist() == expected
        np.testing.assert_allclose(hits.scores[row], [merged[p] for p in expected], atol=1e-8)


def test_shapes_are_ranked_by_their_own_vectors(index, queries):
    """Each shape is there once; an item of no shape is found by its own id."""
    shape_ids = np.array(["", *(f"shape {i // 6}" for i in range(1, ITEMS))])
    names = ["item 0", *sorted({*shape_ids.tolist()} - {""})]
    views = vectors(2 * len(names), 4, shape_ids=names * 2)
    wanted = vectors(QUERIES, 3)
    records = search_records(
        index, queries, 3, shape_ids=shape_ids, reranking=Reranking.of(views, 4, "views"), embeddings=wanted
    )
    near = index.search(queries, 4, group=shape_ids)
    rank = Reranking.of(views, 4, "views")
    for record, positions, query in zip(records, near.positions, wanted.embeddings, strict=True):
        shown = [str(shape_ids[p]) or SHAPES[p] for p in positions]
        scores = [round(score_of("views", query, name, rank), DIGITS) for name in shown]
        order = sorted(range(4), key=lambda i: -scores[i])[:3]
        assert [hit["position"] for hit in record["hits"]] == positions[order].tolist()
        np.testing.assert_allclose(
            [hit["score"] for hit in record["hits"]], [scores[i] for i in order], atol=1e-8
        )


def test_records_and_text(index, queries):
    rank, wanted = reranking("real", 9), vectors(QUERIES, 3)
    records = search_records(index, queries, 2, reranking=rank, embeddings=wanted)
    expected = rerank(index.search(queries, 9), wanted, rank, k=2).to_list()
    for record, hits in zip(records, expected, strict=True):
        assert record["hits"] == [{"rank": i + 1, **hit, "category": ""} for i, hit in enumerate(hits)]
    first = records[0]["hits"][0]
    assert f"{first['distance']:4d} bits  {first['score']:7.4f}" in records_table(records).splitlines()[1]
    lines = records_csv(records).splitlines()
    assert lines[0] == "query,rank,id,distance,category,score"
    assert lines[1].endswith(f",,{first['score']}")


def test_nothing_to_rank(queries):
    empty = HammingIndex(BITS)
    hits = rerank(empty.search(queries, 9), vectors(QUERIES, 3), reranking("real", 9), k=4)
    assert hits.scores.shape == (QUERIES, 0)
    assert search_records(
        empty, queries[:0], 4, together="mean", reranking=reranking("real", 9), embeddings=vectors(0, 3)
    ) == []  # fmt: skip


def test_vectors_without_ids_are_taken_in_order(index, queries):
    table, wanted = vectors(ITEMS, 2), vectors(QUERIES, 3)
    plain, named = Reranking.of(table, 9, "real"), Reranking.of(vectors(ITEMS, 2, ids=SHAPES), 9, "real")
    hits = [search_records(index, queries, 5, reranking=each, embeddings=wanted) for each in (plain, named)]
    assert hits[0] == hits[1]
    for more, message in (
        (
            {"reranking": Reranking.of(table[:-1], 9, "real", source="f.npy")},
            r"f\.npy: has no ids and 29 rows",
        ),
        ({"reranking": plain, "shape_ids": np.array(SHAPES)}, "has no ids, expected those of the shapes"),
    ):
        with pytest.raises(CodesError, match=message):
            search_records(index, queries, 5, embeddings=wanted, **more)


def test_what_is_refused(index, queries):
    rank, wanted = reranking("real", 9), vectors(QUERIES, 3)
    lacking = Reranking.of(vectors(2, 2, ids=SHAPES[:2]), 9, "real", source="f.npz")
    attention = Reranking(9, "attention", reranking("views", 9).vectors)
    for more, message in (
        ({"reranking": rank, "k": 10}, "10 hits of the first 9 items that are re-ranked, expected 9 at most"),
        ({"reranking": rank, "embeddings": None}, "re-ranking needs the real vectors of the queries"),
        ({"reranking": rank, "embeddings": wanted[:2]}, "2 vectors of queries, expected 5"),
        ({"reranking": rank, "radius": 3}, "radius is 3, expected none in a search that is re-ranked"),
        ({"reranking": lacking}, r"f\.npz: has no vector for item \d+, which is among the items to re-rank"),
        ({"reranking": attention}, r"by attention: weight of the attention, expected one \[d, d\]"),
        (
            {"reranking": Reranking(9, "real", rank.vectors, np.eye(WIDTH))},
            "weight of the attention, expected none",
        ),
        ({"reranking": reranking("attention", 9), "embeddings": vectors(QUERIES, 3, space="a")}, None),
    ):
        arguments = {"k": 3, "embeddings": wanted, **more}
        if message is None:  # a file that does not say its space may be of any
            search_records(index, queries, **arguments)
            continue
        with pytest.raises(CodesError, match=message):
            search_records(index, queries, **arguments)
    with pytest.raises(CodesError, match="2 queries have vectors, expected 5"):
        rerank(index.search(queries, 9), wanted[:2], rank)
    with pytest.raises(
        CodesError, match=r"by is 'most', expected 'attention', 'real', 'real\+views' or 'views'"
    ):
        Reranking.of(wanted, 9, "most")
    with pytest.raises(CodesError, match="first is 0, expected 1 or more"):
        Reranking.of(vectors(ITEMS, 2), 0, "real")


def real_valued(codes, seed=3):
    """Real-valued codes whose signs are the codes; few values, so that some scores are equal."""
    sizes = np.random.default_rng(seed).integers(1, 4, (len(codes), codes.bits)) / 2
    return Embeddings((codes.signs() * sizes).astype(np.float32), ids=codes.ids)


def ranked_by_signs(real, items, near, k):
    """(score, distance, position) of the first `k` of the items `near`, by plain products of signs."""
    rows = [
        (-round(float(real @ items.signs()[p] / np.linalg.norm(real) / np.sqrt(len(real))), DIGITS), d, p)
        for d, p in near
    ]
    return [(-score, d, p) for score, d, p in sorted(rows)[:k]]


@pytest.mark.parametrize("kind", [HammingIndex, MultiIndex])
@pytest.mark.parametrize("first", [4, 13, ITEMS, 99])
def test_real_valued_codes_rank_by_signs(kind, queries, first):
    items, real = clustered(ITEMS, BITS), real_valued(queries)
    index = kind(BITS)
    index.add(items, ids=SHAPES)
    hits = search_real(index, real, 4, first=first)
    between = distances(queries, items)
    for row in range(QUERIES):
        near = found(between[row], k=first)
        expected = ranked_by_signs(real.embeddings[row].astype(np.float64), items, near, 4)
        np.testing.assert_allclose(hits.scores[row], [score for score, _, _ in expected], atol=2e-9)
        assert hits.positions[row].tolist() == [p for _, _, p in expected]
        assert hits.distances[row].tolist() == [d for _, d, _ in expected]
        assert hits.ids[row].tolist() == [SHAPES[p] for _, _, p in expected]
    # in any scale, and as records from the codes
    louder = Embeddings(real.embeddings * np.float32([[0.125], [1], [8], [1024], [2**-20]]))
    assert search_real(index, louder, 4, first=first).to_list() == hits.to_list()
    records = search_records(index, queries, 4, reranking=Reranking(first), embeddings=real)
    assert [[hit["position"] for hit in record["hits"]] for record in records] == hits.positions.tolist()


def test_all_items_ranked_anew_are_the_order_of_their_cosines(index, queries):
    real = real_valued(queries)
    hits = search_real(index, real, ITEMS, first=ITEMS)
    signs = Embeddings(clustered(ITEMS, BITS).signs().astype(np.float32), ids=SHAPES)
    by_vectors = rerank(index.search(queries, ITEMS), real, Reranking.of(signs, ITEMS, "real"))
    np.testing.assert_allclose(hits.scores, by_vectors.scores, atol=2e-9)
    assert np.array_equal(hits.positions, by_vectors.positions)


def test_real_valued_codes_in_subsets_and_groups(index, queries):
    items, real = clustered(ITEMS, BITS), real_valued(queries)
    between = distances(queries, items).astype(float)
    chosen = np.arange(ITEMS) % 3 > 0
    hits = search_real(index, real, 5, first=8, subset=chosen)
    labels = np.array([f"shape {i // 4}" for i in range(ITEMS)])
    grouped = search_real(index, real, 3, first=5, group=labels)
    for row in range(QUERIES):
        near = [pair for pair in found(between[row]) if chosen[pair[1]]][:8]
        expected = ranked_by_signs(real.embeddings[row].astype(np.float64), items, near, 5)
        assert hits.positions[row].tolist() == [p for _, _, p in expected]
        first = {}
        for d, p in found(between[row]):
            first.setdefault(labels[p], (d, p))
        near = [*first.values()][:5]
        expected = ranked_by_signs(real.embeddings[row].astype(np.float64), items, near, 3)
        assert grouped.positions[row].tolist() == [p for _, _, p in expected]
    records = search_records(index, queries, 3, reranking=Reranking(5), embeddings=real, shape_ids=labels)
    assert [[hit["position"] for hit in record["hits"]] for record in records] == grouped.positions.tolist()


@pytest.mark.parametrize("way", ["mean", "least"])
def test_several_real_valued_codes_as_one(index, queries, way):
    real, items = real_valued(queries), clustered(ITEMS, BITS)
    owners = ["mug", "sofa", "mug", "mug", "sofa"]
    near = index.search_together(queries, 9, by=way, owners=owners)
    hits = rerank(near, real, Reranking(9), k=3, index=index, together=way, owners=owners)
    unit = real.embeddings / np.linalg.norm(real.embeddings, axis=1, keepdims=True)
    for row, name in enumerate(["mug", "sofa"]):
        rows = [i for i, owner in enumerate(owners) if owner == name]
        each = unit[rows].astype(np.float64) @ items.signs()[near.positions[row]].T / np.sqrt(BITS)
        merged = (each.max(axis=0) if way == "least" else each.mean(axis=0)).round(6)
        expected = near.positions[row][np.argsort(-merged, kind="stable")[:3]]
        assert hits.positions[row].tolist() == expected.tolist()


def test_longer_real_valued_codes_are_cut_as_the_codes_are(queries):
    items = clustered(ITEMS, BITS)
    index = HammingIndex(5)
    index.add(BinaryCodes.from_bits(items.unpacked()[:, :5]))
    nested = BinaryCodes.from_bits(queries.unpacked(), prefixes=(5, BITS))
    real = real_valued(nested)
    records = search_records(index, nested, 4, reranking=Reranking(20), embeddings=real)
    short = search_real(index, Embeddings(real.embeddings[:, :5]), 4, first=20)
    assert [[hit["position"] for hit in record["hits"]] for record in records] == short.positions.tolist()


def test_real_valued_codes_without_items(queries):
    assert search_real(HammingIndex(BITS), real_valued(queries), 3).scores.shape == (QUERIES, 0)


def test_real_valued_codes_that_do_not_fit(index, queries):
    real, rank = real_valued(queries), Reranking(9)
    turned = Embeddings(-real.embeddings)
    for more, message in (
        ({"embeddings": turned}, r"row 0, column 0 is \S+, but the code has [+-]1 there"),
        (
            {"embeddings": Embeddings(real.embeddings[:, :9])},
            "9 numbers a row, expected 16, one for each bit",
        ),
        ({"embeddings": real[:2]}, "2 vectors of queries, expected 5"),
        ({"embeddings": None}, "re-ranking needs the real vectors of the queries"),
        ({"k": 10}, "10 hits of the first 9 items that are re-ranked"),
        ({"radius": 3}, "expected none in a search that is re-ranked"),
    ):
        with pytest.raises(CodesError, match=message):
            search_records(index, queries, **{"k": 3, "reranking": rank, "embeddings": real, **more})
    near = index.search(queries, 9)
    with pytest.raises(CodesError, match="by the codes of the items needs the index that was searched"):
        rerank(near, real, rank)
    with pytest.raises(
        CodesError, match="real-valued codes of 9 numbers, expected 16, one for each bit of the"
    ):
        rerank(near, Embeddings(real.embeddings[:, :9]), rank, index=index)
    other = HammingIndex(BITS, space="one")
    other.add(clustered(ITEMS, BITS))
    with pytest.raises(CodesError, match="real-valued codes of space two, expected one as the index"):
        rerank(near, Embeddings(real.embeddings, space="two"), rank, index=other)
    with pytest.raises(CodesError, match="first is 0, expected 1 or more"):
        search_real(index, real, first=0)
    with pytest.raises(CodesError, match="10 hits of the first 5 items"):
        search_real(index, real, first=5)
    with pytest.raises(CodesError, match="re-ranking by views needs vectors of the items"):
        Reranking(9, "views")
    with pytest.raises(CodesError, match="positions -1 to 4, expected 0 to 29"):
        index.codes_at(np.array([4, -1]))


def plain_sum(*columns):
    """Each column less its mean, divided by its standard deviation, in sum."""
    total = np.zeros(len(columns[0]))
    for column in map(np.asarray, columns):
        total += 0 if len(set(column.tolist())) == 1 else (column - column.mean()) / column.std()
    return total.round(DIGITS)


def both_scores(real, query, rank, items, positions):
    """Of some items the score by the query's real-valued code, and that by its vector."""
    unit = real / np.linalg.norm(real) / np.sqrt(BITS)
    return (
        [round(float(unit @ items.signs()[p]), DIGITS) for p in positions],
        [round(score_of("views", query, SHAPES[p], rank), DIGITS) for p in positions],
    )


@pytest.mark.parametrize("first", [4, 13, ITEMS, 99])
def test_the_sum_of_real_valued_codes_and_views_is_that_of_plain_sorting(index, queries, first):
    items, real, wanted = clustered(ITEMS, BITS), real_valued(queries), vectors(QUERIES, 3)
    rank = Reranking(first, "real+views", reranking("views", first).vectors)
    hits = rerank(index.search(queries, first), wanted, rank, k=4, index=index, real=real)
    between = distances(queries, items)
    for row in range(QUERIES):
        near = found(between[row], k=first)
        positions = [p for _, p in near]
        each = both_scores(real.embeddings[row].astype(float), wanted.embeddings[row], rank, items, positions)
        expected = sorted((-s, d, p) for s, (d, p) in zip(plain_sum(*each).tolist(), near, strict=True))[:4]
        np.testing.assert_allclose(hits.scores[row], [-s for s, _, _ in expected], atol=1e-7)
        assert hits.positions[row].tolist() == [p for _, _, p in expected]
        assert hits.distances[row].tolist() == [d for _, d, _ in expected]
    records = search_records(index, queries, 4, reranking=rank, embeddings=wanted, real=real)
    assert [[hit["position"] for hit in record["hits"]] for record in records] == hits.positions.tolist()
    assert [[hit["score"] for hit in record["hits"]] for record in records] == hits.scores.tolist()


def test_where_all_views_are_alike_the_sum_has_the_order_of_the_real_valued_codes(index, queries):
    real = real_valued(queries)
    same = Embeddings(np.ones((2 * ITEMS, WIDTH), np.float32), shape_ids=SHAPES * 2)
    near = index.search(queries, 20)
    hits = rerank(near, vectors(QUERIES, 3), Reranking.of(same, 20, "real+views"), index=index, real=real)
    assert np.array_equal(hits.positions, rerank(near, real, Reranking(20), index=index).positions)
    # and where nothing tells any apart, that of the codes
    flat = HammingIndex(BITS)
    flat.add(BinaryCodes.from_bits(np.ones((ITEMS, BITS), int)), ids=SHAPES)
    near = flat.search(queries, 20)
    hits = rerank(near, vectors(QUERIES, 3), Reranking.of(same, 20, "real+views"), index=flat, real=real)
    assert np.array_equal(hits.positions, near.positions)
    assert not hits.scores.any()


@pytest.mark.parametrize("way", ["mean", "least"])
def test_several_queries_as_one_by_the_sum(index, queries, way):
    """Both scores are of all photos first, and then standardised."""
    items, real, wanted = clustered(ITEMS, BITS), real_valued(queries), vectors(QUERIES, 3)
    rank = Reranking(9, "real+views", reranking("views", 9).vectors)
    owners = ["mug", "sofa", "mug", "mug", "sofa"]
    near = index.search_together(queries, 9, by=way, owners=owners)
    hits = rerank(near, wanted, rank, index=index, real=real, together=way, owners=owners)
    for row, name in enumerate(["mug", "sofa"]):
        each = [
            both_scores(
                real.embeddings[i].astype(float), wanted.embeddings[i], rank, items, near.positions[row]
            )
            for i, owner in enumerate(owners)
            if owner == name
        ]
        merged = [(np.max if way == "least" else np.mean)(part, axis=0) for part in zip(*each, strict=True)]
        scores = dict(zip(near.positions[row].tolist(), plain_sum(*merged), strict=True))
        np.testing.assert_allclose(
            hits.scores[row], [scores[p] for p in hits.positions[row].tolist()], atol=1e-6
        )
        assert (np.diff(hits.scores[row]) <= 0).all()


def test_what_the_sum_needs(index, queries):
    real, wanted, views = real_valued(queries), vectors(QUERIES, 3), reranking("views", 9).vectors
    near, rank = index.search(queries, 9), Reranking(9, "real+views", views)
    with pytest.raises(CodesError, match=r"re-ranking by real\+views needs vectors of the items"):
        Reranking(9, "real+views")
    for arguments, message in (
        ({}, r"by real\+views: real-valued codes \(real\), expected those of the queries"),
        ({"real": real}, "by the codes of the items needs the index that was searched"),
        ({"real": real[:2], "index": index}, "2 real-valued codes, expected 5, one for each query"),
    ):
        with pytest.raises(CodesError, match=message):
            rerank(near, wanted, rank, **arguments)
    with pytest.raises(CodesError, match=r"by views: real-valued codes \(real\), expected none"):
        rerank(near, wanted, Reranking(9, "views", views), real=real, index=index)
    turned = Embeddings(-real.embeddings)
    with pytest.raises(CodesError, match=r"row 0, column 0 is \S+, but the code has"):
        search_records(index, queries, 3, reranking=rank, embeddings=wanted, real=turned)
