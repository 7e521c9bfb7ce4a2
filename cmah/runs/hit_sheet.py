"""The sheet of a search: an HTML page with pictures of the queries and of as many hits as a browser shows."""

from pathlib import Path

from cmah.data.dataset import Dataset
from cmah.data.pictures import DatasetPictures, picture_of_file
from cmah.file_names import path_of_name
from cmah.report.hit_tiles import Tile, TileRow
from cmah.report.hits_page import write_sheet
from cmah.search.hit_records import HitRecord, QueryRecord

MOST_SHOWN = 8  # pictures of queries that are searched for as one
MOST_TILES, MOST_IN_ROW = 5000, 200  # hits of all queries, and of each


class HitSheet:
    """A page that is filled query by query and then written.

    Attributes:
        path: the .html file.

    Examples:
        >>> hit = HitRecord(rank=1, id="mug.mug_000.obj", distance=3, position=0, category="mug")
        >>> sheet = HitSheet("hits.html", "demo/dataset")
        >>> sheet.add(QueryRecord(query="photo.jpg", category="", hits=[hit]))
        >>> sheet.write("a note")
        ''
        >>> Path("hits.html").read_text(encoding="utf-8").count("<li>")
        1
    """

    def __init__(self, path: str | Path, dataset: str | Path) -> None:
        """Read the dataset.

        Args:
            path: the .html file to write.
            dataset: dataset folder, from which the pictures are taken.

        Raises:
            DatasetError: if it is none, or has faults.
        """
        self.path = Path(path)
        self._pictures = DatasetPictures(Dataset.read(dataset))
        self._rows: list[TileRow] = []
        self._hits = self._shown = self._queries = 0

    def add(self, record: QueryRecord, up: str = "y") -> None:
        """Add a query and its nearest hits, as far as there is room.

        Args:
            record: the query with all its hits.
            up: "y" or "z", the up axis of a query that is a mesh or point cloud.
        """
        self._queries += 1
        self._hits += len(record["hits"])
        room = min(MOST_IN_ROW, MOST_TILES - self._shown)
        if room <= 0:
            return
        shown = record.copy()
        shown["hits"] = record["hits"][:room]
        self._shown += len(shown["hits"])
        self._rows.append(_tile_row(shown, self._pictures, up))

    def write(self, note: str) -> str:
        """Write the page, whole or not at all.

        Args:
            note: what it says of the hits.

        Returns:
            What of them it does not show, "" if it shows all.
        """
        left_out = ""
        if self._shown < self._hits or len(self._rows) < self._queries:
            left_out = (
                f"{self._shown:,} of {self._hits:,} hits and {len(self._rows):,} of {self._queries:,} queries are "
                f"shown (at most {MOST_IN_ROW} of each, {MOST_TILES:,} in all)"
            )
        notes = [note, left_out] if left_out else [note]
        write_sheet(self.path, "Queries and their nearest items", self._rows, notes)
        return left_out


def _tile_row(record: QueryRecord, pictures: DatasetPictures, up: str) -> TileRow:
    """A query, with the pictures of all that it is made of, and its hits."""
    names, category = record.get("names", [record["query"]])[:MOST_SHOWN], record["category"]
    shown = [pictures.picture(name) or picture_of_file(path_of_name(name), up) for name in names]
    query = Tile(record["query"], shown[0], category, "query")
    more = [Tile(name, picture, note="query") for name, picture in zip(names[1:], shown[1:], strict=True)]
    return TileRow(query, [_hit_tile(hit, category, pictures) for hit in record["hits"]], more)


def _hit_tile(hit: HitRecord, category: str, pictures: DatasetPictures) -> Tile:
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
