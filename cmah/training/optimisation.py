"""The optimiser's side of a step: random seed, learning rate, groups of parameters, state to save and load."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cmah.config.schema import TrainingConfig
from cmah.errors import RunError
from cmah.models.backbones import Tuned


def seed_step(seed: int, epoch: int, batch: int) -> int:
    """Seed torch's global state for one step, as a pure function of its place in the run; returns the seed.

    Examples:
        Three epochs of two batches have six seeds, the same whenever they are asked for.

        >>> places = [(epoch, batch) for epoch in range(3) for batch in range(2)]
        >>> len({seed_step(0, *place) for place in places + places})
        6
    """
    state = np.random.SeedSequence([seed, epoch, batch + 1]).generate_state(1, np.uint64)
    value = int(state[0] >> np.uint64(1))
    torch.manual_seed(value)
    return value


def learning_rate(step: int, batches: int, training: TrainingConfig) -> float:
    """Linear warm-up, then a cosine from `lr` to `min_lr`, which it would reach a step after the last.

    Examples:
        >>> training = TrainingConfig(epochs=4, warmup_epochs=1.0, lr=1.0, min_lr=0.0)
        >>> [round(learning_rate(step, 2, training), 2) for step in range(8)]
        [0.33, 0.67, 1.0, 0.93, 0.75, 0.5, 0.25, 0.07]
    """
    warm, total = training.warmup_epochs * batches, training.epochs * batches
    if step < warm:
        return training.lr * (step + 1) / (warm + 1)
    part = min(1.0, (step - warm) / max(1.0, total - warm))
    return training.min_lr + (training.lr - training.min_lr) * (1 + math.cos(math.pi * part)) / 2


def parameter_groups(model: torch.nn.Module, training: TrainingConfig) -> list[dict[str, Any]]:
    """Trained parameters by whether they decay (matrices do) and whether they belong to a pre-trained tower.

    Examples:
        >>> groups = parameter_groups(torch.nn.Linear(2, 3), TrainingConfig())
        >>> [(tuple(group["params"][0].shape), group["weight_decay"], group["scale"]) for group in groups]
        [((3, 2), 0.05, 1.0), ((3,), 0.0, 1.0)]
    """
    groups: dict[tuple[bool, bool], list[Tensor]] = {}
    loaded = tuple(name + "." for name, module in model.named_modules() if isinstance(module, Tuned))
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            tower = name.startswith(loaded or ("\0",))
            groups.setdefault((parameter.ndim > 1, tower), []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": training.weight_decay if decays else 0.0,
            "scale": training.tower_lr_scale if tower else 1.0,
        }
        for (decays, tower), parameters in groups.items()
    ]


def optimizer_tensors(optimizer: torch.optim.Optimizer, names: dict[Tensor, str]) -> dict[str, Tensor]:
    """An optimiser's state as named tensors, "optimizer.<parameter>.<entry>".

    Examples:
        >>> layer = torch.nn.Linear(2, 1, bias=False)
        >>> optimizer = torch.optim.AdamW(layer.parameters())
        >>> layer(torch.ones(1, 2)).sum().backward()
        >>> optimizer.step()
        >>> sorted(optimizer_tensors(optimizer, {layer.weight: "weight"}))
        ['optimizer.weight.exp_avg', 'optimizer.weight.exp_avg_sq', 'optimizer.weight.step']
    """
    return {
        f"optimizer.{names[parameter]}.{entry}": torch.as_tensor(value)
        for parameter, state in optimizer.state.items()
        for entry, value in state.items()
    }


def load_optimizer(
    optimizer: torch.optim.Optimizer, names: dict[Tensor, str], tensors: dict[str, Tensor]
) -> None:
    """Put back what `optimizer_tensors` gave.

    Raises:
        RunError: if an entry does not fit its parameter.

    Examples:
        >>> layer = torch.nn.Linear(2, 1, bias=False)
        >>> optimizer = torch.optim.AdamW(layer.parameters())
        >>> saved = {"step": torch.tensor(7.0), "exp_avg": torch.ones(1, 2), "exp_avg_sq": torch.ones(1, 2)}
        >>> tensors = {f"optimizer.weight.{entry}": value for entry, value in saved.items()}
        >>> load_optimizer(optimizer, {layer.weight: "weight"}, tensors)
        >>> float(optimizer.state[layer.weight]["step"])
        7.0
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            prefix = f"optimizer.{names[parameter]}."
            entries = {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
            for entry in ("step", "exp_avg", "exp_avg_sq") if entries else ():
                shape = () if entry == "step" else parameter.shape
                if entry not in entries or entries[entry].shape != shape:
                    raise RunError(f"{prefix}{entry} is missing or does not fit the model")
            if entries:
                optimizer.state[parameter] = {
                    entry: value if entry == "step" else value.to(parameter.device)
                    for entry, value in entries.items()
                }
