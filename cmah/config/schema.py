"""The schema of a run's configuration: what every recipe shares, beside the recipe's own model and loss settings."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from cmah.config.parsing import as_dictionary
from cmah.data.augmentation import ImageAugmentation
from cmah.data.framing import Background, Crop, Framing
from cmah.data.point_augmentation import PointAugmentation
from cmah.data.table_rows import KINDS
from cmah.errors import ConfigError
from cmah.settings import Count, ProperShare, Range, Settings, Share


@dataclass(frozen=True)
class TrainingConfig(Settings):
    """How a run is optimised; every recipe shares these.

    Examples:
        >>> TrainingConfig(epochs=5).batch_size
        128
        >>> TrainingConfig(batch_size=1)
        Traceback (most recent call last):
        cmah.errors.ConfigError: training.batch_size = 1: expected at least 2
    """

    table = "training"

    epochs: int = 300  # passes over the training shapes; 0 uses the model as it is
    batch_size: Annotated[int, Range(2)] = 128  # pairs
    # samples whose activations an encoder keeps in memory at a time; the others' are computed again for their gradients
    # (GradCache), so that memory no longer bounds the batch; 0 keeps those of the whole batch
    chunk_size: int = 0
    lr: float = 1e-3  # peak learning rate of AdamW (lineage: Point-MAE)
    min_lr: float = 1e-6  # where the cosine ends
    warmup_epochs: float = 10.0  # of linear warm-up
    weight_decay: float = 0.05  # on matrices only, not on biases, norms and tokens
    tower_lr_scale: float = 0.1  # learning rate of a pre-trained tower, as a part of lr
    clip_norm: float = 5.0  # of the gradient; 0 for none
    average: ProperShare = 0.0  # decay of a moving average of the weights, validated and kept; 0 for none
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # auto: bfloat16 on CUDA, float32 on the CPU
    seed: int = 0
    workers: Annotated[int, Range(0, 256)] = 2  # processes that decode images; 0 decodes in the main one
    cached_copies: int = 0  # augmented copies of which frozen towers compute features once; 0: at every step
    held_out: ProperShare = (
        0.1  # part of `train` held out (by a hash of the shape id) to choose the checkpoint
    )
    validation_views: Count = 4  # images of each held-out shape
    validate_every: Count = 1  # epochs
    patience: int = 0  # stop after this many validations without a better one; 0 never stops early
    save_minutes: float = 10.0  # save what resuming needs at least this often within an epoch

    def batches(self, samples: int) -> int:
        """About how many batches an epoch over so many samples has, some of which are held out.

        Examples:
            >>> TrainingConfig(batch_size=30, held_out=0.1).batches(1000), TrainingConfig().batches(5)
            (30, 1)
        """
        return max(1, int(samples * (1 - self.held_out)) // self.batch_size)


@dataclass(frozen=True)
class DataConfig(Settings):
    """Which part of the dataset is trained on, and what of its images is seen.

    Examples:
        >>> DataConfig(kinds=("render", "photo"), crop="box").framing
        Framing(crop='box', margin=0.1, background='keep')
        >>> DataConfig(unpaired=("photos",))
        Traceback (most recent call last):
        cmah.errors.ConfigError: data.unpaired = 'photos': expected some of render, picture, photo
        >>> DataConfig(crop="face")
        Traceback (most recent call last):
        cmah.errors.ConfigError: data.crop = 'face': expected none, box, mask or square
    """

    table = "data"

    split: str = "train"
    kinds: tuple[str, ...] = ("render",)  # kinds of images that take part; those without a shape never do
    picture_weight: Annotated[float, Range(0.01, 100)] = 1.0  # how often a picture is drawn for each render
    unpaired: tuple[str, ...] = ()  # kinds of images without a shape that take part, in the recipe towers
    # "box" or "mask": images are cropped to their boxes, or to boxes around their masks; "square": to their middle
    crop: Crop = "none"
    crop_margin: Share = 0.1  # kept on each side of such a box, as a part of its width and height
    background: Background = "keep"  # "remove": black where the mask, or the opacity, says is no object

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("kinds", "unpaired"):
            if unknown := set(getattr(self, name)) - set(KINDS):
                kinds = ", ".join(KINDS)
                raise ConfigError(f"data.{name} = {sorted(unknown)[0]!r}: expected some of {kinds}")

    @property
    def framing(self) -> Framing:
        """What is done to each image before it is scaled."""
        return Framing(self.crop, self.crop_margin, self.background)


@dataclass(frozen=True)
class Config:
    """One run. `model` and `loss` are the recipe's own dataclasses.

    Examples:
        >>> from cmah.recipes.resolving import make_config
        >>> config = make_config("cmah", "tiny", assignments=["model.bits=16,32"])
        >>> config.training.epochs, config.model.bits, config.data.split
        (60, (16, 32), 'train')
    """

    recipe: str
    preset: str
    model: Any
    loss: Any
    training: TrainingConfig = field(default_factory=TrainingConfig)
    data: DataConfig = field(default_factory=DataConfig)
    image_augmentation: ImageAugmentation = field(default_factory=ImageAugmentation)
    point_augmentation: PointAugmentation = field(default_factory=PointAugmentation)

    def to_dictionary(self) -> dict[str, Any]:
        """Plain JSON values, as stored in a run's config.json.

        Examples:
            >>> from cmah.recipes.resolving import make_config
            >>> make_config("cmah", "tiny").to_dictionary()["data"]
            {'split': 'train', 'kinds': ['render'], 'picture_weight': 1.0, 'unpaired': [], 'crop': 'none', ...}
        """
        return as_dictionary(self)


SHARED = {
    "training": TrainingConfig,
    "data": DataConfig,
    "image_augmentation": ImageAugmentation,
    "point_augmentation": PointAugmentation,
}
