"""A trained run as an encoder: from images and point clouds to codes or embeddings.

The same input gives the same code, bit for bit, whatever is encoded beside it (on one machine): float32 without
TF32, one internal batch size that every batch is padded to, fixed subsets of points, sign(0) = +1.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import PIL.Image
import torch

from cmah.codes import BinaryCodes, Embeddings
from cmah.codes.posthoc import PostHocHash
from cmah.data.dataset import NO_POINTS, Dataset, Image, Shape
from cmah.data.encoding_batches import ImageBatches, square_file
from cmah.data.framing import WHOLE, Framing, PictureFile
from cmah.data.images import Picture, picture_of_array
from cmah.data.object_masks import square_picture
from cmah.data.shape_views import ViewsFrom, described, in_groups
from cmah.devices import chosen_device
from cmah.errors import CmahError, CodesError, ConfigError, RunError
from cmah.features.image_embedder import ImageEmbedder
from cmah.features.inference import BATCH, in_batches
from cmah.features.shards import Piece, Shards, in_shards, pieces
from cmah.file_names import refuse_url
from cmah.files import Skipped
from cmah.models.encoder_model import EncoderModel
from cmah.models.view_attention import ViewAttention
from cmah.progress import progress
from cmah.runs.file_batches import FileBatches, Modality, cloud_tensor, image_tensor
from cmah.runs.item_details import mesh_folders_of
from cmah.runs.query_files import Files, QueryFile, query_files
from cmah.runs.run_folder import MODALITIES, RunFolder
from cmah.runs.shape_batches import NO_VIEW, ShapeBatches

Pictures = Picture | Iterable[Picture]
_PICTURES = "path, picture of Pillow, or array uint8 [h, w, 3]"
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
        dataset: the dataset folder that it was trained on, "" where unknown.

    Examples:
        >>> encoder = Encoder.load("demo/run")
        >>> codes, skipped = encoder.encode_files(["demo/meshes/chair/chair_000.obj", "demo/missing.png"])
        >>> codes.bits, codes.kinds.tolist()
        (64, ['shape'])
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
        dataset: str = "",
    ) -> None:
        self.model, self.device, self.space, self.fitted = model, torch.device(device), space, fitted
        self.framing, self.dataset = framing, dataset
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
        dataset = folder.stored["dataset"].get("path", "")
        return cls(model, chosen, folder.space(model), folder.fitted_hash(model), framing, dataset)

    @cached_property
    def mesh_folders(self) -> Sequence[Mapping[str, str]]:
        """The folders of meshes that the run's dataset was prepared from, each with "path" and "prefix".

        None are known if the dataset is gone, or was made otherwise.

        Examples:
            >>> Encoder.load("demo/run").mesh_folders
            [...]
        """
        return mesh_folders_of(self.dataset) if self.dataset else []

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

    def encode_images(self, images: Pictures, **columns: Any) -> BinaryCodes:
        """Codes of pictures of any size, with more columns such as `ids`.

        A picture gives the same code as a file, as Pillow opens it, and as the array of its pixels: transparent parts
        are laid over white, opacity is the mask of the object, and a camera's rotation mark is obeyed (which an array
        does not have). It is treated as those of the training were, as far as it goes: since it has no box, nothing is
        cropped to one.

        Args:
            images: one picture or many of them: paths; pictures of Pillow; or arrays: uint8 [h, w, 3], [h, w] or
                [h, w, 1] grey, [h, w, 4] with opacity, or floats from 0 to 1 of these shapes. An array uint8 [n, h, w,
                3 or 4] is n pictures. For a model with masks, the fourth channel of an array is the mask of the object
                (255 = object), and the pixels are taken as they are; of a picture without, the mask is guessed
                (`picture_mask`).
            **columns: of the codes.

        Raises:
            CmahError: for what is no picture, or one that cannot be read.

        Examples:
            >>> picture = np.zeros((120, 160, 3), np.uint8)
            >>> encoder = Encoder.load("demo/run")
            >>> encoder.encode_images([picture, picture / 255, picture[..., 0]], ids=["a", "b", "c"]).packed.shape
            (3, 8)
            >>> encoder.encode_images("demo/dataset/renders/chair.chair_000.obj/00.jpg").packed.shape
            (1, 8)
        """
        squares = (
            image_tensor(self._square(number, image)) for number, image in enumerate(_pictures(images))
        )
        batches = (torch.cat(batch) for batch in _batched(squares))
        return self.codes(self.outputs("image", batches), "image", **columns)

    def _square(self, number: int, image: Any) -> np.ndarray:
        """A picture as the model takes it, uint8 [s, s, 3 or 4]."""
        size, masks = self.model.image_size, self.model.masks
        try:
            if isinstance(image, np.ndarray) and masks and image.ndim == 3 and image.shape[2] == 4:
                return square_picture(np.asarray(picture_of_array(image)), size, masks=True)
            if isinstance(image, str | Path):
                refuse_url(image)
            picture = PictureFile(Path(image) if isinstance(image, str) else image)
            return square_file(picture, size, self.framing, masks=masks)
        except CmahError as error:
            named = str(error) if isinstance(image, str | Path) else f"image {number}: {error}"
            raise type(error)(named) from None

    def encode_points(self, clouds: np.ndarray | Sequence[np.ndarray], **columns: Any) -> BinaryCodes:
        """Codes of point clouds, float [n, 3 or more], y up, in any position and size, with more columns.

        Args:
            clouds: one cloud or many.
            **columns: of the codes, such as `ids`.

        Raises:
            CmahError: for what is no cloud.

        Examples:
            A cloud of twice the size, in another place, is the same shape.

            >>> cloud = np.random.default_rng(0).integers(-4, 5, (512, 3)).astype(np.float32)
            >>> codes = Encoder.load("demo/run").encode_points([cloud, 2 * cloud + 8])
            >>> codes.bits, int((codes.signs()[0] != codes.signs()[1]).sum())
            (64, 0)
        """
        tensors = (cloud_tensor(cloud, self.model) for cloud in _clouds(clouds))
        batches = ({"points": torch.cat(batch)} for batch in _batched(tensors))
        return self.codes(self.outputs("shape", batches), "shape", **columns)

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

    def encode_files(
        self, paths: Files, up: str = "y", *, workers: int | None = None, label: str = ""
    ) -> tuple[BinaryCodes, Skipped]:
        """Codes of files by their kind: pictures, meshes, or `.npy` point clouds.

        A picture is treated as those of the training were, as far as its file goes: its opacity is its mask, and since
        it has no box, nothing is cropped to one.

        The ids of the codes are the paths as given. That of a mesh is the one that `prepare` gives it: by its path
        within a folder from which the run's dataset was prepared, or within the folder that is given here.

        Args:
            paths: a path of a file or of a folder, or any number of them. A folder stands for all pictures and meshes
                in it and below it.
            up: "y" or "z", the up axis of meshes and point clouds.
            workers: processes that read the files; None: one per core, and for few files none. The codes do not depend
                on it.
            label: of the progress bar; none without it.

        Returns:
            (codes with `kinds` "photo" or "shape", and (path, reason) of the files that could not be read), in order.

        Raises:
            CmahError: if something given is no path, or two meshes have one id.

        Examples:
            >>> codes, _ = Encoder.load("demo/run").encode_files("demo/meshes/chair")
            >>> codes.ids.tolist()[:2]
            ['...chair_000.obj', '...chair_001.glb']
        """
        files, refused, _ = query_files(paths, self.mesh_folders)
        names = [file.shape_id for file in files]
        _require_one_file_each(files, names)
        codes, _, skipped = self.encode_queries(
            files, names, up, workers=workers, label=label, refused=refused
        )
        return codes, skipped

    def codes_and_embeddings(
        self, paths: Files, up: str = "y", *, workers: int | None = None, label: str = ""
    ) -> tuple[BinaryCodes, Embeddings, Skipped]:
        """Codes of files as `encode_files` gives, and embeddings of the same outputs.

        Examples:
            >>> encoder = Encoder.load("demo/run")
            >>> codes, embeddings, _ = encoder.codes_and_embeddings(["demo/meshes/chair/chair_000.obj"])
            >>> embeddings.ids.tolist() == codes.ids.tolist(), embeddings.space == codes.space
            (True, True)
        """
        files, refused, _ = query_files(paths, self.mesh_folders)
        names = [file.shape_id for file in files]
        _require_one_file_each(files, names)
        codes, embeddings, skipped = self.encode_queries(
            files, names, up, workers=workers, label=label, refused=refused, embeddings=True
        )
        assert embeddings is not None
        return codes, embeddings, skipped

    def encode_queries(
        self,
        files: Sequence[QueryFile],
        names: Sequence[str],
        up: str = "y",
        *,
        workers: int | None = None,
        label: str = "",
        refused: Skipped | None = None,
        embeddings: bool = False,
    ) -> tuple[BinaryCodes, Embeddings | None, Skipped]:
        """Codes of files with the ids that are given, and embeddings of the same outputs where they are asked for.

        Args:
            files: as `query_files` lists them.
            names: the id of each.
            up: as in `encode_files`.
            workers: as in `encode_files`.
            label: as in `encode_files`.
            refused: what was given and is no file; they come first among those that could not be read.
            embeddings: give them too, else None.
        """
        batches = FileBatches([file.path for file in files], self.model, self.framing, up, workers)
        packed: dict[int, np.ndarray] = {}
        real: dict[int, np.ndarray] = {}
        shapes: set[int] = set()
        bad: list[tuple[int, str]] = []
        bar = progress(range(len(files)), label, unit=" files") if label else None
        for modality, batch, positions in batches:
            for rows, outputs in self._finite_outputs(modality, batch, positions, bad):
                packed.update(zip(rows, self._packed(outputs, modality), strict=True))
                if embeddings:
                    real.update(zip(rows, self.model.embeddings(outputs), strict=True))
                shapes.update(rows if modality == "shape" else ())
            if bar is not None:
                bar.update(len(positions))
        if bar is not None:
            bar.close()
        kept = sorted(packed)
        lengths = self.model.code_lengths
        none = np.zeros((0, (lengths[-1] + 7) // 8), np.uint8)
        columns: dict[str, Any] = {
            "ids": np.array([names[i] for i in kept], dtype=str),
            "kinds": np.array(["shape" if i in shapes else "photo" for i in kept], dtype=str),
            "space": self.space,
        }
        stacked = np.stack([packed[i] for i in kept]) if kept else none
        codes = BinaryCodes.from_packed(stacked, lengths[-1], lengths, **columns)
        skipped = [(files[i].name, reason) for i, reason in sorted(batches.skipped + bad)]
        skipped = [*(refused or []), *skipped]
        if not embeddings:
            return codes, None, skipped
        width = self.model.embeddings(np.zeros((0, self.model.width), np.float32)).shape[1]
        vectors = np.stack([real[i] for i in kept]) if kept else np.zeros((0, width), np.float32)
        return codes, Embeddings(embeddings=vectors, **columns), skipped

    def _finite_outputs(
        self, modality: Modality, batch: Any, positions: list[int], bad: list[tuple[int, str]]
    ) -> Iterator[tuple[list[int], np.ndarray]]:
        """Positions and outputs of a batch; a row whose outputs are not finite goes to `bad`, and costs itself only."""
        try:
            yield positions, self.outputs(modality, [batch])
        except CmahError as error:
            if len(positions) == 1:
                bad.append((positions[0], str(error)))
                return
            for row, position in enumerate(positions):
                one = slice(row, row + 1)
                part = (
                    {name: values[one] for name, values in batch.items()}
                    if modality == "shape"
                    else batch[one]
                )
                yield from self._finite_outputs(modality, part, [position], bad)


def _pictures(images: Any) -> Iterator[Any]:
    """One picture or many as pictures, each of a type that is one."""
    one = isinstance(images, str | Path | PIL.Image.Image) or (
        isinstance(images, np.ndarray) and images.ndim <= 3
    )
    if isinstance(images, bytes) or not (one or isinstance(images, Iterable)):
        raise CodesError(f"images are {type(images).__name__}, expected pictures: {_PICTURES}")
    for number, image in enumerate([images] if one else images):
        if not isinstance(image, str | Path | PIL.Image.Image | np.ndarray):
            raise CodesError(f"image {number} is {type(image).__name__}, expected one of {_PICTURES}")
        yield image


def _clouds(clouds: Any) -> Iterator[np.ndarray]:
    """One cloud or many as arrays of finite numbers [n, 3 or more]."""
    if isinstance(clouds, str | bytes | Path) or not isinstance(clouds, Iterable):
        raise CodesError(
            f"clouds are {type(clouds).__name__}, expected arrays [n, 3 or more]; files: encode_files"
        )
    one = isinstance(clouds, np.ndarray) and clouds.ndim == 2
    for number, cloud in enumerate([clouds] if one else clouds):
        if not isinstance(cloud, np.ndarray) or cloud.dtype.kind not in "fiu":
            what = f"{cloud.dtype}" if isinstance(cloud, np.ndarray) else type(cloud).__name__
            raise CodesError(f"cloud {number} is {what}, expected an array of numbers [n, 3 or more]")
        if cloud.ndim != 2 or cloud.shape[1] < 3 or not len(cloud):
            raise CodesError(f"cloud {number} has shape {list(cloud.shape)}, expected [n, 3 or more]")
        if not np.isfinite(cloud).all():
            raise CodesError(f"cloud {number} has values that are not finite")
        yield cloud


def _batched(tensors: Iterable[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """The tensors in lists of `BATCH`, the last of which may be shorter."""
    rest = iter(tensors)
    while batch := list(islice(rest, BATCH)):
        yield batch


def _require_one_file_each(files: Sequence[QueryFile], names: Sequence[str]) -> None:
    """Refuse two files of one id, such as meshes of the same path in two folders."""
    first: dict[str, QueryFile] = {}
    for file, name in zip(files, names, strict=True):
        other = first.setdefault(name, file)
        if other.path != file.path and other.path.resolve() != file.path.resolve():
            raise CmahError(
                f"{other.name} and {file.name} both have the id {name}, expected one id each; encode their folders one "
                "after the other"
            )
