"""Pooling of views: each way against loops, and what must not matter."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cmah.models.view_pooling import ViewPooling


def by_loops(how, query, views, there):
    pooled = []
    for rows, held in zip(views.tolist(), there.tolist(), strict=True):
        seen = [np.array(row) for row, here in zip(rows, held, strict=True) if here]
        if how == "max":
            pooled.append(np.max(seen, axis=0))
            continue
        scores = [1.0 if query is None else float(np.exp(row @ query)) for row in seen]
        pooled.append(sum(score * row for score, row in zip(scores, seen, strict=True)) / sum(scores))
    return np.array(pooled)


@pytest.mark.parametrize("how", ["mean", "max", "attention"])
@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 2**31))
def test_equals_the_loops(how, count, dim, seed):
    torch.manual_seed(seed)
    pooling = ViewPooling(dim, how).double()
    if pooling.query is not None:
        torch.nn.init.normal_(pooling.query)
    views, there = torch.randn(3, count, dim, dtype=torch.float64), torch.rand(3, count) < 0.5
    there[torch.arange(3), torch.randint(count, (3,))] = True
    query = None if pooling.query is None else pooling.query.detach().numpy()
    pooled = pooling(views, there)
    np.testing.assert_allclose(pooled.detach(), by_loops(how, query, views, there), atol=1e-12)
    order = torch.randperm(count)
    torch.testing.assert_close(pooling(views[:, order], there[:, order]), pooled)
    filled = torch.where(there[..., None], views, torch.full_like(views, 9.0))
    torch.testing.assert_close(pooling(filled, there), pooled)


def test_attention_begins_as_the_mean_and_learns():
    views, there = torch.randn(2, 3, 4), torch.tensor([[True, True, False], [True, True, True]])
    attention = ViewPooling(4, "attention")
    torch.testing.assert_close(attention(views, there), ViewPooling(4, "mean")(views, there))
    attention(views, there).square().sum().backward()
    assert attention.query.grad.abs().sum() > 0
