"""Records of hits as text, written one query after the other: a table for people, CSV, or JSON."""

import csv
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cmah.search.hit_records import HitRecord, QueryRecord
from cmah.spreadsheets import guarded

ROWS = 4096  # that are written at a time
Write = Callable[[str], Any]


class HitWriter(ABC):
    """Writes records as they come; nothing of them is kept.

    Args:
        write: takes each piece of text.

    Examples:
        >>> hit = HitRecord(rank=1, id="a", distance=1, position=0, category="chair")
        >>> pieces = []
        >>> writer = TableWriter(pieces.append)
        >>> writer.add(QueryRecord(query="q", category="", hits=[hit]))
        >>> writer.end()
        >>> print("".join(pieces), end="")
        q
            1  a     1 bits  chair
    """

    def __init__(self, write: Write) -> None:
        self.write = write

    @abstractmethod
    def add(self, record: QueryRecord) -> None:
        """Write the hits of a query."""

    def end(self, rest: Mapping[str, Any] | None = None) -> None:  # noqa: B027, most have nothing to end
        """Write what comes after the hits; `rest` is what JSON has beside them."""

    def fail(self, reason: str) -> None:  # noqa: B027, as `end`
        """Write what makes the text whole where the search ended after some hits; `reason` says why."""


class TableWriter(HitWriter):
    """A line for each query, and below it a line for each hit: rank, id, distance, category, path.

    Examples:
        >>> pieces = []
        >>> TableWriter(pieces.append).add(QueryRecord(query="q", category="", hits=[]))
        >>> pieces
        ['q\\n', '       no hit\\n']
    """

    def add(self, record: QueryRecord) -> None:
        """Write the hits of a query."""
        category = f"  ({record['category']})" if record["category"] else ""
        self.write(f"{record['query']}{category}\n")
        hits = record["hits"]
        width, of_shapes, of_categories = (
            max((len(str(hit.get(key, ""))) for hit in hits), default=0)
            for key in ("id", "shape_id", "category")
        )
        for hit in hits:
            shape = f"{hit['shape_id']:<{of_shapes}}  " if "shape_id" in hit else ""
            bits = f"{hit['distance']:4d}" if isinstance(hit["distance"], int) else f"{hit['distance']:7.2f}"
            score = f"{hit['score']:7.4f}  " if "score" in hit else ""
            last = hit["category"]
            if hit.get("path"):
                last = f"{last:<{of_categories}}  {hit['path']}" if of_categories else hit["path"]
            line = f"{hit['rank']:5d}  {shape}{hit['id']!s:<{width}}  {bits} bits  {score}{last}"
            self.write(f"{line.rstrip()}\n")
        if not hits:
            self.write("       no hit\n")


class CsvWriter(HitWriter):
    """CSV with a header and a row for each hit: query, rank, id, distance, category.

    In a search for shapes there is one column more, shape_id, with re-ranking another, score, and where paths are known
    a last one, path. Text that a spreadsheet would take for a formula has an apostrophe before it
    (`cmah.spreadsheets`).

    Examples:
        >>> pieces = []
        >>> writer = CsvWriter(pieces.append)
        >>> hit = HitRecord(rank=1, id="=a", distance=1, position=0, category="chair")
        >>> writer.add(QueryRecord(query="q", category="", hits=[hit]))
        >>> print("".join(pieces), end="")
        query,rank,id,distance,category
        q,1,'=a,1,chair
    """

    def __init__(self, write: Write) -> None:
        super().__init__(write)
        self._columns: list[str] = []

    def add(self, record: QueryRecord) -> None:
        """Write the hits of a query."""
        if not record["hits"]:
            return
        if not self._columns:  # all hits of a search have the same keys
            self._columns = self._header(record["hits"][0])
            self._write_rows([["query", *self._columns]])
        query, columns = guarded(record["query"]), self._columns
        for first in range(0, len(record["hits"]), ROWS):
            part = record["hits"][first : first + ROWS]
            self._write_rows([[query, *(guarded(hit.get(column)) for column in columns)] for hit in part])

    def end(self, rest: Mapping[str, Any] | None = None) -> None:
        """Write the header, if there was no hit."""
        if not self._columns:
            self._write_rows([["query", *self._header({})]])

    @staticmethod
    def _header(hit: HitRecord | Mapping[str, Any]) -> list[str]:
        further = [column for column in ("shape_id", "score", "path") if column in hit]
        return ["rank", "id", "distance", "category", *further]

    def _write_rows(self, rows: Sequence[Sequence[object]]) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(rows)
        self.write(text.getvalue())


class JsonWriter(HitWriter):
    """One JSON object: "queries", the records, and then what `end` is given.

    It is whole once `end` or `fail` has been called.

    Examples:
        >>> pieces = []
        >>> writer = JsonWriter(pieces.append)
        >>> writer.add(QueryRecord(query="q", category="", hits=[]))
        >>> writer.end({"skipped": []})
        >>> json.loads("".join(pieces))
        {'queries': [{'query': 'q', 'category': '', 'hits': []}], 'skipped': []}
    """

    def __init__(self, write: Write) -> None:
        super().__init__(write)
        self._encoder = json.JSONEncoder(indent=1)
        self._begun = False

    def add(self, record: QueryRecord) -> None:
        """Write the hits of a query."""
        self.write(",\n  " if self._begun else '{\n "queries": [\n  ')
        self._begun = True
        self._value(record, 2)

    def end(self, rest: Mapping[str, Any] | None = None) -> None:
        """Write the rest of the object."""
        self.write("\n ]" if self._begun else '{\n "queries": []')
        for key, value in (rest or {}).items():
            self.write(f",\n {json.dumps(key)}: ")
            self._value(value, 1)
        self.write("\n}\n")

    def fail(self, reason: str) -> None:
        """Write the rest of an object that was begun, with the key "error" in place of what `end` is given."""
        if self._begun:
            self.end({"error": reason})

    def _value(self, value: Any, depth: int) -> None:
        """Write a value piece by piece, indented as it is within the whole object; text has no line breaks in JSON."""
        indentation = "\n" + " " * depth
        for piece in self._encoder.iterencode(value):
            self.write(piece.replace("\n", indentation))


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
        >>> hit |= {"distance": 12, "score": 0.5, "path": "/meshes/a.obj"}
        >>> print(records_table([QueryRecord(query="q", category="", hits=[hit])]))
        q
            1  a  a_0    12 bits   0.5000  chair  /meshes/a.obj
    """
    return _text(TableWriter, records).removesuffix("\n")


def records_csv(records: Sequence[QueryRecord]) -> str:
    """The records as CSV, see `CsvWriter`.

    Examples:
        >>> hit = HitRecord(rank=1, id="a", distance=1, position=0, category="chair")
        >>> print(records_csv([QueryRecord(query="q", category="", hits=[hit])]), end="")
        query,rank,id,distance,category
        q,1,a,1,chair
    """
    return _text(CsvWriter, records)


def _text(kind: type[HitWriter], records: Sequence[QueryRecord]) -> str:
    pieces: list[str] = []
    writer = kind(pieces.append)
    for record in records:
        writer.add(record)
    writer.end()
    return "".join(pieces)
