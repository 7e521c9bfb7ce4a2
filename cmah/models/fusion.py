"""The multi-modal fusion block: self-attention within a modality, cross-attention between the two."""

from torch import Tensor, nn

from cmah.models.encoders import CrossBlock
from cmah.models.transformer_block import Block

EPS = 1e-6  # of the norms of self-attention, timm's default, which runs have been trained with


class FusionBlock(nn.Module):
    """Visible tokens of an image and of its shape, informed by one another.

    Each layer: self-attention within each modality, then cross-attention in both directions at once (each
    modality reads the other's tokens as they stood before the exchange). Reconstruction: the paper's figure
    names self- and cross-attention; their order and number are not known.

    Examples:
        >>> import torch
        >>> block = FusionBlock(width=8, depth=1, heads=2)
        >>> image, shape = block(torch.rand(1, 4, 8), torch.rand(1, 6, 8))
        >>> tuple(image.shape), tuple(shape.shape)
        ((1, 4, 8), (1, 6, 8))
    """

    def __init__(self, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.self_image = nn.ModuleList(Block(width, heads, qkv_bias=True, eps=EPS) for _ in range(depth))
        self.self_shape = nn.ModuleList(Block(width, heads, qkv_bias=True, eps=EPS) for _ in range(depth))
        self.cross_image = nn.ModuleList(CrossBlock(width, heads) for _ in range(depth))
        self.cross_shape = nn.ModuleList(CrossBlock(width, heads) for _ in range(depth))
        self.norm_image, self.norm_shape = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, image: Tensor, shape: Tensor) -> tuple[Tensor, Tensor]:
        """Image tokens [b, v, width] and shape tokens [b, w, width], fused, in the same shapes."""
        layers = zip(self.self_image, self.self_shape, self.cross_image, self.cross_shape, strict=True)
        for self_image, self_shape, cross_image, cross_shape in layers:
            image, shape = self_image(image), self_shape(shape)
            image, shape = cross_image(image, shape), cross_shape(shape, image)
        return self.norm_image(image), self.norm_shape(shape)
