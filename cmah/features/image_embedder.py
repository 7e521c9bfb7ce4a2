"""Embeddings of a frozen image encoder, computed once and kept on disk.

The cache is `$CMAH_CACHE`, else `$XDG_CACHE_HOME/cmah`, else `~/.cache/cmah`; deleting it costs time only. In it,
`embeddings/<key>/` belongs to one encoder with its weights and its way to prepare pixels, and holds shards: `.npy`
float32 [rows, dim] of up to 2,048 images, with a `.json` that says which of them could not be read. A shard's name is a
hash of its images' paths, sizes and times, so that a changed image is embedded anew.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from cmah.data.dataset import Image
from cmah.data.encoding_batches import ImageBatches
from cmah.devices import full_float32, keep_freed_memory
from cmah.errors import ConfigError, RunError
from cmah.features.shards import VERSION, Lost, Shards
from cmah.files import MappedArrays, Skipped, digest, require_file, sha256
from cmah.models.pretrained.backbone_spec import BackboneSpec, weights_file
from cmah.models.pretrained.image_towers import ImageBackbone
from cmah.progress import progress

if TYPE_CHECKING:
    from cmah.models.pretrained.text_towers import TextEncoder

BATCH = 32  # the one internal batch size
SHARD = 2048  # images; a killed job loses at most so many
OPEN = 256  # shards that a table keeps mapped


def cache_folder() -> Path:
    """Where cmah keeps what it can compute again."""
    for variable, inner in (("CMAH_CACHE", ""), ("XDG_CACHE_HOME", "cmah")):
        if os.environ.get(variable):
            return Path(os.environ[variable]).expanduser() / inner
    return Path("~/.cache/cmah").expanduser()


class EmbeddingTable:
    """Embeddings of images, row by row; the rows stay on disk and are mapped when asked for.

    Attributes:
        dim: width of a row.
        kept: positions, in the list that was embedded, of the images that could be read; row i is that of kept[i].
        skipped: (path, reason) of the others.
    """

    def __init__(
        self, dim: int, shards: Sequence[tuple[Path, int]], kept: list[int], skipped: Skipped
    ) -> None:
        """Open nothing yet.

        Args:
            dim: width of a row.
            shards: file and number of rows of each.
            kept: see the class.
            skipped: see the class.
        """
        self.dim, self.kept, self.skipped = dim, kept, skipped
        self._files = [path for path, _ in shards]
        self._first = np.cumsum([0, *(rows for _, rows in shards)])
        self._open = MappedArrays(OPEN)

    def __len__(self) -> int:
        return len(self.kept)

    @property
    def key(self) -> str:
        """A hash that changes with the encoder, with any of the images' files and with their order."""
        return digest([[f"{path.parent.name}/{path.name}" for path in self._files], self.kept])

    def rows(self, indices: Any) -> np.ndarray:
        """The rows of these numbers, in their order, float32 [k, dim], as the encoder gave them (of any norm).

        Raises:
            IndexError: for a number that is not from 0 up to the number of rows.
        """
        wanted = np.asarray(indices, np.int64).reshape(-1)
        if len(wanted) and not (wanted.min() >= 0 and wanted.max() < len(self)):
            raise IndexError(f"rows {wanted.min()} to {wanted.max()} of a table of {len(self)}")
        found = np.empty((len(wanted), self.dim), np.float32)
        shards = np.searchsorted(self._first, wanted, side="right") - 1
        for shard in np.unique(shards).tolist():
            here = shards == shard
            found[here] = self._open(self._files[shard])[wanted[here] - self._first[shard]]
        return found


class ImageEmbedder:
    """A frozen image encoder whose embeddings are computed once and kept on disk.

    Attributes:
        key: of the cache: a hash of encoder and options, weights (SHA-256), preprocessing and background.
        dim: width of an embedding.
        size: of the images in pixels.
        folder: of its shards, <cache>/embeddings/<key>.
    """

    def __init__(
        self,
        encoder: str,
        weights: str,
        *,
        backbone: ImageBackbone | None = None,
        device: torch.device | str = "cpu",
        cache: Path | None = None,
        background: Literal["keep", "remove"] = "keep",
    ) -> None:
        """Load the encoder.

        Args:
            encoder: timm:NAME, open_clip:NAME or slip:ViT-B-16.
            weights: its file, or download:TAG.
            backbone: the encoder, where it is loaded already.
            device: to compute on.
            cache: folder; None takes `cache_folder()`.
            background: "remove" paints black what the mask of an image, or its own opacity, says is not the object.

        Raises:
            ConfigError, RunError: for an encoder or weights that are no good.
        """
        if not weights:
            raise ConfigError(
                f"image encoder {encoder!r}: embeddings need its weights, a file or download:TAG"
            )
        path = weights_file(encoder, weights)
        require_file(path, f"expected the weights of {encoder}", RunError)
        if backbone is None:
            backbone = ImageBackbone(BackboneSpec.parse(encoder))
            backbone.load(weights)
        self.encoder, self.weights, self.background = encoder, weights, background
        self.device = torch.device(device)
        if self.device.type == "cpu":
            keep_freed_memory()
        self.backbone = backbone.to(self.device)
        self.dim, self.size = backbone.dim, backbone.default_size
        parts = [encoder, sha256(path), backbone.preprocessing, background, str(VERSION)]
        self.key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
        self.folder = (cache or cache_folder()) / "embeddings" / self.key
        self.shards = Shards(self.folder, self.dim)
        self._texts: TextEncoder | None = None

    def embed(
        self, root: Path, images: Sequence[Image], *, workers: int = 0, label: str = ""
    ) -> EmbeddingTable:
        """The embeddings of a dataset's images, from disk where they are there.

        Args:
            root: folder of the dataset.
            images: rows of images.csv.
            workers: processes that decode.
            label: of the progress bar; none without it.

        Raises:
            CmahError: if the cache cannot be written.
            RunError: if the encoder gives anything but finite numbers.
        """
        bar = progress(range(len(images)), label, unit="image") if label else None
        shards: list[tuple[Path, int]] = []
        kept: list[int] = []
        skipped: Skipped = []
        for first in range(0, len(images), SHARD):
            part = images[first : first + SHARD]

            def compute(part: Sequence[Image] = part) -> tuple[np.ndarray, Lost]:
                return self._embedded(root, part, workers, bar)

            path, lost = self.shards.get(self._name(root, part), len(part), compute)
            if bar is not None:
                bar.update(first + len(part) - bar.n)
            missing = {position for position, _ in lost}
            kept += [first + i for i in range(len(part)) if i not in missing]
            skipped += [(str(root / part[i].path), reason) for i, reason in lost]
            shards.append((path, len(part) - len(lost)))
        if bar is not None:
            bar.close()
        return EmbeddingTable(self.dim, shards, kept, skipped)

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embeddings of texts by the encoder's own text tower: float32 [n, dim], each of unit length.

        Raises:
            ConfigError, RunError: if it has none; see `texts.TextEncoder`.
        """
        from cmah.models.pretrained.text_towers import TextEncoder, require_text

        require_text(self.encoder)
        parts = [np.zeros((0, self.dim), np.float32)]
        for first in range(0, len(texts), SHARD):
            part = list(texts[first : first + SHARD])

            def compute(part: list[str] = part) -> tuple[np.ndarray, Lost]:
                if self._texts is None:
                    self._texts = TextEncoder(self.encoder, self.weights, self.device)
                return self._texts.encode(part), []

            path, _ = self.shards.get(f"texts-{digest(part)}", len(part), compute)
            parts.append(np.load(path, allow_pickle=False))
        return np.concatenate(parts)

    def _name(self, root: Path, images: Sequence[Image]) -> str:
        """A name that changes with any of the images' files."""
        facts: list[Any] = [str(root.resolve())]
        for image in images:
            names = [image.path, image.mask] if self.background == "remove" and image.mask else [image.path]
            for name in names:
                try:
                    state = os.stat(root / name)
                    facts.append([name, state.st_size, state.st_mtime_ns])
                except OSError:
                    facts.append([name])
        return f"images-{digest(facts)}"

    def _embedded(
        self, root: Path, images: Sequence[Image], workers: int, bar: Any
    ) -> tuple[np.ndarray, Lost]:
        """Rows [k, dim] of the images that can be read, and (position, reason) of the others."""
        batches = ImageBatches.of(root, images, self.size, BATCH, workers, self.background)
        kept: list[int] = []

        def pixels() -> Iterator[torch.Tensor]:
            for batch, positions in batches:
                kept.extend(positions)
                if bar is not None:
                    bar.update(len(positions))
                yield batch["image"]

        rows = in_batches(
            lambda x: self.backbone(x.float() / 255), pixels(), self.device, self.dim, self.backbone
        )
        lost = sorted(set(range(len(images))) - set(kept))
        return rows, [(i, reason) for i, (_, reason) in zip(lost, batches.skipped, strict=True)]


def in_batches(
    encode: Callable[[torch.Tensor], torch.Tensor],
    batches: Iterable[torch.Tensor],
    device: torch.device,
    dim: int,
    net: torch.nn.Module,
    what: str = "encoder's embeddings are",
) -> np.ndarray:
    """Outputs float32 [n, dim] of a network in evaluation mode, bit for bit the same whatever lies beside a row.

    Full float32, and one internal batch size that every batch is padded to.

    Args:
        encode: from a batch on the device to [BATCH, dim].
        batches: of any size.
        device: to compute on.
        dim: width of the outputs.
        net: whose mode `encode` depends on.
        what: they are called in the error.

    Raises:
        RunError: if they are not finite.
    """
    parts = [np.zeros((0, dim), np.float32)]
    was_training = net.training
    net.eval()
    with torch.inference_mode(), full_float32():
        for batch in batches:
            for rows in batch.split(BATCH):
                padded = torch.cat([rows, rows[:1].expand(BATCH - len(rows), *rows.shape[1:])])
                parts.append(encode(padded.to(device))[: len(rows)].float().cpu().numpy())
    net.train(was_training)
    values = np.concatenate(parts)
    if not np.isfinite(values).all():
        raise RunError(f"the {what} not finite: its weights are no good")
    return values
