"""Groups of points as the published patch encoders cut them (Point-BERT, ULIP, Point-MAE)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cmah import point_ops
from cmah.models.tokenizers import PointTokenizer


class GroupTokenizer(PointTokenizer):
    """A `PointTokenizer` that samples as pointnet2_ops does, and keeps further columns of the points.

    The farthest-point sampling starts at point 0 and never picks points near the origin. Positions are relative to
    the group's centre; further columns (colours) stay as they are.

    Args:
        groups: number of groups per cloud.
        group_size: points per group.
        token_width: width of the token net's first half.
        width: of a token.
        channels: columns of the points; the first three are xyz.

    Examples:
        >>> tokenizer = GroupTokenizer(groups=4, group_size=8, token_width=16, width=24, channels=6)
        >>> centres, groups = tokenizer.group(torch.rand(1, 100, 6))
        >>> tuple(centres.shape), tuple(groups.shape), tuple(tokenizer(groups).shape)
        ((1, 4, 3), (1, 4, 8, 6), (1, 4, 24))
    """

    def __init__(
        self, groups: int, group_size: int, token_width: int, width: int, *, channels: int = 3
    ) -> None:
        super().__init__(groups, group_size, token_width, width)
        if channels != 3:
            self.first[0] = nn.Linear(channels, token_width // 2)

    def group(self, points: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Points [b, n, channels] to (centres [b, g, 3], groups [b, g, size, channels]); n >= size.

        The generator is not read: the groups of a cloud are always the same.
        """
        xyz, further = points[..., :3], points[..., 3:]
        centres, local, index = point_ops.group(xyz, self.groups, self.group_size, skip_origin=True)
        if further.shape[-1]:
            local = torch.cat([local, point_ops.gather(further, index)], dim=-1)
        return centres, local

    def forward(self, groups: Tensor) -> Tensor:
        """Groups [b, g, size, channels] to tokens [b, g, width]."""
        return by_cloud(super().forward, groups, self.training)


def by_cloud(net: Callable[[Tensor], Tensor], groups: Tensor, training: bool) -> Tensor:
    """Apply a net to groups [b, g, size, c], outside training one cloud at a time: its layers take 30 MB each.

    Examples:
        >>> groups = torch.tensor([[[[1.0], [3.0]]], [[[2.0], [0.0]]]])
        >>> with torch.inference_mode():
        ...     by_cloud(lambda part: part.amax(dim=2), groups, training=False).tolist()
        [[[3.0]], [[2.0]]]
    """
    if training or torch.is_grad_enabled():
        return net(groups)
    return torch.cat([net(cloud) for cloud in groups.split(1)])
