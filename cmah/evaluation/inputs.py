"""From code files to results: which rows, of which lengths, in which directions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cmah.codes import BinaryCodes, Embeddings, read_codes
from cmah.codes.npz import read_npy
from cmah.errors import CodesError
from cmah.evaluation.findings import Result, Rows
from cmah.evaluation.protocol import evaluate


@dataclass(frozen=True)
class Side:
    """Queries or database as they are measured.

    Attributes:
        path: the file.
        rows: of the kind that was asked for.
        floats: embeddings of the same rows before hashing, where they are given.
    """

    path: Path
    rows: Rows
    floats: Embeddings | None = None


def read_sides(
    paths: tuple[Path, Path], kind: str | None = None, floats: tuple[Path, Path] | None = None
) -> list[Side]:
    """Read queries and database.

    Args:
        paths: code or embedding files of both.
        kind: "render", "picture" or "photo": of the images only these; shapes are of no kind and stay.
        floats: embedding files (.npz, .npy) with the same rows in the same order.

    Raises:
        CodesError: naming the file that is not what is expected, or has no row of the kind.
    """
    sides = []
    for number, path in enumerate(paths):
        rows = read_codes(path)
        before = _floats(floats[number], rows, path) if floats else None
        chosen = _of_kind(rows, kind, path)
        sides.append(Side(path, rows[chosen], None if before is None else before[chosen]))
    if kind and all(side.rows.modality == "shape" for side in sides):
        raise CodesError(f"--kind {kind}: neither {paths[0]} nor {paths[1]} holds images")
    return sides


def code_lengths(sides: Sequence[Side], bits: Sequence[int] = ()) -> list[int | None]:
    """The code lengths to measure: `bits`, or all that both sides have; None alone for embeddings.

    Raises:
        CodesError: if they have none in common, or `bits` are given for embeddings.
    """
    prefixes = [set(side.rows.prefixes) for side in sides if isinstance(side.rows, BinaryCodes)]
    if len(prefixes) < len(sides):
        if bits:
            raise CodesError("--bits is for codes, not for embeddings")
        return [None]
    lengths: list[int | None] = [*(bits or sorted(set.intersection(*prefixes)))]
    if not lengths:
        texts = [
            f"{side.path} has codes of {sorted(known)} bits"
            for side, known in zip(sides, prefixes, strict=True)
        ]
        raise CodesError(", ".join(texts))
    return lengths


def measure(
    sides: Sequence[Side],
    lengths: Sequence[int | None],
    *,
    both: bool = False,
    name: str = "",
    **settings: Any,
) -> list[Result]:
    """Evaluate one direction or both at each length, and the floats where they are given.

    Args:
        sides: queries and database.
        lengths: as `code_lengths` gives them.
        both: measure the other direction too.
        name: of the method or run.
        **settings: of `evaluate`.

    Raises:
        CodesError: naming the file, for a length it does not have, or if no query has a relevant item.
    """
    names = [side.rows.modality or what for side, what in zip(sides, ("query", "database"), strict=True)]
    results = []
    for a, b in [(0, 1), (1, 0)] if both else [(0, 1)]:
        direction = f"{names[a]} -> {names[b]}"
        pairs: list[tuple[Rows, Rows]] = [
            (_cut(sides[a], length), _cut(sides[b], length)) for length in lengths
        ]
        floats = sides[a].floats, sides[b].floats
        if floats[0] is not None and floats[1] is not None:
            pairs.append((floats[0], floats[1]))
        itself = sides[a].path.resolve() == sides[b].path.resolve()  # then a query is known without ids
        for query, database in pairs:
            report = evaluate(query, database, exclude_self=True if itself else None, **settings)
            if report.rules.left_out == report.rules.queries:
                raise CodesError(
                    f"{sides[a].path}: none of the {report.rules.queries} queries has a relevant item in "
                    f"{sides[b].path} (relevant: the same {report.rules.relevance})"
                )
            results.append(Result(direction, query, database, report, name))
    return results


def names_of(folders: Sequence[Path]) -> list[str]:
    """A short name for each folder: the part of its path that tells it from the others, as "a" of RUNS/a/codes.

    Raises:
        CodesError: if one is given twice.
    """
    parts = [folder.resolve().parts for folder in folders]
    if len({*parts}) < len(parts):
        twice = next(folder for folder, path in zip(folders, parts, strict=True) if parts.count(path) > 1)
        raise CodesError(f"{twice}: the folder is given twice")
    while len(parts) > 1 and len({path[-1] for path in parts}) == 1 and min(map(len, parts)) > 1:
        parts = [path[:-1] for path in parts]
    count = 1
    while len({path[-count:] for path in parts}) < len(parts):
        count += 1
    return ["/".join(path[-count:]) for path in parts]


def same_rows(a: Sequence[Side], b: Sequence[Side]) -> bool:
    """Whether two pairs of sides hold the same items, as far as their ids tell; only then can they be compared."""
    for one, other in zip(a, b, strict=True):
        ids = one.rows.ids, other.rows.ids
        if len(one.rows) != len(other.rows):
            return False
        if ids[0] is not None and ids[1] is not None and sorted(ids[0]) != sorted(ids[1]):
            return False
    return True


def _floats(path: Path, codes: Rows, other: Path) -> Embeddings:
    """The embeddings of the same rows as the codes."""
    if not isinstance(codes, BinaryCodes):
        raise CodesError(f"{other}: holds embeddings, expected codes to compare with {path}")
    rows = Embeddings(read_npy(path)) if path.suffix == ".npy" else Embeddings.load(path)
    if len(rows) != len(codes):
        raise CodesError(f"{path}: {len(rows)} rows, expected {len(codes)} as in {other}")
    if rows.ids is not None and codes.ids is not None and (rows.ids != codes.ids).any():
        row = int((rows.ids != codes.ids).argmax())
        raise CodesError(
            f"{path}: row {row} is {str(rows.ids[row])!r}, but {str(codes.ids[row])!r} in {other}"
        )
    # what is known of a row is taken from the codes, so that both are measured alike
    known = ("ids", "shape_ids", "categories", "kinds", "splits", "modality")
    return replace(rows, **{name: getattr(codes, name) for name in known})


def _of_kind(rows: Rows, kind: str | None, path: Path) -> np.ndarray:
    """Which rows are of a kind, bool [n]; shapes are of no kind and stay."""
    if kind is None or rows.modality == "shape":
        return np.ones(len(rows), dtype=bool)
    if rows.kinds is None:
        raise CodesError(f"{path}: does not name the kinds of its rows, which --kind needs")
    chosen = rows.kinds == kind
    if not chosen.any():
        raise CodesError(f"{path}: has no {kind} (it has: {', '.join(sorted(set(rows.kinds.tolist())))})")
    return np.asarray(chosen)


def _cut(side: Side, bits: int | None) -> Rows:
    if bits is None or not isinstance(side.rows, BinaryCodes):
        return side.rows
    try:
        return side.rows.truncate(bits)
    except CodesError as error:
        raise CodesError(f"{side.path}: {error}") from None
