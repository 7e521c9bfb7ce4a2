"""How many rows of the files are measured, left out, and trained on: in words and as a record."""

from collections.abc import Sequence
from typing import Any

from cmah.evaluation.split_choice import ALL, splits_in_words
from cmah.evaluation.vector_files import FilePair, VectorFile


def measured_in_words(files: Sequence[FilePair], names: Sequence[str] = ()) -> list[str]:
    """What is measured of each pair of files, where something is left out or was trained on.

    Args:
        files: queries and database of each method.
        names: of the methods; none for one pair.

    Examples:
        >>> from pathlib import Path
        >>> from cmah.codes import BinaryCodes
        >>> codes = BinaryCodes.from_bits([[0, 1], [1, 1]], splits=["test", "test"])
        >>> pair = VectorFile(Path("image.npz"), codes, splits=("test",), other_splits=7), VectorFile(
        ...     Path("shape.npz"), codes, splits=("test",)
        ... )
        >>> measured_in_words([pair])
        ['measured: 2 of 9 queries, 2 of 2 items (split test); 7 queries of other splits left out; --splits all measures
        everything']
    """
    texts = [_text(*pair) for pair in files]
    if not names or len({*texts}) == 1:
        return [f"measured: {text}" for text in dict.fromkeys(texts) if text]
    return [f"measured, {name}: {text}" for name, text in zip(names, texts, strict=True) if text]


def measured_record(files: Sequence[FilePair]) -> dict[str, Any]:
    """The same as plain data: the splits, and the counts of each file; empty where no file names splits.

    Examples:
        >>> from cmah.evaluation.vector_files import read_pair
        >>> record = measured_record([read_pair("demo/codes/image.npz", "demo/codes/shape.npz")])["splits"]
        >>> record["measured"], list(record["files"][0])
        (['test'], ['file', 'rows', 'measured', 'other_splits', 'other_kinds', 'training'])
    """
    splits = files[0][0].splits
    if splits is None:
        return {}
    counts = [
        {
            "file": str(file.path),
            "rows": file.rows,
            "measured": len(file.vectors),
            "other_splits": file.other_splits,
            "other_kinds": file.other_kinds,
            "training": file.training,
        }
        for pair in files
        for file in pair
    ]
    return {"splits": {"measured": list(splits), "files": counts}}


def _text(query: VectorFile, database: VectorFile) -> str:
    """What is measured of a pair of files; "" where there is nothing to tell."""
    parts = [
        f"{_of(query, 'queries')}, {_of(database, 'items')} ({splits_in_words(query.splits)})",
        _both("", query.other_splits, database.other_splits, " of other splits left out"),
        _both("", query.other_kinds, database.other_kinds, " of other kinds left out"),
        _both("among these are ", query.training, database.training, " that were trained on (split train)"),
    ]
    if query.splits is None or not any(parts[1:]):
        return ""
    if query.splits != (ALL,) and parts[1]:
        parts.append("--splits all measures everything")
    return "; ".join(part for part in parts if part)


def _of(file: VectorFile, what: str) -> str:
    return f"{len(file.vectors)} of {file.rows} {what}"


def _both(before: str, queries: int, items: int, after: str) -> str:
    counts = [f"{count} {what}" for count, what in ((queries, "queries"), (items, "items")) if count]
    return f"{before}{' and '.join(counts)}{after}" if counts else ""
