"""Groups of shapes that look alike, where nobody has labelled them."""

import numpy as np

from cmah.errors import ConfigError
from cmah.training.similarities import Views, unit

CHUNK = 1024  # shapes whose views are read at a time
STEPS = 50
RUNS = 4  # from different centres, of which the best is kept


def clusters(views: Views, count: int, wanted: int, seed: int = 0) -> np.ndarray:
    """Spherical k-means of the shapes' mean embeddings: int64 [n] from 0; the same for the same input.

    Args:
        views: from int64 positions [k] to float32 [k, R, F], as `similarities.i2i` takes them.
        count: n, the number of shapes.
        wanted: clusters; some may end up empty.
        seed: of the first centres, drawn far from each other (k-means++).
    """
    if wanted > count:
        raise ConfigError(f"loss.negatives.clusters = {wanted}: there are {count} shapes")
    parts = [np.arange(first, min(first + CHUNK, count)) for first in range(0, count, CHUNK)]
    rows = unit(np.concatenate([unit(views(part)).sum(axis=1) for part in parts]))
    found = [_lloyd(rows, wanted, np.random.default_rng([seed, run])) for run in range(RUNS)]
    return max(found, key=lambda run: run[1])[0]


def _lloyd(rows: np.ndarray, wanted: int, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """Labels, and the mean cosine of a row with its centre."""
    centres = rows[rng.integers(len(rows))][None]
    far = np.full(len(rows), np.inf)
    while len(centres) < wanted:
        far = np.minimum(far, np.clip(1 - rows @ centres[-1], 0, None).astype(np.float64))
        odds = far / far.sum() if far.sum() > 0 else np.full(len(rows), 1 / len(rows))
        centres = np.concatenate([centres, rows[rng.choice(len(rows), p=odds)][None]])
    labels = np.full(len(rows), -1)
    cosines = rows @ centres.T
    for _ in range(STEPS):
        nearest = cosines.argmax(axis=1)
        if np.array_equal(nearest, labels):
            break
        labels = nearest
        sums = np.zeros_like(centres)
        np.add.at(sums, labels, rows)
        centres = np.where(sums.any(axis=1, keepdims=True), unit(sums), centres)
        cosines = rows @ centres.T
    return labels, float(cosines.max(axis=1).mean())
