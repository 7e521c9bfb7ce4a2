"""Transformer encoders over tokens of either modality, and the pooling that hash heads read."""

import torch
from torch import Tensor, nn

from cmah.models.chunks import ChunkedModule
from cmah.models.transformer_block import Block, DropPath


class TokenEncoder(ChunkedModule):
    """Pre-norm transformer blocks and a final norm.

    Position vectors may be added before every block, as Point-MAE does for point groups; images add theirs
    once, in the tokenizer.

    Examples:
        >>> tokens, positions = torch.rand(2, 5, 8), torch.rand(2, 5, 8)
        >>> tuple(TokenEncoder(width=8, depth=2, heads=2)(tokens, positions).shape)
        (2, 5, 8)
    """

    def __init__(
        self, width: int, depth: int, heads: int, *, drop_path: float = 0.0, qkv_bias: bool = True
    ) -> None:
        super().__init__()
        rates = [drop_path * i / max(1, depth - 1) for i in range(depth)]
        self.blocks = nn.ModuleList(Block(width, heads, qkv_bias=qkv_bias, drop_path=rate) for rate in rates)
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
        """Tokens [b, t, width] (and positions of the same shape) to encoded tokens [b, t, width]."""
        return self.in_chunks(self._encode, tokens, positions)

    def _encode(self, tokens: Tensor, positions: Tensor | None) -> Tensor:
        for block in self.blocks:
            tokens = block(tokens if positions is None else tokens + positions)
        return self.norm(tokens)


def pool(tokens: Tensor) -> Tensor:
    """Mean and maximum over the tokens: [b, t, width] → [b, 2 · width].

    It takes any number of tokens, so that full and masked streams share a hash head.

    Examples:
        >>> pool(torch.tensor([[[0.0, 2.0], [4.0, 0.0]]]))
        tensor([[2., 1., 4., 2.]])
    """
    return torch.cat([tokens.mean(dim=1), tokens.amax(dim=1)], dim=1)


class CrossBlock(nn.Module):
    """One direction of cross-attention: queries of one modality, keys and values of the other, then an MLP.

    Examples:
        Three tokens read five of the other modality.

        >>> tuple(CrossBlock(width=8, heads=2)(torch.rand(1, 3, 8), torch.rand(1, 5, 8)).shape)
        (1, 3, 8)
    """

    def __init__(self, width: int, heads: int, drop_path: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.norm_query, self.norm_context = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.project = nn.Linear(width, width)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: Tensor, context: Tensor) -> Tensor:
        """Tokens [b, t, width] attend to context [b, s, width]; returns [b, t, width]."""
        b, t, width = tokens.shape
        query = self.query(self.norm_query(tokens)).reshape(b, t, self.heads, -1).transpose(1, 2)
        key_value = self.key_value(self.norm_context(context)).reshape(
            b, -1, 2, self.heads, width // self.heads
        )
        key, value = key_value.permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.drop_path(self.project(mixed.transpose(1, 2).reshape(b, t, width)))
        return tokens + self.drop_path(self.mlp(self.norm_mlp(tokens)))
