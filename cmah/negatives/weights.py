"""Weights on the negatives of a batch, from the embeddings of a frozen image encoder (arXiv 2406.02202).

The similarities of all pairs within a category are computed once and kept in the cache; a step reads those of its
batch. `kind` says which: "i2i", "i2l2" (needs category names, landmarks and a text encoder), "avg" of the weights of
both, or "i2i_all", which compares the batch's own views, needs no categories and keeps nothing.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
from cmah.negatives.similarities import Views, i2i, i2i_all_pairs
from cmah.negatives.similarity_store import SimilarityStore

if TYPE_CHECKING:
    from cmah.features.image_embedder import EmbeddingTable, ImageEmbedder

KINDS = ("", "i2i", "i2l2", "avg", "i2i_all")
CHOICES = {
    "kind": KINDS,
    "views": ("corresponding", "all_pairs"),
    "categories": ("labels", "clusters"),
    "variant": ("paper", "released"),
    "diagonal": ("one", "eq6"),
}


@dataclass(frozen=True)
class NegativesConfig:
    """How negatives weigh; a table `negatives` among a recipe's loss settings."""

    kind: str = ""  # "" (all alike) | i2i | i2l2 | avg | i2i_all (no categories, no alpha)
    views: str = (
        "corresponding"  # or all_pairs: the mean over all pairs of views, where cameras do not correspond
    )
    alpha: float = 0.25  # similarity of shapes of different categories
    categories: str = "labels"  # or clusters: k-means of the mean embeddings in place of labels, for i2i
    clusters: int = 0  # how many
    landmarks: str = (
        ""  # landmark file; categories that it lacks are looked up in the one that comes with cmah
    )
    landmarks_per_category: int = 0  # the first so many; 0: as many as the category with the fewest has
    variant: str = "paper"  # or released: weights (and in `captionless` the loss) as in the authors' code
    diagonal: str = "one"  # weight of the positive; eq6: as equation 6 gives it
    image_encoder: str = ""  # whose embeddings say how alike shapes are; "" takes the model's own frozen one
    image_weights: str = ""  # its weights: a file or download:TAG

    def __post_init__(self) -> None:
        for key, known in CHOICES.items():
            if getattr(self, key) not in known:
                expected = " or ".join(choice or '""' for choice in known)
                raise ConfigError(f"loss.negatives.{key} = {getattr(self, key)!r}: expected {expected}")
        unused = {
            "image_encoder": not self.kind and self.image_encoder,
            "landmarks": self.kind not in ("i2l2", "avg") and self.landmarks,
            "landmarks_per_category": self.kind not in ("i2l2", "avg") and self.landmarks_per_category,
            "clusters": (self.categories != "clusters" or self.kind == "i2i_all") and self.clusters,
        }
        for key, value in unused.items():
            if value:
                raise ConfigError(
                    f"loss.negatives.{key} = {value!r}: has no effect with kind = {self.kind!r} and categories = "
                    f"{self.categories!r}"
                )
        if self.alpha > 1:
            raise ConfigError(f"loss.negatives.alpha = {self.alpha}: expected a similarity from 0 to 1")
        if self.categories == "clusters":
            if self.kind in ("i2l2", "avg"):
                raise ConfigError(
                    f"loss.negatives: {self.kind} needs the names of categories, which clusters have not; "
                    "set kind = i2i or categories = labels"
                )
            if self.clusters < 2:
                raise ConfigError(
                    f"loss.negatives.clusters = {self.clusters}: expected at least 2 for categories = clusters"
                )
        if self.variant == "released" and (not self.kind or self.diagonal != "one"):
            raise ConfigError("loss.negatives: variant = released needs a kind, and diagonal = one")


def described(config: NegativesConfig) -> str:
    """The loss that it makes, in words."""
    if not config.kind:
        return "InfoNCE"
    views = ", all pairs of views" if config.views == "all_pairs" else ""
    groups = f", {config.clusters} clusters" if config.categories == "clusters" else ""
    variant = ", as released" if config.variant == "released" else ""
    return f"InfoNCE, negatives weighted by {config.kind}{views}{groups}{variant}"


class NegativeWeights:
    """Weights of a batch's negatives, by the positions of its shapes.

    Attributes:
        stores: of the similarities whose weights are averaged; none for i2i_all.
    """

    def __init__(
        self,
        config: NegativesConfig,
        views: Views,
        categories: Sequence[str],
        embed_texts: Callable[[Sequence[str]], np.ndarray] | None,
        folder: Path,
    ) -> None:
        """Compute the similarities that are not on disk.

        Args:
            config: its `kind` is not "".
            views: from int64 positions [k] to float32 [k, R, F], as `similarities.i2i` takes them.
            categories: of each shape; those with "" are alone in theirs.
            embed_texts: from texts to float32 [n, F]; for i2l2 and avg.
            folder: of these views and categories alone: named by a hash of them.

        Raises:
            ConfigError: for settings that cannot be met, a category without landmarks among them.
            CmahError: if the folder cannot be written.
        """
        self.config, self.views = config, views
        self.stores: list[SimilarityStore] = []
        kinds = {"avg": ("i2i", "i2l2"), "i2i_all": ()}.get(config.kind, (config.kind,))
        if not kinds:
            return
        blocks, names = self._blocks(categories)
        suffix = "_all_pairs" if config.views == "all_pairs" else ""
        for kind in kinds:
            landmarks, name = None, kind + suffix
            if kind == "i2l2":
                if embed_texts is None:
                    raise ConfigError(f"loss.negatives.kind = {config.kind}: needs an encoder of texts")
                texts = landmark_texts(config, categories)
                landmarks = [embed_texts(texts[known]) if known in texts else None for known in names]
                name += f"-{digest(texts)}"
            self.stores.append(SimilarityStore.build(folder / name, kind + suffix, blocks, views, landmarks))

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
        weights = [self._weights(torch.from_numpy(each)) for each in similarities]
        to_shape, to_image = (torch.stack(parts).mean(dim=0) for parts in zip(*weights, strict=True))
        return to_shape.to(index.device), to_image.to(index.device)

    def _weights(self, similarity: Tensor) -> tuple[Tensor, Tensor]:
        if self.config.variant == "released":
            return released_weights(similarity)
        return batch_weights(similarity, "eq6" if self.config.diagonal == "eq6" else "one")

    def _blocks(self, categories: Sequence[str]) -> tuple[list[np.ndarray], list[str]]:
        """Positions of the shapes of each category, and its name."""
        if self.config.categories == "clusters":
            labels: list[Any] = clusters(self.views, len(categories), self.config.clusters).tolist()
        elif any(categories):
            labels = [name or position for position, name in enumerate(categories)]
        else:
            raise ConfigError(
                f"loss.negatives.kind = {self.config.kind}: no shape has a category; set kind = i2i_all, or "
                "kind = i2i with categories = clusters"
            )
        members: dict[Any, list[int]] = {}
        for position, label in enumerate(labels):
            members.setdefault(label, []).append(position)
        return [np.array(own, np.int64) for own in members.values()], [str(label) for label in members]


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
    """
    if not config.kind:
        raise ConfigError(
            f'loss.negatives.kind = "": expected {" or ".join(KINDS[1:])} where negatives weigh'
        )
    categories = [shape.category for shape in pairs.shapes]
    if config.kind in ("i2l2", "avg"):  # told before hours of embedding, not after
        landmark_texts(config, categories)
        embedder.embed_texts([])
    images = [image for own in pairs.images for image in own]
    lost = len(pairs.skipped)
    if embedded is None:
        table = embedder.embed(pairs.root, images, workers=workers, label="image embeddings")
        rows = np.full(len(images), -1)
        rows[table.kept] = np.arange(len(table.kept))
        lost += len(table.skipped)
    else:
        table, rows = embedded
    slots = view_slots(pairs, rows, lost) if config.views == "corresponding" else all_slots(pairs, rows)

    def views(positions: np.ndarray) -> np.ndarray:
        chosen = slots[positions]
        found = np.zeros((*chosen.shape, table.dim), np.float32)
        found[chosen >= 0] = table.rows(chosen[chosen >= 0])
        return found

    grouping = config.clusters if config.categories == "clusters" else categories
    content = hashlib.sha256(slots.tobytes()).hexdigest()
    key = digest([embedder.key, table.key, slots.shape, content, config.views, grouping])
    folder = embedder.folder.parent.parent / "similarities" / key
    return NegativeWeights(config, views, categories, embedder.embed_texts, folder)


def landmark_texts(config: NegativesConfig, categories: Sequence[str]) -> dict[str, list[str]]:
    """The landmarks of each category with two shapes or more, as many of each.

    Raises:
        ConfigError: naming the categories that have none, or too few.
    """
    counts = Counter(categories)
    needed = sorted(name for name in counts if name and counts[name] > 1)
    known = known_landmarks(config.landmarks or None)
    texts, faults = {}, []
    for name in needed:
        try:
            texts[name] = landmarks_of(name, known)
        except CmahError as error:
            faults.append((name, str(error)))
    if faults:
        more = f" (and none for {', '.join(name for name, _ in faults[1:6])}" if faults[1:] else ""
        more += f" and {len(faults) - 6} more)" if len(faults) > 6 else ")" if more else ""
        raise ConfigError(f"loss.negatives.kind = {config.kind}: {faults[0][1]}{more}")
    wanted = config.landmarks_per_category or min(map(len, texts.values()), default=0)
    for name, own in texts.items():
        if len(own) < wanted:
            raise ConfigError(
                f"loss.negatives.landmarks_per_category = {wanted}: the category {name!r} has {len(own)} landmarks"
            )
    return {name: own[:wanted] for name, own in texts.items()}


def view_slots(pairs: TrainingPairs, rows: np.ndarray, lost: int) -> np.ndarray:
    """The row of each shape's image by each camera: int64 [n, R], -1 where there is none.

    Args:
        pairs: the shapes and their images, which have view numbers.
        rows: int64, the row of each image, shape after shape; -1 for those that could not be read.
        lost: how many views may be missing, since their pictures could not be read.

    Raises:
        ConfigError: naming a shape whose cameras are not those of the others.
    """
    hint = '; set loss.negatives.views = "all_pairs"'
    cameras: set[int] = set()
    for shape, images in zip(pairs.shapes, pairs.images, strict=True):
        views = [image.view for image in images]
        if None in views or len(set(views)) < len(views):
            what = "a view without a number" if None in views else "two views of one number"
            raise ConfigError(f"shape {shape.shape_id!r} has {what}, expected corresponding cameras{hint}")
        cameras.update(view for view in views if view is not None)
    column = {view: number for number, view in enumerate(sorted(cameras))}
    slots = np.full((len(pairs.images), len(column)), -1)
    of_row = iter(rows.tolist())
    for position, images in enumerate(pairs.images):
        for image in images:
            slots[position, column[image.view or 0]] = next(of_row)
    fewest = int(np.argmin((slots >= 0).sum(axis=1)))
    if (slots < 0).sum() > lost:
        raise ConfigError(
            f"shape {pairs.shapes[fewest].shape_id!r} has {len(pairs.images[fewest])} of the {len(column)} "
            f"numbered views that there are, expected corresponding cameras{hint}"
        )
    return slots


def all_slots(pairs: TrainingPairs, rows: np.ndarray) -> np.ndarray:
    """The rows of each shape's images, in any order: int64 [n, most], filled up with -1."""
    counts = [len(images) for images in pairs.images]
    slots = np.full((len(counts), max(counts)), -1)
    slots[np.arange(max(counts)) < np.array(counts)[:, None]] = rows
    return slots
