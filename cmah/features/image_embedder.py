"""Embeddings of a frozen image encoder, computed once and kept on disk.

In the cache folder (`cmah.cache`), `embeddings/<key>/` belongs to one encoder with its weights and its preprocessing.
It holds shards: `.npy`, float32 [rows, dim], of up to 2,048 images, each with a `.json` that says which of the images
could not be read. A shard's name is a hash of its images' paths, sizes and times, so a changed image is embedded anew.
"""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from cmah.cache import cache_folder, file_digest, tell_not_kept
from cmah.data.dataset import Dataset, Image
from cmah.data.encoding_batches import ImageBatches
from cmah.data.file_states import image_states
from cmah.data.framing import WHOLE, Framing
from cmah.devices import keep_freed_memory
from cmah.errors import ConfigError, RunError
from cmah.features.inference import BATCH, in_batches
from cmah.features.shards import VERSION, Piece, Shard, Shards, pieces
from cmah.files import digest
from cmah.models.encoder_model import FrozenImages
from cmah.models.pretrained.backbone_spec import BackboneSpec, weights_file
from cmah.models.pretrained.image_towers import ImageBackbone
from cmah.progress import Lines, progress
from cmah.reading import MappedArrays, require_file
from cmah.skipped_files import Skipped

if TYPE_CHECKING:
    from cmah.models.pretrained.text_towers import TextEncoder

SHARD = 2048  # images
OPEN = 256  # shards that a table keeps mapped


class EmbeddingTable:
    """Embeddings of images, row by row; rows on disk are mapped when asked for.

    Attributes:
        dim: width of a row.
        kept: positions, in the list that was embedded, of the images that could be read; row i is that of kept[i].
        skipped: (path, reason) of the others.

    Examples:
        >>> np.save("shard.npy", np.array([[1, 2], [3, 4]], np.float32))
        >>> shard = Shard(Path("shard.npy"), None, 2, [(1, "broken")])
        >>> table = EmbeddingTable(2, [shard], kept=[0, 2], skipped=[("1.png", "broken")])
        >>> table.rows([1, 0]).tolist()
        [[3.0, 4.0], [1.0, 2.0]]
    """

    def __init__(self, dim: int, shards: Sequence[Shard], kept: list[int], skipped: Skipped) -> None:
        """Open nothing yet.

        Args:
            dim: width of a row.
            shards: their rows, one after the other.
            kept: see the class.
            skipped: see the class.
        """
        self.dim, self.kept, self.skipped = dim, kept, skipped
        self._shards = list(shards)
        self._first = np.cumsum([0, *(shard.count for shard in shards)])
        self._open = MappedArrays(OPEN)

    def __len__(self) -> int:
        return len(self.kept)

    @property
    def key(self) -> str:
        """A hash that changes with the encoder, with any of the images' files and with their order."""
        paths = [shard.path for shard in self._shards]
        return digest([[f"{path.parent.name}/{path.name}" for path in paths], self.kept])

    def rows(self, indices: Any) -> np.ndarray:
        """The rows of these numbers, in their order, float32 [k, dim], as the encoder gave them (of any norm).

        Raises:
            IndexError: for a number that is not from 0 up to the number of rows.
        """
        wanted = np.asarray(indices, np.int64).reshape(-1)
        if len(wanted) and not (wanted.min() >= 0 and wanted.max() < len(self)):
            raise IndexError(f"rows {wanted.min()} to {wanted.max()} of a table of {len(self)}")
        values = np.empty((len(wanted), self.dim), np.float32)
        shards = np.searchsorted(self._first, wanted, side="right") - 1
        for number in np.unique(shards).tolist():
            here, shard = shards == number, self._shards[number]
            rows = self._open(shard.path) if shard.rows is None else shard.rows
            values[here] = rows[wanted[here] - self._first[number]]
        return values


class ImageEmbedder:
    """A frozen image encoder whose embeddings are computed once and kept on disk.

    Attributes:
        key: of the cache: a hash of encoder and options, weights (SHA-256), preprocessing and framing.
        dim: width of an embedding.
        size: of the images in pixels.
        folder: of its shards, <cache>/embeddings/<key>.

    Examples:
        With random weights, for want of others:

        >>> from timm import create_model
        >>> from cmah.data.dataset import Dataset
        >>> torch.save(create_model("test_resnet").state_dict(), "weights.pt")
        >>> embedder = ImageEmbedder("timm:test_resnet", "weights.pt", cache=Path("cache"))
        >>> dataset = Dataset.read("demo/dataset")
        >>> embedder.embed(dataset, dataset.images[:4]).rows([0, 3]).shape
        (2, 96)
        >>> len(list(Path("cache/embeddings").glob("*/images-*.npy")))  # the next call reads this file
        1
    """

    def __init__(
        self,
        encoder: str,
        weights: str,
        *,
        backbone: ImageBackbone | None = None,
        device: torch.device | str = "cpu",
        cache: Path | None = None,
        framing: Framing = WHOLE,
        mirrored: bool = False,
    ) -> None:
        """Load the encoder.

        Args:
            encoder: timm:NAME, open_clip:NAME or slip:ViT-B-16.
            weights: its file, or download:TAG.
            backbone: the encoder, where it is loaded already.
            device: to compute on.
            cache: folder; None takes `cache_folder()`.
            framing: what of each image is cut off and painted over.
            mirrored: give the mean of the embeddings of each image and of its mirror image.

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
        self.encoder, self.weights, self.framing, self.mirrored = encoder, weights, framing, mirrored
        self.device = torch.device(device)
        if self.device.type == "cpu":
            keep_freed_memory()
        self.backbone = backbone.to(self.device)
        self.dim, self.size = backbone.dim, backbone.default_size
        parts = [encoder, file_digest(path), backbone.preprocessing, framing.key, str(VERSION)]
        parts += ["mirrored"] * mirrored
        self.key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
        self.folder = (cache or cache_folder()) / "embeddings" / self.key
        self.shards = Shards(self.folder, self.dim, unwritable=lambda error: tell_not_kept(str(error)))
        self._texts: TextEncoder | None = None

    @classmethod
    def of(
        cls, frozen: FrozenImages, device: torch.device | str, framing: Framing = WHOLE
    ) -> "ImageEmbedder":
        """The embedder of the encoder that a model begins with; arguments as in the constructor."""
        return cls(frozen.encoder, frozen.weights, backbone=frozen.backbone, device=device, framing=framing)

    def framed(self, framing: Framing, *, mirrored: bool = False) -> "ImageEmbedder":
        """The embedder of the same encoder that frames images otherwise; arguments as in the constructor."""
        return ImageEmbedder(
            self.encoder,
            self.weights,
            backbone=self.backbone,
            device=self.device,
            cache=self.folder.parent.parent,
            framing=framing,
            mirrored=mirrored,
        )

    def embed(
        self, dataset: Dataset, images: Sequence[Image], *, workers: int = 0, label: str = ""
    ) -> EmbeddingTable:
        """The embeddings of a dataset's images, read from disk where they were computed before.

        Args:
            dataset: the folder.
            images: rows of its images.csv.
            workers: processes that decode.
            label: of the progress bar; none without it.

        Where the cache cannot be written, the embeddings stay in memory, and a line on standard error says so.

        Raises:
            RunError: if the encoder gives anything but finite numbers.
        """
        bar = progress(range(len(images)), label, unit="image") if label else None
        shards: list[Shard] = []
        kept: list[int] = []
        skipped: Skipped = []
        for first in range(0, len(images), SHARD):
            part = images[first : first + SHARD]

            def compute(begin: int, part: Sequence[Image] = part) -> Iterator[Piece]:
                return self._embedded(dataset, part, begin, workers, bar)

            shard = self.shards.get(self._name(dataset, part), len(part), compute)
            if bar is not None:
                bar.skip(first + len(part) - bar.n)
            missing = {position for position, _ in shard.left_out}
            kept += [first + i for i in range(len(part)) if i not in missing]
            skipped += [(str(dataset.file(part[i].path)), reason) for i, reason in shard.left_out]
            shards.append(shard)
        if bar is not None:
            bar.close()
        return EmbeddingTable(self.dim, shards, kept, skipped)

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embeddings of texts by the encoder's own text tower: float32 [n, dim], each of unit length.

        Raises:
            ConfigError, RunError: if it has none; see `text_towers.TextEncoder`.
        """
        from cmah.models.pretrained.text_towers import TextEncoder, require_text

        require_text(self.encoder)
        parts = [np.zeros((0, self.dim), np.float32)]
        for first in range(0, len(texts), SHARD):
            part = list(texts[first : first + SHARD])

            def compute(begin: int, part: list[str] = part) -> Iterator[Piece]:
                if self._texts is None:
                    self._texts = TextEncoder(self.encoder, self.weights, self.device)
                yield self._texts.encode(part[begin:]), [], len(part)

            parts.append(self.shards.get(f"texts-{digest(part)}", len(part), compute).load())
        return np.concatenate(parts)

    def _name(self, dataset: Dataset, images: Sequence[Image]) -> str:
        """A name that changes with any of the images' files, and with the boxes that they are cropped to."""
        masks, boxes = self.framing.reads_mask, self.framing.crop == "box"
        states = image_states(dataset, images, masks=masks, boxes=boxes)
        return f"images-{digest(states)}"

    def _embedded(
        self, dataset: Dataset, images: Sequence[Image], begin: int, workers: int, bar: Lines[int] | None
    ) -> Iterator[Piece]:
        """Rows [k, dim] of the images from `begin` on that can be read, and (position, reason) of the others."""
        if bar is not None and begin:
            bar.skip(begin)
        batches = ImageBatches.of(dataset, images[begin:], self.size, BATCH, workers, self.framing)

        def encode(batch: dict[str, torch.Tensor]) -> np.ndarray:
            return in_batches(self._encode, [batch["image"]], self.device, self.dim, self.backbone)

        at = begin
        for rows, left_out, end in pieces(batches, begin, len(images), encode):
            if bar is not None:
                bar.update(end - at)
            at = end
            yield rows, left_out, end

    def _encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """From uint8 [b, 3, s, s]."""
        x = pixels.float() / 255
        outputs: torch.Tensor = self.backbone(x)
        return (outputs + self.backbone(x.flip(-1))) / 2 if self.mirrored else outputs
