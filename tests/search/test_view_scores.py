"""The three scores by real vectors: against plain loops, and attention against what training computes."""

import math

import numpy as np
import pytest

from cmah.errors import CodesError
from cmah.search import view_scores
from cmah.search.view_scores import attention_scores, best_view_scores, cosine_scores, summed_scores

COUNTS = (3, 1, 4, 2, 1, 5)  # views of each item


def some(seed=0, q=4, d=7):
    """Queries [q, d], views [16, d], their offsets, and a weight [d, d] that is not symmetric."""
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(COUNTS)])
    return rng.normal(size=(q, d)), rng.normal(size=(offsets[-1], d)), offsets, 3 * rng.normal(size=(d, d))


def unit(vector):
    return [x / math.sqrt(sum(y * y for y in vector)) for x in vector]


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def by_loops(queries, views, offsets, weight=None):
    """Scores [q][s] by the definition, one number after the other: by attention with a weight, else the greatest."""
    scores = []
    for query in map(unit, queries.tolist()):
        row = []
        for i in range(len(offsets) - 1):
            shape = [unit(view) for view in views[offsets[i] : offsets[i + 1]].tolist()]
            cosines = [dot(query, view) for view in shape]
            if weight is None:
                row.append(max(cosines))
            else:
                turned = [dot(line, query) for line in weight.tolist()]
                e = [math.exp(dot(turned, view)) for view in shape]
                row.append(dot(e, cosines) / sum(e))
        scores.append(row)
    return scores


@pytest.fixture(params=[1 << 23, 40, 1], ids=["one block", "some blocks", "an item a block"])
def at_once(request, monkeypatch):
    monkeypatch.setattr(view_scores, "AT_ONCE", request.param)


@pytest.mark.usefixtures("at_once")
def test_equal_the_definitions():
    queries, views, offsets, weight = some()
    np.testing.assert_allclose(
        best_view_scores(queries, views, offsets), by_loops(queries, views, offsets), rtol=1e-12
    )
    np.testing.assert_allclose(
        attention_scores(queries, views, offsets, weight),
        by_loops(queries, views, offsets, weight),
        rtol=1e-10,
    )
    alone = np.arange(len(views) + 1)
    np.testing.assert_allclose(cosine_scores(queries, views), by_loops(queries, views, alone), rtol=1e-12)


def test_attention_is_that_of_training():
    """Against the torch function, on unit vectors in float32 with gaps in place of offsets."""
    torch = pytest.importorskip("torch")
    from cmah.models import view_attention

    queries, views, offsets, weight = some(1)
    queries, views = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (queries, views))
    padded, mask = np.zeros((len(COUNTS), max(COUNTS), 7)), np.zeros((len(COUNTS), max(COUNTS)), bool)
    for i, count in enumerate(COUNTS):
        padded[i, :count], mask[i, :count] = views[offsets[i] : offsets[i + 1]], True
    inputs = (torch.from_numpy(x) for x in (queries, padded, weight, mask))
    expected = view_attention.attention_scores(*inputs).numpy()
    np.testing.assert_allclose(attention_scores(queries, views, offsets, weight), expected, rtol=1e-10)
    single = [x.astype(np.float32) for x in (queries, views, weight)]
    np.testing.assert_allclose(
        attention_scores(*single[:2], offsets, single[2]), expected, rtol=1e-4, atol=1e-5
    )


def test_only_directions_count_and_zeros_have_none():
    queries, views, offsets, weight = some(2)
    scaled = views * np.arange(1, len(views) + 1)[:, None]
    for score in (
        lambda q, v: best_view_scores(q, v, offsets),
        lambda q, v: attention_scores(q, v, offsets, weight),
    ):
        np.testing.assert_allclose(score(5 * queries, scaled), score(queries, views), rtol=1e-10)
    assert cosine_scores([[0, 0]], [[1, 2]]).tolist() == cosine_scores([[1, 2]], [[0, 0]]).tolist() == [[0.0]]


def test_great_weights_do_not_overflow():
    queries, views, offsets, weight = some(3)
    scores = attention_scores(queries, views, offsets, 1e6 * weight)
    turned = queries / np.linalg.norm(queries, axis=1, keepdims=True) @ weight.T
    rows = views / np.linalg.norm(views, axis=1, keepdims=True)
    for i in range(len(queries)):
        for j in range(len(COUNTS)):
            chosen = offsets[j] + int(np.argmax(rows[offsets[j] : offsets[j + 1]] @ turned[i]))
            np.testing.assert_allclose(scores[i, j], cosine_scores(queries[i : i + 1], views[[chosen]])[0, 0])


def test_nothing_gives_nothing():
    assert cosine_scores(np.zeros((3, 2)), np.zeros((0, 2))).shape == (3, 0)
    assert attention_scores(np.zeros((0, 2)), np.eye(2), [0, 2], np.eye(2)).shape == (0, 1)


@pytest.mark.parametrize(
    ("offsets", "message"),
    [
        ([0, 2], "offsets go from 0 to 2, expected from 0 to 3"),
        ([1, 3], "offsets go from 1 to 3"),
        ([0, 2, 2, 3], "item 1 has no vector"),
        ([0, 2, 1, 3], "item 1 has no vector"),
        ([0.0, 3.0], "expected whole numbers"),
        ([], "expected whole numbers"),
    ],
)
def test_wrong_offsets(offsets, message):
    with pytest.raises(CodesError, match=message):
        best_view_scores(np.eye(3), np.eye(3), offsets)


def test_wrong_widths():
    with pytest.raises(CodesError, match="vectors have 3 numbers, expected 2 as the queries"):
        cosine_scores(np.eye(2), np.eye(3))
    with pytest.raises(CodesError, match=r"weight has shape \[3, 3\], expected \[2, 2\]"):
        attention_scores(np.eye(2), np.eye(2), [0, 2], np.eye(3))
    with pytest.raises(CodesError, match=r"queries have shape \[2\]"):
        cosine_scores([1, 2], np.eye(2))


def standardised_by_loops(row):
    """Each number of a row less their mean, divided by their standard deviation; 0 where all are equal."""
    mean = math.fsum(row) / len(row)
    deviation = math.sqrt(math.fsum((x - mean) ** 2 for x in row) / len(row))
    return [0.0 if len(set(row)) == 1 else (x - mean) / deviation for x in row]


def test_a_sum_standardises_each_score_over_the_items_of_its_query():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(4, 9)), 100 + 0.01 * rng.integers(0, 3, (4, 9))
    expected = [
        [sum(pair) for pair in zip(*map(standardised_by_loops, rows), strict=True)]
        for rows in zip(*(each.tolist() for each in scores), strict=True)
    ]
    np.testing.assert_allclose(summed_scores(*scores), expected, atol=1e-8)
    # whatever lies beside it, in any scale
    alone = summed_scores(*(each[[2]] for each in scores))
    assert alone.tolist() == summed_scores(*scores)[[2]].tolist()
    np.testing.assert_allclose(summed_scores(scores[0] * 7 - 3, scores[1]), expected, atol=1e-8)


def test_a_score_that_is_equal_for_all_items_counts_as_0():
    some = np.random.default_rng(0).normal(size=(2, 7))
    same = np.full((2, 7), 0.1)  # whose mean is not 0.1 to the bit
    assert same.mean(axis=1).tolist() != [0.1, 0.1]
    assert summed_scores(same, same).tolist() == np.zeros((2, 7)).tolist()
    assert summed_scores(some, same).tolist() == summed_scores(some, np.zeros((2, 7))).tolist()
    assert summed_scores([[3.0]], [[0.2]]).tolist() == [[0.0]]  # one item alone
    assert summed_scores(np.zeros((2, 0)), np.zeros((2, 0))).shape == (2, 0)


def test_scores_of_different_shapes_are_no_sum():
    with pytest.raises(CodesError, match=r"scores are \[2, 3\], expected \[2, 4\] as the first"):
        summed_scores(np.zeros((2, 4)), np.zeros((2, 3)))
