"""SC-IBSR (Song et al., TOMM 2024) and its base CMIC (Lin et al., ICCV 2021): images find shapes seen by their views.

Level "instance": each image must find the very shape that it shows among those of the batch, and those of its category,
by an attention over the shape's views; the style of its feature maps is mixed with that of views. Level "category":
labelled images and unlabelled shapes; what is learned of the images is carried over to the shapes.

The papers' texts were not at hand: this follows their released code where that does what it says, and where it does not
(pairs by position, no gradients, labels of the target) does what it says. docs/methods.md lists the differences.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from cmah.config.schema import Config
from cmah.data.augmentation import NO_IMAGE_AUGMENTATION
from cmah.data.augmented_pictures import AugmentedPictures
from cmah.data.dataset import Dataset
from cmah.data.query_batches import ImageQueries, QueryBatches
from cmah.errors import ConfigError
from cmah.losses.class_alignment import ClassCentres, centre_alignment, orthogonal_projection_loss
from cmah.losses.consistency import consistency
from cmah.losses.domain_adaptation import (
    conditional_adversarial_loss,
    nuclear_norm_loss,
    reversal_coefficient,
    smoothed_cross_entropy,
)
from cmah.losses.instance_retrieval import category_loss, instance_loss
from cmah.losses.pair_contrast import category_contrast, instance_contrast
from cmah.models.style_mixed_config import StyleMixedConfig
from cmah.models.style_mixed_network import StyleMixed
from cmah.models.view_pooling import ViewPooling
from cmah.recipes.recipe import Recipe
from cmah.settings import ProperShare, Range, Settings, Share

Positive = Annotated[float, Range(1e-3)]
PUBLISHED_STEPS = 1500  # of the category level
Parts = dict[str, Tensor]


@dataclass(frozen=True)
class LossConfig(Settings):
    """Weights of the terms, temperatures, and how views vary in training. A weight of 0 leaves a term out.

    Examples:
        >>> LossConfig().category, LossConfig(consistency=0.0).contrast
        (0.2, 1.0)
        >>> LossConfig(temperature=0.0)
        Traceback (most recent call last):
        cmah.errors.ConfigError: loss.temperature = 0.0: expected at least 0.001
    """

    table = "loss"

    # both levels
    consistency: float = 1.0  # who resembles whom, with the style mixed and without
    consistency_temperature: Positive = 1.0
    contrast: float = 1.0  # NT-Xent of images and shapes: pairs by shape, or by (pseudo) label
    contrast_temperature: Positive = 0.5
    code_weight: float = 1.0  # the same contrast on learned codes, of every length
    code_temperature: Positive = 0.2
    view_crop: Annotated[float, Range(0.01, 1)] = (
        0.65  # smallest part of the area of a shape's views that is kept
    )
    view_flip: Share = 0.5  # probability that all views of a shape are mirrored
    # level "instance"
    temperature: Positive = 0.1  # of the attention's scores
    instance: float = 1.0  # the shape among those of the batch
    category: float = (
        0.2  # shapes of the category among those of the batch; reads labels of images and shapes
    )
    # level "category"
    classes: float = 1.0  # the class of each image
    smoothing: ProperShare = 0.1  # of the images' labels
    domain: float = 1.0  # CDAN+E
    reversal_length: Positive = (
        20 / 3
    )  # after so many trainings nearly all of the adversary's gradient is reversed
    nuclear: float = 0.1  # BNM
    centres: float = 0.1  # centres of the classes, by pseudo label among shapes
    centre_decay: Annotated[float, Range(1e-3, 1)] = 0.3
    orthogonal: float = 0.1  # OPL
    orthogonal_from: Share = 0.8  # OPL sets in after this part of the training
    orthogonal_gamma: Annotated[float, Range(0)] = 0.5


# CMIC's optimiser is Adam with a constant rate; crops of images keep 0.85 to 0.95 of the area
_INSTANCE: dict[str, dict[str, Any]] = {
    "training": {
        "epochs": 400, "batch_size": 30, "lr": 5e-5, "min_lr": 5e-5, "warmup_epochs": 0.0, "weight_decay": 0.0,
        "tower_lr_scale": 1.0, "validate_every": 10,
    },
    "data": {"kinds": ["photo", "picture", "render"]},
    "image_augmentation": {
        "crop": 0.85, "stretch": 1.333, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0,
        "greyscale": 0.0, "background": 0.0,
    },
}  # fmt: skip
_CMIC = {
    **_INSTANCE,
    "model": {"shape_encoder": "timm:resnet18", "views_as": "grey", "style_stage": 0, "dropout": 0.0},
    "loss": {"consistency": 0.0, "contrast": 0.0},
    "image_augmentation": {**_INSTANCE["image_augmentation"], "colour_transfer": 1.0},
}
_CATEGORY = {
    "model": {
        "level": "category", "shared": True, "masks": False, "views_as": "colour", "views": 4, "dim": 256,
        "view_pooling": "max",
    },
    "loss": {
        "consistency": 10.0, "consistency_temperature": 100.0, "contrast": 0.1, "code_weight": 0.1, "view_crop": 0.766,
    },
    "training": {
        "epochs": 5, "batch_size": 32, "lr": 1e-3, "warmup_epochs": 0.0, "weight_decay": 0.05, "tower_lr_scale": 0.1,
        "held_out": 0.0,
    },
    "data": {"kinds": ["photo"]},
    "image_augmentation": {**_INSTANCE["image_augmentation"], "crop": 0.766, "stretch": 1.0},
}  # fmt: skip


class StyleMixedRecipe(Recipe):
    """SC-IBSR as a recipe, at both of its levels, and CMIC.

    Examples:
        >>> from cmah.recipes.resolving import make_config
        >>> small = ["model.image_encoder=timm:test_resnet", "model.image_size=64", "model.views=4", "loss.category=0"]
        >>> recipe = StyleMixedRecipe(make_config("style_mixed", "cmic", assignments=[*small, "model.shape_encoder="]))
        >>> pictures = torch.randint(0, 256, (2, 4, 64, 64), dtype=torch.uint8)
        >>> views, there = torch.randint(0, 256, (2, 4, 3, 64, 64), dtype=torch.uint8), torch.ones(2, 4) > 0
        >>> batch = {"image": pictures, "views": views, "view_mask": there, "instance": torch.tensor([0, 1])}
        >>> loss, parts = recipe.loss(batch, torch.Generator())
        >>> list(parts)
        ['instance', 'codes']
    """

    model_config = StyleMixedConfig
    loss_config = LossConfig
    presets: ClassVar = {"instance": _INSTANCE, "cmic": _CMIC, "unsupervised_category": _CATEGORY}
    network: StyleMixed

    def __init__(self, config: Config) -> None:
        self.settings: LossConfig = config.loss
        s = self.settings
        self.by_category = config.model.level == "category"
        if self.by_category and config.training.held_out:
            raise ConfigError(
                f"training.held_out = {config.training.held_out}: would choose the checkpoint by categories of shapes, "
                "which are not to be read at model.level=category (expected 0)"
            )
        if self.by_category and "render" in config.data.kinds:
            raise ConfigError(
                "data.kinds = render: shapes are seen by their renders, whose categories are not to be read at "
                "model.level=category (expected photo, picture or both)"
            )
        terms = ("classes",) if self.by_category else ("instance", "category", "contrast")
        if not any(getattr(s, name) for name in terms):
            raise ConfigError(f"loss: expected a weight above 0 for {' or '.join(terms)}")
        self.network = self.model = StyleMixed(config.model)
        self.remarks = list(self.network.remarks)
        self.chosen_by = "category" if self.by_category else "instance"
        self.mixes = config.model.style_stage > 0
        self.total_steps = PUBLISHED_STEPS  # of the training, once its batches are made
        self._next_centres: ClassCentres | None = None

    @classmethod
    def for_data(cls, config: Config, data: Dataset) -> Config:
        """At the level "category", take the classes from the labelled images of the training split."""
        if config.model.level != "category" or config.model.categories:
            return config
        images = data.select(config.data.split).images
        names = {image.category for image in images if image.kind in config.data.kinds} - {""}
        return replace(config, model=replace(config.model, categories=tuple(sorted(names))))

    @classmethod
    def batches_of(cls, config: Config, data: Dataset) -> int:
        """Batches in an epoch, which goes over images."""
        by_category = config.model.level == "category"
        images = [
            image
            for image in data.select(config.data.split).images
            if image.kind in config.data.kinds and (image.category if by_category else image.shape_id)
        ]
        return max(1, int(len(images) * (1 - config.training.held_out)) // config.training.batch_size)

    def require_usable_untrained(self) -> None:
        """Refuse: what comes behind the encoders would be of random weights."""
        raise ConfigError(
            "training.epochs = 0: the vectors of style_mixed come of layers that have to be trained"
        )

    def batches(self, dataset: Dataset, config: Config) -> QueryBatches:
        """Images as queries, and shapes by up to `model.views` of their renders."""
        net, framing = self.network, config.data.framing
        queries = [image for image in dataset.images if image.kind in config.data.kinds]
        s, size = self.settings, net.image_size
        pictures = AugmentedPictures(
            dataset, size, config.image_augmentation, framing=framing, masks=net.masks, styles=queries
        )
        views = AugmentedPictures(
            dataset, size, replace(NO_IMAGE_AUGMENTATION, crop=s.view_crop, flip=s.view_flip), framing=framing
        )
        training = config.training
        pairs = ImageQueries(
            dataset,
            pictures,
            views,
            batch_size=training.batch_size,
            views=net.views,
            views_from=net.views_from,
            kinds=config.data.kinds,
            labels=config.model.categories if self.by_category else None,
            seed=training.seed,
        )
        batches = QueryBatches(pairs, training.workers)
        self.total_steps = len(batches) * training.epochs
        return batches

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, Parts]:
        """The weighted terms of the level, and the terms; see `Recipe.loss`."""
        net, s = self.network, self.settings
        maps = net.image_maps(batch["image"])
        view_maps, there = net.view_maps(batch)
        views, _ = net.view_vectors(view_maps, there)
        shapes = net.pooled(views, there)
        mixed = net.image_vectors(net.style(maps, view_maps, generator, there)) if self.mixes else None
        plain = net.image_vectors(maps) if mixed is None or s.consistency else None
        images = plain if mixed is None else mixed
        assert images is not None  # one of the two is there
        parts: Parts = {}
        # similarities would keep two digits in bfloat16
        with torch.autocast(maps.device.type, enabled=False):
            codes = [
                net.relaxed(net.outputs(rows, head))
                for rows, head in ((images, net.image_head), (shapes, net.shape_head))
            ]
            if self.by_category:
                self._category_terms(parts, batch["label"], images, shapes, codes)
            else:
                self._instance_terms(parts, batch, images, (views, there), codes)
            if plain is not None and mixed is not None:
                parts["consistency"] = consistency(
                    plain, mixed, s.consistency_temperature, "mean" if self.by_category else "sum"
                )
            weights = {**vars(s), "codes": s.code_weight}
            total = torch.stack([weights[name] * part for name, part in parts.items()])
        return total.sum(), parts

    def _instance_terms(
        self,
        parts: Parts,
        batch: dict[str, Tensor],
        images: Tensor,
        views: tuple[Tensor, Tensor],
        codes: list[Tensor | None],
    ) -> None:
        """Add the terms of the level "instance" but for the consistency."""
        net, s, instance = self.network, self.settings, batch["instance"]
        assert net.attention is not None
        scores = net.attention(images, *views)
        if s.instance:
            parts["instance"] = instance_loss(scores, instance, s.temperature)
        if s.category:
            categories = batch["category"], batch["shape_category"]
            parts["category"] = category_loss(scores, *categories, s.temperature)
        if s.contrast:
            largest = ViewPooling(net.dim, "max")(*views)
            parts["contrast"] = instance_contrast(images, largest, instance, s.contrast_temperature)
        if codes[0] is not None and codes[1] is not None and s.code_weight:
            each = [
                instance_contrast(codes[0][:, :b], codes[1][:, :b], instance, s.code_temperature)
                for b in net.code_lengths
            ]
            parts["codes"] = torch.stack(each).mean()

    def _category_terms(
        self, parts: Parts, labels: Tensor, images: Tensor, shapes: Tensor, codes: list[Tensor | None]
    ) -> None:
        """Add the terms of the level "category" but for the consistency."""
        net, s = self.network, self.settings
        assert net.classifier is not None
        assert net.discriminator is not None
        logits, shape_logits = net.classifier(images), net.classifier(shapes)
        done = int(net.steps) / self.total_steps  # the part of the training
        parts["classes"] = smoothed_cross_entropy(logits, labels, s.smoothing)
        if s.domain:
            domains = (images, logits), (shapes, shape_logits)
            reversal = reversal_coefficient(done, s.reversal_length)
            parts["domain"] = conditional_adversarial_loss(net.discriminator, *domains, reversal)
        if s.nuclear:
            parts["nuclear"] = nuclear_norm_loss(shape_logits.softmax(dim=1))
        if s.centres:
            centres = ClassCentres(*net.centres)
            parts["centres"], self._next_centres = centre_alignment(
                images, shapes, labels, shape_logits, centres, s.centre_decay
            )
        if s.orthogonal and done >= s.orthogonal_from:
            parts["orthogonal"] = orthogonal_projection_loss(images, labels, s.orthogonal_gamma)
        if s.contrast:
            parts["contrast"] = category_contrast(
                images, shapes, labels, shape_logits, s.contrast_temperature
            )
        if codes[0] is not None and codes[1] is not None and s.code_weight:
            each = [
                category_contrast(codes[0][:, :b], codes[1][:, :b], labels, shape_logits, s.code_temperature)
                for b in net.code_lengths
            ]
            parts["codes"] = torch.stack(each).mean()

    def after_step(self) -> None:
        """Keep the centres of the classes, and count the step."""
        if self.by_category:
            self.network.count_step(*vars(self._next_centres).values() if self._next_centres else ())
