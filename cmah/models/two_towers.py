"""Two encoders in one space: a frozen image encoder, a shape encoder that is brought to it, and optional hash heads.

A shape is seen by its points, by its views (through the image encoder), or by both.

The model of Kühn et al. (arXiv 2603.06982) and of Sbrolli and Matteucci (arXiv 2406.02202). The hash heads, and the
separate joint space with its standardisation, are additions of ours; with their defaults (head "itq", joint_dim 0) the
model is the published one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cmah.errors import ConfigError
from cmah.models.backbones import Frozen, image_tower, shape_tower, tower_remarks
from cmah.models.encoder_model import FrozenImages
from cmah.models.hash_head import HashHead, check_lengths
from cmah.models.pretrained.image_towers import ImageBackbone
from cmah.models.view_pooling import Pooling, ViewPooling, each_view, features_of_views, view_count
from cmah.settings import ProperShare, Range, Settings


@dataclass(frozen=True)
class TowersConfig(Settings):
    """The two towers, and how their embeddings become codes.

    Attributes:
        bits: code lengths; with a learned head each is a prefix of the longest.
        head: "itq" fits codes to the embeddings after training; "tanh" and "layernorm_ste" are hash heads learned
            with the embeddings.
        head_hidden: width of the hidden layer of learned hash heads; 0 for none.
        head_dropout: dropout of learned hash heads, from 0 up to 1.
        joint_dim: width of the space that both sides are projected to; 0 uses the image encoder's space.
        image_encoder: the image encoder, always frozen: timm:NAME, open_clip:NAME or slip:ViT-B-16.
        image_weights: its weights: a file or download:TAG.
        image_size: pixels; 0 takes the encoder's size.
        shape_input: what shows a shape: its "points", its "views", or "both".
        views: how many views of a shape the image encoder sees; 0 takes 12 renders, or 6 that are drawn.
        views_from: which renders of a shape may be its views: "all", or every second one, "even" or "odd", so that
            the others can be queries; or "points": none, its views are drawn from its own points.
        view_pooling: how the vectors of the views become one: "mean", "max" or a learned "attention".
        joining: how points and views become one vector, where there are both: "concatenate" projects the two
            together, "average" takes the mean of their unit vectors.
        shape_encoder: the point-cloud encoder, a name that `cmah encoders` lists; not used with "views".
        shape_weights: file of its weights; "" trains it from random weights.
        shape_frozen: whether the shape encoder stays as loaded.
        points: points of each cloud; 0 takes as many as the encoder was trained on.

    Examples:
        >>> towers = dict(image_encoder="timm:resnet18", image_weights="image.pt", shape_encoder="pointnet")
        >>> TowersConfig(**towers).head
        'itq'
        >>> TowersConfig(**towers, head="tanh", bits=(16, 32)).bits
        (16, 32)
        >>> TowersConfig(**towers, bits=(16, 32))
        Traceback (most recent call last):
        cmah.errors.ConfigError: model.bits = [16, 32]: codes by ITQ are not nested; give one length, ...
    """

    table = "model"

    bits: tuple[int, ...] = (64,)
    head: Literal["itq", "tanh", "layernorm_ste"] = "itq"
    head_hidden: int = 0
    head_dropout: ProperShare = 0.0
    joint_dim: int = 0
    image_encoder: str = ""
    image_weights: str = ""
    image_size: int = 0
    shape_input: Literal["points", "views", "both"] = "points"
    views: Annotated[int, Range(0)] = 0
    views_from: Literal["all", "even", "odd", "points"] = "all"
    view_pooling: Pooling = "mean"
    joining: Literal["concatenate", "average"] = "concatenate"
    shape_encoder: str = ""
    shape_weights: str = ""
    shape_frozen: bool = False
    points: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_lengths(self.bits)
        object.__setattr__(self, "views", view_count(self.views, self.views_from, self.shape_input))
        if self.head == "itq" and len(self.bits) > 1:
            raise ConfigError(
                f"model.bits = {list(self.bits)}: codes by ITQ are not nested; give one length, or learn a head with "
                "model.head=tanh"
            )
        for side, example in (("image", "open_clip:ViT-B-32"), ("shape", "openshape_g14")):
            if side == "shape" and self.shape_input == "views":
                continue
            if not getattr(self, f"{side}_encoder"):
                raise ConfigError(
                    f"model.{side}_encoder is not set: give --{side}-encoder, such as {example} (cmah encoders lists "
                    "them)"
                )
        if not self.image_weights:
            raise ConfigError(
                "model.image_weights is not set: a frozen image encoder needs its weights; give --image-weights FILE "
                "or download:TAG"
            )
        if self.shape_frozen and not self.shape_weights and self.shape_input != "views":
            raise ConfigError(
                "model.shape_frozen is on without model.shape_weights: the encoder would keep its random weights; set "
                "model.shape_weights=FILE or model.shape_frozen=false"
            )


class TwoTowers(nn.Module):
    """See `TowersConfig`, and `EncoderModel`.

    An output is the embedding, followed, with learned heads, by the real numbers whose signs are the longest code.

    Attributes:
        dim: width of the joint space.
        aligned: whether the encoders share their space before any training here (as far as widths can tell).
        remarks: lines for people on what was loaded.

    Examples:
        >>> net = image_tower("timm:mobilenetv3_small_050", "", 64, frozen=False)[1].net
        >>> torch.save(net.state_dict(), "image.pt")
        >>> towers = {"image_encoder": "timm:mobilenetv3_small_050", "shape_encoder": "pointnet"}
        >>> config = TowersConfig(**towers, image_weights="image.pt", joint_dim=32, head="tanh", bits=(8, 16))
        >>> model = TwoTowers(config).eval()
        >>> embeddings, relaxed = model.split(model.encode_shapes({"points": torch.rand(2, 100, 3)}))
        >>> tuple(embeddings.shape), tuple(relaxed.shape)
        ((2, 32), (2, 16))
    """

    masks = False
    image_kinds: tuple[str, ...] = ()

    def __init__(self, config: TowersConfig) -> None:
        super().__init__()
        c = self.config = config
        # the parts of the shape side that `shape_input` leaves out are None
        self.shape_tower: nn.Module | None
        self.view_pooling: ViewPooling | None
        self.joined: nn.Linear | None
        self.image_tower, image = image_tower(c.image_encoder, c.image_weights, c.image_size, frozen=True)
        self.image_size, self.dim = c.image_size or image.default_size, c.joint_dim or image.dim
        self.points, self.colours, self.remarks = 0, False, list[str]()
        self.shape_tower = self.view_pooling = None
        self.shape_input, self.views_from, self.view_group = c.shape_input, c.views_from, 1
        self.views = 0 if c.shape_input == "points" else c.views
        self.aligned = not c.joint_dim
        if c.shape_input != "views":
            self.shape_tower, shape = shape_tower(c.shape_encoder, c.shape_weights, frozen=c.shape_frozen)
            self.remarks = tower_remarks(c.shape_encoder, shape, c.points)
            self.points, self.colours = c.points or shape.points, shape.colours
            self.aligned = not c.joint_dim and shape.dim == image.dim
        self.image_projection = _projection(image.dim, c.joint_dim)
        if self.shape_tower is not None:
            self.shape_projection = nn.Identity() if self.aligned else nn.Linear(shape.dim, self.dim)
        if c.shape_input != "points":
            self.view_projection = _projection(image.dim, c.joint_dim)
            self.view_pooling = ViewPooling(self.dim, c.view_pooling)
        self.joined = None
        if c.shape_input == "both" and c.joining == "concatenate":
            self.joined = nn.Linear(2 * self.dim, self.dim)
            self.aligned = False
        self.image_head = self.shape_head = None
        if c.head != "itq":
            self.image_head = HashHead(self.dim, c.bits[-1], c.head_hidden, c.head, c.head_dropout)
            self.shape_head = HashHead(self.dim, c.bits[-1], c.head_hidden, c.head, c.head_dropout)
        self.learned_codes, self.code_lengths = c.head != "itq", c.bits
        self.width = self.dim + (c.bits[-1] if self.learned_codes else 0)

    @property
    def image_encoder(self) -> ImageBackbone:
        """The frozen encoder within the image tower."""
        encoder: ImageBackbone = cast(Frozen, self.image_tower).net
        return encoder

    @property
    def frozen_images(self) -> FrozenImages:
        """The frozen image encoder, whose embeddings `encode_image_features` takes."""
        return FrozenImages(self.config.image_encoder, self.config.image_weights, self.image_encoder)

    def encode_images(self, images: Tensor) -> Tensor:
        """Images uint8 [b, 3, s, s] to outputs [b, width]."""
        return self.encode_image_features(self.image_tower(images.float() / 255))

    def encode_image_features(self, features: Tensor) -> Tensor:
        """Outputs [b, width] from embeddings of the image encoder [b, d] that were computed beforehand."""
        return self._outputs(self.image_projection(features), self.image_head)

    def encode_shapes(self, shapes: Mapping[str, Tensor]) -> Tensor:
        """A batch of shapes to outputs [b, width].

        Args:
            shapes: "points": clouds float32 [b, points, 3 or 6], normalised, y up; of the views uint8 "views"
                [b, v, 3, s, s] or what the image encoder made of them, float32 "view_features" [b, v, d], and bool
                "view_mask" [b, v], which of the v places hold a view. Each only where `shape_input` asks for it.
        """
        parts = []
        if self.shape_tower is not None:
            parts.append(self.shape_projection(self.shape_tower(shapes["points"])))
        if self.view_pooling is not None:
            parts.append(self._seen(shapes, self.view_pooling))
        if len(parts) == 1:
            return self._outputs(parts[0], self.shape_head)
        units = [functional.normalize(part.float(), dim=1) for part in parts]
        if self.joined is None:
            return self._outputs(units[0] + units[1], self.shape_head)
        return self._outputs(self.joined(torch.cat(units, dim=1) * self.dim**0.5), self.shape_head)

    def _seen(self, shapes: Mapping[str, Tensor], pooling: ViewPooling) -> Tensor:
        """The pooled unit vectors of the views in the joint space, [b, dim]."""
        there, features = shapes["view_mask"], features_of_views(shapes, self.image_tower)
        units = each_view(
            lambda rows: functional.normalize(self.view_projection(rows).float(), dim=1),
            features,
            there,
            self.training,
        )
        pooled: Tensor = pooling(units, there)
        return pooled

    def embeddings(self, outputs: np.ndarray) -> np.ndarray:
        """The part of outputs [n, width] that is the embedding, of unit length: [n, dim]."""
        return outputs[:, : self.dim]

    def code_outputs(self, outputs: np.ndarray) -> np.ndarray:
        """The part of outputs [n, width] that the learned heads gave, [n, bits]; their signs are the codes."""
        return outputs[:, self.dim :]

    def _outputs(self, joint: Tensor, head: HashHead | None) -> Tensor:
        embedding = functional.normalize(joint.float(), dim=1)
        # scaled by the root of its width, a unit vector has components of about 1, as the head's norm expects
        return embedding if head is None else torch.cat([embedding, head(embedding * self.dim**0.5)], dim=1)

    def split(self, outputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Outputs [b, width] to unit embeddings [b, dim] and, with learned heads, relaxed codes [b, bits]."""
        if self.image_head is None:
            return outputs, None
        return outputs[:, : self.dim], self.image_head.relax(outputs[:, self.dim :])


def _projection(width: int, joint_dim: int) -> nn.Module:
    """From the space of the image encoder to a joint space; nothing where there is no separate one.

    Features of a classifier share a large mean and differ in scale; the linear layer after the norm makes an affine
    part superfluous.
    """
    if not joint_dim:
        return nn.Identity()
    return nn.Sequential(nn.BatchNorm1d(width, eps=2.5e-3, affine=False), nn.Linear(width, joint_dim))
