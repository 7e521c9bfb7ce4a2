"""How alike the shapes of a training set are to frozen encoders: what soft targets are made of.

A shape is seen as the encoders see it best: by the mean of its renders and by its points. No code of a shape is made of
this, so that renders may be used that will be queries.
"""

from collections.abc import Callable, Sequence

import numpy as np

from cmah.data.training_batches import TrainingPairs
from cmah.features.image_embedder import EmbeddingTable

CHUNK = 256  # shapes whose images are in memory at once
LEAST = 1e-6  # a deviation or length below which a number says nothing

Standardised = Callable[[np.ndarray, np.ndarray], np.ndarray]


def means_of_renders(
    pairs: TrainingPairs, table: EmbeddingTable, rows: np.ndarray, standardised: Standardised
) -> np.ndarray:
    """The mean of the features of each shape's renders, or of all its images if it has none, standardised over shapes.

    Args:
        pairs: the shapes and their images.
        table: features of these images.
        rows: int64 [n], the row of `table` of each image, shape after shape.
        standardised: from rows of features [k, d] and the numbers of their images among all n, int64 [k], to what the
            mean is taken of, float32 [k, e].

    Returns:
        float32 [shapes, e].
    """
    first = np.cumsum([0, *map(len, pairs.images)])
    parts = []
    for begin in range(0, len(pairs.images), CHUNK):
        chosen, owners = [], []
        for position, images in enumerate(pairs.images[begin : begin + CHUNK], begin):
            renders = [i for i, image in enumerate(images) if image.kind == "render"] or range(len(images))
            chosen += [first[position] + i for i in renders]
            owners += [position - begin] * len(renders)
        numbers = np.array(chosen, np.int64)
        features = standardised(table.rows(rows[numbers]), numbers)
        sums = np.zeros((max(owners) + 1, features.shape[1]), np.float64)
        np.add.at(sums, owners, features)
        parts.append(sums / np.bincount(owners)[:, None])
    means = np.concatenate(parts)
    deviation = np.maximum(means.std(axis=0), LEAST)
    return ((means - means.mean(axis=0)) / deviation).astype(np.float32)


def for_correlation(features: Sequence[np.ndarray]) -> np.ndarray:
    """Rows whose inner products are the mean of the correlations of several features.

    Args:
        features: float32 [n, d] of each encoder.

    Returns:
        float32 [n, sum of the d].

    Examples:
        >>> a, b = np.float32([[1, 2, 3], [1, 2, 4]]), np.float32([[1, -1], [-1, 1]])
        >>> rows = for_correlation([a, b])
        >>> round(float(rows[0] @ rows[1]), 4), round(float((np.corrcoef(a)[0, 1] - 1) / 2), 4)
        (-0.009, -0.009)
    """
    parts = []
    for rows in features:
        centred = rows - rows.mean(axis=1, keepdims=True)
        length = np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), LEAST)
        parts.append(centred / length / np.sqrt(len(features)))
    return np.concatenate(parts, axis=1).astype(np.float32)
