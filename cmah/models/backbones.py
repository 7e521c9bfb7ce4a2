"""Published encoders as towers of a model: frozen, fine-tuned, or trained from random weights."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from cmah.errors import ConfigError
from cmah.models.chunks import ChunkedModule
from cmah.models.pretrained import point_encoder
from cmah.models.pretrained.backbone_spec import BackboneSpec
from cmah.models.pretrained.image_towers import ImageBackbone

if TYPE_CHECKING:
    from cmah.models.pretrained.point_backbone import PointEncoder


class Frozen(nn.Module):
    """A tower that stays as it was loaded: always in evaluation mode, no gradients, not saved with the run.

    Examples:
        Dropout does nothing, even in training.

        >>> Frozen(nn.Dropout(0.5)).train()(torch.ones(1, 4))
        tensor([[1., 1., 1., 1.]])
    """

    net: Any  # an ImageBackbone or PointEncoder; Any, so that callers can read the attributes of either

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


class Tuned(ChunkedModule):
    """A tower that is fine-tuned from its loaded weights; its batch norms keep their loaded statistics.

    Examples:
        In training, dropout is on and the batch norm keeps its statistics.

        >>> tower = Tuned(nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(0.5))).train()
        >>> [module.training for module in tower.net]
        [False, True]
    """

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
        return self.in_chunks(self.net, x)


def image_tower(
    encoder: str, weights: str, image_size: int, *, frozen: bool
) -> tuple[nn.Module, ImageBackbone]:
    """An image tower and the encoder within it.

    Args:
        encoder: timm:NAME, open_clip:NAME or slip:ViT-B-16.
        weights: a file or download:TAG; "" for random weights.
        image_size: pixels of the images that it will get; 0 takes the encoder's size.
        frozen: whether it stays as loaded.

    Returns:
        The tower, to be registered as a module, and the encoder inside it.

    Raises:
        ConfigError: for an unknown name or tag.
        RunError: for a weights file that is missing, damaged or of another model.

    Examples:
        >>> tower, encoder = image_tower("timm:mobilenetv3_small_050", "", 64, frozen=False)
        >>> encoder.dim, tuple(tower(torch.rand(2, 3, 64, 64)).shape)
        (1024, (2, 1024))
    """
    net = ImageBackbone(BackboneSpec.parse(encoder), image_size)
    if weights:
        net.load(weights)
    return _tower(net, bool(weights), frozen), net


def shape_tower(encoder: str, weights: str, *, frozen: bool) -> tuple[nn.Module, "PointEncoder"]:
    """A shape tower and the encoder within it; as `image_tower`, with a name that `cmah encoders` lists.

    Raises:
        ConfigError: for an unknown name.
        RunError: for a weights file that is missing, damaged or of another model.

    Examples:
        >>> tower, encoder = shape_tower("pointnet", "", frozen=True)
        >>> encoder.points, encoder.dim, tuple(tower(torch.rand(2, 100, 3)).shape)
        (1024, 1792, (2, 1792))
    """
    net = point_encoder(encoder, weights)
    return _tower(net, bool(weights), frozen), net


def tower_remarks(name: str, encoder: "PointEncoder", points: int) -> list[str]:
    """Lines for the user about a loaded shape tower.

    Args:
        name: of the encoder.
        encoder: the loaded encoder.
        points: of the clouds that it will get; 0 for its default.

    Raises:
        ConfigError: if the clouds have fewer points than it needs.

    Examples:
        >>> encoder = shape_tower("pointnet", "", frozen=True)[1]
        >>> encoder.ignored = 2  # as after loading a file with a classifier's last layer
        >>> tower_remarks("pointnet", encoder, 1024)
        ['pointnet: 2 tensors of its file outside the point tower ignored']
    """
    if points and points < encoder.least:
        raise ConfigError(f"model.points = {points}: {name} needs at least {encoder.least}")
    if not encoder.ignored:
        return []
    count = f"{encoder.ignored} tensor{'s' if encoder.ignored > 1 else ''}"
    return [f"{name}: {count} of its file outside the point tower ignored"]


def _tower(net: nn.Module, loaded: bool, frozen: bool) -> nn.Module:
    """Wrap an encoder; with random weights, batch norms have no statistics worth keeping and must learn theirs."""
    if frozen:
        return Frozen(net)
    return Tuned(net) if loaded else net
