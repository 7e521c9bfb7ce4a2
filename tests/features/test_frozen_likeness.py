"""How alike shapes look to frozen encoders, against loops."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cmah.data.dataset import Dataset
from cmah.data.training_batches import TrainingPairs
from cmah.features import frozen_likeness
from cmah.features.frozen_likeness import diffused, for_correlation, means_of_renders
from cmah.features.image_embedder import EmbeddingTable
from cmah.features.shards import Shard


@pytest.mark.parametrize("chunk", [5, 256])
def test_means_are_of_renders_or_of_what_there_is(toy, chunk, monkeypatch):
    """24 shapes with two images each: a render and a picture, but two pictures for the first shape."""
    monkeypatch.setattr(frozen_likeness, "CHUNK", chunk)
    dataset = Dataset.read(toy)
    dataset.images = [
        replace(image, kind="picture") if image.view == 1 or image.shape_id == "box00" else image
        for image in dataset.images
    ]
    pairs = TrainingPairs(dataset, 16, 0, clouds=False, pictures=False, kinds=("render", "picture"))
    rng = np.random.default_rng(0)
    features, rows = rng.normal(size=(48, 3)).astype("f"), rng.permutation(48)
    table = EmbeddingTable(3, [Shard(Path("none.npy"), features, 48, [])], list(range(48)), [])
    shift = np.arange(48, dtype=np.float32)[:, None]
    got = means_of_renders(pairs, table, rows, lambda x, numbers: 2 * x + shift[numbers])
    means, number = [], 0
    for images in pairs.images:
        values = {
            image.image_id: 2 * features[rows[number + i]] + number + i for i, image in enumerate(images)
        }
        renders = [values[image.image_id] for image in images if image.kind == "render"]
        means.append(np.mean(renders or [*values.values()], axis=0))
        number += len(images)
    expected = (np.array(means) - np.mean(means, axis=0)) / np.std(means, axis=0)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def test_inner_products_are_the_mean_of_correlations():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(6, 5)).astype("f"), rng.normal(size=(6, 9)).astype("f") + 3
    rows = for_correlation([a, b])
    np.testing.assert_allclose(rows @ rows.T, (np.corrcoef(a) + np.corrcoef(b)) / 2, atol=1e-5)


def test_a_row_that_says_nothing_is_like_none():
    rows = for_correlation([np.float32([[1, 1, 1], [1, 2, 3]])])
    assert (rows @ rows.T)[0].tolist() == [0, 0]


def test_diffusion_equals_its_series():
    """(I - αP)^-1 = Σ (αP)^t, term by term, of a graph of few neighbours."""
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(20, 4))
    similarity = np.corrcoef(rows).astype("f")
    graph = np.zeros((20, 20))
    for i in range(20):
        near = sorted((-similarity[i, j], j) for j in range(20) if j != i)[:15]
        for negative, j in near:
            graph[i, j] = np.exp((-negative + near[0][0]) / 0.1)
    graph = (graph + graph.T) / 2
    degree = graph.sum(axis=1)
    step = 0.6 * graph / np.sqrt(np.outer(degree, degree))
    walks, term = np.eye(20), np.eye(20)
    for _ in range(200):
        term = term @ step
        walks += term
    expected = np.log(np.maximum(walks, 1e-4))
    off = ~np.eye(20, dtype=bool)
    got = diffused(similarity)
    assert got[off].mean() == pytest.approx(similarity[off].mean(), abs=1e-5)
    assert got[off].std() == pytest.approx(similarity[off].std(), rel=1e-4)
    np.testing.assert_allclose(np.corrcoef(got[off], expected[off])[0, 1], 1, rtol=1e-6)


def test_too_few_shapes_to_walk_over_stay_as_they_are():
    assert diffused(np.eye(2, dtype=np.float32)).tolist() == [[1, 0], [0, 1]]
