"""What a frozen tower makes of random variants of images or clouds, computed once and kept in the cache.

In the cache folder (`cmah.cache`), `features/<key>/` belongs to one tower, one kind of device, one seed and everything
that is drawn from; its shards hold up to 4,096 rows each.
"""

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from cmah.cache import cache_folder, tell_not_kept
from cmah.errors import CmahError
from cmah.features.shards import Piece, Shards
from cmah.files import digest
from cmah.progress import progress

VERSION = 1
BATCH = 8  # small enough for a CPU's caches; the features do not depend on it
SHARD = 512  # batches
Draw = Callable[[int, np.random.Generator], np.ndarray]


def tower_features(
    tower: nn.Module,
    draw: Draw,
    count: int,
    copies: int,
    seed: tuple[int, ...],
    *,
    content: str,
    label: str,
) -> tuple[np.ndarray, dict[int, str]]:
    """Features of random variants of items, read from the cache as far as they are there.

    Where the cache cannot be written, they are computed all the same, and a line on standard error says so.

    Args:
        tower: frozen, from uint8 images scaled to [0, 1], float [b, 3, s, s], or from clouds float32 [b, n, 3].
        draw: from the number of an item and a generator to its variant. It raises CmahError if it cannot be read.
        count: number of items.
        copies: variants of each.
        seed: of the variants, with the numbers of item and copy.
        content: changes with whatever `draw` depends on.
        label: of the progress bar.

    Returns:
        features: float16 [count, copies, dim]; zeros where an item cannot be read.
        unreadable: why, by the number of each such item.

    Examples:
        >>> tower = nn.Sequential(nn.Flatten(), nn.Linear(6, 4))
        >>> draw = lambda item, rng: rng.random((2, 3), np.float32) + item
        >>> features, unreadable = tower_features(tower, draw, 5, 2, (0, 7), content="demo", label="features")
        >>> features.shape, features.dtype, unreadable
        ((5, 2, 4), dtype('float16'), {})
    """
    device = next(tower.parameters()).device
    key = digest([VERSION, tower_key(tower), device.type, count, copies, seed, content])
    folder = cache_folder() / "features" / key
    shards = Shards(folder, None, np.float16, unwritable=lambda error: tell_not_kept(str(error)))
    total, size = count * copies, SHARD * BATCH
    features: np.ndarray | None = None
    unreadable: dict[int, str] = {}
    with progress(range(total), label) as bar:
        for first in range(0, total, size):

            def compute(begin: int, first: int = first) -> Iterator[Piece]:
                bar.skip(first + begin - bar.n)
                for start in range(first + begin, min(first + size, total), BATCH):
                    numbers = range(start, min(start + BATCH, total))
                    rows, left_out = _batch(tower, draw, numbers, copies, seed, device)
                    bar.update(len(numbers))
                    yield (
                        rows,
                        [(number - first, reason) for number, reason in left_out],
                        numbers.stop - first,
                    )

            rows_here = min(size, total - first)
            shard = shards.get(f"rows-{first:09d}", rows_here, compute)
            bar.skip(first + rows_here - bar.n)
            rows, missing = shard.load(), dict(shard.left_out)
            if len(rows):
                if features is None:
                    features = np.zeros((total, rows.shape[1]), np.float16)
                features[[first + i for i in range(rows_here) if i not in missing]] = rows
            for i, reason in missing.items():
                unreadable.setdefault((first + i) // copies, reason)
    if features is None:
        features = np.zeros((total, 0), np.float16)
    return features.reshape(count, copies, -1) if total else features.reshape(0, copies, 0), unreadable


def _batch(
    tower: nn.Module,
    draw: Draw,
    numbers: range,
    copies: int,
    seed: tuple[int, ...],
    device: torch.device,
) -> tuple[np.ndarray, list[tuple[int, str]]]:
    """Features float16 [k, dim] of the variants that can be read, and (number, reason) of the others."""
    drawn: dict[int, np.ndarray] = {}
    left_out: list[tuple[int, str]] = []
    for number in numbers:
        item, copy = divmod(number, copies)
        try:
            drawn[number] = draw(item, np.random.default_rng([*seed, item, copy]))
        except CmahError as error:
            left_out.append((number, str(error)))
    if not drawn:
        return np.zeros((0, 0), np.float16), left_out
    # of full size, so that what cannot be read changes nothing for its neighbours
    filler = next(iter(drawn.values()))
    x = torch.from_numpy(np.stack([drawn.get(number, filler) for number in numbers])).to(device)
    with torch.inference_mode():
        rows = tower(x.float() / 255 if x.dtype == torch.uint8 else x).half().cpu().numpy()
    return rows[[number in drawn for number in numbers]], left_out


def tower_key(tower: nn.Module) -> str:
    """A hash that changes with a tower's weights and with the plain settings of all its modules.

    Examples:
        >>> layer = nn.Linear(2, 2)
        >>> before = tower_key(layer)
        >>> nn.init.zeros_(layer.weight) is layer.weight, tower_key(layer) == before
        (True, False)
    """
    value = hashlib.sha256()
    for name, module in tower.named_modules():
        plain = {key: each for key, each in vars(module).items() if key != "training" and _is_plain(each)}
        settings = [name, type(module).__qualname__, sorted((key, repr(each)) for key, each in plain.items())]
        value.update(digest([*settings, getattr(module, "preprocessing", "")]).encode())
    for name, tensor in tower.state_dict().items():
        array = tensor.detach().cpu().contiguous()
        value.update(f"{name} {array.dtype} {tuple(array.shape)}".encode())
        value.update(array.flatten().view(torch.uint8).numpy() if array.numel() else b"")
    return value.hexdigest()


def _is_plain(value: Any) -> bool:
    """Whether a value is a number, a text, or a tuple or list of them."""
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)
