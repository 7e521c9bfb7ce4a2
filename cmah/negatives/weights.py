"""Weights on the negatives of a batch, from the embeddings of a frozen image encoder (arXiv 2406.02202).

The similarities of all pairs within a category are computed once and kept in the cache; a step reads those of its
batch. `NegativesConfig.kind` names the similarity: "i2i", "i2l2" (needs category names, landmarks and a text encoder),
"avg" (the weights of both, averaged), or "i2i_all", which compares the batch's views without regard to categories
and keeps nothing on disk.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from cmah.data.training_batches import TrainingPairs
from cmah.errors import CmahError, ConfigError
from cmah.files import digest
from cmah.landmarks import known_landmarks, landmarks_of
from cmah.losses.weighted import batch_weights, released_weights
from cmah.negatives.clustering import clusters
from cmah.negatives.negatives_config import NegativesConfig
from cmah.negatives.similarities import Views, i2i, i2i_all_pairs
from cmah.negatives.similarity_store import SimilarityStore
from cmah.negatives.view_slots import slots_by_camera, slots_in_any_order

if TYPE_CHECKING:
    from cmah.features.image_embedder import EmbeddingTable, ImageEmbedder


class NegativeWeights:
    """Weights of a batch's negatives, by the positions of its shapes in the training set.

    Attributes:
        stores: of the similarities whose weights are averaged; empty for i2i_all.

    Examples:
        Two chairs that look the same, and a lamp; α = 0.25:

        >>> views = np.array([[[1.0, 0.0]], [[1.0, 0.0]], [[0.0, 1.0]]], np.float32)
        >>> names, config = ["chair", "chair", "lamp"], NegativesConfig("i2i", alpha=0.25)
        >>> weights = NegativeWeights(config, lambda positions: views[positions], names, None, Path("kept"))
        >>> to_shape, to_image = weights(torch.arange(3))
        >>> to_shape[0]
        tensor([1.0000, 1.6000, 0.4000])
    """

    def __init__(
        self,
        config: NegativesConfig,
        views: Views,
        categories: Sequence[str],
        embed_texts: Callable[[Sequence[str]], np.ndarray] | None,
        folder: Path,
    ) -> None:
        """Compute the similarities that are not on disk yet.

        Args:
            config: its `kind` is not "".
            views: from int64 positions [k] to float32 [k, R, F], as `similarities.i2i` takes them.
            categories: of each shape; a shape of category "" shares its category with no other.
            embed_texts: from texts to float32 [n, F]; for i2l2 and avg.
            folder: for these views and categories only: its name contains a hash of them.

        Raises:
            ConfigError: for settings that cannot be met, such as a category without landmarks.
            CmahError: if the folder cannot be written.
        """
        self.config, self.views = config, views
        self.stores: list[SimilarityStore] = []
        measures = {"avg": ("i2i", "i2l2"), "i2i_all": ()}.get(config.kind, (config.kind,))
        if not measures:
            return
        blocks, names = self._blocks(categories)
        suffix = "_all_pairs" if config.views == "all_pairs" else ""
        for measure in measures:
            landmarks, name = None, measure + suffix
            if measure == "i2l2":
                if embed_texts is None:
                    raise ConfigError(f"loss.negatives.kind = {config.kind}: needs an encoder of texts")
                texts = landmark_texts(config, categories)
                landmarks = [
                    embed_texts(texts[category]) if category in texts else None for category in names
                ]
                name += f"-{digest(texts)}"
            self.stores.append(
                SimilarityStore.build(folder / name, measure + suffix, blocks, views, landmarks)
            )

    def __call__(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """The weights of a batch.

        Args:
            index: int64 [b], positions of the shapes.

        Returns:
            to_shape, to_image: float32 [b, b] on the device of `index`; row i belongs to anchor image i and to anchor
            shape i, as `weighted.weighted_info_nce` takes them.
        """
        positions = index.cpu().numpy()
        if self.stores:
            similarities = [store.batch(positions, self.config.alpha) for store in self.stores]
        else:
            compare = i2i if self.config.views == "corresponding" else i2i_all_pairs
            similarities = [compare(self.views(positions))]
        # the weights are averaged, not the similarities: i2i and i2l2 are on different scales
        weights = [self._weights(torch.from_numpy(each)) for each in similarities]
        to_shape, to_image = (torch.stack(parts).mean(dim=0) for parts in zip(*weights, strict=True))
        return to_shape.to(index.device), to_image.to(index.device)

    def _weights(self, similarity: Tensor) -> tuple[Tensor, Tensor]:
        if self.config.variant == "released":
            return released_weights(similarity)
        return batch_weights(similarity, self.config.diagonal)

    def _blocks(self, categories: Sequence[str]) -> tuple[list[np.ndarray], list[str]]:
        """Positions of the shapes of each category, and its name."""
        if self.config.categories == "clusters":
            labels: list[Any] = clusters(self.views, len(categories), self.config.clusters).tolist()
        elif any(categories):
            # a shape without category gets its position as label, an int: no category is named so
            labels = [name or position for position, name in enumerate(categories)]
        else:
            raise ConfigError(
                f"loss.negatives.kind = {self.config.kind}: no shape has a category; set kind = i2i_all, or "
                "kind = i2i with categories = clusters"
            )
        members: dict[Any, list[int]] = {}
        for position, label in enumerate(labels):
            members.setdefault(label, []).append(position)
        blocks = [np.array(positions, np.int64) for positions in members.values()]
        return blocks, [str(label) for label in members]


def make_negative_weights(
    config: NegativesConfig,
    pairs: TrainingPairs,
    embedder: "ImageEmbedder",
    *,
    workers: int = 0,
    embedded: "tuple[EmbeddingTable, np.ndarray] | None" = None,
) -> NegativeWeights:
    """Weights for training pairs from the embeddings of all their views.

    Args:
        config: its `kind` is not "".
        pairs: the shapes, their categories and their images.
        embedder: the frozen encoder; its cache holds the similarities too.
        workers: processes that decode images.
        embedded: a table that has the views already, and the number of its row for each image of `pairs`, shape
            after shape.

    Raises:
        ConfigError: for settings that cannot be met: cameras that do not correspond, a category without landmarks, an
            encoder without text tower.
        CmahError: if the cache cannot be written.

    Examples:
        A very small encoder of random weights; the negatives of a row weigh 1 on average:

        >>> import timm
        >>> from cmah.data.dataset import Dataset
        >>> from cmah.features.image_embedder import ImageEmbedder
        >>> torch.save(timm.create_model("test_vit", num_classes=0).state_dict(), "vit.pt")
        >>> embedder = ImageEmbedder("timm:test_vit", "vit.pt", cache=Path("cache"))
        >>> pairs = TrainingPairs(Dataset.read("demo/dataset").select("test"), image_size=64, points=128)
        >>> weights = make_negative_weights(NegativesConfig("i2i_all"), pairs, embedder)
        >>> to_shape, to_image = weights(torch.arange(4))
        >>> tuple(to_shape.shape), round(float(to_shape.mean()), 4)
        ((4, 4), 1.0)
    """
    if not config.kind:
        raise ConfigError(
            'loss.negatives.kind = "": expected i2i or i2l2 or avg or i2i_all where negatives are weighted'
        )
    categories = [shape.category for shape in pairs.shapes]
    if config.kind in ("i2l2", "avg"):  # raise before hours of embedding, not after
        landmark_texts(config, categories)
        embedder.embed_texts([])
    images = [image for of_shape in pairs.images for image in of_shape]
    unreadable = len(pairs.skipped)
    if embedded is None:
        table = embedder.embed(pairs.dataset, images, workers=workers, label="image embeddings")
        rows = np.full(len(images), -1)
        rows[table.kept] = np.arange(len(table.kept))
        unreadable += len(table.skipped)
    else:
        table, rows = embedded
    corresponding = config.views == "corresponding"
    slots = slots_by_camera(pairs, rows, unreadable) if corresponding else slots_in_any_order(pairs, rows)

    def views(positions: np.ndarray) -> np.ndarray:
        chosen = slots[positions]
        values = np.zeros((*chosen.shape, table.dim), np.float32)  # zeros stand for a missing view
        values[chosen >= 0] = table.rows(chosen[chosen >= 0])
        return values

    grouping = config.clusters if config.categories == "clusters" else categories
    content = hashlib.sha256(slots.tobytes()).hexdigest()
    key = digest([embedder.key, table.key, slots.shape, content, config.views, grouping])
    folder = embedder.folder.parent.parent / "similarities" / key
    return NegativeWeights(config, views, categories, embedder.embed_texts, folder)


def landmark_texts(config: NegativesConfig, categories: Sequence[str]) -> dict[str, list[str]]:
    """The landmarks of each category with two shapes or more, the same number for each.

    Args:
        config: `landmarks` and `landmarks_per_category` are read.
        categories: of each shape; "" is none.

    Raises:
        ConfigError: naming the categories that have no landmarks, or too few.

    Examples:
        A lamp that is alone has no other to be compared with:

        >>> config = NegativesConfig("i2l2", landmarks_per_category=5)
        >>> texts = landmark_texts(config, ["chair", "chair", "lamp"])
        >>> {name: len(lines) for name, lines in texts.items()}
        {'chair': 5}
    """
    counts = Counter(categories)
    needed = sorted(name for name in counts if name and counts[name] > 1)
    landmarks = known_landmarks(config.landmarks or None)
    texts, faults = {}, []
    for name in needed:
        try:
            texts[name] = landmarks_of(name, landmarks)
        except CmahError as error:
            faults.append((name, str(error)))
    if faults:
        more = f" (and none for {', '.join(name for name, _ in faults[1:6])}" if faults[1:] else ""
        more += f" and {len(faults) - 6} more)" if len(faults) > 6 else ")" if more else ""
        raise ConfigError(f"loss.negatives.kind = {config.kind}: {faults[0][1]}{more}")
    count = config.landmarks_per_category or min(map(len, texts.values()), default=0)
    for name, lines in texts.items():
        if len(lines) < count:
            raise ConfigError(
                f"loss.negatives.landmarks_per_category = {count}: the category {name!r} has {len(lines)} landmarks"
            )
    return {name: lines[:count] for name, lines in texts.items()}
