"""Running a network in evaluation mode so that a row's output does not depend on the rows beside it."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from cmah.devices import full_float32
from cmah.errors import RunError

BATCH = 32  # the one internal batch size: another one may round differently
Inputs = TypeVar("Inputs", Tensor, Mapping[str, Tensor])


def in_batches(
    encode: Callable[[Inputs], Tensor],
    batches: Iterable[Inputs],
    device: torch.device,
    dim: int,
    net: torch.nn.Module,
    what: str = "outputs of the image encoder",
) -> np.ndarray:
    """Outputs of a network in evaluation mode, in full float32.

    Every batch is padded to `BATCH` rows, so that a row's output is the same to the bit whatever lies beside it.

    Args:
        encode: from a batch of `BATCH` rows on the device to its outputs [BATCH, dim].
        batches: tensors [b, ...], or named tensors with one b, of any size.
        device: to compute on.
        dim: width of the outputs.
        net: the network whose mode `encode` depends on; its mode is put back.
        what: what the error calls the outputs.

    Returns:
        float32 [n, dim].

    Raises:
        RunError: if an output is not finite.

    Examples:
        >>> net = torch.nn.Dropout()  # in evaluation mode it changes nothing
        >>> batches = [torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 4.0], [5.0, 6.0]])]
        >>> in_batches(net, batches, torch.device("cpu"), dim=2, net=net).tolist()
        [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    """
    parts = [np.zeros((0, dim), np.float32)]
    was_training = net.training
    net.eval()
    with torch.inference_mode(), full_float32():
        for batch in batches:
            for padded, rows in _padded(batch, device):
                parts.append(encode(padded)[:rows].float().cpu().numpy())
    net.train(was_training)
    values = np.concatenate(parts)
    if not np.isfinite(values).all():
        raise RunError(f"the {what} are not finite; the weights file may be corrupt")
    return values


def _padded(batch: Inputs, device: torch.device) -> Iterator[tuple[Inputs, int]]:
    """Pieces of `BATCH` rows on the device, the last one filled up with its first row, and how many rows count."""
    if isinstance(batch, Tensor):
        for rows in batch.split(BATCH):
            filled = torch.cat([rows, rows[:1].expand(BATCH - len(rows), *rows.shape[1:])])
            yield filled.to(device), len(rows)
        return
    pieces = [list(_padded(value, device)) for value in batch.values()]
    for piece in zip(*pieces, strict=True):
        yield dict(zip(batch, (filled for filled, _ in piece), strict=True)), piece[0][1]
