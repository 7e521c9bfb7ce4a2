"""The hits of queries as plain records with categories, and as text: a table or CSV."""

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np

from cmah.codes import BinaryCodes, Embeddings, read_codes
from cmah.errors import CodesError
from cmah.search.hits import Hits, QueryHits, RadiusHits
from cmah.search.index import HammingIndex
from cmah.search.item_vectors import require_vectors
from cmah.search.reranking import RerankedHits, Reranking, rerank
from cmah.search.together import By


class HitRecord(TypedDict):
    """A hit: its rank from 1, its id, Hamming distance, place in the index, and category ("" where unknown).

    The distance is a whole number of bits, or the mean of several. `shape_id`, the shape that the hit shows ("" where
    unknown), is there in a search for shapes only, and `score` where hits are re-ranked by one.

    Examples:
        >>> hit = HitRecord(rank=1, id="chair_000", distance=3, position=7, category="chair")
        >>> hit["id"], hit["distance"]
        ('chair_000', 3)
    """

    rank: int
    id: int | str
    distance: float
    position: int
    category: str
    shape_id: NotRequired[str]
    score: NotRequired[float]


class QueryRecord(TypedDict):
    """A query with its id (or number), its category ("" where unknown) and its hits, the best first.

    `names` is there only where several queries are searched for as one: the ids (or numbers) of all of them.

    Examples:
        >>> hit = HitRecord(rank=1, id="chair_000", distance=3, position=7, category="chair")
        >>> record = QueryRecord(query="photo.jpg", category="", hits=[hit])
        >>> [found["category"] for found in record["hits"]]
        ['chair']
    """

    query: str
    category: str
    hits: list[HitRecord]
    names: NotRequired[list[str]]


def _unknown(_: str) -> str:
    return ""


def search_records(
    index: HammingIndex,
    queries: BinaryCodes,
    k: int = 10,
    *,
    radius: int | None = None,
    together: By | None = None,
    shape_ids: np.ndarray | None = None,
    reranking: Reranking | None = None,
    embeddings: Embeddings | None = None,
    threads: int | None = None,
    category_of: Callable[[str], str] = _unknown,
) -> list[QueryRecord]:
    """Search an index and give the hits as plain records, ready for JSON.

    Args:
        index: what is searched.
        queries: of the index's length, or nested codes that can be cut to it.
        k: hits per query, 1 or more.
        radius: all hits at most so many bits away, in place of the k nearest.
        together: take all queries as one, such as photos of one object: items are ranked by their "mean" or "least"
            distance from them.
        shape_ids: the shape that each item shows, text [n] in order of position, "" where unknown. Each shape is then
            there once, by its nearest item.
        reranking: how the nearest items are put in order of a score of real vectors, of which the first `k` are given;
            with `shape_ids` the nearest shapes, whose vectors are found by their ids. With `together`, the score is the
            mean of those of all queries, or for "least" the greatest.
        embeddings: the real vectors of the queries, in the same order, for `reranking`.
        threads: how many to search with; None for one per core.
        category_of: the category of an item or a query by its id, "" where unknown. A query's own category, where
            `queries` has one, comes first; queries that are taken as one have the category that they share.

    Raises:
        CodesError: for queries of another length or space than the index's, shape ids of another number than there are
            items, a radius beside `together`, `shape_ids` or `reranking`, or as in `rerank`.

    Examples:
        >>> index = HammingIndex(bits=3)
        >>> index.add(BinaryCodes.from_bits([[0, 0, 0]]), ids=["a"])
        >>> search_records(index, BinaryCodes.from_bits([[0, 0, 1]]))[0]["hits"]
        [{'rank': 1, 'id': 'a', 'distance': 1, 'position': 0, 'category': ''}]
        >>> search_records(index, BinaryCodes.from_bits([[0, 0, 1], [0, 1, 1]]), together="mean")
        [{'query': '0 and 1 more', 'category': '', 'hits': [{'rank': 1, 'id': 'a', 'distance': 1.5, ...}],
          'names': ['0', '1']}]
    """
    refuse_radius(radius, together is not None, shape_ids is not None, reranking is not None)
    if reranking is not None:
        reranking.check(k, len(index))
    if index.bits in queries.prefixes:
        queries = queries.truncate(index.bits)
    names = [str(i) for i in range(len(queries))] if queries.id_texts is None else queries.id_texts.tolist()
    own = [""] * len(queries) if queries.categories is None else queries.categories.tolist()
    categories = [category or category_of(name) for category, name in zip(own, names, strict=True)]

    found: Hits | RadiusHits
    if radius is not None:
        found = index.search_radius(queries, radius, threads=threads)
    else:
        wanted = k if reranking is None else reranking.first
        if together is not None:
            found = index.search_together(queries, wanted, by=together, group=shape_ids, threads=threads)
        else:
            found = index.search(queries, wanted, group=shape_ids, threads=threads)
        if reranking is not None:
            vectors = require_vectors(embeddings, len(queries))
            found = rerank(found, vectors, reranking, k, shape_ids=shape_ids, together=together)
    scores = found.scores.tolist() if isinstance(found, RerankedHits) else [None] * len(found)
    listed = [_hit_records(*each, category_of, shape_ids) for each in zip(found, scores, strict=True)]
    if together is not None:
        name = names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "") if names else ""
        shared = categories[0] if len(set(categories)) == 1 else ""
        return [QueryRecord(query=name, category=shared, hits=hits, names=names) for hits in listed]
    return [
        QueryRecord(query=name, category=category, hits=hits)
        for name, category, hits in zip(names, categories, listed, strict=True)
    ]


def refuse_radius(radius: int | None, together: bool, per_shape: bool, reranked: bool = False) -> None:
    """Refuse a radius in a search for shapes, for several queries as one, or with re-ranking: all rank the k nearest.

    Raises:
        CodesError: if there is a radius and one of the others.

    Examples:
        >>> refuse_radius(8, together=True, per_shape=False)
        Traceback (most recent call last):
        cmah.errors.CodesError: radius is 8, expected none in a search for several queries as one
    """
    ways = ("for several queries as one", "that gives each shape once", "that is re-ranked")
    given = [way for way, asked in zip(ways, (together, per_shape, reranked), strict=True) if asked]
    if radius is not None and given:
        raise CodesError(f"radius is {radius}, expected none in a search {given[0]}")


def _hit_records(
    hits: QueryHits,
    scores: list[float] | None,
    category_of: Callable[[str], str],
    shape_ids: np.ndarray | None,
) -> list[HitRecord]:
    records = []
    for rank, hit in enumerate(hits, start=1):
        record = HitRecord(
            rank=rank,
            id=hit.id,
            distance=hit.distance,
            position=hit.position,
            category=category_of(str(hit.id)),
        )
        if shape_ids is not None:
            record["shape_id"] = str(shape_ids[hit.position])
        if scores is not None:
            record["score"] = scores[rank - 1]
        records.append(record)
    return records


def read_categories(path: str | Path) -> dict[str, str]:
    """The category of each row of a code or embedding file, by id.

    Raises:
        CodesError: if the file has no ids or no categories.

    Examples:
        >>> categories = read_categories("demo/codes/shape.npz")  # of `cmah demo`
        >>> sorted(set(categories.values()))
        ['airplane', 'bed', ..., 'vase']
    """
    table = read_codes(path)
    if table.id_texts is None or table.categories is None:
        raise CodesError(f"{path}: has no ids or no categories")
    return dict(zip(table.id_texts.tolist(), table.categories.tolist(), strict=True))


def shape_ids_of_items(index: HammingIndex, table: BinaryCodes | Embeddings, path: str | Path) -> np.ndarray:
    """The shape that each item of an index shows, by the code file that the index was made from.

    Args:
        index: whose items they are.
        table: what the file holds; its rows are found by their ids, or where it has none taken in order.
        path: the file, for messages.

    Returns:
        Text [n] in order of position, "" where unknown.

    Raises:
        CodesError: if the file has no shape ids, another number of rows than the index has items, or no row for one.

    Examples:
        >>> codes = BinaryCodes.from_bits([[0], [1]], ids=["a_0", "a_1"], shape_ids=["a", "a"])
        >>> index = HammingIndex(bits=1)
        >>> index.add(codes[[1, 0]])
        >>> shape_ids_of_items(index, codes, "views.npz").tolist()
        ['a', 'a']
    """
    if table.shape_ids is None or not (table.shape_ids != "").any():
        raise CodesError(f"{path}: has no shape ids, expected those of the items of the index")
    if len(table) != len(index):
        raise CodesError(
            f"{path}: has {len(table)} rows, expected {len(index)}, one for each item of the index"
        )
    if table.id_texts is None:
        return table.shape_ids
    rows = {name: row for row, name in enumerate(table.id_texts.tolist())}
    names = [str(name) for name in index.ids.tolist()]
    for name in names:
        if name not in rows:
            raise CodesError(f"{path}: has no row for item {name} of the index")
    return table.shape_ids[[rows[name] for name in names]]


def records_table(records: Sequence[QueryRecord]) -> str:
    """The records as text for people: a line for each query, and below it a line for each hit.

    Examples:
        >>> hit = HitRecord(rank=1, id="a_0", distance=1, position=0, category="chair")
        >>> print(records_table([QueryRecord(query="q", category="", hits=[hit])]))
        q
            1  a_0     1 bits  chair
        >>> hit |= {"distance": 1.5, "shape_id": "a"}
        >>> print(records_table([QueryRecord(query="q and 1 more", category="", hits=[hit])]))
        q and 1 more
            1  a  a_0     1.50 bits  chair
        >>> print(records_table([QueryRecord(query="q", category="", hits=[{**hit, "distance": 12, "score": 0.5}])]))
        q
            1  a  a_0    12 bits   0.5000  chair
    """
    lines = []
    for record in records:
        category = f"  ({record['category']})" if record["category"] else ""
        lines.append(f"{record['query']}{category}")
        width, of_shapes = (
            max((len(str(hit.get(key, ""))) for hit in record["hits"]), default=0)
            for key in ("id", "shape_id")
        )
        for hit in record["hits"]:
            shape = f"{hit['shape_id']:<{of_shapes}}  " if "shape_id" in hit else ""
            bits = f"{hit['distance']:4d}" if isinstance(hit["distance"], int) else f"{hit['distance']:7.2f}"
            score = f"{hit['score']:7.4f}  " if "score" in hit else ""
            line = f"{hit['rank']:5d}  {shape}{hit['id']!s:<{width}}  {bits} bits  {score}{hit['category']}"
            lines.append(line.rstrip())
        if not record["hits"]:
            lines.append("       no hit")
    return "\n".join(lines)


def records_csv(records: Sequence[QueryRecord]) -> str:
    """The records as CSV with a header, a row for each hit: query, rank, id, distance, category.

    In a search for shapes there is one column more, shape_id, and with re-ranking another, score.

    Examples:
        >>> hit = HitRecord(rank=1, id="a", distance=1, position=0, category="chair")
        >>> print(records_csv([QueryRecord(query="q", category="", hits=[hit])]), end="")
        query,rank,id,distance,category
        q,1,a,1,chair
    """
    columns = ["rank", "id", "distance", "category"]
    hits = [hit for record in records for hit in record["hits"]]
    columns += [column for column in ("shape_id", "score") if any(column in hit for hit in hits)]
    text = io.StringIO()
    writer = csv.DictWriter(text, ["query", *columns], extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for record in records:
        writer.writerows({"query": record["query"], **hit} for hit in record["hits"])
    return text.getvalue()
