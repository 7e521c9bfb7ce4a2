"""Decoders: from visible tokens to the pixels of masked patches and the points of masked groups."""

import torch
from torch import Tensor, nn

from cmah.models.encoders import TokenEncoder
from cmah.models.tokenizers import position_mlp, sine_positions, take


class MaskedDecoder(nn.Module):
    """A small transformer over visible tokens and mask tokens, each with its position; it predicts the masked ones.

    Args:
        width: of the encoder's tokens.
        decoder_width: of the decoder's tokens; a linear map lies between where the two differ.
        depth: transformer blocks.
        heads: attention heads.
        out: how many numbers are predicted per masked token.
        qkv_bias: whether attention has biases (Point-MAE's has none).

    Examples:
        Five visible tokens and seven masked ones, of each of which three numbers are predicted.

        >>> decoder = MaskedDecoder(width=8, decoder_width=4, depth=1, heads=1, out=3, qkv_bias=True)
        >>> tuple(decoder.decode(torch.rand(2, 5, 8), torch.rand(2, 5, 4), torch.rand(2, 7, 4)).shape)
        (2, 7, 3)
    """

    def __init__(
        self, width: int, decoder_width: int, depth: int, heads: int, out: int, *, qkv_bias: bool
    ) -> None:
        super().__init__()
        self.enter = nn.Identity() if width == decoder_width else nn.Linear(width, decoder_width)
        self.mask_token = nn.Parameter(torch.zeros(decoder_width))
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        self.encoder = TokenEncoder(decoder_width, depth, heads, qkv_bias=qkv_bias)
        self.predict = nn.Linear(decoder_width, out)

    def decode(self, visible: Tensor, visible_positions: Tensor, masked_positions: Tensor) -> Tensor:
        """Predict the masked tokens.

        Args:
            visible: [b, v, width].
            visible_positions: [b, v, decoder_width].
            masked_positions: [b, m, decoder_width].

        Returns:
            [b, m, out].
        """
        masked = self.mask_token.expand(*masked_positions.shape[:2], -1)
        tokens = torch.cat([self.enter(visible), masked.to(visible.dtype)], dim=1)
        positions = torch.cat([visible_positions, masked_positions], dim=1)
        return self.predict(self.encoder(tokens, positions)[:, visible.shape[1] :])


class ImageDecoder(MaskedDecoder):
    """Pixels of masked patches: [b, m, patch · patch · 3].

    Examples:
        Patches 1 and 2 of four, from tokens of the others: 16 · 16 · 3 numbers each.

        >>> decoder = ImageDecoder(image_size=32, patch=16, width=8, decoder_width=8, depth=1, heads=2)
        >>> tuple(decoder(torch.rand(1, 2, 8), torch.tensor([[0, 3]]), torch.tensor([[1, 2]])).shape)
        (1, 2, 768)
    """

    def __init__(
        self, image_size: int, patch: int, width: int, decoder_width: int, depth: int, heads: int
    ) -> None:
        super().__init__(width, decoder_width, depth, heads, patch * patch * 3, qkv_bias=True)
        positions = sine_positions(image_size // patch, decoder_width)
        self.register_buffer("positions", positions, persistent=False)
        self.positions: Tensor

    def forward(self, visible: Tensor, visible_index: Tensor, masked_index: Tensor) -> Tensor:
        """Visible tokens [b, v, width] and the indices of visible and masked ones to pixels of masked patches."""
        positions = self.positions.expand(visible.shape[0], -1, -1)
        return self.decode(visible, take(positions, visible_index), take(positions, masked_index))


class PointDecoder(MaskedDecoder):
    """Coordinates of masked groups, relative to their centres: [b, m, group_size, 3] (Point-MAE).

    Examples:
        >>> decoder = PointDecoder(group_size=4, width=8, decoder_width=8, depth=1, heads=2)
        >>> tuple(decoder(torch.rand(1, 2, 8), torch.rand(1, 2, 3), torch.rand(1, 5, 3)).shape)
        (1, 5, 4, 3)
    """

    def __init__(self, group_size: int, width: int, decoder_width: int, depth: int, heads: int) -> None:
        super().__init__(width, decoder_width, depth, heads, group_size * 3, qkv_bias=False)
        self.group_size = group_size
        self.position = position_mlp(decoder_width)

    def forward(self, visible: Tensor, visible_centres: Tensor, masked_centres: Tensor) -> Tensor:
        """Visible tokens [b, v, width], centres [b, v, 3] and [b, m, 3] to points [b, m, group_size, 3]."""
        points = self.decode(visible, self.position(visible_centres), self.position(masked_centres))
        return points.reshape(*points.shape[:2], self.group_size, 3)
