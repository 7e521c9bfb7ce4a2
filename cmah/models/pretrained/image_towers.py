"""Published image encoders: SLIP's, any timm or open_clip image tower; weights from a file or fetched on request."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from cmah.errors import ConfigError
from cmah.models.pretrained import slip
from cmah.models.pretrained.backbone_spec import (
    DOWNLOAD,
    BackboneSpec,
    published_weights,
    usual_pixels,
    weights_file,
)
from cmah.models.pretrained.foreign_weights import load_strictly, read_weights
from cmah.models.pretrained.image_stages import ImageStages

# In place of the text tower and the decoder of an open_clip model, which can be a billion parameters
SMALLEST = {"context_length": 8, "vocab_size": 8, "width": 8, "heads": 1, "layers": 1}


@contextmanager
def clear_errors(spec: BackboneSpec) -> Iterator[None]:
    """Turn whatever a library raises for unknown names and options into one ConfigError; silence its warnings.

    Examples:
        >>> import timm
        >>> with clear_errors(BackboneSpec.parse("timm:resnet999")):
        ...     timm.create_model("resnet999")
        Traceback (most recent call last):
        cmah.errors.ConfigError: encoder timm:resnet999: Unknown model (resnet999)...
    """
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
    """An image tower of timm, open_clip or SLIP: one vector per image.

    With the option stages=N that vector begins with the averages of the last N stages before the last layer (see
    `ImageStages`), in the order of depth; what it is without the option comes last.

    Attributes:
        dim: width of that vector.
        widths: numbers of each of its blocks, `dim` in all; one without the option.
        size: the one image size in pixels that it takes, None if it takes any; `forward` resizes to it.
        default_size: pixels of the images to pass to it: the requested size, else the network's.
        interpolation: "bicubic" or "bilinear", for that resizing.
        mean: of the pixel values in [0, 1], float32 [3, 1, 1].
        std: likewise, their standard deviation.

    Examples:
        >>> net = ImageBackbone(BackboneSpec.parse("timm:mobilenetv3_small_050?mean=0.5&std=0.25"), 64)
        >>> tuple(net(torch.rand(2, 3, 64, 64)).shape)
        (2, 1024)
        >>> net.preprocessing
        'squares of 64 px (bicubic), mean 0.5,0.5,0.5, std 0.25,0.25,0.25'
        >>> ImageBackbone(BackboneSpec.parse("timm:mobilenetv3_small_050?stages=2"), 64).widths
        (48, 288, 1024)
    """

    mean: Tensor
    std: Tensor

    def __init__(self, spec: BackboneSpec, image_size: int = 0) -> None:
        """Make the network with random weights.

        Args:
            spec: its name and options.
            image_size: pixels of the images that it will get; 0 takes the network's.

        Raises:
            ConfigError: for a name, an option or an image size that the library does not take, or too many stages.
        """
        super().__init__()
        self.spec = spec
        options: dict[str, Any] = dict(spec.options)
        self._given: dict[str, Any] = {
            key: options.pop(key) for key in ("mean", "std", "interpolation") if key in options
        }
        count = options.pop("stages", 0)
        with clear_errors(spec):
            config = getattr(self, f"_{spec.family}")(options)
            self.default_size: int = image_size or config["size"]
            pixels = self.size or self.default_size
            image = torch.zeros(1, 3, pixels, pixels)
            # not among the plain attributes, on which keys of caches depend
            self._stages = ImageStages(self.net, count, self._embedding, image, f"{spec}")
            self.dim: int = sum(self.widths)
            for key in ("mean", "std"):
                self.register_buffer(key, torch.zeros(3, 1, 1), persistent=False)
            self._use(config)

    def _timm(self, options: dict[str, Any]) -> dict[str, Any]:
        """Make the network; return its size, mean, std and interpolation."""
        import timm

        self.net = timm.create_model(self.spec.name, pretrained=False, num_classes=0, **options).eval()
        config = timm.data.resolve_model_data_config(self.net)
        size = config["input_size"][-1]
        self.size: int | None = size if config.get("fixed_input_size") else None
        return {**config, "size": size}

    def _open_clip(self, options: dict[str, Any]) -> dict[str, Any]:
        import open_clip

        parts: dict[str, Any] = {"text_cfg": SMALLEST}
        if "multimodal_cfg" in (open_clip.get_model_config(self.spec.name) or {}):
            parts["multimodal_cfg"] = SMALLEST
        visual: Any = open_clip.create_model(self.spec.name, **parts, **options).visual
        self.net = visual.eval()
        config = {**visual.preprocess_cfg, **usual_pixels(self.spec.name)}
        size = config["size"][0] if isinstance(config["size"], tuple | list) else config["size"]
        self.size = size
        return {**config, "size": size}

    def _slip(self, options: dict[str, Any]) -> dict[str, Any]:
        self.net = slip.Images().eval()
        self.size = slip.PIXELS["size"]
        return slip.PIXELS

    def _use(self, config: dict[str, Any]) -> None:
        """Take mean, std and interpolation from a configuration; options in the encoder's name override them."""
        config = {**config, **self._given}
        for key in ("mean", "std"):
            value = torch.tensor(config[key], dtype=torch.float32).expand(3).reshape(3, 1, 1)
            getattr(self, key).copy_(value)
        self.interpolation: str = "bilinear" if config.get("interpolation") == "bilinear" else "bicubic"

    @property
    def widths(self) -> tuple[int, ...]:
        """See the class."""
        return self._stages.widths

    @property
    def preprocessing(self) -> str:
        """How images become the pixels that the network sees, in words; part of a cache key, so never reworded."""
        numbers = [",".join(f"{x:.9g}" for x in part.flatten().tolist()) for part in (self.mean, self.std)]
        pixels = f"squares of {self.default_size} px (bicubic)"
        if self.size not in (None, self.default_size):
            pixels += f" resized to {self.size} px ({self.interpolation})"
        return f"{pixels}, mean {numbers[0]}, std {numbers[1]}"

    def load(self, weights: str) -> None:
        """Load published weights; classifier layers, which the tower lacks, are left out.

        Args:
            weights: a file, which may hold a whole open_clip model, or "download:TAG" (see `weights_file`), whose mean,
                std and interpolation are then used.

        Raises:
            ConfigError: see `weights_file`; or for weights that were trained with another activation than the model's.
            RunError: if the file does not fit, naming the tensor.
        """
        if weights.startswith(DOWNLOAD):
            published = published_weights(self.spec, weights.removeprefix(DOWNLOAD))
            self._check_activation(published, weights)
            self._use({"mean": self.mean.flatten().tolist(), "std": self.std.flatten().tolist(), **published})
        path = weights_file(f"{self.spec}", weights)
        state = without_prefix(read_weights(path), "module.")
        expected = self.net.state_dict()
        if self.spec.family == "slip":
            state = slip.image_part(state)
        elif any(key.startswith("visual.") for key in state):
            state = {key[7:]: value for key, value in state.items() if key.startswith("visual.")}
        heads = ("classifier.", "head.", "fc.", "head.fc.")
        state = {key: value for key, value in state.items() if key in expected or not key.startswith(heads)}
        load_strictly(self.net, state, path)

    def _check_activation(self, published: dict[str, Any], weights: str) -> None:
        """Refuse weights trained with QuickGELU for a model with GELU: all shapes fit, but embeddings are worse."""
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

    def _embedding(self, pixels: Tensor) -> Tensor:
        features = self.net(pixels)
        return features[0] if isinstance(features, tuple) else features  # CoCa returns its tokens as well

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
        return self._stages.beside(self._embedding, (images - self.mean) / self.std)


def without_prefix(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The same tensors without a prefix of their keys, if all have it (as from DistributedDataParallel).

    Examples:
        >>> list(without_prefix({"module.weight": torch.ones(2), "module.bias": torch.ones(1)}, "module."))
        ['weight', 'bias']
    """
    if not all(key.startswith(prefix) for key in weights):
        return weights
    return {key.removeprefix(prefix): value for key, value in weights.items()}
