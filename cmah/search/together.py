"""Several queries as one, such as photos of one object: items by their mean or least distance from all of them."""

from functools import partial
from typing import Literal

import numpy as np

from cmah.checks import shown
from cmah.errors import CodesError
from cmah.search.blocks import CodeBlocks
from cmah.search.grouping import Groups, first_of_groups
from cmah.search.ids import IdsLike, as_ids
from cmah.search.numpy_scan import differing_bits
from cmah.threads import in_threads, thread_count

By = Literal["mean", "least"]
AT_ONCE = 1 << 18  # bytes of codes that are compared at a time: they and the distances stay in the cache
ANY = np.iinfo(np.int64).max  # more than every distance


def check_by(by: object) -> None:
    """Refuse what is no way to take several distances as one.

    Raises:
        CodesError: if `by` is neither "mean" nor "least".

    Examples:
        >>> check_by("median")
        Traceback (most recent call last):
        cmah.errors.CodesError: by is 'median', expected 'mean' or 'least'
    """
    if by not in ("mean", "least"):
        raise CodesError(f"by is {shown(by)}, expected 'mean' or 'least'")


def owners_of_rows(owners: IdsLike | None, q: int) -> tuple[np.ndarray, Groups]:
    """Whose each of `q` query rows is.

    Args:
        owners: whole numbers or text [q], "" for a row that stands for itself; None if all are one owner's.
        q: how many there have to be.

    Returns:
        The owners as they were given, int64 or text [o], in order of first appearance, and the rows of each.

    Raises:
        CodesError: for owners of another number, type or shape.

    Examples:
        >>> names, rows = owners_of_rows(["sofa", "mug", "sofa"], q=3)
        >>> names.tolist(), rows.numbers.tolist()
        (['sofa', 'mug'], [0, 1, 0])
    """
    given = np.zeros(q, dtype=np.int64) if owners is None else as_ids(owners, "owners")
    rows = Groups.of(given, "owners")
    if len(rows) != q:
        raise CodesError(f"owners has {len(rows)} labels, expected {q}, one for each query")
    _, first = np.unique(rows.numbers, return_index=True)
    return given[first], rows


def scan_together(
    blocks: CodeBlocks,
    packed: np.ndarray,
    owners: Groups,
    k: int,
    by: By,
    groups: Groups | None = None,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The `k` nearest codes, or groups of codes, of each owner of query rows.

    Every code is compared with every row, some codes at a time, of which the `k` best so far are kept. The mean is
    ranked by the sum of the distances, a whole number, so that ties are exact.

    Args:
        blocks: the codes.
        packed: query rows, uint8 [q, width].
        owners: which rows belong together.
        k: 0 to the number of codes or groups.
        by: "mean" or "least", the distance that counts of those from an owner's rows.
        groups: those of the codes, where each group is to be there once, by its nearest code.
        threads: how many to use, which share out the owners; None for one per core.

    Returns:
        positions int64 [owners, k] and distances [owners, k], float64 for the mean and int32 for the least; ordered by
        (distance, position).

    Raises:
        CodesError: if `by` is something else, or `threads` is no whole number or less than 1.

    Examples:
        >>> blocks = CodeBlocks(bits=8)
        >>> blocks.append(np.array([[0b0000], [0b0011], [0b1111]], np.uint8))
        >>> rows = np.array([[0b0001], [0b0011]], np.uint8)
        >>> positions, distances = scan_together(blocks, rows, Groups.of([7, 7]), k=2, by="mean")
        >>> positions.tolist(), distances.tolist()
        ([[1, 0]], [[0.5, 1.5]])
    """
    check_by(by)
    threads, queries = thread_count(threads), blocks.as_words(packed)
    task = partial(_of_one_owner, blocks, k=k, by=by, groups=groups)
    # the rows of each owner, one owner after the other
    rows = np.split(np.argsort(owners.numbers, kind="stable"), np.cumsum(owners.sizes)[:-1])
    results = in_threads([partial(task, queries[each]) for each in rows[: owners.count]], threads)
    positions = np.array([result[0] for result in results], dtype=np.int64).reshape(owners.count, k)
    distances = np.array([result[1] for result in results], dtype=np.int64).reshape(owners.count, k)
    if by == "least":
        return positions, distances.astype(np.int32)
    return positions, distances / owners.sizes[:, None]


def _of_one_owner(
    blocks: CodeBlocks, queries: np.ndarray, k: int, by: By, groups: Groups | None
) -> tuple[np.ndarray, np.ndarray]:
    """Positions int64 [k] and the sums or the least of their distances int64 [k], of query rows [r, words]."""
    positions, distances = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    limit = ANY  # a code must be nearer than that to enter: of equally near codes the first stay
    enough = groups.items_for(k) if groups is not None and k else k  # so many are of k groups in any case
    step = max(AT_ONCE // (blocks.codes_in_block * blocks.width), 1)
    parts = [full[b : b + step] for full, _ in blocks.full_parts for b in range(0, len(full), step)]
    parts.append(blocks.last_block)
    first = 0
    for part in parts if k else []:
        combined = _combined(part, queries, by)[: len(blocks) - first]
        if len(combined) > enough:
            limit = min(limit, int(np.partition(combined, enough - 1)[enough - 1]) + 1)
        near = np.flatnonzero(combined < limit)
        if len(near):
            positions = np.concatenate([positions, near + first])
            distances = np.concatenate([distances, combined[near]])
            best = _best(positions, distances, k, groups)
            positions, distances = positions[best], distances[best]
        if len(positions) == k:
            limit = int(distances[-1])
        first += len(part) * blocks.codes_in_block
    return positions, distances


def _combined(part: np.ndarray, queries: np.ndarray, by: By) -> np.ndarray:
    """Sum or least of the distances of each code from all query rows, int64 [codes of all blocks]."""
    combined = np.full(part[:, 0].shape, 0 if by == "mean" else ANY, dtype=np.int64)
    row = combined if by == "mean" else np.empty_like(combined)
    for query in queries:
        if by == "least":
            row[...] = 0
        for w, word in enumerate(query):
            row += differing_bits(part[:, w] ^ word)
        if by == "least":
            np.minimum(combined, row, out=combined)
    return combined.ravel()


def _best(positions: np.ndarray, distances: np.ndarray, k: int, groups: Groups | None) -> np.ndarray:
    """Which codes are the `k` nearest, or the nearest of the `k` nearest groups, in order of (distance, position)."""
    order = np.lexsort((positions, distances))
    if groups is not None:
        order = order[first_of_groups(np.zeros_like(order), groups.numbers[positions[order]], k)]
    return order[:k]
