"""Point-BERT (Yu et al. 2022, arXiv 2111.14819), and the aligned encoders that ULIP and ULIP-2 derive from it.

A class token and the tokens of point groups go through a plain transformer, positions added before every block;
the features are the class token beside the maximum of the others. ULIP (Xue et al. 2023, arXiv 2212.05171) and
ULIP-2 (arXiv 2305.08275) map them into the joint space of an image and text model.
"""

import torch
from torch import Tensor, nn

from cmah.models.encoders import TokenEncoder
from cmah.models.pretrained.foreign_weights import Layout
from cmah.models.pretrained.groups import GroupTokenizer
from cmah.models.pretrained.point_backbone import PointEncoder
from cmah.models.tokenizers import position_mlp

WIDTH = 384  # of a token
OFFICIAL = {
    "cls_token": "cls_token",
    "cls_position": "cls_pos",
    "tokenizer.first.": "encoder.first_conv.",
    "tokenizer.second.": "encoder.second_conv.",
    "reduce.": "reduce_dim.",
    "position.": "pos_embed.",
    "encoder.blocks.": "blocks.blocks.",
    "encoder.norm.": "norm.",
}  # name here → official name

# a fine-tuned classifier, whose last layers lie outside, and the pre-training model, whose query network it is:
# its momentum copy (transformer_k), image vocabulary and heads lie outside too
BACKBONE = Layout(
    ("base_model",),
    tuple(module + part for part in ("", "transformer_q.", "base_model.") for module in ("module.", "")),
    tuple(OFFICIAL.values()),
    OFFICIAL,
)
ULIP = Layout(
    ("state_dict",),
    ("module.", ""),
    ("point_encoder.", "pc_projection"),
    {name: f"point_encoder.{official}" for name, official in OFFICIAL.items()}
    | {"projection": "pc_projection"},
)


class PointBert(PointEncoder):
    """Groups of 32 points → tokens → transformer of width 384 → class token and maximum, 768 → joint space.

    Args:
        groups: tokens of a cloud.
        depth: transformer blocks.
        points: of the clouds that it was trained on.
        colours: whether the token net sees colours beside positions.
        joint: width of the joint space; 0 leaves the 768 features as they are.

    Examples:
        >>> encoder = PointBert(groups=4, depth=1, points=64, joint=48)
        >>> tuple(encoder.eval()(torch.rand(2, 64, 3)).shape)
        (2, 48)
    """

    def __init__(
        self, groups: int, depth: int, points: int, *, colours: bool = False, joint: int = 0
    ) -> None:
        super().__init__()
        self.points, self.colours, self.dim = points, colours, joint or 2 * WIDTH
        self.layouts = (ULIP if joint else BACKBONE,)
        self.tokenizer = GroupTokenizer(groups, 32, 256, 256, channels=6 if colours else 3)
        self.least = self.tokenizer.group_size
        self.reduce = nn.Linear(256, WIDTH)
        self.cls_token = nn.Parameter(torch.empty(1, 1, WIDTH))
        self.cls_position = nn.Parameter(torch.empty(1, 1, WIDTH))
        for token in (self.cls_token, self.cls_position):
            nn.init.trunc_normal_(token, std=0.02)
        self.position = position_mlp(WIDTH)
        self.encoder = TokenEncoder(WIDTH, depth, 6, qkv_bias=False)
        self.register_parameter("projection", None)
        if joint:
            self.projection = nn.Parameter(torch.randn(2 * WIDTH, joint) / (2 * WIDTH) ** 0.5)

    def features(self, points: Tensor) -> Tensor:
        """Points [b, n, 3 or 6] to the class token beside the maximum of the others, [b, 768]."""
        centres, groups = self.tokenizer.group(points)
        tokens, positions = self.reduce(self.tokenizer(groups)), self.position(centres)
        b = len(points)
        encoded = self.encoder(
            torch.cat([self.cls_token.expand(b, -1, -1), tokens], dim=1),
            torch.cat([self.cls_position.expand(b, -1, -1), positions], dim=1),
        )
        return torch.cat([encoded[:, 0], encoded[:, 1:].amax(dim=1)], dim=1)

    def embed(self, points: Tensor) -> Tensor:
        """Points [b, n, 3 or 6] to [b, dim]; the scale of logits in ULIP's files is not used."""
        features = self.features(points)
        return features if self.projection is None else features @ self.projection


def build(name: str) -> PointBert:
    """The encoder of a name: pointbert, ulip1_pointbert or ulip2; with random weights.

    Examples:
        >>> encoder = build("ulip1_pointbert")
        >>> encoder.dim, encoder.points, encoder.colours
        (512, 8192, False)
    """
    if name == "ulip1_pointbert":
        return PointBert(512, 12, 8192, joint=512)
    if name == "ulip2":
        return PointBert(512, 18, 10_000, colours=True, joint=1280)
    return PointBert(64, 12, 1024)
