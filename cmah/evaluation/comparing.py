"""From code files to a comparison: what `cmah eval` measures, of one pair of files or of several methods.

`evaluate_files` takes the files of queries and database, `compare_folders` a folder per method; both give a
`Comparison`, which has the text for the terminal and the JSON record.
"""

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cmah.codes import BinaryCodes
from cmah.codes.real_codes import real_file_of, real_part
from cmah.errors import CodesError
from cmah.evaluation.averaging import FIRST_HIT
from cmah.evaluation.clouds import CloudOf
from cmah.evaluation.evaluating import evaluate
from cmah.evaluation.evaluations import Evaluation, costs_of_hashing, gains_of_reranking
from cmah.evaluation.measured_rows import doubts, measured_in_words, measured_record
from cmah.evaluation.protocol import Protocol, as_protocol
from cmah.evaluation.relevance import Vectors
from cmah.evaluation.report_numbers import Report
from cmah.evaluation.report_text import comparison
from cmah.evaluation.split_choice import ALL, as_splits, splits_in_words
from cmah.evaluation.vector_files import (
    FilePair,
    code_lengths,
    files_of,
    names_of,
    read_pair,
    same_items,
)
from cmah.evaluation.voxels import Voxels
from cmah.files import require_replaceable, write_json
from cmah.search.row_vectors import views_file_of

FilesOfBoth = tuple[str | Path | None, str | Path | None]  # of queries and database
OTHER_ITEMS_BEFORE = "the codes from before training hold other items: their numbers do not compare"


@dataclass(frozen=True)
class Comparison:
    """Evaluations that stand in one table.

    Attributes:
        evaluations: one for each method, direction and code length.
        files: queries and database of each method.
        protocol: the rules.
        inputs: the paths that were given, under their names in the record: "query" and "database", or "folders".
        kind: the kind of the images that were measured, None for all.
        warnings: why numbers say little, or those of different methods do not compare.

    Examples:
        >>> result = evaluate_files("demo/codes/image.npz", "demo/codes/shape.npz", bits=[16, 64])
        >>> print(result.text(["nn"]))
                        width    mAP    ±              (worst - best)   NN
        --------------  -------  -----  -------------  ---------------  -----
        image -> shape  16 bits  0...
        image -> shape  64 bits  0...
    """

    evaluations: Sequence[Evaluation]
    files: Sequence[FilePair]
    protocol: Protocol
    inputs: dict[str, str | list[str]]
    kind: str | None = None
    warnings: Sequence[str] = ()

    def text(self, metrics: Sequence[str] = ()) -> str:
        """The table for the terminal, with what is left out and what hashing costs; `metrics` as in `comparison`."""
        lines = [
            comparison([(each.label, each.report) for each in self.evaluations], metrics),
            *self.measured(),
        ]
        lines += [
            f"cost of hashing, {each.label}, {each.report.rules.width} bits: {cost:+.3f} (float mAP - code mAP)"
            for each, cost in costs_of_hashing(self.evaluations)
        ]
        lines += [
            f"gain of re-ranking, {each.label}, {each.report.rules.width} bits: {gain:+.3f} (re-ranked mAP - code mAP)"
            for each, gain in gains_of_reranking(self.evaluations)
        ]
        return "\n".join(lines)

    def measured(self) -> list[str]:
        """How many queries and items of which splits are measured, where some are left out or were trained on.

        Examples:
            >>> evaluate_files("demo/codes/image.npz", "demo/codes/shape.npz", bits=[16]).measured()
            []
        """
        folders = self.inputs.get("folders", [])
        return measured_in_words(self.files, names_of([Path(folder) for folder in folders]))

    def record(self) -> dict[str, Any]:
        """All reports and costs of hashing as plain data, as they stand in JSON.

        Examples:
            >>> record = evaluate_files("demo/codes/image.npz", "demo/codes/shape.npz", bits=[16]).record()
            >>> record["query"], [each["direction"] for each in record["results"]]
            ('demo/codes/image.npz', ['image -> shape'])
        """
        gains = [
            {**_who(each), "bits": each.report.rules.width, "map": gain}
            for each, gain in gains_of_reranking(self.evaluations)
        ]
        return {
            **self.inputs,
            "kind": self.kind,
            **measured_record(self.files),
            **({"warnings": list(self.warnings)} if self.warnings else {}),
            "results": [{**_who(each), **each.report.to_dict()} for each in self.evaluations],
            "costs": [
                {**_who(each), "bits": each.report.rules.width, "map": cost}
                for each, cost in costs_of_hashing(self.evaluations)
            ],
            **({"gains": gains} if gains else {}),
        }

    def write(self, path: str | Path) -> None:
        """Write the record as JSON, whole or not at all."""
        write_json(path, self.record())


def refuse_to_replace(path: str | Path, inputs: Iterable[str | Path] = ()) -> None:
    """See that a record may be written to a path.

    Args:
        path: the file that is to be written.
        inputs: files that are read.

    Raises:
        CmahError: if it is one of `inputs`, or exists and is no record of `Comparison.write`.

    Examples:
        >>> refuse_to_replace("new.json")  # there is no such file yet
        >>> refuse_to_replace("demo/codes/image.npz")
        Traceback (most recent call last):
            ...
        cmah.errors.CmahError: demo/codes/image.npz: exists and is not such a file as is written here; ...
    """
    require_replaceable(path, (b'"query"', b'"folders"'), inputs)


def evaluate_files(
    query: str | Path,
    database: str | Path,
    *,
    protocol: Protocol | None = None,
    both: bool = False,
    kind: str | None = None,
    splits: str | Sequence[str] | None = None,
    bits: Sequence[int] = (),
    unhashed: tuple[str | Path, str | Path] | None = None,
    rerank_queries: str | Path | None = None,
    cloud_of: CloudOf | None = None,
    voxels: Voxels | None = None,
) -> Comparison:
    """Evaluate one file against another, at each code length.

    Args:
        query: code or embedding file of the queries.
        database: code or embedding file of the database.
        protocol: the rules; by default `Protocol()`. Where both files are one, each query is left out.
        both: measure the other direction too.
        kind: "render", "picture" or "photo": of the images only these.
        splits: names of splits, whose queries are measured among their items, or "all"; by default "test" if there are
            such queries, else "val", else what states no split (see `choose_splits`). Rows that state no split belong
            to every split; files without any are measured whole.
        bits: code lengths; by default all that both files have.
        unhashed: embedding files (.npz, .npy) of queries and database before hashing, row by row: what does hashing
            cost?
        rerank_queries: the real-valued codes of the queries, row by row, for `rerank` of the protocol; by default, and
            for the other direction, the file that `cmah export --real` writes beside their codes. Vectors to compare
            views by are read from the files that `cmah export --views` writes beside the codes of both.
        cloud_of: as in `evaluate`.
        voxels: as in `evaluate`.

    Raises:
        CodesError: naming the file, if one is not what is expected, lacks a length, holds nothing but training items
            although `splits` does not say so, or no query has a relevant item.

    Examples:
        >>> result = evaluate_files("demo/codes/image.npz", "demo/codes/shape.npz", both=True)
        >>> for each in result.evaluations:
        ...     print(f"{each.direction}, {each.width}: {each.report['map']:.3f}")
        image -> shape, 16 bits: 0...
        image -> shape, 32 bits: 0...
        image -> shape, 64 bits: 0...
        shape -> image, 16 bits: 0...
        shape -> image, 32 bits: 0...
        shape -> image, 64 bits: 0...
    """
    protocol = as_protocol(protocol)
    wanted = as_splits(splits)
    if rerank_queries is not None and protocol.rerank is None:
        raise CodesError(f"{rerank_queries}: real-valued codes are for re-ranking, which was not asked for")
    if rerank_queries is not None and protocol.rerank_by == "views":
        raise CodesError(f"{rerank_queries}: real-valued codes are for re-ranking by real or real+views")
    files = read_pair(
        query,
        database,
        kind,
        unhashed,
        wanted,
        *_files_to_rerank(query, database, protocol, both, rerank_queries),
    )
    if protocol.rerank is not None and not isinstance(files[0].vectors, BinaryCodes):
        raise CodesError(f"{query}: holds embeddings, expected codes, of which the first are re-ranked")
    _require_named(wanted, [files])
    evaluations = measure(
        files, code_lengths(files, bits), protocol, both=both, cloud_of=cloud_of, voxels=voxels
    )
    warnings = doubts([files], by_category=protocol.relevance == "category", both=both)
    inputs: dict[str, str | list[str]] = {"query": str(query), "database": str(database)}
    return Comparison(evaluations, [files], protocol, inputs, kind, warnings)


def compare_folders(
    folders: Sequence[str | Path],
    *,
    protocol: Protocol | None = None,
    kind: str | None = None,
    splits: str | Sequence[str] | None = None,
    bits: Sequence[int] = (),
    cloud_of: CloudOf | None = None,
    voxels: Voxels | None = None,
) -> Comparison:
    """Evaluate several methods in both directions; a method is a folder that cmah export or cmah hash wrote.

    What competes stands together: evaluations are sorted by direction and code length, then in order of the folders.

    Args:
        folders: each with image.npz and shape.npz, or the same with _embeddings behind the name.
        protocol: the rules; by default `Protocol()`.
        kind: "render", "picture" or "photo": of the images only these.
        splits: names of splits, whose queries are measured among their items, or "all"; by default "test" if there are
            such queries, else "val", else what states no split (see `choose_splits`). Rows that state no split belong
            to every split; files without any are measured whole.
        bits: code lengths; by default all that both files of a folder have.
        cloud_of: as in `evaluate`.
        voxels: as in `evaluate`.

    Raises:
        CodesError: as in `evaluate_files`; naming the folder, if it is given twice, is a run, or is measured on other
            splits than the first.

    Examples:
        >>> result = compare_folders(["demo/codes/untrained", "demo/codes"], bits=[64])
        >>> [each.label for each in result.evaluations][:2]
        ['untrained: image -> shape', 'codes: image -> shape']
    """
    protocol = as_protocol(protocol)
    if isinstance(folders, str | os.PathLike) or not len(folders):
        raise CodesError(f"folders are {folders!r}, expected a list of one or more paths")
    pairs = [files_of(Path(folder)) for folder in folders]
    names = names_of([Path(folder) for folder in folders])
    evaluations: list[Evaluation] = []
    wanted = as_splits(splits)
    files = [
        read_pair(*pair, kind, None, wanted, *_files_to_rerank(*pair, protocol, both=True)) for pair in pairs
    ]
    _require_named(wanted, files)
    _require_same_splits(names, files)
    warnings = doubts(files, names, by_category=protocol.relevance == "category", both=True)
    for name, pair in zip(names, files, strict=True):
        if not same_items(files[0], pair):
            warnings.append(f"{name} holds other items than {names[0]}: their numbers do not compare")
        lengths = code_lengths(pair, bits)
        evaluations += measure(
            pair, lengths, protocol, both=True, name=name, cloud_of=cloud_of, voxels=voxels
        )
    evaluations.sort(key=lambda each: (each.direction, each.report.rules.width))
    return Comparison(
        evaluations, files, protocol, {"folders": [str(folder) for folder in folders]}, kind, warnings
    )


def evaluate_before(query: str | Path, database: str | Path, after: Comparison) -> Comparison:
    """Evaluate codes from before training under the rules of those after it, on the same splits, directions, lengths.

    Raises:
        CodesError: as in `evaluate_files`.

    Examples:
        >>> after = evaluate_files("demo/codes/image.npz", "demo/codes/shape.npz", bits=[64])
        >>> files = files_of(Path("demo/codes/untrained"))
        >>> before = evaluate_before(*files, after)
        >>> [(each.direction, each.width) for each in before.evaluations]
        [('image -> shape', '64 bits')]
    """
    both = len({each.direction for each in after.evaluations}) > 1
    more = _files_to_rerank(query, database, after.protocol, both)
    files = read_pair(query, database, after.kind, None, after.files[0][0].splits or (), *more)
    warnings = [] if same_items(after.files[0], files) else [OTHER_ITEMS_BEFORE]
    widths = {each.report.rules.width for each in after.evaluations}
    lengths = [length for length in code_lengths(files) if length is None or length in widths]
    evaluations = measure(files, lengths, after.protocol, both=both)
    inputs: dict[str, str | list[str]] = {"query": str(query), "database": str(database)}
    return Comparison(evaluations, [files], after.protocol, inputs, after.kind, warnings)


def measure(
    files: FilePair,
    lengths: Sequence[int | None],
    protocol: Protocol,
    *,
    both: bool = False,
    name: str = "",
    cloud_of: CloudOf | None = None,
    voxels: Voxels | None = None,
) -> list[Evaluation]:
    """Evaluate one direction or both at each length, and the embeddings before hashing where they are given.

    Args:
        files: queries and database.
        lengths: as `code_lengths` gives them.
        protocol: the rules. Where both files are one, each query is left out, with or without ids.
        both: measure the other direction too.
        name: of the method or run.
        cloud_of: as in `evaluate`.
        voxels: as in `evaluate`.

    Raises:
        CodesError: naming the file, for a length it does not have, or if no query has a relevant item.

    Examples:
        >>> files = read_pair("demo/codes/image.npz", "demo/codes/shape.npz")
        >>> [each.label for each in measure(files, [16], Protocol(), both=True, name="CMAH")]
        ['CMAH: image -> shape', 'CMAH: shape -> image']
    """
    names = [file.vectors.modality or role for file, role in zip(files, ("query", "database"), strict=True)]
    if protocol.exclude_self is None and files[0].path.resolve() == files[1].path.resolve():
        protocol = replace(protocol, exclude_self=True)
    evaluations = []
    for a, b in [(0, 1), (1, 0)] if both else [(0, 1)]:
        query, database = files[a], files[b]
        pairs: list[tuple[Vectors, Vectors]] = [
            (query.truncated(length), database.truncated(length)) for length in lengths
        ]
        if query.unhashed is not None and database.unhashed is not None:
            pairs.append((query.unhashed, database.unhashed))
        for queries, items in pairs:
            plain = replace(protocol, rerank=None, rerank_by="real")
            real, views, of_codes, rules = None, None, None, plain  # embeddings are ranked once
            if protocol.rerank is not None and isinstance(queries, BinaryCodes):
                rules = protocol
                real = None if query.real is None else real_part(query.real, queries, query.path)
                if query.views is not None and database.views is not None:
                    views = query.views, database.views
                plain = replace(plain, bootstrap=0, mi3dor=False)
                of_codes = evaluate(queries, items, protocol=plain)["map"]
            report = evaluate(
                queries, items, protocol=rules, real=real, views=views, cloud_of=cloud_of, voxels=voxels
            )
            if report.rules.left_out == report.rules.queries and not _has_first_hits(report):
                raise CodesError(
                    f"{query.path}: none of the {report.rules.queries} queries has a relevant item in "
                    f"{database.path} (relevant: the same {report.rules.relevance})"
                )
            direction = f"{names[a]} -> {names[b]}"
            evaluations.append(Evaluation(direction, queries, items, report, name, real, of_codes, views))
    return evaluations


def _files_to_rerank(
    query: str | Path, database: str | Path, protocol: Protocol, both: bool, queries: str | Path | None = None
) -> tuple[FilesOfBoth, FilesOfBoth]:
    """The files that re-ranking needs, which lie beside the codes.

    Returns:
        Those of the real-valued codes of the queries of each direction, or `queries` in the place of the first; those
        of vectors of views.
    """
    real: FilesOfBoth = None, None
    views: FilesOfBoth = None, None
    if protocol.rerank is not None:
        if protocol.rerank_by != "views":
            real = queries or real_file_of(query), real_file_of(database) if both else None
        if protocol.rerank_by != "real":
            views = views_file_of(query), views_file_of(database)
    return real, views


def _require_named(splits: tuple[str, ...], files: Sequence[FilePair]) -> None:
    """Refuse names of splits where no file names any."""
    if splits not in ((), (ALL,)) and all(query.splits is None for query, _ in files):
        paths = [str(file.path) for pair in files for file in pair]
        raise CodesError(
            f"splits {', '.join(splits)}: neither {' nor '.join(paths)} names splits of its rows"
        )


def _require_same_splits(names: Sequence[str], files: Sequence[FilePair]) -> None:
    """Refuse methods that would be measured on different splits; files that name none are measured whole."""
    first: tuple[str, tuple[str, ...]] | None = None
    for name, (query, _) in zip(names, files, strict=True):
        if query.splits is None:
            continue
        first = first or (name, query.splits)
        if query.splits != first[1]:
            raise CodesError(
                f"{name} would be measured on {splits_in_words(query.splits)}, {first[0]} on "
                f"{splits_in_words(first[1])}; say which with --splits NAME"
            )


def _has_first_hits(report: Report) -> bool:
    """Whether other shapes stand in for those looked for, and the first of them was measured."""
    return report.rules.relevance == "instance" and any(
        not math.isnan(report.values.get(name, math.nan)) for name in FIRST_HIT
    )


def _who(evaluation: Evaluation) -> dict[str, str]:
    name = {"name": evaluation.name} if evaluation.name else {}
    return {**name, "direction": evaluation.direction}
