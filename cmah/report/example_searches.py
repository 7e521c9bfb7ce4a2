"""Sheets of the best, the worst and random queries with their first hits."""

from collections.abc import Callable

import numpy as np

from cmah.codes import BinaryCodes
from cmah.evaluation.findings import Result, Rows, chosen_queries
from cmah.report.hit_tiles import Row, Tile
from cmah.report.sections import HITS, Found, Section, categories_of

# id and modality of a row to a picture, a `data:` address; "" if there is none
Pictures = Callable[[str, str], str]
WHY = {
    "best": "Highest average precision; each of another category.",
    "worst": "Lowest average precision; each of another category.",
    "random": "Drawn at random.",
}


def searches(found: Found, pictures: Pictures | None, seed: int) -> Section | None:
    """Sheets of the best, the worst and random queries."""
    groups = []
    for result, positions, distances in found:
        for why, queries in chosen_queries(result, seed=seed):
            if len(queries):
                rows = [
                    _search(result, int(row), positions[row], distances[row], pictures) for row in queries
                ]
                groups.append((f"{result.arrow}: {why} queries", WHY[why], rows))
    if not groups:
        return None
    relevance = found[0][0].report.rules.relevance
    what = "category" if relevance == "category" else "shape"
    text = [
        f"A query (blue) and its first {HITS} hits, nearest first. Green ✓: of the query's {what}; red ✗: of another. "
        "Under each its distance, with ★ if it is the very shape. Click a picture to enlarge it."
    ]
    return Section("searches", "Searches", text, searches=groups, plain=pictures is None)


def _search(
    result: Result, row: int, positions: np.ndarray, distances: np.ndarray, pictures: Pictures | None
) -> Row:
    ap = result.report.per_query["ap"][row]
    query = _tile(result.query, row, pictures, f"query, AP {ap:.2f}", None)
    by = "shape_ids" if result.report.rules.relevance == "instance" else "categories"
    asked, held = getattr(result.query, by), getattr(result.database, by)
    tiles = []
    for position, distance in zip(positions.tolist(), distances, strict=True):
        note = f"{distance} bits" if isinstance(result.query, BinaryCodes) else f"cosine {distance:.2f}"
        if _same(result.query.shape_ids, row, result.database.shape_ids, position):
            note = f"★ {note}"
        known = asked is not None and held is not None and asked[row] != "" and held[position] != ""
        relevant = bool(asked[row] == held[position]) if known else None
        tiles.append(_tile(result.database, position, pictures, note, relevant))
    return Row(query, tiles)


def _tile(rows: Rows, row: int, pictures: Pictures | None, note: str, relevant: bool | None) -> Tile:
    name = str(rows.ids[row]) if rows.ids is not None else f"row {row}"
    picture = pictures(name, rows.modality) if pictures else ""
    return Tile(name, picture, str(categories_of(rows)[row]), note, relevant)


def _same(asked: np.ndarray | None, row: int, held: np.ndarray | None, position: int) -> bool:
    return asked is not None and held is not None and asked[row] != "" and bool(asked[row] == held[position])
