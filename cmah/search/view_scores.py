"""Scores of queries with items by real vectors: cosine, the best of several views, attention over views.

Only the directions of vectors count. The views of all items lie in one matrix: those of item i are its rows offsets[i]
to offsets[i + 1], so that items may have different numbers of views.
"""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from cmah.codes.real_codes import DIGITS
from cmah.codes.vector_table import matrix_of
from cmah.errors import CodesError
from cmah.vectors import unit_rows

AT_ONCE = 1 << 23  # numbers of vectors, and products of queries with vectors, that are in memory at a time

# products of queries with vectors [q, r], and where the rows of each item begin [s] -> scores [q, s]
Combine = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def cosine_scores(queries: npt.ArrayLike, vectors: npt.ArrayLike) -> np.ndarray:
    """The cosine of each query with each item.

    Args:
        queries: numbers [q, d].
        vectors: numbers [s, d], one for each item.

    Returns:
        float64 [q, s], in [-1, 1] up to rounding; 0 for a vector of zeros.

    Raises:
        CodesError: for vectors of another width than the queries.

    Examples:
        >>> cosine_scores([[0.0, 2.0]], [[1, 0], [0, 5], [-3, -4]]).tolist()
        [[0.0, 1.0, -0.8]]
    """
    return best_view_scores(queries, vectors, np.arange(len(np.asarray(vectors)) + 1))


def best_view_scores(queries: npt.ArrayLike, views: npt.ArrayLike, offsets: npt.ArrayLike) -> np.ndarray:
    """The greatest cosine of each query with any of the views of each item.

    Args:
        queries: numbers [q, d].
        views: numbers [r, d], those of an item one after the other.
        offsets: whole numbers [s + 1]: item i has rows offsets[i] to offsets[i + 1], one at least.

    Returns:
        float64 [q, s], in [-1, 1] up to rounding.

    Raises:
        CodesError: for views of another width than the queries, or an item without a view.

    Examples:
        The first item has two views.

        >>> best_view_scores([[0, 1]], [[1, 0], [3, 4], [0, -1]], offsets=[0, 2, 3]).tolist()
        [[0.8, -1.0]]
    """
    return _in_blocks(queries, views, offsets, None, lambda cosines, _, starts: _greatest(cosines, starts))


def attention_scores(
    queries: npt.ArrayLike, views: npt.ArrayLike, offsets: npt.ArrayLike, weight: npt.ArrayLike
) -> np.ndarray:
    """The score Σ_v a_v (q·v) of each query q with each item, over its views v, with a = softmax_v((W q)·v).

    That of CMIC (Lin et al., ICCV 2021) and SC-IBSR (Song et al., TOMM 2024) for unit vectors q and v: what
    `cmah.models.view_attention.attention_scores` computes in training, without torch.

    Args:
        queries: numbers [q, d].
        views: numbers [r, d], those of an item one after the other.
        offsets: whole numbers [s + 1]: item i has rows offsets[i] to offsets[i + 1], one at least.
        weight: W, [d, d].

    Returns:
        float64 [q, s], in [-1, 1] up to rounding.

    Raises:
        CodesError: as `best_view_scores`, or for a weight of another shape.

    Examples:
        The query is one of the two views, which it weighs by 0.73.

        >>> attention_scores([[1, 0]], [[1, 0], [0, 1]], offsets=[0, 2], weight=[[1, 0], [0, 1]]).round(4)
        array([[0.7311]])
    """
    return _in_blocks(queries, views, offsets, np.asarray(weight, dtype=np.float64), _attended)


def summed_scores(*scores: npt.ArrayLike) -> np.ndarray:
    """The sum of several scores of the same items, each standardised over the items of its query.

    Scores less their mean over the items, divided by their standard deviation, say how far an item stands out: so
    scores of different sizes count the same. One that is equal for all items tells none apart, and counts as 0.

    Args:
        *scores: numbers [q, s] each.

    Returns:
        float64 [q, s], rounded to 9 decimals.

    Raises:
        CodesError: for scores of different shapes.

    Examples:
        Both say that the third item is the best, by different sizes; of the second query the latter says nothing.

        >>> summed_scores([[0, 0, 3], [0, 0, 3]], [[0.1, 0.2, 0.3], [0.4, 0.4, 0.4]]).round(2).tolist()
        [[-1.93, -0.71, 2.64], [-0.71, -0.71, 1.41]]
    """
    columns = [np.asarray(each, dtype=np.float64) for each in scores]
    for each in columns:
        if each.shape != columns[0].shape or each.ndim != 2:
            raise CodesError(f"scores are {list(each.shape)}, expected {list(columns[0].shape)} as the first")
    summed: np.ndarray = np.sum([_standardised(each) for each in columns], axis=0)
    return summed.round(DIGITS)


def _standardised(scores: np.ndarray) -> np.ndarray:
    """Scores [q, s] less the mean of their row, divided by its standard deviation; 0 in a row of equal ones."""
    if not scores.size:
        return scores
    # the mean of equal numbers may be off by rounding, and that divided by as little would be no small number
    deviations = np.where(np.ptp(scores, axis=1) > 0, scores.std(axis=1), 0.0)[:, None]
    centred = scores - scores.mean(axis=1, keepdims=True)
    return np.asarray(np.divide(centred, deviations, out=np.zeros_like(centred), where=deviations > 0))


def _greatest(products: np.ndarray, starts: np.ndarray) -> np.ndarray:
    greatest: np.ndarray = np.maximum.reduceat(products, starts, axis=1)
    return greatest


def _attended(cosines: np.ndarray, logits: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Means [q, s] of cosines [q, r] over the views of each item, weighed by the softmax of logits [q, r]."""
    counts = np.diff(starts, append=logits.shape[1])
    weights = np.exp(logits - np.repeat(_greatest(logits, starts), counts, axis=1))
    sums = np.add.reduceat(weights * cosines, starts, axis=1)
    return np.asarray(sums / np.add.reduceat(weights, starts, axis=1))


def _in_blocks(
    queries: npt.ArrayLike,
    vectors: npt.ArrayLike,
    offsets: npt.ArrayLike,
    weight: np.ndarray | None,
    combine: Combine,
) -> np.ndarray:
    """Scores [q, s] of some items at a time: never are there more products than `AT_ONCE`, but for one item."""
    unit, rows = unit_rows(matrix_of(queries, "queries")), matrix_of(vectors, "vectors")
    width, bounds = unit.shape[1], _checked_offsets(offsets, len(rows))
    if rows.shape[1] != width:
        raise CodesError(f"vectors have {rows.shape[1]} numbers, expected {width} as the queries")
    if weight is not None and weight.shape != (width, width):
        raise CodesError(f"weight has shape {list(weight.shape)}, expected [{width}, {width}]")
    turned = unit if weight is None else unit @ weight.T
    scores = np.empty((len(unit), len(bounds) - 1))
    for first, last in _blocks(bounds, max(AT_ONCE // max(width, len(unit)), 1)):
        some = np.asarray(rows[bounds[first] : bounds[last]], dtype=np.float64)
        lengths = np.sqrt(np.einsum("rd,rd->r", some, some))
        lengths[lengths == 0] = 1
        cosines = unit @ some.T / lengths
        logits = cosines if weight is None else turned @ some.T / lengths
        scores[:, first:last] = combine(cosines, logits, bounds[first:last] - bounds[first])
    return scores


def _blocks(offsets: np.ndarray, rows: int) -> Iterator[tuple[int, int]]:
    """The first item of each block and that of the next; a block has at most so many rows, or one item."""
    first, count = 0, len(offsets) - 1
    while first < count:
        last = int(np.searchsorted(offsets, offsets[first] + rows, side="right")) - 1
        last = max(last, first + 1)
        yield first, last
        first = last


def _checked_offsets(offsets: npt.ArrayLike, rows: int) -> np.ndarray:
    bounds = np.asarray(offsets)
    if bounds.ndim != 1 or bounds.dtype.kind not in "iu" or not len(bounds):
        raise CodesError(f"offsets are {bounds.dtype} {list(bounds.shape)}, expected whole numbers [s + 1]")
    if (bounds[0], bounds[-1]) != (0, rows):
        raise CodesError(f"offsets go from {bounds[0]} to {bounds[-1]}, expected from 0 to {rows}")
    empty = np.flatnonzero(np.diff(bounds.astype(np.int64)) < 1)
    if len(empty):
        raise CodesError(f"offsets: item {empty[0]} has no vector, expected one at least")
    return bounds.astype(np.int64)
