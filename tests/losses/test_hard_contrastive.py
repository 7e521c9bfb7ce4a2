"""HCL against its definition in loops, the authors' numbers, and InfoNCE where it must be that."""

import json
import math

import numpy as np
import pytest
import torch

from cmah.losses.contrastive import info_nce
from cmah.losses.hard_contrastive import annealed_beta, hard_info_nce, hard_info_nce_within, hard_nce

CASES = range(32)
ROUNDING = 1e-15  # their gradient is a difference of numbers near 1, and in one case itself only 1e-10


def slow_row(own, negatives, t, beta, tau_plus, tilt):
    """One row by the definition, with plain exponentials."""
    m = len(negatives)
    weights = [math.exp(beta * (s / t if tilt == "logit" else s)) for s in negatives]
    reweighted = sum(w * math.exp(s / t) for w, s in zip(weights, negatives, strict=True)) / (
        sum(weights) / m
    )
    expected = (reweighted - tau_plus * m * math.exp(own / t)) / (1 - tau_plus)
    expected = max(expected, m * math.exp(-1 / t))
    return -math.log(math.exp(own / t) / (math.exp(own / t) + expected))


def slow_direction(a, b, t, beta, tau_plus, tilt):
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    s = a @ b.T
    rows = [
        slow_row(s[i, i], [s[i, j] for j in range(len(b)) if j != i], t, beta, tau_plus, tilt)
        for i in range(len(a))
    ]
    return sum(rows) / len(rows)


def pair(seed, n, d, dtype=torch.float64, more=0):
    rng = torch.Generator().manual_seed(seed)
    shapes = ((n, d), (n + more, d))
    return tuple(torch.randn(*shape, generator=rng, dtype=dtype) for shape in shapes)


@pytest.fixture(scope="module")
def reference(shared):
    folder = shared / "goldens" / "losses"
    arrays = np.load(folder / "hcl.npz", allow_pickle=False)
    return arrays, json.loads((folder / "hcl.json").read_text())["cases"]


@pytest.mark.parametrize("tilt", ["logit", "similarity"])
@pytest.mark.parametrize(("beta", "tau_plus"), [(0.0, 0.0), (1.0, 0.0), (0.0, 0.1), (0.7, 0.2), (2.0, 0.6)])
@pytest.mark.parametrize("t", [0.07, 0.5])
def test_equals_the_definition(tilt, beta, tau_plus, t):
    a, b = pair(0, 7, 5, more=3)
    got = hard_info_nce(a, b, t, beta, tau_plus, tilt)
    assert got.item() == pytest.approx(
        slow_direction(a.numpy(), b.numpy(), t, beta, tau_plus, tilt), rel=1e-9
    )


@pytest.mark.parametrize("tilt", ["logit", "similarity"])
@pytest.mark.parametrize(("beta", "tau_plus"), [(0.0, 0.0), (2.0, 0.0), (1.0, 0.1), (0.5, 0.5)])
def test_low_temperatures_in_float32_equal_float64(tilt, beta, tau_plus):
    a, b = pair(1, 16, 4)
    b[:6] = a[:6] + 0.05 * b[:6]  # some rows whose positive stands out: e^(1/0.01) is more than float32 holds
    inputs = [x.float().requires_grad_() for x in (a, b)]
    loss = hard_info_nce(*inputs, 0.01, beta, tau_plus, tilt)
    loss.backward()
    expected = slow_direction(a.numpy(), b.numpy(), 0.01, beta, tau_plus, tilt)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert all(x.grad.isfinite().all() for x in inputs)
    assert inputs[0].grad.abs().sum() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("tilt", ["logit", "similarity"])
def test_without_tilt_and_correction_it_is_info_nce(dtype, tilt):
    gradients = []
    for loss in (lambda a, b, t: hard_info_nce(a, b, t, 0.0, 0.0, tilt), info_nce):
        a, b = (x.to(dtype).requires_grad_() for x in pair(2, 9, 6, more=2))
        t = torch.tensor(0.1, dtype=dtype, requires_grad=True)
        value = loss(a, b, t)
        value.backward()
        gradients.append((value.detach(), a.grad, b.grad, t.grad))
    close = {"rtol": 1e-5, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 1e-11, "atol": 1e-13}
    for got, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(got, expected, **close)


def test_gradients_are_those_of_finite_differences():
    a, b = (x.requires_grad_() for x in pair(3, 5, 4))
    t = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    for tilt in ("logit", "similarity"):
        # at τ⁺ = 0.4 some rows are at the bound and others are not
        for tau_plus in (0.0, 0.4):
            assert torch.autograd.gradcheck(
                lambda a, b, t, tilt=tilt, p=tau_plus: hard_info_nce(a, b, t, 0.8, p, tilt), (a, b, t)
            )


def test_the_bound_takes_over_where_positives_explain_all():
    a = torch.eye(4, dtype=torch.float64)
    got = hard_info_nce(a, a, 0.1, 0.5, 0.3)
    assert got.item() == pytest.approx(math.log1p(3 * math.exp(-1 / 0.1) / math.exp(1 / 0.1)), rel=1e-9)


def test_a_harder_negative_counts_for_more():
    similarity = torch.tensor([[0.9, 0.8, -0.5, -0.5]], dtype=torch.float64, requires_grad=True)
    excluded = torch.tensor([[True, False, False, False]])
    shares = []
    for beta in (0.0, 0.5, 1.0):
        hard_nce(similarity[:, 0], similarity, excluded, 0.5, beta).sum().backward()
        shares.append((similarity.grad[0, 1] / similarity.grad[0, 1:].abs().sum()).item())
        similarity.grad = None
    assert shares == sorted(shares)
    assert shares[0] < shares[2]


def test_alone_in_the_batch_there_is_nothing_to_learn():
    a, b = (x.requires_grad_() for x in pair(4, 1, 3))
    loss = hard_info_nce(a, b, 0.1, 1.0, 0.1) + hard_info_nce_within(a, b, 0.1)
    loss.backward()
    assert loss.item() == 0
    assert not a.grad.any()


@pytest.mark.parametrize("wrong", [{"beta": -1.0}, {"tau_plus": 1.0}, {"tilt": "s"}, {"beta": math.nan}])
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match="not those of a loss"):
        hard_info_nce(*pair(5, 3, 2), 0.1, **wrong)


@pytest.mark.parametrize("number", CASES)
def test_two_modalities_match_the_reference(reference, number):
    arrays, cases = reference
    case = cases[number]
    if case["estimator"] == "easy":  # plain InfoNCE, of which the reference states one modality only
        assert "crossmodal_tilt_on_s" not in case
        return
    a, b = (torch.tensor(arrays[f"{name}{case['features']}"]) for name in "ab")
    for tilt, key in (("logit", "crossmodal_tilt_on_s_over_t"), ("similarity", "crossmodal_tilt_on_s")):
        for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-5)):
            settings = case["temperature"], case["beta"], case["tau_plus"], tilt
            x, y = a.to(dtype), b.to(dtype)
            got = (hard_info_nce(x, y, *settings) + hard_info_nce(y, x, *settings)) / 2
            # a loss of 1e-10 is a difference of numbers near 1: relative to it float32 has no digits
            assert got.item() == pytest.approx(case[key], rel=tolerance, abs=1e-12)


@pytest.mark.parametrize("number", CASES)
def test_one_modality_matches_the_authors_code(reference, number):
    arrays, cases = reference
    case = cases[number]
    a, b = (torch.tensor(arrays[f"{name}{case['features']}"], requires_grad=True) for name in "ab")
    settings = case["temperature"], case["beta"], case["tau_plus"]
    loss = hard_info_nce_within(a, b, *settings)
    assert loss.item() == pytest.approx(case["loss"], rel=1e-9)
    loss.backward()
    for x, name in ((a, "a"), (b, "b")):
        # theirs is given unit vectors, so its gradient has a radial part, which normalising takes away
        given = torch.tensor(arrays[f"grad_{name}_{number}"])
        expected = given - (given * x.detach()).sum(1, keepdim=True) * x.detach()
        torch.testing.assert_close(
            x.grad, expected, rtol=1e-9, atol=1e-9 * given.abs().max().item() + ROUNDING
        )
    small = hard_info_nce_within(a.detach().float(), b.detach().float(), *settings)
    assert small.item() == pytest.approx(case["loss"], rel=1e-5, abs=1e-12)


@pytest.mark.parametrize("number", CASES)
def test_the_estimator_has_the_gradients_of_the_authors_code(reference, number):
    arrays, cases = reference
    case = cases[number]
    a, b = (torch.tensor(arrays[f"{name}{case['features']}"], requires_grad=True) for name in "ab")
    rows, excluded = torch.cat([a, b]), torch.eye(len(a), dtype=torch.bool).repeat(2, 2)
    loss = hard_nce(
        (a * b).sum(1).repeat(2), rows @ rows.T, excluded, case["temperature"], case["beta"], case["tau_plus"]
    ).mean()
    loss.backward()
    for x, name in ((a, "a"), (b, "b")):
        expected = torch.tensor(arrays[f"grad_{name}_{number}"])
        torch.testing.assert_close(
            x.grad, expected, rtol=1e-9, atol=1e-9 * expected.abs().max().item() + ROUNDING
        )


def test_beta_goes_in_equal_stages_both_ways():
    up = [annealed_beta(epoch, 10, 0.5, 2.5) for epoch in range(10)]
    assert up == [0.5, 0.5, 1.0, 1.0, 1.5, 1.5, 2.0, 2.0, 2.5, 2.5]
    assert [annealed_beta(epoch, 4, 2.0, 0.0, stages=2) for epoch in range(6)] == [2, 2, 0, 0, 0, 0]
    assert annealed_beta(3, 4, 0.5, 9.0, stages=1) == 0.5
    assert annealed_beta(0, 0, 0.5, 1.0) == 0.5
