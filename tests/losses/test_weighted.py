"""Weights on negatives from similarities: equations in loops, and the reference outputs of paper and released code."""

import json
import math

import numpy as np
import pytest
import torch

from cmah.losses.contrastive import info_nce, normalise_weights
from cmah.losses.weighted import batch_weights, released_loss, released_weights, weighted_info_nce

CASES = range(4)
KINDS = ("i2i", "i2l2", "i2i_all", "avg")
PRECISIONS = [(torch.float64, 1e-9), (torch.float32, 1e-5)]


@pytest.fixture(scope="module")
def reference(shared):
    folder = shared / "goldens" / "losses"
    arrays = np.load(folder / "sbrolli.npz", allow_pickle=False)
    return arrays, json.loads((folder / "sbrolli.json").read_text())["cases"]


def similarity_of(arrays, kind, case):
    """What the store gives: α across categories."""
    if kind == "i2i_all":
        return torch.tensor(arrays[f"sim_i2i_{case}"])
    category = arrays[f"cat_{case}"]
    same = category[:, None] == category
    return torch.tensor(np.where(same, arrays[f"sim_{kind}_{case}"], 0.25))


def weights_of(arrays, kind, case, make):
    if kind == "avg":
        both = [make(similarity_of(arrays, part, case)) for part in ("i2i", "i2l2")]
        return tuple((a + b) / 2 for a, b in zip(*both, strict=True))
    return make(similarity_of(arrays, kind, case))


def slow_equation_five(anchors, others, t, weights):
    anchors, others = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (anchors, others))
    total = 0.0
    for i in range(len(anchors)):
        e = [math.exp(anchors[i] @ other / t) for other in others]
        total -= math.log(e[i] / sum(weights[i][j] * e[j] for j in range(len(others))))
    return total / len(anchors)


def slow_weights(similarity, diagonal):
    b = len(similarity)
    to_shape, to_image = np.empty((b, b)), np.empty((b, b))
    for i in range(b):
        for j in range(b):
            if i == j and diagonal == "one":
                to_shape[i, j] = to_image[i, j] = 1
                continue
            to_shape[i, j] = (b - 1) * similarity[i, j] / sum(similarity[i, k] for k in range(b) if k != i)
            # anchor shape i, image j
            to_image[i, j] = (b - 1) * similarity[j, i] / sum(similarity[k, i] for k in range(b) if k != i)
    return to_shape, to_image


def some(seed, b=6, d=5):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(b, d)), rng.normal(size=(b, d)), rng.uniform(0.05, 1, (b, b))


@pytest.mark.parametrize("diagonal", ["one", "eq6"])
def test_weights_and_loss_equal_the_equations(diagonal):
    image, shape, similarity = some(0)  # not symmetric, so that the two directions cannot be mixed up
    slow = slow_weights(similarity, diagonal)
    for (anchors, others), got, expected in zip(
        ((image, shape), (shape, image)), batch_weights(torch.tensor(similarity), diagonal), slow, strict=True
    ):
        np.testing.assert_allclose(got.numpy(), expected, rtol=1e-12)
        loss = weighted_info_nce(torch.tensor(anchors), torch.tensor(others), 0.1, got)
        assert loss.item() == pytest.approx(slow_equation_five(anchors, others, 0.1, expected), rel=1e-10)


def test_of_a_symmetric_similarity_both_directions_are_one():
    similarity = torch.tensor(some(1)[2])
    to_shape, to_image = batch_weights((similarity + similarity.T) / 2, "eq6")
    torch.testing.assert_close(to_shape, to_image)


def test_a_diagonal_of_ones_is_info_nce_with_weights_on_negatives():
    image, shape, similarity = (torch.tensor(x) for x in some(2))
    to_shape, _ = batch_weights(similarity)
    torch.testing.assert_close(to_shape, normalise_weights(similarity))
    torch.testing.assert_close(
        weighted_info_nce(image, shape, 0.2, to_shape), info_nce(image, shape, 0.2, to_shape)
    )
    flat, _ = batch_weights(torch.full((6, 6), 0.25, dtype=torch.float64))
    torch.testing.assert_close(weighted_info_nce(image, shape, 0.2, flat), info_nce(image, shape, 0.2))


def test_nothing_similar_gives_ones():
    for diagonal in ("one", "eq6"):
        assert torch.equal(batch_weights(torch.eye(3), diagonal)[0], torch.ones(3, 3))
    assert torch.equal(released_weights(torch.eye(3))[0], torch.ones(3, 3))
    assert torch.equal(batch_weights(torch.ones(1, 1))[0], torch.ones(1, 1))


def test_weight_zero_removes_a_negative_and_leaves_finite_gradients():
    image, shape = (torch.tensor(x).requires_grad_() for x in some(3)[:2])
    weights = torch.ones(6, 6)
    weights[:, 5] = 0
    weights[5, 5] = 1
    weighted_info_nce(image, shape, 0.01, weights).backward()
    assert image.grad.isfinite().all()
    expected = info_nce(image[:5], shape[:5], 0.3) * 5 + info_nce(image[5:], shape[[5, 0, 1, 2, 3, 4]], 0.3)
    assert weighted_info_nce(image, shape, 0.3, weights).item() == pytest.approx(expected.item() / 6)


def test_an_unknown_diagonal_is_refused():
    with pytest.raises(ValueError, match="expected one or eq6"):
        batch_weights(torch.ones(2, 2), "two")


def test_the_released_code_at_high_temperatures_does_not_overflow():
    image, shape, similarity = (torch.tensor(x).float() for x in some(4))
    weights = released_weights(similarity)
    got = released_loss(image, shape, weights, temp=200.0, bias=0.0)
    expected = [slow_equation_five(x.double().numpy(), y.double().numpy(), 1 / 200, w.double().numpy())
                for x, y, w in ((image, shape, weights[0]), (shape, image, weights[1]))]  # fmt: skip
    assert got.item() == pytest.approx(sum(expected) / 2, rel=1e-5)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("diagonal", ["one", "eq6"])
def test_matches_the_reference_of_the_paper(reference, kind, diagonal, case):
    arrays, cases = reference

    def make(similarity):
        return batch_weights(similarity, diagonal)

    if kind != "avg":  # their weights are given as [image, shape] for both directions
        to_shape, to_image = make(similarity_of(arrays, kind, case))
        for got, name in ((to_shape, "row"), (to_image.T, "col")):
            expected = arrays[f"w_{name}_{kind}_{diagonal}_{case}"]
            np.testing.assert_allclose(got.numpy(), expected, rtol=1e-9)
    weights = weights_of(arrays, kind, case, make)
    for dtype, tolerance in PRECISIONS:
        image, shape = (torch.tensor(arrays[f"{name}_{case}"]).to(dtype) for name in ("image", "shape"))
        for t in (0.07, 0.5):
            expected = cases[case]["paper"][f"{kind}|diag_{diagonal}|tau_{t}"]
            forth = weighted_info_nce(image, shape, t, weights[0])
            back = weighted_info_nce(shape, image, t, weights[1])
            assert forth.item() == pytest.approx(expected["image_to_shape"], rel=tolerance)
            assert back.item() == pytest.approx(expected["shape_to_image"], rel=tolerance)
            assert ((forth + back) / 2).item() == pytest.approx(expected["loss"], rel=tolerance)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", ["i2i", "i2l2", "avg"])
def test_matches_the_reference_of_the_released_code(reference, kind, case):
    arrays, cases = reference
    weights = weights_of(arrays, kind, case, released_weights)
    np.testing.assert_allclose(weights[0].numpy(), arrays[f"code_w_{kind}_{case}"], rtol=1e-9)
    assert torch.equal(weights[0], weights[1])
    own = [expected for name, expected in cases[case]["code"].items() if name.startswith(f"{kind}|")]
    assert len(own) == 2
    for expected in own:
        for dtype, tolerance in PRECISIONS:
            image, shape = (torch.tensor(arrays[f"{name}_{case}"]).to(dtype) for name in ("image", "shape"))
            got = released_loss(image, shape, weights, expected["temp"], expected["b"])
            assert got.item() == pytest.approx(expected["loss"], rel=tolerance)
    default = released_loss(image, shape, weights).item()
    assert default == pytest.approx(own[0]["loss"], rel=1e-5)
