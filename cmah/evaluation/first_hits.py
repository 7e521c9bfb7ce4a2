"""The shape that each query finds first, beside the shape that it shows: how far apart, and how far they overlap.

These measures need no relevant item: what a query shows may be missing from the database, as where images of one data
set look for shapes of another.
"""

from functools import partial

import numpy as np

from cmah.evaluation.clouds import CloudOf, first_hit_distances
from cmah.evaluation.histograms import Distances, chunks
from cmah.evaluation.relevance import Relation, Vectors
from cmah.evaluation.reranked import Reranked
from cmah.evaluation.voxels import Voxels, first_hit_iou
from cmah.threads import in_threads, thread_count


def first_hits(
    query: Vectors,
    database: Vectors,
    skip: np.ndarray,
    candidates: Relation | None = None,
    threads: int | None = None,
    reranked: Reranked | None = None,
) -> np.ndarray:
    """Position of the first item by (distance, position); int64 [q], -1 where there is none.

    Args:
        query: the queries.
        database: the items.
        skip: int64 [q], position of an item to leave out, or -1.
        candidates: the items among which each query is ranked; None = all.
        threads: number of threads; None for one per core.
        reranked: how many of the first are ranked anew, and by what.

    Examples:
        >>> from cmah.codes import BinaryCodes
        >>> codes = BinaryCodes.from_bits([[0, 0, 0], [0, 0, 1], [1, 1, 1]])
        >>> first_hits(codes, codes, skip=np.array([-1, 1, 2])).tolist()  # the first finds itself
        [0, 0, 1]
    """
    distances = Distances(query, database, candidates, skip, reranked)

    def task(begin: int, end: int) -> np.ndarray:
        rows = distances(begin, end)
        if not rows.shape[1]:
            return np.full(end - begin, -1, dtype=np.int64)
        nearest = rows.argmin(axis=1)
        least = rows[np.arange(len(rows)), nearest]
        return np.where(least == distances.left_out, -1, nearest)

    tasks = [partial(task, *part) for part in chunks(len(query), len(database))]
    return np.concatenate(in_threads(tasks, thread_count(threads)))


def first_hit_measures(
    query: Vectors,
    database: Vectors,
    skip: np.ndarray,
    shown: np.ndarray,
    held: np.ndarray,
    cloud_of: CloudOf | None = None,
    voxels: Voxels | None = None,
    candidates: Relation | None = None,
    threads: int | None = None,
    reranked: Reranked | None = None,
) -> dict[str, np.ndarray]:
    """HAU and Chamfer distance of each query, and IoU, as far as the clouds and voxels are given.

    Args:
        query: the queries.
        database: the items.
        skip: int64 [q], position of an item to leave out, or -1.
        shown: text [q], the shapes that the queries show; "" where unknown.
        held: text [n], the shapes that the items show; "" where unknown.
        cloud_of: the points of a shape, float [n, 3 or more], or None where it has none.
        voxels: of the shapes.
        candidates: the items among which each query is ranked; None = all.
        threads: number of threads; None for one per core.
        reranked: how many of the first are ranked anew, and by what.

    Returns:
        "hau" and "chamfer", and "iou", float64 [q]; NaN where a cloud, or a grid of voxels, is missing.

    Examples:
        >>> from cmah.codes import BinaryCodes
        >>> query, database = BinaryCodes.from_bits([[0, 0], [0, 1]]), BinaryCodes.from_bits([[0, 1], [1, 1]])
        >>> points = {"chair": np.zeros((1, 3)), "lamp": np.array([[0.0, 0.0, 2.0]])}
        >>> shown, held = np.array(["chair", "lamp"]), np.array(["lamp", "sofa"])  # both find the lamp
        >>> first_hit_measures(query, database, np.array([-1, -1]), shown, held, points.get)["hau"].tolist()
        [2.0, 0.0]
    """
    hit = first_hits(query, database, skip, candidates, threads, reranked)
    found = np.where(hit >= 0, np.append(held, "")[hit], "")  # the last entry is that of -1
    measures = {}
    if cloud_of is not None:
        distances = first_hit_distances(shown, found, cloud_of, thread_count(threads))
        measures["hau"], measures["chamfer"] = distances
    if voxels is not None:
        measures["iou"] = first_hit_iou(shown, found, voxels, thread_count(threads))
    return measures
