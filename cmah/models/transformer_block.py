"""A pre-norm transformer block, as timm's of the same parameter names, without what importing timm costs.

Importing timm takes as long as importing torch, since it draws in torchvision and torch's compiler. Parameters have
timm's names and are made in its order, and the sums are the same to the bit: runs that were trained with timm's block
load and go on as before.
"""

from torch import Tensor, nn


class DropPath(nn.Module):
    """Stochastic depth (Huang et al. 2016): in training, whole items of a batch are left out of a branch.

    What is kept is scaled so that its expectation stays.

    Examples:
        >>> import torch
        >>> x = torch.ones(1, 2)
        >>> DropPath(0.5).eval()(x)
        tensor([[1., 1.]])
        >>> DropPath(0.5)(x).tolist() in ([[0.0, 0.0]], [[2.0, 2.0]])
        True
    """

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Items [b, ...], some of them zero in training."""
        if not self.rate or not self.training:
            return x
        keep = 1 - self.rate
        kept = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(keep)
        return x * (kept.div_(keep) if keep > 0 else kept)


class Attention(nn.Module):
    """Multi-head self-attention with one projection for queries, keys and values.

    Examples:
        >>> import torch
        >>> tuple(Attention(width=8, heads=2, qkv_bias=True)(torch.rand(2, 5, 8)).shape)
        (2, 5, 8)
    """

    def __init__(self, width: int, heads: int, *, qkv_bias: bool) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width}: expected a multiple of the {heads} attention heads")
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [b, t, width] to tokens of the same shape."""
        b, t, width = x.shape
        qkv = self.qkv(x).reshape(b, t, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).reshape(b, t, width))


class Mlp(nn.Module):
    """Two linear layers with a GELU between them.

    Examples:
        >>> import torch
        >>> tuple(Mlp(width=8, hidden=32)(torch.rand(2, 5, 8)).shape)
        (2, 5, 8)
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [..., width] to tokens of the same shape."""
        return self.fc2(self.act(self.fc1(x)))


class Block(nn.Module):
    """Self-attention and an MLP, each normed before and added to what it read.

    Args:
        width: of a token.
        heads: of the attention.
        hidden: width within the MLP; None for four times that of a token.
        qkv_bias: whether queries, keys and values have biases.
        drop_path: rate of `DropPath` on both branches.
        eps: of the layer norms.

    Raises:
        ValueError: if the width is no multiple of the heads.

    Examples:
        >>> import torch
        >>> tuple(Block(width=8, heads=2)(torch.rand(2, 5, 8)).shape)
        (2, 5, 8)
    """

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int | None = None,
        *,
        qkv_bias: bool = False,
        drop_path: float = 0.0,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attn = Attention(width, heads, qkv_bias=qkv_bias)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = Mlp(width, hidden or 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [b, t, width] to tokens of the same shape."""
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))
