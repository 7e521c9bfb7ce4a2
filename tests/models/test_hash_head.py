"""Hash heads: what is exported, what the losses see, and where gradients go."""

import pytest
import torch

from cmah.models.hash_head import HashHead, signs


def test_sign_of_zero_is_plus_one():
    assert signs(torch.tensor([-1.5, -0.0, 0.0, 2.0])).tolist() == [-1, 1, 1, 1]


def test_tanh_keeps_the_sign():
    outputs = torch.randn(5, 16)
    relaxed = HashHead(8, 16).relax(outputs)
    assert torch.equal(relaxed, torch.tanh(outputs))
    assert torch.equal(signs(relaxed), signs(outputs))


def test_straight_through_is_binary_with_a_gradient_inside_one():
    head = HashHead(8, 4, kind="layernorm_ste")
    outputs = torch.tensor([[0.5, -0.25, 3.0, -2.0]], requires_grad=True)
    relaxed = head.relax(outputs)
    assert relaxed.tolist() == [[1, -1, 1, -1]]
    relaxed.sum().backward()
    assert outputs.grad.tolist() == [[1, 1, 0, 0]]


def test_straight_through_outputs_are_normalised():
    head = HashHead(8, 32, hidden=16, kind="layernorm_ste")
    outputs = head(torch.randn(6, 8))
    assert torch.allclose(outputs.mean(dim=1), torch.zeros(6), atol=1e-5)


def test_unknown_kind():
    with pytest.raises(ValueError, match="sigmoid"):
        HashHead(8, 4, kind="sigmoid")
