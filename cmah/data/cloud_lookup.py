"""The point clouds of a dataset by shape id, as measures of the distance between shapes take them."""

from collections.abc import Callable

import numpy as np

from cmah.data.dataset import Dataset, without_points
from cmah.data.point_clouds import normalise
from cmah.errors import CmahError


def cloud_lookup(
    dataset: Dataset, warn: Callable[[str], None] | None = None
) -> Callable[[str], np.ndarray | None]:
    """The points of a shape by its id, for `cloud_of` of `cmah.evaluation.evaluate`.

    Args:
        dataset: the folder that has the clouds.
        warn: called with a line of text if there are shapes without points, and for each cloud that cannot be read.

    Returns:
        A function from a shape id to float32 [n, 3], centred and scaled to largest norm 1, or to None if the dataset
        has no such shape or cannot read it.

    Examples:
        >>> cloud_of = cloud_lookup(Dataset.read("demo/dataset"))
        >>> cloud_of("chair.chair_000.obj").shape
        (1024, 3)
        >>> print(cloud_of("chair.no_such.obj"))
        None
    """
    shapes = {shape.shape_id: shape for shape in dataset.shapes if shape.points}
    if warn and (remark := without_points(dataset.shapes)):
        warn(f"no distances to some shapes: {remark}")

    def cloud_of(shape_id: str) -> np.ndarray | None:
        if shape_id not in shapes:
            return None
        try:
            return normalise(dataset.load_points(shapes[shape_id])[:, :3])
        except CmahError as error:
            if warn:
                warn(f"no distance to shape {shape_id}: {error}")
            return None

    return cloud_of
