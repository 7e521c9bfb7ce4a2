"""Pre-aligned encoders with hard contrastive learning (Kühn et al., arXiv 2603.06982).

A frozen image encoder, a point encoder that was aligned with it beforehand (or is trained from nothing), one vector a
shape. With training.epochs=0 the pair is used as published; else the point encoder is fine-tuned with the hard
contrastive loss of Robinson et al. (ICLR 2021) in both directions. The paper was not at hand beyond its abstract:
temperature, τ⁺, learning rate and the schedule of β after its first value of 0.5 are reconstructions.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from cmah.config.schema import Config
from cmah.data.dataset import Dataset
from cmah.data.training_batches import TrainingBatches
from cmah.errors import ConfigError
from cmah.features.embedded_batches import EmbeddedBatches
from cmah.features.image_embedder import ImageEmbedder
from cmah.losses.hard_contrastive import annealed_beta, hard_info_nce
from cmah.models.pretrained.encoder_table import find
from cmah.models.two_towers import TowersConfig, TwoTowers
from cmah.recipes import Recipe


@dataclass(frozen=True)
class TowersLoss:
    """What losses over two towers share."""

    temperature: float = 0.07  # of embeddings, at the start if learned; never inherited from a checkpoint
    learn_temperature: bool = True  # kept within [0.01, 1]
    code_weight: float = 1.0  # of the same loss on learned codes, where there is a learned head
    code_temperature: float = 0.2  # of learned codes, fixed

    def __post_init__(self) -> None:
        for key in ("temperature", "code_temperature"):
            if not 0.01 <= getattr(self, key) <= 1:
                raise ConfigError(f"loss.{key} = {getattr(self, key)}: expected a number from 0.01 to 1")


@dataclass(frozen=True)
class LossConfig(TowersLoss):
    """The hard contrastive loss; beta 0 and tau_plus 0 make it InfoNCE."""

    beta: float = 0.5  # how much hard negatives weigh, at the start
    beta_end: float = 1.0  # and in the last stage
    beta_stages: int = 5  # equal parts of training with one β each; 1 keeps the first
    tilt: str = (
        "similarity"  # β acts on s ("similarity", Kühn et al.) or on s/τ ("logit", Robinson et al.'s code)
    )
    tau_plus: float = 0.0  # part of the negatives that is taken to be positive in truth
    hard_codes: bool = False  # whether β and τ⁺ hold for learned codes too; else theirs is InfoNCE

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tilt not in ("similarity", "logit"):
            raise ConfigError(f"loss.tilt = {self.tilt!r}: expected similarity or logit")
        if not 0 <= self.tau_plus < 1:
            raise ConfigError(f"loss.tau_plus = {self.tau_plus}: expected a part from 0 up to 1")
        if self.beta_stages < 1:
            raise ConfigError(f"loss.beta_stages = {self.beta_stages}: expected at least 1")


# Fine-tuning a pre-trained encoder: small steps. From nothing, the preset `scratch`.
_PRESET = {
    "training": {
        "epochs": 50, "batch_size": 128, "lr": 1e-4, "warmup_epochs": 1.0, "weight_decay": 0.1,
        "tower_lr_scale": 1.0,
    },
    "point_augmentation": {"tilt": 5.0},
}  # fmt: skip
_SCRATCH = {**_PRESET, "training": {**_PRESET["training"], "epochs": 250, "lr": 1e-3, "warmup_epochs": 5.0}}


class Method(Recipe):
    """Two towers and the hard contrastive loss; other losses over two towers derive from it."""

    model_config = TowersConfig
    loss_config: ClassVar[type] = LossConfig
    presets: ClassVar = {"finetune": _PRESET, "scratch": _SCRATCH}

    def __init__(self, config: Config) -> None:
        self.config = config
        self.network = TwoTowers(config.model)
        self.model: nn.Module = self.network
        self.prefixes, self.width = config.model.bits, self.network.width
        self.learned_codes = config.model.head != "itq"
        self.image_size, self.points = self.network.image_size, self.network.points
        self.colours, self.remarks = self.network.colours, [*self.network.remarks, *self._alignment()]
        if config.training.epochs:
            self.remarks = [*self.remarks, f"loss: {self.described()}"]
        if self.learned_codes is False and self.prefixes[-1] > self.network.dim:
            raise ConfigError(
                f"model.bits = {self.prefixes[-1]}: ITQ gives at most {self.network.dim} bits here"
            )
        if config.training.epochs == 0:
            self._check_untrained()
        # by background; made once, their weights are hashed then
        self.embedders: dict[str, ImageEmbedder] = {}
        learns = any(parameter.requires_grad for parameter in self.network.parameters())
        self.log_temperature = nn.Parameter(torch.tensor(math.log(config.loss.temperature)))
        if config.loss.learn_temperature and config.training.epochs and learns:
            self.network.register_parameter("log_temperature", self.log_temperature)

    def described(self) -> str:
        """The loss in words."""
        s = self.config.loss
        if not (s.beta or s.beta_end or s.tau_plus):
            return "InfoNCE"
        on = "similarity" if s.tilt == "similarity" else "logit"
        last = s.beta_end if s.beta_stages > 1 else s.beta
        return f"HCL, β {s.beta:g} to {last:g} on the {on}, τ⁺ {s.tau_plus:g}"

    def _check_untrained(self) -> None:
        """Refuse a run without training whose embeddings or codes would say nothing."""
        model = self.config.model
        if not self.network.aligned:
            raise ConfigError(
                f"training.epochs = 0: {model.shape_encoder} and {model.image_encoder} share no space; choose encoders "
                "that were aligned with each other (cmah encoders), or train"
            )
        if not model.shape_weights:
            raise ConfigError(
                f"training.epochs = 0 without model.shape_weights: {model.shape_encoder} would be of random weights"
            )
        if self.learned_codes:
            raise ConfigError(
                f"training.epochs = 0: the heads of model.head={model.head} would be of random weights; itq fits codes"
            )

    def _alignment(self) -> list[str]:
        """A warning where a point encoder with loaded weights is put beside another image encoder than its own."""
        model = self.config.model
        own = find(model.shape_encoder).aligned_with
        if (
            not (self.network.aligned and model.shape_weights and own)
            or model.image_encoder.split("?")[0] == own
        ):
            return []
        return [
            f"warning: {model.shape_encoder} was aligned with {own}, not with {model.image_encoder}: before training, "
            "their embeddings have nothing to do with each other"
        ]

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """The contrast of embeddings and that of learned codes; see `Recipe.loss`."""
        image = self.network.encode_image_features(batch["image_features"])
        shape = self.network.encode_shapes(batch)
        settings = self.config.loss
        with torch.autocast(
            shape.device.type, enabled=False
        ):  # similarities would keep two digits in bfloat16
            (image, image_codes), (shape, shape_codes) = map(self.network.split, (image, shape.float()))
            temperature = self.log_temperature.exp().to(shape.device)
            parts = {"embeddings": self.contrast(image, shape, temperature, batch["index"])}
            total = parts["embeddings"]
            if image_codes is not None and shape_codes is not None:
                fixed = torch.tensor(settings.code_temperature, device=shape.device)
                each = [
                    self.contrast(
                        image_codes[:, :b].float(),
                        shape_codes[:, :b].float(),
                        fixed,
                        batch["index"],
                        codes=True,
                    )
                    for b in self.prefixes
                ]
                parts["codes"] = torch.stack(each).mean()
                total = total + settings.code_weight * parts["codes"]
        return total, parts

    def contrast(
        self, image: Tensor, shape: Tensor, temperature: Tensor, index: Tensor, codes: bool = False
    ) -> Tensor:
        """The loss of paired rows [b, d], the mean of both directions; the one thing that methods differ in."""
        s = self.config.loss
        tilt: Literal["logit", "similarity"] = s.tilt
        hard = s.hard_codes or not codes
        beta, tau_plus = (self.beta, s.tau_plus) if hard else (0.0, 0.0)
        there = hard_info_nce(image, shape, temperature, beta, tau_plus, tilt)
        back = hard_info_nce(shape, image, temperature, beta, tau_plus, tilt)
        return (there + back) / 2

    def start_epoch(self, epoch: int, epochs: int) -> None:
        """Choose β by the stage of training."""
        s = self.config.loss
        self.beta = annealed_beta(epoch, epochs, s.beta, s.beta_end, s.beta_stages)

    def code_outputs(self, outputs: np.ndarray) -> np.ndarray:
        """The part of the outputs that learned heads gave."""
        return outputs[:, self.network.dim :]

    def embeddings(self, outputs: np.ndarray) -> np.ndarray:
        """The part of the outputs that is the embedding, of unit length."""
        return outputs[:, : self.network.dim]

    def image_embedder(
        self, device: torch.device, background: Literal["keep", "remove"] = "keep"
    ) -> ImageEmbedder:
        """The frozen image encoder."""
        model, known = self.config.model, self.embedders.get(background)
        if known is None or known.device != device:
            known = ImageEmbedder(
                model.image_encoder,
                model.image_weights,
                backbone=self.network.image_encoder,
                device=device,
                background=background,
            )
            self.embedders[background] = known
        return known

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.network.image_tower.parameters()).device

    def batches(self, dataset: Dataset, config: Config) -> TrainingBatches:
        """One random view's embedding and one random subset of the points of each shape."""
        return EmbeddedBatches(self, dataset, config, self.image_embedder(self.device))

    def after_step(self) -> None:
        """Keep a learned temperature within [0.01, 1]."""
        with torch.no_grad():
            self.log_temperature.clamp_(math.log(0.01), 0.0)
