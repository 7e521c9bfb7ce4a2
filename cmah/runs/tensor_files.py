"""Safetensors files of a run: a network's tensors with a dictionary of plain values beside them."""

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from cmah.errors import RunError
from cmah.files import atomic_path
from cmah.models.backbones import Frozen
from cmah.reading import require_file

T = TypeVar("T")


def save_tensors(path: Path, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
    """Write tensors and plain values as one safetensors file, whole or not at all.

    Args:
        path: the file.
        tensors: by name, on any device.
        values: what JSON can hold, kept in the file's metadata.

    Raises:
        CmahError: if the file cannot be written.

    Examples:
        >>> import torch
        >>> save_tensors(Path("run/model.safetensors"), {"bias": torch.ones(2)}, {"epoch": 3})
        >>> load_tensors(Path("run/model.safetensors"))
        ({'bias': tensor([1., 1.])}, {'epoch': 3})
    """
    plain = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    with atomic_path(path) as temporary:
        try:
            # one entry: safetensors writes several in any order, and the same run should give the same bytes
            save_file(plain, temporary, {"cmah": json.dumps(values)})
        except SafetensorError as error:  # its word for a full disk
            raise OSError(str(error)) from None


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors and the values that `save_tensors` wrote.

    Raises:
        RunError: if the file is missing or damaged.

    Examples:
        >>> import torch
        >>> save_tensors(Path("last.safetensors"), {"step": torch.tensor(7.0)}, {"batch": 2})
        >>> tensors, values = load_tensors(Path("last.safetensors"))
        >>> float(tensors["step"]), values["batch"]
        (7.0, 2)
    """
    return _read(path, lambda file: {key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118


def _read(path: Path, tensors_of: Callable[[Any], T]) -> tuple[T, dict[str, Any]]:
    """What is taken from a file, and its values."""
    require_file(path, error=RunError)
    try:
        with safe_open(path, "pt") as file:
            tensors = tensors_of(file)
            values = json.loads((file.metadata() or {}).get("cmah", "{}"))
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path}: not a readable safetensors file ({error})") from None
    if not isinstance(values, dict):
        raise RunError(f"{path}: its metadata is {type(values).__name__}, expected a dictionary")
    return tensors, values


def load_values(path: Path) -> dict[str, Any]:
    """Read only the values that `save_tensors` wrote.

    Raises:
        RunError: if the file is missing or damaged.

    Examples:
        >>> import torch
        >>> save_tensors(Path("last.safetensors"), {"step": torch.tensor(7.0)}, {"batch": 2})
        >>> load_values(Path("last.safetensors"))
        {'batch': 2}
    """
    return _read(path, lambda file: None)[1]


def checksum(tensors: dict[str, Tensor], values: dict[str, Any]) -> int:
    """CRC-32 of tensors with their names, types and shapes, and of plain values.

    Examples:
        >>> import torch
        >>> checksum({"step": torch.tensor(7.0)}, {}) == checksum({"step": torch.tensor(8.0)}, {})
        False
    """
    crc = zlib.crc32(json.dumps(values, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        array = tensor.detach().cpu().contiguous()
        crc = zlib.crc32(f"{name} {array.dtype} {tuple(array.shape)}".encode(), crc)
        if array.numel():
            crc = zlib.crc32(array.flatten().view(torch.uint8).numpy().data, crc)
    return crc


def own_state(network: nn.Module) -> dict[str, Tensor]:
    """The network's parameters and buffers without those of frozen towers, which a run does not copy in.

    Examples:
        >>> network = nn.ModuleDict({"tower": Frozen(nn.Linear(3, 2)), "head": nn.Linear(2, 1)})
        >>> list(own_state(network))
        ['head.weight', 'head.bias']
    """
    frozen = tuple(name + "." for name, module in network.named_modules() if isinstance(module, Frozen))
    return {
        key: value for key, value in network.state_dict().items() if not key.startswith(frozen or ("\0",))
    }


def load_own_state(network: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Put the tensors of `own_state` into a network.

    Args:
        network: the network.
        tensors: by name.
        path: the file that they come from, for the message.

    Raises:
        RunError: naming the first tensor that is missing, unexpected or of another shape.

    Examples:
        >>> import torch
        >>> layer = nn.Linear(2, 1, bias=False)
        >>> load_own_state(layer, {"weight": torch.tensor([[1.0, 2.0]])}, Path("model.safetensors"))
        >>> layer.weight.tolist()
        [[1.0, 2.0]]
    """
    own = own_state(network)
    for key in [*own, *tensors]:
        if key not in tensors or key not in own or own[key].shape != tensors[key].shape:
            raise RunError(f"{path}: tensor {key!r} does not fit the model that config.json describes")
    network.load_state_dict(tensors, strict=False)
