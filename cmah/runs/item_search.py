"""An index with what is known of its items, and a search in it for queries that are encoded."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cmah.codes import BinaryCodes, Embeddings, read_codes
from cmah.errors import CmahError, DatasetError
from cmah.report.hits_page import refuse_to_replace
from cmah.runs.item_details import ItemDetails, dataset_of_run
from cmah.search import HammingIndex
from cmah.search.hit_records import (
    QueryRecord,
    categories_of,
    iter_records,
    refuse_radius,
    shape_ids_of_items,
)
from cmah.search.reranking import Reranking
from cmah.search.together import By, check_by

if TYPE_CHECKING:
    from cmah.runs.hit_sheet import HitSheet


class ItemSearch:
    """An index with what is known of its items; bad inputs are refused before any query is encoded.

    Arguments and errors are those of `searching.search_files`.

    Args:
        codes: where the queries are those of a code file, the file and the dataset that it was exported from, or "".

    Attributes:
        index: the index.
        categories: of its items, by their ids, as the code file says.
        details: what the dataset says of them; None where none is known.

    Examples:
        >>> given = ("demo/shapes.cmah", None, "demo/dataset", None)
        >>> search = ItemSearch(*given, None, None, False, None, 3, report=print)
        >>> queries = BinaryCodes.load("demo/codes/shape.npz")
        >>> records = search.go(queries, None, k=3, threads=1, up="y", write=None)
        >>> records[0]["hits"][0]["category"], search.category_of("chair.chair_000.obj")
        ('airplane', 'chair')
    """

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
        self.path = index
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
        """Take the shape ids of the items from the code file, with the categories if it has any, or from the index."""
        if database is None:
            if self.index.shapes is None:
                raise CmahError(
                    f"{self.path}: has no shape ids, by which each shape is given once; name the code file that the "
                    "index was made from, if that has them (--database)"
                )
            self.shape_ids = self.index.shapes.values
            return ""
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
        if not named and self.index.dataset:
            file, named = str(self.path), self.index.dataset
        if not named and run is not None:
            file, named = str(run), dataset_of_run(run)
        if not named:
            return None
        try:
            details = ItemDetails(named)
        except DatasetError as error:
            self.report(
                f"categories and paths of hits are not known: {file} names its dataset, but {error}; give --dataset"
            )
            return None
        self.report(f"paths and categories of hits: from {named} (named by {file})")
        return details

    def category_of(self, name: str) -> str:
        """The category of an item or query by its id or path; "" if unknown."""
        return self.categories.get(name) or (self.details.category(name) if self.details else "")

    def go(
        self,
        queries: BinaryCodes,
        embeddings: Embeddings | None,
        k: int,
        threads: int | None,
        up: str,
        write: Callable[[QueryRecord], None] | None,
        real: Embeddings | None = None,
    ) -> list[QueryRecord]:
        """Search; the records, unless they are written one after the other.

        Args:
            queries: their codes.
            embeddings: of the same queries, where the search re-ranks.
            k: hits per query.
            threads: how many to search with; None for one per core.
            up: "y" or "z", the up axis of meshes and point clouds, for their pictures.
            write: called with the record of each query; None keeps them.
            real: their real-valued codes, where the search re-ranks by these beside the embeddings.
        """
        records = iter_records(
            self.index,
            queries,
            k,
            radius=self.radius,
            together=self.together,
            shape_ids=self.shape_ids,
            reranking=self.reranking,
            embeddings=embeddings,
            real=real,
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
            ranked = (
                f"; the {self.reranking.first} nearest are in order of that score, {self.reranking.score}"
            )
        items = f"{len(self.index)} items, codes of {self.index.bits} bits"
        return f"{items}; under each hit its {distance}{shapes}{ranked}."
