"""Terms that shape the relaxed codes themselves."""

from torch import Tensor


def quantisation(relaxed: Tensor) -> Tensor:
    """How far relaxed codes [b, bits] in [-1, 1] are from ±1: the mean of (|u| - 1)², in [0, 1]."""
    return (relaxed.abs() - 1).square().mean()


def bit_balance(relaxed: Tensor) -> Tensor:
    """How uneven the bits are over the batch [b, bits]: the mean over bits of the squared mean, in [0, 1]."""
    return relaxed.mean(dim=0).square().mean()
