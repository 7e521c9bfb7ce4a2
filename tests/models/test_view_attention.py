"""Scores by attention over views: against loops and the reference outputs, with gaps among the views, and gradients."""

import math

import numpy as np
import pytest
import torch

from cmah.models.view_attention import ViewAttention, attention_scores, view_attention


def slow_scores(queries, views, weight, there=None):
    """(attention [b][s][v], vectors r(q) [b][s], scores [b][s]) by the definition, one number after the other."""
    attention, mixed, scores = ([[None] * len(views) for _ in queries] for _ in range(3))
    for i, q in enumerate(queries):
        for k, shape in enumerate(views):
            present = [there is None or bool(there[k][j]) for j in range(len(shape))]
            e = [math.exp((weight @ q) @ v) if ok else 0.0 for v, ok in zip(shape, present, strict=True)]
            attention[i][k] = [x / sum(e) for x in e]
            mixed[i][k] = sum(a * v for a, v in zip(attention[i][k], shape, strict=True))
            scores[i][k] = q @ mixed[i][k]
    return np.array(attention), np.array(mixed), np.array(scores)


def some(seed, b=5, s=4, v=3, d=6):
    rng = torch.Generator().manual_seed(seed)
    shapes = (b, d), (s, v, d), (d, d)
    return tuple(torch.randn(shape, generator=rng, dtype=torch.float64) for shape in shapes)


def gaps(seed, s=4, v=3):
    mask = torch.rand(s, v, generator=torch.Generator().manual_seed(seed)) < 0.5
    mask[:, 0] |= ~mask.any(dim=1)
    return mask


@pytest.mark.parametrize("case", range(4))
def test_equals_the_reference_outputs(shared, case):
    arrays = np.load(shared / "goldens" / "losses" / "ibsr.npz", allow_pickle=False)
    queries, views, weight = (torch.tensor(arrays[f"cmic_{name}_{case}"]) for name in ("q", "views", "W"))
    # theirs are [shape, image, …]
    attention = view_attention(queries, views, weight)
    np.testing.assert_allclose(attention.transpose(0, 1), arrays[f"cmic_attn_{case}"], rtol=1e-9)
    mixed = torch.einsum("bsv,svd->sbd", attention, views)
    np.testing.assert_allclose(mixed, arrays[f"cmic_mixed_{case}"], rtol=1e-9, atol=1e-12)
    scores = attention_scores(queries, views, weight)
    np.testing.assert_allclose((scores / 0.1).exp().T, arrays[f"cmic_P_{case}"], rtol=1e-9)


@pytest.mark.parametrize("with_gaps", [False, True])
def test_equals_the_definition(with_gaps):
    queries, views, weight = some(0)
    mask = gaps(0) if with_gaps else None
    attention, _, scores = slow_scores(queries.numpy(), views.numpy(), weight.numpy(), mask)
    np.testing.assert_allclose(view_attention(queries, views, weight, mask), attention, rtol=1e-12)
    np.testing.assert_allclose(attention_scores(queries, views, weight, mask), scores, rtol=1e-10)


def test_one_view_gives_its_cosine_and_equal_views_theirs():
    queries, views, weight = some(1, v=1)
    expected = queries @ views[:, 0].T
    torch.testing.assert_close(attention_scores(queries, views, weight), expected)
    torch.testing.assert_close(attention_scores(queries, views.expand(-1, 7, -1), weight), expected)


def test_without_preference_it_is_the_mean_of_the_views():
    queries, views, weight = some(2)
    torch.testing.assert_close(attention_scores(queries, views, 0 * weight), queries @ views.mean(dim=1).T)


def test_order_of_views_and_what_stands_in_gaps_do_not_count():
    queries, views, weight = some(3)
    mask, order = gaps(3), torch.tensor([2, 0, 1])
    expected = attention_scores(queries, views, weight, mask)
    torch.testing.assert_close(attention_scores(queries, views[:, order], weight, mask[:, order]), expected)
    other = torch.where(mask[..., None], views, 100.0)
    torch.testing.assert_close(attention_scores(queries, other, weight, mask), expected)


def test_a_shape_without_views_is_refused():
    queries, views, weight = some(4)
    mask = torch.ones(4, 3, dtype=torch.bool)
    mask[2] = False
    with pytest.raises(ValueError, match="row 2 has no view"):
        attention_scores(queries, views, weight, mask)


def test_gradients_reach_both_encoders_and_the_map():
    inputs = [x.requires_grad_() for x in some(5, b=2, s=3, v=2, d=3)]
    for mask in (None, gaps(5, 3, 2)):
        assert torch.autograd.gradcheck(
            lambda q, v, w, mask=mask: attention_scores(q, v, w, mask), tuple(inputs)
        )
    attention_scores(*inputs).square().sum().backward()
    assert all(x.grad.abs().sum() > 0 for x in inputs)


def test_the_module_is_the_function_with_its_weight():
    queries, views, _ = (x.float() for x in some(6))
    score = ViewAttention(6)
    assert [name for name, _ in score.named_parameters()] == ["projection.weight"]
    mask = gaps(6)
    expected = attention_scores(queries, views, score.projection.weight, mask)
    assert torch.equal(score(queries, views, mask), expected)
