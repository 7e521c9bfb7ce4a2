"""Weights files of others: read without unpickling anything, loaded with every key accounted for."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cmah.errors import RunError
from cmah.files import require_file


def read_checkpoint(path: str | Path) -> Any:
    """What a safetensors or .pt/.pth file holds: tensors, and plain values, lists and dictionaries of them.

    Raises:
        RunError: if the file is missing or damaged, or would have to be unpickled: of all classes only
            argparse.Namespace is let through, in which published files keep their command lines.
    """
    path = Path(path)
    require_file(path, "expected a weights file", RunError)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # safetensors and torch raise half a dozen kinds for foreign bytes
        reason = " ".join(str(error).split())[:150] or type(error).__name__
        raise RunError(f"{path}: not a readable weights file ({reason})") from None


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file, or of a .pt/.pth file that holds a plain state dict.

    Raises:
        RunError: see `read_checkpoint`; or if it holds anything but tensors.
    """
    loaded = read_checkpoint(path)
    for key in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise RunError(f"{path}: expected a state dict of tensors")
    return loaded


def load_strictly(module: nn.Module, weights: dict[str, Tensor], path: str | Path) -> None:
    """Load weights (of any float type) into a module whose keys they must match exactly.

    Raises:
        RunError: naming the first key that is missing, unexpected or of another shape.
    """
    own = module.state_dict()
    missing = [key for key in own if key not in weights]
    unexpected = [key for key in weights if key not in own]
    wrong = [key for key in own if key in weights and own[key].shape != weights[key].shape]
    for what, keys in (
        ("misses", missing),
        ("has an unexpected", unexpected),
        ("has another shape for", wrong),
    ):
        if keys:
            raise RunError(f"{path}: {what} {keys[0]!r} (and {len(keys) - 1} more); is it another model?")
    module.load_state_dict({key: value.to(own[key].dtype) for key, value in weights.items()})


@dataclass(frozen=True)
class Layout:
    """How a public file holds a point tower.

    Attributes:
        container: dictionary keys from the top of the file to the state dict.
        prefixes: what the file puts before the official names; each is tried ("module." and "" for files saved
            with and without DistributedDataParallel).
        tower: official names, or beginnings of names, that belong to the point tower: there every key must fit.
        names: own name (or its beginning) → official name; the longest beginning that fits counts.
        unused: official names under the tower that are known and deliberately not loaded.
    """

    container: tuple[str, ...]
    prefixes: tuple[str, ...]
    tower: tuple[str, ...]
    names: dict[str, str]
    unused: tuple[str, ...] = ()


def load_tower(module: nn.Module, loaded: Any, layouts: Sequence[Layout], path: str | Path) -> int:
    """Load a point tower from a published file.

    Args:
        module: the tower.
        loaded: what `read_checkpoint` gave.
        layouts: how public files hold it; the first whose tower is there is taken.
        path: of the file, for messages.

    Returns:
        How many tensors of the file were ignored: those outside the tower.

    Raises:
        RunError: if no layout fits, or naming the first key that is missing, unexpected or of another shape.
    """
    for layout in layouts:
        state = loaded
        for key in layout.container:
            state = state.get(key) if isinstance(state, dict) else None
        if not isinstance(state, dict):
            continue
        tensors = {key: value for key, value in state.items() if isinstance(value, Tensor)}
        for prefix in layout.prefixes:
            bare = {key.removeprefix(prefix): key for key in tensors if key.startswith(prefix)}
            under = {name: key for name, key in bare.items() if name.startswith(layout.tower)}
            if under:
                used = {
                    name: key for name, key in under.items() if not name.startswith(layout.unused or ("\0",))
                }
                _load_renamed(module, tensors, used, layout, path)
                return len(tensors) - len(used)
    expected = " or ".join(".".join([*layout.container, *layout.tower[:1]]) for layout in layouts)
    raise RunError(f"{path}: holds no such point encoder (expected keys that begin with {expected})")


def _load_renamed(
    module: nn.Module, tensors: dict[str, Tensor], used: dict[str, str], layout: Layout, path: str | Path
) -> None:
    """Load the tensors under a tower, whose official names are the keys of `used`."""
    own = module.state_dict()
    official = {}
    for key in own:
        beginning = max((own for own in layout.names if key.startswith(own)), key=len, default="")
        official[key] = layout.names.get(beginning, "") + key[len(beginning) :]
    wanted = set(official.values())
    for what, names in (
        ("misses", [name for name in official.values() if name not in used and not _counter(name)]),
        ("has an unexpected", [key for name, key in used.items() if name not in wanted]),
    ):
        if names:
            raise RunError(f"{path}: {what} {names[0]!r} (and {len(names) - 1} more); is it another encoder?")
    state = dict(own)
    for key, name in official.items():
        if name not in used:
            continue
        value = tensors[used[name]]
        if value.numel() != own[key].numel() or value.squeeze().shape != own[key].squeeze().shape:
            raise RunError(
                f"{path}: {used[name]!r} is {list(value.shape)}, expected {list(own[key].shape)}; is it another "
                "encoder?"
            )
        state[key] = value.reshape(own[key].shape).to(own[key].dtype)
    module.load_state_dict(state)


def _counter(name: str) -> bool:
    """A count of batches, which older files lack and evaluation does not read."""
    return name.endswith("num_batches_tracked")
