"""The CMAH model: two masked autoencoders, a fusion block, and a hash head for each modality.

After "Contrastive masked auto-encoders based self-supervised hashing for 2D image and 3D point cloud cross-modal
retrieval" (Wei et al., arXiv 2408.05711). A reconstruction: the paper's layer sizes, mask ratios and hash layers
are not known here. Sizes and ratios are those of its closest published relatives, Point-MAE and MAE ("lineage").
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from cmah.models.backbones import image_tower, shape_tower, tower_remarks
from cmah.models.batch_statistics import uncounted
from cmah.models.cmah_config import ModelConfig
from cmah.models.convolutional_tokenizer import ConvolutionalTokenizer, painted_over
from cmah.models.decoders import ImageDecoder, PointDecoder
from cmah.models.encoders import TokenEncoder, pool
from cmah.models.fusion import FusionBlock
from cmah.models.hash_head import HashHead
from cmah.models.tokenizers import ImageTokenizer, PointTokenizer, patchify, position_mlp, random_split, take
from cmah.models.view_pooling import ViewPooling, each_view, features_of_views


@dataclass
class CmahOutput:
    """What the losses read of a batch of b pairs; the masked parts are None where no loss needs them.

    Examples:
        Of 196 patches 147 are masked, of 64 groups 38.

        >>> model = Cmah(ModelConfig(bits=(8, 16), width=24, depth=1, decoder_width=24, decoder_depth=1))
        >>> images, clouds = torch.zeros(2, 3, 224, 224, dtype=torch.uint8), torch.rand(2, 1024, 3)
        >>> output = model(images, clouds, torch.Generator())
        >>> [tuple(part.shape) for part in (output.full_image, output.patches[0], output.groups[0])]
        [(2, 16), (2, 147, 768), (2, 38, 32, 3)]
    """

    full_image: Tensor  # [b, bits] relaxed codes of full images
    full_shape: Tensor
    masked_image: Tensor | None = None  # [b, bits] relaxed codes of visible tokens only
    masked_shape: Tensor | None = None
    patches: tuple[Tensor, Tensor] | None = None  # predicted and true pixels of masked patches [b, m, p]
    groups: tuple[Tensor, Tensor] | None = None  # predicted and true points of masked groups [b, m, size, 3]
    second_image: Tensor | None = None  # [b, bits] relaxed codes of other full images of the same shapes


class Cmah(nn.Module):
    """Image and point-cloud encoders, fusion, decoders and hash heads; see `ModelConfig`, and `EncoderModel`.

    Its outputs are the real numbers before the sign, [b, bits]: codes are their signs, embeddings their tanh.

    Examples:
        >>> model = Cmah(ModelConfig(bits=(8, 16), width=24, depth=1, decoder_width=24, decoder_depth=1))
        >>> shapes = model.eval().encode_shapes({"points": torch.rand(3, 1024, 3)})
        >>> images = model.encode_images(torch.zeros(2, 3, 224, 224, dtype=torch.uint8))
        >>> tuple(shapes.shape), tuple(images.shape)
        ((3, 16), (2, 16))
    """

    learned_codes = True
    colours = False
    masks = False
    image_kinds: tuple[str, ...] = ()
    frozen_images = None  # a frozen tower's features are not kept: the head needs them standardised

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        c = self.config = config
        self.image_tokenizer: ImageTokenizer | ConvolutionalTokenizer = (
            ConvolutionalTokenizer(c.image_size, c.patch_size, c.width, c.stem_channels)
            if c.stem_channels
            else ImageTokenizer(c.image_size, c.patch_size, c.width)
        )
        self.image_encoder = TokenEncoder(c.width, c.depth, c.heads, drop_path=c.drop_path)
        self.image_decoder = ImageDecoder(
            c.image_size, c.patch_size, c.width, c.decoder_width, c.decoder_depth, c.decoder_heads
        )
        self.point_tokenizer = PointTokenizer(c.groups, c.group_size, c.token_width, c.width)
        self.point_position = position_mlp(c.width)
        self.point_encoder = TokenEncoder(c.width, c.depth, c.heads, drop_path=c.drop_path, qkv_bias=False)
        self.point_decoder = PointDecoder(
            c.group_size, c.width, c.decoder_width, c.decoder_depth, c.decoder_heads
        )
        self.fusion = FusionBlock(c.width, c.fusion_depth, c.heads) if c.fusion_depth else None
        self.apply(_initialise)
        for decoder in (self.image_decoder, self.point_decoder):
            # so that training starts from predictions of 0 (a grey patch, the group's centre), not from noise of norm 1
            nn.init.zeros_(decoder.predict.weight)
        self.image_tower = self.shape_tower = None
        self.code_lengths, self.width = c.bits, c.bits[-1]
        self.image_size, self.points = c.image_size, 0 if c.shape_input == "views" else c.points
        self.shape_input, self.views_from, self.view_group = c.shape_input, c.views_from, 1
        self.views: int = 0 if c.shape_input == "points" else c.views
        self.remarks: list[str] = []
        image_width = shape_width = 2 * c.width
        if c.image_encoder:
            tower, image = image_tower(c.image_encoder, c.image_weights, c.image_size, frozen=c.image_frozen)
            self.image_tower, image_width = tower, image.dim
        if c.shape_encoder:
            tower, shape = shape_tower(c.shape_encoder, c.shape_weights, frozen=c.shape_frozen)
            self.shape_tower, shape_width = tower, shape.dim
            self.remarks = tower_remarks(c.shape_encoder, shape, c.points)
        point_width = shape_width
        if self.views:
            shape_width = image_width + (point_width if self.points else 0)
        # a tower's features are wider than the pooled tokens: the masked stream is mapped to their width
        self.image_lift = nn.Linear(2 * c.width, image_width) if self.image_tower else nn.Identity()
        lifted = self.shape_tower is not None or self.shape_input == "both"
        self.shape_lift = nn.Linear(2 * c.width, shape_width) if lifted else nn.Identity()
        # a tower's features share a large mean, and their scales differ by encoder: without standardising them,
        # retrieval from 64 bits lost three points of mAP (MobileNetV2 and PointNet, 41 categories)
        normed_image = c.standardise or self.image_tower is not None
        self.image_norm = _standardise(image_width) if normed_image else nn.Identity()
        normed_shape = c.standardise or self.shape_tower is not None
        self.shape_norm = _standardise(point_width) if normed_shape else nn.Identity()
        self.view_pooling = ViewPooling(image_width, c.view_pooling) if self.views else None
        self.view_norm = _standardise(image_width) if self.views and normed_image else nn.Identity()
        # of the masked streams, which standardise by the batch only; their statistics are never used
        self.masked_image_norm = _standardise(image_width) if c.standardise else nn.Identity()
        self.masked_shape_norm = _standardise(shape_width) if c.standardise else nn.Identity()
        longest = c.bits[-1]
        self.image_head, self.shape_head = (
            HashHead(width, longest, c.head_hidden, c.head, c.head_dropout, standardise=c.standardise)
            for width in (image_width, shape_width)
        )
        # ImageNet statistics, used by MAE and by most towers
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).reshape(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).reshape(3, 1, 1), persistent=False)
        self.mean: Tensor
        self.std: Tensor

    def encode_images(self, images: Tensor) -> Tensor:
        """Full images uint8 [b, 3, image_size, image_size] to real outputs [b, bits]."""
        return self.image_head(self.image_norm(self._image_features(images.float() / 255)))

    def encode_shapes(self, shapes: Mapping[str, Tensor]) -> Tensor:
        """A batch of full shapes to real outputs [b, bits].

        Args:
            shapes: what `shape_input` asks for, as in `EncoderModel`. Clouds have 3 columns.
        """
        features = None
        if self.points:
            turns, points = self.config.shape_turns, shapes["points"]
            each = [self._shape_features(turned(points, 2 * math.pi * i / turns)) for i in range(turns)]
            features = torch.stack(each).mean(dim=0)
        return self.shape_head(self._described(features, shapes))

    def _described(self, features: Tensor | None, shapes: Mapping[str, Tensor]) -> Tensor:
        """What the head takes of a shape: features of its points, of its views, or one after the other."""
        parts = [] if features is None else [self.shape_norm(features)]
        if self.view_pooling is not None:
            there, seen = shapes["view_mask"], features_of_views(shapes, self._image_features)
            normed = each_view(self.view_norm, seen, there, self.training)
            parts.append(self.view_pooling(normed, there))
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def _image_features(self, scaled: Tensor) -> Tensor:
        """Features of full images, float [b, 3, s, s] in 0..1, before they are standardised."""
        if self.image_tower is not None:
            return self.image_tower(scaled)
        return pool(self.image_encoder(self.image_tokenizer((scaled - self.mean) / self.std)))

    def embeddings(self, outputs: np.ndarray) -> np.ndarray:
        """Vectors to compare by cosine, float32 [n, bits], from outputs of that shape: their tanh."""
        return np.tanh(outputs)

    def code_outputs(self, outputs: np.ndarray) -> np.ndarray:
        """The outputs [n, bits] themselves, whose signs are the codes."""
        return outputs

    def _shape_features(self, points: Tensor) -> Tensor:
        if self.shape_tower is not None:
            return self.shape_tower(points)
        centres, groups = self.point_tokenizer.group(points)
        return pool(self.point_encoder(self.point_tokenizer(groups), self.point_position(centres)))

    def forward(
        self,
        images: Tensor,
        points: Tensor | None,
        generator: torch.Generator,
        *,
        masked: int | None = None,
        features: tuple[Tensor | None, Tensor | None] = (None, None),
        views: Mapping[str, Tensor] | None = None,
        second: Tensor | None = None,
    ) -> CmahOutput:
        """A training pass over b pairs.

        Args:
            images: uint8 [b, 3, image_size, image_size].
            points: float32 [b, points, 3], row i the shape of image i; None where only views are seen.
            generator: on the CPU; decides masks and the first points of farthest-point sampling.
            masked: how many pairs, from the first on, go through the masked streams and the decoders as well;
                None means all of them.
            features: of the images and of the shapes, if those of a frozen tower were computed beforehand, else None.
            views: those that describe the shapes, where the model sees views, as `EncoderModel` takes them.
            second: other images of the same shapes, as `images`; they have no masked stream.
        """
        masked = len(images) if masked is None else min(masked, len(images))
        normalised = (images.float() / 255 - self.mean) / self.std
        # with a tower, only the masked streams need tokens
        normalised = normalised if self.image_tower is None else normalised[:masked]
        clouds = normalised[:0] if points is None else points if self.shape_tower is None else points[:masked]
        image_tokens = point_tokens = centres = groups = normalised[:0]
        if len(normalised):
            image_tokens = self.image_tokenizer(normalised)
        if len(clouds):
            centres, groups = self.point_tokenizer.group(clouds, generator)
            point_tokens = self.point_tokenizer(groups)
        full_image, full_shape = features
        if full_image is None:
            full_image = (
                pool(self.image_encoder(image_tokens))
                if self.image_tower is None
                else self.image_tower(images.float() / 255)
            )
        if full_shape is None and points is not None:
            full_shape = (
                pool(self.point_encoder(point_tokens, self.point_position(centres)))
                if self.shape_tower is None
                else self.shape_tower(points)
            )
        output = CmahOutput(
            self.image_head.relax(self.image_head(self.image_norm(full_image))),
            self.shape_head.relax(self.shape_head(self._described(full_shape, views or {}))),
        )
        if second is not None:
            outputs = self.image_head(self.image_norm(self._image_features(second.float() / 255)))
            output.second_image = self.image_head.relax(outputs)
        if masked:
            with uncounted(self.image_tokenizer, self.image_head, self.shape_head):
                self._masked_streams(
                    output, normalised[:masked], image_tokens[:masked], centres[:masked], groups[:masked],
                    point_tokens[:masked], generator,
                )  # fmt: skip
        return output

    def _masked_streams(
        self,
        output: CmahOutput,
        images: Tensor,
        image_tokens: Tensor,
        centres: Tensor,
        groups: Tensor,
        point_tokens: Tensor,
        generator: torch.Generator,
    ) -> None:
        """Add to `output` the codes of the visible tokens and the decoders' predictions of the masked ones."""
        c, b = self.config, len(images)
        image_visible, image_masked = random_split(b, image_tokens.shape[1], c.image_mask, generator)
        if isinstance(self.image_tokenizer, ConvolutionalTokenizer):  # its tokens know what lies around them
            hidden = painted_over(images, image_masked, c.patch_size)
            image_tokens = self.image_tokenizer(hidden)
        if not self.points:  # shapes have no masked stream
            visible_image = self.image_encoder(take(image_tokens, image_visible))
            output.masked_image = self._masked_codes_of_image(visible_image)
            patches = self.image_decoder(visible_image, image_visible, image_masked)
            output.patches = patches, take(patchify(images, c.patch_size), image_masked)
            return
        point_visible, point_masked = random_split(b, c.groups, c.point_mask, generator)
        visible_image = self.image_encoder(take(image_tokens, image_visible))
        visible_centres, masked_centres = take(centres, point_visible), take(centres, point_masked)
        visible_shape = self.point_encoder(
            take(point_tokens, point_visible), self.point_position(visible_centres)
        )
        output.masked_image = self._masked_codes_of_image(visible_image)
        lifted_shape = self.masked_shape_norm(self.shape_lift(pool(visible_shape)))
        output.masked_shape = self.shape_head.relax(self.shape_head(lifted_shape))
        if self.fusion is not None:
            visible_image, visible_shape = self.fusion(visible_image, visible_shape)
        patches = self.image_decoder(visible_image, image_visible, image_masked)
        output.patches = patches, take(patchify(images, c.patch_size), image_masked)
        points = self.point_decoder(visible_shape, visible_centres, masked_centres)
        output.groups = points, take(groups, point_masked)

    def _masked_codes_of_image(self, visible: Tensor) -> Tensor:
        """Relaxed codes [b, bits] of the encoded visible tokens [b, v, width]."""
        return self.image_head.relax(self.image_head(self.masked_image_norm(self.image_lift(pool(visible)))))


def turned(points: Tensor, angle: float) -> Tensor:
    """Points [b, n, 3] or, with colours, [b, n, 6], rotated about the y axis by an angle in radians.

    Examples:
        >>> turned(torch.tensor([[[1.0, 2.0, 0.0]]]), math.pi / 2).round().tolist()
        [[[0.0, 2.0, -1.0]]]
    """
    if angle == 0:
        return points
    x, y, z, *colours = points.unbind(dim=2)
    sine, cosine = math.sin(angle), math.cos(angle)
    return torch.stack([cosine * x + sine * z, y, cosine * z - sine * x, *colours], dim=2)


def _standardise(width: int) -> nn.BatchNorm1d:
    """Each feature minus its mean, divided by its deviation; a large epsilon keeps nearly constant ones small."""
    return nn.BatchNorm1d(width, eps=2.5e-3, affine=False)


def _initialise(module: nn.Module) -> None:
    if isinstance(
        module, nn.Linear
    ):  # as in MAE; Point-MAE's N(0, 0.02) makes positions vanish in short runs
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
