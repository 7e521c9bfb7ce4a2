"""The point clouds of datasets by shape id, as measures of the distance between shapes take them."""

from collections.abc import Callable, Sequence

import numpy as np

from cmah.data.dataset import Dataset, Shape, without_points
from cmah.data.point_clouds import normalise
from cmah.errors import CmahError


def shapes_by_id(datasets: Sequence[Dataset]) -> dict[str, tuple[Dataset, Shape]]:
    """The shapes of some datasets by their ids, each with its dataset.

    Raises:
        CmahError: if two datasets have a shape of one id: which of them is meant?

    Examples:
        >>> dataset = Dataset.read("demo/dataset")
        >>> shapes_by_id([dataset])["chair.chair_000.obj"][1].category
        'chair'
        >>> shapes_by_id([dataset, dataset])
        Traceback (most recent call last):
        cmah.errors.CmahError: demo/dataset: shape 'airplane.airplane_000.obj' is in demo/dataset too, ...
    """
    found: dict[str, tuple[Dataset, Shape]] = {}
    for dataset in datasets:
        for shape in dataset.shapes:
            if shape.shape_id in found:
                other = found[shape.shape_id][0].root
                raise CmahError(
                    f"{dataset.root}: shape {shape.shape_id!r} is in {other} too, expected each shape in one dataset"
                )
            found[shape.shape_id] = dataset, shape
    return found


def cloud_lookup(
    datasets: Dataset | Sequence[Dataset], warn: Callable[[str], None] | None = None
) -> Callable[[str], np.ndarray | None]:
    """The points of a shape by its id, for `cloud_of` of `cmah.evaluation.evaluate`.

    Args:
        datasets: the folders that have the clouds, one or several.
        warn: called with a line of text if there are shapes without points, and for each cloud that cannot be read.

    Returns:
        A function from a shape id to float32 [n, 3], centred and scaled to largest norm 1, or to None if no dataset
        has such a shape or it cannot be read.

    Raises:
        CmahError: if two datasets have a shape of one id.

    Examples:
        >>> cloud_of = cloud_lookup(Dataset.read("demo/dataset"))
        >>> cloud_of("chair.chair_000.obj").shape
        (1024, 3)
        >>> print(cloud_of("chair.no_such.obj"))
        None
    """
    folders = [datasets] if isinstance(datasets, Dataset) else datasets
    shapes = {name: found for name, found in shapes_by_id(folders).items() if found[1].points}
    for dataset in folders:
        if warn and (remark := without_points(dataset.shapes)):
            warn(f"no distances to some shapes: {remark}")

    def cloud_of(shape_id: str) -> np.ndarray | None:
        if shape_id not in shapes:
            return None
        dataset, shape = shapes[shape_id]
        try:
            return normalise(dataset.load_points(shape)[:, :3])
        except CmahError as error:
            if warn:
                warn(f"no distance to shape {shape_id}: {error}")
            return None

    return cloud_of
