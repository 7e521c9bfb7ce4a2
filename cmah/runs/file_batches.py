"""Batches of files of any kind as a model takes them, read by worker processes in bounded memory."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from cmah.data.encoding_batches import ImageBatches, with_left_out
from cmah.data.file_kinds import FileKind, kind_or_fault
from cmah.data.framing import WHOLE, Framing, PictureFile
from cmah.data.mesh_sources import mesh_folders
from cmah.data.point_clouds import load_points_file, model_input
from cmah.data.surfels import draw_views
from cmah.errors import CmahError
from cmah.features.inference import BATCH
from cmah.meshes.mesh_arrays import inputs_of_meshes
from cmah.models.encoder_model import EncoderModel, draws_views, needs_points
from cmah.preparing.shape_ids import mesh_home, shape_id_of, stable_hash, with_prefix
from cmah.threads import available_cores

FEW = 64  # files, for which starting processes costs more time than they save
MOST_WORKERS = 8
SAMPLED = 4  # times as many points as the model takes are sampled on a mesh that no dataset holds
DRAWN = 2048  # points that are sampled on a mesh whose views are drawn, if the dataset does not say how many it has

Modality = Literal["image", "shape"]


class FileBatches:
    """Pictures, meshes and point clouds in batches of one kind each: first the pictures, then the shapes.

    Iterating yields ("image", uint8 [b, 3 or 4, s, s], positions in `files`) or ("shape", named tensors as
    `EncoderModel.encode_shapes` takes them, positions).

    Attributes:
        skipped: (position, reason) of each file that could not be read so far.
        remarks: (position, what was lost) of the meshes that were read so far, a row for each thing.

    Examples:
        >>> from cmah.runs.run_folder import RunFolder
        >>> model = RunFolder("demo/run").load_recipe(torch.device("cpu")).model
        >>> files = ["demo/meshes/chair/chair_000.obj", "demo/none.jpg"]
        >>> files += ["demo/dataset/renders/chair.chair_000.obj/00.jpg", "demo/summary.json"]
        >>> batches = FileBatches([Path(file) for file in files], model)
        >>> [(modality, positions) for modality, _, positions in batches]
        [('image', [2]), ('shape', [0])]
        >>> [(position, reason.partition(" (")[0]) for position, reason in batches.skipped]
        [(1, 'demo/none.jpg: no such file'), (3, 'demo/summary.json: expected a picture, a mesh')]
    """

    def __init__(
        self,
        files: Sequence[Path],
        model: EncoderModel,
        framing: Framing = WHOLE,
        up: str = "y",
        workers: int | None = None,
        prepared: Mapping[str, Any] | None = None,
        kinds: Sequence[FileKind | CmahError] | None = None,
        roots: Sequence[Path | None] = (),
    ) -> None:
        """Prepare; no file is decoded yet.

        Args:
            files: pictures, meshes, and point clouds (.npy).
            model: what they are made ready for.
            framing: what of a picture is cut off and painted over.
            up: "y" or "z", the up axis of meshes and point clouds.
            workers: processes that read; None: one per core, up to 8, and for few files none but those that meshes are
                always read in.
            prepared: `prepared` of the dataset.json of the run's dataset. On meshes that lie in its folders the points
                are sampled that `prepare` has sampled, so that their codes are those of the dataset.
            kinds: what each file is, or why that cannot be told; None looks at the files.
            roots: of each file the folder outside which nothing is read that a mesh names, such as textures; None, or
                no list: the one in which it lies. Of meshes in folders of `prepared` it is that folder.
        """
        self.prepared = prepared or {}
        self.files, self.model, self.framing, self.up = files, model, framing, up
        few = 0 if len(files) < FEW else min(available_cores(), MOST_WORKERS)
        self.workers = few if workers is None else workers
        self.roots = roots
        self.skipped: list[tuple[int, str]] = []
        self.remarks: list[tuple[int, str]] = []
        self._kinds = [kind_or_fault(path) for path in files] if kinds is None else kinds

    def __iter__(self) -> Iterator[tuple[Modality, Any, list[int]]]:
        self.skipped.clear()
        self.remarks.clear()
        yield from self._pictures()
        positions: list[int] = []
        shapes: list[dict[str, Tensor]] = []
        for position, shape in self._shapes():
            positions.append(position)
            shapes.append(shape)
            if len(shapes) == BATCH:
                yield "shape", stacked(shapes), positions
                positions, shapes = [], []
        if shapes:
            yield "shape", stacked(shapes), positions

    def _pictures(self) -> Iterator[tuple[Modality, Tensor, list[int]]]:
        places = [i for i, kind in enumerate(self._kinds) if kind == "picture"]
        pictures = [PictureFile(self.files[i]) for i in places]
        batches = ImageBatches(
            pictures, self.model.image_size, BATCH, self.workers, self.framing, self.model.masks
        )
        for batch, positions, left_out, _ in with_left_out(batches, len(places)):
            self.skipped += [(places[i], reason) for i, reason in left_out]
            if batch is not None:
                yield "image", batch["image"], [places[i] for i in positions]

    def _shapes(self) -> Iterator[tuple[int, dict[str, Tensor]]]:
        """The position and the tensors of each mesh and point cloud."""
        meshes = [i for i, kind in enumerate(self._kinds) if kind == "mesh"]
        for position, (path, kind) in enumerate(zip(self.files, self._kinds, strict=True)):
            if kind in ("mesh", "picture"):
                continue
            try:
                if isinstance(kind, CmahError):
                    raise kind
                yield position, self._cloud(path)
            except CmahError as error:
                self.skipped.append((position, str(error)))
        if not meshes:
            return
        model, drawn = self.model, draws_views(self.model)
        settings = [self._settings(i) for i in meshes]
        results = inputs_of_meshes(
            [self.files[i] for i in meshes],
            points=self._drawn_points() if drawn else SAMPLED * model.points,
            views=0 if drawn else model.views,
            size=model.image_size,
            up_axis=self.up,
            settings=settings,
            jobs=max(1, self.workers),
        )
        for place, arrays, remarks in results:
            self.remarks += [(meshes[place], remark) for remark in remarks]
            if isinstance(arrays, CmahError):
                self.skipped.append((meshes[place], str(arrays)))
            else:
                if "points" in arrays and "seed" in settings[place]:  # as the dataset's file holds them
                    arrays["points"] = arrays["points"].astype(np.float16).astype(np.float32)
                yield meshes[place], self._mesh(arrays)

    def _settings(self, position: int) -> dict[str, Any]:
        """How prepare has read a mesh and sampled its points; of one that was not prepared the root alone."""
        home = mesh_home(mesh_folders(self.prepared), self.files[position])
        if home is None:
            root = self.roots[position] if self.roots else None
            return {} if root is None else {"root": str(root)}
        folder, within = home
        points, seed = self.prepared.get("points"), self.prepared.get("seed")
        if not needs_points(self.model) or not all(
            type(value) is int and value >= 0 for value in (points, seed)
        ):
            return {"root": folder["path"]}
        shape_id = with_prefix(folder["prefix"], shape_id_of(within))
        return {"root": folder["path"], "points": points, "seed": [seed, stable_hash(shape_id), 0]}

    def _drawn_points(self) -> int:
        """How many points to sample on a mesh whose views are drawn: as many as in training, for the same look."""
        prepared = self.prepared.get("points")
        return max(prepared if type(prepared) is int and prepared > 0 else DRAWN, self.model.points)

    def _cloud(self, path: Path) -> dict[str, Tensor]:
        if self.model.views and not draws_views(self.model):
            raise CmahError(f"{path}: points alone, and this run sees shapes by their views; expected a mesh")
        return cloud_tensors(load_points_file(path, self.up), self.model)

    def _mesh(self, arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
        shape: dict[str, Tensor] = {}
        if "points" in arrays:
            shape |= cloud_tensors(arrays["points"], self.model)
        if "views" in arrays:
            shape["views"] = torch.from_numpy(arrays["views"].transpose(0, 3, 1, 2).copy())[None]
            shape["view_mask"] = torch.ones(1, self.model.views, dtype=torch.bool)
        return shape


def image_tensor(image: np.ndarray) -> Tensor:
    """An image, uint8 [s, s, c], which may be read-only, as uint8 [1, c, s, s].

    Examples:
        >>> tuple(image_tensor(np.zeros((8, 8, 3), np.uint8)).shape)
        (1, 3, 8, 8)
    """
    return torch.from_numpy(image.transpose(2, 0, 1).copy())[None]


def cloud_tensor(points: np.ndarray, model: EncoderModel) -> Tensor:
    """A cloud float [n, 3 or more], y up, in any position and size, as the model takes it: float32 [1, points, 3 or 6].

    Examples:
        >>> from cmah.runs.run_folder import RunFolder
        >>> model = RunFolder("demo/run").load_recipe(torch.device("cpu")).model
        >>> tuple(cloud_tensor(np.eye(3, dtype=np.float32), model).shape)
        (1, 512, 3)
    """
    return torch.from_numpy(model_input(points, model.points, model.colours))[None]


def cloud_tensors(points: np.ndarray, model: EncoderModel) -> dict[str, Tensor]:
    """All that a model takes of a cloud: the points as `cloud_tensor` gives them, and the views that it draws of them.

    Args:
        points: float [n, 3 or more], y up.
        model: what they are made ready for.

    Returns:
        Named tensors as `EncoderModel.encode_shapes` takes them, of one shape.

    Examples:
        >>> from cmah.runs.run_folder import RunFolder
        >>> model = RunFolder("demo/run").load_recipe(torch.device("cpu")).model
        >>> [*cloud_tensors(np.eye(3, dtype=np.float32), model)]
        ['points']
    """
    shape: dict[str, Tensor] = {}
    if model.points:
        shape["points"] = cloud_tensor(points, model)
    if draws_views(model):
        shape["views"] = torch.from_numpy(draw_views(points[:, :3], model.views, model.image_size))[None]
        shape["view_mask"] = torch.ones(1, model.views, dtype=torch.bool)
    return shape


def stacked(shapes: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Shapes of one model as a batch.

    Examples:
        >>> tuple(stacked([{"points": torch.zeros(1, 8, 3)}] * 2)["points"].shape)
        (2, 8, 3)
    """
    return {name: torch.cat([shape[name] for shape in shapes]) for name in shapes[0]}
