"""Regularisers of the relaxed codes: how close they are to ±1, and how evenly each bit is used."""

from torch import Tensor


def quantisation(relaxed: Tensor) -> Tensor:
    """How far relaxed codes are from ±1: the mean of (|u| - 1)².

    Args:
        relaxed: [b, bits] in [-1, 1].

    Returns:
        Scalar in [0, 1].

    Examples:
        >>> import torch
        >>> quantisation(torch.tensor([[1.0, -1.0, 0.5, 0.5]]))
        tensor(0.1250)
    """
    return (relaxed.abs() - 1).square().mean()


def bit_balance(relaxed: Tensor) -> Tensor:
    """How unevenly the bits are used over a batch: the mean over bits of the squared mean of each bit.

    Args:
        relaxed: [b, bits] in [-1, 1].

    Returns:
        Scalar in [0, 1]; 0 if each bit is +1 for half of the batch and -1 for the other.

    Examples:
        The first bit is the same in both codes, the second differs.

        >>> import torch
        >>> bit_balance(torch.tensor([[1.0, 1.0], [1.0, -1.0]]))
        tensor(0.5000)
    """
    return relaxed.mean(dim=0).square().mean()
