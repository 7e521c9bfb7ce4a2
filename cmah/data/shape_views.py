"""Which images of a dataset describe a shape that is seen by its views, and which are left to ask for it."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from cmah.data.dataset import Dataset, Image, Shape

ViewsFrom = Literal["all", "even", "odd"]


def describing_views(images: Sequence[Image], count: int, which: ViewsFrom = "all") -> list[Image]:
    """The renders that describe a shape: up to `count`, evenly spaced in their order.

    Args:
        images: those of one shape, in file order.
        count: of the views, 1 or more.
        which: "even" and "odd" take every second render only, from the first or from the second on, so that the
            others can ask for the shape.

    Examples:
        >>> images = [Image(f"view{i}", "chair", "", "", f"{i}.jpg", "render") for i in range(8)]
        >>> images += [Image("catalogue", "chair", "", "", "catalogue.jpg", "picture")]
        >>> [image.image_id for image in describing_views(images, 4)]
        ['view0', 'view2', 'view4', 'view6']
        >>> [image.image_id for image in describing_views(images, 2, "odd")]
        ['view1', 'view5']
    """
    renders = [image for image in images if image.kind == "render"]
    renders = renders[{"all": slice(None), "even": slice(0, None, 2), "odd": slice(1, None, 2)}[which]]
    few = min(len(renders), count)
    return [renders[i * len(renders) // few] for i in range(few)]


def described(
    dataset: Dataset, shapes: Sequence[Shape], count: int, which: ViewsFrom = "all"
) -> list[list[Image]]:
    """The describing views of each shape; an empty list for a shape without renders.

    Examples:
        >>> dataset = Dataset.read("demo/dataset").select("test")
        >>> [[image.view for image in views] for views in described(dataset, dataset.shapes[:2], 1, "odd")]
        [[1], [1]]
    """
    views = dataset.views()
    return [describing_views(views[shape.shape_id], count, which) for shape in shapes]


def in_groups(images: Sequence[Image], size: int) -> list[list[Image]]:
    """The views of a shape in groups of `size`, as a model sees them that takes several for one picture.

    Args:
        images: the views, in order.
        size: views of a group.

    Returns:
        The groups; the last one is filled up with the first views, unless there is no other.

    Examples:
        >>> images = [Image(f"view{i}", "chair", "", "", f"{i}.jpg", "render") for i in range(6)]
        >>> [[image.image_id[-1] for image in group] for group in in_groups(images, 4)]
        [['0', '1', '2', '3'], ['4', '5', '0', '1']]
        >>> [len(group) for group in in_groups(images[:3], 4)], len(in_groups(images, 1))
        ([3], 6)
    """
    n = len(images)
    if n <= size:
        return [list(images)] if images else []
    return [[images[(first + i) % n] for i in range(size)] for first in range(0, n, size)]


def drawn_views(candidates: Sequence[int], asked: int, count: int, rng: np.random.Generator) -> list[int]:
    """Which views describe a shape in a training step: up to `count` at random, never the one that asks.

    Args:
        candidates: the shape's views, by number.
        asked: the view that is the query.
        count: how many are wanted.
        rng: of the sample.

    Returns:
        Some of the candidates; the query itself only where there is no other.

    Examples:
        >>> sorted(drawn_views([0, 1, 2, 3], asked=1, count=12, rng=np.random.default_rng(0)))
        [0, 2, 3]
        >>> drawn_views([0], asked=0, count=12, rng=np.random.default_rng(0))
        [0]
    """
    others = [i for i in candidates if i != asked] or [asked]
    return rng.permutation(others)[:count].tolist()
