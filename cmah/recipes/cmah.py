"""CMAH: contrastive masked autoencoders for hashing (Wei et al., arXiv 2408.05711).

L = L_c + L_r with L_c = full–full + mask–full contrast in both directions and L_r = L_2D + L_3D. The paper's
equations were not at hand: this is a reconstruction from its abstract, figure captions and second-hand
summaries. Weights of 1 are as written there; everything else is the lineage's (see cmah.models.cmah_network).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn

from cmah.config.schema import Config
from cmah.data.dataset import Dataset
from cmah.data.epochs import Batches
from cmah.data.training_batches import TrainingBatches
from cmah.errors import ConfigError
from cmah.features.augmented_batches import FeatureBatches
from cmah.features.describing_views import DescribedBatches, DescribingViews
from cmah.features.drawn_views import DrawnViews
from cmah.features.image_embedder import ImageEmbedder
from cmah.losses.contrastive import nested_info_nce
from cmah.losses.hashing import bit_balance, quantisation
from cmah.losses.reconstruction import group_loss, pixel_loss
from cmah.losses.soft_targets import SoftTargetsConfig, cosines, nested_targets
from cmah.models.backbones import Frozen
from cmah.models.cmah_config import ModelConfig
from cmah.models.cmah_network import Cmah, CmahOutput
from cmah.models.encoder_model import FrozenImages, draws_views
from cmah.negatives.negatives_config import NegativesConfig, described
from cmah.negatives.weights import NegativeWeights, make_negative_weights
from cmah.recipes.recipe import Recipe
from cmah.settings import Range, Settings, Share


@dataclass(frozen=True)
class LossConfig(Settings):
    """Weights of the terms; 0 leaves a term out, and what only it needs is not computed.

    Examples:
        >>> LossConfig(pixels=0.0).mask_full  # no reconstruction of images, the contrasts stay
        1.0
        >>> LossConfig(full_full=0.0, mask_full=0.0)
        Traceback (most recent call last):
        cmah.errors.ConfigError: loss: expected a weight above 0 for at least one of the contrasts
    """

    table = "loss"

    full_full: float = 1.0  # contrast of full images and full shapes
    mask_full: float = 1.0  # contrast of masked images with full shapes and of masked shapes with full images
    full_mask: float = 0.0  # the two reverse directions
    image_image: float = (
        0.0  # contrast of two images of each shape, which both meet the shape in `full_full` too
    )
    masked_part: Share = 1.0  # part of a batch's pairs that goes through the masked streams too (speed)
    pixels: float = 1.0  # L_2D
    points: float = 1.0  # L_3D, in squared units of the unit sphere: about 1e-3; hence points_scale
    points_scale: float = 100.0  # factor on L_3D, so that the parts weigh about the same
    normalise_patches: bool = True  # per-patch normalisation of the pixel targets (MAE)
    temperature: Annotated[float, Range(0.01, 1)] = 0.1  # of the contrast, at the start if learned
    learn_temperature: bool = True  # one temperature per code length, kept within [0.01, 1]
    quantisation: float = 0.0  # (|u| - 1)² of the full streams
    balance: float = 0.0  # squared mean of each bit over the batch, full streams
    negatives: NegativesConfig = field(default_factory=NegativesConfig)  # weights on the contrasts' negatives
    # targets by what the moving average of the weights (training.average) takes for alike, after the warm-up
    soft: SoftTargetsConfig = field(default_factory=SoftTargetsConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not any((self.full_full, self.mask_full, self.full_mask)):
            raise ConfigError("loss: expected a weight above 0 for at least one of the contrasts")
        if not self.masked_part:
            raise ConfigError(
                "loss.masked_part = 0: expected a part above 0; set the weights of its terms to 0"
            )


_TINY = {
    "model": {
        "width": 128, "depth": 4, "heads": 4, "drop_path": 0.0, "image_size": 64, "patch_size": 8,
        "points": 512, "groups": 32, "group_size": 16, "token_width": 64,
        "decoder_width": 64, "decoder_depth": 1, "decoder_heads": 4,
    },
    "training": {"epochs": 60, "batch_size": 64, "lr": 1e-3, "warmup_epochs": 2.0, "workers": 1},
}  # fmt: skip
_BASE = {"model": {"width": 768, "heads": 12, "decoder_width": 512, "decoder_depth": 8, "decoder_heads": 16}}


class CmahRecipe(Recipe):
    """CMAH as a recipe.

    Attributes:
        negative_weights: optional function from the shape indices int64 [b] of a batch to two [b, b] weight
            matrices on the negatives, image → shape and shape → image (see `normalise_weights`); None: all ones.

    Examples:
        >>> from cmah.recipes.resolving import make_config
        >>> recipe = CmahRecipe(make_config("cmah", "tiny", assignments=["loss.points=0"]))
        >>> images = torch.zeros(4, 3, 64, 64, dtype=torch.uint8)
        >>> batch = {"image": images, "points": torch.rand(4, 512, 3), "index": torch.arange(4)}
        >>> loss, parts = recipe.loss(batch, torch.Generator())
        >>> list(parts)  # without L_3D, whose weight is 0
        ['full_full', 'mask_full', 'pixels']
    """

    model_config = ModelConfig
    loss_config = LossConfig
    presets: ClassVar = {"small": {}, "tiny": _TINY, "base": _BASE}
    network: Cmah

    def __init__(self, config: Config) -> None:
        self.settings: LossConfig = config.loss
        self.network = self.model = Cmah(config.model)
        self.code_lengths = self.network.code_lengths
        if not isinstance(
            self.network.image_tower, Frozen
        ):  # one that is frozen has its features computed once
            self.described_by = self.network.views
        elif self.settings.image_image:
            raise ConfigError(
                f"loss.image_image = {self.settings.image_image:g}: a frozen image encoder learns nothing from two "
                "images of a shape, expected 0"
            )
        self.asked_by = 2 if self.settings.image_image else 1
        if self.settings.soft.share and not config.training.average:
            raise ConfigError(
                f"loss.soft.share = {self.settings.soft.share:g}: the targets are those of the moving average of the "
                "weights; set training.average, such as 0.99"
            )
        self.warmup_epochs, self.warm = config.training.warmup_epochs, False
        self.remarks = list(self.network.remarks)
        if self.settings.negatives.kind:
            self.remarks.append(f"contrasts: {described(self.settings.negatives)}")
        self.log_temperature = nn.Parameter(
            torch.full((len(self.code_lengths),), math.log(self.settings.temperature))
        )
        if self.settings.learn_temperature:
            self.network.register_parameter("log_temperature", self.log_temperature)
        self.negative_weights: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """L = L_c + L_r and its parts; see `Recipe.loss`."""
        s, masked = self.settings, self._masked(len(batch["index"]))
        features = batch.get("image_features"), batch.get("shape_features")
        image, views, second = batch["image"], batch, None
        if image.ndim == 5:  # of several pictures the first ones ask
            asking, drawn = self.asked_by, batch["drawn"][:, None]
            second = image[:, 1] if asking > 1 else None
            image, described = image[:, 0], image[:, asking:]
            number = torch.arange(asking, asking + described.shape[1], device=image.device)
            # a shape with no further picture is described by one that asks
            there = (number < drawn) | ((number == asking) & (drawn <= asking))
            if described.shape[1]:
                views = {"views": described, "view_mask": there}
        out = self.network(
            image,
            batch.get("points"),
            generator,
            masked=masked,
            features=features,
            views=views,
            second=second,
        )
        # similarities and distances would keep two digits in bfloat16
        with torch.autocast(out.full_image.device.type, enabled=False):
            targets = self._soft_targets(image, batch.get("points"), views)
            parts = self._contrasts(out, batch["index"], targets) | self._reconstructions(out)
            if s.quantisation:
                parts["quantisation"] = (quantisation(out.full_image) + quantisation(out.full_shape)) / 2
            if s.balance:
                parts["balance"] = (bit_balance(out.full_image) + bit_balance(out.full_shape)) / 2
            # each part bears the name of its weight in `LossConfig`
            total = torch.stack([getattr(s, name) * part for name, part in parts.items()]).sum()
        return total, parts

    def _masked(self, pairs: int) -> int:
        """How many pairs of a batch go through the masked streams."""
        s = self.settings
        wanted = any((s.mask_full, s.full_mask, s.pixels, s.points))
        least = 2 if self.network.config.standardise else 1  # one row has no statistics
        return max(least, round(s.masked_part * pairs)) if wanted else 0

    @torch.no_grad()
    def _soft_targets(
        self, image: Tensor, points: Tensor | None, views: Mapping[str, Tensor]
    ) -> list[Tensor] | None:
        """Targets [b, b] of each code length by the likeness of the teacher's codes; None: the pairs."""
        soft = self.settings.soft
        if not soft.share or not self.warm or self.teacher is None:
            return None
        shapes = {**views, "points": points} if points is not None else views
        outputs = self.teacher.encode_images(image), self.teacher.encode_shapes(shapes)
        likeness = torch.stack([cosines(output.float().tanh()) for output in outputs]).mean(dim=0)
        return nested_targets(likeness, soft, self.code_lengths)

    def _contrasts(self, out: CmahOutput, index: Tensor, targets: list[Tensor] | None) -> dict[str, Tensor]:
        """Full-full and mask-full contrast (and the reverse), each the mean of its two directions."""
        s, parts = self.settings, {}
        to_shape, to_image = self.negative_weights(index) if self.negative_weights else (None, None)
        temperatures = self.log_temperature.exp().to(out.full_image.device)

        def contrast(anchors: Tensor, others: Tensor, weights: Tensor | None) -> Tensor:
            weights = None if weights is None else weights[: len(anchors), : len(others)]
            wanted = None
            if targets is not None:
                cut = [each[: len(anchors), : len(others)] for each in targets]
                wanted = [part / part.sum(dim=1, keepdim=True) for part in cut]
            lengths = self.code_lengths
            return nested_info_nce(anchors.float(), others.float(), lengths, temperatures, weights, wanted)

        image, shape = out.full_image, out.full_shape
        if s.full_full:
            parts["full_full"] = (contrast(image, shape, to_shape) + contrast(shape, image, to_image)) / 2
        if out.second_image is not None:
            second = out.second_image
            if s.full_full:
                other = (contrast(second, shape, to_shape) + contrast(shape, second, to_image)) / 2
                parts["full_full"] = (parts["full_full"] + other) / 2
            parts["image_image"] = (contrast(image, second, to_image) + contrast(second, image, to_image)) / 2
        if out.masked_image is not None and out.masked_shape is None and s.mask_full:
            parts["mask_full"] = contrast(out.masked_image, shape, to_shape)
        if out.masked_image is not None and out.masked_shape is not None:
            hidden_image, hidden_shape, masked = out.masked_image, out.masked_shape, len(out.masked_image)
            if s.mask_full:
                image_to_shape = contrast(hidden_image, shape, to_shape)
                shape_to_image = contrast(hidden_shape, image, to_image)
                parts["mask_full"] = (image_to_shape + shape_to_image) / 2
            if s.full_mask:
                image_to_shape = contrast(image[:masked], hidden_shape, to_shape)
                shape_to_image = contrast(shape[:masked], hidden_image, to_image)
                parts["full_mask"] = (image_to_shape + shape_to_image) / 2
        return parts

    def _reconstructions(self, out: CmahOutput) -> dict[str, Tensor]:
        """L_2D and L_3D."""
        s, parts = self.settings, {}
        if out.patches is not None and s.pixels:
            predicted, target = out.patches
            parts["pixels"] = pixel_loss(predicted.float(), target, normalise=s.normalise_patches)
        if out.groups is not None and s.points:
            parts["points"] = s.points_scale * group_loss(*out.groups)
        return parts

    def batches(self, dataset: Dataset, config: Config) -> Batches:
        """One random view and point subset a shape, with the features of frozen towers where these are cached."""
        tower, drawn = self.network.image_tower, None
        if isinstance(tower, Frozen) and draws_views(self.network):
            embedder = self._embedder(tower, config)
            drawn = DrawnViews(embedder, dataset, self.network.views, config.training.workers)
            dataset = drawn.dataset
        batches = self.pair_batches(dataset, config)
        if drawn is not None:
            batches.pairs.skipped += drawn.skipped
            drawn.order(batches.pairs.shapes)
        if self.settings.negatives.kind:
            self.negative_weights = self._hard_negatives(batches, config)
        towers = (self.network.image_tower, self.network.shape_tower)
        image, shape = (tower if isinstance(tower, Frozen) else None for tower in towers)
        if config.training.cached_copies and (image or shape):
            pictured = max(1, self._masked(min(config.training.batch_size, len(batches.pairs))))
            batches = FeatureBatches(
                batches.pairs,
                config.training.batch_size,
                config.training.workers,
                image_tower=image,
                shape_tower=shape,
                copies=config.training.cached_copies,
                pictured=pictured,
            )
        if drawn is not None:
            return DescribedBatches(batches, drawn)
        if self.network.views and image is not None:
            views = DescribingViews.of(
                batches.pairs, self._embedder(image, config), self.network.views, config.training.workers
            )
            return DescribedBatches(batches, views)
        return batches

    def _embedder(self, tower: Frozen, config: Config) -> ImageEmbedder:
        """What keeps the features of the frozen image tower."""
        frozen_images = FrozenImages(config.model.image_encoder, config.model.image_weights, tower.net)
        device = next(self.network.parameters()).device
        return ImageEmbedder.of(frozen_images, device, config.data.framing)

    def _hard_negatives(self, batches: TrainingBatches, config: Config) -> NegativeWeights:
        """Weights from the embeddings of a frozen image encoder: the one named for it, or the model's own."""
        negatives, model = self.settings.negatives, config.model
        device = next(self.network.parameters()).device
        if negatives.image_encoder:
            embedder = ImageEmbedder(
                negatives.image_encoder, negatives.image_weights, device=device, framing=config.data.framing
            )
        elif isinstance(self.network.image_tower, Frozen):
            embedder = ImageEmbedder(
                model.image_encoder,
                model.image_weights,
                backbone=self.network.image_tower.net,
                device=device,
                framing=config.data.framing,
            )
        else:
            raise ConfigError(
                f"loss.negatives.kind = {negatives.kind!r} needs a frozen image encoder that says how alike two shapes "
                "are: set loss.negatives.image_encoder and loss.negatives.image_weights"
            )
        return make_negative_weights(negatives, batches.pairs, embedder, workers=config.training.workers)

    def start_epoch(self, epoch: int, epochs: int) -> None:
        """Soft targets begin after the warm-up, when the teacher has learned something."""
        self.warm = epoch >= self.warmup_epochs

    def after_step(self) -> None:
        """Keep learned temperatures within [0.01, 1]."""
        with torch.no_grad():
            self.log_temperature.clamp_(math.log(0.01), 0.0)
