"""Image encoders of timm in two parts, before and after a stage, for pictures of any number of channels."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cmah.errors import ConfigError
from cmah.models.backbones import Tuned
from cmah.models.pretrained.backbone_spec import BackboneSpec
from cmah.models.pretrained.image_towers import ImageBackbone

Channels = Literal["colour", "colour and mask", "grey", "four grey"]
COUNTS = {"colour": 3, "colour and mask": 4, "grey": 1, "four grey": 4}
REDUCTIONS = (4, 8, 16)  # pixels per step of the feature maps after the stages 1, 2 and 3
GREY = (0.299, 0.587, 0.114)  # Rec. 601 luma


class StagedBackbone(nn.Module):
    """A convolutional image encoder of timm, cut behind a stage.

    The parts of the network must run one after the other, as those of ResNets, MobileNets, EfficientNets and ConvNeXts
    do; a comparison with the whole network makes sure of it.

    Published weights are of RGB pictures. In the first layer a mask begins with weights of 0, and a grey channel with
    the sum of the weights of the three colours, divided by the number of grey channels: at the start four grey
    channels are seen as their mean. (In the published method these layers begin with random weights.)

    Attributes:
        channels: what the pictures consist of.
        dim: width of the features that `late` gives.
        cut_dim: channels of the feature maps that `early` gives.
        default_size: pixels of the pictures to pass to it.

    Examples:
        >>> net = StagedBackbone(BackboneSpec.parse("timm:test_resnet"), channels="colour and mask")
        >>> maps = net.early(torch.rand(2, 4, 64, 64))
        >>> tuple(maps.shape), tuple(net.late(maps).shape)  # stage 2: 8 pixels per step
        ((2, 48, 8, 8), (2, 96))
    """

    def __init__(
        self,
        spec: BackboneSpec,
        image_size: int = 0,
        channels: Channels = "colour",
        stage: int = 2,
        weights: str = "",
    ) -> None:
        """Make the network.

        Args:
            spec: its name and options.
            image_size: pixels of the pictures that it will get; 0 takes the network's.
            channels: what the pictures consist of.
            stage: it is cut behind the stage 1, 2 or 3, whose maps have 4, 8 or 16 pixels per step.
            weights: published weights, a file or download:TAG; "" for random ones.

        Raises:
            ConfigError: for an encoder that is not of timm or has no such stages, its option `stages`, an unknown tag.
            RunError: for a weights file that is missing, damaged or of another model.
        """
        super().__init__()
        if "stages" in spec.options:
            raise ConfigError(
                f"encoder {spec}: stages={spec.options['stages']} is for encoders that are not cut behind a stage; "
                "leave it out"
            )
        whole = ImageBackbone(spec, image_size)
        if weights:
            whole.load(weights)
        self.channels, self.dim, self.default_size = channels, whole.dim, whole.default_size
        if spec.family != "timm" or whole.size is not None:
            raise ConfigError(
                f"encoder {spec}: expected a convolutional network of timm, such as timm:resnet50"
            )
        parts, behind = _parts(whole.net, REDUCTIONS[stage - 1])
        if not behind or not _same(whole.net, parts):
            raise ConfigError(
                f"encoder {spec}: cannot be cut behind a stage (expected a network such as timm:resnet50 or "
                "timm:mobilenetv2_100)"
            )
        self.first, self.last = nn.Sequential(*parts[:behind]), nn.Sequential(*parts[behind:])
        mean, std = whole.mean.flatten().tolist(), whole.std.flatten().tolist()
        grey_mean, grey_std = sum(mean) / 3, sum(std) / 3
        per_channel = {
            "colour": (mean, std),
            "colour and mask": ([*mean, 0.5], [*std, 0.5]),
            "grey": ([grey_mean], [grey_std]),
            "four grey": ([grey_mean] * 4, [grey_std] * 4),
        }[channels]
        for name, values in zip(("mean", "std"), per_channel, strict=True):
            self.register_buffer(name, torch.tensor(values).reshape(-1, 1, 1), persistent=False)
        _take_channels(self.first, channels)
        self.to(memory_format=torch.channels_last)  # on CPUs too, convolutions are faster so
        with torch.no_grad():
            self.cut_dim: int = self.early(torch.zeros(1, COUNTS[channels], 64, 64)).shape[1]

    mean: Tensor
    std: Tensor

    def early(self, pictures: Tensor) -> Tensor:
        """Pictures float [b, channels, s, s] in 0..1 to feature maps [b, cut_dim, h, w]."""
        pixels = (pictures - self.mean) / self.std
        maps: Tensor = self.first(pixels.contiguous(memory_format=torch.channels_last))
        return maps

    def late(self, maps: Tensor) -> Tensor:
        """Feature maps [b, cut_dim, h, w] to features [b, dim]."""
        features: Tensor = self.last(maps)
        return features

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures float [b, channels, s, s] in 0..1 to features [b, dim]."""
        return self.late(self.early(pictures))


def staged_tower(encoder: str, weights: str, image_size: int, channels: Channels, stage: int) -> nn.Module:
    """A `StagedBackbone` to be trained: with loaded weights it is fine-tuned (`Tuned`), else trained from random ones.

    Args:
        encoder: timm:NAME.
        weights: a file or download:TAG; "" for random weights.
        image_size: pixels of the pictures; 0 takes the encoder's size.
        channels: what the pictures consist of.
        stage: where it is cut.

    Examples:
        >>> type(staged_tower("timm:test_resnet", "", 64, "grey", 2)).__name__
        'StagedBackbone'
    """
    net = StagedBackbone(BackboneSpec.parse(encoder), image_size, channels, stage, weights)
    return Tuned(net) if weights else net


def grey(pictures: Tensor) -> Tensor:
    """Colour pictures [..., 3, h, w] to grey ones [..., h, w].

    Examples:
        >>> grey(torch.ones(2, 3, 1, 1)).flatten().tolist()
        [1.0, 1.0]
    """
    weights = torch.tensor(GREY, dtype=pictures.dtype, device=pictures.device)
    return torch.einsum("...chw,c->...hw", pictures, weights)


def _parts(net: nn.Module, reduction: int) -> tuple[list[nn.Module], int]:
    """The parts of a network in their order, and how many come before the cut; 0 where there is no such stage."""
    listed: Any = getattr(net, "feature_info", [])
    entries: Sequence[dict[str, Any]] = getattr(listed, "info", listed)
    ends = [entry["module"] for entry in entries if entry.get("reduction") == reduction]
    named = list(_named_parts(net))
    names = [name for name, _ in named]
    behind = names.index(ends[0]) + 1 if ends and ends[0] in names else 0
    return [part for _, part in named], behind


def _named_parts(net: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The children of a network; of those that hold its stages, the stages."""
    for name, child in net.named_children():
        if name in ("blocks", "stages") and isinstance(child, nn.Sequential):
            yield from ((f"{name}.{number}", stage) for number, stage in child.named_children())
        else:
            yield name, child


def _same(net: nn.Module, parts: Sequence[nn.Module]) -> bool:
    """Whether a network does nothing but run its parts one after the other."""
    pictures = torch.linspace(-1, 1, 3 * 64 * 64).reshape(1, 3, 64, 64)
    mode = net.training
    net.eval()
    try:
        with torch.no_grad():
            whole, each = net(pictures), pictures
            for part in parts:
                each = part(each)
    except (RuntimeError, TypeError, ValueError):  # parts that do not fit on each other
        return False
    finally:
        net.train(mode)
    return whole.shape == each.shape and torch.allclose(whole, each, atol=1e-5)


def _take_channels(first: nn.Module, channels: Channels) -> None:
    """Make the first convolution of a network for RGB one for other channels."""
    if channels == "colour":
        return
    convolution = next(module for module in first.modules() if isinstance(module, nn.Conv2d))
    weight, count = convolution.weight.detach(), COUNTS[channels]
    if channels == "colour and mask":
        new = torch.cat([weight, torch.zeros_like(weight[:, :1])], dim=1)
    else:
        new = weight.sum(dim=1, keepdim=True).repeat(1, count, 1, 1) / count
    convolution.weight = nn.Parameter(new)
    convolution.in_channels = count
