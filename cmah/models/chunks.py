"""Large batches in little memory: an encoder keeps the activations of a few rows at a time.

The gradients of a contrast need the outputs of the whole batch, but not the activations that led to them: those of one
chunk of rows after the other are computed again when its gradient is. It is what GradCache does (Gao et al., "Scaling
deep contrastive learning batch size under memory limited setup", RepL4NLP 2021), by checkpoints of torch's autograd.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class ChunkedModule(nn.Module):
    """A module whose output rows each depend on their own input row alone, which may go through it in chunks.

    Attributes:
        chunk_size: rows whose activations are in memory at a time while gradients are recorded; 0 for all.

    Examples:
        >>> class Twice(ChunkedModule):
        ...     def forward(self, x):
        ...         return self.in_chunks(lambda part: 2 * part, x)
        >>> twice = Twice()
        >>> twice.chunk_size = 2
        >>> twice(torch.arange(5.0, requires_grad=True)).tolist()
        [0.0, 2.0, 4.0, 6.0, 8.0]
    """

    chunk_size = 0

    def in_chunks(self, encode: Callable[..., Tensor], *inputs: Tensor | None) -> Tensor:
        """Outputs [b, ...] of `encode` for inputs [b, ...], None for one that is not there.

        Values and gradients are those of `encode(*inputs)` up to rounding; what is drawn within it, such as dropout,
        is drawn for each chunk apart, and the same when it is computed again. Time: a second forward pass.
        """
        rows = next(len(x) for x in inputs if x is not None)
        if not 0 < self.chunk_size < rows or not torch.is_grad_enabled():
            return encode(*inputs)
        split = [x.split(self.chunk_size) if x is not None else None for x in inputs]
        count = -(-rows // self.chunk_size)
        parts = [
            checkpoint(encode, *(x[i] if x is not None else None for x in split), use_reentrant=False)
            for i in range(count)
        ]
        return torch.cat(parts)


def set_chunk_size(network: nn.Module, chunk_size: int) -> int:
    """Set the chunk size of all modules of a network that can go in chunks.

    Args:
        network: with any modules.
        chunk_size: rows, 0 or more; see `ChunkedModule`.

    Returns:
        How many such modules there are.

    Examples:
        >>> set_chunk_size(nn.Sequential(ChunkedModule(), nn.Linear(1, 1)), 16)
        1
    """
    modules = [module for module in network.modules() if isinstance(module, ChunkedModule)]
    for module in modules:
        module.chunk_size = chunk_size
    return len(modules)
