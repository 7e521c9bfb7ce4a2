"""A trained run as an encoder: from images and point clouds to codes or embeddings.

The same input gives the same code, bit for bit, whatever is encoded beside it (on one machine): float32 without
TF32, one internal batch size that every batch is padded to, fixed subsets of points, sign(0) = +1.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from cmah.codes import BinaryCodes, Embeddings
from cmah.codes.posthoc import PostHocHash
from cmah.config.parsing import build, merge, parse_assignments
from cmah.config.schema import Config
from cmah.data.dataset import Dataset, Image, Shape
from cmah.data.encoding_batches import ImageBatches, PointBatches
from cmah.data.images import fit_square, load_image
from cmah.data.point_clouds import load_points_file, model_input
from cmah.devices import chosen_device
from cmah.errors import CmahError, CodesError, ConfigError, RunError
from cmah.features.image_embedder import BATCH, in_batches
from cmah.files import Skipped, sha256
from cmah.progress import progress
from cmah.recipes import Recipe, load_recipe
from cmah.runs.run_folder import check_towers, load_own_state, load_tensors, read_config

FITTED = "hash.npz"  # in a run whose model learns no codes: the hash that makes them of its embeddings
MODALITIES = ("image", "shape")  # the sets that hash is fitted on
MESHES = (".obj", ".off", ".ply", ".stl", ".glb", ".gltf")
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")


class Encoder:
    """A recipe's model, ready to turn images and point clouds into codes.

    Attributes:
        recipe: the method with its model.
        space: names the model; codes of different spaces are not comparable.
        fitted: where the model has learned no codes, the hash that makes them of its embeddings; None before it is
            fitted.
    """

    def __init__(
        self, recipe: Recipe, device: torch.device | str, space: str, fitted: PostHocHash | None = None
    ) -> None:
        self.recipe, self.device, self.space, self.fitted = recipe, torch.device(device), space, fitted

    @classmethod
    def load(cls, run: str | Path, device: str = "cpu", settings: Sequence[str] = ()) -> "Encoder":
        """Load a run folder.

        Args:
            run: the folder that training wrote.
            device: "auto", "cpu", "cuda" or "cuda:N".
            settings: changes such as "model.image_weights=FILE", for weights that have moved.

        Raises:
            RunError, ConfigError: if the folder is no run, is damaged, or names weights that are not there.
        """
        run = Path(run)
        trained, stored = read_config(run)
        config = trained
        if settings:
            changed = merge({"model": config.to_dictionary()["model"]}, parse_assignments(settings))
            if len(changed) > 1:
                raise ConfigError(
                    f"--set {[*changed][1]}: only settings of the model, model.KEY, can be changed here"
                )
            config = replace(config, model=build(type(config.model), changed["model"], "model."))
        check_towers(stored, config)
        chosen = chosen_device(device)
        recipe = load_recipe(config.recipe)(config)
        path = run / "model.safetensors"
        load_own_state(recipe.model, load_tensors(path)[0], path)
        recipe.model.to(chosen)
        towers = "".join(file["sha256"] for file in stored.get("towers", {}).values())
        if (now := _but_weights(config)) != _but_weights(trained):
            towers += json.dumps(now)  # another model than was trained: its codes are of another space
        fitted = None
        if not recipe.learned_codes and (run / FITTED).exists():
            fitted = load_fitted(run / FITTED, recipe)
            towers += sha256(run / FITTED)
        space = hashlib.sha256((sha256(path) + towers).encode()).hexdigest()[:16]
        return cls(recipe, chosen, space, fitted)

    def outputs(
        self, kind: Literal["image", "features", "shape"], batches: Iterable[torch.Tensor]
    ) -> np.ndarray:
        """Real outputs, float32 [n, width].

        Args:
            kind: of what `batches` holds.
            batches: images (uint8 [b, 3, s, s]), what a frozen image encoder made of them (float32 [b, d]), or clouds
                (float32 [b, n, 3 or 6]).
        """
        model: Any = self.recipe.model

        def encode(batch: torch.Tensor) -> torch.Tensor:
            if kind == "shape":
                return model.encode_shapes({"points": batch})
            return model.encode_images(batch) if kind == "image" else model.encode_image_features(batch)

        what = f"model's output for {kind}s is"
        return in_batches(encode, batches, self.device, self.recipe.width, model, what)

    def codes(self, outputs: np.ndarray, modality: str, **known: Any) -> BinaryCodes:
        """The codes of real outputs [n, width] of "image" or "shape", with what is known of each row."""
        packed = self._packed(outputs, modality)
        return BinaryCodes.from_packed(
            packed,
            self.recipe.prefixes[-1],
            self.recipe.prefixes,
            space=self.space,
            modality=modality,
            **known,
        )

    def _packed(self, outputs: np.ndarray, modality: str) -> np.ndarray:
        """The bits of codes, packed: the signs of what the model gives, or those of a fitted hash."""
        if self.recipe.learned_codes:
            return np.packbits(self.recipe.code_outputs(outputs) >= 0, axis=1)
        if self.fitted is None:
            raise RunError(
                f"the run has no {FITTED} yet, from which its codes come: let the training end (cmah train … "
                "--resume), or export --embeddings"
            )
        rows = Embeddings(embeddings=self.recipe.embeddings(outputs))
        return self.fitted.encode(rows, MODALITIES.index(modality)).packed

    def encode_images(self, images: Sequence[np.ndarray], **known: Any) -> BinaryCodes:
        """Codes of pictures, uint8 [h, w, 3] each, of any size."""
        size = self.recipe.image_size
        tensors = (_image_tensor(fit_square(image, size)) for image in images)
        return self.codes(self.outputs("image", tensors), "image", **known)

    def encode_points(self, clouds: Sequence[np.ndarray], **known: Any) -> BinaryCodes:
        """Codes of point clouds, float [n, 3 or more], y up, in any position and size."""
        return self.codes(self.outputs("shape", map(self._cloud, clouds)), "shape", **known)

    def _cloud(self, points: np.ndarray) -> torch.Tensor:
        """A cloud as the model takes it, float32 [1, n, 3 or 6]."""
        return torch.from_numpy(model_input(points, self.recipe.points, self.recipe.colours))[None]

    def dataset_images(
        self,
        dataset: Dataset,
        images: Sequence[Image],
        *,
        workers: int = 0,
        label: str = "",
        floats: bool = False,
        background: Literal["keep", "remove"] = "keep",
    ) -> tuple[Any, Skipped]:
        """Codes (or embeddings) of a dataset's images, and (file, reason) of those that could not be read.

        With background "remove", what the mask of an image says is not the object becomes black.
        """
        embedder = self.recipe.image_embedder(self.device, background)
        if embedder is not None:
            table = embedder.embed(dataset.root, images, workers=workers, label=label)
            kept, skipped = table.kept, table.skipped
            numbers = np.arange(len(table))
            parts = (
                torch.from_numpy(table.rows(numbers[i : i + BATCH])) for i in range(0, len(table), BATCH)
            )
            outputs = self.outputs("features", parts)
        else:
            size = self.recipe.image_size
            batches = ImageBatches.of(dataset.root, images, size, BATCH, workers, background)
            kept, skipped = [], batches.skipped
            outputs = self.outputs("image", _shown(batches, "image", kept, len(images), label))
        rows = [images[i] for i in kept]
        known = {
            "ids": [image.image_id for image in rows],
            "shape_ids": [image.shape_id for image in rows],
            "kinds": [image.kind for image in rows],
            "modality": "image",
        }
        return self._made(outputs, rows, known, floats), skipped

    def dataset_shapes(
        self, dataset: Dataset, shapes: Sequence[Shape], *, label: str = "", floats: bool = False
    ) -> tuple[Any, Skipped]:
        """Codes (or embeddings) of a dataset's shapes, and (file, reason) of those that could not be read."""
        paths = [dataset.root / shape.points for shape in shapes]
        batches = PointBatches(paths, self.recipe.points, BATCH, self.recipe.colours, dataset.up_axis)
        kept: list[int] = []
        outputs = self.outputs("shape", _shown(batches, "points", kept, len(shapes), label))
        rows = [shapes[i] for i in kept]
        ids = [shape.shape_id for shape in rows]
        known = {"ids": ids, "shape_ids": ids, "kinds": ["shape"] * len(ids), "modality": "shape"}
        return self._made(outputs, rows, known, floats), batches.skipped

    def _made(
        self, outputs: np.ndarray, rows: Sequence[Image | Shape], known: dict[str, Any], floats: bool
    ) -> BinaryCodes | Embeddings:
        known["categories"] = [row.category for row in rows]
        known["splits"] = [row.split for row in rows]
        if floats:
            return Embeddings(embeddings=self.recipe.embeddings(outputs), space=self.space, **known)
        return self.codes(outputs, **known)

    def encode_files(self, paths: Sequence[str | Path], up: str = "y") -> tuple[BinaryCodes, Skipped]:
        """Codes of files by their kind: pictures, meshes, or `.npy` point clouds.

        Args:
            paths: of the files; the ids of the codes are the paths as given.
            up: "y" or "z", the up axis of meshes and point clouds.

        Returns:
            (codes with `kinds` "photo" or "shape", and (path, reason) of the files that could not be read).
        """
        packed, ids, kinds, skipped = [], [], [], []
        for path in map(Path, paths):
            try:
                kind, one = self._file(path, up)
            except CmahError as error:
                skipped.append((str(path), str(error)))
                continue
            packed.append(self._packed(one, "shape" if kind == "shape" else "image"))
            ids.append(str(path))
            kinds.append(kind)
        prefixes = self.recipe.prefixes
        stacked = np.concatenate(packed) if packed else np.zeros((0, (prefixes[-1] + 7) // 8), np.uint8)
        known = {"ids": np.array(ids, dtype=str), "kinds": np.array(kinds, dtype=str), "space": self.space}
        return BinaryCodes.from_packed(stacked, prefixes[-1], prefixes, **known), skipped

    def _file(self, path: Path, up: str) -> tuple[str, np.ndarray]:
        suffix = path.suffix.lower()
        if suffix in PICTURES:
            picture = fit_square(load_image(path), self.recipe.image_size)
            return "photo", self.outputs("image", [_image_tensor(picture)])
        if suffix == ".npy":
            cloud = load_points_file(path, up)
        elif suffix in MESHES:
            from cmah.meshes.mesh_loading import points_of_mesh

            cloud = points_of_mesh(path, 4 * self.recipe.points, up)
        else:
            raise CmahError(f"{path}: expected a picture, a mesh ({', '.join(MESHES)}) or points (.npy)")
        return "shape", self.outputs("shape", [self._cloud(cloud)])


def load_fitted(path: Path, recipe: Recipe) -> PostHocHash:
    """The hash of a run that learns no codes.

    Raises:
        RunError: if the file is damaged, or not of this run's model.
    """
    width = recipe.embeddings(np.zeros((1, recipe.width), np.float32)).shape[1]
    expected = (width, recipe.prefixes[-1], list(MODALITIES))
    try:
        fitted = PostHocHash.load(path)
    except CodesError as error:
        raise RunError(f"{error}; remove it, and cmah train … --resume makes it anew") from None
    found = (fitted.means.shape[1], fitted.bits, fitted.modalities.tolist())
    if found != expected or fitted.sharing == "nothing":
        raise RunError(
            f"{path}: from {found[0]} numbers to {found[1]} bits, for {' and '.join(found[2])}, sharing "
            f"{fitted.sharing}; expected from {width} to {expected[1]}, for {' and '.join(MODALITIES)}, one space; is "
            "it another run's?"
        )
    return fitted


def _image_tensor(image: np.ndarray) -> torch.Tensor:
    """An image, uint8 [s, s, 3], which may be read-only, as uint8 [1, 3, s, s]."""
    return torch.from_numpy(image.transpose(2, 0, 1).copy())[None]


def _but_weights(config: Config) -> dict[str, Any]:
    """The settings of a model but for where its weights lie."""
    model = config.to_dictionary()["model"]
    return {key: value for key, value in model.items() if not key.endswith("_weights")}


def _shown(
    batches: Iterable[tuple[dict[str, torch.Tensor], list[int]]],
    field: str,
    kept: list[int],
    total: int,
    label: str,
) -> Iterator[torch.Tensor]:
    """The tensors of batches one after another; the indices of their rows are added to `kept`."""
    bar = progress(range(total), label, unit=field) if label else None
    for batch, indices in batches:
        kept.extend(indices)
        if bar is not None:
            bar.update(len(indices))
        yield batch[field]
    if bar is not None:
        bar.close()
