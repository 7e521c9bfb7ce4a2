"""Names of image encoders with their options, and the published weights that a tag stands for."""

import ast
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from cmah.errors import ConfigError
from cmah.models.pretrained import slip

DOWNLOAD = "download:"


@dataclass(frozen=True)
class BackboneSpec:
    """A parsed name such as "timm:mobilenetv2_100?pad_type=same&mean=0.5&std=0.5".

    Attributes:
        family: "timm", "open_clip" or "slip".
        name: of the model within the family.
        options: passed on to the family, numbers as numbers; `mean` and `std` (one number, or three with
            commas) and `interpolation` replace what the model's or the weights' own configuration says; `stages`
            puts the averages of that many stages before the embedding (see `image_towers.ImageBackbone`).

    Examples:
        >>> spec = BackboneSpec.parse("timm:mobilenetv2_100?pad_type=same&std=0.5,0.4,0.3")
        >>> spec.name, spec.options
        ('mobilenetv2_100', {'pad_type': 'same', 'std': (0.5, 0.4, 0.3)})
        >>> print(spec)
        timm:mobilenetv2_100
    """

    family: str
    name: str
    options: dict[str, Any]

    @classmethod
    def parse(cls, text: str) -> "BackboneSpec":
        """Parse FAMILY:NAME[?KEY=VALUE&…].

        Raises:
            ConfigError: for an unknown family, a malformed option, or an option that loads weights.

        Examples:
            >>> BackboneSpec.parse("timm:mobilenetv2_100?mean=0.5")
            BackboneSpec(family='timm', name='mobilenetv2_100', options={'mean': 0.5})
        """
        head, _, query = text.partition("?")
        family, _, name = head.partition(":")
        families = ("timm", "open_clip", "slip")
        if family not in families or not name or ":" in name:  # hf-hub:NAME would be downloaded
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
        stages = options.get("stages", 1)
        if type(stages) is not int or stages < 1:
            raise ConfigError(f"encoder {text!r}: stages={stages}: expected a whole number, 1 or more")
        if family == "slip":
            slip.check(name, options)
        return cls(family, name, options)

    def __str__(self) -> str:
        return f"{self.family}:{self.name}"


def _literal(text: str) -> Any:
    """An option's value: numbers, tuples of numbers and True/False as such, everything else as text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):  # all that literal_eval raises
        return text


def weights_file(encoder: str, weights: str) -> str:
    """The local weights file for a setting such as --image-weights.

    Pass the setting itself, not this file, to `ImageBackbone.load`: a tag also says how the pixels were scaled.

    Args:
        encoder: as in `--image-encoder`.
        weights: path of a file, which is returned unchanged, or "download:TAG" with a tag that open_clip or timm
            lists; the file is then fetched once from where its authors publish it, into the library's cache. For
            timm, TAG may be empty: the model's default.

    Raises:
        ConfigError: for a tag that the library does not know, or a file that cannot be fetched.

    Examples:
        >>> weights_file("timm:resnet18", "weights/resnet18.safetensors")
        'weights/resnet18.safetensors'
        >>> weights_file("open_clip:RN50", "download:laion")
        Traceback (most recent call last):
        cmah.errors.ConfigError: encoder open_clip:RN50: no weights are listed as download:laion (...)
    """
    if not weights.startswith(DOWNLOAD):
        return weights
    spec, tag = BackboneSpec.parse(encoder), weights.removeprefix(DOWNLOAD)
    published = published_weights(spec, tag)
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


def published_weights(spec: BackboneSpec, tag: str) -> dict[str, Any]:
    """The library's entry for published weights: where they are, and their mean, std and interpolation.

    Raises:
        ConfigError: for SLIP, which no library lists, or an unknown tag.

    Examples:
        >>> entry = published_weights(BackboneSpec.parse("open_clip:ViT-B-32"), "laion2b_s34b_b79k")
        >>> entry["mean"], entry["interpolation"]
        ((0.48145466, 0.4578275, 0.40821073), 'bicubic')
    """
    if spec.family == "slip":
        raise ConfigError(
            f"encoder {spec}: no library lists weights of it; give a ULIP checkpoint, which holds them, or SLIP's own"
        )
    if spec.family == "open_clip":
        import open_clip

        entry: dict[str, Any] = open_clip.get_pretrained_cfg(spec.name, tag)
        tags = open_clip.list_pretrained_tags_by_model(spec.name)
    else:
        import timm

        tags = [name.partition(".")[2] for name in timm.list_pretrained(f"{spec.name}.*")]
        listed = tag in tags or not tag
        config = timm.get_pretrained_cfg(f"{spec.name}.{tag}" if tag else spec.name) if listed else None
        entry = (
            {"hf_hub_filename": None, **config.to_dict()} if config is not None and config.hf_hub_id else {}
        )
    if not entry:
        listing = ", ".join(tags) or "none"
        raise ConfigError(f"encoder {spec}: no weights are listed as {DOWNLOAD}{tag} (there are: {listing})")
    return entry


def usual_pixels(name: str) -> dict[str, Any]:
    """Mean, std and interpolation of an open_clip model, where all its published weights agree on them.

    Examples:
        >>> usual_pixels("ViT-B-32-quickgelu")["mean"]
        (0.48145466, 0.4578275, 0.40821073)
    """
    import open_clip

    tags = [open_clip.get_pretrained_cfg(name, tag) for tag in open_clip.list_pretrained_tags_by_model(name)]
    pixels = [{key: tag[key] for key in ("mean", "std", "interpolation")} for tag in tags]
    return pixels[0] if pixels and all(other == pixels[0] for other in pixels) else {}


def _from_hub(repository: str, filename: str | None) -> str:
    """Fetch a file of a Hugging Face repository; if none is named, safetensors, else the .bin file."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    name, _, revision = repository.partition("@")
    if filename is None:
        try:
            return str(hf_hub_download(name, "model.safetensors", revision=revision or None))
        except EntryNotFoundError:
            filename = "pytorch_model.bin"
    return str(hf_hub_download(name, filename, revision=revision or None))
