"""Images that show no shape of the dataset, such as photos: which shapes they are to be near, by frozen features alone.

No pair and no label is read. An image's targets are the training shapes whose renders a frozen encoder finds most
alike, with features standardised for each kind of picture apart, since a photo is nearer to every photo than to any
render. What one photo says is doubtful; photos that look alike are asked together.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from cmah.data.dataset import Dataset, Image
from cmah.errors import RunError
from cmah.features.image_embedder import ImageEmbedder

NEIGHBOURS = 20
TEMPERATURE = 0.03
ALIKE, ALIKE_TEMPERATURE = 10, 0.1  # images that an image is asked together with, and how their cosines weigh
ROUNDS = 3  # in each of which half of what an image says is replaced by what those say
SPREAD = 0.1  # standard deviation that the similarities are brought to
HUBS = 0.25  # power of what a shape gets in all, by which its weights are divided
CHUNK = 1024  # images whose cosines to all others are in memory at once
LEAST = 1e-6  # a deviation below which a number says nothing
MOST = 1 << 28  # similarities (images x shapes) in memory, float32


class Neighbours(NamedTuple):
    """The shapes that each of n images is to be near.

    Attributes:
        shapes: int64 [n, k], their positions, the most alike first.
        weights: float32 [n, k], of each; a row sums to 1.

    Examples:
        >>> Neighbours(np.array([[3, 0]]), np.float32([[0.75, 0.25]])).shapes[0, 0]
        np.int64(3)
    """

    shapes: np.ndarray
    weights: np.ndarray


def averaged_looks(
    embedder: ImageEmbedder, dataset: Dataset, images: Sequence[Image], kinds: np.ndarray, width: int
) -> np.ndarray:
    """How unpaired images look to a frozen encoder: the mean of the whole, of the middle square, and of both mirrored.

    An object in a photo may stand anywhere and look either way, which one embedding takes too seriously. An embedder
    that crops sees its own crop and that mirrored.

    Args:
        embedder: the encoder.
        dataset: with the images.
        images: n of them, which the embedder could read.
        kinds: int64 [n], the kind of each, over which the numbers are standardised.
        width: how many numbers of an embedding count, from the end on: those of the encoder's last layer.

    Returns:
        float32 [n, width].

    Raises:
        RunError: for an image that cannot be read any more.

    Examples:
        >>> from pathlib import Path
        >>> import torch
        >>> from timm import create_model
        >>> torch.save(create_model("test_resnet").state_dict(), "weights.pt")
        >>> embedder = ImageEmbedder("timm:test_resnet", "weights.pt", cache=Path("cache"))
        >>> dataset = Dataset.read("demo/dataset")
        >>> looks = averaged_looks(embedder, dataset, dataset.images[:4], np.zeros(4, np.int64), width=96)
        >>> looks.shape, bool(np.abs(looks.mean(axis=0)).max() < 0.01)
        ((4, 96), True)
    """
    framings = [embedder.framing]
    if embedder.framing.crop == "none":
        framings.append(replace(embedder.framing, crop="square"))
    total = np.zeros((len(images), width), np.float32)
    for number, framing in enumerate(framings, 1):
        label = f"unpaired images, averaged ({number} of {len(framings)})"
        table = embedder.framed(framing, mirrored=True).embed(dataset, images, label=label)
        for path, reason in table.skipped:
            raise RunError(f"{path}: could be read before, but not any more ({reason}); start again")
        total += table.rows(range(len(table)))[:, -width:]
    for kind in np.unique(kinds):
        rows = kinds == kind
        of_kind = total[rows]
        total[rows] = (of_kind - of_kind.mean(axis=0)) / np.maximum(of_kind.std(axis=0), LEAST)
    return total


def nearest_shapes(
    images: np.ndarray, shapes: np.ndarray, count: int = NEIGHBOURS, temperature: float = TEMPERATURE
) -> Neighbours:
    """The shapes that unpaired images are to be near.

    The cosines of each image with the shapes, less their mean, are brought to one spread over all images and smoothed
    over the images that look alike: three times S ← (S + A S) / 2, with A the softmax over the ten nearest images. The
    weights of the best shapes of a row are exp(s / τ). A few shapes are near to everything ("hubs"): so each weight is
    divided by a power of what its shape gets from all images together, before rows are made to sum to 1.

    Args:
        images: float32 [n, d], their features, standardised over their kind.
        shapes: float32 [m, d], the same of the shapes, standardised over these.
        count: how many shapes each image is to be near, at most.
        temperature: τ.

    Examples:
        >>> near = nearest_shapes(np.float32([[1, 0]]), np.float32([[0, 1], [2, 0], [1, 1]]), count=2)
        >>> near.shapes.tolist(), near.weights.astype(float).round(2).tolist()
        ([[1, 2]], [[0.85, 0.15]])
    """
    unit = _unit(images)
    similarity = unit @ _unit(shapes).T
    similarity -= similarity.mean(axis=1, keepdims=True)
    similarity *= SPREAD / max(float(similarity.std()), 1e-12)
    others, shares = _alike(unit)
    for _ in range(ROUNDS if len(images) > 1 else 0):
        smoothed = np.empty_like(similarity)
        for first in range(0, len(images), CHUNK):
            rows = slice(first, first + CHUNK)
            said = np.zeros_like(similarity[rows])
            for place in range(others.shape[1]):
                said += shares[rows, place : place + 1] * similarity[others[rows, place]]
            smoothed[rows] = (similarity[rows] + said) / 2
        similarity = smoothed
    k = min(count, len(shapes))
    best = np.argpartition(-similarity, k - 1, axis=1)[:, :k]
    of_best = np.take_along_axis(similarity, best, axis=1)
    order = np.argsort(-of_best, axis=1, kind="stable")
    positions = np.take_along_axis(best, order, axis=1)
    of_best = np.take_along_axis(of_best, order, axis=1)
    weights = np.exp((of_best - of_best[:, :1]) / temperature)
    weights /= weights.sum(axis=1, keepdims=True)
    mass = np.bincount(positions.ravel(), weights.ravel().astype(np.float64), minlength=len(shapes))
    weights /= (mass[positions] ** HUBS).astype(np.float32)
    weights /= weights.sum(axis=1, keepdims=True)
    return Neighbours(positions, weights)


def _alike(unit: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The images nearest to each other one, int64 [n, a], and their shares, float32 [n, a]."""
    n = len(unit)
    a = min(ALIKE, n - 1)
    others, shares = np.empty((n, a), np.int64), np.empty((n, a), np.float32)
    for first in range(0, n if a else 0, CHUNK):
        cosines = unit[first : first + CHUNK] @ unit.T
        rows = np.arange(len(cosines))
        cosines[rows, first + rows] = -2.0  # not itself
        best = np.argpartition(-cosines, a - 1, axis=1)[:, :a]
        of_best = np.take_along_axis(cosines, best, axis=1)
        raised = np.exp((of_best - of_best.max(axis=1, keepdims=True)) / ALIKE_TEMPERATURE)
        others[first + rows], shares[first + rows] = best, raised / raised.sum(axis=1, keepdims=True)
    return others, shares


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
