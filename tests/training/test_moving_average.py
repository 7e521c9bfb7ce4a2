"""The moving average of weights: its numbers, that it is what is validated and kept, and that it is resumed."""

import pytest
import torch
from torch import nn
from toy_dataset import MICRO

from cmah.errors import RunError
from cmah.models.backbones import Frozen
from cmah.runs.metrics_log import read_metrics
from cmah.runs.tensor_files import load_tensors
from cmah.training.moving_average import MovingAverage
from cmah.training.starting import train

AVERAGED = [*MICRO, "training.average=0.9", "training.workers=0"]


def numbers(run):
    timing = ("seconds", "pairs_per_second")
    return [
        {key: value for key, value in record.items() if key not in timing} for record in read_metrics(run)
    ]


def test_equals_the_sum_written_out():
    layer, steps = nn.Linear(2, 1), 30
    average = MovingAverage(layer, decay=0.8)
    expected = layer.weight.detach().clone().double()
    for step in range(steps):
        nn.init.normal_(layer.weight)
        average.update(layer)
        d = min(0.8, (1 + step) / (10 + step))
        expected = d * expected + (1 - d) * layer.weight.detach().double()
    torch.testing.assert_close(average.network.weight.double(), expected, rtol=1e-5, atol=1e-6)


def test_counts_are_taken_over_and_frozen_towers_shared():
    network = nn.ModuleDict({"tower": Frozen(nn.Linear(2, 2)), "norm": nn.BatchNorm1d(2)})
    average = MovingAverage(network, decay=0.5)
    network["norm"](torch.randn(4, 2))
    average.update(network)
    assert average.network["norm"].num_batches_tracked.item() == 1
    assert average.network["tower"] is network["tower"]
    assert not any(parameter.requires_grad for parameter in average.network.parameters())
    assert not average.network.training


def test_a_state_that_does_not_fit_is_refused():
    average = MovingAverage(nn.Linear(2, 1), decay=0.5)
    with pytest.raises(RunError, match=r"average\.weight"):
        average.load(MovingAverage(nn.Linear(3, 1), decay=0.5).state())
    with pytest.raises(RunError, match="average_steps"):
        average.load({key: value for key, value in average.state().items() if key != "average_steps"})


def test_the_average_is_kept_and_the_training_is_that_without(toy, tmp_path):
    averaged = train(toy, tmp_path / "averaged", settings=[*AVERAGED, "training.epochs=2"])
    plain = train(toy, tmp_path / "plain", settings=[*MICRO, "training.workers=0", "training.epochs=2"])
    for with_average, without in zip(numbers(averaged), numbers(plain), strict=True):
        assert with_average["loss"] == without["loss"]
    state = load_tensors(averaged / "state/last.safetensors")[0]
    kept, values = load_tensors(averaged / "model.safetensors")
    if values["epoch"] == 2:
        for name, value in kept.items():
            torch.testing.assert_close(value, state[f"average.{name}"], rtol=0, atol=0)
    assert any((state[f"average.{name}"] != state[f"model.{name}"]).any() for name in kept)


def test_resumed_equals_uninterrupted(toy, tmp_path):
    constant = [*AVERAGED, "training.min_lr=0.001", "training.lr=0.001", "training.warmup_epochs=0"]
    whole = train(toy, tmp_path / "whole", settings=[*constant, "training.epochs=3"])
    parts = train(toy, tmp_path / "parts", settings=[*constant, "training.epochs=2"])
    train(toy, parts, settings=[*constant, "training.epochs=3"], resume=True)
    assert numbers(parts) == numbers(whole)
    assert (parts / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    ends = [load_tensors(run / "state/last.safetensors")[0] for run in (parts, whole)]
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
