"""Published text encoders: text towers of open_clip and SLIP, from the file that holds the image tower too."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from cmah.devices import full_float32
from cmah.errors import ConfigError, RunError
from cmah.models.pretrained import slip
from cmah.models.pretrained.backbone_spec import DOWNLOAD, BackboneSpec, weights_file
from cmah.models.pretrained.foreign_weights import load_strictly, read_weights
from cmah.models.pretrained.image_towers import SMALLEST, clear_errors, without_prefix

BATCH = 32  # every batch is padded to it, so that a text's vector does not depend on the texts beside it
SMALLEST_IMAGE = {"image_size": 32, "patch_size": 32, "layers": 1, "width": 64, "head_width": 64}
NOT_TEXT = ("visual.", "logit_scale", "logit_bias", "text_decoder.")


def has_text(encoder: str) -> bool:
    """Whether an image encoder has a text encoder of the same space: open_clip's and SLIP do, timm's do not.

    With the option `stages` none has: its vector holds more than the embedding that texts share.

    Examples:
        >>> {name: has_text(name) for name in ("open_clip:ViT-B-32", "slip:ViT-B-16", "timm:resnet18")}
        {'open_clip:ViT-B-32': True, 'slip:ViT-B-16': True, 'timm:resnet18': False}
    """
    spec = BackboneSpec.parse(encoder)
    return spec.family != "timm" and "stages" not in spec.options


def require_text(encoder: str) -> None:
    """Refuse image encoders without a text tower, or with stages beside the embedding.

    Raises:
        ConfigError: naming the encoder.

    Examples:
        >>> require_text("timm:resnet18")
        Traceback (most recent call last):
        cmah.errors.ConfigError: encoder 'timm:resnet18' has no text tower; texts need an encoder such as ...
    """
    spec = BackboneSpec.parse(encoder)
    if "stages" in spec.options and spec.family != "timm":
        raise ConfigError(
            f"encoder {encoder!r} shares no space with texts: stages={spec.options['stages']} puts averages of stages "
            "before its embedding; texts need it without that option"
        )
    if not has_text(encoder):
        raise ConfigError(
            f"encoder {encoder!r} has no text tower; texts need an encoder such as open_clip:ViT-B-32"
        )


class TextEncoder:
    """The frozen text tower of an open_clip model, or of SLIP.

    Attributes:
        dim: width of its vectors, the same as of the image tower's.

    Examples:
        A tiny CLIP with random weights; published ones need no options in the name.

        >>> import open_clip
        >>> text = {"width": 8, "heads": 1, "layers": 1}
        >>> clip = open_clip.create_model("ViT-B-32", embed_dim=4, text_cfg=text, vision_cfg=SMALLEST_IMAGE)
        >>> torch.save(clip.state_dict(), "clip.pt")
        >>> encoder = TextEncoder(f"open_clip:ViT-B-32?embed_dim=4&text_cfg={text}", "clip.pt")
        >>> encoder.dim, encoder.encode(["a chair", "a round table"]).shape
        (4, (2, 4))
    """

    def __init__(self, encoder: str, weights: str, device: torch.device | str = "cpu") -> None:
        """Load the tower and its tokenizer.

        Args:
            encoder: open_clip:NAME or slip:ViT-B-16, as for the image tower.
            weights: a file with the whole model, or download:TAG.
            device: to compute on.

        Raises:
            ConfigError: for an encoder without a text tower, or one whose tokenizer is not at hand.
            RunError: if the file does not hold the text tower.
        """
        require_text(encoder)
        spec = BackboneSpec.parse(encoder)
        self._left_out: tuple[str, ...] = NOT_TEXT
        if spec.family == "slip":
            self._slip()
        else:
            self._open_clip(spec, may_download=weights.startswith(DOWNLOAD))
        self._load(weights_file(encoder, weights))
        self.device = torch.device(device)
        self.net.to(self.device)
        self.dim = self.encode([""]).shape[1]

    def _open_clip(self, spec: BackboneSpec, may_download: bool) -> None:
        """Make the network and its tokenizer."""
        import open_clip

        config = open_clip.get_model_config(spec.name) or {}
        if config.get("text_cfg", {}).get("hf_model_name"):
            raise ConfigError(f"encoder {spec}: text towers of the transformers library are not supported")
        options = {k: v for k, v in spec.options.items() if k not in ("mean", "std", "interpolation")}
        parts: dict[str, Any] = {"vision_cfg": SMALLEST_IMAGE}
        if "multimodal_cfg" in config:
            parts["multimodal_cfg"] = SMALLEST
        with clear_errors(spec):
            self.net = open_clip.create_model(spec.name, **parts, **options).eval().requires_grad_(False)
        self.tokenize = _tokenizer(spec, options, config, may_download)

    def _slip(self) -> None:
        import open_clip

        self.net = slip.texts(SMALLEST_IMAGE).eval().requires_grad_(False)
        self.tokenize = open_clip.SimpleTokenizer()
        self._left_out = slip.NOT_TEXT

    def _load(self, path: str) -> None:
        """Load the text tower from a file with a whole model's weights."""
        weights = without_prefix(read_weights(path), "module.")
        weights = {key: value for key, value in weights.items() if not key.startswith(self._left_out)}
        weights.pop("attn_mask", None)  # computed, but kept by some files
        expected = self.net.state_dict()
        if not weights:
            raise RunError(f"{path}: holds no text tower; give the file of the whole model")
        if hasattr(self.net, "text") and not any(key.startswith("text.") for key in weights):
            weights = {f"text.{key}": value for key, value in weights.items()}  # from before open_clip 2.8
        # the image part stays as initialised: it is never run
        unused = {key: value for key, value in expected.items() if key.startswith(self._left_out)}
        load_strictly(self.net, {**weights, **unused}, path)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Texts to vectors of unit length, float32 [n, dim]; longer texts are cut off at the context length.

        Raises:
            RunError: if the tower's outputs are not finite.
        """
        parts = []
        with torch.inference_mode(), full_float32():
            for first in range(0, len(texts), BATCH):
                tokens = self.tokenize(list(texts[first : first + BATCH]))
                count = len(tokens)
                tokens = torch.cat([tokens, tokens[:1].expand(BATCH - count, -1)])
                vectors = self.net.encode_text(tokens.to(self.device))[:count].float()
                parts.append(torch.nn.functional.normalize(vectors, dim=1).cpu().numpy())
        values = np.concatenate(parts) if parts else np.zeros((0, self.dim), np.float32)
        if not np.isfinite(values).all():
            raise RunError("the text encoder gave non-finite outputs; the weights file may be corrupt")
        return values


def _tokenizer(
    spec: BackboneSpec, options: dict[str, Any], config: dict[str, Any], may_download: bool
) -> Callable[[list[str]], torch.Tensor]:
    """The model's tokenizer: open_clip's, or one that is in the cache of the Hugging Face hub."""
    import open_clip

    name = config.get("text_cfg", {}).get("hf_tokenizer_name")
    length = options.get("force_context_length")
    if not name:
        return open_clip.get_tokenizer(spec.name, context_length=length)
    try:
        local = {} if may_download else {"local_files_only": True}
        return open_clip.get_tokenizer(spec.name, context_length=length, **local)
    except Exception as error:  # a missing library, a missing file, the network
        reason = (" ".join(str(error).split()) or type(error).__name__)[:120]
        raise ConfigError(
            f"encoder {spec}: its tokenizer, {name} of the Hugging Face hub, is not on this machine ({reason}); it "
            "needs the package transformers, and weights given as download:TAG fetch it"
        ) from None


def ensembled(encode: Callable[[Sequence[str]], np.ndarray], texts: Sequence[Sequence[str]]) -> np.ndarray:
    """One vector for each list of texts: the mean of their unit vectors, scaled to unit length (CLIP's ensembling).

    Args:
        encode: texts to unit vectors float32 [n, dim], such as `TextEncoder.encode`.
        texts: lists of one text or more.

    Returns:
        float32 [number of lists, dim].

    Examples:
        >>> vectors = {"a chair": [1.0, 0.0], "a seat": [0.0, 1.0]}
        >>> encode = lambda texts: np.array([vectors[text] for text in texts])
        >>> print(ensembled(encode, [["a chair", "a seat"], ["a seat"]]).round(2))
        [[0.71 0.71]
         [0.   1.  ]]
    """
    vectors = encode([text for one in texts for text in one])
    means = np.empty((len(texts), vectors.shape[1]), np.float32)
    first = 0
    for row, one in enumerate(texts):
        mean = vectors[first : first + len(one)].astype(np.float64).mean(axis=0)
        means[row] = mean / np.linalg.norm(mean)
        first += len(one)
    return means
