"""Hash heads: from pooled features to real outputs whose signs are the code."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from cmah.codes.binary_codes import MAX_BITS
from cmah.errors import ConfigError

Relaxation = Literal["tanh", "layernorm_ste"]
KINDS = ("tanh", "layernorm_ste")


class HashHead(nn.Module):
    """An optional hidden layer, a linear map to `bits` outputs, and a training-time relaxation of the sign.

    `forward` returns the real outputs, whose signs are exported (sign(0) is +1). `relax` returns the values that the
    losses read: "tanh" squashes (HashNet, DJSRH and most of the field); "layernorm_ste" normalises the outputs and
    takes their sign with a straight-through gradient inside [-1, 1] (ConMH, AAAI 2023, up to its hard sigmoid's
    slope). Which of them the CMAH paper uses is not known.

    Args:
        width: of the features.
        bits: number of outputs, the longest code length.
        hidden: width of the hidden layer, 0 for none.
        kind: the relaxation, "tanh" or "layernorm_ste".
        dropout: in training, on the hidden layer, or on the features if there is no hidden layer.
        standardise: batch norms in place of layer norms, and one more on the outputs, so that each bit is 1 for about
            half of a batch. Features of random weights are much alike, and the contrast gets rid of what they share
            only slowly.

    Raises:
        ValueError: for another relaxation.

    Examples:
        >>> tuple(HashHead(width=6, bits=4)(torch.rand(3, 6)).shape)
        (3, 4)
        >>> outputs = torch.tensor([[0.5, -2.0]])
        >>> HashHead(6, 2).relax(outputs), HashHead(6, 2, kind="layernorm_ste").relax(outputs)
        (tensor([[ 0.4621, -0.9640]]), tensor([[ 1., -1.]]))
        >>> outputs = HashHead(6, 4, hidden=8, standardise=True)(torch.rand(16, 6))
        >>> bool(outputs.mean(dim=0).abs().max() < 1e-5)
        True
    """

    def __init__(
        self,
        width: int,
        bits: int,
        hidden: int = 0,
        kind: Relaxation = "tanh",
        dropout: float = 0.0,
        *,
        standardise: bool = False,
    ) -> None:
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"hash head {kind!r}; expected one of {', '.join(KINDS)}")
        self.kind = kind
        layers: list[nn.Module] = [] if standardise else [nn.LayerNorm(width)]
        if hidden:
            norm = nn.BatchNorm1d(hidden) if standardise else nn.LayerNorm(hidden)
            layers += [nn.Linear(width, hidden), norm, nn.GELU(), nn.Dropout(dropout)]
        else:
            layers.append(nn.Dropout(dropout))
        layers.append(nn.Linear(hidden or width, bits))
        if standardise:
            layers.append(nn.BatchNorm1d(bits, affine=False))
        if kind == "layernorm_ste":
            layers.append(nn.LayerNorm(bits))
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """Features [b, width] to real outputs [b, bits]."""
        return self.layers(features)

    def relax(self, outputs: Tensor) -> Tensor:
        """Real outputs [b, bits] to values in [-1, 1] with a useful gradient."""
        if self.kind == "tanh":
            return torch.tanh(outputs)
        # straight-through: the value is the sign, the gradient that of the clipped output
        clipped = outputs.clamp(-1, 1)
        return clipped + (signs(outputs) - clipped).detach()


def signs(outputs: Tensor) -> Tensor:
    """The code: +1 where the output is ≥ 0, else -1, in the type of `outputs`.

    Examples:
        >>> signs(torch.tensor([0.3, 0.0, -2.0]))
        tensor([ 1.,  1., -1.])
    """
    return torch.where(outputs >= 0, 1.0, -1.0).to(outputs.dtype)


def check_lengths(bits: Sequence[int]) -> None:
    """Check code lengths.

    Raises:
        ConfigError: unless they ascend, each from 1 to 4,096 bits.

    Examples:
        >>> check_lengths([16, 32, 64])
        >>> check_lengths([16, 16])
        Traceback (most recent call last):
        cmah.errors.ConfigError: model.bits = [16, 16]: expected ascending lengths from 1 to 4096
    """
    if not bits or any(not 1 <= b <= MAX_BITS for b in bits) or list(bits) != sorted(set(bits)):
        raise ConfigError(f"model.bits = {list(bits)}: expected ascending lengths from 1 to {MAX_BITS}")
