"""Captionless alignment with hard negatives (Sbrolli and Matteucci, arXiv 2406.02202).

A point encoder is brought to the space of a frozen CLIP image encoder without any captions. Negatives of a batch weigh
by how alike their shapes are to the anchor's, measured once by the frozen encoder: by corresponding views (I2I), by
landmark texts of their category ((I2L)²), or by both (AVG). These weights use category labels; `i2i_all` does not.
"""

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from cmah.config.schema import Config
from cmah.data.dataset import Dataset
from cmah.features.embedded_batches import EmbeddedBatches
from cmah.features.image_embedder import ImageEmbedder
from cmah.losses.contrastive import info_nce
from cmah.losses.weighted import released_loss, weighted_info_nce
from cmah.negatives.negatives_config import NegativesConfig, described
from cmah.negatives.weights import NegativeWeights, make_negative_weights
from cmah.recipes.two_tower_recipe import TowersLoss, TwoTowerRecipe


@dataclass(frozen=True)
class LossConfig(TowersLoss):
    """Equations 5 and 6; negatives.kind = "" makes it InfoNCE, negatives.variant = "released" the released code's.

    Examples:
        >>> described(LossConfig(negatives=NegativesConfig(kind="i2i")).negatives)
        'InfoNCE, negatives weighted by i2i'
        >>> described(LossConfig().negatives)
        'InfoNCE'
    """

    negatives: NegativesConfig = field(default_factory=NegativesConfig)


# The paper's recipe where it says one, else that of the released code (500 epochs, batches of 64, 1e-3)
_PRESET = {
    "model": {"image_encoder": "open_clip:ViT-B-32", "shape_encoder": "pointnext"},
    "loss": {"negatives": {"kind": "avg"}},
    "training": {
        "epochs": 500, "batch_size": 64, "lr": 1e-3, "min_lr": 1e-7, "warmup_epochs": 30.0, "weight_decay": 0.01,
    },
    "point_augmentation": {
        "rotation": 45.0, "tilt": 45.0, "scale": 1.0, "shift": 0.1, "jitter": 0.01, "dropout": 0.0, "mirror": 0.0,
    },
}  # fmt: skip


class CaptionlessRecipe(TwoTowerRecipe):
    """Two towers and weights on the negatives.

    Examples:
        The image encoder has random weights here. Two pairs at right angles, each row equal to its counterpart, are
        contrasted without weights, and with twice the weight on the one negative: log(1 + e^-2) and log(1 + 2 e^-2).

        >>> from timm import create_model
        >>> from cmah.recipes.resolving import build_recipe, make_config
        >>> torch.save(create_model("test_resnet").state_dict(), "weights.pt")
        >>> settings = ["model.image_encoder=timm:test_resnet", "model.image_weights=weights.pt"]
        >>> recipe = build_recipe(make_config("captionless", assignments=[*settings, "model.bits=16"]))
        >>> recipe.described()
        'InfoNCE, negatives weighted by avg'
        >>> pairs = torch.eye(2), torch.eye(2), torch.tensor(0.5), torch.arange(2)
        >>> round(recipe.contrast(*pairs).item(), 4)
        0.1269
        >>> recipe.negative_weights = lambda index: 2 * [torch.tensor([[1.0, 2.0], [2.0, 1.0]])]
        >>> round(recipe.contrast(*pairs).item(), 4)
        0.2395
    """

    loss_config = LossConfig
    presets: ClassVar = {"paper": _PRESET}

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.negative_weights: NegativeWeights | None = None
        self.released = config.loss.negatives.variant == "released"
        if self.released:
            # as the released code has them: a factor, not the logarithm of one, and a bias that cancels out
            self.log_temperature.requires_grad_(False)
            self.factor = nn.Parameter(torch.tensor(math.log(10.0)))
            self.bias = nn.Parameter(torch.tensor(-10.0))
            self.network.register_parameter("factor", self.factor)
            self.network.register_parameter("bias", self.bias)

    def described(self) -> str:
        """The loss in words."""
        return described(self.config.loss.negatives)

    def batches(self, dataset: Dataset, config: Config) -> EmbeddedBatches:
        """As in `TwoTowerRecipe`; the similarities of the shapes are computed first, or read from disk."""
        batches = super().batches(dataset, config)
        negatives, pairs = config.loss.negatives, batches.pairs
        if negatives.kind and negatives.image_encoder:
            encoder = negatives.image_encoder, negatives.image_weights
            other = ImageEmbedder(*encoder, device=self.device, framing=config.data.framing)
            workers = config.training.workers
            self.negative_weights = make_negative_weights(negatives, pairs, other, workers=workers)
        elif negatives.kind:
            self.negative_weights = make_negative_weights(
                negatives, pairs, batches.embedder, embedded=(batches.table, batches.rows)
            )
        return batches

    def contrast(
        self, image: Tensor, shape: Tensor, temperature: Tensor, index: Tensor, codes: bool = False
    ) -> Tensor:
        """Weighted InfoNCE; see `TwoTowerRecipe.contrast`."""
        if self.negative_weights is None:
            return (info_nce(image, shape, temperature) + info_nce(shape, image, temperature)) / 2
        to_shape, to_image = self.negative_weights(index)
        if self.released:
            return released_loss(image, shape, (to_shape, to_image), self.factor, self.bias)
        image_to_shape = weighted_info_nce(image, shape, temperature, to_shape)
        shape_to_image = weighted_info_nce(shape, image, temperature, to_image)
        return (image_to_shape + shape_to_image) / 2
