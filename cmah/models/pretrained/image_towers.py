"""Image encoders of others: SLIP's, any timm or open_clip image tower; weights from a file or fetched on request."""

import ast
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import torch
from torch import Tensor, nn

from cmah.errors import ConfigError
from cmah.models.pretrained import slip
from cmah.models.pretrained.foreign_weights import load_strictly, read_weights

DOWNLOAD = "download:"
# In place of the text tower and the decoder of an open_clip model, which can be a billion parameters
SMALLEST = {"context_length": 8, "vocab_size": 8, "width": 8, "heads": 1, "layers": 1}


@dataclass(frozen=True)
class BackboneSpec:
    """A parsed name such as "timm:mobilenetv2_100?pad_type=same&mean=0.5&std=0.5".

    Attributes:
        family: "timm", "open_clip" or "slip".
        name: of the model within the family.
        options: passed on to the family, numbers as numbers; `mean` and `std` (one number, or three with
            commas) and `interpolation` replace what the model's or the weights' own configuration says.
    """

    family: str
    name: str
    options: dict[str, Any]

    @classmethod
    def parse(cls, text: str) -> "BackboneSpec":
        """Parse FAMILY:NAME[?KEY=VALUE&…].

        Raises:
            ConfigError: for an unknown family, a malformed option, or one that would bring weights along.
        """
        head, _, query = text.partition("?")
        family, _, name = head.partition(":")
        known = family in ("timm", "open_clip", "slip")
        if not known or not name or ":" in name:  # hf-hub:NAME would be downloaded
            raise ConfigError(
                f"image encoder {text!r}: expected timm:NAME, open_clip:NAME or slip:{slip.NAME}"
            )
        try:
            pairs = parse_qsl(query, strict_parsing=True) if query else []
        except ValueError:
            raise ConfigError(f"encoder {text!r}: expected options as KEY=VALUE&KEY=VALUE") from None
        for key, _ in pairs:
            if re.search("pretrained|checkpoint|weights|cache", key):
                raise ConfigError(
                    f"encoder {text!r}: {key} is not for an option (weights are a setting of their own)"
                )
        options = {key: _literal(value) for key, value in pairs}
        if family == "slip":
            slip.check(name, options)
        return cls(family, name, options)

    def __str__(self) -> str:
        return f"{self.family}:{self.name}"


def _literal(text: str) -> Any:
    """Numbers, tuples of numbers and True/False as such, everything else as text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):  # all that literal_eval raises
        return text


def weights_file(encoder: str, weights: str) -> str:
    """The local file that a setting of weights means.

    Hand the setting itself, not this file, to `ImageBackbone.load`: a tag also says how the pixels were scaled.

    Args:
        encoder: as in `--image-encoder`.
        weights: a file, which is returned as it is, or "download:TAG", for which open_clip or timm keeps a list of
            tags; the file is then fetched from where its authors publish it, once, to the library's own cache. For
            timm, TAG may be empty and means the model's default.

    Raises:
        ConfigError: for a tag that the library does not know, or a file that cannot be fetched.
    """
    if not weights.startswith(DOWNLOAD):
        return weights
    spec, tag = BackboneSpec.parse(encoder), weights.removeprefix(DOWNLOAD)
    published = _published(spec, tag)
    try:
        if spec.family == "open_clip":
            import open_clip

            return str(open_clip.download_pretrained(published))
        return _from_hub(published["hf_hub_id"], published["hf_hub_filename"])
    except Exception as error:  # whatever the network, the hub or the disk has to say
        reason = (" ".join(str(error).split()) or type(error).__name__)[:150]
        raise ConfigError(
            f"encoder {spec}: the weights {weights!r} could not be fetched ({reason}); fetch the file elsewhere and "
            "give its path instead"
        ) from None


def _published(spec: BackboneSpec, tag: str) -> dict[str, Any]:
    """What the library's list says of weights: where they are, and their mean, std and interpolation."""
    if spec.family == "slip":
        raise ConfigError(
            f"encoder {spec}: no library lists weights of it; give a ULIP checkpoint, which holds them, or SLIP's own"
        )
    if spec.family == "open_clip":
        import open_clip

        found: dict[str, Any] = open_clip.get_pretrained_cfg(spec.name, tag)
        known = open_clip.list_pretrained_tags_by_model(spec.name)
    else:
        import timm

        known = [name.partition(".")[2] for name in timm.list_pretrained(f"{spec.name}.*")]
        listed = tag in known or not tag
        config = timm.get_pretrained_cfg(f"{spec.name}.{tag}" if tag else spec.name) if listed else None
        found = (
            {"hf_hub_filename": None, **config.to_dict()} if config is not None and config.hf_hub_id else {}
        )
    if not found:
        tags = ", ".join(known) or "none"
        raise ConfigError(f"encoder {spec}: no weights are listed as {DOWNLOAD}{tag} (there are: {tags})")
    return found


def _usual_pixels(name: str) -> dict[str, Any]:
    """Mean, std and interpolation of an open_clip model, where all its published weights agree on them."""
    import open_clip

    tags = [open_clip.get_pretrained_cfg(name, tag) for tag in open_clip.list_pretrained_tags_by_model(name)]
    facts = [{key: tag[key] for key in ("mean", "std", "interpolation")} for tag in tags]
    return facts[0] if facts and all(other == facts[0] for other in facts) else {}


def _from_hub(repository: str, filename: str | None) -> str:
    """Fetch a file of a Hugging Face repository; where none is named, safetensors before a pickle."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    name, _, revision = repository.partition("@")
    if filename is None:
        try:
            return str(hf_hub_download(name, "model.safetensors", revision=revision or None))
        except EntryNotFoundError:
            filename = "pytorch_model.bin"
    return str(hf_hub_download(name, filename, revision=revision or None))


@contextmanager
def clear_errors(spec: BackboneSpec) -> Iterator[None]:
    """Make one ConfigError of whatever a library raises for names and options it does not know; keep it quiet."""
    try:
        logging.disable(logging.WARNING)  # open_clip warns of random weights, which `load` replaces
        yield
    except (ImportError, ConfigError):
        raise
    except Exception as error:  # they raise anything
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(f"encoder {spec}: {reason}") from error
    finally:
        logging.disable(logging.NOTSET)


class ImageBackbone(nn.Module):
    """An image tower of timm, open_clip or SLIP that gives one vector an image.

    Attributes:
        dim: width of that vector.
        size: the one image size in pixels that it takes, None if it takes any; `forward` resizes to it.
        default_size: of the images it is to be given: what was asked for, else its own.
        interpolation: "bicubic" or "bilinear", for that resizing.

    Raises:
        ConfigError: for a name, an option or an image size that the library does not take.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, spec: BackboneSpec, image_size: int = 0) -> None:
        super().__init__()
        self.spec = spec
        options: dict[str, Any] = dict(spec.options)
        self._given: dict[str, Any] = {
            key: options.pop(key) for key in ("mean", "std", "interpolation") if key in options
        }
        with clear_errors(spec):
            own = getattr(self, f"_{spec.family}")(options)
            self.default_size: int = image_size or own["size"]
            with torch.no_grad():
                pixels = self.size or self.default_size
                self.dim: int = self._features(torch.zeros(1, 3, pixels, pixels)).shape[1]
            for key in ("mean", "std"):
                self.register_buffer(key, torch.zeros(3, 1, 1), persistent=False)
            self._use(own)

    def _timm(self, options: dict[str, Any]) -> dict[str, Any]:
        """Make the network; what its configuration says of pixels."""
        import timm

        self.net = timm.create_model(self.spec.name, pretrained=False, num_classes=0, **options).eval()
        own = timm.data.resolve_model_data_config(self.net)
        size = own["input_size"][-1]
        self.size: int | None = size if own.get("fixed_input_size") else None
        return {**own, "size": size}

    def _open_clip(self, options: dict[str, Any]) -> dict[str, Any]:
        import open_clip

        parts: dict[str, Any] = {"text_cfg": SMALLEST}
        if "multimodal_cfg" in (open_clip.get_model_config(self.spec.name) or {}):
            parts["multimodal_cfg"] = SMALLEST
        visual: Any = open_clip.create_model(self.spec.name, **parts, **options).visual
        self.net = visual.eval()
        own = {**visual.preprocess_cfg, **_usual_pixels(self.spec.name)}
        size = own["size"][0] if isinstance(own["size"], tuple | list) else own["size"]
        self.size = size
        return {**own, "size": size}

    def _slip(self, options: dict[str, Any]) -> dict[str, Any]:
        self.net = slip.Images().eval()
        self.size = slip.PIXELS["size"]
        return slip.PIXELS

    def _use(self, config: dict[str, Any]) -> None:
        """Take mean, std and interpolation of a configuration, unless the encoder's name gives its own."""
        config = {**config, **self._given}
        for key in ("mean", "std"):
            value = torch.tensor(config[key], dtype=torch.float32).expand(3).reshape(3, 1, 1)
            getattr(self, key).copy_(value)
        self.interpolation: str = "bilinear" if config.get("interpolation") == "bilinear" else "bicubic"

    @property
    def preprocessing(self) -> str:
        """Everything that decides the pixels the network sees, in words."""
        numbers = [",".join(f"{x:.9g}" for x in part.flatten().tolist()) for part in (self.mean, self.std)]
        pixels = f"squares of {self.default_size} px (bicubic)"
        if self.size not in (None, self.default_size):
            pixels += f" resized to {self.size} px ({self.interpolation})"
        return f"{pixels}, mean {numbers[0]}, std {numbers[1]}"

    def load(self, weights: str) -> None:
        """Load published weights; classifier layers that the tower does not have here are left out.

        Args:
            weights: a file, which may hold a whole open_clip model, or "download:TAG" (see `weights_file`), whose mean,
                std and interpolation are then used.

        Raises:
            ConfigError: see `weights_file`; or for weights that want another activation than the model has.
            RunError: if the file does not fit, naming the tensor.
        """
        if weights.startswith(DOWNLOAD):
            published = _published(self.spec, weights.removeprefix(DOWNLOAD))
            self._check_activation(published, weights)
            self._use({"mean": self.mean.flatten().tolist(), "std": self.std.flatten().tolist(), **published})
        path = weights_file(f"{self.spec}", weights)
        state = without_prefix(read_weights(path), "module.")
        own = self.net.state_dict()
        if self.spec.family == "slip":
            state = slip.image_part(state)
        elif any(key.startswith("visual.") for key in state):
            state = {key[7:]: value for key, value in state.items() if key.startswith("visual.")}
        heads = ("classifier.", "head.", "fc.", "head.fc.")
        state = {key: value for key, value in state.items() if key in own or not key.startswith(heads)}
        load_strictly(self.net, state, path)

    def _check_activation(self, published: dict[str, Any], weights: str) -> None:
        """Weights trained with QuickGELU fit a model with GELU in every shape, and give worse embeddings."""
        if self.spec.family != "open_clip":
            return
        import open_clip

        config = open_clip.get_model_config(self.spec.name) or {}
        quick = bool(self.spec.options.get("force_quick_gelu") or config.get("quick_gelu"))
        if bool(published.get("quick_gelu")) != quick:
            other = f"{self.spec}?force_quick_gelu=True" if not quick else "the model without QuickGELU"
            raise ConfigError(
                f"encoder {self.spec}: the weights {weights!r} were trained with{'out' if quick else ''} QuickGELU; "
                f"name the encoder {other}"
            )

    def _features(self, pixels: Tensor) -> Tensor:
        features = self.net(pixels)
        return features[0] if isinstance(features, tuple) else features  # CoCa gives its tokens too

    def forward(self, images: Tensor) -> Tensor:
        """Images float [b, 3, s, s] in [0, 1] to features [b, dim]."""
        if self.size is not None and images.shape[-1] != self.size:
            images = nn.functional.interpolate(
                images,
                size=(self.size, self.size),
                mode=self.interpolation,
                antialias=True,
                align_corners=False,
            ).clamp(0, 1)
        return self._features((images - self.mean) / self.std)


def without_prefix(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The same tensors without a prefix, if all of them have it (files saved with DistributedDataParallel do)."""
    if not all(key.startswith(prefix) for key in weights):
        return weights
    return {key.removeprefix(prefix): value for key, value in weights.items()}
