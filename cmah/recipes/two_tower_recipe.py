"""What methods over two towers share: a frozen image encoder, a point encoder, and a contrast of their embeddings.

Images come as embeddings of the frozen encoder that were computed once. A method says how rows are contrasted.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor, nn

from cmah.config.schema import Config
from cmah.data.dataset import Dataset
from cmah.errors import ConfigError
from cmah.features.embedded_batches import EmbeddedBatches
from cmah.features.image_embedder import ImageEmbedder
from cmah.models.encoder_model import draws_views
from cmah.models.pretrained.encoder_table import find
from cmah.models.two_towers import TowersConfig, TwoTowers
from cmah.recipes.recipe import Recipe
from cmah.settings import Range, Settings

Temperature = Annotated[float, Range(0.01, 1)]


@dataclass(frozen=True)
class TowersLoss(Settings):
    """What losses over two towers share.

    Examples:
        >>> TowersLoss().temperature
        0.07
        >>> TowersLoss(temperature=2.0)
        Traceback (most recent call last):
        cmah.errors.ConfigError: loss.temperature = 2.0: expected a number from 0.01 to 1
    """

    table = "loss"

    temperature: Temperature = (
        0.07  # of embeddings, at the start if learned; never inherited from a checkpoint
    )
    learn_temperature: bool = True  # kept within [0.01, 1]
    code_weight: float = 1.0  # of the same loss on learned codes, where there is a learned head
    code_temperature: Temperature = 0.2  # of learned codes, fixed


class TwoTowerRecipe(Recipe):
    """Two towers and the contrast of their embeddings and, with a learned head, of their codes.

    Examples:
        A method of its own, over an image encoder of random weights:

        >>> from timm import create_model
        >>> class DistanceRecipe(TwoTowerRecipe):
        ...     def described(self):
        ...         return "mean squared distance"
        ...     def contrast(self, image, shape, temperature, index, codes=False):
        ...         return (image - shape).square().sum(dim=1).mean()
        >>> torch.save(create_model("test_resnet").state_dict(), "weights.pt")
        >>> encoders = {"image_encoder": "timm:test_resnet", "shape_encoder": "pointnet"}
        >>> model = TowersConfig(**encoders, image_weights="weights.pt", points=64)
        >>> recipe = DistanceRecipe(Config("distance", "", model, TowersLoss()))
        >>> recipe.remarks
        ['loss: mean squared distance']
        >>> batch = {"image_features": torch.rand(2, 96), "points": torch.rand(2, 64, 3)}
        >>> loss, parts = recipe.loss(batch | {"index": torch.arange(2)}, torch.Generator())
        >>> list(parts)
        ['embeddings']
    """

    model_config = TowersConfig
    network: TwoTowers

    def __init__(self, config: Config) -> None:
        self.config = config
        self.network = self.model = TwoTowers(config.model)
        self.remarks = [*self.network.remarks, *self._alignment()]
        if config.training.epochs:
            self.remarks.append(f"loss: {self.described()}")
        longest = self.network.code_lengths[-1]
        if not self.network.learned_codes and longest > self.network.dim:
            raise ConfigError(f"model.bits = {longest}: ITQ gives at most {self.network.dim} bits here")
        learns = any(parameter.requires_grad for parameter in self.network.parameters())
        self.log_temperature = nn.Parameter(torch.tensor(math.log(config.loss.temperature)))
        if config.loss.learn_temperature and config.training.epochs and learns:
            self.network.register_parameter("log_temperature", self.log_temperature)

    @abstractmethod
    def described(self) -> str:
        """The loss in words."""

    @abstractmethod
    def contrast(
        self, image: Tensor, shape: Tensor, temperature: Tensor, index: Tensor, codes: bool = False
    ) -> Tensor:
        """The loss of paired rows, the mean of both directions; the one thing that methods differ in.

        Args:
            image: [b, d] embeddings or relaxed codes of images.
            shape: [b, d], row i the shape that image i shows.
            temperature: what similarities are divided by, a scalar.
            index: int64 [b], the position of each shape among those trained on.
            codes: whether the rows are codes.
        """

    def require_usable_untrained(self) -> None:
        """Refuse to use the towers as they are if they share no space, or if their codes would be random."""
        model = self.config.model
        if model.joint_dim or self.network.joined is not None:
            raise ConfigError(
                "training.epochs = 0: what model.joint_dim and model.joining=concatenate project with would be of "
                "random weights; choose model.joint_dim=0 and model.joining=average, or train"
            )
        if not self.network.aligned:
            raise ConfigError(
                f"training.epochs = 0: {model.shape_encoder} and {model.image_encoder} share no space; choose encoders "
                "that were aligned with each other (cmah encoders), or train"
            )
        if not model.shape_weights and model.shape_input != "views":
            raise ConfigError(
                f"training.epochs = 0 without model.shape_weights: {model.shape_encoder} would be of random weights"
            )
        if self.network.learned_codes:
            raise ConfigError(
                f"training.epochs = 0: the heads of model.head={model.head} would be of random weights; itq fits codes"
            )

    def _alignment(self) -> list[str]:
        """A warning where a point encoder with loaded weights is put beside another image encoder than its own."""
        model = self.config.model
        if model.shape_input == "views":
            return []
        partner = find(model.shape_encoder).aligned_with
        if (
            not (self.network.aligned and model.shape_weights and partner)
            or model.image_encoder.split("?")[0] == partner
        ):
            return []
        return [
            f"warning: {model.shape_encoder} was aligned with {partner}, not with {model.image_encoder}: before "
            "training, their embeddings have nothing to do with each other"
        ]

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """The contrast of embeddings and that of learned codes; see `Recipe.loss`."""
        image = self.network.encode_image_features(batch["image_features"])
        shape = self.network.encode_shapes(batch)
        settings = self.config.loss
        # similarities would keep two digits in bfloat16
        with torch.autocast(shape.device.type, enabled=False):
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
                    for b in self.network.code_lengths
                ]
                parts["codes"] = torch.stack(each).mean()
                total = total + settings.code_weight * parts["codes"]
        return total, parts

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.image_tower.parameters()).device

    def batches(self, dataset: Dataset, config: Config) -> EmbeddedBatches:
        """One random view's embedding and one random subset of the points of each shape."""
        embedder = ImageEmbedder.of(self.network.frozen_images, self.device, config.data.framing)
        return EmbeddedBatches(
            dataset,
            config,
            embedder,
            points=self.network.points,
            colours=self.network.colours,
            views=self.network.views,
            drawn=draws_views(self.network),
        )

    def after_step(self) -> None:
        """Keep a learned temperature within [0.01, 1]."""
        with torch.no_grad():
            self.log_temperature.clamp_(math.log(0.01), 0.0)
