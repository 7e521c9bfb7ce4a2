"""A trained run as an encoder: from images and point clouds to codes or embeddings.

The same input gives the same code, bit for bit, whatever is encoded beside it (on one machine): float32 without
TF32, one internal batch size that every batch is padded to, fixed subsets of points, sign(0) = +1.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from cmah.codes import BinaryCodes, Embeddings
from cmah.codes.posthoc import PostHocHash
from cmah.data.dataset import NO_POINTS, Dataset, Image, Shape
from cmah.data.encoding_batches import ImageBatches
from cmah.data.framing import WHOLE, Framing
from cmah.data.object_masks import square_picture
from cmah.data.shape_views import ViewsFrom, described, in_groups
from cmah.devices import chosen_device
from cmah.errors import CmahError, ConfigError, RunError
from cmah.features.image_embedder import ImageEmbedder
from cmah.features.inference import BATCH, in_batches
from cmah.features.shards import Piece, Shards, in_shards, pieces
from cmah.files import Skipped
from cmah.models.encoder_model import EncoderModel
from cmah.models.view_attention import ViewAttention
from cmah.progress import progress
from cmah.runs.query_files import cloud_tensor, image_tensor, query_of_file
from cmah.runs.run_folder import MODALITIES, RunFolder
from cmah.runs.shape_batches import NO_VIEW, ShapeBatches

VIEWED = 128  # shapes seen by their views of which an export that is killed loses at most so many


class Encoder:
    """A trained model, ready to turn images and shapes into codes or embeddings.

    Attributes:
        model: the network.
        device: where it is.
        space: names the model; codes of different spaces are not comparable.
        fitted: where the model has learned no codes, the hash that makes them of its embeddings; None before it is
            fitted.
        framing: what was cut off and painted over of the images that it was trained on.

    Examples:
        >>> encoder = Encoder.load("demo/run")
        >>> codes, skipped = encoder.encode_files(["demo/meshes/chair/chair_000.obj", "demo/missing.png"])
        >>> codes.bits, codes.ids.tolist(), codes.kinds.tolist()
        (64, ['demo/meshes/chair/chair_000.obj'], ['shape'])
        >>> skipped
        [('demo/missing.png', 'demo/missing.png: no such file (expected a picture)')]
    """

    def __init__(
        self,
        model: EncoderModel,
        device: torch.device | str,
        space: str,
        fitted: PostHocHash | None = None,
        framing: Framing = WHOLE,
    ) -> None:
        self.model, self.device, self.space, self.fitted = model, torch.device(device), space, fitted
        self.framing = framing
        self._embedders: dict[Framing, ImageEmbedder] = {}

    @classmethod
    def load(
        cls, run: str | Path, device: str = "cpu", settings: Sequence[str] = (), *, verify: bool = False
    ) -> "Encoder":
        """Load a run folder.

        Args:
            run: the folder that training wrote.
            device: "auto", "cpu", "cuda" or "cuda:N".
            settings: changes such as "model.image_weights=FILE", for weights that have moved.
            verify: read weights files anew instead of trusting the digests that the cache remembers.

        Raises:
            RunError, ConfigError: if the folder is no run, is damaged, or names weights that are not there.
        """
        return cls.of(RunFolder(run, settings=settings, verify=verify), device)

    @classmethod
    def of(cls, folder: RunFolder, device: str = "cpu") -> "Encoder":
        """Load the model of an open run folder; "device" and errors as in `load`."""
        chosen = chosen_device(device)
        model = folder.load_recipe(chosen).model
        framing = folder.config.data.framing
        return cls(model, chosen, folder.space(model), folder.fitted_hash(model), framing)

    def outputs(self, inputs: Literal["image", "features", "shape"], batches: Iterable[Any]) -> np.ndarray:
        """Real outputs of the model, float32 [n, width].

        Args:
            inputs: what `batches` holds.
            batches: images (uint8 [b, 3, s, s], with masks [b, 4, s, s]), what a frozen image encoder made of them
                (float32 [b, d]), or shapes (named tensors, see `EncoderModel.encode_shapes`).
        """
        network: Any = self.model
        encode = {"image": "encode_images", "features": "encode_image_features", "shape": "encode_shapes"}
        what = f"outputs of the model for {inputs}s"
        return in_batches(
            getattr(network, encode[inputs]), batches, self.device, self.model.width, network, what
        )

    def codes(self, outputs: np.ndarray, modality: str, **columns: Any) -> BinaryCodes:
        """The codes of real outputs [n, width] of "image" or "shape", with more columns such as `ids`."""
        lengths = self.model.code_lengths
        packed = self._packed(outputs, modality)
        return BinaryCodes.from_packed(
            packed, lengths[-1], lengths, space=self.space, modality=modality, **columns
        )

    def _packed(self, outputs: np.ndarray, modality: str) -> np.ndarray:
        """The bits of codes, packed: the signs of what the model gives, or those of a fitted hash."""
        if self.model.learned_codes:
            return np.packbits(self.model.code_outputs(outputs) >= 0, axis=1)
        if self.fitted is None:
            raise RunError(
                "the run has no hash.npz yet, from which its codes come: let the training end (cmah train … "
                "--resume), or export --embeddings"
            )
        rows = Embeddings(embeddings=self.model.embeddings(outputs))
        return self.fitted.encode(rows, MODALITIES.index(modality)).packed

    def encode_images(self, images: Sequence[np.ndarray], **columns: Any) -> BinaryCodes:
        """Codes of pictures, uint8 [h, w, 3] each, of any size, with more columns such as `ids`.

        They are taken as they are, whatever was cut off and painted over in training. For a model with masks they may
        also be [h, w, 4], with the mask of the object as the fourth channel, 255 = object; of a picture without it, the
        mask is guessed (`picture_mask`).

        Raises:
            ValueError: if a picture has another shape.

        Examples:
            >>> picture = np.zeros((120, 160, 3), np.uint8)
            >>> Encoder.load("demo/run").encode_images([picture, picture], ids=["a", "b"]).packed.shape
            (2, 8)
        """
        size, masks = self.model.image_size, self.model.masks
        tensors = (image_tensor(square_picture(image, size, masks=masks)) for image in images)
        return self.codes(self.outputs("image", tensors), "image", **columns)

    def encode_points(self, clouds: Sequence[np.ndarray], **columns: Any) -> BinaryCodes:
        """Codes of point clouds, float [n, 3 or more], y up, in any position and size, with more columns.

        Examples:
            A cloud of twice the size, in another place, is the same shape.

            >>> cloud = np.random.default_rng(0).integers(-4, 5, (512, 3)).astype(np.float32)
            >>> codes = Encoder.load("demo/run").encode_points([cloud, 2 * cloud + 8])
            >>> codes.bits, int((codes.signs()[0] != codes.signs()[1]).sum())
            (64, 0)
        """
        shapes = ({"points": cloud_tensor(cloud, self.model)} for cloud in clouds)
        return self.codes(self.outputs("shape", shapes), "shape", **columns)

    def _embedder(self, framing: Framing) -> ImageEmbedder | None:
        """What keeps the embeddings of the frozen image encoder that the model begins with, if it does."""
        frozen = self.model.frozen_images
        if frozen is not None and framing not in self._embedders:
            self._embedders[framing] = ImageEmbedder.of(frozen, self.device, framing)
        return self._embedders.get(framing)

    def dataset_images(
        self,
        dataset: Dataset,
        images: Sequence[Image],
        *,
        workers: int = 0,
        label: str = "",
        embeddings: bool = False,
        framing: Framing | None = None,
        keep: Shards | None = None,
    ) -> tuple[Any, Skipped]:
        """Codes (or embeddings) of a dataset's images, and (file, reason) of those that could not be read.

        Args:
            dataset: the folder.
            images: rows of its images.csv.
            workers: processes that decode images.
            label: of the progress bar; none without it.
            embeddings: give `Embeddings` in place of `BinaryCodes`.
            framing: what of each image is cut off and painted over; None: as in training.
            keep: where outputs are kept while they are computed, and taken from if they are there; they must be of this
                model, these images and these settings. The embeddings of a frozen encoder lie in the cache already.
        """
        framing = self.framing if framing is None else framing
        embedder = self._embedder(framing)
        if embedder is not None:
            table = embedder.embed(dataset, images, workers=workers, label=label)
            kept, skipped = table.kept, table.skipped
            numbers = np.arange(len(table))
            parts = (
                torch.from_numpy(table.rows(numbers[i : i + BATCH])) for i in range(0, len(table), BATCH)
            )
            outputs = self.outputs("features", parts)
        else:

            def compute(begin: int, end: int) -> Iterator[Piece]:
                part, size = images[begin:end], self.model.image_size
                batches = ImageBatches.of(dataset, part, size, BATCH, workers, framing, self.model.masks)
                return pieces(batches, begin, end, lambda batch: self.outputs("image", [batch["image"]]))

            bar = progress(range(len(images)), label, unit="image") if label else None
            outputs, left_out = in_shards(keep, "image", len(images), self.model.width, compute, bar)
            missing = {position for position, _ in left_out}
            kept = [i for i in range(len(images)) if i not in missing]
            skipped = [(str(dataset.picture(images[i]).path), reason) for i, reason in left_out]
        rows = [images[i] for i in kept]
        columns = {
            "ids": [image.image_id for image in rows],
            "shape_ids": [image.shape_id for image in rows],
            "kinds": [image.kind for image in rows],
            "modality": "image",
        }
        return self._rows(outputs, rows, columns, embeddings), skipped

    def dataset_shapes(
        self,
        dataset: Dataset,
        shapes: Sequence[Shape],
        *,
        workers: int = 0,
        label: str = "",
        embeddings: bool = False,
        views_from: ViewsFrom | None = None,
        per_view: bool = False,
        keep: Shards | None = None,
    ) -> tuple[Any, Skipped]:
        """Codes (or embeddings) of a dataset's shapes, and (file or id, reason) of those that could not be read.

        Args:
            dataset: the folder.
            shapes: rows of its shapes.csv; those without points are left out, with the reason `NO_POINTS`, if the model
                sees points.
            workers: processes that decode the views.
            label: of the progress bar; none without it.
            embeddings: give `Embeddings` in place of `BinaryCodes`.
            views_from: which renders are views; None: those that the model says.
            per_view: give one row for each view, with the image's id, in place of one for each shape; for a model that
                sees several views as one picture, one row for each of these groups, with the first image's id.
            keep: as in `dataset_images`.

        Raises:
            ConfigError: for `per_view` with a model that sees no views.

        Examples:
            >>> encoder, dataset = Encoder.load("demo/run"), Dataset.read("demo/dataset").select("test")
            >>> codes, skipped = encoder.dataset_shapes(dataset, dataset.shapes[:3])
            >>> codes.bits, codes.splits.tolist()
            (64, ['test', 'test', 'test'])
        """
        if per_view:
            self.require_views()
        lacking = [(s.shape_id, NO_POINTS) for s in shapes if self.model.points and not s.points]
        shapes = [shape for shape in shapes if shape.points or not self.model.points]
        which = views_from or self.model.views_from
        views = described(dataset, shapes, self.model.views, which) if self.model.views else []
        ids = [shape.shape_id for shape in shapes]
        if per_view:
            lacking += [
                (shape.shape_id, f"shape {shape.shape_id!r}: {NO_VIEW} (model.views_from={which})")
                for shape, images in zip(shapes, views, strict=True)
                if not images
            ]
            groups = [in_groups(images, self.model.view_group) for images in views]
            shapes = [shape for shape, each in zip(shapes, groups, strict=True) for _ in each]
            views = [group for each in groups for group in each]
            ids = [group[0].image_id for group in views]
        embedder = self._embedder(self.framing) if self.model.views else None
        outputs, kept, skipped = self._shape_outputs(dataset, shapes, views, embedder, workers, label, keep)
        rows = [shapes[i] for i in kept]
        columns = {
            "ids": [ids[i] for i in kept],
            "shape_ids": [shape.shape_id for shape in rows],
            "kinds": ["shape"] * len(rows),
            "modality": "shape",
        }
        if per_view:  # a shape whose other views were read is not left out
            shown = {shape.shape_id for shape in rows}
            skipped = [entry for entry in dict.fromkeys(skipped) if entry[0] not in shown]
        return self._rows(outputs, rows, columns, embeddings), lacking + skipped

    def _shape_outputs(
        self,
        dataset: Dataset,
        shapes: Sequence[Shape],
        views: Sequence[Sequence[Image]],
        embedder: ImageEmbedder | None,
        workers: int,
        label: str,
        keep: Shards | None,
    ) -> tuple[np.ndarray, list[int], Skipped]:
        """Outputs of shapes, their positions, and what could not be read."""
        bar = progress(range(len(shapes)), label, unit="shape") if label else None
        by_views = self.model.shape_input != "points"
        skipped: Skipped = []

        def batches_of(begin: int, end: int) -> ShapeBatches:
            part = views[begin:end] if views else ()
            options: dict[str, Any] = {"embedder": embedder, "framing": self.framing, "workers": workers}
            return ShapeBatches(dataset, shapes[begin:end], self.model, views=part, **options)

        if not by_views:

            def compute(begin: int, end: int) -> Iterator[Piece]:
                batches = batches_of(begin, end)
                return pieces(batches, begin, end, lambda batch: self.outputs("shape", [batch]))

            outputs, left_out = in_shards(keep, "shape", len(shapes), self.model.width, compute, bar)
            missing = {position for position, _ in left_out}
            kept = [i for i in range(len(shapes)) if i not in missing]
            return outputs, kept, [(str(dataset.file(shapes[i].points)), reason) for i, reason in left_out]
        parts, kept = [np.zeros((0, self.model.width), np.float32)], []
        # where an embedder keeps what its views give, all shapes are one part
        size = VIEWED if embedder is None and keep is not None else max(1, len(shapes))
        for begin in range(0, len(shapes), size):
            end = min(begin + size, len(shapes))
            name = f"shape-{begin:09d}"
            shard = keep.find(name, end - begin) if embedder is None and keep is not None else None
            if shard is not None:  # of which nothing was left out
                parts.append(shard.load())
                kept += range(begin, end)
                if bar is not None:
                    bar.skip(end - begin)
                continue
            batches = batches_of(begin, end)
            positions: list[int] = []
            rows = []
            for batch, here in batches:
                rows.append(self.outputs("shape", [batch]))
                positions += here
                if bar is not None:
                    bar.update(len(here))
            parts += rows
            kept += [begin + position for position in positions]
            skipped += batches.skipped
            if embedder is None and keep is not None and not batches.skipped:
                keep.put(name, np.concatenate(rows))
        if bar is not None:
            bar.close()
        return np.concatenate(parts), kept, skipped

    def require_views(self) -> None:
        """Refuse what needs a run that sees shapes by their views.

        Raises:
            ConfigError: if it does not.
        """
        if not self.model.views:
            raise ConfigError("one code per view: this run sees shapes by their points (model.shape_input)")

    def attention_weight(self) -> np.ndarray:
        """W of the attention over views that the model learned, float32 [d, d] (see `cmah.search.view_scores`).

        Raises:
            ConfigError: if it learned none.
        """
        attention = getattr(self.model, "attention", None)
        if not isinstance(attention, ViewAttention):
            raise ConfigError(
                "re-ranking by attention: this run has learned no attention of queries over views (the recipe "
                "style_mixed does at model.level=instance); expected real or views"
            )
        return attention.projection.weight.detach().cpu().numpy().astype(np.float32)

    def describing(self, dataset: Dataset) -> set[str]:
        """The ids of the renders of a dataset that describe its shapes, and so are no queries for them.

        Examples:
            A run that sees shapes by their points leaves all of them as queries.

            >>> Encoder.load("demo/run").describing(Dataset.read("demo/dataset"))
            set()
        """
        if not self.model.views:
            return set()
        views = described(dataset, dataset.shapes, self.model.views, self.model.views_from)
        return {image.image_id for images in views for image in images}

    def _rows(
        self, outputs: np.ndarray, rows: Sequence[Image | Shape], columns: dict[str, Any], embeddings: bool
    ) -> BinaryCodes | Embeddings:
        """Codes or embeddings of rows of a dataset."""
        columns["categories"] = [row.category for row in rows]
        columns["splits"] = [row.split for row in rows]
        if embeddings:
            return Embeddings(embeddings=self.model.embeddings(outputs), space=self.space, **columns)
        return self.codes(outputs, **columns)

    def encode_files(self, paths: Sequence[str | Path], up: str = "y") -> tuple[BinaryCodes, Skipped]:
        """Codes of files by their kind: pictures, meshes, or `.npy` point clouds.

        A picture is treated as those of the training were, as far as its file goes: its opacity is its mask, and since
        it has no box, nothing is cropped to one.

        Args:
            paths: of the files; the ids of the codes are the paths as given.
            up: "y" or "z", the up axis of meshes and point clouds.

        Returns:
            (codes with `kinds` "photo" or "shape", and (path, reason) of the files that could not be read).
        """
        codes, _, skipped = self.codes_and_embeddings(paths, up)
        return codes, skipped

    def codes_and_embeddings(
        self, paths: Sequence[str | Path], up: str = "y"
    ) -> tuple[BinaryCodes, Embeddings, Skipped]:
        """Codes of files as `encode_files` gives, and embeddings of the same outputs.

        Examples:
            >>> encoder = Encoder.load("demo/run")
            >>> codes, embeddings, _ = encoder.codes_and_embeddings(["demo/meshes/chair/chair_000.obj"])
            >>> embeddings.ids.tolist() == codes.ids.tolist(), embeddings.space == codes.space
            (True, True)
        """
        outputs, packed, ids, kinds, skipped = [], [], [], [], []
        for path in map(Path, paths):
            try:
                modality, query = query_of_file(path, self.model, self.framing, up)
                one = self.outputs(modality, [query])
            except CmahError as error:
                skipped.append((str(path), str(error)))
                continue
            outputs.append(one)
            packed.append(self._packed(one, modality))
            ids.append(str(path))
            kinds.append("shape" if modality == "shape" else "photo")
        lengths = self.model.code_lengths
        stacked = np.concatenate(packed) if packed else np.zeros((0, (lengths[-1] + 7) // 8), np.uint8)
        none = np.zeros((0, self.model.width), np.float32)
        embeddings = [self.model.embeddings(one) for one in outputs or [none]]
        columns: dict[str, Any] = {"ids": np.array(ids, dtype=str), "kinds": np.array(kinds, dtype=str)}
        columns["space"] = self.space
        return (
            BinaryCodes.from_packed(stacked, lengths[-1], lengths, **columns),
            Embeddings(embeddings=np.concatenate(embeddings), **columns),
            skipped,
        )
