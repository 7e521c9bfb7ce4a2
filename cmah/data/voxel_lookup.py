"""The voxels of a dataset's shapes, from its point clouds or from the meshes it was made from."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from cmah.data.cloud_lookup import cloud_lookup, shapes_by_id
from cmah.data.csv_tables import check_path
from cmah.data.dataset import Dataset
from cmah.data.mesh_sources import split_source
from cmah.errors import CmahError
from cmah.evaluation.voxels import RESOLUTION, Voxels
from cmah.threads import available_cores


def voxel_lookup(
    datasets: Dataset | Sequence[Dataset],
    meshes: Sequence[str | Path] = (),
    *,
    resolution: int = RESOLUTION,
    radius: float | None = None,
    warn: Callable[[str], None] | None = None,
) -> Voxels:
    """Voxels of the shapes of datasets by their ids, for `voxels` of `cmah.evaluation.evaluate`.

    Args:
        datasets: the folders that have the shapes, one or several.
        meshes: for each dataset a folder of meshes that it was prepared from, wherever it lies now. The column `source`
            of its shapes.csv names the file of each shape; meshes that are not in this folder are taken from where
            prepare read them, which matters for a dataset of several folders. None = make voxels of the point clouds.
        resolution: cells along each axis.
        radius: of the points of clouds, as in `cmah.evaluation.voxels.cloud_grid`.
        warn: called with a line of text for each shape that cannot be read.

    Raises:
        CmahError: if two datasets have a shape of one id, or a folder has none of the meshes.

    Examples:
        >>> dataset = Dataset.read("demo/dataset")
        >>> clouds, solids = voxel_lookup(dataset), voxel_lookup(dataset, ["demo/meshes"])
        >>> pair = [shape.shape_id for shape in dataset.shapes[:2]]
        >>> for voxels in (clouds, solids):
        ...     voxels.make(pair)
        ...     print(f"{voxels.iou(*pair):.2f}", voxels.made)
        0... 128^3 cells; full: nearer to a point of the cloud than 2.5 x the mean distance of neighbours, ...
        0... 128^3 cells; full: where a line along an axis first meets the mesh, ...
    """
    several = [datasets] if isinstance(datasets, Dataset) else list(datasets)
    if not meshes:
        return Voxels.of_clouds(cloud_lookup(several, warn), resolution, radius)
    if len(meshes) != len(several):
        raise CmahError(f"{len(meshes)} folders of meshes for {len(several)} datasets, expected one for each")
    from cmah.meshes.mesh_voxels import grids_of_meshes  # clouds do without Embree

    files: dict[str, Path] = {}
    roots: dict[str, Path] = {}
    shapes_by_id(several)  # refuses an id that two have
    for dataset, folder in zip(several, meshes, strict=True):
        files |= _files_of(dataset, Path(folder), roots)

    def grids_of(names: Sequence[str]) -> Iterable[tuple[str, np.ndarray]]:
        known = {name: files[name] for name in names if name in files}
        return grids_of_meshes(known, resolution, roots=roots, jobs=available_cores(), warn=warn)

    made = f"{resolution}^3 cells; full: where a line along an axis first meets the mesh, and what no such line reaches"
    return Voxels(grids_of, made)


def _files_of(dataset: Dataset, folder: Path, roots: dict[str, Path]) -> dict[str, Path]:
    """The mesh file of each shape that names one, whether or not it exists; `roots` takes the folders of meshes."""
    table, files, here = Path(dataset.root, "shapes.csv"), {}, False
    for shape in dataset.shapes:
        source = shape.extra.get("source", "")
        if source:
            of_folder, within = split_source(source, dataset.mesh_folders)
            faults: list[str] = []
            check_path(within, "source", faults.append)
            if faults:
                raise CmahError(f"{table}: row of {shape.shape_id!r}: {faults[0]}")
            files[shape.shape_id], roots[shape.shape_id] = folder / within, folder
            if files[shape.shape_id].is_file():
                here = True
            elif of_folder is not None and Path(source).is_file():
                files[shape.shape_id], roots[shape.shape_id] = Path(source), Path(of_folder["path"])
    if not here:
        raise CmahError(f"{folder}: has none of the meshes that the column source of {table} names")
    return files
