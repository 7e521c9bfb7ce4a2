"""Uni3D (Zhou et al. 2023, arXiv 2310.06773): point tokens read by an EVA vision transformer.

Layers, their order and the names of their weights follow the authors' models/point_encoder.py (baaivision/Uni3D).
"""

from typing import Any

import timm
import torch
from torch import Tensor, nn

from cmah.models.pretrained.foreign_weights import Layout
from cmah.models.pretrained.groups import GroupTokenizer, by_cloud
from cmah.models.pretrained.point_backbone import PointEncoder
from cmah.models.tokenizers import position_mlp, take

# size → the timm model whose blocks it has
BACKBONES = {
    "ti": "eva02_tiny_patch14_224",
    "s": "eva02_small_patch14_224",
    "b": "eva02_base_patch14_448",
    "l": "eva02_large_patch14_448",
    "g": "eva_giant_patch14_560",
}


class ColouredTokenizer(GroupTokenizer):
    """512 groups of 64 neighbours to tokens of width 512, from positions relative to the centre and colours.

    Examples:
        >>> tuple(ColouredTokenizer()(torch.rand(1, 4, 64, 6)).shape)
        (1, 4, 512)
    """

    def __init__(self) -> None:
        super().__init__(512, 64, 256, 512, channels=6)

    def forward(self, groups: Tensor) -> Tensor:
        """Groups [b, g, size, 6] to tokens [b, g, 512]."""
        return by_cloud(self._tokens, groups, self.training)

    def _tokens(self, groups: Tensor) -> Tensor:
        """The tokens that the parent computes, with a quarter less work.

        The group's maximum is the same for all its points, so the half of the layer that reads it runs once per group.
        """
        local: Tensor = self.first(groups)
        layer, *rest = self.second
        assert isinstance(layer, nn.Linear)
        of_largest, of_local = layer.weight.split(local.shape[-1], dim=1)
        largest = nn.functional.linear(local.amax(dim=2, keepdim=True), of_largest, layer.bias)
        x = nn.functional.linear(local, of_local) + largest
        for module in rest:
            x = module(x)
        return x.amax(dim=2)


class Uni3D(PointEncoder):
    """Uni3D: 512 × 64 groups of coloured points → tokens → EVA blocks → class token → 1024.

    Positions (a class position and an MLP of each centre) are added once, before the blocks; the blocks see no
    rotary positions. The stem, positions and head of the image model, which published files still carry, are
    not used.

    Args:
        size: ti, s, b, l or g.
        patch_dropout: part of the point tokens that is left out in training (the authors train with 0.5), in
            [0, 1); in evaluation all are kept. The authors' module drops also in evaluation, unless it is built
            with 0, as their evaluation does.
        drop_path: stochastic depth in training (the authors use 0.2).

    Examples:
        >>> encoder = Uni3D("ti", patch_dropout=0.5).eval()
        >>> with torch.inference_mode():
        ...     tuple(encoder(torch.rand(1, 100, 6)).shape)
        (1, 1024)
    """

    dim = 1024
    points = 10_000
    colours = True
    least = 64
    layouts = (
        Layout(
            ("module",),  # of DeepSpeed
            ("", "module."),
            ("point_encoder.",),
            {
                "": "point_encoder.",
                "tokens.first.": "point_encoder.encoder.first_conv.",
                "tokens.second.": "point_encoder.encoder.second_conv.",
                "blocks.": "point_encoder.visual.blocks.",
                "fc_norm.": "point_encoder.visual.fc_norm.",
            },
            unused=tuple(
                f"point_encoder.visual.{name}" for name in ("cls_token", "pos_embed", "patch_embed.", "head.")
            ),
        ),
    )

    def __init__(self, size: str, *, patch_dropout: float = 0.0, drop_path: float = 0.0) -> None:
        super().__init__()
        if not 0 <= patch_dropout < 1:
            raise ValueError(f"expected patch_dropout in [0, 1), got {patch_dropout}")
        self.patch_dropout = patch_dropout
        eva: Any = timm.create_model(
            BACKBONES[size], pretrained=False, num_classes=0, drop_path_rate=drop_path
        )
        width: int = eva.embed_dim
        self.tokens = ColouredTokenizer()
        self.encoder2trans = nn.Linear(512, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.cls_pos = nn.Parameter(torch.randn(1, 1, width))
        self.pos_embed = position_mlp(width)
        self.blocks: nn.ModuleList = eva.blocks
        self.fc_norm: nn.LayerNorm = eva.fc_norm
        self.trans2embed = nn.Linear(width, self.dim)

    def embed(self, points: Tensor) -> Tensor:
        """Points [b, n, 6] (y up, mean at the origin, largest norm 1; rgb in 0..1) to [b, 1024]; n of at least 64."""
        centres, groups = self.tokens.group(points)
        tokens = self.encoder2trans(self.tokens(groups)) + self.pos_embed(centres)
        if self.training and self.patch_dropout:
            tokens = take(tokens, self._kept(len(tokens), tokens.shape[1]))
        first = (self.cls_token + self.cls_pos).expand(len(tokens), -1, -1)
        x = torch.cat([first, tokens], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.trans2embed(self.fc_norm(x[:, 0]))

    def _kept(self, b: int, tokens: int) -> Tensor:
        """A random choice of the tokens of each cloud, int64 [b, kept]; from the CPU's global random state."""
        return torch.rand(b, tokens).topk(max(1, int(tokens * (1 - self.patch_dropout))), dim=1).indices


def build(name: str) -> Uni3D:
    """The encoder of a name such as uni3d_b, with random weights.

    Examples:
        >>> encoder = build("uni3d_ti")
        >>> encoder.dim, len(encoder.blocks), encoder.cls_token.shape[-1]
        (1024, 12, 192)
    """
    return Uni3D(name.removeprefix("uni3d_"))
