"""What a recipe is: a published method as a model, its batches and its loss."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from cmah.config.schema import Config
from cmah.data.dataset import Dataset
from cmah.data.epochs import Batches
from cmah.data.training_batches import TrainingBatches, TrainingPairs
from cmah.models.encoder_model import EncoderModel, draws_views


class Recipe(ABC):
    """A method: its configuration, its model, its batches and its loss.

    The training loop knows a method by this interface only. What encodes with the trained model knows only the
    model, by `EncoderModel`.

    To add a method, write `cmah/recipes/<name>.py` with a class `<Name>Recipe` (`style_mixed` → `StyleMixedRecipe`).

    Attributes:
        model_config: dataclass of the model's settings.
        loss_config: dataclass of the loss's settings.
        presets: settings by name of the preset; the first is the default.
        network: the model, as what has parameters.
        model: the same object, as what encodes.
        remarks: lines to show when training begins.
        chosen_by: what is relevant to a query when the checkpoint is chosen, where the shapes have categories.
        takes_unpaired: whether images without a shape take part, of the kinds in data.unpaired.
        weighs_pictures: whether data.picture_weight counts.
        teacher: the network with the moving average of its weights, where training.average asks for one (set by the
            training loop); else None.
        asked_by: how many pictures of each shape a batch holds that ask for it.
        described_by: how many pictures of each shape a batch holds beside these, for a model that sees views: further
            ones of the dataset, or drawn from its points (`draws_views`).

    Examples:
        What the training loop does with a recipe:

        >>> from cmah.recipes.resolving import build_recipe, make_config
        >>> settings = ["model.depth=1", "training.batch_size=4", "training.workers=0"]
        >>> config = make_config("cmah", "tiny", assignments=settings)
        >>> recipe = build_recipe(config)
        >>> batches = recipe.batches(Dataset.read("demo/dataset").select("test"), config)
        >>> loss, parts = recipe.loss(next(batches.epoch(0)), torch.Generator())
        >>> list(parts)
        ['full_full', 'mask_full', 'pixels', 'points']
    """

    model_config: ClassVar[type]
    loss_config: ClassVar[type]
    presets: ClassVar[Mapping[str, Mapping[str, Any]]]

    network: nn.Module
    model: EncoderModel
    remarks: Sequence[str] = ()
    chosen_by: Literal["category", "instance"] = "category"
    takes_unpaired: ClassVar[bool] = False
    weighs_pictures: ClassVar[bool] = True
    teacher: Any = None
    asked_by: int = 1
    described_by: int = 0

    @abstractmethod
    def __init__(self, config: Config) -> None:
        """Build the network for `config`, initialised from the global random state."""

    @classmethod
    def for_data(cls, config: Config, data: Dataset) -> Config:
        """The configuration of a new run with what has to be taken from its data, such as the names of classes."""
        return config

    @classmethod
    def samples_of(cls, config: Config, data: Dataset) -> tuple[int, str]:
        """How many samples an epoch goes over, before shapes are held out: here shapes, and only those with images."""
        part = data.select(config.data.split)
        pictured = {image.shape_id for image in part.images if image.kind in config.data.kinds}
        return sum(shape.shape_id in pictured for shape in part.shapes), "shapes"

    @classmethod
    def follows_epochs(cls, config: Config) -> str:
        """The setting that changes over the whole training, so that it depends on the number of epochs; "" for none."""
        return ""

    @abstractmethod
    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """The total loss of a batch, and its named parts before they are weighted.

        Args:
            batch: the fields that `batches` yields, on the network's device.
            generator: on the CPU, seeded for this step: all randomness of the loss comes from it or from the
                global state, which is seeded for the step too.
        """

    def batches(self, dataset: Dataset, config: Config) -> Batches:
        """How batches are drawn: here as `pair_batches`.

        The result's `epoch(number, first_batch)` must be a pure function of (seed, number), so that a resumed
        run sees what an uninterrupted one would have seen.
        """
        return self.pair_batches(dataset, config)

    def pair_batches(self, dataset: Dataset, config: Config) -> TrainingBatches:
        """One random view and one random subset of the points of each shape.

        A model that sees views gets `described_by` further views, which describe the shape.
        """
        drawn = self.described_by if draws_views(self.model) else 0
        pairs = TrainingPairs(
            dataset,
            self.model.image_size,
            self.model.points,
            config.image_augmentation,
            config.point_augmentation,
            kinds=config.data.kinds,
            picture_weight=config.data.picture_weight,
            views=self.asked_by + self.described_by - drawn,
            drawn=drawn,
            clouds=self.model.points > 0,
            colours=self.model.colours,
            framing=config.data.framing,
            masks=self.model.masks,
            seed=config.training.seed,
        )
        return TrainingBatches(pairs, config.training.batch_size, config.training.workers)

    def require_usable_untrained(self) -> None:  # noqa: B027, most models have nothing to lack
        """Refuse to use the model as it is, without training, if its outputs would mean nothing.

        Raises:
            ConfigError: saying what is missing.
        """

    def start_epoch(self, epoch: int, epochs: int) -> None:  # noqa: B027
        """Called before each epoch of `epochs`, counted from 0, for instance to change a weight on a schedule."""

    def after_step(self) -> None:  # noqa: B027, most methods have nothing to do here
        """Called after each optimiser step, for instance to clamp a temperature."""
