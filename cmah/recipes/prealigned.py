"""Pre-aligned encoders with hard contrastive learning (Kühn et al., arXiv 2603.06982).

A frozen image encoder, a point encoder that was aligned with it beforehand (or is trained from nothing), one vector
per shape. With training.epochs=0 the pair is used as published; else the point encoder is fine-tuned with the hard
contrastive loss of Robinson et al. (ICLR 2021) in both directions. The paper was not at hand beyond its abstract:
temperature, τ⁺, learning rate and the schedule of β after its first value of 0.5 are reconstructions.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from cmah.config.schema import Config
from cmah.losses.hard_contrastive import annealed_beta, hard_info_nce
from cmah.recipes.two_tower_recipe import TowersLoss, TwoTowerRecipe
from cmah.settings import Count, ProperShare


@dataclass(frozen=True)
class LossConfig(TowersLoss):
    """The hard contrastive loss; beta 0 and tau_plus 0 make it InfoNCE.

    Examples:
        >>> LossConfig().beta, LossConfig().beta_end
        (0.5, 1.0)
        >>> LossConfig(tau_plus=1.0)
        Traceback (most recent call last):
        cmah.errors.ConfigError: loss.tau_plus = 1.0: expected a number from 0 up to 1
    """

    beta: float = 0.5  # how much hard negatives weigh, at the start
    beta_end: float = 1.0  # and in the last stage
    beta_stages: Count = 5  # equal parts of training with one β each; 1 keeps the first
    tilt: Literal["similarity", "logit"] = (
        "similarity"  # β acts on s (Kühn et al.) or s/τ (Robinson et al.'s code)
    )
    tau_plus: ProperShare = 0.0  # part of the negatives that is taken to be positive in truth
    hard_codes: bool = False  # whether β and τ⁺ hold for learned codes too; else theirs is InfoNCE


# Fine-tuning a pre-trained encoder: small steps. From nothing, the preset `scratch`.
_PRESET = {
    "training": {
        "epochs": 50, "batch_size": 128, "lr": 1e-4, "warmup_epochs": 1.0, "weight_decay": 0.1,
        "tower_lr_scale": 1.0,
    },
    "point_augmentation": {"tilt": 5.0},
}  # fmt: skip
_SCRATCH = {**_PRESET, "training": {**_PRESET["training"], "epochs": 250, "lr": 1e-3, "warmup_epochs": 5.0}}


class PrealignedRecipe(TwoTowerRecipe):
    """Two towers and the hard contrastive loss.

    Examples:
        The image encoder has random weights here.

        >>> import torch
        >>> from timm import create_model
        >>> from cmah.recipes.resolving import build_recipe, make_config
        >>> torch.save(create_model("test_resnet").state_dict(), "weights.pt")
        >>> settings = ["model.image_encoder=timm:test_resnet", "model.image_weights=weights.pt"]
        >>> settings += ["model.shape_encoder=pointnet", "model.bits=16"]
        >>> recipe = build_recipe(make_config("prealigned", "scratch", assignments=settings))
        >>> recipe.described()
        'HCL, β 0.5 to 1 on the similarity, τ⁺ 0'
        >>> recipe.start_epoch(249, epochs=250)  # the last one
        >>> recipe.beta
        1.0
    """

    loss_config = LossConfig
    presets: ClassVar = {"finetune": _PRESET, "scratch": _SCRATCH}

    @classmethod
    def follows_epochs(cls, config: Config) -> str:
        """β, where it has several stages."""
        s = config.loss
        return "loss.beta" if s.beta_stages > 1 and s.beta != s.beta_end else ""

    def described(self) -> str:
        """The loss in words."""
        s = self.config.loss
        if not (s.beta or s.beta_end or s.tau_plus):
            return "InfoNCE"
        on = "similarity" if s.tilt == "similarity" else "logit"
        last = s.beta_end if s.beta_stages > 1 else s.beta
        return f"HCL, β {s.beta:g} to {last:g} on the {on}, τ⁺ {s.tau_plus:g}"

    def contrast(
        self, image: Tensor, shape: Tensor, temperature: Tensor, index: Tensor, codes: bool = False
    ) -> Tensor:
        """The hard contrastive loss; see `TwoTowerRecipe.contrast`."""
        s = self.config.loss
        hard = s.hard_codes or not codes
        beta, tau_plus = (self.beta, s.tau_plus) if hard else (0.0, 0.0)
        image_to_shape = hard_info_nce(image, shape, temperature, beta, tau_plus, s.tilt)
        shape_to_image = hard_info_nce(shape, image, temperature, beta, tau_plus, s.tilt)
        return (image_to_shape + shape_to_image) / 2

    def start_epoch(self, epoch: int, epochs: int) -> None:
        """Choose β by the stage of training."""
        s = self.config.loss
        self.beta = annealed_beta(epoch, epochs, s.beta, s.beta_end, s.beta_stages)
