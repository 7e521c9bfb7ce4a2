"""Which batches the running statistics of batch norms are learned from."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def uncounted(*modules: nn.Module) -> Iterator[None]:
    """Within it, batch norms standardise by the batch as ever, but their running statistics stay as they are.

    For batches that evaluation will never see, such as masked ones.

    Args:
        modules: with whatever batch norms they hold.

    Examples:
        >>> import torch
        >>> norm = nn.BatchNorm1d(1)
        >>> with uncounted(norm):
        ...     norm(torch.tensor([[1.0], [3.0]])).round().tolist(), norm.running_mean.item()
        ([[-1.0], [1.0]], 0.0)
    """
    norms = [norm for module in modules for norm in module.modules() if isinstance(norm, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
