"""Hash heads over frozen encoders, trained on a CPU in minutes: the best way for a few thousand shapes without labels.

Not a published method but the sum of what was measured to help on 41 categories of shapes (docs/results.md): shapes
seen by their points and by views drawn from them, features of several stages of the image encoder, soft targets,
authors' pictures as pairs, and photos of other objects.
"""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from cmah.config.schema import Config
from cmah.data.dataset import Dataset
from cmah.data.training_batches import TrainingPairs
from cmah.errors import ConfigError, DatasetError
from cmah.features.embedded_batches import readable_pairs
from cmah.features.frozen_batches import FrozenBatches
from cmah.features.frozen_likeness import MOST_DIFFUSED, diffused, for_correlation, means_of_renders
from cmah.features.frozen_shapes import frozen_shape_features
from cmah.features.image_embedder import EmbeddingTable, ImageEmbedder
from cmah.features.unpaired_images import MOST, averaged_looks, nearest_shapes
from cmah.losses.contrastive import nested_info_nce
from cmah.losses.soft_targets import SoftTargetsConfig, nested_targets
from cmah.models.frozen_towers import IMAGE_KINDS, FrozenTowers, FrozenTowersConfig
from cmah.models.pretrained.backbone_spec import BackboneSpec
from cmah.models.pretrained.image_towers import ImageBackbone
from cmah.recipes.recipe import Recipe
from cmah.settings import Count, Range, Settings

STATISTICS = 20_000  # rows, of which the statistics of a kind are taken; more would hardly change them


@dataclass(frozen=True)
class LossConfig(Settings):
    """The contrast of pairs, and that of unpaired images with the shapes that they are to be near.

    Examples:
        >>> LossConfig().soft.share
        0.5
        >>> LossConfig(temperature=2.0)
        Traceback (most recent call last):
        cmah.errors.ConfigError: loss.temperature = 2.0: expected a number from 0.01 to 1
    """

    table = "loss"

    temperature: Annotated[float, Range(0.01, 1)] = 0.3  # of all code lengths, fixed
    soft: SoftTargetsConfig = field(default_factory=lambda: SoftTargetsConfig(share=0.5, by_length=0.2))
    unpaired: float = 0.5  # weight of the contrast of unpaired images, where there are any
    unpaired_batch: Count = 128  # of them in a step
    neighbours: Count = 20  # shapes that each of them is to be near
    # by which the similarities with them are divided
    neighbour_temperature: Annotated[float, Range(0.001, 10)] = 0.03


_PRESET = {
    "training": {
        "epochs": 100, "batch_size": 256, "lr": 1.5e-3, "weight_decay": 0.01, "warmup_epochs": 5.0, "average": 0.99,
        "held_out": 0.0, "workers": 0,
    },
    "data": {"kinds": ("render", "picture"), "picture_weight": 3.0, "unpaired": ("photo",)},
}  # fmt: skip


class TowersRecipe(Recipe):
    """Two hash heads over frozen encoders.

    Examples:
        The image encoder has random weights here, and shapes are seen by drawn views alone.

        >>> from timm import create_model
        >>> from cmah.recipes.resolving import build_recipe, make_config
        >>> torch.save(create_model("test_resnet").state_dict(), "weights.pt")
        >>> settings = ["model.image_encoder=timm:test_resnet", "model.image_weights=weights.pt", "model.views=2"]
        >>> settings += ["model.image_stages=0", "model.image_size=32", "model.shape_input=views", "model.bits=8,16"]
        >>> config = make_config(None, "towers", assignments=settings)
        >>> recipe = build_recipe(config)
        >>> batches = recipe.batches(Dataset.read("demo/dataset").select("test"), config)
        >>> loss, parts = recipe.loss(next(batches.epoch(0)), torch.Generator())
        >>> list(parts)  # there are no photos
        ['pairs']
    """

    model_config = FrozenTowersConfig
    loss_config = LossConfig
    presets: ClassVar = {"towers": _PRESET}
    takes_unpaired: ClassVar = True
    network: FrozenTowers

    def __init__(self, config: Config) -> None:
        self.settings: LossConfig = config.loss
        self.network = self.model = FrozenTowers(config.model)
        self.remarks = self.network.remarks

    @classmethod
    def for_data(cls, config: Config, data: Dataset) -> Config:
        """With the size of the dataset's images where none is given and the image encoder takes any."""
        model = config.model
        if model.image_size:
            return config
        encoder = ImageBackbone(BackboneSpec.parse(model.image_encoder))
        size = encoder.default_size if encoder.size else min(encoder.default_size, data.image_size)
        return replace(config, model=replace(model, image_size=size))

    def require_usable_untrained(self) -> None:
        """Refuse heads of random weights, and features without statistics."""
        raise ConfigError(
            "training.epochs = 0: the hash heads of the recipe towers would be of random weights; train, or use the "
            "recipe prealigned with encoders that share a space"
        )

    def loss(self, batch: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """The contrast of pairs and that of unpaired images; see `Recipe.loss`."""
        s, network = self.settings, self.network
        image = network.encode_image_features(batch["image_features"], batch["image_kinds"])
        shape = network.encode_shape_features(batch["shape_features"])
        with torch.autocast(shape.device.type, enabled=False):
            targets = nested_targets(batch["likeness"], s.soft, network.code_lengths)
            both = self._contrast(image, shape, targets), self._contrast(shape, image, targets)
            parts = {"pairs": (both[0] + both[1]) / 2}
            total = parts["pairs"]
        if "unpaired_features" in batch:
            photo = network.encode_image_features(batch["unpaired_features"], batch["unpaired_kinds"])
            with torch.no_grad():  # photos are to come to the shapes, not shapes to the photos
                near = (self.teacher or network).encode_shape_features(batch["unpaired_shapes"])
            with torch.autocast(shape.device.type, enabled=False):
                parts["unpaired"] = self._contrast(photo, near, batch["unpaired_targets"])
                total = total + s.unpaired * parts["unpaired"]
        return total, parts

    def _contrast(self, anchors: Tensor, others: Tensor, targets: Tensor | list[Tensor]) -> Tensor:
        """The nested contrast of relaxed codes."""
        lengths = self.network.code_lengths
        temperatures = torch.full((len(lengths),), self.settings.temperature, device=anchors.device)
        relaxed = torch.tanh(anchors.float()), torch.tanh(others.float())
        return nested_info_nce(*relaxed, lengths, temperatures, targets=targets)

    def batches(self, dataset: Dataset, config: Config) -> FrozenBatches:
        """One random image of each shape, by features that are computed once; the statistics of these are learned."""
        network = self.network
        device = next(network.shape_head.parameters()).device
        pictured = {image.shape_id for image in dataset.images if image.kind in config.data.kinds}
        shapes = [shape for shape in dataset.shapes if shape.shape_id in pictured]
        if not shapes:
            kinds = " or ".join(config.data.kinds)
            raise DatasetError([f"{dataset.root}: no shape to train on (no image of kind {kinds})"])
        embedder = ImageEmbedder.of(network.frozen_images, device, config.data.framing)
        features, kept, skipped = frozen_shape_features(
            network, dataset, shapes, device, embedder=embedder if network.views else None, label="shapes"
        )
        rows_of = {shapes[position].shape_id: row for row, position in enumerate(kept)}
        usable = replace(dataset, shapes=[shapes[position] for position in kept])
        draw = partial(
            TrainingPairs,
            image_size=embedder.size,
            points=0,
            kinds=config.data.kinds,
            picture_weight=config.data.picture_weight,
            clouds=False,
            pictures=False,
            seed=config.training.seed,
        )
        pairs, table, rows = readable_pairs(draw, usable, embedder, config.training.workers)
        pairs.skipped += skipped
        features = features[[rows_of[shape.shape_id] for shape in pairs.shapes]]
        kinds_of = np.array([_number(image.kind) for images in pairs.images for image in images])
        self._learn(table, rows, kinds_of)
        network.shape_norm.learn(0, torch.from_numpy(features[:: _step(len(features))]))
        seen = means_of_renders(pairs, table, rows, lambda x, numbers: self._looks(x, kinds_of[numbers]))
        encoders = [seen]
        if network.shape_tower is not None:
            standardised = network.shape_norm(torch.from_numpy(features).to(device))
            encoders.append(standardised.split(network.encoder_widths, dim=1)[0].cpu().numpy())
        likeness, in_rows = for_correlation(encoders), len(pairs) > MOST_DIFFUSED
        if in_rows:
            most = f"{MOST_DIFFUSED:,}"
            pairs.skipped.append(
                ("neighbours of neighbours", f"soft targets take them for up to {most} shapes only")
            )
        else:
            likeness = diffused(likeness @ likeness.T)
        return FrozenBatches(
            pairs,
            table,
            rows,
            kinds_of,
            features,
            config.training.batch_size,
            likeness=likeness,
            in_rows=in_rows,
            **self._unpaired(dataset, pairs, embedder, seen, config),
        )

    def _unpaired(
        self,
        dataset: Dataset,
        pairs: TrainingPairs,
        embedder: ImageEmbedder,
        seen: np.ndarray,
        config: Config,
    ) -> dict[str, Any]:
        """The images without a shape, and the shapes that they are to be near, as `FrozenBatches` takes them.

        Args:
            dataset: with these images.
            pairs: to whose `skipped` those that are left out are added.
            embedder: the frozen encoder.
            seen: float32 [m, d], how the shapes look to the last layer of the encoder.
            config: of the run.
        """
        images = [i for i in dataset.images if not i.shape_id and i.kind in config.data.unpaired]
        if not images or not self.settings.unpaired:
            return {}
        step = -(-len(images) * len(seen) // MOST)
        if step > 1:
            left_out = f"{len(images) - len(images[::step])} of {len(images)} images without a shape"
            pairs.skipped.append((left_out, f"with all {len(seen)} shapes they would be too many to compare"))
        images = images[::step]
        table = embedder.embed(dataset, images, workers=config.training.workers, label="unpaired images")
        pairs.skipped += table.skipped
        kinds = np.array([_number(images[position].kind) for position in table.kept])
        if not len(kinds):
            return {}
        width = self.network.image_norm.widths[-1]
        # a kind that shows shapes of the data, too, has its statistics by those images already
        new = np.flatnonzero(~self.network.image_norm.learned.cpu().numpy()[kinds])
        self._learn(table, new, kinds[new])
        return {
            "unpaired": table,
            "unpaired_kinds": kinds,
            "near": nearest_shapes(
                averaged_looks(
                    embedder, dataset, [images[position] for position in table.kept], kinds, width
                ),
                seen,
                self.settings.neighbours,
                self.settings.neighbour_temperature,
            ),
            "unpaired_batch": self.settings.unpaired_batch,
        }

    def _looks(self, features: np.ndarray, kinds: np.ndarray) -> np.ndarray:
        """Features of the last layer of the image encoder, float32 [n, d], standardised by the kind of image."""
        norm = self.network.image_norm
        device = norm.mean.device
        standardised = norm(torch.from_numpy(features).to(device), torch.from_numpy(kinds).to(device))
        return standardised[:, -norm.widths[-1] :].cpu().numpy()

    def _learn(self, table: EmbeddingTable, rows: np.ndarray, kinds: np.ndarray) -> None:
        """Take the statistics of each kind of image from its features."""
        for kind in np.unique(kinds).tolist():
            of_kind = rows[kinds == kind]
            features = table.rows(of_kind[:: _step(len(of_kind))])
            self.network.image_norm.learn(kind, torch.from_numpy(features))


def _number(kind: str) -> int:
    """The number of a kind of images."""
    return IMAGE_KINDS.index(kind)


def _step(count: int) -> int:
    """Of so many rows every how many-th is taken."""
    return -(-count // STATISTICS)
