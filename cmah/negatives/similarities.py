"""Similarities of shapes from embeddings of their views (Sbrolli & Matteucci, arXiv 2406.02202, equations 2-4).

`i2i` compares views directly, `i2l2` by their cosines with landmarks (embedded descriptions of a category); each has a
variant over all pairs of views, for shapes whose cameras do not correspond. All are computed tile by tile, so that a
store of all pairs (see similarity_store) needs little memory.
"""

from collections.abc import Callable, Iterator

import numpy as np

from cmah.errors import CmahError

Views = Callable[[np.ndarray], np.ndarray]
MEASURES = ("i2i", "i2i_all_pairs", "i2l2", "i2l2_all_pairs")
# Similarity of two shapes without a view to compare: neither near nor far
NO_COMMON_VIEW = 0.5
# Bytes of the views of one tile's rows
TILE_BYTES = 32 << 20
# A category whose prepared rows take up to this many bytes is prepared once, a larger one once a tile
KEPT_BYTES = 192 << 20
# Columns of a tile of distances that are computed at a time: that part's 1 MB stays in a core's cache
COLUMNS = 512


def i2i(views: np.ndarray) -> np.ndarray:
    """Image-to-image similarity, (mean over views r of <e_i^r, e_j^r> + 1) / 2 (equation 2).

    Args:
        views: [n, R, F], any norm; view r is taken by the same camera for all. A row of zeros stands for a missing
            view; the mean is over the views that both shapes have.

    Returns:
        float32 [n, n] in [0, 1], the diagonal 1.

    Raises:
        CmahError: for views that are not finite.

    Examples:
        Two shapes of one view each, at right angles:

        >>> i2i(np.array([[[2.0, 0.0]], [[0.0, 1.0]]])).tolist()
        [[1.0, 0.5], [0.5, 1.0]]
    """
    return _all_pairs("i2i", views, None)


def i2i_all_pairs(views: np.ndarray) -> np.ndarray:
    """The mean over all pairs of views, (mean over r, r' of <e_i^r, e_j^r'> + 1) / 2; not in the paper.

    Args:
        views: [n, R, F], any norm, in any order; rows of zeros stand for missing views.

    Returns:
        float32 [n, n] in [0, 1]. The diagonal is set to 1, although the views of one shape differ.

    Raises:
        CmahError: for views that are not finite.

    Examples:
        >>> views = np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]])  # in another order
        >>> i2i_all_pairs(views)[0].tolist(), i2i(views)[0].tolist()
        ([1.0, 0.75], [1.0, 0.5])
    """
    return _all_pairs("i2i_all_pairs", views, None)


def i2l2(views: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Image-to-landmark similarity of one category, 1 / (1 + mean over r of ||d_i^r - d_j^r||) (equations 3-4).

    Args:
        views: [n, R, F] as in `i2i`.
        landmarks: [L, F], any norm.

    Returns:
        float32 [n, n] in (0, 1], the diagonal 1.

    Raises:
        CmahError: for views or landmarks that are not finite.

    Examples:
        >>> i2l2(np.array([[[1.0, 0.0]], [[0.0, 1.0]]]), np.array([[1.0, 0.0]])).tolist()  # distance 1
        [[1.0, 0.5], [0.5, 1.0]]
    """
    return _all_pairs("i2l2", views, landmarks)


def i2l2_all_pairs(views: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """As `i2l2`, with the mean distance over all pairs of views; not in the paper. R times as costly.

    Args:
        views: [n, R, F] as in `i2i_all_pairs`.
        landmarks: [L, F], any norm.

    Returns:
        float32 [n, n] in (0, 1], the diagonal 1.

    Raises:
        CmahError: for views or landmarks that are not finite.

    Examples:
        >>> views = np.array([[[1.0, 0.0]], [[0.0, 1.0]]])  # one view each: as `i2l2`
        >>> i2l2_all_pairs(views, np.array([[1.0, 0.0]])).tolist()
        [[1.0, 0.5], [0.5, 1.0]]
    """
    return _all_pairs("i2l2_all_pairs", views, landmarks)


def descriptors(views: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """The descriptors of views: the cosine of each view with each landmark (equation 3).

    `i2l2` computes them tile by tile; this is for looking at them.

    Args:
        views: [n, R, F], any norm.
        landmarks: [L, F], any norm.

    Returns:
        float32 [n, R, L] in [-1, 1].

    Raises:
        CmahError: for views or landmarks that are not finite.

    Examples:
        >>> descriptors(np.array([[[2.0, 0.0]]]), np.array([[1.0, 0.0], [0.0, 3.0]])).tolist()
        [[[1.0, 0.0]]]
    """
    return finite_unit_vectors(views) @ finite_unit_vectors(landmarks).T


def finite_unit_vectors(vectors: np.ndarray) -> np.ndarray:
    """A float32 copy with unit norm along the last axis; zeros stay zeros.

    Norms are computed in float32, unlike those of `cmah.vectors.unit_rows`: stored similarities depend on the
    rounding, and a tile of float64 views would take twice the memory.

    Args:
        vectors: [..., F].

    Raises:
        CmahError: if there is NaN or infinity.

    Examples:
        >>> finite_unit_vectors(np.array([[0.0, 2.0], [0.0, 0.0]])).tolist()
        [[0.0, 1.0], [0.0, 0.0]]
    """
    vectors = np.array(vectors, np.float32)
    norms = np.sqrt(np.einsum("...f,...f->...", vectors, vectors))[..., None]
    if not np.isfinite(norms).all():
        raise CmahError("embeddings of views or landmarks hold NaN or infinity, expected finite numbers")
    vectors /= np.where(norms > 0, norms, 1)
    return vectors


def tiles(
    measure: str, count: int, views: Views, landmarks: np.ndarray | None = None
) -> Iterator[tuple[slice, slice, np.ndarray]]:
    """The upper half of the matrix of similarities, tile by tile, in bounded memory.

    Args:
        measure: one of `MEASURES`.
        count: number of shapes.
        views: from int64 positions [k] of shapes to [k, R, F].
        landmarks: [L, F] for "i2l2" and "i2l2_all_pairs", else None.

    Yields:
        The slice of the rows, that of the columns, and float32 [rows, columns]. The tiles of the same rows come one
        after the other, from the diagonal to the right.

    Raises:
        CmahError: for views or landmarks that are not finite.

    Examples:
        >>> shapes = np.array([[[2.0, 0.0]], [[0.0, 1.0]]])
        >>> [(rows, tile.tolist()) for rows, _, tile in tiles("i2i", 2, lambda positions: shapes[positions])]
        [(slice(0, 2, None), [[1.0, 0.5], [0.5, 1.0]])]
    """
    probe = views(np.zeros(1, np.int64))
    size = probe[0].size * 4
    # the second bound: whoever writes a band of rows to disk holds it as float16
    rows = max(1, min(TILE_BYTES // size, TILE_BYTES // (2 * count)))
    comparison = (
        _ViewCosines(measure == "i2i")
        if landmarks is None
        else _LandmarkDistances(landmarks, measure == "i2l2")
    )
    parts = [slice(first, min(first + rows, count)) for first in range(0, count, rows)]
    prepared: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def prepare(part: slice) -> tuple[np.ndarray, np.ndarray]:
        if part.start in prepared:
            return prepared[part.start]
        result = comparison.prepare(views(np.arange(part.start, part.stop)))
        if result[0].nbytes * len(parts) <= KEPT_BYTES:
            prepared[part.start] = result
        return result

    for number, part in enumerate(parts):
        left = prepare(part)
        for other in parts[number:]:
            right = left if other is part else prepare(other)
            yield part, other, comparison.tile(left, right)


def _all_pairs(measure: str, views: np.ndarray, landmarks: np.ndarray | None) -> np.ndarray:
    """The whole matrix."""
    out = np.zeros((len(views), len(views)), np.float32)
    for rows, columns, tile in tiles(measure, len(views), lambda positions: views[positions], landmarks):
        out[rows, columns] = tile
    out = np.triu(out, 1)  # the two halves of a tile on the diagonal may differ in the last bit
    out += out.T
    np.fill_diagonal(out, 1)
    return out


def _present(views: np.ndarray) -> np.ndarray:
    """float32 [k, R]: 1 where there is a view, 0 where a row of zeros stands for a missing one."""
    present: np.ndarray = np.asarray(views.any(axis=2), np.float32)
    return present


class _ViewCosines:
    """Views compared by their cosines (equation 2)."""

    def __init__(self, corresponding: bool) -> None:
        self.corresponding = corresponding

    def prepare(self, views: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows whose inner product is the sum, or the mean, over views, and which views are present.

        Args:
            views: [k, R, F].

        Returns:
            The rows, and `_present` [k, R]. Rows are float32 [k, R · F] for corresponding views, side by side: their
            product is the sum of the cosines; else the views' mean [k, F]: its product is the mean over all pairs.
        """
        rows, present = finite_unit_vectors(views), _present(views)
        if self.corresponding:
            return rows.reshape(len(rows), -1), present
        mean: np.ndarray = rows.sum(axis=1) / np.maximum(present.sum(axis=1), 1)[:, None]
        return mean, present

    def tile(self, left: tuple[np.ndarray, np.ndarray], right: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """Similarities float32 [rows, columns] of what `prepare` gave for the rows and for the columns."""
        cosine = left[0] @ right[0].T
        if self.corresponding:
            # the product of the presences is how many views both have; without any, the cosine stays 0
            cosine /= np.maximum(left[1] @ right[1].T, 1)
        return np.clip((cosine + 1) / 2, 0, 1, out=cosine)


class _LandmarkDistances:
    """Views compared by the distances of their descriptors, their cosines with landmarks (equations 3-4)."""

    def __init__(self, landmarks: np.ndarray, corresponding: bool) -> None:
        self.landmarks, self.corresponding = finite_unit_vectors(landmarks), corresponding
        self.centre: np.ndarray | None = None  # mean descriptor of the first tile, subtracted from all

    def prepare(self, views: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows [d, 1, |d|²] of each view's descriptor d, float32 [R, k, L + 2], and which views are present [k, R].

        Descriptors of one category have a large mean in common. Distances do not change when it is subtracted, and
        |a|² + |b|² - 2<a, b> then loses no digits to cancellation.
        """
        present = _present(views)
        d = finite_unit_vectors(views) @ self.landmarks.T
        if self.centre is None:
            self.centre = d.mean(axis=(0, 1))
        d -= self.centre
        rows = np.empty((d.shape[1], len(d), d.shape[2] + 2), np.float32)
        rows[..., :-2], rows[..., -2] = d.transpose(1, 0, 2), 1
        rows[..., -1] = np.einsum("krl,krl->rk", d, d)
        return rows, present

    def tile(self, left: tuple[np.ndarray, np.ndarray], right: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """Similarities float32 [rows, columns] of what `prepare` gave for the rows and for the columns."""
        # <[-2a, |a|², 1], [b, 1, |b|²]> is the squared distance: one product, no further pass over the tile; the
        # slice :-3:-1 takes the last two columns [1, |a|²] in reverse order
        a = np.concatenate([-2 * left[0][..., :-2], left[0][..., :-3:-1]], axis=2)
        b, views = right[0], len(a)
        pairs = [(r, r) for r in range(views)] if self.corresponding else list(np.ndindex(views, views))
        complete = bool(left[1].all() and right[1].all())
        total = np.zeros((a.shape[1], b.shape[1]), np.float32)  # sum of the distances over pairs of views
        # a strip of columns at a time: distance and sum of one strip stay in the cache over all pairs of views
        for first in range(0, b.shape[1], COLUMNS):
            columns = slice(first, min(first + COLUMNS, b.shape[1]))
            part = np.zeros((a.shape[1], columns.stop - first), np.float32)
            distance = np.empty_like(part)
            for r, s in pairs:
                np.matmul(a[r], b[s, columns].T, out=distance)
                # rounding can leave a small negative square where two descriptors are equal
                np.sqrt(np.maximum(distance, 0, out=distance), out=distance)
                if not complete:
                    # a distance counts only where both views are present
                    distance *= np.outer(left[1][:, r], right[1][columns, s])
                part += distance
            total[:, columns] = part
        # how many distances went into each sum
        if complete:
            common = np.full((1, 1), len(pairs), np.float32)
        elif self.corresponding:
            common = left[1] @ right[1].T
        else:
            common = np.outer(left[1].sum(axis=1), right[1].sum(axis=1))
        return np.where(common > 0, 1 / (1 + total / np.maximum(common, 1)), np.float32(NO_COMMON_VIEW))
