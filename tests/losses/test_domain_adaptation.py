"""CDAN+E, batch nuclear norm, smoothed labels: reference outputs, the authors' hooks, closed forms, gradients."""

import inspect
import json
import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from cmah.losses import class_alignment, domain_adaptation, pair_contrast
from cmah.losses.domain_adaptation import (
    conditional_adversarial_loss,
    conditional_features,
    entropy,
    nuclear_norm_loss,
    reversal_coefficient,
    reverse_gradient,
    smoothed_cross_entropy,
)


@pytest.fixture(scope="module")
def reference(shared):
    folder = shared / "goldens" / "losses"
    arrays = np.load(folder / "style_mixed_extra.npz", allow_pickle=False)
    texts = json.loads((folder / "style_mixed_extra.json").read_text())
    return {name: torch.tensor(arrays[name]) for name in arrays.files}, texts


def some(seed, n=5, m=7, d=3, classes=4):
    rng = torch.Generator().manual_seed(seed)
    shapes = (n, d), (n, classes), (m, d), (m, classes)
    inputs = [torch.randn(shape, generator=rng, dtype=torch.float64, requires_grad=True) for shape in shapes]
    weight = torch.randn(classes * d, generator=rng, dtype=torch.float64, requires_grad=True)
    return (inputs[0], inputs[1]), (inputs[2], inputs[3]), weight


def slow_cdan(source, target, weight, *, twice=False):
    """The loss in loops; `twice` takes the sigmoid twice, as the released code does."""
    total = 0.0
    for domain, (features, logits) in enumerate((source, target)):
        weights, costs = [], []
        for f, z in zip(features.tolist(), logits.tolist(), strict=True):
            p = [math.exp(x) / sum(math.exp(y) for y in z) for x in z]
            score = sum(w * a * b for w, (a, b) in zip(weight, ((a, b) for a in p for b in f), strict=True))
            score = 1 / (1 + math.exp(-score)) if twice else score
            probability = 1 / (1 + math.exp(-score))
            costs.append(-math.log(probability if domain == 0 else 1 - probability))
            weights.append(1 + math.exp(sum(a * math.log(a + 1e-5) for a in p)))
        total += sum(w * c for w, c in zip(weights, costs, strict=True)) / sum(weights)
    return total / 2


def hooked_cdan(source, target, weight, coefficient):
    """Value and gradients with reversed gradients by hooks, as Long et al. wrote it; batches of equal size."""
    features, logits = torch.cat([source[0], target[0]]), torch.cat([source[1], target[1]])
    softmax, half = logits.softmax(dim=1), len(source[0])
    rows = torch.bmm(softmax.detach().unsqueeze(2), features.unsqueeze(1)).view(2 * half, -1)
    rows.register_hook(lambda gradient: -coefficient * gradient)
    uncertainty = (-softmax * torch.log(softmax + 1e-5)).sum(dim=1)
    uncertainty.register_hook(lambda gradient: -coefficient * gradient)
    w = 1.0 + torch.exp(-uncertainty)
    in_source = (torch.arange(2 * half) < half).double()
    w = (
        w * in_source / (w * in_source).sum().item()
        + w * (1 - in_source) / (w * (1 - in_source)).sum().item()
    )
    cost = functional.binary_cross_entropy_with_logits(rows @ weight, in_source, reduction="none")
    return (w * cost).sum() / w.sum().item()


def test_the_parts_of_cdan_match_the_reference(reference):
    arrays, texts = reference
    features = torch.cat([arrays["dom_fs"], arrays["dom_ft"]])
    p = torch.cat([arrays["logits_s"], arrays["logits_t"]]).softmax(dim=1)
    torch.testing.assert_close(conditional_features(features, p), arrays["cdan_outer"], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(entropy(p), arrays["cdan_entropy"], rtol=1e-9, atol=1e-12)
    # their weights sum to 1 within each domain
    w = 1 + torch.exp(-entropy(p))
    w = torch.cat([w[:6] / w[:6].sum(), w[6:] / w[6:].sum()])
    torch.testing.assert_close(w, arrays["cdan_weight"], rtol=1e-9, atol=1e-12)
    for step, expected in texts["cdan_e"]["grl_coeff"].items():
        assert reversal_coefficient(int(step)) == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_cdan_matches_the_reference_as_meant_and_as_released(reference):
    arrays, texts = reference
    source, target = (arrays["dom_fs"], arrays["logits_s"]), (arrays["dom_ft"], arrays["logits_t"])
    weight, expected = arrays["cdan_w"], texts["cdan_e"]
    got = conditional_adversarial_loss(lambda rows: rows @ weight, source, target, 1.0)
    assert got.item() == pytest.approx(expected["loss"], rel=1e-9)
    got = conditional_adversarial_loss(lambda rows: (rows @ weight).sigmoid(), source, target, 1.0)
    assert got.item() == pytest.approx(expected["released_double_sigmoid"], rel=1e-9)
    for twice, name in ((False, "loss"), (True, "released_double_sigmoid")):
        slow = slow_cdan(source, target, weight.tolist(), twice=twice)
        assert slow == pytest.approx(expected[name], rel=1e-9)


def test_cdan_equals_the_definition_for_batches_of_unequal_size():
    source, target, weight = some(0)
    got = conditional_adversarial_loss(lambda rows: rows @ weight, source, target, 0.3)
    assert got.item() == pytest.approx(slow_cdan(source, target, weight.tolist()), rel=1e-9)


@pytest.mark.parametrize("coefficient", [0.0, 0.635, 1.0])
def test_cdan_has_the_gradients_of_the_authors_hooks(coefficient):
    source, target, weight = some(1, n=6, m=6)
    inputs = (*source, *target, weight)
    losses = [
        conditional_adversarial_loss(lambda rows: rows @ weight, source, target, coefficient),
        hooked_cdan(source, target, weight, coefficient),
    ]
    got, expected = (torch.autograd.grad(loss, inputs) for loss in losses)
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other)
    # the discriminator always learns, the encoders of both domains (features and logits) unless the coefficient is 0
    assert all((gradient.abs().sum() > 0) == (coefficient > 0) for gradient in got[:4])
    assert got[4].abs().sum() > 0


def test_encoders_ascend_where_the_discriminator_descends():
    source, target, weight = some(2)
    both = [
        torch.autograd.grad(
            conditional_adversarial_loss(lambda rows: rows @ weight, source, target, c),
            (source[0], target[0], weight),
        )
        for c in (1.0, -1.0)  # at -1 nothing is reversed
    ]
    for reversed_, plain in zip(both[0][:2], both[1][:2], strict=True):
        torch.testing.assert_close(reversed_, -plain)
    torch.testing.assert_close(both[0][2], both[1][2])


def test_reversal_scales_the_gradient_and_nothing_else():
    x = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.equal(reverse_gradient(x, 0.3), x)
    (gradient,) = torch.autograd.grad(reverse_gradient(x, 0.3).square().sum(), x)
    torch.testing.assert_close(gradient, -0.6 * x.detach())


def test_the_coefficient_rises_from_zero_to_one():
    steps = [reversal_coefficient(step, 100) for step in range(101)]
    assert steps == sorted(steps)
    assert steps[0] == 0
    assert steps[50] == pytest.approx(2 / (1 + math.exp(-5)) - 1, rel=1e-12)
    assert reversal_coefficient(10**9) == 1.0


def test_entropy_closed_forms():
    assert entropy(torch.full((1, 8), 1 / 8).double()).item() == pytest.approx(math.log(8), abs=1e-4)
    assert entropy(torch.eye(3)).abs().max().item() == pytest.approx(0, abs=2e-5)
    p = torch.rand(4, 3, dtype=torch.float64).log_softmax(dim=1).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: entropy(z.softmax(dim=1)), (p,))


def test_nuclear_norm_matches_the_reference(reference):
    arrays, texts = reference
    p = arrays["logits_t"].softmax(dim=1)
    assert nuclear_norm_loss(p).item() == pytest.approx(texts["bnm"]["loss"], rel=1e-9)
    # as released: each p once more with a factor of 1e-6
    assert nuclear_norm_loss(p + 1e-6 * p).item() == pytest.approx(texts["bnm"]["released"], rel=1e-9)
    # and by the roots of the eigenvalues of PᵀP
    slow = -sum(math.sqrt(value) for value in torch.linalg.eigvalsh(p.T @ p).tolist()) / 4
    assert slow == pytest.approx(texts["bnm"]["loss"], rel=1e-9)


def test_nuclear_norm_is_lowest_for_certain_and_many_classes():
    certain, one_class, flat = torch.eye(4), torch.eye(4)[:1].repeat(4, 1), torch.full((4, 4), 0.25)
    assert nuclear_norm_loss(certain).item() == pytest.approx(-1)
    assert nuclear_norm_loss(one_class).item() == pytest.approx(-0.5)  # √4 / 4
    assert nuclear_norm_loss(flat).item() == pytest.approx(-0.25)
    assert nuclear_norm_loss(torch.eye(2).repeat(4, 1)).item() == pytest.approx(-2)  # -√(8 / 2)


def test_the_gradient_of_the_nuclear_norm_is_finite_where_singular_values_are_equal():
    for p in (torch.eye(4), torch.full((6, 4), 0.25)):
        logits = p.log().clamp_min(-20).requires_grad_()
        nuclear_norm_loss(logits.softmax(dim=1)).backward()
        assert logits.grad.isfinite().all()
    logits = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: nuclear_norm_loss(z.softmax(dim=1)), (logits,))
    assert torch.autograd.grad(nuclear_norm_loss(logits.softmax(dim=1)), logits)[0].abs().sum() > 0


def test_smoothed_labels_match_the_reference_with_the_real_number_of_classes(reference):
    arrays, texts = reference
    expected, logits, labels = texts["label_smoothing"], arrays["logits_s"], arrays["dom_ys"]
    got = smoothed_cross_entropy(logits, labels, expected["eps"])
    assert got.item() == pytest.approx(expected["loss_source"], rel=1e-9)
    for classes, name in ((4, "loss_source"), (31, "released_K31_source")):
        total = 0.0
        for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
            log_sum = math.log(sum(math.exp(z) for z in row))
            for k, z in enumerate(row):
                total -= (0.9 * (k == label) + 0.1 / classes) * (z - log_sum)
        assert total / len(logits) == pytest.approx(expected[name], rel=1e-9)


def test_smoothed_labels_closed_form_and_gradient():
    flat = torch.zeros(3, 5, dtype=torch.float64, requires_grad=True)
    loss = smoothed_cross_entropy(flat, torch.tensor([0, 1, 2]))
    assert loss.item() == pytest.approx(math.log(5))
    (gradient,) = torch.autograd.grad(loss, flat)
    targets = 0.9 * torch.eye(5)[:3].double() + 0.02
    torch.testing.assert_close(gradient, (0.2 - targets) / 3)


@pytest.mark.parametrize("module", [domain_adaptation, class_alignment, pair_contrast])
def test_nothing_takes_labels_of_the_target(module):
    for name, function in inspect.getmembers(module, inspect.isfunction):
        if function.__module__ == module.__name__ and not name.startswith("_"):
            assert not {"target_labels", "target_label"} & set(inspect.signature(function).parameters), name
