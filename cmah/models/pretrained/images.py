"""Image encoders of others: any timm or open_clip image tower."""

import ast
import logging
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import torch
from torch import Tensor, nn

from cmah.errors import ConfigError
from cmah.models.pretrained.checkpoints import load_strictly, read_weights


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
