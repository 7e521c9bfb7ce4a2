"""Consistency of plain and mixed queries: loops, closed forms, the reference outputs as meant and as released."""

import json
import math

import numpy as np
import pytest
import torch

from cmah.losses.consistency import consistency


def slow_kl(p, q, epsilon=0.0):
    return sum(p[i][j] * math.log(p[i][j] / (q[i][j] + epsilon)) for i, j in np.ndindex(p.shape))


def row_softmax(logits):
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def released_softmax(logits):
    """Column j over the sum of row j: the sums of the rows are broadcast along the wrong axis."""
    return np.exp(logits) / np.exp(logits).sum(axis=1)


def some(seed, b=5, d=4):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(b, d)), rng.normal(size=(b, d))


@pytest.fixture(scope="module")
def folder(shared):
    return shared / "goldens" / "losses"


@pytest.mark.parametrize("t", [0.2, 1.0, 100.0])
def test_equals_the_definition(t):
    q, mixed = some(0)
    a, b = row_softmax(q @ mixed.T / t), row_softmax(mixed @ q.T / t)
    expected = (slow_kl(a, b) + slow_kl(b, a)) / 2
    inputs = torch.tensor(q), torch.tensor(mixed)
    assert consistency(*inputs, t, "sum").item() == pytest.approx(expected, rel=1e-9)
    assert consistency(*inputs, t).item() == pytest.approx(expected / 5, rel=1e-9)


@pytest.mark.parametrize("case", [0, 1])
def test_instance_level_matches_the_reference(folder, case):
    arrays = np.load(folder / "ibsr.npz", allow_pickle=False)
    expected = json.loads((folder / "ibsr.json").read_text())["consistency"][case]
    q, mixed = arrays[f"cons_q_{case}"], arrays[f"cons_qs_{case}"]
    np.testing.assert_allclose(row_softmax(q @ mixed.T), arrays[f"cons_A_{case}"], rtol=1e-12)
    np.testing.assert_allclose(row_softmax(mixed @ q.T), arrays[f"cons_A2_{case}"], rtol=1e-12)
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-5)):
        inputs = torch.tensor(q, dtype=dtype), torch.tensor(mixed, dtype=dtype)
        total, mean = consistency(*inputs, 1.0, "sum"), consistency(*inputs, 1.0, "mean")
        assert total.item() == pytest.approx(expected["symmetric_kl_sum"], rel=tolerance)
        assert mean.item() == pytest.approx(expected["symmetric_kl_mean_over_rows"], rel=tolerance)
    # as released: 1e-8 in the divisor
    p, back = released_softmax(q @ mixed.T), released_softmax(mixed @ q.T)
    np.testing.assert_allclose(p, arrays[f"cons_released_P_{case}"], rtol=1e-12)
    np.testing.assert_allclose(back, arrays[f"cons_released_Q_{case}"], rtol=1e-12)
    released = (slow_kl(p, back, 1e-8) + slow_kl(back, p, 1e-8)) / 2
    assert released == pytest.approx(expected["released"], rel=1e-9)
    assert released == pytest.approx(expected["released_jittor_f32"], rel=1e-6)  # the authors' code itself


def test_category_level_matches_the_reference(folder):
    arrays = np.load(folder / "style_mixed_extra.npz", allow_pickle=False)
    expected = json.loads((folder / "style_mixed_extra.json").read_text())["consistency_category"]
    q, mixed = arrays["cat_q"], arrays["cat_qs"]
    np.testing.assert_allclose(row_softmax(0.01 * q @ mixed.T), arrays["cat_A"], rtol=1e-12)
    np.testing.assert_allclose(row_softmax(0.01 * mixed @ q.T), arrays["cat_A2"], rtol=1e-12)
    inputs = torch.tensor(q), torch.tensor(mixed)
    assert consistency(*inputs, 100.0, "sum").item() == pytest.approx(expected["clean_sum"], rel=1e-9)
    assert consistency(*inputs, 100.0).item() == pytest.approx(expected["clean_mean_rows"], rel=1e-9)
    # as released: each matrix over its total, 1e-8 within both, the factor included
    p, back = released_softmax(0.01 * q @ mixed.T), released_softmax(0.01 * mixed @ q.T)
    np.testing.assert_allclose(p, arrays["cat_P_released"], rtol=1e-12)
    np.testing.assert_allclose(back, arrays["cat_Q_released"], rtol=1e-12)
    p, back = p / p.sum() + 1e-8, back / back.sum() + 1e-8
    assert (slow_kl(p, back) + slow_kl(back, p)) / 2 == pytest.approx(expected["released"], rel=1e-9)


def test_two_rows_have_a_closed_form():
    # A is flat, A' has p = 1 / (1 + e^{-1/t}) in its first column: ½ (p - ½) (log p - log (1 - p)) a row
    plain, mixed = torch.eye(2).double(), torch.tensor([[1.0, 0.0], [1.0, 0.0]]).double()
    for t in (0.1, 1.0):
        p = 1 / (1 + math.exp(-1 / t))
        assert consistency(plain, mixed, t).item() == pytest.approx((p - 0.5) / (2 * t), rel=1e-9)


def test_it_is_symmetric_and_zero_for_the_same_queries():
    q, mixed = map(torch.tensor, some(1))
    torch.testing.assert_close(consistency(q, mixed), consistency(mixed, q))
    assert consistency(q, q).item() == 0
    assert consistency(q, mixed).item() > 0
    order = torch.tensor([3, 1, 0, 4, 2])
    torch.testing.assert_close(consistency(q[order], mixed[order]), consistency(q, mixed))


def test_gradients_reach_plain_and_mixed_queries():
    inputs = [torch.tensor(x, requires_grad=True) for x in some(2)]
    for reduction in ("mean", "sum"):
        assert torch.autograd.gradcheck(lambda q, m, r=reduction: consistency(q, m, 0.5, r), tuple(inputs))
    consistency(*inputs).backward()
    assert all(x.grad.abs().sum() > 0 for x in inputs)


def test_an_unknown_reduction_is_refused():
    with pytest.raises(ValueError, match="expected mean or sum"):
        consistency(torch.eye(2), torch.eye(2), reduction="none")
