"""The domain discriminator: its layers, written out, its initial weights, and its dropout."""

import pytest
import torch

from cmah.models.domain_discriminator import DomainDiscriminator


def test_equals_its_layers_written_out():
    torch.manual_seed(0)
    net = DomainDiscriminator(6, hidden=5).eval()
    x = torch.randn(4, 6)
    hidden = x
    for layer in (net.layers[0], net.layers[3]):
        hidden = (hidden @ layer.weight.T + layer.bias).clamp_min(0)
    expected = hidden @ net.layers[6].weight[0] + net.layers[6].bias
    torch.testing.assert_close(net(x), expected)


def test_initial_weights_are_xavier_and_biases_zero():
    torch.manual_seed(1)
    net = DomainDiscriminator(300, hidden=200)
    assert [tuple(p.shape) for p in net.parameters() if p.dim() == 2] == [(200, 300), (200, 200), (1, 200)]
    assert net.layers[0].weight.std().item() == pytest.approx((2 / 500) ** 0.5, rel=0.02)
    assert all(not p.any() for p in net.parameters() if p.dim() == 1)


def test_dropout_is_on_in_training_only():
    torch.manual_seed(2)
    net, x = DomainDiscriminator(6, hidden=50), torch.randn(4, 6)
    assert not torch.equal(net(x), net(x))
    net.eval()
    assert torch.equal(net(x), net(x))
