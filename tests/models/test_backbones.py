"""Towers: frozen ones stay as they are, tuned ones keep their statistics."""

import torch

from cmah.models.backbones import Frozen, Tuned


def test_frozen_stays_and_tuned_keeps_statistics():
    net = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3))
    frozen, tuned = Frozen(net), Tuned(torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3)))
    frozen.train()
    tuned.train()
    assert not frozen.net[1].training
    assert not frozen(torch.randn(4, 3)).requires_grad
    before = tuned.net[1].running_mean.clone()
    tuned(torch.randn(4, 3) + 5).sum().backward()
    assert torch.equal(tuned.net[1].running_mean, before)
    assert tuned.net[0].weight.grad is not None
