"""What changes when any of the files of a dataset's images change, to name things that were computed from them."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cmah.data.dataset import Dataset, Image


def image_states(
    dataset: Dataset, images: Sequence[Image], *, masks: bool = True, boxes: bool = True
) -> list[Any]:
    """The folder, and of each image the path, size in bytes and time in ns of its files; the path alone if missing.

    Args:
        dataset: the folder.
        images: rows of its images.csv.
        masks: whether their masks count.
        boxes: whether their boxes count.

    Returns:
        Values that JSON can hold.

    Examples:
        >>> dataset = Dataset.read("demo/dataset")
        >>> root, *states = image_states(dataset, dataset.images[:1], boxes=False)
        >>> [name.rpartition("/")[2] for name, _, _ in states]
        ['00.jpg', '00_mask.png']
    """
    states: list[Any] = [str(dataset.file("").resolve())]
    for image in images:
        states += file_states(dataset, [image.path, image.mask] if masks and image.mask else [image.path])
        if boxes and image.bbox:
            states.append([*image.bbox])
    return states


def file_states(dataset: Dataset, names: Sequence[str]) -> list[Any]:
    """The path, size in bytes and time in ns of files of a dataset; the path alone of one that is missing.

    Args:
        dataset: the folder.
        names: paths as in its tables.

    Examples:
        >>> file_states(Dataset.read("demo/dataset"), ["points/none.npy"])
        [['points/none.npy']]
    """
    return [state_of(name, dataset.file(name)) for name in names]


def state_of(name: str, path: Path) -> list[Any]:
    """The name, size in bytes and time in ns of a file; the name alone if it is missing.

    Args:
        name: what it is called.
        path: the file.

    Examples:
        >>> state_of("none.npy", Path("points/none.npy"))
        ['none.npy']
    """
    try:
        state = os.stat(path)
    except (OSError, ValueError):  # ValueError: a NUL character in it
        return [name]
    return [name, state.st_size, state.st_mtime_ns]
