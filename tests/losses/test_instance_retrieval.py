"""CMIC's losses: loops over exponentials, closed forms, the reference outputs, what is left out, gradients."""

import json
import math

import numpy as np
import pytest
import torch

from cmah.losses.instance_retrieval import category_loss, instance_loss
from cmah.models.view_attention import attention_scores


def slow_losses(scores, instance, image_categories, shape_categories, t):
    """L_inst and L_cat with plain exponentials, and with no regard to how many categories there are."""
    inst, cat = [], []
    for i, row in enumerate(scores):
        p = [math.exp(s / t) for s in row]
        inst.append(-math.log(p[instance[i]] / sum(p)))
        same = [k for k, category in enumerate(shape_categories) if category == image_categories[i]]
        cat.append(sum(-math.log(p[k] / sum(p)) for k in same) / len(same))
    return sum(inst) / len(inst), sum(cat) / len(cat)


def some(seed, b=6, s=5):
    rng = np.random.default_rng(seed)
    shape_categories = rng.permutation([0, 0, 1, 1, 2])[:s]
    instance = rng.integers(0, s, b)
    return rng.uniform(-1, 1, (b, s)), instance, shape_categories[instance], shape_categories


@pytest.fixture(scope="module")
def reference(shared):
    folder = shared / "goldens" / "losses"
    arrays = np.load(folder / "ibsr.npz", allow_pickle=False)
    return arrays, json.loads((folder / "ibsr.json").read_text())["cmic"]


@pytest.mark.parametrize("t", [0.1, 0.5])
def test_equal_the_definition(t):
    scores, instance, image_categories, shape_categories = some(0)
    expected = slow_losses(scores, instance, image_categories, shape_categories, t)
    scores, instance, image_categories, shape_categories = map(torch.tensor, some(0))
    assert instance_loss(scores, instance, t).item() == pytest.approx(expected[0], rel=1e-12)
    got = category_loss(scores, image_categories, shape_categories, t)
    assert got.item() == pytest.approx(expected[1], rel=1e-12)


@pytest.mark.parametrize("case", range(4))
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_match_the_reference(reference, case, dtype, tolerance):
    arrays, cases = reference
    expected = cases[case]
    queries, views, weight = (
        torch.tensor(arrays[f"cmic_{name}_{case}"], dtype=dtype) for name in ("q", "views", "W")
    )
    names = ("inst", "image_cat", "shape_cat")
    instance, *categories = (torch.tensor(arrays[f"cmic_{name}_{case}"]) for name in names)
    scores = attention_scores(queries, views, weight)
    by_instance = instance_loss(scores, instance, expected["tau"])
    by_category = category_loss(scores, *categories, expected["tau"])
    assert by_instance.item() == pytest.approx(expected["L_inst"], rel=tolerance)
    assert (by_instance + 0.2 * by_category).item() == pytest.approx(expected["total"], rel=tolerance)
    released = expected.get("released_jittor_f32", {})  # the authors' code itself
    for name, value in (("L_inst", by_instance), ("L_cat", by_category)):
        assert value.item() == pytest.approx(released.get(name, value.item()), rel=1e-5)
    if expected["single_category"]:
        assert by_category.item() == 0
        slow = slow_losses(scores.tolist(), instance, *categories, expected["tau"])
        assert slow[1] == pytest.approx(expected["L_cat"], rel=tolerance)
    else:
        assert by_category.item() == pytest.approx(expected["L_cat"], rel=tolerance)


def test_the_labels_of_a_batch_as_the_method_builds_it(shared):
    """The matrices of the reference follow from the index tensors that the losses read."""
    folder = shared / "goldens" / "losses"
    arrays = np.load(folder / "style_mixed_extra.npz", allow_pickle=False)
    batch = json.loads((folder / "style_mixed_extra.json").read_text())["batch"]
    shapes = [tuple(shape) for shape in batch["shapes"]]
    instance = torch.tensor([shapes.index(tuple(image)) for image in batch["images"]])
    assert instance.tolist() == arrays["batch_inst_index"].tolist()
    names = sorted({category for category, _ in shapes})
    of_images, of_shapes = (
        torch.tensor([names.index(category) for category, _ in items]) for items in (batch["images"], shapes)
    )
    scores = torch.tensor(np.random.default_rng(0).uniform(-1, 1, (6, 6)))
    p = (scores / 0.1).exp().numpy().T  # [shape, image], as in the reference
    share, category = p / p.sum(axis=0), arrays["batch_cat"]
    expected = -np.log((p * arrays["batch_inst"]).sum(axis=0) / p.sum(axis=0)).mean()
    assert instance_loss(scores, instance, 0.1).item() == pytest.approx(expected, rel=1e-9)
    expected = (-(np.log(share) * category).sum(axis=0) / category.sum(axis=0)).mean()
    assert category_loss(scores, of_images, of_shapes, 0.1).item() == pytest.approx(expected, rel=1e-9)


def test_all_alike_gives_log_of_the_number_of_shapes():
    _, *labels = map(torch.tensor, some(1))
    flat = torch.zeros(6, 5)
    assert instance_loss(flat, labels[0], 0.1).item() == pytest.approx(math.log(5))
    assert category_loss(flat, *labels[1:], 0.1).item() == pytest.approx(math.log(5))


def test_one_category_is_no_category_loss_but_stays_in_the_graph():
    scores = torch.rand(3, 4, requires_grad=True)
    loss = category_loss(scores, torch.zeros(3).long(), torch.zeros(4).long(), 0.1)
    loss.backward()
    assert loss.item() == 0
    assert not scores.grad.any()


def test_images_without_a_known_category_or_a_shape_of_it_are_left_out():
    scores, _, image_categories, shape_categories = map(torch.tensor, some(2))
    expected = category_loss(scores[:4], image_categories[:4], shape_categories, 0.1)
    image_categories[4], image_categories[5] = -1, 9
    shape_categories = torch.cat([shape_categories, torch.tensor([-1])])
    more = torch.cat([scores, torch.full((6, 1), -1e3, dtype=torch.float64)], dim=1)  # of unknown category
    assert category_loss(more, image_categories, shape_categories, 0.1).item() == pytest.approx(
        expected.item()
    )
    nobody = torch.full((6,), -1)
    assert category_loss(more, nobody, shape_categories, 0.1).item() == 0


def test_gradients_reach_both_encoders():
    rng = torch.Generator().manual_seed(3)
    queries, views, weight = (
        torch.randn(shape, generator=rng, dtype=torch.float64, requires_grad=True)
        for shape in ((6, 4), (5, 3, 4), (4, 4))
    )
    _, instance, *categories = map(torch.tensor, some(3))
    losses = [
        lambda scores: instance_loss(scores, instance, 0.3),
        lambda scores: category_loss(scores, *categories, 0.3),
    ]
    for loss in losses:
        assert torch.autograd.gradcheck(
            lambda q, v, w, loss=loss: loss(attention_scores(q, v, w)), (queries, views, weight)
        )
        gradients = torch.autograd.grad(
            loss(attention_scores(queries, views, weight)), (queries, views, weight)
        )
        assert all(gradient.abs().sum() > 0 for gradient in gradients)
