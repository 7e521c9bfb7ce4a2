"""PointNeXt-S (Qian et al. 2022, arXiv 2206.04670), as ULIP and as captionless training build it.

The layers, their order and the names of their weights follow openpoints (guochengqian/openpoints, models/backbone);
the classification head has no last layer, as in ULIP's copy of it.
"""

import torch
from torch import Tensor, nn

from cmah import point_ops
from cmah.models.pretrained.foreign_weights import Layout
from cmah.models.pretrained.point_backbone import PointEncoder
from cmah.models.tokenizers import PointNorm

NEIGHBOURS = 32
# Radius of the first level, in units of the normalised cloud; each level's is 1.5 times that before it
RADIUS = 0.15
WIDTHS = (32, 64, 128, 256, 512)  # of the stem and after each level


class Level(nn.Module):
    """A set abstraction with a residual connection: fewer points, each with the features of its neighbourhood.

    Args:
        width_in: width of the incoming features.
        width_out: width of the outgoing features.
        radius: neighbours are nearer than this; positions relative to the centre are divided by it.

    Examples:
        >>> level = Level(width_in=4, width_out=8, radius=0.5)
        >>> centres, x = level(torch.rand(1, 6, 3), torch.rand(1, 6, 4), chosen=torch.tensor([[0, 1, 2]]))
        >>> tuple(centres.shape), tuple(x.shape)
        ((1, 3, 3), (1, 3, 8))
    """

    def __init__(self, width_in: int, width_out: int, radius: float) -> None:
        super().__init__()
        self.radius = radius
        self.skip = nn.Linear(width_in, width_out)
        self.local = nn.Sequential(
            nn.Linear(width_in + 3, width_out // 2, bias=False),
            PointNorm(width_out // 2),
            nn.ReLU(inplace=True),
            nn.Linear(width_out // 2, width_out, bias=False),
            PointNorm(width_out),
        )

    def forward(self, xyz: Tensor, x: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Features [b, n, width_in] at points [b, n, 3] to centres [b, m, 3] and features [b, m, width_out].

        `chosen` int64 [b, m] says which points are the centres.
        """
        centres = point_ops.gather(xyz, chosen)
        neighbours = point_ops.ball_query(centres, xyz, self.radius, NEIGHBOURS)
        if torch.is_grad_enabled() or self.training:
            around = self._around(centres, xyz, x, neighbours)
        else:  # cloud by cloud: for one of 8,192 points, a layer of the first level takes 32 MB
            parts = zip(*(part.split(1) for part in (centres, xyz, x, neighbours)), strict=True)
            around = torch.cat([self._around(*part) for part in parts])
        return centres, (around + self.skip(point_ops.gather(x, chosen))).relu()

    def _around(self, centres: Tensor, xyz: Tensor, x: Tensor, neighbours: Tensor) -> Tensor:
        """Features [b, m, width_out] of neighbourhoods int64 [b, m, k]."""
        relative = (point_ops.gather(xyz, neighbours) - centres[:, :, None]) / self.radius
        return self.local(torch.cat([relative, point_ops.gather(x, neighbours)], dim=3)).amax(dim=2)


def _layer(width_in: int, width_out: int) -> tuple[nn.Module, ...]:
    return nn.Linear(width_in, width_out, bias=False), PointNorm(width_out), nn.ReLU(inplace=True)


def _names() -> dict[str, str]:
    """The official name of each of this module's parameters, by the beginnings of the names."""
    encoder, head = "point_encoder.encoder.encoder.", "point_encoder.prediction.head."
    names = {"stem.": f"{encoder}0.0.convs.0.0.", "pc_projection": "pc_projection"}
    pairs = (("0.", "0.0."), ("1.", "0.1."), ("3.", "1.0."), ("4.", "1.1."))
    for i in range(4):
        names[f"levels.{i}.skip."] = f"{encoder}{i + 1}.0.skipconv.0."
        names |= {
            f"levels.{i}.local.{here}": f"{encoder}{i + 1}.0.convs.{official}" for here, official in pairs
        }
    names |= {f"whole.{here}": f"{encoder}5.0.convs.{official}" for here, official in pairs}
    # the dropout between the head's layers has a number in both
    names |= {
        f"head.{here}": head + official for here, official in (*pairs[:2], ("4.", "2.0."), ("5.", "2.1."))
    }
    return names


class PointNeXt(PointEncoder):
    """PointNeXt-S: a stem, four levels that each halve the points, a maximum over the rest, two layers.

    The network trained without captions (Sbrolli and Matteucci 2024, arXiv 2406.02202); no weights were published.

    Attributes:
        channels: numbers per point: xyz, and in ULIP's the height.

    Examples:
        >>> tuple(PointNeXt().eval()(torch.rand(2, 100, 3)).shape)
        (2, 256)
    """

    dim = 256
    points = 2048
    channels = 3
    layouts = (Layout((), ("", "module."), ("point_encoder.",), _names()),)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(self.channels, WIDTHS[0])
        self.levels = nn.ModuleList(
            Level(WIDTHS[i], WIDTHS[i + 1], RADIUS * 1.5**i) for i in range(len(WIDTHS) - 1)
        )
        self.whole = nn.Sequential(*_layer(WIDTHS[-1] + 3, 512), *_layer(512, 512))
        self.head = nn.Sequential(*_layer(512, 512), nn.Dropout(0.5), *_layer(512, 256))

    def features(self, points: Tensor) -> Tensor:
        """Points [b, n, channels], xyz first, to features [b, 256].

        Points near the origin are sampled like all others.
        """
        xyz, x = points[..., :3], self.stem(points)
        chosen = point_ops.farthest_points(xyz, max(1, xyz.shape[1] // 2))
        for level in self.levels:
            xyz, x = level(xyz, x, chosen)
            # farthest points of points in farthest-point order are the first of them
            chosen = torch.arange(max(1, xyz.shape[1] // 2), device=xyz.device).expand(len(xyz), -1)
        return self.head(self.whole(torch.cat([xyz, x], dim=2)).amax(dim=1))

    def embed(self, points: Tensor) -> Tensor:
        """Points [b, n, 3] (mean at the origin, largest norm 1) to [b, 256]."""
        return self.features(points)


class UlipPointNeXt(PointNeXt):
    """ULIP's PointNeXt-S (Xue et al. 2023, arXiv 2212.05171): a fourth channel, and a projection to its joint space.

    Examples:
        >>> encoder = UlipPointNeXt().eval()
        >>> tuple(encoder(torch.rand(2, 100, 3)).shape)
        (2, 512)
        >>> encoder.prepare(torch.tensor([[[0.0, -1.0, 0.0], [0.0, 1.0, 0.0]]])).tolist()
        [[[0.0, -1.0, 0.0, 0.0], [0.0, 1.0, 0.0, 2.0]]]
    """

    dim = 512
    points = 8192
    channels = 4
    layouts = (Layout(("state_dict",), ("module.", ""), ("point_encoder.", "pc_projection"), _names()),)

    def __init__(self) -> None:
        super().__init__()
        self.pc_projection = nn.Parameter(torch.randn(256, self.dim) * self.dim**-0.5)

    def prepare(self, points: Tensor) -> Tensor:
        """Clouds in cmah's convention [b, n, 3 or 6] to [b, n, 4]: xyz and the height above the lowest point."""
        xyz = points[..., :3]
        return torch.cat([xyz, xyz[..., 1:2] - xyz[..., 1:2].amin(dim=1, keepdim=True)], dim=2)

    def embed(self, points: Tensor) -> Tensor:
        """Points [b, n, 4] (xyz, height) to [b, 512]."""
        return self.features(points) @ self.pc_projection


def build(name: str) -> PointNeXt:
    """The encoder of a name, with random weights.

    Examples:
        >>> build("pointnext").dim, build("ulip1_pointnext").dim
        (256, 512)
    """
    return UlipPointNeXt() if name == "ulip1_pointnext" else PointNeXt()
