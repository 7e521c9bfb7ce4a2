"""A trained run as an encoder: from images and point clouds to codes or embeddings.

The same input gives the same code, bit for bit, whatever is encoded beside it (on one machine): float32 without
TF32, one internal batch size that every batch is padded to, fixed subsets of points, sign(0) = +1.
"""

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cmah.checks import check_up
from cmah.codes import BinaryCodes, Embeddings
from cmah.codes.posthoc import PostHocHash
from cmah.data.framing import WHOLE, Framing
from cmah.data.mesh_sources import mesh_folders
from cmah.devices import chosen_device
from cmah.errors import CmahError, ConfigError
from cmah.features.shards import Shards
from cmah.models.encoder_model import EncoderModel
from cmah.models.view_attention import ViewAttention
from cmah.runs.dataset_encoder import DatasetEncoder
from cmah.runs.file_encoding import Vectors, encoded_files
from cmah.runs.given_inputs import Pictures, cloud_batches, picture_batches
from cmah.runs.item_details import prepared_of
from cmah.runs.query_files import Files, QueryFile, query_files
from cmah.runs.run_folder import RunFolder
from cmah.skipped_files import Skipped, SkippedFiles


class Encoder(DatasetEncoder):
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
        super().__init__(model, device, space, fitted, framing)
        self.dataset = dataset

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
    def prepared(self) -> Mapping[str, Any]:
        """What the run's dataset was prepared from and how, see `prepared_of`; empty if it is gone, or made otherwise.

        Examples:
            >>> Encoder.load("demo/run").prepared["seed"]
            0
        """
        return prepared_of(self.dataset) if self.dataset else {}

    @property
    def mesh_folders(self) -> Sequence[Mapping[str, str]]:
        """The folders of meshes that the run's dataset was prepared from, each with "path" and "prefix".

        None are known if the dataset is gone, or was made otherwise.

        Examples:
            >>> Encoder.load("demo/run").mesh_folders
            [...]
        """
        return mesh_folders(self.prepared)

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
        batches = picture_batches(images, self.model, self.framing)
        return self.codes(self.outputs("image", batches), "image", **columns)

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
        return self.codes(self.outputs("shape", cloud_batches(clouds, self.model)), "shape", **columns)

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

    def encode_files(
        self, paths: Files, up: str = "y", *, workers: int | None = None, label: str = ""
    ) -> tuple[BinaryCodes, SkippedFiles]:
        """Codes of files by their kind: pictures, meshes, or point clouds (`.npy`, `.ply`).

        A picture is treated as those of the training were, as far as its file goes: its opacity is its mask, and since
        it has no box, nothing is cropped to one.

        The ids of the codes are the paths as given. That of a mesh is the one that `prepare` gives it: by its path
        within a folder from which the run's dataset was prepared, or within the folder that is given here. Where the
        run sees points, meshes of the folders from which its dataset was prepared get the codes that exporting that
        dataset gives, if `up` is as it was there.

        Other files that a mesh names, such as textures, are read if they lie in such a folder of meshes, else in the
        folder that is given here, or of a file that is itself given in its own.

        Args:
            paths: a path of a file or of a folder, or any number of them. A folder stands for all pictures and meshes
                in it and below it.
            up: "y" or "z", the up axis of meshes and point clouds.
            workers: processes that read the files; None: one per core, and for few files none. The codes do not depend
                on it.
            label: of the progress bar; none without it.

        Returns:
            (codes with `kinds` "photo" or "shape", and (path, reason) of the files that could not be read), in order.
            The list of the latter has an attribute `remarks`: (path, what was lost) of meshes that have codes all the
            same, such as "texture not found (wood.png)".

        Raises:
            CmahError: if something given is no path, two meshes have one id, or `up` is no axis.

        Examples:
            >>> codes, skipped = Encoder.load("demo/run").encode_files("demo/meshes/chair")
            >>> codes.ids.tolist()[:2]
            ['...chair_000.obj', '...chair_001.glb']
            >>> skipped, skipped.remarks
            ([], [])
        """
        codes, _, skipped = self._encode_paths(paths, up, workers=workers, label=label)
        return codes, skipped

    def codes_and_embeddings(
        self, paths: Files, up: str = "y", *, workers: int | None = None, label: str = ""
    ) -> tuple[BinaryCodes, Embeddings, SkippedFiles]:
        """Codes of files as `encode_files` gives, and embeddings of the same outputs.

        Examples:
            >>> encoder = Encoder.load("demo/run")
            >>> codes, embeddings, _ = encoder.codes_and_embeddings(["demo/meshes/chair/chair_000.obj"])
            >>> embeddings.ids.tolist() == codes.ids.tolist(), embeddings.space == codes.space
            (True, True)
        """
        codes, embeddings, skipped = self._encode_paths(
            paths, up, workers=workers, label=label, vectors=("embeddings",)
        )
        return codes, embeddings["embeddings"], skipped

    def codes_and_real_codes(
        self, paths: Files, up: str = "y", *, workers: int | None = None, label: str = ""
    ) -> tuple[BinaryCodes, Embeddings, SkippedFiles]:
        """Codes of files as `encode_files` gives, and their real-valued codes (see `cmah.codes.real_codes`).

        Examples:
            >>> encoder = Encoder.load("demo/run")
            >>> codes, real, _ = encoder.codes_and_real_codes(["demo/meshes/chair/chair_000.obj"])
            >>> bool(((real.embeddings >= 0) == codes.unpacked()).all()), real.space == codes.space
            (True, True)
        """
        codes, real, skipped = self._encode_paths(paths, up, workers=workers, label=label, vectors=("real",))
        return codes, real["real"], skipped

    def _encode_paths(
        self, paths: Files, up: str, **options: Any
    ) -> tuple[BinaryCodes, dict[Vectors, Embeddings], SkippedFiles]:
        """What `encode_queries` makes of the files that paths name, each with the id of `encode_files`."""
        files, refused, _ = query_files(paths, self.mesh_folders)
        names = [file.shape_id for file in files]
        _require_one_file_each(files, names)
        return self.encode_queries(files, names, up, refused=refused, **options)

    def encode_queries(
        self,
        files: Sequence[QueryFile],
        names: Sequence[str],
        up: str = "y",
        *,
        workers: int | None = None,
        label: str = "",
        refused: Skipped | None = None,
        vectors: Collection[Vectors] = (),
        keep: Shards | None = None,
    ) -> tuple[BinaryCodes, dict[Vectors, Embeddings], SkippedFiles]:
        """Codes of files with the ids that are given, and real vectors of the same outputs that are asked for, by name.

        Args:
            files: as `query_files` lists them.
            names: the id of each.
            up: as in `encode_files`.
            workers: as in `encode_files`.
            label: as in `encode_files`.
            refused: what was given and is no file; they come first among those that could not be read.
            vectors: which, see `encoded_files`.
            keep: where outputs are kept while they are computed, see `encoded_files`.
        """
        check_up(up)
        encoded = encoded_files(
            self,
            files,
            self.framing,
            up,
            workers=workers,
            label=label,
            vectors=vectors,
            keep=keep,
            prepared=self.prepared,
        )
        lengths = self.model.code_lengths
        columns: dict[str, Any] = {
            "ids": np.array([names[i] for i in encoded.kept], dtype=str),
            "kinds": np.array(encoded.kinds, dtype=str),
            "space": self.space,
        }
        codes = BinaryCodes.from_packed(encoded.packed, lengths[-1], lengths, **columns)
        skipped = SkippedFiles(
            [*(refused or []), *((files[i].name, reason) for i, reason in encoded.skipped)],
            [(files[i].name, remark) for i, remark in encoded.remarks],
        )
        tables: dict[Vectors, Embeddings] = {}
        for name, rows in encoded.vectors.items():
            space = self.view_space if name == "views" else self.space
            tables[name] = Embeddings(embeddings=rows, **{**columns, "space": space})
        return codes, tables, skipped


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
