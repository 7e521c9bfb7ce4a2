"""SC-IBSR (Song et al., TOMM 2024) and its base CMIC (Lin et al., ICCV 2021): images find shapes seen by their views.

Level "instance": each image must find the very shape that it shows among those of the batch, and those of its category,
by an attention over the shape's views; the style of its feature maps is mixed with that of views. Level "category":
labelled images and unlabelled shapes; what is learned of the images is carried over to the shapes.

The papers' texts were not at hand: this follows their released code where that does what it says, and where it does not
(pairs by position, no gradients, labels of the target) does what it says. docs/methods.md lists the differences.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, cast

import torch
from torch import Tensor

from cmah.checks import shown
from cmah.config.schema import Config
from cmah.data.augmentation import NO_IMAGE_AUGMENTATION
from cmah.data.augmented_pictures import AugmentedPictures
from cmah.data.dataset import Dataset
from cmah.data.query_batches import ImageQueries, QueryBatches, query_images
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

    Attributes:
        consistency: weight of L_kl: who resembles whom, with the style mixed and without.
        consistency_temperature: of its similarities.
        contrast: weight of L_con, NT-Xent of images and shapes; pairs are by shape, or by category and predicted class.
        contrast_temperature: of its cosines.
        code_weight: weight of the same contrast on learned codes, the mean over all lengths.
        code_temperature: of that.
        view_crop: smallest part of the area of a shape's views that a crop keeps.
        view_flip: probability that all views of a shape are mirrored.
        temperature: level "instance": of the attention's scores.
        instance: level "instance": weight of L_inst.
        category: level "instance": weight of L_cat, which reads categories of images and shapes.
        smoothing: level "category": of the images' labels.
        domain: level "category": weight of the domain adversary, CDAN+E.
        reversal_length: its gradient is reversed more and more, as CDAN has it, over so many times the training: with
            20/3 (published: 10,000 steps, of which 1,500 are made) it ends at 0.635.
        nuclear: level "category": weight of the nuclear norm, BNM.
        centres: level "category": weight of the distance between the classes' centres among images and shapes.
        centre_decay: how far a batch moves a centre.
        orthogonal: level "category": weight of OPL.
        orthogonal_from: OPL sets in after this part of the training.
        orthogonal_gamma: of OPL, the weight of pairs of different classes.

    Examples:
        >>> LossConfig().category, LossConfig(consistency=0.0).contrast
        (0.2, 1.0)
        >>> LossConfig(temperature=0.0)
        Traceback (most recent call last):
        cmah.errors.ConfigError: loss.temperature = 0.0: expected at least 0.001
    """

    table = "loss"

    consistency: float = 1.0
    consistency_temperature: Positive = 1.0
    contrast: float = 1.0
    contrast_temperature: Positive = 0.5
    code_weight: float = 1.0
    code_temperature: Positive = 0.2
    view_crop: Annotated[float, Range(0.01, 1)] = 0.65
    view_flip: Share = 0.5
    temperature: Positive = 0.1
    instance: float = 1.0
    category: float = 0.2
    smoothing: ProperShare = 0.1
    domain: float = 1.0
    reversal_length: Positive = 20 / 3
    nuclear: float = 0.1
    centres: float = 0.1
    centre_decay: Annotated[float, Range(1e-3, 1)] = 0.3
    orthogonal: float = 0.1
    orthogonal_from: Share = 0.8
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
    weighs_pictures: ClassVar = False  # every image is a query in its turn
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
        if not self.by_category and not (s.instance or s.category or s.contrast):
            raise ConfigError("loss: expected a weight above 0 for instance, category or contrast")
        self.network = self.model = StyleMixed(config.model)
        self.remarks = list(self.network.remarks)
        self.chosen_by = "category" if self.by_category else "instance"
        self.mixes = config.model.style_stage > 0
        if s.consistency and not self.mixes:
            self.remarks.append(
                "loss.consistency has no effect where no style is mixed (model.style_stage=0)"
            )
        self.total_steps = PUBLISHED_STEPS  # of the training, once its batches are made
        self._next_centres: ClassCentres | None = None

    @classmethod
    def for_data(cls, config: Config, data: Dataset) -> Config:
        """At the level "category", take the classes from the labelled images of the training split."""
        if config.model.level != "category":
            return config
        images = query_images(data.select(config.data.split), config.data.kinds, labelled=True)
        names = sorted({image.category for image in images})
        if len(names) < 2:
            raise ConfigError(
                f"{data.root}: {len(names)} categories of images of kind {' or '.join(config.data.kinds)} in split "
                f"{config.data.split!r} that show no shape, expected two or more: the classes of model.level=category"
            )
        unknown = [name for name in config.model.categories if name not in names]
        if unknown:
            raise ConfigError(
                f"model.categories: no image has the category {unknown[0]!r} (expected some of {shown(names)})"
            )
        return replace(
            config, model=replace(config.model, categories=config.model.categories or tuple(names))
        )

    @classmethod
    def samples_of(cls, config: Config, data: Dataset) -> tuple[int, str]:
        """The images that are queries, which an epoch goes over."""
        by_category = config.model.level == "category"
        part = data.select(config.data.split)
        return len(
            query_images(part, config.data.kinds, config.model.views_from, labelled=by_category)
        ), "images"

    @classmethod
    def follows_epochs(cls, config: Config) -> str:
        """How much of the gradient is reversed, and when the orthogonal projection sets in, at the level "category"."""
        if config.model.level != "category":
            return ""
        late = "loss.orthogonal (loss.orthogonal_from)" if config.loss.orthogonal else ""
        return "loss.domain (loss.reversal_length)" if config.loss.domain else late

    def require_usable_untrained(self) -> None:
        """Refuse: what comes behind the encoders would be of random weights."""
        raise ConfigError(
            "training.epochs = 0: the vectors of style_mixed come of layers that have to be trained"
        )

    def batches(self, dataset: Dataset, config: Config) -> QueryBatches:
        """Images as queries, and shapes by up to `model.views` of their renders."""
        net, framing = self.network, config.data.framing
        queries = query_images(dataset, config.data.kinds, net.views_from, labelled=self.by_category)
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
        # the plain image is the query, or what the consistency compares the mixed one with
        mixed = net.image_vectors(net.style(maps, view_maps, generator, there)) if self.mixes else None
        plain = net.image_vectors(maps) if mixed is None or s.consistency else None
        images = cast(Tensor, plain if mixed is None else mixed)
        # similarities would keep two digits in bfloat16
        with torch.autocast(maps.device.type, enabled=False):
            if self.by_category:
                parts = self._category_terms(batch["label"], images, shapes)
            else:
                parts = self._instance_terms(batch, images, (views, there), shapes)
            if plain is not None and mixed is not None:
                parts["consistency"] = consistency(
                    plain, mixed, s.consistency_temperature, "mean" if self.by_category else "sum"
                )
            weights = {**vars(s), "codes": s.code_weight, "classes": 1.0}
            total = torch.stack([weights[name] * part for name, part in parts.items()])
        return total.sum(), parts

    def _instance_terms(
        self, batch: dict[str, Tensor], images: Tensor, views: tuple[Tensor, Tensor], shapes: Tensor
    ) -> Parts:
        """The terms of the level "instance" but for the consistency."""
        net, s, instance = self.network, self.settings, batch["instance"]
        assert net.attention is not None
        scores = net.attention(images, *views)
        parts: Parts = {}
        if s.instance:
            parts["instance"] = instance_loss(scores, instance, s.temperature)
        if s.category:
            categories = batch["category"], batch["shape_category"]
            parts["category"] = category_loss(scores, *categories, s.temperature)
        if s.contrast:
            largest = ViewPooling(net.dim, "max")(*views)
            parts["contrast"] = instance_contrast(images, largest, instance, s.contrast_temperature)
        return parts | self._code_terms(
            images, shapes, lambda a, b: instance_contrast(a, b, instance, s.code_temperature)
        )

    def _category_terms(self, labels: Tensor, images: Tensor, shapes: Tensor) -> Parts:
        """The terms of the level "category" but for the consistency."""
        net, s = self.network, self.settings
        assert net.classifier is not None
        assert net.discriminator is not None
        logits, shape_logits = net.classifier(images), net.classifier(shapes)
        done = int(net.steps) / self.total_steps  # the part of the training
        parts = {"classes": smoothed_cross_entropy(logits, labels, s.smoothing)}
        if s.domain:
            domains = (images, logits), (shapes, shape_logits)
            reversal = reversal_coefficient(done, s.reversal_length)
            parts["domain"] = conditional_adversarial_loss(net.discriminator, *domains, reversal)
        if s.nuclear:
            parts["nuclear"] = nuclear_norm_loss(shape_logits.softmax(dim=1))
        if s.centres:
            parts["centres"], self._next_centres = centre_alignment(
                images, shapes, labels, shape_logits, ClassCentres(*net.centres), s.centre_decay
            )
        if s.orthogonal and done >= s.orthogonal_from:
            parts["orthogonal"] = orthogonal_projection_loss(images, labels, s.orthogonal_gamma)

        def contrast(a: Tensor, b: Tensor, temperature: float) -> Tensor:
            return category_contrast(a, b, labels, shape_logits, temperature)

        if s.contrast:
            parts["contrast"] = contrast(images, shapes, s.contrast_temperature)
        return parts | self._code_terms(images, shapes, lambda a, b: contrast(a, b, s.code_temperature))

    def _code_terms(
        self, images: Tensor, shapes: Tensor, contrast: Callable[[Tensor, Tensor], Tensor]
    ) -> Parts:
        """The contrast of learned codes, its mean over the lengths; nothing without learned heads."""
        net = self.network
        if net.image_head is None or net.shape_head is None or not self.settings.code_weight:
            return {}
        of_images, of_shapes = (
            net.relaxed(net.outputs(rows, head))
            for rows, head in ((images, net.image_head), (shapes, net.shape_head))
        )
        each = [contrast(of_images[:, :b], of_shapes[:, :b]) for b in net.code_lengths]
        return {"codes": torch.stack(each).mean()}

    def after_step(self) -> None:
        """Keep the centres of the classes, and count the step."""
        if self.by_category:
            centres = self._next_centres
            self.network.count_step(
                None if centres is None else (centres.source, centres.target, centres.seen)
            )
