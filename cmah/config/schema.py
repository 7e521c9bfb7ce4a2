"""The schema of a run's configuration: what every recipe shares, beside the recipe's own model and loss settings."""

from dataclasses import dataclass, field
from typing import Any

from cmah.config.parsing import as_dictionary
from cmah.data.augmentation import ImageAugmentation, PointAugmentation
from cmah.errors import ConfigError

MAX_WORKERS = 256  # processes; more would only fill the memory


@dataclass(frozen=True)
class TrainingConfig:
    """How a run is optimised; every recipe shares these."""

    epochs: int = 300  # passes over the training shapes; 0 exports the model as it is initialised
    batch_size: int = 128  # pairs
    lr: float = 1e-3  # peak learning rate of AdamW (lineage: Point-MAE)
    min_lr: float = 1e-6  # where the cosine ends
    warmup_epochs: float = 10.0  # of linear warm-up
    weight_decay: float = 0.05  # on matrices only, not on biases, norms and tokens
    tower_lr_scale: float = 0.1  # learning rate of a pre-trained tower, as a part of lr
    clip_norm: float = 5.0  # of the gradient; 0 for none
    precision: str = "auto"  # auto (bfloat16 autocast on CUDA, float32 on the CPU) | float32 | bfloat16
    seed: int = 0
    workers: int = 2  # processes that decode images; 0 decodes in the main one
    cached_copies: int = 0  # augmented copies of which frozen towers compute features once; 0: at every step
    held_out: float = 0.1  # part of `train` held out (by a hash of the shape id) to choose the checkpoint
    validation_views: int = 4  # images of each held-out shape
    validate_every: int = 1  # epochs
    patience: int = 0  # stop after this many validations without a better one; 0 never stops early
    save_minutes: float = 10.0  # save what resuming needs at least this often within an epoch

    def __post_init__(self) -> None:
        if self.precision not in ("auto", "float32", "bfloat16"):
            raise ConfigError(f"training.precision = {self.precision!r}: expected auto, float32 or bfloat16")
        if self.batch_size < 2 or self.validate_every < 1 or self.validation_views < 1:
            raise ConfigError("training: expected batch_size ≥ 2, validate_every ≥ 1, validation_views ≥ 1")
        if self.workers > MAX_WORKERS:
            raise ConfigError(f"training.workers = {self.workers}: expected at most {MAX_WORKERS}")
        if not 0 <= self.held_out < 1:
            raise ConfigError(f"training.held_out = {self.held_out}: expected a part from 0 up to 1")


@dataclass(frozen=True)
class DataConfig:
    """Which part of the dataset is trained on."""

    split: str = "train"
    kinds: tuple[str, ...] = ("render",)  # kinds of images that take part; those without a shape never do


@dataclass(frozen=True)
class Config:
    """One run. `model` and `loss` are the recipe's own dataclasses."""

    recipe: str
    preset: str
    model: Any
    loss: Any
    training: TrainingConfig = field(default_factory=TrainingConfig)
    data: DataConfig = field(default_factory=DataConfig)
    image_augmentation: ImageAugmentation = field(default_factory=ImageAugmentation)
    point_augmentation: PointAugmentation = field(default_factory=PointAugmentation)

    def to_dictionary(self) -> dict[str, Any]:
        """Plain JSON values, as stored in a run's config.json."""
        return as_dictionary(self)


SHARED = {
    "training": TrainingConfig,
    "data": DataConfig,
    "image_augmentation": ImageAugmentation,
    "point_augmentation": PointAugmentation,
}
