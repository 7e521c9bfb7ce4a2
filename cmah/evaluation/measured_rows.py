"""How many rows of the files are measured, left out, and trained on: in words and as a record."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cmah.codes import BinaryCodes
from cmah.evaluation.split_choice import ALL, splits_in_words
from cmah.evaluation.vector_files import FilePair, VectorFile

FEW = 10  # queries or items, below which numbers say little


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


def doubts(
    files: Sequence[FilePair], names: Sequence[str] = (), *, by_category: bool = True, both: bool = False
) -> list[str]:
    """Why the numbers say little: items of one category only, few queries or items, or few different codes.

    Args:
        files: queries and database of each method.
        names: of the methods; none for one pair.
        by_category: whether an item is relevant if it is of the query's category.
        both: whether the queries are a database too.

    Examples:
        >>> from pathlib import Path
        >>> codes = VectorFile(Path("x.npz"), BinaryCodes.from_bits([[0, 1]] * 20, categories=["mug"] * 20))
        >>> doubts([(codes, codes)])
        ['all 20 items are of one category, so that every ranking is right: nothing is measured']
    """
    methods: dict[str, list[str]] = {}
    for pair, name in zip(files, names or [""] * len(files), strict=True):
        texts = [_one_category(file) for file in (pair if both else pair[1:])] if by_category else []
        counts = [len(file.vectors) for file in pair]
        if min(counts) < FEW:
            texts.append(f"only {counts[0]} queries and {counts[1]} items: the numbers say little")
        texts += [_few_codes(file) for file in (pair if both else pair[1:])]
        for text in filter(None, dict.fromkeys(texts)):
            methods.setdefault(text, []).append(name)
    return [
        text if len(of) == len(files) else f"{', '.join(dict.fromkeys(of))}: {text}"
        for text, of in methods.items()
    ]


def _one_category(database: VectorFile) -> str:
    """That all items of a database are of one category; "" if they are not, or have none."""
    categories, count = database.vectors.categories, len(database.vectors)
    if categories is None or categories.ndim > 1 or len(np.unique(categories)) != 1 or not categories[0]:
        return ""
    return f"all {count} items are of one category, so that every ranking is right: nothing is measured"


def _few_codes(database: VectorFile) -> str:
    """That most items of a database share their code with others although there are codes enough, else ""."""
    codes = database.vectors
    if not isinstance(codes, BinaryCodes) or len(codes) < FEW or 2.0**codes.bits <= 4 * len(codes):
        return ""
    different = len(np.unique(codes.packed, axis=0))
    return f"{different} different codes among {len(codes)} items" if 2 * different < len(codes) else ""


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
