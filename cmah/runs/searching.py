"""Searching an index by files or codes, with categories and pictures of a dataset, and an HTML sheet of the hits."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cmah.codes import BinaryCodes, Embeddings, read_codes
from cmah.codes.file_hashing import read_embeddings
from cmah.errors import CmahError
from cmah.files import Skipped
from cmah.report.hit_tiles import Tile, TileRow
from cmah.report.hits_page import refuse_to_replace, write_sheet
from cmah.search import HammingIndex
from cmah.search.hit_records import (
    HitRecord,
    QueryRecord,
    read_categories,
    refuse_radius,
    search_records,
    shape_ids_of_items,
)
from cmah.search.item_vectors import vectors_of_queries
from cmah.search.reranking import SCORES, Reranking
from cmah.search.together import By, check_by

if TYPE_CHECKING:
    from cmah.data.pictures import DatasetPictures

MOST_SHOWN = 8  # pictures of queries that are searched for as one, on the sheet


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
    report: Callable[[str], None] | None = None,
) -> tuple[list[QueryRecord], Skipped]:
    """Encode photos, meshes and point clouds with a run and search an index for them.

    Args:
        index: the index file.
        run: folder that `train` wrote.
        files: pictures, meshes, or `.npy` point clouds.
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
        dataset: dataset folder, from which categories and pictures are taken.
        sheet: HTML page of queries and hits to write; needs `dataset`.
        reranking: how the nearest items are put in order of a score of real vectors, of which the first `k` are given;
            those of the queries, and for "attention" the weight, are the run's.
        report: called with a line for each file that is skipped.

    Returns:
        The hits of each file that could be read, and (path, reason) of the others.

    Raises:
        CmahError: if no file could be read, or an input cannot be used.

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
    search = _Search(index, database, dataset, sheet, radius, together, per_shape, reranking, k)
    from cmah.runs.encoder import Encoder

    encoder, embeddings = Encoder.load(run, device=device, verify=verify), None
    if reranking is None:
        queries, skipped = encoder.encode_files(files, up=up)
    else:
        if reranking.by == "attention" and reranking.weight is None:
            search.reranking = replace(reranking, weight=encoder.attention_weight())
        queries, embeddings, skipped = encoder.codes_and_embeddings(files, up=up)
    if report is not None:
        for _, reason in skipped:
            report(f"skipped {reason}")
    if not len(queries):
        raise CmahError(f"none of the {len(files)} files could be read")
    return search.records(queries, embeddings, k, threads, up), skipped


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
        dataset: dataset folder, from which categories and pictures are taken.
        sheet: HTML page of queries and hits to write; needs `dataset`.
        reranking: how the nearest items are put in order of a score of real vectors, of which the first `k` are given.
        rerank_queries: embedding file of the queries, which `reranking` needs; rows are found by their ids, or where
            one of the files has none taken in order.

    Examples:
        Every shape finds itself, or one of the same code.

        >>> records = search_codes("demo/shapes.cmah", "demo/codes/shape.npz", k=1)
        >>> {record["hits"][0]["distance"] for record in records}
        {0}
    """
    search = _Search(index, database, dataset, sheet, radius, together, per_shape, reranking, k)
    queries, embeddings = BinaryCodes.load(codes), None
    if reranking is None and rerank_queries is not None:
        raise CmahError(f"{rerank_queries}: vectors of queries are for re-ranking, which was not asked for")
    if rerank_queries is not None:
        embeddings = vectors_of_queries(queries, read_embeddings(rerank_queries), rerank_queries)
    return search.records(queries, embeddings, k, threads, up)


class _Search:
    """An index with categories and pictures of its items; bad inputs are refused before any query is encoded."""

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
    ) -> None:
        if sheet is not None and dataset is None:
            raise CmahError(f"{sheet}: a sheet needs a dataset folder, from which the pictures are taken")
        if sheet is not None:
            refuse_to_replace(sheet)
        refuse_radius(radius, together is not None, per_shape, reranking is not None)
        if together is not None:
            check_by(together)
        self.sheet, self.radius, self.together, self.reranking = sheet, radius, together, reranking
        self.index = HammingIndex.open(index)
        if reranking is not None:
            reranking.check(k, len(self.index))
        self.pictures: DatasetPictures | None = None
        if dataset is not None:
            from cmah.data import pictures
            from cmah.data.dataset import Dataset

            self.pictures = pictures.DatasetPictures(Dataset.read(dataset))
        self.categories: dict[str, str] = {}
        self.shape_ids: np.ndarray | None = None
        if per_shape:
            self._read_shapes(database)
        elif database is not None:
            self.categories = read_categories(database)

    def _read_shapes(self, database: str | Path | None) -> None:
        """Take the shape ids of the index's items from its code file, and the categories if it has any."""
        if database is None:
            raise CmahError(
                "a search that gives each shape once needs the code file of the index, with shape ids"
            )
        table = read_codes(database)
        self.shape_ids = shape_ids_of_items(self.index, table, database)
        if table.id_texts is not None and table.categories is not None:
            self.categories = dict(zip(table.id_texts.tolist(), table.categories.tolist(), strict=True))

    def category_of(self, name: str) -> str:
        return self.categories.get(name) or (self.pictures.category(name) if self.pictures else "")

    def records(
        self, queries: BinaryCodes, embeddings: Embeddings | None, k: int, threads: int | None, up: str
    ) -> list[QueryRecord]:
        records = search_records(
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
        )
        if self.sheet is not None and self.pictures is not None:
            rows = [_tile_row(record, self.pictures, up) for record in records]
            write_sheet(self.sheet, "Queries and their nearest items", rows, [self._note()])
        return records

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


def _tile_row(record: QueryRecord, pictures: "DatasetPictures", up: str) -> TileRow:
    """A query, with the pictures of all that it is made of, and its hits."""
    from cmah.data.pictures import picture_of_file

    names, category = record.get("names", [record["query"]])[:MOST_SHOWN], record["category"]
    shown = [pictures.picture(name) or picture_of_file(name, up) for name in names]
    query = Tile(record["query"], shown[0], category, "query")
    more = [Tile(name, picture, note="query") for name, picture in zip(names[1:], shown[1:], strict=True)]
    return TileRow(query, [_hit_tile(hit, category, pictures) for hit in record["hits"]], more)


def _hit_tile(hit: HitRecord, category: str, pictures: "DatasetPictures") -> Tile:
    bits = hit["distance"]
    shape = hit.get("shape_id", "")
    return Tile(
        name=str(hit["id"]),
        picture=pictures.picture(str(hit["id"])),
        category=hit["category"],
        note=(f"{bits} bits" if isinstance(bits, int) else f"{bits:.2f} bits")
        + (f", score {hit['score']:.3f}" if "score" in hit else "")
        + (f", {shape}" if shape else ""),
        relevant=hit["category"] == category if category and hit["category"] else None,
    )
