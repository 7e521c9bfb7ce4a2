"""`evaluate` against a plain restatement: sort, walk down the ranking, average over random tie orders."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from cmah.codes import BinaryCodes, Embeddings
from cmah.errors import CodesError
from cmah.evaluation import comparison, evaluate


def random_codes(n, bits=12, seed=0, **known):
    random = np.random.default_rng(seed)
    categories = random.integers(0, 3, n)
    base = np.random.default_rng(99).choice([-1, 1], (3, bits))
    signs = base[categories] * np.where(random.random((n, bits)) < 0.25, -1, 1)
    known = {"categories": categories.astype(str), "shape_ids": (np.arange(n) % 10).astype(str), **known}
    return BinaryCodes.from_signs(signs.astype(np.int8), **known)


def plain_ap(ranked, depth, denominator):
    ranked = np.asarray(ranked, dtype=float)
    head = ranked[:depth]
    gained = (head * np.cumsum(head) / np.arange(1, len(head) + 1)).sum()
    return (
        gained
        / {"relevant": ranked.sum(), "min(relevant,k)": min(ranked.sum(), depth), "hits": max(head.sum(), 1)}[
            denominator
        ]
    )


def shuffled_rankings(query, database, relevant, draws=3000):
    """Relevance in ranked order, ties in random order, for one query: [draws, n]."""
    random = np.random.default_rng(7)
    distance = (query.signs() != database.signs()).sum(axis=1)
    for _ in range(draws):
        shuffle = random.permutation(len(distance))
        yield relevant[shuffle][np.argsort(distance[shuffle], kind="stable")]


def test_expectation_over_tie_orders():
    query, database = random_codes(3, seed=1), random_codes(40, seed=2)
    report = evaluate(query, database, k=(1, 5), accuracy_at=(1, 10), map_depth=15, denominator="hits")
    for i in range(3):
        same = database.categories == query.categories[i]
        shape = database.shape_ids == query.shape_ids[i]
        ap = [plain_ap(ranked, 15, "hits") for ranked in shuffled_rankings(query[i], database, same)]
        assert report.per_query["ap"][i] == pytest.approx(np.mean(ap), abs=0.01)
        p5 = [ranked[:5].mean() for ranked in shuffled_rankings(query[i], database, same)]
        assert report.per_query["p@5"][i] == pytest.approx(np.mean(p5), abs=0.02)
        hit = [ranked[:10].any() for ranked in shuffled_rankings(query[i], database, shape)]
        assert report.per_query["acc@10"][i] == pytest.approx(np.mean(hit), abs=0.03)
    assert report["map"] == pytest.approx(report.per_query["ap"].mean())
    assert report["acc@10"] == pytest.approx(report.per_query["acc@10"].mean())


@pytest.mark.parametrize("denominator", ["relevant", "min(relevant,k)", "hits"])
@pytest.mark.parametrize("depth", [None, 1, 7, 100])
def test_ties_by_position_are_a_stable_sort(denominator, depth):
    query, database = random_codes(9, seed=3), random_codes(35, seed=4)
    report = evaluate(query, database, ties="position", map_depth=depth, denominator=denominator, k=(4,))
    distance = (query.signs()[:, None] != database.signs()[None]).sum(axis=2)
    for i in range(9):
        ranked = (database.categories == query.categories[i])[np.argsort(distance[i], kind="stable")]
        assert report.per_query["ap"][i] == pytest.approx(plain_ap(ranked, depth or 35, denominator))
        assert report.per_query["p@4"][i] == pytest.approx(ranked[:4].mean())
        places = np.flatnonzero(ranked) + 1
        within = min(4 * len(places), 2 * np.unique(database.categories, return_counts=True)[1].max())
        average = np.where(places <= within, places, 1.25 * within).mean()
        least = (len(places) + 1) / 2
        assert report.per_query["nmrr"][i] == pytest.approx((average - least) / (1.25 * within - least))
    assert report["map"] == report["map_best"] == report["map_worst"]


def test_bounds_enclose_and_meet_where_nothing_ties():
    query, database = random_codes(20, seed=3), random_codes(35, seed=4)
    report = evaluate(query, database)
    assert report["map_worst"] < report["map"] < report["map_best"]
    assert report["map_low"] < report["map"] < report["map_high"]
    by_position = evaluate(query, database, ties="position")["map"]
    assert report["map_worst"] <= by_position <= report["map_best"]
    far_apart = BinaryCodes.from_signs(
        np.tril(np.full((13, 12), 2), -1) - 1, categories=["a", "b"] * 6 + ["a"]
    )
    nothing_ties = evaluate(far_apart[:1], far_apart, exclude_self=False)
    assert nothing_ties["map"] == pytest.approx(nothing_ties["map_best"])
    assert nothing_ties["map"] == pytest.approx(nothing_ties["map_worst"])


@pytest.mark.parametrize("ties", ["expected", "position"])
@pytest.mark.parametrize("kind", ["codes", "embeddings"])
def test_candidates_of_the_query_s_category_are_a_database_of_their_own(ties, kind):
    query, database = random_codes(12, seed=3), random_codes(45, seed=4)
    if kind == "embeddings":
        query, database = (
            Embeddings(part.signs() + 0.0, categories=part.categories, shape_ids=part.shape_ids)
            for part in (query, database)
        )
    rules = {"relevance": "instance", "ties": ties, "k": (1, 5), "bootstrap": 0}
    report = evaluate(query, database, candidates="category", **rules)
    assert report.rules.candidates == "category"
    assert "among the items of the query's own category" in report.rules.lines()[0]
    for i in range(12):
        inside = database[database.categories == query.categories[i]]
        alone = evaluate(query[i : i + 1], inside, **rules)
        for name, column in alone.per_query.items():
            if not name.startswith("nmrr"):  # which looks at the largest class of the whole database
                assert report.per_query[name][i] == pytest.approx(column[0], nan_ok=True), name
    # within one set the query itself is left out too
    own = evaluate(database, database, candidates="category", **rules)
    for i in range(0, 45, 9):
        chosen = (database.categories == database.categories[i]) & (np.arange(45) != i)
        alone = evaluate(database[i : i + 1], database[chosen], **rules, exclude_self=False)
        assert own.per_query["ap"][i] == pytest.approx(alone.per_query["ap"][0], nan_ok=True)
    assert own.rules.self_left_out == 45


def test_what_shares_the_shape_but_not_the_category_is_no_candidate():
    query = BinaryCodes.from_bits([[0, 0], [0, 0]], categories=["chair", ""], shape_ids=["a", "a"])
    database = BinaryCodes.from_bits(
        [[0, 0], [0, 1], [1, 1]], categories=["lamp", "chair", "chair"], shape_ids=["a", "b", "a"]
    )
    report = evaluate(query, database, candidates="category", relevance="instance")
    assert report.per_query["rank"].tolist()[0] == 2
    assert np.isnan(report.per_query["rank"][1])  # of no known category
    assert report.rules.without_instance == 1
    nameless = BinaryCodes.from_packed(database.packed, 2, shape_ids=database.shape_ids)
    with pytest.raises(
        CodesError, match="candidates by category: the queries, the database or both have no categories"
    ):
        evaluate(query, nameless, candidates="category", relevance="instance")


def test_order_of_the_database_does_not_matter():
    query, database = random_codes(10, seed=3), random_codes(35, seed=4)
    shuffle = np.random.default_rng(0).permutation(35)
    one, other = evaluate(query, database), evaluate(query, database[shuffle])
    for name, value in one.values.items():
        assert other[name] == pytest.approx(value, abs=1e-12)


def test_one_mask_over_all_codes_changes_nothing():
    query, database = random_codes(10, seed=3), random_codes(35, seed=4)
    mask = np.random.default_rng(0).choice(np.array([-1, 1], dtype=np.int8), 12)
    masked = [
        BinaryCodes.from_signs(rows.signs() * mask, categories=rows.categories, shape_ids=rows.shape_ids)
        for rows in (query, database)
    ]
    for ties in ("expected", "position"):
        assert evaluate(*masked, ties=ties).values == evaluate(query, database, ties=ties).values


def test_chunks_and_threads_do_not_matter(monkeypatch):
    query, database = random_codes(10, seed=3), random_codes(35, seed=4)
    rows = [
        (query, database),
        tuple(Embeddings(r.signs() + 0.0, categories=r.categories) for r in (query, database)),
    ]

    def all_of(threads):
        reports = [
            evaluate(*pair, ties=t, threads=threads) for pair in rows for t in ("expected", "position")
        ]
        return [report.values for report in reports], [report.curves for report in reports]

    whole, curves = all_of(1)
    monkeypatch.setattr("cmah.evaluation.histograms.CELLS", 1)
    for threads in (1, 3):
        values, parts = all_of(threads)
        assert values == whole
        for one, other in zip(curves, parts, strict=True):
            for kind, columns in one.items():
                for name, column in columns.items():
                    np.testing.assert_allclose(other[kind][name], column, atol=1e-12)


@pytest.mark.slow
def test_counting_over_bit_planes_changes_nothing(monkeypatch):
    from cmah.evaluation import histograms
    from cmah.kernels import bit_counts

    used = []

    def count_codes(*arguments):
        used.append(len(arguments[0]))
        return bit_counts.count_codes(*arguments)

    codes, query = random_codes(300, seed=3), random_codes(40, seed=4)
    calls = [(query, codes, {}), (codes, codes, {"ties": "position"})]
    before = [evaluate(q, database, **rules).to_dict() for q, database, rules in calls]
    monkeypatch.setattr(histograms, "WORTH_PLANES", 1)
    monkeypatch.setattr(
        histograms, "bit_counts", SimpleNamespace(count_codes=count_codes, shape_of=bit_counts.shape_of)
    )
    assert [evaluate(q, database, **rules).to_dict() for q, database, rules in calls] == before
    assert used


def test_cosine_of_signs_ranks_as_hamming_does():
    query, database = random_codes(10, seed=3), random_codes(35, seed=4)
    floats = [
        Embeddings(
            codes.signs().astype(np.float32) * 3, categories=codes.categories, shape_ids=codes.shape_ids
        )
        for codes in (query, database)
    ]
    for ties in ("expected", "position"):
        codes, embeddings = evaluate(query, database, ties=ties), evaluate(*floats, ties=ties)
        assert set(codes.values) - set(embeddings.values) == {"p_radius2"}  # cosines have no radius
        for name, value in embeddings.values.items():
            assert codes[name] == pytest.approx(value, abs=1e-12), name
        assert set(embeddings.curves) == {"rank"}
        np.testing.assert_allclose(codes.curves["rank"]["recall"], embeddings.curves["rank"]["recall"])
        assert codes.per_class["category"] == embeddings.per_class["category"]
    assert "cosine" in comparison([("", embeddings)])


def test_embeddings_by_cosine():
    query = Embeddings(np.array([[1.0, 0], [0, 0]]), categories=["a", "a"])
    database = Embeddings(np.array([[9, 9.0], [5, 0], [-1, 0], [0, 0]]), categories=["a", "b", "a", "a"])
    report = evaluate(query, database)
    # first query: b, a, a (cosine 0), a; second: all tie
    assert report.per_query["ap"][0] == pytest.approx((1 / 2 + 2 / 3 + 3 / 4) / 3)
    # all four tie, three are relevant: at place i the chance is 3/4, and 1 + (i-1) 2/3 are expected up to there
    assert report.per_query["ap"][1] == pytest.approx(sum((1 + (i - 1) * 2 / 3) / i for i in range(1, 5)) / 4)


def test_queries_without_a_relevant_item_are_left_out_and_reported():
    query, database = random_codes(5, seed=3), random_codes(35, seed=4)
    labels = ["0", "1", "elsewhere", "", "2"]
    report = evaluate(query, database, labels, query_instances=["1", "", "", "99", "2"])
    assert np.isnan(report.per_query["ap"]).tolist() == [False, False, True, True, False]
    assert np.isnan(report.per_query["p@10"]).tolist() == [False, False, True, True, False]
    assert report["map"] == pytest.approx(np.nanmean(report.per_query["ap"]))
    assert (report.rules.left_out, report.rules.without_instance) == (2, 3)
    text = comparison([("", report)])
    assert "2 queries have no relevant item and are left out" in text
    assert "3 queries have no item of their shape" in text
    nothing = evaluate(query, database, ["x"] * 5)
    assert np.isnan(nothing["map"])
    assert json.loads(nothing.to_json())["values"]["map"] is None
    assert " - " in comparison([("", nothing)])


def test_unknown_labels_are_not_relevant_to_each_other():
    query, database = random_codes(2, seed=3), random_codes(4, seed=4)
    report = evaluate(query, database, ["", "a"], ["", "", "a", ""])
    assert np.isnan(report.per_query["ap"][0])
    assert report.per_query["ap"][1] > 0


def test_relevance_by_instance_and_labels_as_numbers():
    query, database = random_codes(6, seed=3), random_codes(20, seed=4)
    by_shape = evaluate(query, database, relevance="instance", k=(1,), accuracy_at=(1,))
    assert by_shape["p@1"] == pytest.approx(by_shape["acc@1"])
    as_numbers = evaluate(query, database, query.shape_ids.astype(int), database.shape_ids.astype(int))
    assert as_numbers["map"] == pytest.approx(by_shape["map"])
    assert "acc@1" not in evaluate(BinaryCodes.from_packed(query.packed, 12), database, [1] * 6, [1] * 20)


@pytest.mark.slow
def test_the_query_itself_is_left_out_within_a_modality_only():
    names = [f"i{i}" for i in range(20)]
    images = random_codes(20, seed=3, modality="image", ids=names)
    shapes = random_codes(20, seed=3, modality="shape", ids=names)
    assert evaluate(images, shapes).rules.self_left_out == 0
    assert evaluate(images, images).rules.self_left_out == 20
    assert evaluate(images, images, exclude_self=False).rules.self_left_out == 0
    assert evaluate(images[5:], images[:10]).rules.self_left_out == 5
    assert evaluate(images, shapes, exclude_self=True).rules.self_left_out == 20
    floats = Embeddings(
        images.signs().astype(float), ids=names, categories=images.categories, shape_ids=images.shape_ids
    )
    for rows, ties in ((images, "expected"), (images, "position"), (floats, "expected")):
        without = evaluate(rows, rows, ties=ties)
        for i in range(20):
            others = rows[np.arange(20) != i]
            alone = evaluate(rows[i], others, exclude_self=False, ties=ties)
            for name in set(alone.per_query) - {
                "nmrr",
                "nmrr_best",
                "nmrr_worst",
            }:  # asks for the largest class
                np.testing.assert_allclose(without.per_query[name][i], alone.per_query[name][0], err_msg=name)
    without = evaluate(images, images)
    assert "the query itself is left out" in comparison([("", without)])
    assert "the paired item stays" in comparison([("", evaluate(images, shapes))])
    nameless = random_codes(20, seed=3)
    assert evaluate(nameless, nameless[:20], exclude_self=True)["map"] == pytest.approx(without["map"])
    with pytest.raises(CodesError, match="without ids"):
        evaluate(nameless, nameless[:19], exclude_self=True)


def test_interval():
    query, database = random_codes(60, seed=3), random_codes(35, seed=4)
    one, same, other = (evaluate(query, database, seed=seed) for seed in (1, 1, 2))
    assert (one["map_low"], one["map_high"]) == (same["map_low"], same["map_high"])
    assert one["map_low"] != other["map_low"]
    assert one.rules.clusters == 10
    assert "draws of the shapes" in comparison([("", one)])
    assert "map_low" not in evaluate(query, database, bootstrap=0)
    single = evaluate(BinaryCodes.from_packed(query.packed, 12), database, query.categories)
    assert single.rules.clusters is None
    assert "draws of queries" in comparison([("", single)])


def test_edges():
    query, database = random_codes(3, seed=3), random_codes(4, seed=4)
    nothing = evaluate(query, database[:0])
    assert np.isnan(nothing["map"])
    assert np.isnan(evaluate(query[:0], database)["map"])
    everything = evaluate(query, database, ["a"] * 3, ["a"] * 4, k=(2, 8))
    assert everything["map"] == pytest.approx(1)
    assert everything["p@2"] == pytest.approx(1)
    assert everything["p@8"] == pytest.approx(0.5)  # ranks beyond the last item are misses
    assert evaluate(query[:1], database[:1], ["a"], ["a"])["map"] == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda q, d: evaluate(q, BinaryCodes.from_signs(d.signs()[:, :8])),
            "queries have width 12, the database has 8",
        ),
        (
            lambda q, d: evaluate(q, Embeddings(d.signs().astype(float))),
            "expected both codes or both embeddings",
        ),
        (
            lambda q, d: evaluate(random_codes(2, space="a"), random_codes(2, space="b")),
            "space a, the database of b",
        ),
        (lambda q, d: evaluate(q, d, ["a"]), r"query labels have shape \[1\], expected \[3\]"),
        (lambda q, d: evaluate(q, d, [0.5] * 3), "query labels are float64"),
        (lambda q, d: evaluate(q, d, [1, 2, 3]), "one side are text"),
        (lambda q, d: evaluate(BinaryCodes.from_packed(q.packed, 12), d), "relevance by category"),
        (lambda q, d: evaluate(q, d, k=(0,)), r"k is 0"),
        (lambda q, d: evaluate(q, d, map_depth=0), r"map_depth is 0"),
        (lambda q, d: evaluate(q, d, ties="random"), "ties 'random'"),
        (lambda q, d: evaluate(q, d, ties=np.array(["a", "b"])), r"ties an array <U1 \[2\] is unknown"),
        (lambda q, d: evaluate(q.packed, d), "the query is a ndarray, expected BinaryCodes or Embeddings"),
        (lambda q, d: evaluate(q, "shape.npz"), "the database is a str, expected BinaryCodes or Embeddings"),
        (lambda q, d: evaluate(q, d, "abc"), r"query labels are a str, expected \[3\]"),
        (lambda q, d: evaluate(q, d, [["a"], ["b", "c"], ["d"]]), "query labels are a list that NumPy takes"),
        (lambda q, d: evaluate(q, d, ["a", None, "b"]), "query labels are object"),
        (
            lambda q, d: evaluate(q, d, query_instances=["a"]),
            r"query instances have shape \[1\], expected \[3\]",
        ),
        (lambda q, d: evaluate(q, d, protocol={"k": [1]}), "protocol is a dict, expected a Protocol"),
        (lambda q, d: evaluate(q, d, k=10.0), r"k is 10\.0, expected a whole number"),
        (lambda q, d: evaluate(q, d, k=None), "k is None, expected a whole number"),
        (
            lambda q, d: evaluate(q, d, depth=3),
            "'depth' is no rule of an evaluation, expected one of: relevance, k",
        ),
        (lambda q, d: evaluate(q, d, exclude_self="no"), "exclude_self is 'no', expected True or False"),
        (lambda q, d: evaluate(q, d, cloud_of={}), "cloud_of is a dict, expected a function"),
        (lambda q, d: evaluate(q, d, voxels={}), "voxels are a dict, expected Voxels"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(CodesError, match=message):
        call(random_codes(3, seed=3), random_codes(4, seed=4))


@pytest.mark.parametrize(
    "settings", [{"k": (1.5,)}, {"map_depth": 2.5}, {"k": (True,)}, {"accuracy_at": ("a",)}]
)
def test_depths_are_whole_numbers(settings):
    codes = BinaryCodes.from_bits(
        np.eye(4, dtype=bool), categories=["a", "b"] * 2, shape_ids=["s"] * 4, modality="image"
    )
    with pytest.raises(CodesError, match="whole number"):
        evaluate(codes, codes, **settings)
