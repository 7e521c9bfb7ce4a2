"""From a trained run to codes: of a dataset, of files, of arrays.

The same input gives the same code, bit for bit, whatever is encoded beside it (on one machine): float32 without
TF32, one internal batch size that every batch is padded to, fixed subsets of points, sign(0) = +1.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from cmah.codes import BinaryCodes, Embeddings, write_codes
from cmah.data.dataset import Dataset, Image, Shape
from cmah.data.images import fit_square, load_image
from cmah.data.passes import ImageBatches, PointBatches
from cmah.data.point_clouds import load_points_file, model_input
from cmah.errors import CmahError, ConfigError, DatasetError, RunError
from cmah.files import sha256
from cmah.progress import progress
from cmah.recipes import Recipe, load_recipe
from cmah.training.checkpoint import check_towers, load_own_state, load_tensors, read_config
from cmah.training.devices import chosen_device
from cmah.training.settings import build, merge, parse_assignments

BATCH = 32  # the one internal batch size
MESHES = (".obj", ".off", ".ply", ".stl", ".glb", ".gltf")
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")

Skipped = list[tuple[str, str]]


class Encoder:
    """A recipe's model, ready to turn images and point clouds into codes.

    Attributes:
        recipe: the method with its model.
        space: names the model; codes of different spaces are not comparable.
    """

    def __init__(self, recipe: Recipe, device: torch.device | str, space: str) -> None:
        self.recipe, self.device, self.space = recipe, torch.device(device), space

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
        config, stored = read_config(run)
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
        space = hashlib.sha256((sha256(path) + towers).encode()).hexdigest()[:16]
        return cls(recipe, chosen, space)

    def outputs(self, kind: Literal["image", "shape"], batches: Iterable[torch.Tensor]) -> np.ndarray:
        """Real outputs, float32 [n, bits], of images (uint8 [b, 3, s, s]) or clouds (float32 [b, n, 3])."""
        model = self.recipe.model
        encode: Any = model.encode_images if kind == "image" else model.encode_points
        was_training = model.training
        model.eval()
        parts = []
        with torch.inference_mode(), exact():
            for batch in batches:
                for rows in batch.split(BATCH):
                    padded = torch.cat([rows, rows[:1].expand(BATCH - len(rows), *rows.shape[1:])])
                    parts.append(encode(padded.to(self.device))[: len(rows)].float().cpu().numpy())
        model.train(was_training)
        values = np.concatenate(parts) if parts else np.zeros((0, self.recipe.prefixes[-1]), np.float32)
        if not np.isfinite(values).all():
            raise RunError(f"the model's output for {kind}s is not finite: its weights are no good")
        return values

    def codes(self, outputs: np.ndarray, **known: Any) -> BinaryCodes:
        """The signs of real outputs [n, bits], with what is known of each row."""
        return BinaryCodes.from_bits(outputs >= 0, self.recipe.prefixes, space=self.space, **known)

    def encode_images(self, images: Sequence[np.ndarray], **known: Any) -> BinaryCodes:
        """Codes of pictures, uint8 [h, w, 3] each, of any size."""
        size = self.recipe.image_size
        tensors = (_image_tensor(fit_square(image, size)) for image in images)
        return self.codes(self.outputs("image", tensors), modality="image", **known)

    def encode_points(self, clouds: Sequence[np.ndarray], **known: Any) -> BinaryCodes:
        """Codes of point clouds, float [n, 3 or more], y up, in any position and size."""
        inputs = (torch.from_numpy(model_input(cloud, self.recipe.points))[None] for cloud in clouds)
        return self.codes(self.outputs("shape", inputs), modality="shape", **known)

    def dataset_images(
        self,
        dataset: Dataset,
        images: Sequence[Image],
        *,
        workers: int = 0,
        label: str = "",
        floats: bool = False,
    ) -> tuple[Any, Skipped]:
        """Codes (or embeddings) of a dataset's images, and (file, reason) of those that could not be read."""
        paths = [dataset.root / image.path for image in images]
        batches = ImageBatches(paths, self.recipe.image_size, BATCH, workers)
        kept: list[int] = []
        outputs = self.outputs("image", _shown(batches, "image", kept, len(images), label))
        rows = [images[i] for i in kept]
        known = {
            "ids": [image.image_id for image in rows],
            "shape_ids": [image.shape_id for image in rows],
            "kinds": [image.kind for image in rows],
            "modality": "image",
        }
        return self._made(outputs, rows, known, floats), batches.skipped

    def dataset_shapes(
        self, dataset: Dataset, shapes: Sequence[Shape], *, label: str = "", floats: bool = False
    ) -> tuple[Any, Skipped]:
        """Codes (or embeddings) of a dataset's shapes, and (file, reason) of those that could not be read."""
        paths = [dataset.root / shape.points for shape in shapes]
        batches = PointBatches(paths, self.recipe.points, BATCH, up_axis=dataset.up_axis)
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
        outputs, ids, kinds, skipped = [], [], [], []
        for path in map(Path, paths):
            try:
                kind, one = self._file(path, up)
            except CmahError as error:
                skipped.append((str(path), str(error)))
                continue
            outputs.append(one)
            ids.append(str(path))
            kinds.append(kind)
        stacked = np.concatenate(outputs) if outputs else np.zeros((0, self.recipe.prefixes[-1]), np.float32)
        return self.codes(stacked, ids=np.array(ids, dtype=str), kinds=np.array(kinds, dtype=str)), skipped

    def _file(self, path: Path, up: str) -> tuple[str, np.ndarray]:
        suffix = path.suffix.lower()
        if suffix in PICTURES:
            picture = fit_square(load_image(path), self.recipe.image_size)
            return "photo", self.outputs("image", [_image_tensor(picture)])
        if suffix == ".npy":
            cloud = load_points_file(path, up)
        elif suffix in MESHES:
            from cmah.data.meshes import points_of_mesh

            cloud = points_of_mesh(path, 4 * self.recipe.points, up)
        else:
            raise CmahError(f"{path}: expected a picture, a mesh ({', '.join(MESHES)}) or points (.npy)")
        return "shape", self.outputs(
            "shape", [torch.from_numpy(model_input(cloud, self.recipe.points))[None]]
        )


class exact:
    """A `with` block in which CUDA computes in full float32."""

    def __enter__(self) -> None:
        self.before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False

    def __exit__(self, *_: object) -> None:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = self.before


def _image_tensor(image: np.ndarray) -> torch.Tensor:
    """An image, uint8 [s, s, 3], which may be read-only, as uint8 [1, 3, s, s]."""
    return torch.from_numpy(image.transpose(2, 0, 1).copy())[None]


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


def export(
    run: str | Path,
    dataset: str | Path | Dataset,
    out: str | Path,
    *,
    split: str = "test",
    format: Literal["npz", "pm1", "packed", "faiss"] = "npz",
    embeddings: bool = False,
    device: str = "auto",
    workers: int = 2,
    settings: Sequence[str] = (),
) -> tuple[Path, Path, Skipped]:
    """Encode the images and shapes of a split and write image.npz and shape.npz.

    Args:
        run: folder that `train` wrote.
        dataset: folder, or a `Dataset`.
        out: folder for the two files.
        split: of the dataset, or "all".
        format: "npz", a code file at every trained length; "pm1", .npy of ±1; "packed", .npy of packed bytes;
            "faiss", a binary flat index that FAISS reads. The last three are written beside the code file.
        embeddings: write real vectors (image_embeddings.npz, shape_embeddings.npz) in place of codes.
        device: "auto", "cpu" or "cuda".
        workers: processes that decode images.
        settings: changes such as "model.image_weights=FILE".

    Returns:
        (path of the image file, path of the shape file, (path, reason) of what could not be read); the last is
        written to skipped.csv too.
    """
    data = dataset if isinstance(dataset, Dataset) else Dataset.read(dataset)
    data = data.select(split)
    encoder = Encoder.load(run, device, settings)
    out = Path(out)
    skipped: Skipped = []
    paths = []
    for modality in ("image", "shape"):
        if modality == "image":
            codes, lost = encoder.dataset_images(
                data, data.images, workers=workers, label="images", floats=embeddings
            )
        else:
            codes, lost = encoder.dataset_shapes(data, data.shapes, label="shapes", floats=embeddings)
        if len(lost) and not len(codes):
            raise DatasetError([f"{data.root}: no {modality} could be read; the first: {lost[0][1]}"])
        skipped += lost
        path = out / f"{modality}{'_embeddings' if embeddings else ''}.npz"
        write_codes(codes, path)
        if format != "npz":
            path = path.with_suffix(".faiss" if format == "faiss" else f".{format}.npy")
            write_codes(codes, path, format)
        paths.append(path)
    if skipped:
        import csv

        with open(out / "skipped.csv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("path", "reason"), *skipped])
    return paths[0], paths[1], skipped
