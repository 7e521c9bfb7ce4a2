"""Searching an index by files or codes, with categories and pictures of a dataset, and an HTML sheet of the hits."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cmah.codes import BinaryCodes
from cmah.errors import CmahError
from cmah.files import Skipped
from cmah.report.hit_tiles import Tile, TileRow
from cmah.report.hits_page import refuse_to_replace, write_sheet
from cmah.search import HammingIndex
from cmah.search.hit_records import QueryRecord, read_categories, search_records

if TYPE_CHECKING:
    from cmah.data.pictures import DatasetPictures


def search_files(
    index: str | Path,
    run: str | Path,
    files: Sequence[str | Path],
    k: int = 10,
    *,
    radius: int | None = None,
    threads: int | None = None,
    up: str = "y",
    device: str = "cpu",
    verify: bool = False,
    database: str | Path | None = None,
    dataset: str | Path | None = None,
    sheet: str | Path | None = None,
    report: Callable[[str], None] | None = None,
) -> tuple[list[QueryRecord], Skipped]:
    """Encode photos, meshes and point clouds with a run and search an index for them.

    Args:
        index: the index file.
        run: folder that `train` wrote.
        files: pictures, meshes, or `.npy` point clouds.
        k: hits per query.
        radius: all hits at most so many bits away, in place of the k nearest.
        threads: how many to search with; None for one per core.
        up: "y" or "z", the up axis of meshes and point clouds.
        device: "auto", "cpu", "cuda" or "cuda:N", to encode on.
        verify: read weights files anew instead of trusting the digests that the cache remembers.
        database: code file with ids and categories, from which the hits' categories are taken.
        dataset: dataset folder, from which categories and pictures are taken.
        sheet: HTML page of queries and hits to write; needs `dataset`.
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
    search = _Search(index, database, dataset, sheet)
    from cmah.runs.encoder import Encoder

    queries, skipped = Encoder.load(run, device=device, verify=verify).encode_files(files, up=up)
    if report is not None:
        for _, reason in skipped:
            report(f"skipped {reason}")
    if not len(queries):
        raise CmahError(f"none of the {len(files)} files could be read")
    return search.records(queries, k, radius, threads, up), skipped


def search_codes(
    index: str | Path,
    codes: str | Path,
    k: int = 10,
    *,
    radius: int | None = None,
    threads: int | None = None,
    up: str = "y",
    database: str | Path | None = None,
    dataset: str | Path | None = None,
    sheet: str | Path | None = None,
) -> list[QueryRecord]:
    """Search an index for the codes of a code file; loads no torch. Arguments and errors as in `search_files`.

    Args:
        index: the index file.
        codes: code file of the queries.
        k: hits per query.
        radius: all hits at most so many bits away, in place of the k nearest.
        threads: how many to search with; None for one per core.
        up: "y" or "z", the up axis of queries that are named like a mesh or point cloud, for their pictures.
        database: code file with ids and categories, from which the hits' categories are taken.
        dataset: dataset folder, from which categories and pictures are taken.
        sheet: HTML page of queries and hits to write; needs `dataset`.

    Examples:
        Every shape finds itself, or one of the same code.

        >>> records = search_codes("demo/shapes.cmah", "demo/codes/shape.npz", k=1)
        >>> {record["hits"][0]["distance"] for record in records}
        {0}
    """
    search = _Search(index, database, dataset, sheet)
    return search.records(BinaryCodes.load(codes), k, radius, threads, up)


class _Search:
    """An index with categories and pictures of its items; bad inputs are refused before any query is encoded."""

    def __init__(
        self,
        index: str | Path,
        database: str | Path | None,
        dataset: str | Path | None,
        sheet: str | Path | None,
    ) -> None:
        if sheet is not None and dataset is None:
            raise CmahError(f"{sheet}: a sheet needs a dataset folder, from which the pictures are taken")
        if sheet is not None:
            refuse_to_replace(sheet)
        self.sheet = sheet
        self.index = HammingIndex.open(index)
        self.pictures: DatasetPictures | None = None
        if dataset is not None:
            from cmah.data import pictures
            from cmah.data.dataset import Dataset

            self.pictures = pictures.DatasetPictures(Dataset.read(dataset))
        self.categories = {} if database is None else read_categories(database)

    def category_of(self, name: str) -> str:
        return self.categories.get(name) or (self.pictures.category(name) if self.pictures else "")

    def records(
        self, queries: BinaryCodes, k: int, radius: int | None, threads: int | None, up: str
    ) -> list[QueryRecord]:
        records = search_records(
            self.index, queries, k, radius=radius, threads=threads, category_of=self.category_of
        )
        if self.sheet is not None and self.pictures is not None:
            _write_sheet(self.sheet, records, self.pictures, up, self.index)
        return records


def _write_sheet(
    path: str | Path,
    records: Sequence[QueryRecord],
    pictures: "DatasetPictures",
    up: str,
    index: HammingIndex,
) -> None:
    from cmah.data.pictures import picture_of_file

    rows = []
    for record in records:
        category = record["category"]
        tiles = [
            Tile(
                name=str(hit["id"]),
                picture=pictures.picture(str(hit["id"])),
                category=hit["category"],
                note=f"{hit['distance']} bits",
                relevant=hit["category"] == category if category and hit["category"] else None,
            )
            for hit in record["hits"]
        ]
        picture = pictures.picture(record["query"]) or picture_of_file(record["query"], up)
        rows.append(TileRow(Tile(record["query"], picture, category, "query"), tiles))
    notes = [f"{len(index)} items, codes of {index.bits} bits; under each hit its Hamming distance."]
    write_sheet(path, "Queries and their nearest items", rows, notes)
