"""Batches of features that were computed once: which rows, which unpaired images, and that an epoch can be resumed."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cmah.data.dataset import Dataset
from cmah.data.training_batches import TrainingPairs
from cmah.features import frozen_batches
from cmah.features.frozen_batches import FrozenBatches, targets_of
from cmah.features.image_embedder import EmbeddingTable
from cmah.features.shards import Shard
from cmah.features.unpaired_images import Neighbours


def table(rows):
    shard = Shard(Path("none.npy"), np.asarray(rows, np.float32), len(rows), [])
    return EmbeddingTable(shard.rows.shape[1], [shard], list(range(len(rows))), [])


@pytest.fixture(scope="module")
def batches(toy):
    """24 shapes with 2 images each; row r of a table holds the number r."""
    pairs = TrainingPairs(Dataset.read(toy), 16, 0, clouds=False, pictures=False)
    count = sum(map(len, pairs.images))
    rng = np.random.default_rng(0)
    near = np.stack([rng.choice(24, 3, replace=False) for _ in range(10)])
    weights = rng.dirichlet([1.0, 1.0, 1.0], 10).astype(np.float32)
    return FrozenBatches(
        pairs,
        table(np.arange(100, 100 + count)[::-1, None]),
        np.arange(count)[::-1].copy(),
        np.arange(count),
        np.arange(24, dtype=np.float32)[:, None],
        8,
        unpaired=table(np.arange(10)[:, None]),
        unpaired_kinds=[2] * 10,
        near=Neighbours(near, weights),
        unpaired_batch=6,
    )


def test_rows_are_those_of_the_pair(batches):
    for batch in batches.epoch(0):
        image = batches.first_view[batch["index"]] + batch["view"].numpy()
        assert batch["image_features"][:, 0].tolist() == (100 + image).tolist()
        assert batch["image_kinds"].tolist() == image.tolist()
        assert batch["shape_features"][:, 0].tolist() == batch["index"].tolist()


def test_unpaired_images_come_once_with_a_shape_of_theirs(batches, monkeypatch):
    monkeypatch.setattr(frozen_batches, "OTHERS", 5)
    near = batches.near
    for batch in batches.epoch(1):
        images = batch["unpaired_features"][:, 0].long().tolist()
        shapes = batch["unpaired_shapes"][:, 0].long().tolist()
        assert len(set(images)) == 6
        assert 5 <= len(shapes) == len(set(shapes)) <= 11
        assert batch["unpaired_kinds"].tolist() == [2] * 6
        for image, row in zip(images, batch["unpaired_targets"], strict=True):
            weight = dict(zip(near.shapes[image].tolist(), near.weights[image].tolist(), strict=True))
            raw = np.array([weight.get(shape, 0.0) for shape in shapes])
            assert raw.sum() > 0
            np.testing.assert_allclose(row, raw / raw.sum(), rtol=1e-5)


def test_shapes_are_drawn_by_their_weights(batches, monkeypatch):
    """With one image and no others, the only shape is the one that was drawn."""
    monkeypatch.setattr(frozen_batches, "OTHERS", 0)
    monkeypatch.setattr(batches, "unpaired_batch", 1)
    drawn = Counter()
    for epoch in range(1000):
        for batch in batches.epoch(epoch):
            drawn[int(batch["unpaired_features"][0, 0]), int(batch["unpaired_shapes"][0, 0])] += 1
    for image in range(10):
        times = np.array([drawn[image, int(shape)] for shape in batches.near.shapes[image]])
        expected = batches.near.weights[image] * times.sum()
        assert (np.abs(times - expected) < 5 * np.sqrt(expected + 1)).all()


def test_an_epoch_goes_on_where_it_was_left(batches):
    whole = list(batches.epoch(3))
    rest = list(batches.epoch(3, first_batch=1))
    assert len(rest) == len(whole) - 1
    for a, b in zip(whole[1:], rest, strict=True):
        assert a.keys() == b.keys()
        assert all(a[name].equal(b[name]) for name in a)


def test_more_unpaired_images_are_wanted_than_there_are(batches):
    few = FrozenBatches(
        batches.pairs, batches.table, batches.rows, batches.kinds, batches.shapes, 8,
        unpaired=batches.unpaired, unpaired_kinds=[2] * 10, near=batches.near, unpaired_batch=99,
    )  # fmt: skip
    assert next(few.epoch(0))["unpaired_targets"].shape == (10, 24)


def test_targets_stay_on_shapes_of_the_row():
    near, weights = np.array([[5, 2], [2, 8]]), np.float32([[0.9, 0.1], [0.2, 0.8]])
    assert targets_of(near, weights, np.array([5, 8])).tolist() == [[1, 0], [0, 1]]
    got = targets_of(near, weights, np.array([0, 2, 8, 9]))
    np.testing.assert_allclose(got, [[0, 1, 0, 0], [0, 0.2, 0.8, 0]], rtol=1e-6)


def test_a_picture_is_drawn_more_often_than_a_render(toy):
    dataset = Dataset.read(toy)
    second = {image.image_id for image in dataset.images if image.view == 1}
    dataset.images = [
        replace(image, kind="picture") if image.image_id in second else image for image in dataset.images
    ]
    for weight, share in ((1.0, 0.5), (3.0, 0.75)):
        pairs = TrainingPairs(
            dataset, 16, 0, clouds=False, pictures=False, kinds=("render", "picture"), picture_weight=weight
        )
        views = [int(pairs[epoch, i]["view"]) for epoch in range(60) for i in range(24)]
        assert np.mean(views) == pytest.approx(share, abs=0.05)
