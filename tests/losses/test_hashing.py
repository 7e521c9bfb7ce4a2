"""Regularisers of the codes against closed forms."""

import pytest
import torch

from cmah.losses.hashing import bit_balance, quantisation


def test_quantisation_and_balance_closed_forms():
    assert quantisation(torch.tensor([[1.0, -1.0], [-1.0, 1.0]])).item() == 0
    assert quantisation(torch.zeros(3, 4)).item() == 1
    assert bit_balance(torch.tensor([[1.0, -1.0], [-1.0, 1.0]])).item() == 0
    assert bit_balance(torch.ones(5, 2)).item() == 1
    assert bit_balance(torch.tensor([[1.0, 0.5], [-1.0, 0.5]])).item() == pytest.approx(0.125)
