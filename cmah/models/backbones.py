"""Foreign encoders as towers of a model: frozen, or trained on."""

import torch
from torch import Tensor, nn


class Frozen(nn.Module):
    """A tower that stays as it was loaded: always in evaluation mode, no gradients, not saved with the run."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> "Frozen":
        """Stay in evaluation mode."""
        return super().train(False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the tower without recording gradients."""
        with torch.no_grad():
            return self.net(x)


class Tuned(nn.Module):
    """A tower that is trained on from its loaded weights; its batch norms keep their loaded statistics."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def train(self, mode: bool = True) -> "Tuned":
        """Switch mode, but keep batch norms in evaluation mode."""
        super().train(mode)
        for module in self.net.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Apply the tower."""
        return self.net(x)
