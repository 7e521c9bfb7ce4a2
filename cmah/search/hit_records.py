"""The hits of queries as plain records with categories, and as text: a table or CSV."""

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypedDict

from cmah.codes import BinaryCodes, read_codes
from cmah.errors import CodesError
from cmah.search.index import HammingIndex


class HitRecord(TypedDict):
    """A hit: its rank from 1, its id, Hamming distance, place in the index, and category ("" where unknown).

    Examples:
        >>> hit = HitRecord(rank=1, id="chair_000", distance=3, position=7, category="chair")
        >>> hit["id"], hit["distance"]
        ('chair_000', 3)
    """

    rank: int
    id: int | str
    distance: int
    position: int
    category: str


class QueryRecord(TypedDict):
    """A query with its id (or number), its category ("" where unknown) and its hits, nearest first.

    Examples:
        >>> hit = HitRecord(rank=1, id="chair_000", distance=3, position=7, category="chair")
        >>> record = QueryRecord(query="photo.jpg", category="", hits=[hit])
        >>> [found["category"] for found in record["hits"]]
        ['chair']
    """

    query: str
    category: str
    hits: list[HitRecord]


def _unknown(_: str) -> str:
    return ""


def search_records(
    index: HammingIndex,
    queries: BinaryCodes,
    k: int = 10,
    *,
    radius: int | None = None,
    threads: int | None = None,
    category_of: Callable[[str], str] = _unknown,
) -> list[QueryRecord]:
    """Search an index and give the hits as plain records, ready for JSON.

    Args:
        index: what is searched.
        queries: of the index's length, or nested codes that can be cut to it.
        k: hits per query, 1 or more.
        radius: all hits at most so many bits away, in place of the k nearest.
        threads: how many to search with; None for one per core.
        category_of: the category of an item or a query by its id, "" where unknown. A query's own category, where
            `queries` has one, comes first.

    Raises:
        CodesError: for queries of another length or space than the index's.

    Examples:
        >>> index = HammingIndex(bits=3)
        >>> index.add(BinaryCodes.from_bits([[0, 0, 0]]), ids=["a"])
        >>> search_records(index, BinaryCodes.from_bits([[0, 0, 1]]))[0]["hits"]
        [{'rank': 1, 'id': 'a', 'distance': 1, 'position': 0, 'category': ''}]
    """
    if index.bits in queries.prefixes:
        queries = queries.truncate(index.bits)
    if radius is None:
        hits_of_queries = iter(index.search(queries, k, threads=threads))
    else:
        hits_of_queries = iter(index.search_radius(queries, radius, threads=threads))
    names = [str(i) for i in range(len(queries))] if queries.ids is None else queries.ids.tolist()
    categories = [""] * len(queries) if queries.categories is None else queries.categories.tolist()
    records = []
    for name, category, hits in zip(names, categories, hits_of_queries, strict=True):
        rows = [
            HitRecord(
                rank=rank,
                id=hit.id,
                distance=hit.distance,
                position=hit.position,
                category=category_of(str(hit.id)),
            )
            for rank, hit in enumerate(hits, start=1)
        ]
        records.append(QueryRecord(query=name, category=category or category_of(name), hits=rows))
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
    if table.ids is None or table.categories is None:
        raise CodesError(f"{path}: has no ids or no categories")
    return dict(zip(table.ids.tolist(), table.categories.tolist(), strict=True))


def records_table(records: Sequence[QueryRecord]) -> str:
    """The records as text for people: a line for each query, and below it a line for each hit.

    Examples:
        >>> hit = HitRecord(rank=1, id="a", distance=1, position=0, category="chair")
        >>> print(records_table([QueryRecord(query="q", category="", hits=[hit])]))
        q
            1  a     1 bits  chair
    """
    lines = []
    for record in records:
        category = f"  ({record['category']})" if record["category"] else ""
        lines.append(f"{record['query']}{category}")
        width = max((len(str(hit["id"])) for hit in record["hits"]), default=0)
        for hit in record["hits"]:
            line = f"{hit['rank']:5d}  {hit['id']!s:<{width}}  {hit['distance']:4d} bits  {hit['category']}"
            lines.append(line.rstrip())
        if not record["hits"]:
            lines.append("       no hit")
    return "\n".join(lines)


def records_csv(records: Sequence[QueryRecord]) -> str:
    """The records as CSV with a header: query, rank, id, distance, category; a row for each hit.

    Examples:
        >>> hit = HitRecord(rank=1, id="a", distance=1, position=0, category="chair")
        >>> print(records_csv([QueryRecord(query="q", category="", hits=[hit])]), end="")
        query,rank,id,distance,category
        q,1,a,1,chair
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["query", "rank", "id", "distance", "category"])
    for record in records:
        for hit in record["hits"]:
            writer.writerow([record["query"], hit["rank"], hit["id"], hit["distance"], hit["category"]])
    return text.getvalue()
