"""Shapes with numbered views whose embeddings are made up from their names, and their similarities by loops."""

import hashlib
from types import SimpleNamespace

import numpy as np
import torch

from cmah.data.dataset import Image, Shape
from cmah.errors import ConfigError
from cmah.features.image_embedder import EmbeddingTable
from cmah.features.shards import Shard

CATEGORIES = ["chair", "lamp", "chair", "", "lamp", "chair", "", "table"]
WIDTH, VIEWS = 12, 3


class FakeEmbedder:
    """Random rows for pictures, by name, and for texts; those in `broken` cannot be read."""

    key = "fake"

    def __init__(self, folder, broken=(), texts=True):
        self.folder = folder / "embeddings" / self.key
        self.broken, self.texts, self.calls = broken, texts, 0

    def embed(self, dataset, images, *, workers=0, label=""):
        self.calls += 1
        kept = [i for i, image in enumerate(images) if image.image_id not in self.broken]
        rows = np.stack([vector(images[i].image_id) for i in kept])
        name = hashlib.sha256(" ".join(image.image_id for image in images).encode()).hexdigest()
        path = self.folder / f"{name[:8]}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, rows)
        skipped = [(images[i].path, "broken") for i in range(len(images)) if i not in kept]
        return EmbeddingTable(WIDTH, [Shard(path, None, len(rows), [])], kept, skipped)

    def embed_texts(self, texts):
        if not self.texts:
            raise ConfigError("has no text tower")
        return np.stack([vector(text) for text in texts]) if len(texts) else np.zeros((0, WIDTH), np.float32)


def vector(name):
    """The same random direction for a name, near a direction for its first letters."""
    seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") for text in (name, name[:3])]
    own, common = (np.random.default_rng(seed).normal(size=WIDTH) for seed in seeds)
    return (0.5 * own + common).astype(np.float32)


def some_pairs(categories=CATEGORIES, views=VIEWS, drop=()):
    """Shapes with numbered views; the images named in `drop` are not there."""
    shapes = [Shape(f"s{i}", name, "train", "") for i, name in enumerate(categories)]
    images = [
        [
            Image(f"s{i}_{view}", f"s{i}", name, "train", f"s{i}_{view}.png", "render", view=view)
            for view in range(views)
            if f"s{i}_{view}" not in drop
        ]
        for i, name in enumerate(categories)
    ]
    return SimpleNamespace(shapes=shapes, images=images, dataset=None, skipped=[])


def views_of(count=8):
    return np.stack([[vector(f"s{i}_{view}") for view in range(VIEWS)] for i in range(count)])


def similarity_by_loops(measure, views, categories=CATEGORIES, alpha=0.25, landmarks=None):
    """α, but for pairs of one category."""
    out = np.full((len(views), len(views)), alpha, np.float32)
    np.fill_diagonal(out, 1)
    for name in set(categories) - {""}:
        members = np.array([i for i, category in enumerate(categories) if category == name])
        more = (np.stack([vector(text) for text in landmarks[name]]),) if landmarks else ()
        out[np.ix_(members, members)] = measure(views[members], *more)
    return torch.from_numpy(out)


def close(got, expected):
    torch.testing.assert_close(got, expected.float(), rtol=2e-3, atol=0)  # float16 on disk, twice
