"""Hash heads over frozen encoders: an image encoder that sees images and views of shapes, and a point encoder.

Only the two heads are trained, on features that are computed once, so that training takes minutes on a CPU.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from cmah.errors import ConfigError
from cmah.models.backbones import Frozen, image_tower, shape_tower, tower_remarks
from cmah.models.cmah_network import turned
from cmah.models.encoder_model import FrozenImages
from cmah.models.hash_head import HashHead, check_lengths
from cmah.models.pretrained.backbone_spec import BackboneSpec
from cmah.models.pretrained.image_towers import ImageBackbone
from cmah.models.standardising import Standardise
from cmah.models.view_pooling import features_of_views
from cmah.settings import Count, ProperShare, Range, Settings

IMAGE_KINDS = ("render", "picture", "photo")


@dataclass(frozen=True)
class FrozenTowersConfig(Settings):
    """The frozen encoders, and the heads over them.

    Attributes:
        bits: code lengths; each is a prefix of the longest.
        head_hidden: width of the hidden layer of the hash heads; 0 for none.
        head_dropout: dropout of the hash heads, from 0 up to 1.
        image_encoder: the image encoder: timm:NAME, open_clip:NAME or slip:ViT-B-16.
        image_weights: its weights: a file or download:TAG.
        image_size: pixels; 0 takes the encoder's size, in a new run that of the dataset's images if that is less and
            the encoder takes it.
        image_stages: of how many of its last stages the features are taken beside its embedding; 0 for none. An
            encoder that is named with `stages=N` keeps to that.
        shape_input: what shows a shape: its "points", "views" that are drawn from its points, or "both".
        views: how many such views are drawn.
        views_from: "points" alone: no render is a view.
        shape_encoder: the point-cloud encoder, a name that `cmah encoders` lists; not used with "views".
        shape_weights: file of its weights.
        shape_turns: equal turns about the up axis over which its features are averaged; 1 for none.
        points: points of each cloud that the point encoder takes; 0 takes as many as it was trained on.

    Examples:
        >>> towers = dict(image_encoder="timm:resnet18", image_weights="image.pt")
        >>> FrozenTowersConfig(**towers, shape_input="views").views
        6
        >>> FrozenTowersConfig(**towers)
        Traceback (most recent call last):
        cmah.errors.ConfigError: model.shape_encoder is not set: give --shape-encoder, such as pointnet (...)
    """

    table = "model"

    bits: tuple[int, ...] = (64,)
    head_hidden: int = 512
    head_dropout: ProperShare = 0.5
    image_encoder: str = ""
    image_weights: str = ""
    image_size: int = 0
    image_stages: Annotated[int, Range(0)] = 4
    shape_input: Literal["points", "views", "both"] = "both"
    views: Count = 6
    views_from: Literal["points"] = "points"
    shape_encoder: str = ""
    shape_weights: str = ""
    shape_turns: Count = 4
    points: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_lengths(self.bits)
        sides = [("image", "open_clip:ViT-B-32")]
        if self.shape_input != "views":
            sides.append(("shape", "pointnet"))
        for side, example in sides:
            if not getattr(self, f"{side}_encoder"):
                raise ConfigError(
                    f"model.{side}_encoder is not set: give --{side}-encoder, such as {example} (cmah encoders lists "
                    "them)"
                )
            if not getattr(self, f"{side}_weights"):
                raise ConfigError(
                    f"model.{side}_weights is not set: a frozen encoder needs its weights; give --{side}-weights FILE"
                )


class FrozenTowers(nn.Module):
    """See `FrozenTowersConfig`, and `EncoderModel`.

    Its outputs are the real numbers before the sign, [b, bits]: codes are their signs, embeddings their tanh.

    Attributes:
        image_kinds: the kinds of images whose features are standardised apart.
        shape_width: numbers that `shape_features` gives.
        encoder_widths: how many of these each frozen encoder gives, in order: of the points, then of the views.

    Examples:
        >>> net = image_tower("timm:mobilenetv3_small_050", "", 64, frozen=False)[1].net
        >>> torch.save(net.state_dict(), "image.pt")
        >>> towers = {"image_encoder": "timm:mobilenetv3_small_050", "image_weights": "image.pt", "image_size": 64}
        >>> config = FrozenTowersConfig(**towers, shape_input="views", views=2, bits=(8, 16))
        >>> model = FrozenTowers(config).eval()
        >>> views = torch.zeros(3, 2, 3, 64, 64, dtype=torch.uint8)
        >>> tuple(model.encode_shapes({"views": views, "view_mask": torch.ones(3, 2, dtype=torch.bool)}).shape)
        (3, 16)
    """

    learned_codes = True
    masks = False
    view_group = 1
    image_kinds: tuple[str, ...] = IMAGE_KINDS

    def __init__(self, config: FrozenTowersConfig) -> None:
        super().__init__()
        c = self.config = config
        self.code_lengths, self.width = c.bits, c.bits[-1]
        self.shape_input, self.views_from = c.shape_input, c.views_from
        name = c.image_encoder
        added = c.image_stages > 0 and "stages" not in BackboneSpec.parse(name).options
        if added:
            name += f"{'&' if '?' in name else '?'}stages={c.image_stages}"
        self.image_name = name
        try:
            self.image_tower, image = image_tower(name, c.image_weights, c.image_size, frozen=True)
        except ConfigError as error:
            if not added or "stages=" not in str(error):
                raise
            raise ConfigError(f"{error}; set model.image_stages to as many, or to 0 for none") from None
        self.image_size = c.image_size or image.default_size
        self.image_norm = Standardise(image.widths, len(IMAGE_KINDS))
        self.image_head = HashHead(image.dim, c.bits[-1], c.head_hidden, "tanh", c.head_dropout)
        self.shape_tower: nn.Module | None = None
        self.points, self.colours, self.views, self.remarks = 0, False, 0, list[str]()
        widths: list[int] = []
        self.encoder_widths: list[int] = []
        if c.shape_input != "views":
            self.shape_tower, shape = shape_tower(c.shape_encoder, c.shape_weights, frozen=True)
            self.remarks = tower_remarks(c.shape_encoder, shape, c.points)
            self.points, self.colours = c.points or shape.points, shape.colours
            widths += shape.layer_widths or (shape.dim,)
            self.encoder_widths.append(shape.dim)
        if c.shape_input != "points":
            self.views = c.views
            widths += image.widths
            self.encoder_widths.append(image.dim)
        self.shape_width = sum(widths)
        self.shape_norm = Standardise(widths)
        self.shape_head = HashHead(sum(widths), c.bits[-1], c.head_hidden, "tanh", c.head_dropout)

    @property
    def image_encoder(self) -> ImageBackbone:
        """The frozen encoder within the image tower."""
        encoder: ImageBackbone = cast(Frozen, self.image_tower).net
        return encoder

    @property
    def frozen_images(self) -> FrozenImages:
        """The frozen image encoder, whose features `encode_image_features` takes."""
        return FrozenImages(self.image_name, self.config.image_weights, self.image_encoder)

    @property
    def frozen_settings(self) -> list[Any]:
        """What `shape_features` depends on, beside the encoders and the shapes; JSON can hold it."""
        c = self.config
        return [c.shape_input, self.views, self.views_from, self.points, c.shape_turns, self.image_size]

    def encode_images(self, images: Tensor) -> Tensor:
        """Images uint8 [b, 3, s, s], of a kind that is not known, to outputs [b, bits]."""
        return self.encode_image_features(self.image_tower(images.float() / 255))

    def encode_image_features(self, features: Tensor, kinds: Tensor | None = None) -> Tensor:
        """Outputs [b, bits] from features of the image encoder that were computed beforehand.

        Args:
            features: float32 [b, d].
            kinds: int64 [b], the number of each image's kind in `image_kinds`, -1 where it is not known; None: of none.
        """
        return self.image_head(self.image_norm(features, kinds))

    def encode_shapes(self, shapes: Mapping[str, Tensor]) -> Tensor:
        """A batch of shapes, what `shape_input` asks for as in `EncoderModel`, to outputs [b, bits]."""
        return self.encode_shape_features(self.shape_features(shapes))

    def encode_shape_features(self, features: Tensor) -> Tensor:
        """Outputs [b, bits] from what `shape_features` gave beforehand, float32 [b, e]."""
        return self.shape_head(self.shape_norm(features))

    def shape_features(self, shapes: Mapping[str, Tensor]) -> Tensor:
        """What the frozen encoders make of a batch of shapes, [b, e]: of the points, and of the views in the mean."""
        parts = []
        if self.shape_tower is not None:
            parts.append(self.point_features(shapes["points"]))
        if self.views:
            parts.append(self.seen(shapes))
        return torch.cat(parts, dim=1)

    def point_features(self, points: Tensor) -> Tensor:
        """Features [b, d] of clouds [b, points, 3 or 6], the mean over `shape_turns` turns about the up axis."""
        assert self.shape_tower is not None
        turns = self.config.shape_turns
        each = [self.shape_tower(turned(points, 2 * math.pi * i / turns)) for i in range(turns)]
        return torch.stack(each).mean(dim=0)

    def seen(self, shapes: Mapping[str, Tensor]) -> Tensor:
        """The mean [b, d] of the features of the views that there are of each shape."""
        there = shapes["view_mask"][..., None]
        features = features_of_views(shapes, self.image_tower)
        return features.masked_fill(~there, 0.0).sum(dim=1) / there.sum(dim=1)

    @property
    def view_width(self) -> int:
        """Numbers in a vector of `image_vectors` and `view_vectors`; 0 where shapes are seen by their points alone."""
        return len(self.image_norm.weight) if self.views else 0

    def image_vectors(self, features: Tensor, kinds: Tensor | None = None) -> Tensor:
        """Vectors [b, view_width] to compare images with views of shapes: the standardised features themselves.

        The heads learn what shapes of a category share; what tells one from another is better seen by the frozen
        encoder, picture beside picture. Arguments as in `encode_image_features`.
        """
        return self.image_norm(features, kinds)

    def view_vectors(self, features: Tensor) -> Tensor:
        """Vectors [b, view_width] of single views, or of the mean of several, from the image encoder's features."""
        norm, columns = self.shape_norm, slice(-self.view_width, None)
        centred = (features - norm.mean[0, columns]) / norm.deviation[0, columns]
        return centred * norm.weight[columns]

    def images_with_vectors(self, images: Tensor) -> Tensor:
        """As `encode_images`, with `image_vectors` behind the outputs: [b, bits + view_width]."""
        features = self.image_tower(images.float() / 255)
        return torch.cat([self.encode_image_features(features), self.image_vectors(features)], dim=1)

    def shapes_with_vectors(self, shapes: Mapping[str, Tensor]) -> Tensor:
        """As `encode_shapes`, with `view_vectors` of the mean of the views behind the outputs."""
        features = self.shape_features(shapes)
        seen = self.view_vectors(features[:, -self.view_width :])
        return torch.cat([self.encode_shape_features(features), seen], dim=1)

    def embeddings(self, outputs: np.ndarray) -> np.ndarray:
        """Vectors to compare by cosine, float32 [n, bits], from outputs of that shape: their tanh."""
        return np.tanh(outputs)

    def code_outputs(self, outputs: np.ndarray) -> np.ndarray:
        """The outputs [n, bits] themselves, whose signs are the codes."""
        return outputs
