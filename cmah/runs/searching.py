"""Searching an index by files or codes, with categories and pictures of a dataset, and an HTML sheet of the hits."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cmah.codes import BinaryCodes, Embeddings, read_codes
from cmah.codes.file_hashing import read_embeddings
from cmah.errors import CmahError, DatasetError
from cmah.file_names import readable_text
from cmah.files import Skipped, read_json
from cmah.report.hits_page import refuse_to_replace
from cmah.runs.item_details import ItemDetails
from cmah.search import HammingIndex
from cmah.search.hit_records import (
    QueryRecord,
    categories_of,
    iter_records,
    refuse_radius,
    shape_ids_of_items,
)
from cmah.search.item_vectors import vectors_of_queries
from cmah.search.reranking import SCORES, Reranking
from cmah.search.together import By, check_by

if TYPE_CHECKING:
    from cmah.runs.hit_sheet import HitSheet


def search_files(
    index: str | Path,
    run: str | Path,
    files: Sequence[str | Path],
    k: int = 10,
    *,
    radius: int | None = None,
    together: By | None = None,
    per_shape: bool = False,
    threads: int | None = None,
    up: str = "y",
    device: str = "cpu",
    verify: bool = False,
    database: str | Path | None = None,
    dataset: str | Path | None = None,
    sheet: str | Path | None = None,
    reranking: Reranking | None = None,
    workers: int | None = None,
    report: Callable[[str], None] | None = None,
    write: Callable[[QueryRecord], None] | None = None,
) -> tuple[list[QueryRecord], Skipped]:
    """Encode photos, meshes and point clouds with a run and search an index for them.

    Args:
        index: the index file.
        run: folder that `train` wrote.
        files: pictures, meshes, or `.npy` point clouds, any number of them; a folder stands for all pictures and meshes
            in it and below it.
        k: hits per query.
        radius: all hits at most so many bits away, in place of the k nearest.
        together: take all files as photos of one object: rank items by their "mean" or "least" distance from them.
        per_shape: give each shape once, by its nearest item; which item shows which shape is read from `database`.
        threads: how many to search with; None for one per core.
        up: "y" or "z", the up axis of meshes and point clouds.
        device: "auto", "cpu", "cuda" or "cuda:N", to encode on.
        verify: read weights files anew instead of trusting the digests that the cache remembers.
        database: code file with ids and categories, from which the hits' categories are taken; with `per_shape` the
            file that the index was made from, with shape ids.
        dataset: dataset folder, from which categories, paths and pictures are taken; None: the one that `database`
            was exported from, else the one that the run was trained on. If that one is gone, or is not that of the
            items, they stay unknown, and `report` is told.
        sheet: HTML page of queries and hits to write; needs a dataset.
        reranking: how the nearest items are put in order of a score of real vectors, of which the first `k` are given;
            those of the queries, and for "attention" the weight, are the run's.
        workers: processes that read the files, see `Encoder.encode_files`.
        report: called with a line for each file that is skipped, each folder, and other remarks.
        write: called with the record of each query, one after the other; none is kept then, which bounds the memory,
            and the list that is returned is empty.

    Returns:
        The hits of each file that could be read, and (path, reason) of the others. The queries are named by their paths
        (see `cmah.file_names.readable_name`).

    Raises:
        CmahError: if no file could be read, an input cannot be used, or there are more hits than there is memory for.

    Examples:
        A shape of the index finds itself by its file of points.

        >>> from cmah.data.dataset import Dataset
        >>> dataset = Dataset.read("demo/dataset").select("test")
        >>> points = dataset.file(dataset.shapes[0].points)
        >>> records, skipped = search_files("demo/shapes.cmah", "demo/run", [points], k=3)
        >>> [hit["rank"] for hit in records[0]["hits"]]
        [1, 2, 3]
        >>> records[0]["hits"][0]["distance"]
        0
    """
    remark = report or (lambda line: None)
    search = _Search(
        index,
        database,
        dataset,
        sheet,
        radius,
        together,
        per_shape,
        reranking,
        k,
        run=Path(run),
        report=remark,
    )
    from cmah.runs.query_files import query_files

    queries_of, refused, lines = query_files(files)
    for line in lines:
        remark(line)
    from cmah.runs.encoder import Encoder

    encoder = Encoder.load(run, device=device, verify=verify)
    if reranking is not None and reranking.by == "attention" and reranking.weight is None:
        search.reranking = replace(reranking, weight=encoder.attention_weight())
    names = [file.name for file in queries_of]
    queries, embeddings, skipped = encoder.encode_queries(
        queries_of,
        names,
        up,
        workers=workers,
        label="queries",
        refused=refused,
        embeddings=reranking is not None,
    )
    for _, reason in skipped:
        remark(f"skipped {readable_text(reason)}")
    given = len(queries_of) + len(refused)
    if not len(queries):
        raise CmahError(f"none of the {given} files could be read")
    if skipped:
        remark(f"{len(skipped):,} of {given:,} files were skipped")
    return search.go(queries, embeddings, k, threads, up, write), skipped


def search_codes(
    index: str | Path,
    codes: str | Path,
    k: int = 10,
    *,
    radius: int | None = None,
    together: By | None = None,
    per_shape: bool = False,
    threads: int | None = None,
    up: str = "y",
    database: str | Path | None = None,
    dataset: str | Path | None = None,
    sheet: str | Path | None = None,
    reranking: Reranking | None = None,
    rerank_queries: str | Path | None = None,
    report: Callable[[str], None] | None = None,
    write: Callable[[QueryRecord], None] | None = None,
) -> list[QueryRecord]:
    """Search an index for the codes of a code file; loads no torch. Arguments and errors as in `search_files`.

    Args:
        index: the index file.
        codes: code file of the queries.
        k: hits per query.
        radius: all hits at most so many bits away, in place of the k nearest.
        together: take all rows as photos of one object: rank items by their "mean" or "least" distance from them.
        per_shape: give each shape once, by its nearest item; which item shows which shape is read from `database`.
        threads: how many to search with; None for one per core.
        up: "y" or "z", the up axis of queries that are named like a mesh or point cloud, for their pictures.
        database: code file with ids and categories, from which the hits' categories are taken; with `per_shape` the
            file that the index was made from, with shape ids.
        dataset: dataset folder, from which categories, paths and pictures are taken; None: the one that `database`,
            else `codes`, was exported from, where the file says so.
        sheet: HTML page of queries and hits to write; needs a dataset.
        reranking: how the nearest items are put in order of a score of real vectors, of which the first `k` are given.
        rerank_queries: embedding file of the queries, which `reranking` needs; rows are found by their ids, or where
            one of the files has none taken in order.
        report: called with each remark.
        write: called with the record of each query, see `search_files`.

    Examples:
        Every shape finds itself, or one of the same code.

        >>> records = search_codes("demo/shapes.cmah", "demo/codes/shape.npz", k=1)
        >>> {record["hits"][0]["distance"] for record in records}
        {0}
    """
    queries, embeddings = BinaryCodes.load(codes), None
    search = _Search(
        index, database, dataset, sheet, radius, together, per_shape, reranking, k,
        codes=(Path(codes), queries.dataset), report=report or (lambda line: None),
    )  # fmt: skip
    if reranking is None and rerank_queries is not None:
        raise CmahError(f"{rerank_queries}: vectors of queries are for re-ranking, which was not asked for")
    if rerank_queries is not None:
        embeddings = vectors_of_queries(queries, read_embeddings(rerank_queries), rerank_queries)
    return search.go(queries, embeddings, k, threads, up, write)


class _Search:
    """An index with what is known of its items; bad inputs are refused before any query is encoded."""

    def __init__(
        self,
        index: str | Path,
        database: str | Path | None,
        dataset: str | Path | None,
        sheet: str | Path | None,
        radius: int | None,
        together: By | None,
        per_shape: bool,
        reranking: Reranking | None,
        k: int,
        *,
        run: Path | None = None,
        codes: tuple[Path, str] | None = None,
        report: Callable[[str], None],
    ) -> None:
        if sheet is not None:
            refuse_to_replace(sheet)
        refuse_radius(radius, together is not None, per_shape, reranking is not None)
        if together is not None:
            check_by(together)
        self.radius, self.together, self.reranking, self.report = radius, together, reranking, report
        self.index = HammingIndex.open(index)
        if reranking is not None:
            reranking.check(k, len(self.index))
        self.categories: dict[str, str] = {}
        self.shape_ids: np.ndarray | None = None
        exported = ""  # the dataset that the database was exported from
        if per_shape:
            exported = self._read_shapes(database)
        elif database is not None:
            exported = self._read_categories(database)
        self.details = self._details_of(dataset, database, exported, codes, run)
        self.sheet: HitSheet | None = None
        if sheet is not None:
            if self.details is None:
                raise CmahError(
                    f"{sheet}: a sheet needs a dataset folder, from which the pictures are taken, and neither the run "
                    "nor a code file names one that is there; give --dataset"
                )
            from cmah.runs import hit_sheet

            self.sheet = hit_sheet.HitSheet(sheet, self.details.root)

    def _read_categories(self, database: str | Path) -> str:
        """Take the categories of the index's items from its code file; the dataset that it names, or ""."""
        table = read_codes(database)
        self.categories = categories_of(table, database)
        return table.dataset

    def _read_shapes(self, database: str | Path | None) -> str:
        """Take the shape ids of the index's items from its code file, and the categories if it has any."""
        if database is None:
            raise CmahError(
                "a search that gives each shape once needs the code file of the index, with shape ids"
            )
        table = read_codes(database)
        self.shape_ids = shape_ids_of_items(self.index, table, database)
        if table.id_texts is not None and table.categories is not None:
            self.categories = categories_of(table, database)
        return table.dataset

    def _details_of(
        self,
        dataset: str | Path | None,
        database: str | Path | None,
        exported: str,
        codes: tuple[Path, str] | None,
        run: Path | None,
    ) -> ItemDetails | None:
        """What the dataset says of the items: the one given, else the one that a file or the run names."""
        if dataset is not None:
            return ItemDetails(dataset)
        if self.index.id_kind != "text":  # no dataset has rows of such ids
            return None
        file, named = (str(database), exported) if exported else ("", "")
        if not named and codes is not None:
            file, named = str(codes[0]), codes[1]
        if not named and run is not None:
            file, named = str(run), dataset_of_run(run)
        if not named:
            return None
        try:
            return ItemDetails(named)
        except DatasetError as error:
            self.report(
                f"categories and paths of hits are not known: {file} names its dataset, but {error}; give --dataset"
            )
            return None

    def category_of(self, name: str) -> str:
        return self.categories.get(name) or (self.details.category(name) if self.details else "")

    def go(
        self,
        queries: BinaryCodes,
        embeddings: Embeddings | None,
        k: int,
        threads: int | None,
        up: str,
        write: Callable[[QueryRecord], None] | None,
    ) -> list[QueryRecord]:
        """Search; the records, unless they are written one after the other."""
        records = iter_records(
            self.index,
            queries,
            k,
            radius=self.radius,
            together=self.together,
            shape_ids=self.shape_ids,
            reranking=self.reranking,
            embeddings=embeddings,
            threads=threads,
            category_of=self.category_of,
            path_of=self.details.path if self.details else None,
        )
        kept: list[QueryRecord] = []
        for record in records:
            if write is None:
                kept.append(record)
            else:
                write(record)
            if self.sheet is not None:
                self.sheet.add(record, up)
        if self.sheet is not None and (left_out := self.sheet.write(self._note())):
            self.report(f"{self.sheet.path}: {left_out}")
        if self.details is not None and self.details.missing:
            missing = self.details.missing
            self.report(
                f"{len(missing):,} items among the hits are not in {self.details.root} (first: {min(missing)}): their "
                "paths are not known; --dataset names another"
            )
        return kept

    def _note(self) -> str:
        """What a sheet says of its hits."""
        distance = "Hamming distance"
        if self.together is not None:
            distance = f"{self.together} Hamming distance from all queries, which are taken as one"
        shapes = "" if self.shape_ids is None else "; each shape is there once, by its nearest item"
        ranked = ""
        if self.reranking is not None:
            distance += " and its score"
            ranked = f"; the {self.reranking.first} nearest are in order of that score, {SCORES[self.reranking.by]}"
        items = f"{len(self.index)} items, codes of {self.index.bits} bits"
        return f"{items}; under each hit its {distance}{shapes}{ranked}."


def dataset_of_run(run: str | Path) -> str:
    """The dataset folder that a run was trained on, as its config.json names it; "" if it does not.

    Examples:
        >>> dataset_of_run("demo/run")
        '...demo/dataset'
        >>> dataset_of_run("no such run")
        ''
    """
    try:
        path = read_json(Path(run) / "config.json")["dataset"]["path"]
    except (CmahError, KeyError, TypeError):  # a run that is none is refused where it is opened
        return ""
    return path if isinstance(path, str) else ""
