"""Foreign encoders with local weights for the full stream: any timm or open_clip image tower, and PointNet.

Weights are read from a file that the user names (safetensors, or .pt/.pth with `weights_only=True`); nothing is
downloaded and nothing is unpickled.
"""

import ast
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import torch
from torch import Tensor, nn

from cmah.errors import ConfigError, RunError
from cmah.files import require_file


@dataclass(frozen=True)
class BackboneSpec:
    """A parsed name such as "timm:mobilenetv2_100?pad_type=same&mean=0.5&std=0.5".

    Attributes:
        family: "timm", "open_clip" or "pointnet".
        name: of the model within the family, empty for pointnet.
        options: passed on to the family, numbers as numbers; `mean` and `std` (one number, or three with
            commas) replace the model's own pixel statistics.
    """

    family: str
    name: str
    options: dict[str, Any]

    @classmethod
    def parse(cls, text: str) -> "BackboneSpec":
        """Parse FAMILY[:NAME][?KEY=VALUE&…].

        Raises:
            ConfigError: for an unknown family, a malformed option, or one that would bring weights along.
        """
        head, _, query = text.partition("?")
        family, _, name = head.partition(":")
        known = family in ("timm", "open_clip", "pointnet") and bool(name) != (family == "pointnet")
        if not known or ":" in name:  # hf-hub:NAME would be downloaded, local-dir:NAME read
            raise ConfigError(f"encoder {text!r}: expected timm:NAME, open_clip:NAME or pointnet")
        try:
            pairs = parse_qsl(query, strict_parsing=True) if query else []
        except ValueError:
            raise ConfigError(f"encoder {text!r}: expected options as KEY=VALUE&KEY=VALUE") from None
        for key, _ in pairs:
            if re.search("pretrained|checkpoint|weights|cache", key):
                raise ConfigError(
                    f"encoder {text!r}: {key} is not for an option (weights are a setting of their own)"
                )
        return cls(family, name, {key: _literal(value) for key, value in pairs})


def _literal(text: str) -> Any:
    """Numbers, tuples of numbers and True/False as such, everything else as text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):  # all that literal_eval raises
        return text


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file, or of a .pt/.pth file that holds a plain state dict.

    Raises:
        RunError: if the file is missing, damaged, or holds anything but tensors (nothing is ever unpickled
            beyond what `weights_only=True` lets through).
    """
    path = Path(path)
    require_file(path, "expected a weights file", RunError)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # safetensors and torch raise half a dozen kinds for foreign bytes
        reason = " ".join(str(error).split())[:150] or type(error).__name__
        raise RunError(f"{path}: not a readable weights file ({reason})") from None
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


class ImageBackbone(nn.Module):
    """A timm or open_clip image tower that gives one vector an image.

    Attributes:
        dim: width of that vector.

    Raises:
        ConfigError: for a name, an option or an image size that the library does not take.
    """

    def __init__(self, spec: BackboneSpec, image_size: int) -> None:
        super().__init__()
        try:
            self._make(spec, image_size)
        except ImportError:
            raise
        except Exception as error:  # the libraries raise anything for names and options they do not know
            reason = " ".join(str(error).split())[:200]
            raise ConfigError(f"encoder {spec.family}:{spec.name}: {reason}") from error

    def _make(self, spec: BackboneSpec, image_size: int) -> None:
        options: dict[str, Any] = dict(spec.options)
        mean, std = options.pop("mean", None), options.pop("std", None)
        if spec.family == "timm":
            import timm

            self.net = timm.create_model(spec.name, pretrained=False, num_classes=0, **options)
            own = timm.data.resolve_model_data_config(self.net)
            own_mean, own_std = own["mean"], own["std"]
            size = own["input_size"][-1] if own.get("fixed_input_size") else None
        else:
            import open_clip

            try:
                logging.disable(logging.WARNING)  # it warns of random weights, which `load` replaces
                self.net = open_clip.create_model(spec.name, pretrained=None, **options).visual
            finally:
                logging.disable(logging.NOTSET)
            own = getattr(self.net, "preprocess_cfg", {})
            own_mean, own_std = own.get("mean", (0.5,) * 3), own.get("std", (0.5,) * 3)
            size = own.get("size", image_size)
        self.size: int | None = size[0] if isinstance(size, tuple | list) else size
        with torch.no_grad():
            probe = torch.zeros(1, 3, self.size or image_size, self.size or image_size)
            self.dim: int = self.net.eval()(probe).shape[1]
        for key, given, default in (("mean", mean, own_mean), ("std", std, own_std)):
            values = torch.tensor(default if given is None else given, dtype=torch.float32).expand(3)
            self.register_buffer(key, values.reshape(3, 1, 1), persistent=False)
        self.mean: Tensor
        self.std: Tensor

    def load(self, path: str) -> None:
        """Load published weights; classifier layers that the tower does not have here are left out."""
        weights = read_weights(path)
        own = self.net.state_dict()
        if any(key.startswith("visual.") for key in weights):
            weights = {key[7:]: value for key, value in weights.items() if key.startswith("visual.")}
        heads = ("classifier.", "head.", "fc.", "head.fc.")
        weights = {key: value for key, value in weights.items() if key in own or not key.startswith(heads)}
        load_strictly(self.net, weights, path)

    def forward(self, images: Tensor) -> Tensor:
        """Images float [b, 3, s, s] in [0, 1] to features [b, dim]."""
        if self.size is not None and images.shape[-1] != self.size:
            images = nn.functional.interpolate(
                images, size=(self.size, self.size), mode="bicubic", antialias=True, align_corners=False
            ).clamp(0, 1)
        return self.net((images - self.mean) / self.std)


class PointNetBackbone(nn.Module):
    """PointNet (Qi et al. 2017) without its transforms.

    Layers 3-64-64-64-128-1024 on each point, a maximum over the points, then 1024-512-256; the features are the
    maximum and both layers after it, joined: what those two have learned lies closer to categories.

    Attributes:
        dim: 1024 + 512 + 256.
    """

    dim = 1792

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 64, 64, 64, 128, 1024)
        self.feature_model = nn.Module()
        for i in range(5):
            self.feature_model.add_module(f"conv{i + 1}", nn.Conv1d(widths[i], widths[i + 1], 1))
            self.feature_model.add_module(f"bn{i + 1}", nn.BatchNorm1d(widths[i + 1]))
        self.linear1, self.bn1 = nn.Linear(1024, 512), nn.BatchNorm1d(512)
        self.linear2, self.bn2 = nn.Linear(512, 256), nn.BatchNorm1d(256)

    def load(self, path: str) -> None:
        """Load a classifier's weights; its last layer, linear3, is left out."""
        weights = read_weights(path)
        load_strictly(self, {k: v for k, v in weights.items() if not k.startswith("linear3.")}, path)

    def forward(self, points: Tensor) -> Tensor:
        """Points float32 [b, n, 3], y up, normalised, to features [b, 1792]."""
        b, n, _ = points.shape
        x = points.reshape(b * n, 3)
        for i in range(1, 6):
            x = _conv_norm(x, getattr(self.feature_model, f"conv{i}"), getattr(self.feature_model, f"bn{i}"))
            x = x.relu() if i < 5 else x.reshape(b, n, -1).amax(dim=1).relu()  # relu and maximum commute
        first = _conv_norm(x, self.linear1, self.bn1).relu()
        second = _conv_norm(first, self.linear2, self.bn2).relu()
        return torch.cat([x, first, second], dim=1)


def _conv_norm(x: Tensor, layer: nn.Conv1d | nn.Linear, norm: nn.BatchNorm1d) -> Tensor:
    """A linear layer on rows [r, c], then batch norm; folded into one where the norm uses fixed statistics."""
    weight = layer.weight.flatten(1)
    if norm.training:
        return norm(nn.functional.linear(x, weight, layer.bias))
    assert norm.running_var is not None
    assert norm.running_mean is not None
    assert layer.bias is not None
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    bias = (layer.bias - norm.running_mean) * scale + norm.bias
    return nn.functional.linear(x, weight * scale[:, None], bias)


class Frozen(nn.Module):
    """A tower that stays as it was loaded: always in evaluation mode, no gradients, not saved with the run."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> "Frozen":
        """Stay in evaluation mode."""
        return super().train(False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the tower without recording gradients."""
        with torch.no_grad():
            return self.net(x)


class Tuned(nn.Module):
    """A tower that is trained on from its loaded weights; its batch norms keep their loaded statistics."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def train(self, mode: bool = True) -> "Tuned":
        """Switch mode, but keep batch norms in evaluation mode."""
        super().train(mode)
        for module in self.net.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Apply the tower."""
        return self.net(x)
