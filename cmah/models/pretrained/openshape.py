"""OpenShape (Liu et al. 2023, arXiv 2305.10764): its point patch transformer, PPAT, in every published scaling.

The paper calls it Point-BERT; it is another network than that of Yu et al. Sizes are those of the authors'
models/ppat.py (Colin97/OpenShape_code) and of the released L-14 and B-32 models.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cmah import point_ops
from cmah.models.pretrained.foreign_weights import Layout
from cmah.models.pretrained.groups import by_cloud
from cmah.models.pretrained.point_backbone import PointEncoder, with_colours
from cmah.models.tokenizers import PointNorm
from cmah.models.transformer_block import Block


@dataclass(frozen=True)
class Scaling:
    """Sizes of a PPAT.

    Attributes:
        width: of a token.
        depth: transformer blocks; each head is 64 wide.
        hidden: width of their MLPs.
        patch_width: of a patch's features.
        patches: of a cloud.
        radius: of a patch, for clouds whose largest norm is 1.
        samples: points of a patch.

    Examples:
        >>> SCALINGS["s4"].width, SCALINGS["s4"].patches, SCALINGS["s4"].radius
        (512, 384, 0.2)
    """

    width: int
    depth: int
    hidden: int
    patch_width: int
    patches: int
    radius: float
    samples: int


SCALINGS = {
    "s1": Scaling(256, 6, 1024, 96, 64, 0.4, 256),
    "s2": Scaling(512, 6, 1024, 128, 64, 0.4, 256),
    "s3": Scaling(512, 12, 1024, 128, 128, 0.35, 128),
    "s4": Scaling(512, 12, 1536, 256, 384, 0.2, 64),
    "s5": Scaling(768, 12, 2304, 256, 512, 0.2, 64),
    "s6": Scaling(768, 24, 3072, 256, 512, 0.2, 64),
}
RELEASED = Scaling(512, 12, 1024, 128, 64, 0.4, 256)  # L-14 and B-32


class OpenShape(PointEncoder):
    """PPAT: balls of points round farthest points → small PointNet → transformer → class token → joint space.

    Args:
        scaling: sizes.
        joint: width of the joint space; 0 leaves the class token as it is.
        z_up: whether it was trained with z as the axis of gravity. The authors then convert clouds with y up by
            exchanging the columns y and z, which mirrors the shape; the same is done here.

    Examples:
        >>> encoder = OpenShape(Scaling(64, 1, 128, 32, patches=8, radius=0.4, samples=16), joint=48)
        >>> tuple(encoder.eval()(torch.rand(2, 100, 3)).shape)
        (2, 48)
        >>> encoder.prepare(torch.tensor([[[1.0, 2.0, 3.0]]]))
        tensor([[[1.0000, 3.0000, 2.0000, 0.4000, 0.4000, 0.4000]]])
    """

    points = 10_000
    colours = True

    def __init__(self, scaling: Scaling, joint: int, *, z_up: bool = True) -> None:
        super().__init__()
        s = self.scaling = scaling
        self.dim, self.z_up = joint or s.width, z_up
        # the released B-32 file, which has no projection, has no "ppat." either
        self.layouts = _layouts(s.depth, "ppat." if joint else "")
        widths = (9, 64, 64, s.patch_width)  # position in the ball, position, colour
        layers: list[nn.Module] = []
        for i in range(3):
            layers += [
                nn.Linear(widths[i], widths[i + 1]),
                PointNorm(widths[i + 1]),
                nn.ReLU(inplace=True),
            ]
        self.patch = nn.Sequential(*layers)
        self.lift = nn.Sequential(nn.Linear(3 + s.patch_width, s.width), nn.LayerNorm(s.width))
        self.cls_token = nn.Parameter(torch.empty(s.width))
        nn.init.normal_(self.cls_token, std=0.02)
        self.blocks = nn.Sequential(
            *(Block(s.width, s.width // 64, s.hidden, qkv_bias=False) for _ in range(s.depth))
        )
        self.projection = nn.Linear(s.width, joint) if joint else None

    def prepare(self, points: Tensor) -> Tensor:
        """Clouds in cmah's convention [b, n, 3 or 6] to the axes and colours that it was trained on, [b, n, 6]."""
        points = with_colours(points)
        return points[..., [0, 2, 1, 3, 4, 5]] if self.z_up else points

    def tokens(self, points: Tensor) -> Tensor:
        """Points [b, n, 6] to one token per patch [b, patches, width]."""
        s, xyz = self.scaling, points[..., :3]
        # the authors start at a random point: point 0 makes it reproducible
        centres = point_ops.gather(xyz, point_ops.farthest_points(xyz, s.patches))
        ball = point_ops.ball_query(centres, xyz, s.radius, s.samples, inclusive=True)
        inside = point_ops.gather(points, ball)
        patches = torch.cat([inside[..., :3] - centres[:, :, None], inside], dim=-1)
        features = by_cloud(lambda part: self.patch(part).amax(dim=2), patches, self.training)
        return self.lift(torch.cat([centres, features], dim=-1))

    def embed(self, points: Tensor) -> Tensor:
        """Points [b, n, 6] (xyz in the official axes, rgb) to [b, dim]."""
        tokens = self.tokens(points)
        first = self.cls_token.expand(len(tokens), 1, -1)
        encoded = self.blocks(torch.cat([first, tokens], dim=1))[:, 0]
        return encoded if self.projection is None else self.projection(encoded)


def _layouts(depth: int, inner: str) -> tuple[Layout, ...]:
    """The authors' training files (state_dict, of a DistributedDataParallel), and the released L-14 and B-32."""
    names = {"projection.": "proj.", "cls_token": f"{inner}cls_token"}
    for i in range(3):
        names[f"patch.{3 * i}."] = f"{inner}sa.mlp_convs.{i}."
        names[f"patch.{3 * i + 1}."] = f"{inner}sa.mlp_bns.{i}."
    names |= {"lift.0.": f"{inner}lift.0.", "lift.1.": f"{inner}lift.2."}
    parts = {
        "norm1.": "0.norm.",
        "attn.qkv.": "0.fn.to_qkv.",
        "attn.proj.": "0.fn.to_out.0.",
        "norm2.": "1.norm.",
        "mlp.fc1.": "1.fn.net.0.",
        "mlp.fc2.": "1.fn.net.3.",
    }
    for i in range(depth):
        for name, official in parts.items():
            names[f"blocks.{i}.{name}"] = f"{inner}transformer.layers.{i}.{official}"
    tower = (*(inner + part for part in ("cls_token", "sa.", "lift.", "transformer.")), "proj.")
    prefixes = ("module.", "pc_encoder.", "module.pc_encoder.", "")
    return (Layout(("state_dict",), prefixes, tower, names),)


def build(name: str) -> OpenShape:
    """The encoder of a name, with random weights: openshape_s1 … s6 (1280 wide), _g14 (the size s4), _l14, _b32.

    Examples:
        >>> encoder = build("openshape_s1")
        >>> encoder.dim, encoder.scaling.depth
        (1280, 6)
    """
    size = name.removeprefix("openshape_")
    if size == "l14":
        return OpenShape(RELEASED, 768, z_up=False)
    if size == "b32":
        return OpenShape(RELEASED, 0, z_up=False)
    return OpenShape(SCALINGS["s4" if size == "g14" else size], 1280)
