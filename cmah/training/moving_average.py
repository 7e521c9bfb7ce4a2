"""The moving average of a network's weights over training steps: what is validated and kept, and a teacher."""

import copy

import torch
from torch import Tensor, nn

from cmah.errors import RunError
from cmah.models.backbones import Frozen
from cmah.runs.tensor_files import own_state

FIRST_STEPS = 10  # the average of a few steps forgets faster: (1 + steps) / (10 + steps) at most


class MovingAverage:
    """A copy of a network whose weights are w̄ ← d·w̄ + (1 - d)·w after each step (Polyak averaging, mean teacher).

    Averages of late steps lie nearer to the bottom than the last step does; the learning rate need not have fallen
    (Tarvainen & Valpola, NeurIPS 2017). d rises to `decay` over the first steps, since the weights that a network
    begins with say nothing. Numbers that are counted, such as those of batch norms, are taken over.

    Attributes:
        network: the copy, always in evaluation mode; frozen towers are shared with the network, not copied.
        decay: d.
        steps: how often it was moved.

    Examples:
        >>> layer = nn.Linear(1, 1, bias=False)
        >>> average = MovingAverage(layer, decay=0.5)
        >>> before = layer.weight.item()
        >>> _ = nn.init.constant_(layer.weight, before + 1)
        >>> average.update(layer)  # d = 0.1 at the first step
        >>> round(average.network.weight.item() - before, 4)
        0.9
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        shared = {id(module): module for module in network.modules() if isinstance(module, Frozen)}
        self.network = copy.deepcopy(network, shared).requires_grad_(False).eval()
        self.decay, self.steps = decay, 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move towards the weights of the network."""
        d = min(self.decay, (1 + self.steps) / (FIRST_STEPS + self.steps))
        averages, weights = own_state(self.network), own_state(network)
        real = [name for name, value in weights.items() if value.is_floating_point()]
        torch._foreach_lerp_([averages[name] for name in real], [weights[name] for name in real], 1 - d)
        for name in weights.keys() - set(real):
            averages[name].copy_(weights[name])
        self.steps += 1

    def state(self) -> dict[str, Tensor]:
        """What resuming needs, as named tensors: "average.<tensor>" and "average_steps"."""
        tensors = {f"average.{name}": value for name, value in own_state(self.network).items()}
        return tensors | {"average_steps": torch.tensor(self.steps)}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Put back what `state` gave.

        Raises:
            RunError: naming the first tensor that is missing or of another shape.

        Examples:
            >>> average = MovingAverage(nn.Linear(2, 1), decay=0.9)
            >>> average.update(nn.Linear(2, 1))
            >>> fresh = MovingAverage(nn.Linear(2, 1), decay=0.9)
            >>> fresh.load(average.state())
            >>> fresh.steps, bool((fresh.network.weight == average.network.weight).all())
            (1, True)
        """
        for name, value in self.state().items():
            if name not in tensors or tensors[name].shape != value.shape:
                raise RunError(f"tensor {name!r} is missing or does not fit the model")
        own = {
            name.removeprefix("average."): value
            for name, value in tensors.items()
            if name.startswith("average.")
        }
        self.network.load_state_dict(own, strict=False)
        self.steps = int(tensors["average_steps"])
