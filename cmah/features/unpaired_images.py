"""Images that show no shape of the dataset, such as photos: which shapes they are to be near, by frozen features alone.

No pair and no label is read: an image's targets are the training shapes whose views a frozen encoder finds most alike,
with features standardised for each kind of picture apart, since a photo is nearer to every photo than to any render.
"""

from typing import NamedTuple

import numpy as np

NEIGHBOURS = 20
TEMPERATURE = 0.05
CHUNK = 1024  # images whose similarities to all shapes are in memory at once


class Neighbours(NamedTuple):
    """The shapes that each of n images is to be near.

    Attributes:
        shapes: int64 [n, k], their positions, the most alike first.
        weights: float32 [n, k], of each; a row sums to 1.
    """

    shapes: np.ndarray
    weights: np.ndarray


def nearest_shapes(
    images: np.ndarray, shapes: np.ndarray, count: int = NEIGHBOURS, temperature: float = TEMPERATURE
) -> Neighbours:
    """The shapes that unpaired images are to be near.

    A few shapes are near to everything ("hubs"). So the weight exp(s / τ) of cosine s is divided by the root of what
    its shape gets from all images together, before rows are made to sum to 1.

    Args:
        images: float32 [n, d], their features, standardised over their kind.
        shapes: float32 [m, d], of the views of the shapes, standardised over these.
        count: how many shapes each image is to be near, at most.
        temperature: τ.

    Examples:
        >>> near = nearest_shapes(np.float32([[1, 0]]), np.float32([[0, 1], [2, 0], [1, 1]]), count=2)
        >>> near.shapes.tolist(), near.weights.round(3).tolist()
        ([[1, 2]], [[0.949, 0.051]])
    """
    k = min(count, len(shapes))
    unit = _unit(shapes)
    positions = np.empty((len(images), k), np.int64)
    weights = np.empty((len(images), k), np.float32)
    for first in range(0, len(images), CHUNK):
        cosines = _unit(images[first : first + CHUNK]) @ unit.T
        best = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
        of_best = np.take_along_axis(cosines, best, axis=1)
        order = np.argsort(-of_best, axis=1, kind="stable")
        rows = slice(first, first + len(cosines))
        positions[rows] = np.take_along_axis(best, order, axis=1)
        # less the greatest cosine, which the sum over the row takes out again
        weights[rows] = np.exp((np.take_along_axis(of_best, order, axis=1) - 1.0) / temperature)
    mass = np.bincount(positions.ravel(), weights.ravel().astype(np.float64), minlength=len(shapes))
    weights /= np.sqrt(mass[positions]).astype(np.float32)
    weights /= weights.sum(axis=1, keepdims=True)
    return Neighbours(positions, weights)


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
