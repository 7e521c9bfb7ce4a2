"""The shapes that unpaired images are to be near, against loops over all of them."""

import math

import numpy as np
import pytest

from cmah.features import unpaired_images
from cmah.features.unpaired_images import nearest_shapes


def slow_nearest(images, shapes, count, temperature):
    """{shape: weight} of each image, term by term."""

    def cosine(a, b):
        return float(a @ b) / (math.hypot(*a) * math.hypot(*b))

    raw = []
    for image in images.astype(float):
        scores = {j: cosine(image, shape) for j, shape in enumerate(shapes.astype(float))}
        best = sorted(scores, key=lambda j: -scores[j])[:count]
        raw.append({j: math.exp(scores[j] / temperature) for j in best})
    mass = {}
    for row in raw:
        for j, weight in row.items():
            mass[j] = mass.get(j, 0.0) + weight
    spread = [{j: weight / math.sqrt(mass[j]) for j, weight in row.items()} for row in raw]
    return [{j: weight / sum(row.values()) for j, weight in row.items()} for row in spread]


@pytest.mark.parametrize("chunk", [3, 1024])
def test_equal_the_definition(chunk, monkeypatch):
    monkeypatch.setattr(unpaired_images, "CHUNK", chunk)
    rng = np.random.default_rng(0)
    images, shapes = rng.normal(size=(8, 6)).astype("f"), rng.normal(size=(15, 6)).astype("f")
    near = nearest_shapes(images, shapes, count=4, temperature=0.3)
    for i, expected in enumerate(slow_nearest(images, shapes, 4, 0.3)):
        got = dict(zip(near.shapes[i].tolist(), near.weights[i].tolist(), strict=True))
        assert got == pytest.approx(expected, rel=1e-4)


def test_the_most_alike_comes_first_and_rows_sum_to_one():
    rng = np.random.default_rng(1)
    near = nearest_shapes(rng.normal(size=(5, 4)).astype("f"), rng.normal(size=(9, 4)).astype("f"), count=9)
    assert near.shapes.shape == (5, 9)
    np.testing.assert_allclose(near.weights.sum(axis=1), 1, rtol=1e-6)
    # where a single image asks, no shape has more mass than another one's weight: the order of cosines stays
    alone = nearest_shapes(np.float32([[1, 0.1]]), np.float32([[1, 0], [0, 1], [1, 1]]))
    assert (np.diff(alone.weights[0]) < 0).all()


def test_no_shape_takes_everything():
    """One shape is near to all images; each has one of its own that is nearly as near."""
    hub = np.ones(4)
    own = hub + np.eye(4)
    images = (hub + 0.45 * np.eye(4)).astype("f")
    shapes = np.vstack([hub, own]).astype("f")
    near = nearest_shapes(images, shapes, count=2)
    weight_of_hub = [float(w[s == 0][0]) for s, w in zip(near.shapes, near.weights, strict=True)]
    assert (near.shapes == 0).any(axis=1).all()
    assert max(weight_of_hub) < 0.5


def test_fewer_shapes_than_wanted():
    near = nearest_shapes(np.float32([[1, 0]]), np.float32([[2, 0]]), count=20)
    assert near.shapes.tolist() == [[0]]
    assert near.weights.tolist() == [[1.0]]
