"""The hits of queries as plain records with categories and paths, in bounded memory."""

from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np

from cmah.codes import BinaryCodes, Embeddings
from cmah.codes.real_codes import real_part
from cmah.errors import CodesError
from cmah.memory import available_bytes, require_room
from cmah.search.hits import Hits, QueryHits, RadiusHits
from cmah.search.index import HammingIndex
from cmah.search.item_vectors import require_vectors
from cmah.search.reranking import RerankedHits, Reranking, rerank
from cmah.search.together import By

AT_ONCE = 1 << 18  # hits of all queries that are searched for at a time
RADIUS_AT_ONCE = 256  # queries that are searched for at a time within a radius, where there is memory enough
RECORD = 700  # bytes that a hit takes as a record, with its text


class HitRecord(TypedDict):
    """A hit: its rank from 1, its id, Hamming distance, place in the index, and category ("" where unknown).

    The distance is a whole number of bits, or the mean of several. `shape_id`, the shape that the hit shows ("" where
    unknown), is there in a search for shapes only, `score` where hits are re-ranked by one, and `path`, where the file
    of the item lies, if that is asked for.

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
    path: NotRequired[str]


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
    real: Embeddings | None = None,
    threads: int | None = None,
    category_of: Callable[[str], str] = _unknown,
    path_of: Callable[[str], str] | None = None,
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
        embeddings: the real vectors of the queries, in the same order, for `reranking`; where that has no vectors of
            items, the real-valued codes of the queries, as long as their codes or those of the index.
        real: such real-valued codes, where `reranking` takes them beside the vectors (by "real+views").
        threads: how many to search with; None for one per core.
        category_of: the category of an item or a query by its id, "" where unknown. A query's own category, where
            `queries` has one, comes first; queries that are taken as one have the category that they share.
        path_of: where the file of an item, or with `shape_ids` of the shape that it shows, lies, by its id, "" where
            unknown; None leaves `path` out.

    Raises:
        CodesError: for queries of another length or space than the index's, shape ids of another number than there are
            items, a radius beside `together`, `shape_ids` or `reranking`, more hits than there is memory for (with the
            numbers), real-valued codes whose signs are not the queries' codes, or as in `rerank`.

    Examples:
        >>> index = HammingIndex(bits=3)
        >>> index.add(BinaryCodes.from_bits([[0, 0, 0]]), ids=["a"])
        >>> search_records(index, BinaryCodes.from_bits([[0, 0, 1]]))[0]["hits"]
        [{'rank': 1, 'id': 'a', 'distance': 1, 'position': 0, 'category': ''}]
        >>> search_records(index, BinaryCodes.from_bits([[0, 0, 1], [0, 1, 1]]), together="mean")
        [{'query': '0 and 1 more', 'category': '', 'hits': [{'rank': 1, 'id': 'a', 'distance': 1.5, ...}],
          'names': ['0', '1']}]
    """
    return [
        *iter_records(
            index, queries, k, radius=radius, together=together, shape_ids=shape_ids, reranking=reranking,
            embeddings=embeddings, real=real, threads=threads, category_of=category_of, path_of=path_of,
        )
    ]  # fmt: skip


def iter_records(
    index: HammingIndex,
    queries: BinaryCodes,
    k: int = 10,
    *,
    radius: int | None = None,
    together: By | None = None,
    shape_ids: np.ndarray | None = None,
    reranking: Reranking | None = None,
    embeddings: Embeddings | None = None,
    real: Embeddings | None = None,
    threads: int | None = None,
    category_of: Callable[[str], str] = _unknown,
    path_of: Callable[[str], str] | None = None,
) -> Iterator[QueryRecord]:
    """The records of `search_records` one after the other, so that only those of some queries are in memory at a time.

    Arguments and errors as there; what is wrong with them is said at once, before the first record is asked for.

    Examples:
        >>> index = HammingIndex(bits=3)
        >>> index.add(BinaryCodes.from_bits([[0, 0, 0]]), ids=["a"])
        >>> records = iter_records(index, BinaryCodes.from_bits([[0, 0, 1], [0, 0, 0]]))
        >>> [record["hits"][0]["distance"] for record in records]
        [1, 0]
    """
    refuse_radius(radius, together is not None, shape_ids is not None, reranking is not None)
    if reranking is not None:
        reranking.check(k, len(index))
    if index.bits in queries.prefixes:
        queries = queries.truncate(index.bits)
    index.search(queries[:0], k)  # refuses codes of another length or space, and what is no number of hits
    vectors = None if reranking is None else require_vectors(embeddings, len(queries))
    if reranking is not None and vectors is not None and reranking.vectors is None:
        vectors = real_part(vectors, queries)
    if real is not None:
        real = real_part(real, queries)
    names = [str(i) for i in range(len(queries))] if queries.id_texts is None else queries.id_texts.tolist()
    own = [""] * len(queries) if queries.categories is None else queries.categories.tolist()
    categories = [category or category_of(name) for category, name in zip(own, names, strict=True)]
    wanted = min(k if reranking is None else reranking.first, len(index))
    if radius is None:
        require_room(RECORD * wanted, f"k is {wanted:,}: the hits of a query", "ask for fewer (-k)")

    def found(rows: slice) -> Hits | RadiusHits:
        part = queries[rows]
        if radius is not None:
            return index.search_radius(part, radius, threads=threads)
        if together is not None:
            hits: Hits = index.search_together(
                part, wanted or 1, by=together, group=shape_ids, threads=threads
            )
        else:
            hits = index.search(part, wanted or 1, group=shape_ids, threads=threads)
        if reranking is None or vectors is None:
            return hits
        numbers = None if real is None else real[rows]
        return rerank(
            hits,
            vectors[rows],
            reranking,
            k,
            index=index,
            shape_ids=shape_ids,
            together=together,
            real=numbers,
        )

    def records() -> Iterator[QueryRecord]:
        for rows in _slices(len(queries), wanted, len(index), radius, together):
            hits_of = found(rows)
            scores = hits_of.scores.tolist() if isinstance(hits_of, RerankedHits) else [None] * len(hits_of)
            for number, (hits, scored) in enumerate(zip(hits_of, scores, strict=True), rows.start):
                listed = _hit_records(hits, scored, category_of, path_of, shape_ids)
                if together is None:
                    yield QueryRecord(query=names[number], category=categories[number], hits=listed)
                    continue
                more = f" and {len(names) - 1} more" if len(names) > 1 else ""
                shared = categories[0] if len(set(categories)) == 1 else ""
                yield QueryRecord(query=names[0] + more, category=shared, hits=listed, names=names)

    # the first are searched for now, so that what is wrong is said before anything is written
    rest = records()
    return chain([*islice(rest, 1)], rest)


def _slices(queries: int, k: int, items: int, radius: int | None, together: By | None) -> Iterator[slice]:
    """The queries that are searched for at a time: at most `AT_ONCE` hits, and what fits, but one at least."""
    if together is not None:
        yield slice(0, queries)
        return
    step = max(1, AT_ONCE // max(1, k if radius is None else items))
    if (
        radius is not None
    ):  # most have far fewer than all items, and many queries at a time are searched sooner
        room = available_bytes()
        step = max(step, min(RADIUS_AT_ONCE, (room or 0) // 4 // (RECORD * max(1, items))))
    first = 0
    while first < queries:
        here = step
        if radius is None and (room := available_bytes()) is not None:  # asked anew, as it changes
            here = max(1, min(step, room // 2 // (RECORD * max(1, k))))
        yield slice(first, min(first + here, queries))
        first += here


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
    path_of: Callable[[str], str] | None,
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
        if path_of is not None:
            record["path"] = path_of(record.get("shape_id") or str(hit.id))
        records.append(record)
    return records


def categories_of(table: BinaryCodes | Embeddings, path: str | Path) -> dict[str, str]:
    """The category of each row of a code or embedding file, by id.

    Args:
        table: what the file holds.
        path: the file, for messages.

    Raises:
        CodesError: if it has no ids or no categories.

    Examples:
        >>> from cmah.codes import read_codes
        >>> categories = categories_of(read_codes("demo/codes/shape.npz"), "demo/codes/shape.npz")  # of `cmah demo`
        >>> sorted(set(categories.values()))
        ['airplane', 'bed', ..., 'vase']
    """
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
