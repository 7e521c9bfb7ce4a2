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
    """Seed torch's global state for one step, as a pure function of its place in the run; returns the seed."""
    state = np.random.SeedSequence([seed, epoch, batch + 1]).generate_state(1, np.uint64)
    value = int(state[0] >> np.uint64(1))
    torch.manual_seed(value)
    return value


def learning_rate(step: int, batches: int, training: TrainingConfig) -> float:
    """Linear warm-up, then a cosine from `lr` to `min_lr` at the last step."""
    warm, total = training.warmup_epochs * batches, training.epochs * batches
    if step < warm:
        return training.lr * (step + 1) / (warm + 1)
    part = min(1.0, (step - warm) / max(1.0, total - warm))
    return training.min_lr + (training.lr - training.min_lr) * (1 + math.cos(math.pi * part)) / 2


def parameter_groups(model: torch.nn.Module, training: TrainingConfig) -> list[dict[str, Any]]:
    """Trained parameters by whether they decay (matrices do) and whether they belong to a pre-trained tower."""
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
    """An optimiser's state as named tensors, "optimizer.<parameter>.<entry>"."""
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
