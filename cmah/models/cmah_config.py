"""The settings of the CMAH model, and which of them go together."""

from dataclasses import dataclass
from typing import Annotated, Literal

from cmah.errors import ConfigError
from cmah.models.hash_head import check_lengths
from cmah.models.view_pooling import Pooling, view_count
from cmah.settings import Count, ProperShare, Range, Settings


@dataclass(frozen=True)
class ModelConfig(Settings):
    """Sizes of the CMAH model. Defaults are the `small` preset: the lineage's sizes.

    Attributes:
        bits: code lengths; each is a prefix of the longest.
        width: of a token, both modalities; a multiple of 4 and of `heads`.
        depth: transformer blocks of each encoder.
        heads: attention heads of each encoder.
        drop_path: largest rate of stochastic depth in the encoders, from 0 up to 1.
        image_size: pixels; a multiple of `patch_size`.
        patch_size: pixels.
        stem_channels: of the first stage of a convolutional network that makes the tokens of an image, where patches
            have 4, 8, 16, … pixels; 0 for a linear map of each patch (see `ConvolutionalTokenizer`).
        standardise: standardise over the batch what the hash heads read, their hidden layers and their outputs, and by
            running statistics in evaluation (see `HashHead`). Without it only the features of published towers are.
        image_mask: share of the patches that is masked, from 0 up to 1 (MAE).
        points: points drawn from each cloud.
        groups: point groups, the tokens of a shape.
        group_size: points per group.
        token_width: width of the mini-PointNet that makes a token of a group; half of it is the width of a layer.
        point_mask: share of the groups that is masked, from 0 up to 1 (Point-MAE).
        fusion_depth: layers of the fusion block; 0 leaves it out.
        decoder_width: of a decoder's tokens; a multiple of 4 and of `decoder_heads`.
        decoder_depth: transformer blocks of each decoder.
        decoder_heads: attention heads of each decoder.
        head: relaxation of the sign, see `HashHead`.
        head_hidden: width of the hash heads' hidden layer; 0 for none.
        head_dropout: dropout of the hash heads, from 0 up to 1.
        image_encoder: tower for full images: timm:NAME, open_clip:NAME or slip:ViT-B-16; "" uses the model's ViT.
        image_weights: its weights: a file or download:TAG.
        image_frozen: whether that tower stays as loaded.
        shape_encoder: tower for full shapes, a name that `cmah encoders` lists; "" uses the model's point
            transformer.
        shape_weights: file of its weights; "" trains it from random weights.
        shape_frozen: whether that tower stays as loaded.
        shape_input: what shows a full shape: its "points", its "views" (through the model's image side), or "both",
            their features one after the other. The masked stream of a shape is that of its points; with "views" there
            is none.
        views: how many views of a shape are seen; 0 takes 12 renders, or 6 that are drawn.
        views_from: which renders of a shape may be its views: "all", or every second one, "even" or "odd", so that
            the others can be queries; or "points": none, its views are drawn from its own points.
        view_pooling: how the features of the views become one: "mean", "max" or a learned "attention".
        shape_turns: equal turns about the up axis over which a shape's features are averaged in evaluation; 1 for none.

    Examples:
        >>> config = ModelConfig(bits=(16, 32, 64))
        >>> (config.image_size // config.patch_size) ** 2, config.groups  # tokens of an image, of a shape
        (196, 64)
        >>> ModelConfig(bits=(64, 16))
        Traceback (most recent call last):
        cmah.errors.ConfigError: model.bits = [64, 16]: expected ascending lengths from 1 to 4096
    """

    table = "model"

    bits: tuple[int, ...] = (64,)
    width: Count = 384
    depth: int = 12
    heads: Count = 6
    drop_path: ProperShare = 0.1
    image_size: Count = 224
    patch_size: Count = 16
    stem_channels: int = 0
    standardise: bool = False
    image_mask: ProperShare = 0.75
    points: Count = 1024
    groups: Count = 64
    group_size: Count = 32
    token_width: Annotated[int, Range(2)] = 256
    point_mask: ProperShare = 0.6
    fusion_depth: int = 1
    decoder_width: Count = 384
    decoder_depth: int = 4
    decoder_heads: Count = 6
    head: Literal["tanh", "layernorm_ste"] = "tanh"
    head_hidden: int = 0
    head_dropout: ProperShare = 0.0
    image_encoder: str = ""
    image_weights: str = ""
    image_frozen: bool = True
    shape_encoder: str = ""
    shape_weights: str = ""
    shape_frozen: bool = False
    shape_input: Literal["points", "views", "both"] = "points"
    views: Annotated[int, Range(0)] = 0
    views_from: Literal["all", "even", "odd", "points"] = "all"
    view_pooling: Pooling = "mean"
    shape_turns: Count = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_lengths(self.bits)
        object.__setattr__(self, "views", view_count(self.views, self.views_from, self.shape_input))
        for side in ("image", "shape"):
            encoder, weights, frozen = (
                getattr(self, f"{side}_{part}") for part in ("encoder", "weights", "frozen")
            )
            if weights and not encoder:
                raise ConfigError(f"model.{side}_weights is given without model.{side}_encoder")
            if encoder and frozen and not weights:
                raise ConfigError(
                    f"model.{side}_encoder = {encoder!r}: a frozen tower needs model.{side}_weights (nothing is "
                    f"downloaded); model.{side}_frozen=false trains it from random weights"
                )
        if self.shape_input == "views" and self.shape_encoder:
            raise ConfigError(
                f"model.shape_encoder = {self.shape_encoder!r}: sees points, and model.shape_input=views shows it none"
            )
        if self.image_size % self.patch_size:
            raise ConfigError(f"model.image_size = {self.image_size} is not a multiple of {self.patch_size}")
        if self.stem_channels and (self.patch_size < 4 or self.patch_size.bit_count() > 1):
            raise ConfigError(
                f"model.patch_size = {self.patch_size}: with model.stem_channels, expected 4, 8, 16, 32, …"
            )
        if (
            self.width % 4
            or self.width % self.heads
            or self.decoder_width % 4
            or self.decoder_width % self.decoder_heads
        ):
            raise ConfigError("model.width and model.decoder_width must be multiples of 4 and of their heads")
        if not 1 <= self.group_size <= self.points or not 1 <= self.groups <= self.points:
            raise ConfigError("model.groups and model.group_size must be between 1 and model.points")
