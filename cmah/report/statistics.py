"""What a report shows beside the metrics: mix-ups of categories, statistics of bits, a t-SNE plane."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cmah.codes import BinaryCodes
from cmah.errors import CodesError
from cmah.evaluation.relevance import Vectors
from cmah.vectors import unit_rows


@dataclass(frozen=True)
class Confusion:
    """Which categories the first hits of each category's queries have: the pairs that occur, not all there could be.

    Attributes:
        names: the categories in order of their names.
        asked: int64 [pairs], category of the queries, ascending.
        hit: int64 [pairs], category of the hits, ascending within each category of queries.
        shares: float64 [pairs], their share among the hits of the category's queries.

    Examples:
        One chair was asked for; it found a chair and a lamp, and nobody asked for a lamp:

        >>> query = BinaryCodes.from_bits([[0, 0]], categories=["chair"])
        >>> database = BinaryCodes.from_bits([[0, 0], [0, 1]], categories=["chair", "lamp"])
        >>> found = confusion(query, database, positions=np.array([[0, 1]]))
        >>> found.names, found.matrix([0, 1]).tolist()
        (['chair', 'lamp'], [[0.5, 0.5], [nan, nan]])
        >>> found.mean_own(), found.mix_ups()
        (0.5, [('chair', 'lamp', 0.5)])
    """

    names: list[str]
    asked: np.ndarray
    hit: np.ndarray
    shares: np.ndarray

    def matrix(self, chosen: Sequence[int]) -> np.ndarray:
        """The shares among some categories, by number: float64 [chosen, chosen], a row a category of queries.

        Rows of categories without queries, or whose queries have no hit of a known category, are NaN.
        """
        place = np.full(len(self.names), -1, dtype=np.int64)
        place[list(chosen)] = np.arange(len(chosen))
        square = np.full((len(chosen), len(chosen)), np.nan)
        square[place[self.asked][place[self.asked] >= 0]] = 0
        kept = (place[self.asked] >= 0) & (place[self.hit] >= 0)
        square[place[self.asked][kept], place[self.hit][kept]] = self.shares[kept]
        return square

    def mean_own(self) -> float:
        """Mean share of the queries' own category, over the categories that have a row; NaN if none has."""
        rows = len(np.unique(self.asked))
        return float(self.shares[self.asked == self.hit].sum() / rows) if rows else float("nan")

    def mix_ups(self, count: int = 8) -> list[tuple[str, str, float]]:
        """The largest shares of another category than the query's: category of the query, of the hit, share."""
        other = np.flatnonzero(self.asked != self.hit)
        largest = other[np.argsort(-self.shares[other], kind="stable")[:count]]
        return [
            (self.names[self.asked[pair]], self.names[self.hit[pair]], float(self.shares[pair]))
            for pair in largest
        ]


def confusion(query: Vectors, database: Vectors, positions: np.ndarray) -> Confusion:
    """Which categories the first hits of each category's queries have.

    Args:
        query: codes or embeddings that name their categories.
        database: codes or embeddings that name their categories.
        positions: int64 [q, k], the hits in the database.

    Returns:
        The shares of each category among the hits of each category's queries. Queries and hits of unknown category do
        not count.

    Raises:
        CodesError: if queries or database do not name their categories.

    Examples:
        >>> codes = BinaryCodes.from_bits([[0, 0], [1, 1]], categories=["chair", "lamp"])
        >>> confusion(codes, codes, positions=np.array([[1], [1]])).mix_ups()
        [('chair', 'lamp', 1.0)]
    """
    if query.categories is None or database.categories is None:
        raise CodesError("confusion: the queries, the database or both do not name their categories")
    names = sorted({*query.categories.tolist(), *database.categories.tolist()} - {""})
    number = {name: i for i, name in enumerate(names)} | {"": -1}
    of_query = np.array([number[name] for name in query.categories.tolist()], dtype=np.int64)
    of_item = np.array([number[name] for name in database.categories.tolist()], dtype=np.int64)
    asked, hit = np.broadcast_to(of_query[:, None], positions.shape), of_item[positions]
    known = (asked >= 0) & (hit >= 0)
    # a pair of categories as one number: there can be thousands of categories, and a square of all pairs is too large
    pairs, counts = np.unique(asked[known] * len(names) + hit[known], return_counts=True)
    asked, hit = np.divmod(pairs, max(len(names), 1))
    totals = np.bincount(asked, counts, minlength=len(names))
    return Confusion(names, asked, hit, counts / totals[asked])


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
