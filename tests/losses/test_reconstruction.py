"""Reconstruction terms against loops and closed forms."""

import pytest
import torch

from cmah.losses.reconstruction import group_loss, pixel_loss


def test_pixel_loss_of_shifted_and_scaled_patches():
    target = torch.rand(2, 3, 12)
    assert pixel_loss(target + 0.5, target, normalise=False).item() == pytest.approx(0.25, rel=1e-5)
    # a normalised target does not change with the brightness and contrast of its patch
    predicted = torch.randn(2, 3, 12)
    plain = pixel_loss(predicted, target, normalise=True).item()
    assert pixel_loss(predicted, 3 * target - 1, normalise=True).item() == pytest.approx(plain, rel=1e-3)
    # and predicting its mean costs its variance, 11/12 with the unbiased divisor
    assert pixel_loss(torch.zeros(2, 3, 12), target, normalise=True).item() == pytest.approx(
        11 / 12, rel=1e-3
    )


def test_group_loss_against_loops():
    a, b = torch.randn(2, 3, 4, 3, dtype=torch.float64), torch.randn(2, 3, 4, 3, dtype=torch.float64)
    total = 0.0
    for i in range(2):
        for g in range(3):
            distances = (a[i, g][:, None] - b[i, g][None]).square().sum(2)
            total += distances.min(0).values.mean() + distances.min(1).values.mean()
    assert group_loss(a, b).item() == pytest.approx(total.item() / 6, rel=1e-5)
    assert group_loss(a, a[:, :, torch.tensor([2, 0, 3, 1])]).item() == pytest.approx(0, abs=1e-6)
