"""Point-MAE (Pang et al. 2022, arXiv 2203.06604): the encoder of the masked autoencoder, without a mask."""

from torch import Tensor

from cmah.models.encoders import TokenEncoder, pool
from cmah.models.pretrained.foreign_weights import Layout
from cmah.models.pretrained.groups import GroupTokenizer
from cmah.models.pretrained.point_backbone import PointEncoder
from cmah.models.tokenizers import position_mlp


class PointMae(PointEncoder):
    """64 groups of 32 points → tokens → 12 transformer blocks of width 384 → mean and maximum, 768.

    The pre-trained autoencoder has no class token (fine-tuning adds an untrained one), and its authors state no
    features without one: mean beside maximum of the encoded tokens is our choice, as in CMAH's encoders.

    Examples:
        >>> import torch
        >>> tuple(PointMae().eval().encode(torch.rand(1, 100, 3)).shape)
        (1, 64, 384)
    """

    dim = 768
    points = 1024
    layouts = (
        Layout(
            ("base_model",),
            ("module.", ""),
            ("MAE_encoder.",),  # decoder and mask token lie outside
            {
                "tokenizer.first.": "MAE_encoder.encoder.first_conv.",
                "tokenizer.second.": "MAE_encoder.encoder.second_conv.",
                "position.": "MAE_encoder.pos_embed.",
                "encoder.blocks.": "MAE_encoder.blocks.blocks.",
                "encoder.norm.": "MAE_encoder.norm.",
            },
        ),
    )

    def __init__(self) -> None:
        super().__init__()
        self.tokenizer = GroupTokenizer(64, 32, 256, 384)
        self.least = self.tokenizer.group_size
        self.position = position_mlp(384)
        self.encoder = TokenEncoder(384, 12, 6, qkv_bias=False)

    def encode(self, points: Tensor) -> Tensor:
        """Points [b, n, 3] to the official encoder's tokens [b, 64, 384]."""
        centres, groups = self.tokenizer.group(points)
        return self.encoder(self.tokenizer(groups), self.position(centres))

    def embed(self, points: Tensor) -> Tensor:
        """Points [b, n, 3] to [b, 768]."""
        return pool(self.encode(points))


def build(name: str) -> PointMae:
    """The encoder, with random weights.

    Examples:
        >>> encoder = build("pointmae")
        >>> encoder.dim, encoder.points, encoder.least
        (768, 1024, 32)
    """
    return PointMae()
