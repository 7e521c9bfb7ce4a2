"""What a network must offer so that a run can encode with it, whatever recipe trained it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from torch import Tensor

from cmah.models.pretrained.image_towers import ImageBackbone


@dataclass(frozen=True)
class FrozenImages:
    """The frozen image encoder that a model begins with, whose embeddings can be computed once and kept.

    Attributes:
        encoder: timm:NAME, open_clip:NAME or slip:ViT-B-16.
        weights: its file, or download:TAG.
        backbone: the encoder with its weights.

    Examples:
        >>> from cmah.models.pretrained.backbone_spec import BackboneSpec
        >>> backbone = ImageBackbone(BackboneSpec.parse("timm:mobilenetv3_small_050"))
        >>> images = FrozenImages("timm:mobilenetv3_small_050", "mobilenet.pt", backbone)
        >>> images.backbone.dim, images.backbone.default_size
        (1024, 224)
    """

    encoder: str
    weights: str
    backbone: ImageBackbone


class EncoderModel(Protocol):
    """A network (an `nn.Module`) that maps images and shapes to outputs, of which come embeddings and codes.

    Attributes:
        code_lengths: in bits, ascending; a code of each is a prefix of the longest.
        width: numbers in one output.
        learned_codes: whether the signs of `code_outputs` are the codes; else a hash is fitted to the embeddings.
        image_size: side of the images that it takes, in pixels.
        masks: whether images have a fourth channel, the mask of the object: 255 = object. Views never have it.
        image_kinds: the kinds of images ("render", "picture", "photo") that it treats apart, each by its place here;
            () where all are treated alike.
        points: points of the clouds that it takes.
        colours: whether these clouds have colours, six columns in place of three.
        shape_input: what shows it a shape: "points", "views" or "both".
        views: how many views of a shape it takes at most; 0 where it takes none.
        views_from: which renders of a shape may be these: "all", or every second one, "even" or "odd"; or "points":
            none, they are drawn from the shape's own points (see `draws_views`).
        view_group: how many views of a shape give one vector: 1, or several that are seen as one picture.
        frozen_images: where it begins with a frozen image encoder, that encoder; then it has
            `encode_image_features` (float32 [b, d] to outputs [b, width]) too; with `image_kinds`, it takes the number
            of each image's kind beside them, int64 [b], -1 where it is not known.

    Examples:
        >>> import torch
        >>> from cmah.models.cmah_config import ModelConfig
        >>> from cmah.models.cmah_network import Cmah
        >>> config = ModelConfig(bits=(8, 16), width=24, depth=1, decoder_width=24, decoder_depth=1)
        >>> model: EncoderModel = Cmah(config).eval()
        >>> outputs = model.encode_shapes({"points": torch.rand(3, model.points, 3)})
        >>> model.code_lengths, model.width, tuple(outputs.shape)
        ((8, 16), 16, (3, 16))
    """

    code_lengths: tuple[int, ...]
    width: int
    learned_codes: bool
    image_size: int
    masks: bool
    image_kinds: tuple[str, ...]
    points: int
    colours: bool
    views: int
    view_group: int

    @property
    def shape_input(self) -> Literal["points", "views", "both"]:
        """See the class."""

    @property
    def views_from(self) -> Literal["all", "even", "odd", "points"]:
        """See the class."""

    @property
    def frozen_images(self) -> FrozenImages | None:
        """See the class."""

    def encode_images(self, images: Tensor) -> Tensor:
        """Images uint8 [b, 3, image_size, image_size], 4 in place of 3 with masks, to outputs [b, width]."""

    def encode_shapes(self, shapes: Mapping[str, Tensor]) -> Tensor:
        """A named batch of what shows the shapes to outputs [b, width].

        Args:
            shapes: what `shape_input` asks for. "points": float32 [b, points, 3 or 6], normalised, y up. Of the
                views: "views" uint8 [b, v, 3, image_size, image_size], or "view_features" float32 [b, v, d], what
                a frozen image encoder made of them; and "view_mask" bool [b, v], which places hold a view.
        """

    def embeddings(self, outputs: np.ndarray) -> np.ndarray:
        """Real vectors to compare by cosine, float32 [n, d], from outputs [n, width]."""

    def code_outputs(self, outputs: np.ndarray) -> np.ndarray:
        """Real numbers [n, bits] whose signs are the learned codes, from outputs [n, width]."""


def draws_views(model: EncoderModel) -> bool:
    """Whether a model's views of a shape are drawn from the shape's own points, so that it needs no image of it.

    Always `views` of them are drawn then, at `image_size`, from all points of the cloud's file.

    Examples:
        >>> from cmah.models.cmah_config import ModelConfig
        >>> from cmah.models.cmah_network import Cmah
        >>> small = dict(width=24, depth=1, decoder_width=24, decoder_depth=1, shape_input="both", views=2)
        >>> [draws_views(Cmah(ModelConfig(**small, views_from=views_from))) for views_from in ("all", "points")]
        [False, True]
    """
    return bool(model.views) and model.views_from == "points"


def needs_points(model: EncoderModel) -> bool:
    """Whether a model cannot encode a shape without points: it sees them, or views that are drawn from them.

    Examples:
        >>> from cmah.models.cmah_config import ModelConfig
        >>> from cmah.models.cmah_network import Cmah
        >>> small = dict(width=24, depth=1, decoder_width=24, decoder_depth=1, shape_input="views", views=2)
        >>> [needs_points(Cmah(ModelConfig(**small, views_from=views_from))) for views_from in ("all", "points")]
        [False, True]
    """
    return model.points > 0 or draws_views(model)
