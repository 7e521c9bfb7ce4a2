"""Recipes: one published method a file.

A recipe says which model it builds, how batches are drawn and what fields they have, and turns a batch into a
total loss with named parts. The training loop and the export know recipes by this interface only; adding a
method is adding a file with a class `Method`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from cmah.config.schema import Config
from cmah.data.dataset import Dataset
from cmah.data.training_batches import TrainingBatches, TrainingPairs
from cmah.errors import ConfigError
from cmah.features.image_embedder import ImageEmbedder


class Recipe(ABC):
    """A method: its configuration, its model, its batches and its loss.

    Attributes:
        model: the network; `encode_images` (uint8 [b, 3, s, s] → [b, width]) and `encode_shapes`
            ({"points": float32 [b, n, 3 or 6]} → [b, width]) give real outputs.
        width: numbers in an output, of which `embeddings` and `code_outputs` make something to compare.
        prefixes: code lengths, each a prefix of the longest.
        learned_codes: whether the signs of `code_outputs` are the codes; else a hash is fitted to the embeddings
            when training ends, and kept in the run.
        image_size: pixels of the images that the model takes.
        points: points of the clouds that it takes.
        colours: whether the clouds have six columns.
        remarks: lines for people, shown when training begins.
    """

    model_config: ClassVar[type]
    loss_config: ClassVar[type]
    presets: ClassVar[Mapping[str, Mapping[str, Any]]]  # the first is the default

    model: nn.Module
    width: int
    prefixes: tuple[int, ...]
    learned_codes: bool = True
    image_size: int
    points: int
    colours: bool = False
    remarks: Sequence[str] = ()

    @abstractmethod
    def __init__(self, config: Config) -> None:
        """Build the model for `config`, initialised from the global random state."""

    @abstractmethod
    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """Total loss and its named, unweighted parts.

        Args:
            batch: the fields that `batches` yields, on the model's device.
            generator: on the CPU, seeded for this step: all randomness of the loss comes from it or from the
                global state, which is seeded for the step too.
        """

    def code_outputs(self, outputs: np.ndarray) -> np.ndarray:
        """Real numbers [n, bits] whose signs are the codes, from the model's outputs: these themselves."""
        return outputs

    def embeddings(self, outputs: np.ndarray) -> np.ndarray:
        """Real vectors to compare by cosine, float32 [n, d], from the model's outputs: their tanh."""
        return np.tanh(outputs)

    def image_embedder(
        self, device: torch.device, background: Literal["keep", "remove"] = "keep"
    ) -> ImageEmbedder | None:
        """Where the model begins with a frozen image encoder: that encoder, whose embeddings are kept on disk.

        The model then has `encode_image_features` ([b, d] → [b, width]) beside `encode_images`.
        """
        return None

    def start_epoch(self, epoch: int, epochs: int) -> None:  # noqa: B027
        """Called before each epoch of `epochs`, counted from 0, for instance to change a weight on a schedule."""

    def after_step(self) -> None:  # noqa: B027, most methods have nothing to do here
        """Called after each optimiser step, for instance to clamp a temperature."""

    def batches(self, dataset: Dataset, config: Config) -> TrainingBatches:
        """How batches are drawn: here one random view and one random subset of the points of each shape.

        The result's `epoch(number, first_batch)` must be a pure function of (seed, number), so that a resumed
        run sees what an uninterrupted one would have seen.
        """
        pairs = TrainingPairs(
            dataset,
            self.image_size,
            self.points,
            config.image_augmentation,
            config.point_augmentation,
            kinds=config.data.kinds,
            colours=self.colours,
            seed=config.training.seed,
        )
        return TrainingBatches(pairs, config.training.batch_size, config.training.workers)


def load_recipe(name: str) -> type[Recipe]:
    """The class of the method in cmah/recipes/<name>.py.

    Raises:
        ConfigError: if there is no such file.
    """
    if name not in recipe_names():
        raise ConfigError(f"recipe {name!r}: expected one of {', '.join(recipe_names())}")
    method: type[Recipe] = import_module(f"cmah.recipes.{name}").Method
    return method


def recipe_names() -> list[str]:
    """The recipes at hand, by name."""
    import pkgutil

    return sorted(module.name for module in pkgutil.iter_modules(__path__))
