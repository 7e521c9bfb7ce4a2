"""Foreign encoders as towers of a model: frozen, trained on, or trained from nothing."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from cmah.errors import ConfigError
from cmah.models.pretrained import point_encoder
from cmah.models.pretrained.backbone_spec import BackboneSpec
from cmah.models.pretrained.image_towers import ImageBackbone

if TYPE_CHECKING:
    from cmah.models.pretrained.point_backbone import PointEncoder


class Frozen(nn.Module):
    """A tower that stays as it was loaded: always in evaluation mode, no gradients, not saved with the run."""

    net: Any  # the encoder, with its own attributes

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


def image_tower(
    encoder: str, weights: str, image_size: int, *, frozen: bool
) -> tuple[nn.Module, ImageBackbone]:
    """An image tower and the encoder within it.

    Args:
        encoder: timm:NAME or open_clip:NAME.
        weights: its file, download:TAG, or empty for random weights.
        image_size: of the images that it will get.
        frozen: whether it stays as it is.

    Raises:
        ConfigError, RunError: for a name or weights that are no good.
    """
    net = ImageBackbone(BackboneSpec.parse(encoder), image_size)
    if weights:
        net.load(weights)
    return _tower(net, bool(weights), frozen), net


def shape_tower(encoder: str, weights: str, *, frozen: bool) -> tuple[nn.Module, "PointEncoder"]:
    """A shape tower and the encoder within it; as `image_tower`, with a name that `cmah encoders` lists."""
    net = point_encoder(encoder, weights)
    return _tower(net, bool(weights), frozen), net


def tower_remarks(name: str, encoder: "PointEncoder", points: int) -> list[str]:
    """What a user should know of a loaded shape tower.

    Raises:
        ConfigError: if the clouds have fewer points than it needs.
    """
    if points and points < encoder.least:
        raise ConfigError(f"model.points = {points}: {name} needs at least {encoder.least}")
    if not encoder.ignored:
        return []
    count = f"{encoder.ignored} tensor{'s' if encoder.ignored > 1 else ''}"
    return [f"{name}: {count} of its file outside the point tower ignored"]


def _tower(net: nn.Module, loaded: bool, frozen: bool) -> nn.Module:
    """Statistics of random weights are worth nothing: without loaded ones, batch norms learn theirs."""
    return Frozen(net) if frozen else Tuned(net) if loaded else net
