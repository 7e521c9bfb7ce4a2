"""The shapes that unpaired images are to be near, against loops over all of them."""

import math

import numpy as np
import pytest

from cmah.features import unpaired_images
from cmah.features.unpaired_images import nearest_shapes


def cosine(a, b):
    return float(a @ b) / (math.hypot(*a) * math.hypot(*b))


def slow_nearest(images, shapes, count, temperature):
    """{shape: weight} of each image, term by term."""
    images, shapes = images.astype(float), shapes.astype(float)
    table = np.array([[cosine(image, shape) for shape in shapes] for image in images])
    table = table - table.mean(axis=1)[:, None]
    table *= 0.1 / table.std()
    for _ in range(3):
        said = []
        for i, image in enumerate(images):
            near = sorted((-cosine(image, other), j) for j, other in enumerate(images) if j != i)[:10]
            shares = [math.exp(-negative / 0.1) for negative, _ in near]
            said.append(
                sum(share / sum(shares) * table[j] for share, (_, j) in zip(shares, near, strict=True))
            )
        table = (table + np.array(said)) / 2
    weights = []
    for row in table:
        best = np.argsort(-row)[:count]
        raised = {int(j): math.exp(row[j] / temperature) for j in best}
        weights.append({j: weight / sum(raised.values()) for j, weight in raised.items()})
    mass = {j: sum(row.get(j, 0.0) for row in weights) for j in range(len(shapes))}
    spread = [{j: weight / mass[j] ** 0.25 for j, weight in row.items()} for row in weights]
    return [{j: weight / sum(row.values()) for j, weight in row.items()} for row in spread]


@pytest.mark.parametrize("chunk", [3, 1024])
@pytest.mark.parametrize("images", [8, 14])
def test_equal_the_definition(chunk, images, monkeypatch):
    monkeypatch.setattr(unpaired_images, "CHUNK", chunk)
    rng = np.random.default_rng(0)
    photos, shapes = rng.normal(size=(images, 6)).astype("f"), rng.normal(size=(15, 6)).astype("f")
    near = nearest_shapes(photos, shapes, count=4, temperature=0.05)
    for i, expected in enumerate(slow_nearest(photos, shapes, 4, 0.05)):
        got = dict(zip(near.shapes[i].tolist(), near.weights[i].tolist(), strict=True))
        assert got == pytest.approx(expected, rel=1e-3)


def test_rows_sum_to_one_and_the_most_alike_comes_first():
    rng = np.random.default_rng(1)
    near = nearest_shapes(rng.normal(size=(5, 4)).astype("f"), rng.normal(size=(9, 4)).astype("f"), count=9)
    assert near.shapes.shape == (5, 9)
    np.testing.assert_allclose(near.weights.sum(axis=1), 1, rtol=1e-6)
    alone = nearest_shapes(np.float32([[1, 0.1]]), np.float32([[1, 0], [0, 1], [1, 1]]))
    assert alone.shapes.tolist() == [[0, 2, 1]]
    assert (np.diff(alone.weights[0]) < 0).all()


def test_images_that_look_alike_are_asked_together():
    """Five photos of one thing; one of them is by itself nearer to another shape."""
    shapes = np.float32([[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    photos = np.float32([[1, 0.5, 0.1], [1, 0.4, 0.2], [1, 0.5, 0.2], [1, 0.6, 0.1], [0.9, 1, 0.1]])
    assert nearest_shapes(photos[4:], shapes).shapes[0, 0] == 1
    assert nearest_shapes(photos, shapes).shapes[:, 0].tolist() == [0] * 5


def test_fewer_shapes_than_wanted():
    near = nearest_shapes(np.float32([[1, 0]]), np.float32([[2, 0]]), count=20)
    assert near.shapes.tolist() == [[0]]
    assert near.weights.tolist() == [[1.0]]
