"""Published weights files: read without unpickling anything, loaded with every key accounted for."""

import argparse
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cmah.errors import RunError
from cmah.reading import require_file


def read_checkpoint(path: str | Path) -> Any:
    """The content of a safetensors or .pt/.pth file: tensors, and plain values, lists and dictionaries of them.

    Raises:
        RunError: if the file is missing or damaged, or would have to be unpickled: the only class that is accepted
            is argparse.Namespace, in which published files keep their command lines.

    Examples:
        >>> torch.save({"epoch": 3, "model": {"weight": torch.ones(2)}}, "net.pt")
        >>> read_checkpoint("net.pt")
        {'epoch': 3, 'model': {'weight': tensor([1., 1.])}}
    """
    path = Path(path)
    require_file(path, "expected a weights file", RunError)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
            warnings.simplefilter("ignore")  # torch's are about how the file was written
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # safetensors and torch raise half a dozen kinds for foreign bytes
        raise RunError(f"{path}: not a readable weights file ({_reason(error)})") from None


def _reason(error: Exception) -> str:
    """What is wrong with a file, in a few words: torch's message goes on to say how to load it unsafely."""
    text = " ".join(str(error).split())
    if text.startswith("Weights only load failed"):
        refused = re.search(r"Unsupported global: GLOBAL (\S+)", text)
        what = f"Python objects ({refused[1]})" if refused else "Python objects, or is damaged"
        return f"it holds {what}: expected tensors, other objects are never loaded"
    if isinstance(error, EOFError):
        return "it is empty, or ends too soon"
    return text[:150] or type(error).__name__


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file, or of a .pt/.pth file that holds a plain state dict.

    Raises:
        RunError: see `read_checkpoint`; or if it holds anything but tensors.

    Examples:
        >>> torch.save({"epoch": 3, "model": {"weight": torch.ones(2)}}, "net.pt")
        >>> read_weights("net.pt")
        {'weight': tensor([1., 1.])}
    """
    loaded = read_checkpoint(path)
    for key in ("state_dict", "model"):
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in loaded.items()
    ):
        raise RunError(f"{path}: expected a state dict of tensors")
    return loaded


def load_strictly(module: nn.Module, weights: dict[str, Tensor], path: str | Path) -> None:
    """Load weights (of any float type) into a module whose keys they must match exactly.

    Raises:
        RunError: naming the first key that is missing, unexpected, of another shape or without finite numbers.

    Examples:
        >>> net = nn.Linear(2, 1, bias=False)
        >>> load_strictly(net, {"weight": torch.tensor([[1.0, 2.0]])}, "net.pt")
        >>> net.weight.tolist()
        [[1.0, 2.0]]
        >>> load_strictly(net, {"weight": torch.ones(1, 3)}, "net.pt")
        Traceback (most recent call last):
        cmah.errors.RunError: net.pt: has another shape for 'weight' (and 0 more); is it another model?
    """
    expected = module.state_dict()
    missing = [key for key in expected if key not in weights]
    unexpected = [key for key in weights if key not in expected]
    wrong = [key for key in expected if key in weights and expected[key].shape != weights[key].shape]
    for what, keys in (
        ("misses", missing),
        ("has an unexpected", unexpected),
        ("has another shape for", wrong),
    ):
        if keys:
            raise RunError(f"{path}: {what} {keys[0]!r} (and {len(keys) - 1} more); is it another model?")
    module.load_state_dict({key: _like(expected[key], value, key, path) for key, value in weights.items()})


def _like(expected: Tensor, value: Tensor, key: str, path: str | Path) -> Tensor:
    """A tensor of a file, in the type of the module's tensor that it replaces.

    Raises:
        RunError: if it is no ordinary array of numbers, or has NaN or infinity where the module's has not.
    """
    ordinary = value.layout == torch.strided and not (
        value.is_meta or value.is_quantized or value.is_complex()
    )
    if not ordinary:
        raise RunError(f"{path}: {key!r} is sparse, quantised, complex or empty, expected plain numbers")
    value = value.to(expected.dtype)
    if not bool(value.isfinite().all()) and bool(expected.isfinite().all()):
        raise RunError(
            f"{path}: {key!r} holds NaN or infinity, expected finite numbers; is the file damaged?"
        )
    return value


@dataclass(frozen=True)
class Layout:
    """How a public file stores a point tower.

    Attributes:
        container: dictionary keys from the top of the file to the state dict; a file that is the plain state dict
            (as after conversion to safetensors) is read too.
        prefixes: what the file puts before the official names; each is tried ("module." and "" for files saved
            with and without DistributedDataParallel).
        tower: official names, or beginnings of names, that belong to the point tower: all of these must fit.
        names: name in the module here (or its beginning) → official name; the longest beginning that fits is used.
        unused: official names under the tower that are deliberately not loaded.

    Examples:
        The layer `fc1` of a file becomes `0` here; what lies beside the encoder is not read.

        >>> layout = Layout((), ("",), ("encoder.",), {"0.": "encoder.fc1."})
        >>> file = {"encoder.fc1.weight": torch.tensor([[1.0, 2.0]]), "head.weight": torch.zeros(3)}
        >>> net = nn.Sequential(nn.Linear(2, 1, bias=False))
        >>> load_tower(net, file, [layout], "net.pt")
        1
        >>> net[0].weight.tolist()
        [[1.0, 2.0]]
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
        loaded: the result of `read_checkpoint`.
        layouts: how public files store it; the one under which the file has most keys of the tower is used, the
            first among equals.
        path: of the file, for messages.

    Returns:
        How many tensors of the file's state dict were ignored: those outside the tower, and unused ones.

    Raises:
        RunError: if no layout fits, or naming the first key that is missing, unexpected, of another shape or without
            finite numbers.

    Examples:
        >>> layout = Layout(("state_dict",), ("module.", ""), ("encoder.",), {"": "encoder."})
        >>> state = {"module.encoder.weight": torch.ones(1, 2), "module.head.weight": torch.ones(3)}
        >>> load_tower(nn.Linear(2, 1, bias=False), {"state_dict": state}, [layout], "net.pt")
        1
    """
    most: dict[str, Tensor] = {}
    for layout in layouts:
        for tensors in (_tensors(loaded, layout.container), _tensors(loaded, ())):
            for prefix in layout.prefixes:
                under = {
                    key: value
                    for key, value in tensors.items()
                    if key.startswith(prefix) and key[len(prefix) :].startswith(layout.tower)
                }
                if len(under) > len(most):
                    most, best, before, total = under, layout, prefix, len(tensors)
    if not most:
        expected = " or ".join(
            dict.fromkeys(".".join([*layout.container, *layout.tower[:1]]) for layout in layouts)
        )
        raise RunError(
            f"{path}: holds no such point encoder, is it another model? (expected keys that begin with {expected})"
        )
    unused = tuple(before + name for name in best.unused)
    used = {key: value for key, value in most.items() if not key.startswith(unused)}
    _load_renamed(module, used, {key: before + name for key, name in _official(module, best).items()}, path)
    return total - len(used)


def _tensors(loaded: Any, container: tuple[str, ...]) -> dict[str, Tensor]:
    """The tensors of the state dict at `container` in a file's content; empty if there is no such dictionary."""
    for key in container:
        loaded = loaded.get(key) if isinstance(loaded, dict) else None
    items = loaded.items() if isinstance(loaded, dict) else ()
    return {key: value for key, value in items if isinstance(key, str) and isinstance(value, Tensor)}


def _official(module: nn.Module, layout: Layout) -> dict[str, str]:
    """The official name of each of a module's keys."""
    official = {}
    for key in module.state_dict():
        beginning = max((name for name in layout.names if key.startswith(name)), key=len, default="")
        official[key] = layout.names.get(beginning, "") + key[len(beginning) :]
    return official


def _load_renamed(
    module: nn.Module, tensors: dict[str, Tensor], names: dict[str, str], path: str | Path
) -> None:
    """Load tensors into a module under other names (`names`: module's key → name in the file); all must fit."""
    expected = module.state_dict()
    wanted = set(names.values())
    for what, keys in (
        ("misses", [name for name in names.values() if name not in tensors and not _counter(name)]),
        ("has an unexpected", [key for key in tensors if key not in wanted]),
    ):
        if keys:
            raise RunError(f"{path}: {what} {keys[0]!r} (and {len(keys) - 1} more); is it another encoder?")
    state = dict(expected)
    for key, name in names.items():
        if name not in tensors:
            continue
        value = tensors[name]
        # 1×1 convolutions are linear layers here: axes of length 1 may come and go
        if [n for n in value.shape if n != 1] != [n for n in expected[key].shape if n != 1]:
            raise RunError(
                f"{path}: {name!r} is {list(value.shape)}, expected {list(expected[key].shape)}; is it another encoder?"
            )
        state[key] = _like(expected[key], value, name, path).reshape(expected[key].shape)
    module.load_state_dict(state)


def _counter(name: str) -> bool:
    """Whether a tensor counts batches: older files lack these, and evaluation does not read them."""
    return name.endswith("num_batches_tracked")
