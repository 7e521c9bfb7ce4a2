"""PointNet without its transforms."""

import torch
from torch import Tensor, nn

from cmah.models.pretrained.foreign_weights import Layout
from cmah.models.pretrained.point_backbone import PointEncoder


class PointNet(PointEncoder):
    """PointNet (Qi et al. 2017) without its transforms.

    Layers 3-64-64-64-128-1024 on each point, a maximum over the points, then 1024-512-256; the features are the
    maximum and both layers after it, joined: those two layers are closer to the categories.

    Attributes:
        dim: 1024 + 512 + 256.
        layer_widths: these.

    Examples:
        >>> tuple(PointNet().eval()(torch.rand(2, 100, 3)).shape)
        (2, 1792)
    """

    dim = 1792
    layer_widths = (1024, 512, 256)
    points = 1024
    # the published classifier's last layer is left out
    layouts = (Layout((), ("", "module."), ("feature_model.", "linear", "bn"), {}, unused=("linear3.",)),)

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 64, 64, 64, 128, 1024)
        self.feature_model = nn.Module()
        for i in range(5):
            self.feature_model.add_module(f"conv{i + 1}", nn.Conv1d(widths[i], widths[i + 1], 1))
            self.feature_model.add_module(f"bn{i + 1}", nn.BatchNorm1d(widths[i + 1]))
        self.linear1, self.bn1 = nn.Linear(1024, 512), nn.BatchNorm1d(512)
        self.linear2, self.bn2 = nn.Linear(512, 256), nn.BatchNorm1d(256)

    def embed(self, points: Tensor) -> Tensor:
        """Points [b, n, 3] to features [b, 1792]."""
        b, n, _ = points.shape
        x = points.reshape(b * n, 3)
        for i in range(1, 6):
            x = _conv_norm(x, getattr(self.feature_model, f"conv{i}"), getattr(self.feature_model, f"bn{i}"))
            x = x.relu() if i < 5 else x.reshape(b, n, -1).amax(dim=1).relu()  # relu and maximum commute
        first = _conv_norm(x, self.linear1, self.bn1).relu()
        second = _conv_norm(first, self.linear2, self.bn2).relu()
        return torch.cat([x, first, second], dim=1)


def _conv_norm(x: Tensor, layer: nn.Conv1d | nn.Linear, norm: nn.BatchNorm1d) -> Tensor:
    """A linear layer on rows [r, c], then batch norm; folded into one where the norm uses fixed statistics."""
    weight = layer.weight.flatten(1)
    if norm.training:
        return norm(nn.functional.linear(x, weight, layer.bias))
    assert norm.running_var is not None
    assert norm.running_mean is not None
    assert layer.bias is not None
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    bias = (layer.bias - norm.running_mean) * scale + norm.bias
    return nn.functional.linear(x, weight * scale[:, None], bias)


def build(name: str) -> PointNet:
    """The encoder, with random weights.

    Examples:
        >>> encoder = build("pointnet")
        >>> encoder.dim, encoder.points, sum(p.numel() for p in encoder.parameters())
        (1792, 1024, 809344)
    """
    return PointNet()
