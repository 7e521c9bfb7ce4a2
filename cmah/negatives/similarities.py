"""Similarities of shapes from embeddings of their views (Sbrolli & Matteucci, arXiv 2406.02202, equations 2-4).

`i2i` compares views directly, `i2l2` by their cosines with landmarks (embedded descriptions of a category), each also
over all pairs of views, for shapes whose cameras do not correspond. All go tile by tile, so that a store of all pairs
(see similarity_store) needs little memory.
"""

from collections.abc import Callable, Iterator

import numpy as np

from cmah.errors import CmahError

Views = Callable[[np.ndarray], np.ndarray]
MEASURES = ("i2i", "i2i_all_pairs", "i2l2", "i2l2_all_pairs")
NO_COMMON_VIEW = 0.5  # similarity of two shapes without a view to compare: neither near nor far
TILE_BYTES = 32 << 20  # of the views of one tile's rows
KEPT_BYTES = 192 << 20  # rows of a category up to this size are prepared once, of a larger one once a tile
COLUMNS = 512  # of a tile of distances at a time: its 1 MB stays in a core's cache


def i2i(views: np.ndarray) -> np.ndarray:
    """Image-to-image similarity, (mean over views r of <e_i^r, e_j^r> + 1) / 2 (equation 2).

    Args:
        views: [n, R, F], any norm; view r is taken by the same camera for all. A row of zeros stands for a view that
            is not there, and the mean is over the views that both have.

    Returns:
        float32 [n, n] in [0, 1], the diagonal 1.
    """
    return _all_pairs("i2i", views, None)


def i2i_all_pairs(views: np.ndarray) -> np.ndarray:
    """The mean over all pairs of views, (mean over r, r' of <e_i^r, e_j^r'> + 1) / 2; not in the paper.

    Args:
        views: [n, R, F], any norm, in any order; zeros stand for views that are not there.

    Returns:
        float32 [n, n] in [0, 1], the diagonal 1 (though not all views of a shape are alike).
    """
    return _all_pairs("i2i_all_pairs", views, None)


def i2l2(views: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Image-to-landmark similarity of one category, 1 / (1 + mean over r of ||d_i^r - d_j^r||) (equations 3-4).

    Args:
        views: [n, R, F] as in `i2i`.
        landmarks: [L, F], any norm.

    Returns:
        float32 [n, n] in (0, 1], the diagonal 1.
    """
    return _all_pairs("i2l2", views, landmarks)


def i2l2_all_pairs(views: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """The same with the mean over all pairs of views; not in the paper. R times as costly.

    Args:
        views: [n, R, F] as in `i2i_all_pairs`.
        landmarks: [L, F], any norm.

    Returns:
        float32 [n, n] in (0, 1], the diagonal 1.
    """
    return _all_pairs("i2l2_all_pairs", views, landmarks)


def descriptors(views: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """The cosine of each view with each landmark (equation 3).

    Args:
        views: [n, R, F], any norm.
        landmarks: [L, F], any norm.

    Returns:
        float32 [n, R, L] in [-1, 1].
    """
    return unit(views) @ unit(landmarks).T


def unit(vectors: np.ndarray) -> np.ndarray:
    """A float32 copy with unit norm along the last axis; zeros stay zeros.

    Raises:
        CmahError: if there is NaN or infinity.
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
        count: shapes.
        views: from int64 positions [k] among them to [k, R, F].
        landmarks: [L, F] for the measures of landmarks.

    Yields:
        rows, columns (from the first of the rows on, one after the other), float32 [rows, columns].
    """
    probe = views(np.zeros(1, np.int64))
    size = probe[0].size * 4
    # a band of rows is held as float16 by those who write it
    rows = max(1, min(TILE_BYTES // size, TILE_BYTES // (2 * count)))
    kind = _Views(measure == "i2i") if landmarks is None else _Landmarks(landmarks, measure == "i2l2")
    parts = [slice(first, min(first + rows, count)) for first in range(0, count, rows)]
    prepared: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def prepare(part: slice) -> tuple[np.ndarray, np.ndarray]:
        if part.start in prepared:
            return prepared[part.start]
        made = kind.prepare(views(np.arange(part.start, part.stop)))
        if made[0].nbytes * len(parts) <= KEPT_BYTES:
            prepared[part.start] = made
        return made

    for number, part in enumerate(parts):
        left = prepare(part)
        for other in parts[number:]:
            right = left if other is part else prepare(other)
            yield part, other, kind.tile(left, right)


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
    """float32 [k, R]: 1 where there is a view, 0 where there are zeros."""
    present: np.ndarray = np.asarray(views.any(axis=2), np.float32)
    return present


class _Views:
    """Views compared by their cosines."""

    def __init__(self, corresponding: bool) -> None:
        self.corresponding = corresponding

    def prepare(self, views: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows whose inner product is the sum over views, [k, R · F] or their mean [k, F], and what is there."""
        rows, present = unit(views), _present(views)
        if self.corresponding:
            return rows.reshape(len(rows), -1), present
        mean: np.ndarray = rows.sum(axis=1) / np.maximum(present.sum(axis=1), 1)[:, None]
        return mean, present

    def tile(self, left: tuple[np.ndarray, np.ndarray], right: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        cosine = left[0] @ right[0].T
        if self.corresponding:
            cosine /= np.maximum(left[1] @ right[1].T, 1)
        return np.clip((cosine + 1) / 2, 0, 1, out=cosine)


class _Landmarks:
    """Views compared by the distances of their descriptors."""

    def __init__(self, landmarks: np.ndarray, corresponding: bool) -> None:
        self.landmarks, self.corresponding = unit(landmarks), corresponding
        self.centre: np.ndarray | None = None

    def prepare(self, views: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """[d, 1, |d|²] of each view, [R, k, L + 2], and what is there.

        Descriptors of one category have a large mean in common. Without it, |a|² + |b|² - 2<a, b> keeps its digits.
        """
        present = _present(views)
        d = unit(views) @ self.landmarks.T
        if self.centre is None:
            self.centre = d.mean(axis=(0, 1))
        d -= self.centre
        rows = np.empty((d.shape[1], len(d), d.shape[2] + 2), np.float32)
        rows[..., :-2], rows[..., -2] = d.transpose(1, 0, 2), 1
        rows[..., -1] = np.einsum("krl,krl->rk", d, d)
        return rows, present

    def tile(self, left: tuple[np.ndarray, np.ndarray], right: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        # <[-2a, |a|², 1], [b, 1, |b|²]> is the squared distance: one product, no further pass over the tile
        a = np.concatenate([-2 * left[0][..., :-2], left[0][..., :-3:-1]], axis=2)
        b, views = right[0], len(a)
        pairs = [(r, r) for r in range(views)] if self.corresponding else list(np.ndindex(views, views))
        whole = bool(left[1].all() and right[1].all())
        total = np.zeros((a.shape[1], b.shape[1]), np.float32)
        for first in range(0, b.shape[1], COLUMNS):
            columns = slice(first, min(first + COLUMNS, b.shape[1]))
            part = np.zeros((a.shape[1], columns.stop - first), np.float32)
            distance = np.empty_like(part)
            for r, s in pairs:
                np.matmul(a[r], b[s, columns].T, out=distance)
                np.sqrt(np.maximum(distance, 0, out=distance), out=distance)
                if not whole:
                    distance *= np.outer(left[1][:, r], right[1][columns, s])
                part += distance
            total[:, columns] = part
        if whole:
            common = np.full((1, 1), len(pairs), np.float32)
        elif self.corresponding:
            common = left[1] @ right[1].T
        else:
            common = np.outer(left[1].sum(axis=1), right[1].sum(axis=1))
        return np.where(common > 0, 1 / (1 + total / np.maximum(common, 1)), np.float32(NO_COMMON_VIEW))
