"""What a report shows beside the metrics: mix-ups of categories, statistics of bits, a t-SNE plane."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cmah.codes import BinaryCodes
from cmah.errors import CodesError
from cmah.evaluation.relevance import Vectors
from cmah.vectors import unit_rows


def confusion(query: Vectors, database: Vectors, positions: np.ndarray) -> tuple[list[str], np.ndarray]:
    """Which categories the first hits of each category's queries have.

    Args:
        query: codes or embeddings that name their categories.
        database: codes or embeddings that name their categories.
        positions: int64 [q, k], the hits in the database.

    Returns:
        The categories in order of their names, and float64 [categories, categories]: row i has the shares of each
        category among the hits of category i's queries, or NaN without such queries. Queries and hits of unknown
        category do not count.

    Raises:
        CodesError: if queries or database do not name their categories.

    Examples:
        One chair was asked for; it found a chair and a lamp, and nobody asked for a lamp:

        >>> query = BinaryCodes.from_bits([[0, 0]], categories=["chair"])
        >>> database = BinaryCodes.from_bits([[0, 0], [0, 1]], categories=["chair", "lamp"])
        >>> names, shares = confusion(query, database, positions=np.array([[0, 1]]))
        >>> names, shares.tolist()
        (['chair', 'lamp'], [[0.5, 0.5], [nan, nan]])
    """
    if query.categories is None or database.categories is None:
        raise CodesError("confusion: the queries, the database or both do not name their categories")
    names = sorted({*query.categories.tolist(), *database.categories.tolist()} - {""})
    number = {name: i for i, name in enumerate(names)} | {"": -1}
    of_query = np.array([number[name] for name in query.categories.tolist()], dtype=np.int64)
    of_item = np.array([number[name] for name in database.categories.tolist()], dtype=np.int64)
    pairs = np.stack([np.broadcast_to(of_query[:, None], positions.shape), of_item[positions]]).reshape(2, -1)
    counts = np.zeros((len(names), len(names)))
    np.add.at(counts, tuple(pairs[:, (pairs >= 0).all(axis=0)]), 1)
    totals = counts.sum(axis=1, keepdims=True)
    return names, np.divide(counts, totals, out=np.full_like(counts, np.nan), where=totals > 0)


def mix_ups(names: Sequence[str], shares: np.ndarray, count: int = 8) -> list[tuple[str, str, float]]:
    """The largest shares of `confusion` off its diagonal: category of the query, category of the hit, share.

    Examples:
        >>> mix_ups(["chair", "lamp"], np.array([[0.7, 0.3], [0.0, 1.0]]))
        [('chair', 'lamp', 0.3)]
    """
    off = np.where(np.eye(len(names), dtype=bool) | np.isnan(shares), 0, shares)
    order = np.argsort(-off, axis=None, kind="stable")[:count]
    rows, columns = np.unravel_index(order, off.shape)
    return [
        (names[i], names[j], float(off[i, j])) for i, j in zip(rows, columns, strict=True) if off[i, j] > 0
    ]


@dataclass(frozen=True)
class BitStatistics:
    """How well codes use their bits.

    Attributes:
        ones: float64 [bits], how often each bit is set; 0.5 is best.
        correlation: float64 [bits, bits] of the bits with one another; 0 where one of them is constant, 1 on the
            diagonal.
        mean_correlation: mean of its absolute values off the diagonal; NaN for one bit.
        constant: number of bits that are the same in every code.
        distinct: number of different codes.
        rows: number of codes.

    Examples:
        >>> found = bit_statistics(BinaryCodes.from_bits([[0, 1, 1], [0, 1, 1], [1, 0, 1]]))
        >>> found.constant, found.distinct, found.rows  # the last bit is always set; two codes are equal
        (1, 2, 3)
    """

    ones: np.ndarray
    correlation: np.ndarray
    mean_correlation: float
    constant: int
    distinct: int
    rows: int


def bit_statistics(codes: BinaryCodes) -> BitStatistics:
    """Balance and correlation of the bits of one or more codes.

    Raises:
        CodesError: if there are none.

    Examples:
        >>> found = bit_statistics(BinaryCodes.from_bits([[0, 1], [1, 0]]))
        >>> found.ones.tolist(), found.correlation.tolist()  # half of each is set; the bits are opposite
        ([0.5, 0.5], [[1.0, -1.0], [-1.0, 1.0]])
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
    return BitStatistics(
        ones=ones,
        correlation=correlation,
        mean_correlation=float(np.abs(off).mean()) if off.size else float("nan"),
        constant=int((deviation == 0).sum()),
        distinct=len(np.unique(codes.packed, axis=0)),
        rows=len(codes),
    )


def sample(parts: Sequence[Vectors], rows: int, seed: int = 0) -> list[np.ndarray]:
    """Choose at most `rows` rows from several sets together, the same number of each as far as they have them.

    Args:
        parts: sets of codes or embeddings.
        rows: most rows in all.
        seed: random seed of the choice.

    Returns:
        For each set the chosen rows in ascending order, int64.

    Examples:
        >>> few, many = (BinaryCodes.from_bits(np.zeros((rows, 8))) for rows in (2, 100))
        >>> [len(rows) for rows in sample([few, many], rows=10)]
        [2, 8]
    """
    rng = np.random.default_rng(seed)
    chosen: list[np.ndarray] = [np.empty(0, dtype=np.int64)] * len(parts)
    left = rows
    # smallest first, so that what a small set cannot give is shared among the larger ones
    for done, i in enumerate(np.argsort([len(part) for part in parts], kind="stable")):
        share = min(len(parts[i]), left // (len(parts) - done))
        chosen[i] = np.sort(rng.permutation(len(parts[i]))[:share])
        left -= share
    return chosen


def tsne_plane(parts: Sequence[Vectors], seed: int = 0) -> np.ndarray:
    """A t-SNE (van der Maaten and Hinton 2008) of all rows together: codes as signs, embeddings as unit vectors.

    Args:
        parts: sets of codes or embeddings of one width.
        seed: random seed of the t-SNE; the same seed gives the same plane.

    Returns:
        float64 [n, 2]; zeros where there are fewer than four rows or all are the same.

    Examples:
        >>> image, shape = BinaryCodes.from_bits([[0, 0], [0, 1]]), BinaryCodes.from_bits([[1, 0], [1, 1]])
        >>> tsne_plane([image, shape]).shape
        (4, 2)
    """
    from sklearn.manifold import TSNE

    vectors = np.concatenate(
        [part.signs() if isinstance(part, BinaryCodes) else unit_rows(part.matrix) for part in parts]
    ).astype(np.float32)
    if len(vectors) < 4 or not np.ptp(vectors, axis=0).any():
        return np.zeros((len(vectors), 2))
    perplexity = min(30.0, (len(vectors) - 1) / 3)
    points = TSNE(perplexity=perplexity, init="pca", random_state=seed % 2**32).fit_transform(vectors)
    return np.asarray(points, dtype=np.float64)
