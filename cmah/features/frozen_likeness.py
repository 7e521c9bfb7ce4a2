"""How alike the shapes of a training set are to frozen encoders: what soft targets are made of.

A shape is seen as the encoders see it best: by the mean of its renders and by its points. No code of a shape is made of
this, so that renders may be used that will be queries.
"""

from collections.abc import Callable, Sequence

import numpy as np

from cmah.data.training_batches import TrainingPairs
from cmah.features.image_embedder import EmbeddingTable

CHUNK = 256  # shapes whose images are in memory at once
GRAPH, GRAPH_TEMPERATURE = 15, 0.1  # neighbours in the graph of walks, and how their similarities weigh
WALK = 0.6  # α: the chance that a walk goes on
FAR = 1e-4  # walks that are fewer count as so many
MOST_DIFFUSED = 8192  # shapes; more would take gigabytes and many minutes
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

    Examples:
        Two shapes with two renders each:

        >>> from pathlib import Path
        >>> from cmah.data.dataset import Dataset
        >>> from cmah.features.shards import Shard
        >>> dataset = Dataset.read("demo/dataset").select("test")
        >>> dataset.shapes = dataset.shapes[:2]
        >>> dataset.images = [image for image in dataset.images if image.view < 2]
        >>> pairs = TrainingPairs(dataset, 32, 64, clouds=False, pictures=False)
        >>> shard = Shard(Path("none.npy"), np.float32([[1], [3], [5], [7]]), 4, [])
        >>> table = EmbeddingTable(1, [shard], kept=[0, 1, 2, 3], skipped=[])
        >>> means_of_renders(pairs, table, np.arange(4), lambda rows, numbers: rows).tolist()
        [[-1.0], [1.0]]
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


def diffused(similarity: np.ndarray) -> np.ndarray:
    """Similarities that walks over the nearest neighbours have spread: who is alike to those alike is alike, too.

    log (I - α P)^-1, with P the normalised symmetric graph of the fifteen nearest neighbours of each item (Zhou et al.,
    "Ranking on data manifolds", NIPS 2003; Donoser & Bischof, CVPR 2013), brought to the mean and the deviation of the
    similarities themselves, off the diagonal. Time grows with the cube of n: half a second at 1,600.

    Args:
        similarity: float32 [n, n], symmetric; the diagonal is not read.

    Returns:
        float32 [n, n]; of fewer than three items, the similarities as they are.

    Examples:
        The first and the last of a chain are alike only by those between:

        >>> chain = np.float32([[0, 1, 0, 0], [1, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 0]])
        >>> rows = diffused(chain)
        >>> bool(rows[0, 1] > rows[0, 2] > rows[0, 3])
        True
    """
    n = len(similarity)
    if n < 3:
        return similarity
    s = similarity.astype(np.float64)
    np.fill_diagonal(s, -np.inf)
    k = min(GRAPH, n - 1)
    nearest = np.argpartition(-s, k - 1, axis=1)[:, :k]
    values = np.take_along_axis(s, nearest, axis=1)
    graph = np.zeros((n, n))
    raised = np.exp((values - values.max(axis=1, keepdims=True)) / GRAPH_TEMPERATURE)
    np.put_along_axis(graph, nearest, raised, axis=1)
    graph = (graph + graph.T) / 2
    root = 1 / np.sqrt(graph.sum(axis=1))
    walks = np.linalg.inv(np.eye(n) - WALK * root[:, None] * graph * root)
    spread = np.log(np.maximum(walks, FAR))
    off = ~np.eye(n, dtype=bool)
    own, other = spread[off], similarity[off]
    result = (spread - own.mean()) / max(float(own.std()), LEAST) * other.std() + other.mean()
    return np.asarray(result, np.float32)
