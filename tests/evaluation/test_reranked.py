"""Evaluation of a re-ranking by real-valued codes, against a plain restatement: sort the first, walk down the list."""

from dataclasses import replace

import numpy as np
import pytest

from cmah.codes import BinaryCodes, Embeddings
from cmah.errors import CodesError
from cmah.evaluation import comparison, evaluate
from cmah.evaluation.comparing import compare_folders, evaluate_before, evaluate_files
from cmah.evaluation.first_hits import first_hits
from cmah.evaluation.reranked import Reranked
from cmah.search import HammingIndex
from cmah.search.reranking import Reranking, rerank, search_real
from cmah.search.row_vectors import RowVectors

BITS, QUERIES, ITEMS = 12, 9, 35


def labelled(n, seed, **known):
    """Codes of three categories, each near its centre, with their real-valued codes of few values."""
    random = np.random.default_rng(seed)
    categories = random.integers(0, 3, n)
    base = np.random.default_rng(99).choice([-1, 1], (3, BITS))
    signs = base[categories] * np.where(random.random((n, BITS)) < 0.25, -1, 1)
    known = {
        "categories": categories.astype(str),
        "shape_ids": (np.arange(n) % 10).astype(str),
        "ids": [f"{seed} {i}" for i in range(n)],
        **known,
    }
    codes = BinaryCodes.from_signs(signs.astype(np.int8), (4, BITS), **known)
    real = Embeddings((signs * random.integers(1, 4, signs.shape)).astype(np.float32), ids=known["ids"])
    return codes, real


@pytest.fixture(scope="module")
def pair():
    (query, real), (database, _) = labelled(QUERIES, 3), labelled(ITEMS, 4)
    return query, real, database


def plain_order(query, real, database, first, left_out=()):
    """(level, position) of all items of one query: (0, -score, distance) of the first, (1, distance) of the others."""
    distance = (query.signs()[0] != database.signs()).sum(axis=1)
    near = sorted((int(d), p) for p, d in enumerate(distance) if p not in left_out)
    number = real / np.linalg.norm(real) / np.sqrt(BITS)
    levels = [((0, -round(float(number @ database.signs()[p]), 9), d), p) for d, p in near[:first]]
    return sorted(levels) + [((1, d), p) for d, p in near[first:]]


def plain_ap(ranked):
    ranked = np.asarray(ranked, dtype=float)
    return (ranked * np.cumsum(ranked) / np.arange(1, len(ranked) + 1)).sum() / ranked.sum()


@pytest.mark.parametrize("first", [1, 7, 20, ITEMS, 1000])
def test_ties_by_position_are_the_order_of_a_search(pair, first):
    query, real, database = pair
    report = evaluate(query, database, real=real, rerank=first, ties="position", k=(4,))
    index = HammingIndex(BITS)
    index.add(database)
    found = search_real(index, real, 4, first=max(first, 4)) if first >= 4 else None
    for i in range(QUERIES):
        order = [p for _, p in plain_order(query[i], real.embeddings[i].astype(float), database, first)]
        ranked = (database.categories == query.categories[i])[order]
        assert report.per_query["ap"][i] == pytest.approx(plain_ap(ranked))
        assert report.per_query["p@4"][i] == pytest.approx(ranked[:4].mean())
        assert report.per_query["acc@5"][i] == (database.shape_ids == query.shape_ids[i])[order[:5]].any()
        if found is not None:
            assert found.positions[i].tolist() == order[:4]
    assert report["map"] == report["map_best"] == report["map_worst"]


@pytest.mark.parametrize("first", [7, ITEMS])
def test_expectation_over_orders_of_ties(pair, first):
    """Behind the first, items of one distance are tied; before, those of one score and distance."""
    query, real, database = pair
    report = evaluate(query, database, real=real, rerank=first)
    random = np.random.default_rng(0)
    for i in range(0, QUERIES, 3):
        order = plain_order(query[i], real.embeddings[i].astype(float), database, first)
        same = database.categories == query.categories[i]
        values = []
        for _ in range(2000):
            shuffled = sorted((level, random.random(), p) for level, p in order)
            values.append(plain_ap(same[[p for _, _, p in shuffled]]))
        assert report.per_query["ap"][i] == pytest.approx(np.mean(values), abs=0.01)
        for name, ahead in (("ap_best", -1), ("ap_worst", 1)):
            extreme = sorted((level, ahead * same[p], p) for level, p in order)
            ap = plain_ap(same[[p for _, _, p in extreme]])
            assert report.per_query[name][i] == pytest.approx(ap)
    assert report["map_worst"] < report["map"] < report["map_best"] if first == 7 else True


def test_ranked_whole_it_is_the_cosine_with_signs(pair):
    query, real, database = pair
    floats = Embeddings(real.embeddings, categories=query.categories, shape_ids=query.shape_ids)
    signs = Embeddings(
        database.signs().astype(np.float32), categories=database.categories, shape_ids=database.shape_ids
    )
    anew, cosine = evaluate(query, database, real=real, rerank=ITEMS), evaluate(floats, signs)
    # equal scores at different distances are ties of the cosine alone
    assert cosine["map_worst"] - 1e-9 <= anew["map"] <= cosine["map_best"] + 1e-9
    assert anew["map_best"] <= cosine["map_best"] + 1e-9
    continuous = Embeddings(real.embeddings * np.random.default_rng(1).uniform(0.9, 1.1, (QUERIES, BITS)))
    floats = Embeddings(continuous.embeddings, categories=query.categories, shape_ids=query.shape_ids)
    anew, cosine = evaluate(query, database, real=continuous, rerank=ITEMS), evaluate(floats, signs)
    for name in ("ap", "nn", "acc@10", "rank"):
        np.testing.assert_allclose(anew.per_query[name], cosine.per_query[name], atol=1e-9)


def test_signs_alone_change_nothing(pair):
    query, _, database = pair
    flat = Embeddings(query.signs().astype(np.float32))
    for ties in ("expected", "position"):
        plain, anew = (
            evaluate(query, database, ties=ties, **more) for more in ({}, {"real": flat, "rerank": ITEMS})
        )
        for name, column in plain.per_query.items():
            np.testing.assert_allclose(anew.per_query[name], column, atol=1e-9, err_msg=name)
        assert plain.curves["radius"] == anew.curves["radius"]


def test_what_is_left_out_is_none_of_the_first():
    codes, real = labelled(30, 5)
    rules = {"rerank": 6, "relevance": "instance", "candidates": "category", "ties": "position"}
    report = evaluate(codes, codes, real=real, **rules)
    for i in range(30):
        left_out = {p for p in range(30) if p == i or codes.categories[p] != codes.categories[i]}
        order = plain_order(codes[i], real.embeddings[i].astype(float), codes, 6, left_out)
        ranked = (codes.shape_ids == codes.shape_ids[i])[[p for _, p in order]]
        if ranked.any():
            assert report.per_query["ap"][i] == pytest.approx(plain_ap(ranked))
        else:
            assert np.isnan(report.per_query["ap"][i])
    positions = first_hits(codes, codes, np.arange(30), reranked=Reranked(6, real))
    for i in range(30):
        order = plain_order(codes[i], real.embeddings[i].astype(float), codes, 6, {i})
        assert positions[i] == order[0][1]


def test_mi3dor_of_the_order_anew(pair):
    query, real, database = pair
    report = evaluate(query, database, real=real, rerank=7, mi3dor=True)
    first = []
    for i in range(QUERIES):
        order = plain_order(query[i], real.embeddings[i].astype(float), database, 7)
        first.append(database.categories[order[0][1]] == query.categories[i])
    assert report["mi3dor_nn"] == pytest.approx(np.mean(first))


def test_threads_and_scale_change_nothing(pair):
    query, real, database = pair
    report = evaluate(query, database, real=real, rerank=7, threads=1)
    louder = Embeddings(real.embeddings * np.float32(1024))
    for other in (evaluate(query, database, real=real, rerank=7, threads=3),
                  evaluate(query, database, real=louder, rerank=7)):  # fmt: skip
        assert other.values == report.values


def test_the_rules_say_it(pair):
    query, real, database = pair
    report = evaluate(query, database, real=real, rerank=7)
    text = comparison([("", report)])
    assert "the first 7 of each query, by (distance, position in the database), are ranked anew" in text
    assert report.to_dict()["rules"]["rerank"] == 7
    plain = evaluate(query, database)
    assert "rerank" not in plain.to_dict()["rules"]
    assert "ranked anew" not in comparison([("", plain)])


def test_what_is_refused(pair):
    query, real, database = pair
    floats = Embeddings(np.ones((3, 4)))
    for arguments, message in (
        ((query, database, None, 7), r"rerank is 7: re-ranking needs the real-valued codes of the queries \(real\)"),
        ((query, database, real, None), "real-valued codes are for re-ranking, which was not asked for"),
        ((query, database, real.embeddings, 7), "real is a ndarray, expected Embeddings"),
        ((query, database, real[:3], 7), "3 rows, expected 9, one for each code"),
        ((query[::-1], database, real, 7), r"row 0, column \d+ is \S+, but the code has"),
        ((query, database, real, 0), "rerank is 0, expected 1 to"),
        ((query, database, real, 1.5), "rerank"),
        ((floats, floats, floats, 7), "rerank is 7, expected None for embeddings"),
    ):  # fmt: skip
        with pytest.raises(CodesError, match=message):
            evaluate(*arguments[:2], real=arguments[2], rerank=arguments[3])
    views = looks_of(query), looks_of(database)
    for rules, message in (
        ({"rerank_by": "most"}, "rerank_by 'most' is unknown, expected 'real' or 'views' or 'real\\+views'"),
        ({"rerank_by": "views"}, r"by views needs vectors of the queries and the items \(views\)"),
        (
            {"rerank_by": "real+views", "real": real},
            r"by real\+views needs vectors of the queries and the items",
        ),
        (
            {"rerank_by": "real+views", "views": views},
            "re-ranking needs the real-valued codes of the queries",
        ),
        (
            {"rerank_by": "views", "real": real, "views": views},
            "real-valued codes are for .* expected none by views",
        ),
        ({"real": real, "views": views}, "vectors of views are for .*, expected none by real"),
        ({"rerank_by": "views", "views": views[0]}, "views are no pair of RowVectors"),
        (
            {"rerank_by": "views", "views": views[::-1]},
            "views: vectors of 35 queries, expected 9, one row for each",
        ),
        ({"rerank": None, "views": views}, "vectors of views are for re-ranking, which was not asked for"),
    ):
        with pytest.raises(CodesError, match=message):
            evaluate(query, database, **{"rerank": 7, **rules})


def looks_of(codes, shown=1):
    """Vectors of few values of each row, of shapes so many views of each."""
    random = np.random.default_rng(len(codes))
    if shown == 1:
        rows = random.integers(0, 3, (len(codes), 3)).astype(np.float32)
        return RowVectors.of(Embeddings(rows, ids=codes.ids), codes)
    names = np.unique(codes.shape_ids)
    rows = random.integers(0, 3, (shown * len(names), 3)).astype(np.float32)
    views = Embeddings(rows, shape_ids=np.repeat(names, shown), modality="shape")
    return RowVectors.of(views, replace(codes, modality="shape"))


def plain_anew(scores, distance, first):
    """(level, position) of all items of one query, by the scores that a function gives of the first."""
    near = sorted((int(d), p) for p, d in enumerate(distance))
    anew = scores([p for _, p in near[:first]])
    levels = [((0, -score, d), p) for score, (d, p) in zip(anew, near[:first], strict=True)]
    return sorted(levels) + [((1, d), p) for d, p in near[first:]]


def plain_views(looks, row, others, chosen):
    """The greatest cosines of all pairs of vectors, one after the other."""

    def of(rows, i):
        items, number = rows.items, rows.numbers[i]
        vectors = items.vectors[items.offsets[number] : items.offsets[number + 1]].astype(float)
        return [v / (np.linalg.norm(v) or 1) for v in vectors]

    return [round(max(float(a @ b) for a in of(looks, row) for b in of(others, p)), 9) for p in chosen]


def standardised(scores):
    return (
        np.zeros(len(scores))
        if len(set(scores)) == 1
        else (np.array(scores) - np.mean(scores)) / np.std(scores)
    )


@pytest.mark.parametrize("by", ["views", "real+views"])
@pytest.mark.parametrize("first", [1, 7, ITEMS, 1000])
@pytest.mark.parametrize("shown", [(1, 3), (3, 1)])  # the items are shapes with views, or the queries are
def test_by_views(pair, by, first, shown):
    query, real, database = pair
    looks = looks_of(query, shown[0]), looks_of(database, shown[1])
    more = {"real": real} if by == "real+views" else {}
    report = evaluate(query, database, views=looks, rerank=first, rerank_by=by, ties="position", **more)
    for i in range(QUERIES):
        number = real.embeddings[i].astype(float)
        number = number / np.linalg.norm(number) / np.sqrt(BITS)

        def scores(chosen, i=i, number=number):
            seen = plain_views(looks[0], i, looks[1], chosen)
            if by == "views":
                return seen
            own = [round(float(number @ database.signs()[p]), 9) for p in chosen]
            return (standardised(own) + standardised(seen)).round(9).tolist()

        distance = (query.signs()[i] != database.signs()).sum(axis=1)
        order = [p for _, p in plain_anew(scores, distance, first)]
        ranked = (database.categories == query.categories[i])[order]
        assert report.per_query["ap"][i] == pytest.approx(plain_ap(ranked))
    record = report.to_dict()["rules"]
    assert (record["rerank"], record["rerank_by"]) == (first, by)
    assert "greatest cosine of its views with theirs" in comparison([("", report)])


@pytest.mark.parametrize("by", ["views", "real+views"])
def test_the_order_by_views_is_that_of_a_search(pair, by):
    query, real, database = pair
    views = looks_of(database, 2)
    table = Embeddings(
        views.items.vectors, shape_ids=np.repeat(views.items.names, np.diff(views.items.offsets))
    )
    more = {"real": real} if by == "real+views" else {}
    looks = looks_of(query)
    report = evaluate(query, database, views=(looks, views), rerank=12, rerank_by=by, ties="position", **more)
    index = HammingIndex(BITS)
    index.add(database)
    wanted = Embeddings(looks.items.vectors[looks.numbers])
    hits = rerank(
        index.search(query, 12), wanted, Reranking.of(table, 12, by), k=5, index=index,
        shape_ids=database.shape_ids, **more,
    )  # fmt: skip
    for i in range(QUERIES):
        same = database.shape_ids[hits.positions[i]] == query.shape_ids[i]
        assert report.per_query["acc@5"][i] == same.any()
        assert report.per_query["acc@1"][i] == same[0]


@pytest.fixture
def folder(tmp_path):
    for seed, modality in ((3, "image"), (4, "shape")):
        codes, real = labelled(20, seed, modality=modality, splits=["val"] * 12 + ["train"] * 8)
        codes.save(tmp_path / f"{modality}.npz")
        real.save(tmp_path / f"{modality}_real.npz")
    return tmp_path


def test_files(folder):
    from cmah.evaluation import Protocol

    protocol = Protocol(rerank=5, bootstrap=0)
    files = folder / "image.npz", folder / "shape.npz"
    result = evaluate_files(*files, protocol=protocol, both=True)
    codes = [BinaryCodes.load(path)[:12] for path in files]
    real = [Embeddings.load(folder / f"{name}_real.npz")[:12] for name in ("image", "shape")]
    lines = result.text().splitlines()
    record = result.record()
    for each, (a, b, bits) in zip(
        result.evaluations, [(0, 1, 4), (0, 1, BITS), (1, 0, 4), (1, 0, BITS)], strict=True
    ):
        cut = Embeddings(real[a].embeddings[:, :bits])
        pair = codes[a].truncate(bits), codes[b].truncate(bits)
        expected, plain = evaluate(*pair, real=cut, protocol=protocol), evaluate(*pair)
        assert each.report.values == expected.values
        gain = expected["map"] - plain["map"]
        assert (
            f"gain of re-ranking, {each.direction}, {bits} bits: {gain:+.3f} (re-ranked mAP - code mAP)"
            in lines
        )
        assert {"direction": each.direction, "bits": bits, "map": gain} in record["gains"]
    assert "gains" not in evaluate_files(*files).record()
    before = evaluate_before(*files, result)
    assert [each.report.values for each in before.evaluations] == [
        each.report.values for each in result.evaluations
    ]
    (folder / "image_real.npz").rename(folder / "other.npz")
    named = evaluate_files(*files, protocol=protocol, rerank_queries=folder / "other.npz")
    assert named.evaluations[1].report.values == result.evaluations[1].report.values
    with pytest.raises(
        CodesError, match=r"image_real\.npz: no such file \(expected the real-valued codes of .*image"
    ):
        evaluate_files(*files, protocol=protocol)
    with pytest.raises(
        CodesError, match=r"other\.npz: real-valued codes are for re-ranking, which was not asked"
    ):
        evaluate_files(*files, rerank_queries=folder / "other.npz")
    Embeddings.load(folder / "other.npz")[::-1].save(folder / "image_real.npz")
    with pytest.raises(CodesError, match=r"image_real\.npz: row 0, column \d+ is \S+, but the code has"):
        evaluate_files(*files, protocol=protocol)
    renamed = Embeddings.load(folder / "other.npz")
    Embeddings(renamed.embeddings, ids=[f"x{i}" for i in range(20)]).save(folder / "image_real.npz")
    with pytest.raises(CodesError, match=r"image_real\.npz: row 0 is 'x0', but '3 0' in"):
        evaluate_files(*files, protocol=protocol)


def test_embeddings_stand_beside_what_is_ranked_anew(folder, tmp_path):
    from cmah.evaluation import Protocol

    floats = tmp_path / "floats"
    floats.mkdir()
    for name in ("image", "shape"):
        codes, real = BinaryCodes.load(folder / f"{name}.npz"), Embeddings.load(folder / f"{name}_real.npz")
        Embeddings(real.embeddings, ids=codes.ids, categories=codes.categories, splits=codes.splits,
                   modality=name).save(floats / f"{name}_embeddings.npz")  # fmt: skip
    protocol = Protocol(rerank=5, bootstrap=0)
    result = compare_folders([folder, floats], protocol=protocol, bits=())
    assert [each.report.rules.rerank for each in result.evaluations] == [5, 5, None] * 2
    pair = floats / "image_embeddings.npz", floats / "shape_embeddings.npz"
    with pytest.raises(
        CodesError, match=r"image_embeddings\.npz: holds embeddings, expected codes, of which"
    ):
        evaluate_files(*pair, protocol=protocol)
    unhashed = evaluate_files(folder / "image.npz", folder / "shape.npz", protocol=protocol, unhashed=pair)
    assert [each.report.rules.rerank for each in unhashed.evaluations] == [5, 5, None]


@pytest.mark.parametrize("by", ["views", "real+views"])
def test_files_with_views(folder, by):
    from cmah.evaluation import Protocol

    files = folder / "image.npz", folder / "shape.npz"
    random, looks = np.random.default_rng(0), []
    for name, path in zip(("image", "shape"), files, strict=True):
        codes = BinaryCodes.load(path)
        names = codes.id_texts if name == "image" else np.repeat(np.unique(codes.shape_ids), 2)
        rows = random.normal(size=(len(names), 5)).astype(np.float32)
        table = Embeddings(rows, modality=name, **{"ids" if name == "image" else "shape_ids": names})
        table[::-1].save(folder / f"{name}_views.npz")
        looks.append(RowVectors.of(table, codes)[:12])
    protocol = Protocol(rerank=5, rerank_by=by, bootstrap=0)
    result = evaluate_files(*files, protocol=protocol, both=True, bits=[BITS])
    codes = [BinaryCodes.load(path)[:12] for path in files]
    for each, (a, b) in zip(result.evaluations, [(0, 1), (1, 0)], strict=True):
        real = Embeddings.load(folder / f"{'image' if a == 0 else 'shape'}_real.npz")[:12]
        more = {"real": real} if by == "real+views" else {}
        expected = evaluate(codes[a], codes[b], views=(looks[a], looks[b]), protocol=protocol, **more)
        assert each.report.values == expected.values
        assert each.reranked.first == 5
    assert result.text().count("gain of re-ranking") == 2
    before = evaluate_before(*files, result)
    assert [each.report.values for each in before.evaluations] == [
        each.report.values for each in result.evaluations
    ]
    unhashed = evaluate_files(
        *files,
        protocol=protocol,
        bits=[BITS],
        unhashed=[folder / "image_real.npz", folder / "shape_real.npz"],
    )
    assert [each.report.to_dict()["rules"].get("rerank_by") for each in unhashed.evaluations] == [by, None]
    views = Embeddings.load(folder / "shape_views.npz")
    views[views.shape_ids != "3"].save(folder / "shape_views.npz")
    with pytest.raises(CodesError, match=r"shape_views\.npz: has no vector for 3, which has a code"):
        evaluate_files(*files, protocol=protocol)
    (folder / "image_views.npz").unlink()
    with pytest.raises(CodesError, match=r"image_views\.npz: no such file \(expected the vectors of .*image"):
        evaluate_files(*files, protocol=protocol)
    if by == "views":
        with pytest.raises(
            CodesError, match=r"image_real\.npz: real-valued codes are for re-ranking by real or"
        ):
            evaluate_files(*files, protocol=protocol, rerank_queries=folder / "image_real.npz")
