"""Which row of an embedding table holds which view of a shape, as a rectangular table with gaps."""

import numpy as np

from cmah.data.training_batches import TrainingPairs
from cmah.errors import ConfigError


def slots_by_camera(pairs: TrainingPairs, rows: np.ndarray, unreadable: int) -> np.ndarray:
    """The row of each shape's image by each camera, a column for each view number.

    Args:
        pairs: the shapes and their images, which have view numbers.
        rows: int64, the row of each image, shape after shape; -1 for those that could not be read.
        unreadable: how many views may be missing, since their pictures could not be read.

    Returns:
        int64 [n, R], -1 where there is no image.

    Raises:
        ConfigError: naming a shape whose cameras are not those of the others.

    Examples:
        The second picture of the first shape could not be read:

        >>> from cmah.data.dataset import Dataset
        >>> pairs = TrainingPairs(Dataset.read("demo/dataset").select("test"), image_size=64, points=128)
        >>> rows = np.arange(-1, sum(map(len, pairs.images)) - 1)
        >>> rows[:2] = 0, -1
        >>> slots_by_camera(pairs, rows, unreadable=1)[0].tolist()
        [0, -1...]
    """
    hint = '; set loss.negatives.views = "all_pairs"'
    cameras: set[int] = set()
    for shape, images in zip(pairs.shapes, pairs.images, strict=True):
        views = [image.view for image in images]
        if None in views or len(set(views)) < len(views):
            what = "a view without a number" if None in views else "two views of one number"
            raise ConfigError(f"shape {shape.shape_id!r} has {what}, expected corresponding cameras{hint}")
        cameras.update(view for view in views if view is not None)
    column = {view: number for number, view in enumerate(sorted(cameras))}
    slots = np.full((len(pairs.images), len(column)), -1)
    remaining = iter(rows.tolist())
    for position, images in enumerate(pairs.images):
        for image in images:
            slots[position, column[image.view or 0]] = next(remaining)
    # gaps beyond the unreadable pictures mean that some shape was seen by other cameras
    if (slots < 0).sum() > unreadable:
        fewest = int(np.argmin((slots >= 0).sum(axis=1)))
        raise ConfigError(
            f"shape {pairs.shapes[fewest].shape_id!r} has {len(pairs.images[fewest])} of the {len(column)} "
            f"numbered views that there are, expected corresponding cameras{hint}"
        )
    return slots


def slots_in_any_order(pairs: TrainingPairs, rows: np.ndarray) -> np.ndarray:
    """The rows of each shape's images, whatever cameras took them.

    Args:
        pairs: the shapes and their images.
        rows: as in `slots_by_camera`.

    Returns:
        int64 [n, largest number of images of a shape], filled up with -1.

    Examples:
        >>> from cmah.data.dataset import Dataset
        >>> pairs = TrainingPairs(Dataset.read("demo/dataset").select("test"), image_size=64, points=128)
        >>> slots_in_any_order(pairs, np.arange(sum(map(len, pairs.images)))).tolist()
        [[0, 1...]...]
    """
    counts = [len(images) for images in pairs.images]
    slots = np.full((len(counts), max(counts)), -1)
    slots[np.arange(max(counts)) < np.array(counts)[:, None]] = rows
    return slots
