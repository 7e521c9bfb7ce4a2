"""What a report shows beside the metrics: nearest items, mix-ups of categories, statistics of bits, a t-SNE plane."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cmah.codes import BinaryCodes, Embeddings
from cmah.errors import CodesError
from cmah.evaluation.histograms import Distances, chunks
from cmah.evaluation.relevance import own_positions
from cmah.evaluation.report import Report
from cmah.search import HammingIndex
from cmah.vectors import unit_rows

Rows = BinaryCodes | Embeddings


@dataclass(frozen=True)
class Result:
    """A report with what it was measured on.

    Attributes:
        direction: for example "image -> shape".
        query: the rows that were asked.
        database: the rows among which was searched.
        report: what `evaluate` said of them.
        name: of the method or run, "" where there is only one.
    """

    direction: str
    query: Rows
    database: Rows
    report: Report
    name: str = ""

    @property
    def arrow(self) -> str:
        """The direction as it is written on a page."""
        return self.direction.replace("->", "→")

    @property
    def width(self) -> str:
        """Length of a row in words, as "64 bits"."""
        return self.report.rules.width_text


def directions(results: Sequence[Result]) -> list[tuple[str, list[Result]]]:
    """Results by direction as it is written on a page, in order."""
    names = list(dict.fromkeys(result.arrow for result in results))
    return [(name, [result for result in results if result.arrow == name]) for name in names]


def longest(results: Sequence[Result]) -> list[Result]:
    """Of each method and direction the result of the longest codes (of embeddings if there are no codes), in order."""
    best: dict[tuple[str, str], Result] = {}
    for result in results:
        key = result.name, result.direction
        if key not in best or _length(result) > _length(best[key]):
            best[key] = result
    return list(best.values())


def _length(result: Result) -> tuple[bool, int]:
    return isinstance(result.query, BinaryCodes), result.report.rules.width


def costs_of_hashing(results: Sequence[Result]) -> list[tuple[Result, float]]:
    """For each result of codes, where there is one of floats beside it: float mAP - code mAP."""
    real = {
        (result.name, result.direction): result.report["map"]
        for result in results
        if not isinstance(result.query, BinaryCodes)
    }
    return [
        (result, real[key] - result.report["map"])
        for result in results
        if isinstance(result.query, BinaryCodes) and (key := (result.name, result.direction)) in real
    ]


def nearest(
    query: Rows, database: Rows, k: int, exclude_self: bool | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The first items of each query by (distance, position in the database).

    Args:
        query: codes or embeddings.
        database: the same kind and width.
        k: how many.
        exclude_self: as in `evaluate`.

    Returns:
        Positions, int64 [q, min(k, items)], and Hamming distances (integers) or cosines (float64) of that shape.
        Where a query itself was left out there is one item fewer to find, for all queries.
    """
    own = own_positions(query, database, exclude_self)
    known = len(database) - int((own >= 0).any())
    wanted = min(k + 1, len(database))
    if isinstance(query, BinaryCodes) and isinstance(database, BinaryCodes):
        index = HammingIndex(database.bits)
        index.add(BinaryCodes.from_packed(database.packed, database.bits))
        hits = index.search(BinaryCodes.from_packed(query.packed, query.bits), k=max(wanted, 1))
        positions, values = hits.positions, hits.distances
    else:
        positions, values = _nearest_by_cosine(query, database, wanted)
    others = np.argsort(positions == own[:, None], axis=1, kind="stable")[:, : max(min(k, known), 0)]
    return np.take_along_axis(positions, others, axis=1), np.take_along_axis(values, others, axis=1)


def confusion(query: Rows, database: Rows, positions: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Which categories the first hits of each category's queries have.

    Args:
        query: rows that name their categories.
        database: the same.
        positions: int64 [q, k], the hits in the database.

    Returns:
        The categories in order of their names, and float64 [categories, categories]: of row i the shares of the
        hits' categories; a row of NaN for a category without queries. Rows and hits of unknown category do not count.
    """
    if query.categories is None or database.categories is None:
        raise CodesError("confusion: the queries, the database or both do not name their categories")
    names = sorted({*query.categories.tolist(), *database.categories.tolist()} - {""})
    number = {name: i for i, name in enumerate(names)} | {"": -1}
    asked = np.array([number[name] for name in query.categories.tolist()], dtype=np.int64)
    held = np.array([number[name] for name in database.categories.tolist()], dtype=np.int64)
    pairs = np.stack([np.broadcast_to(asked[:, None], positions.shape), held[positions]]).reshape(2, -1)
    counts = np.zeros((len(names), len(names)))
    np.add.at(counts, tuple(pairs[:, (pairs >= 0).all(axis=0)]), 1)
    totals = counts.sum(axis=1, keepdims=True)
    return names, np.divide(counts, totals, out=np.full_like(counts, np.nan), where=totals > 0)


def mix_ups(names: Sequence[str], shares: np.ndarray, count: int = 8) -> list[tuple[str, str, float]]:
    """The largest shares of `confusion` off its diagonal: category asked for, category found, share."""
    off = np.where(np.eye(len(names), dtype=bool) | np.isnan(shares), 0, shares)
    order = np.argsort(-off, axis=None, kind="stable")[:count]
    rows, columns = np.unravel_index(order, off.shape)
    return [
        (names[i], names[j], float(off[i, j])) for i, j in zip(rows, columns, strict=True) if off[i, j] > 0
    ]


@dataclass(frozen=True)
class Bits:
    """How well codes use their bits.

    Attributes:
        ones: float64 [bits], how often each bit is set; 0.5 is best.
        correlation: float64 [bits, bits] of the bits with one another; 0 where one of them is constant, 1 on the
            diagonal.
        mean_correlation: mean of its absolute values off the diagonal; NaN for one bit.
        constant: how many bits are the same in every code.
        distinct: how many different codes there are.
        rows: how many codes.
    """

    ones: np.ndarray
    correlation: np.ndarray
    mean_correlation: float
    constant: int
    distinct: int
    rows: int


def bit_statistics(codes: BinaryCodes) -> Bits:
    """Balance and correlation of the bits of one or more codes.

    Raises:
        CodesError: if there are none.
    """
    if not len(codes):
        raise CodesError("no codes to take statistics of")
    bits = codes.unpacked().astype(np.float64)
    ones = bits.mean(axis=0)
    deviation = np.sqrt(ones * (1 - ones))
    centred = bits - ones
    scale = np.outer(deviation, deviation)
    covariance = centred.T @ centred / len(bits)
    correlation = np.divide(covariance, scale, out=np.zeros_like(covariance), where=scale > 1e-12)
    np.fill_diagonal(correlation, 1)
    off = correlation[~np.eye(codes.bits, dtype=bool)]
    return Bits(
        ones=ones,
        correlation=correlation,
        mean_correlation=float(np.abs(off).mean()) if off.size else float("nan"),
        constant=int((deviation == 0).sum()),
        distinct=len(np.unique(codes.packed, axis=0)),
        rows=len(codes),
    )


def sample(parts: Sequence[Rows], rows: int, seed: int = 0) -> list[np.ndarray]:
    """At most `rows` rows of several sets together, the same number of each as far as they have them.

    Returns:
        For each set the chosen rows in ascending order, int64.
    """
    rng = np.random.default_rng(seed)
    chosen: list[np.ndarray] = [np.empty(0, dtype=np.int64)] * len(parts)
    left = rows
    for done, i in enumerate(np.argsort([len(part) for part in parts], kind="stable")):
        share = min(len(parts[i]), left // (len(parts) - done))
        chosen[i] = np.sort(rng.permutation(len(parts[i]))[:share])
        left -= share
    return chosen


def plane(parts: Sequence[Rows], seed: int = 0) -> np.ndarray:
    """A t-SNE of all rows together: codes by their signs, embeddings by their directions.

    Returns:
        float64 [n, 2]; zeros where there are fewer than four rows or all are the same.
    """
    from sklearn.manifold import TSNE

    vectors = np.concatenate(
        [part.signs() if isinstance(part, BinaryCodes) else unit_rows(part.matrix) for part in parts]
    ).astype(np.float32)
    if len(vectors) < 4 or not np.ptp(vectors, axis=0).any():
        return np.zeros((len(vectors), 2))
    perplexity = min(30.0, (len(vectors) - 1) / 3)
    found = TSNE(perplexity=perplexity, init="pca", random_state=seed % 2**32).fit_transform(vectors)
    return np.asarray(found, dtype=np.float64)


def chosen_queries(result: Result, count: int = 5, seed: int = 0) -> list[tuple[str, np.ndarray]]:
    """Queries worth looking at: the best and the worst by average precision, and random ones.

    Of the best and the worst, each is of another category as long as there are any, else the same few shapes
    would fill the page. Queries without a relevant item are left out.

    Returns:
        ("best" | "worst" | "random", rows of the queries).
    """
    ap = result.report.per_query["ap"]
    known = np.flatnonzero(~np.isnan(ap))
    categories = result.query.categories
    groups = np.arange(len(ap)) if categories is None else np.unique(categories, return_inverse=True)[1]
    ascending = known[np.argsort(ap[known], kind="stable")]
    descending = known[np.argsort(-ap[known], kind="stable")]
    random = np.random.default_rng(seed).permutation(known)[:count]
    return [
        ("best", _of_different(descending, groups, count)),
        ("worst", _of_different(ascending, groups, count)),
        ("random", random),
    ]


def _of_different(order: np.ndarray, groups: np.ndarray, count: int) -> np.ndarray:
    """The first rows in order, but those of a group that was seen before come after the others."""
    _, first = np.unique(groups[order], return_index=True)
    repeated = np.ones(len(order), dtype=bool)
    repeated[first] = False
    return np.concatenate([order[~repeated], order[repeated]])[:count]


def _nearest_by_cosine(query: Rows, database: Rows, k: int) -> tuple[np.ndarray, np.ndarray]:
    positions = np.empty((len(query), k), dtype=np.int64)
    cosines = np.empty((len(query), k))
    distances = Distances(query, database)
    for begin, end in chunks(len(query), len(database)):
        some = distances(begin, end)
        positions[begin:end] = np.argsort(some, axis=1, kind="stable")[:, :k]
        cosines[begin:end] = -np.take_along_axis(some, positions[begin:end], axis=1)
    return positions, cosines
