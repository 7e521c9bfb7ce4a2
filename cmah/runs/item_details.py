"""What a dataset folder says of the items of an index: their categories, and the files that show them.

Only the tables are read, and images.csv only if an item is no shape, so that a search does not wait for what it does
not show.
"""

import csv
from pathlib import Path
from typing import Any

from cmah.data.names import clean_cell, clean_name, existing_form
from cmah.errors import CmahError, DatasetError
from cmah.file_names import path_of_name, refuse_url
from cmah.reading import read_json, require_file

CLEANED = ("shape_id", "image_id", "category", "points", "path")  # what is taken of the columns of a dataset


class ItemDetails:
    """Categories and files of a dataset's shapes and images, by their ids.

    Attributes:
        root: the dataset folder.
        missing: the ids that were asked for, of items, and are in neither of its tables.

    Examples:
        >>> details = ItemDetails("demo/dataset")
        >>> details.category("chair.chair_000.obj"), details.path("chair.chair_000.obj")
        ('chair', '...chair/chair_000.obj')
        >>> details.path("chair.chair_000.obj_01")
        '.../demo/dataset/renders/chair.chair_000.obj/01.jpg'
    """

    def __init__(self, root: str | Path) -> None:
        """Read dataset.json and shapes.csv.

        Args:
            root: the dataset folder.

        Raises:
            DatasetError: if it is none, or its tables cannot be read.
        """
        self.root = Path(root)
        if not self.root.is_dir():
            refuse_url(root)
            raise DatasetError([f"{self.root}: no such folder (expected a dataset folder with dataset.json)"])
        self.files = _file_root(self.root).resolve()
        self._shapes = {row["shape_id"]: row for row in _rows(self.root / "shapes.csv", "shape_id")}
        self._all_images: dict[str, dict[str, str]] | None = None
        self._by_path: dict[str, dict[str, str]] = {}
        self.missing: set[str] = set()

    def category(self, name: str) -> str:
        """The category of a shape, an image, or a file of the dataset, by its id or path; "" if unknown."""
        row = self._row(name) or self._row_of_file(name)
        if row is None:
            return ""
        shape = self._shapes.get(row.get("shape_id", ""), {})
        return row.get("category") or shape.get("category") or ""

    def path(self, name: str) -> str:
        """Where the file lies that an item is made of; "" if unknown.

        Of a shape the mesh, as shapes.csv has it: absolute, or in a dataset of before within the folder of its meshes;
        where it has none, its points. Of an image the picture.
        """
        row = self._row(name)
        if row is None:
            self.missing.add(name)
            return ""
        if "image_id" in row:
            return str(existing_form(self.files / row["path"]))
        if source := row.get("source"):
            return source
        return str(existing_form(self.files / row["points"])) if row.get("points") else ""

    def _row(self, name: str) -> dict[str, str] | None:
        return self._shapes.get(name) or self._images.get(name)

    def _row_of_file(self, name: str) -> dict[str, str] | None:
        """The row of a picture or a point cloud of the dataset, by the path of its file."""
        try:
            file = path_of_name(name).resolve()
        except (OSError, RuntimeError, ValueError):  # a name that is no path
            return None
        if not file.is_relative_to(self.files):
            return None
        if not self._by_path:
            rows = [*self._shapes.values(), *self._images.values()]
            self._by_path = {path: row for row in rows if (path := row.get("path") or row.get("points", ""))}
        return self._by_path.get(file.relative_to(self.files).as_posix())

    @property
    def _images(self) -> dict[str, dict[str, str]]:
        if self._all_images is None:
            self._all_images = {
                row["image_id"]: row for row in _rows(self.root / "images.csv", "image_id", "path")
            }
        return self._all_images


def prepared_of(root: str | Path) -> dict[str, Any]:
    """What a dataset was prepared from and how: `prepared` of its dataset.json, such as "folders", "points" and "seed".

    Args:
        root: the dataset folder; one that is not there, or was made otherwise, gives an empty dictionary.

    Examples:
        >>> prepared_of("no such folder")
        {}
        >>> prepared_of("demo/dataset")["seed"]
        0
    """
    try:
        header = read_json(Path(root) / "dataset.json")
    except CmahError:
        return {}
    prepared = header.get("prepared") if isinstance(header, dict) else None
    return prepared if isinstance(prepared, dict) else {}


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


def _file_root(root: Path) -> Path:
    """The folder of points and pictures."""
    try:
        header = read_json(root / "dataset.json")
    except CmahError as error:
        raise DatasetError([str(error)]) from None
    files = header.get("root", "") if isinstance(header, dict) and header.get("version") != 1 else ""
    return root / files if isinstance(files, str) else root


def _cleaned(header: list[str], row: list[str]) -> dict[str, str]:
    """The cells by column, as `Dataset.read` takes them: further columns, such as "source", as they are."""
    cells = [*row, *[""] * (len(header) - len(row))]
    return {
        name: clean_cell(name, cell) if name in CLEANED else cell
        for name, cell in zip(header, cells, strict=False)
    }


def _rows(path: Path, *columns: str) -> list[dict[str, str]]:
    """The rows of a table that has these columns."""
    try:
        require_file(path)
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file)
            header = [clean_name(name) for name in next(rows, [])]
            if not {*columns} <= {*header}:
                raise DatasetError([f"{path}: row 1: expected the columns {', '.join(columns)}"])
            return [_cleaned(header, row) for row in rows if any(row)]
    except (OSError, ValueError, csv.Error) as error:
        if isinstance(error, CmahError):
            raise
        raise DatasetError([f"{path}: cannot be read ({error})"]) from None
    except CmahError as error:
        raise DatasetError([str(error)]) from None
