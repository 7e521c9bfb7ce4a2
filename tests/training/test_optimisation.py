"""The learning rate of a step."""

import numpy as np
import pytest

from cmah.config.schema import TrainingConfig
from cmah.training.optimisation import learning_rate


def test_learning_rate_warms_up_and_falls():
    training = TrainingConfig(epochs=10, warmup_epochs=2.0, lr=1.0, min_lr=0.1)
    rates = np.array([learning_rate(step, 5, training) for step in range(50)])
    assert (np.diff(rates[:10]) > 0).all()
    assert (np.diff(rates[10:]) < 0).all()
    assert rates[10] == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.1, abs=0.01)
