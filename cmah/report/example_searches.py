"""The section of example searches: the best, the worst and random queries with their first hits."""

from collections.abc import Callable, Sequence

import numpy as np

from cmah.codes import BinaryCodes
from cmah.evaluation.evaluations import Evaluation
from cmah.evaluation.relevance import Vectors
from cmah.report.hit_tiles import Tile, TileRow
from cmah.report.nearest_items import chosen_queries
from cmah.report.sections import HITS, FirstHits, Section, categories_of

# from id and modality of an item to its picture, a `data:` address; "" if there is none
Pictures = Callable[[str, str], str]
WHY = {
    "best": "Highest average precision; each of another category.",
    "worst": "Lowest average precision; each of another category.",
    "random": "Drawn at random.",
}


def searches_section(hits: Sequence[FirstHits], pictures: Pictures | None, seed: int) -> Section | None:
    """The best, the worst and random queries of each evaluation; None without a query that has a relevant item.

    Examples:
        >>> from cmah.evaluation.comparing import evaluate_files
        >>> from cmah.report.sections import hits_of_longest
        >>> done = evaluate_files("demo/codes/image.npz", "demo/codes/shape.npz").evaluations
        >>> section = searches_section(hits_of_longest(done), pictures=None, seed=0)
        >>> [title for title, _, _ in section.searches]
        ['image → shape: best queries', 'image → shape: worst queries', 'image → shape: random queries']
    """
    groups = []
    for evaluation, positions, distances in hits:
        for why, queries in chosen_queries(evaluation, seed=seed):
            if len(queries):
                rows = [
                    _search(evaluation, int(row), positions[row], distances[row], pictures) for row in queries
                ]
                groups.append((f"{evaluation.arrow}: {why} queries", WHY[why], rows))
    if not groups:
        return None
    relevance = hits[0][0].report.rules.relevance
    what = "category" if relevance == "category" else "shape"
    anew = hits[0][0].report.rules.rerank
    order = "nearest first" if anew is None else f"in the order after re-ranking the nearest {anew}"
    text = [
        f"A query (blue) and its first {HITS} hits, {order}. Green ✓: of the query's {what}; red ✗: of another. "
        "Under each its distance, with ★ if it is the very shape. Click a picture to enlarge it."
    ]
    return Section("searches", "Searches", text, searches=groups, plain=pictures is None)


def _search(
    evaluation: Evaluation, row: int, positions: np.ndarray, distances: np.ndarray, pictures: Pictures | None
) -> TileRow:
    ap = evaluation.report.per_query["ap"][row]
    query = _tile(evaluation.query, row, pictures, f"query, AP {ap:.2f}", None)
    by = "shape_ids" if evaluation.report.rules.relevance == "instance" else "categories"
    of_query, of_item = getattr(evaluation.query, by), getattr(evaluation.database, by)
    tiles = []
    for position, distance in zip(positions.tolist(), distances, strict=True):
        note = f"{distance} bits" if isinstance(evaluation.query, BinaryCodes) else f"cosine {distance:.2f}"
        if _same(evaluation.query.shape_ids, row, evaluation.database.shape_ids, position):
            note = f"★ {note}"
        known = (
            of_query is not None and of_item is not None and of_query[row] != "" and of_item[position] != ""
        )
        relevant = bool(of_query[row] == of_item[position]) if known else None
        tiles.append(_tile(evaluation.database, position, pictures, note, relevant))
    return TileRow(query, tiles)


def _tile(vectors: Vectors, row: int, pictures: Pictures | None, note: str, relevant: bool | None) -> Tile:
    name = str(vectors.ids[row]) if vectors.ids is not None else f"row {row}"
    picture = pictures(name, vectors.modality) if pictures else ""
    return Tile(name, picture, str(categories_of(vectors)[row]), note, relevant)


def _same(of_query: np.ndarray | None, row: int, of_item: np.ndarray | None, position: int) -> bool:
    """Whether a query and an item have the same known label."""
    if of_query is None or of_item is None or of_query[row] == "":
        return False
    return bool(of_query[row] == of_item[position])
