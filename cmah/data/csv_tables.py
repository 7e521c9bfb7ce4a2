"""Reading and writing the tables of a dataset folder; every fault is noted with its file and row.

Rows are numbered as in a spreadsheet: row 1 is the header.
"""

import csv
import io
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from cmah.checks import shown
from cmah.data.names import clean_cell, clean_name
from cmah.errors import CmahError
from cmah.reading import read_json, require_file

FORMAT, VERSIONS = "cmah-dataset", (1, 2)
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# Called with a fault of the row that is being read
Fault = Callable[[str], None]
Item = TypeVar("Item")


class HasExtra(Protocol):
    """A row with the cells of further columns.

    Examples:
        >>> from cmah.data.dataset import Shape
        >>> Shape("seat", "chair", "train", "points/seat.npy", {"wood": "oak"}).extra
        {'wood': 'oak'}
    """

    @property
    def extra(self) -> dict[str, str]:
        """The further cells by the name of their column."""


def table_text(items: Sequence[HasExtra], columns: Sequence[str]) -> str:
    """Rows as CSV: the attributes named by `columns`, then whatever further columns any of them has.

    Examples:
        >>> from cmah.data.dataset import Shape
        >>> shapes = [Shape("seat", "chair", "train", "points/seat.npy", {"wood": "oak"})]
        >>> print(table_text(shapes, ("shape_id", "category")), end="")
        shape_id,category,wood
        seat,chair,oak
    """
    extra = list(dict.fromkeys(name for item in items for name in item.extra))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*columns, *extra])
    for item in items:
        cells = [getattr(item, name) for name in columns]
        writer.writerow([*map(_cell, cells), *map(item.extra.get, extra)])
    return out.getvalue()


def _cell(value: Any) -> Any:
    """A value as it stands in a table: a box as "x,y,width,height"."""
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "" if value is None else value


def read_header(path: Path, faults: list[str]) -> tuple[int, dict[str, Any]]:
    """Read dataset.json.

    Args:
        path: the file.
        faults: gets a line for each fault.

    Returns:
        The version, and the arguments of `Dataset`; further keys under "extra". Incomplete where there are faults.

    Examples:
        >>> faults = []
        >>> version, header = read_header(Path("demo/dataset/dataset.json"), faults)
        >>> version, header["points_per_shape"], header["up_axis"], list(header["extra"])
        (1, 1024, 'y', ['prepared'])
        >>> read_header(Path("demo/summary.json"), faults)[1]["name"], faults[0]
        (None, "demo/summary.json: 'format' is missing (expected 'cmah-dataset')")
    """
    try:
        header = read_json(path)
    except CmahError as error:
        faults.append(str(error))
        return 1, {}
    if not isinstance(header, dict):
        faults.append(f"{path}: expected an object with the key 'format', found {shown(header)}")
        return 1, {}
    version: Any = header.get("version")
    known = version in VERSIONS and not isinstance(version, bool)
    version = int(version) if known else 1
    rules: dict[str, tuple[Callable[[Any], bool], str]] = {
        "format": (lambda value: value == FORMAT, f"'{FORMAT}'"),
        "version": (lambda value: known, " or ".join(map(str, VERSIONS))),
        "name": (lambda value: isinstance(value, str), "a string"),
        "points_per_shape": (_is_count, "a whole number of at least 1"),
        "up_axis": (lambda value: value in ("y", "z"), "'y' or 'z'"),
        "image_size": (_is_count, "a whole number of at least 1"),
    }
    for key, (good, expected) in rules.items():
        if key not in header:
            faults.append(f"{path}: '{key}' is missing (expected {expected})")
        elif not good(header[key]):
            faults.append(f"{path}: '{key}' is {shown(header[key])} (expected {expected})")
    fields = {key: header.get(key) for key in rules if key not in ("format", "version")}
    if version > 1 and "root" in header:  # in version 1 a further key like any other
        fields["file_root"] = _file_root(path, header["root"], faults)
    meant = {*rules, "root"} if version > 1 else {*rules}
    return version, fields | {"extra": {key: value for key, value in header.items() if key not in meant}}


def _file_root(path: Path, root: Any, faults: list[str]) -> str:
    """The folder of images and points, as dataset.json names it: absolute, or relative to the dataset folder."""
    if not isinstance(root, str) or not root or CONTROL.search(root):
        faults.append(
            f"{path}: 'root' is {shown(root)} (expected the path of the folder of images and points)"
        )
        return ""
    if not os.path.isdir(path.parent / root):
        faults.append(f"{path}: 'root' is {shown(root)}: no such folder (expected that of images and points)")
    return root


def read_table(
    path: Path,
    columns: Sequence[str],
    required: Sequence[str],
    make: Callable[[dict[str, str], dict[str, str], Fault], Item],
    faults: list[str],
) -> list[tuple[int, Item]]:
    """Read a CSV file.

    Args:
        path: the file.
        columns: the columns with a meaning; the cells of any others are kept apart.
        required: the columns that the header must have.
        make: builds an item from (cells, further cells, function to call with a fault of this row).
        faults: gets a line for each fault: file, row, what was expected.

    Returns:
        (row number, item) for every row that has as many cells as the header.

    Examples:
        >>> def make(cells, further, fault):
        ...     return cells["shape_id"], list(further)
        >>> columns = ["shape_id", "category", "split", "points"]
        >>> read_table(Path("demo/dataset/shapes.csv"), columns, ["shape_id"], make, faults=[])[0]
        (2, ('airplane.airplane_000.obj', ['source']))
    """
    try:
        require_file(path)
        data = path.read_bytes()
    except CmahError as error:
        faults.append(str(error))
        return []
    except OSError as error:
        faults.append(f"{path}: {error.strerror}")
        return []
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row_number = data.count(b"\n", 0, error.start) + 1
        faults.append(f"{path}: row {row_number}: not UTF-8 text (save the table as CSV UTF-8)")
        return []
    if "\0" in text:
        faults.append(
            f"{path}: row {text[: text.index(chr(0))].count(chr(10)) + 1}: contains a NUL character"
        )
        return []

    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    items: list[tuple[int, Item]] = []
    row_number = 1
    try:
        header = [clean_name(name) for name in next(rows, [])]
        problem = _header_problem(header, required)
        if problem:
            faults.append(f"{path}: row 1: {problem} (expected {','.join(required)})")
            return []
        meant = [(name, place) for place, name in enumerate(header) if name in columns]
        further = [(name, place) for place, name in enumerate(header) if name and name not in columns]
        unnamed = [place for place, name in enumerate(header) if not name]
        notes: list[str] = []
        for row in rows:
            row_number += 1
            if not row:
                continue
            if len(row) != len(header):
                faults.append(
                    f"{path}: row {row_number}: {len(row)} cells (expected {len(header)}, as in row 1)"
                )
                continue
            if any(row[place].strip() for place in unnamed):
                faults.append(
                    f"{path}: row {row_number}: a cell in a column without a name (expected one in row 1)"
                )
            if not any(row):  # blank rows of a spreadsheet
                continue
            cells = {name: clean_cell(name, row[place]) for name, place in meant}
            items.append(
                (row_number, make(cells, {name: row[place] for name, place in further}, notes.append))
            )
            faults.extend(f"{path}: row {row_number}: {note}" for note in notes)
            notes.clear()
    except csv.Error as error:
        faults.append(f"{path}: row {row_number + 1}: not readable as CSV ({error})")
    return items


def check_text(cells: dict[str, str], fault: Fault) -> None:
    r"""Note cells with control characters: ids and paths are printed, one per line.

    Examples:
        >>> check_text({"shape_id": "seat\t1", "category": "chair"}, print)
        shape_id is 'seat\t1' (expected text without control characters)
    """
    for name, value in cells.items():
        if CONTROL.search(value):
            fault(f"{name} is {value!r} (expected text without control characters)")


def check_path(path: str, key: str, fault: Fault) -> None:
    """Note a path that is not relative or leaves the folder, on whatever platform.

    Examples:
        >>> check_path("points/seat.npy", "points", print)
        >>> check_path("../seat.npy", "points", print)
        points is '../seat.npy' (expected a path inside the dataset folder, with / between the parts)
    """
    if not path:
        fault(f"{key} is empty (expected a path relative to the dataset folder)")
    elif path[0] == "/" or "\\" in path or path[1:2] == ":" or ".." in path.split("/"):
        fault(f"{key} is {path!r} (expected a path inside the dataset folder, with / between the parts)")


def read_number(cells: dict[str, str], key: str, kind: type[int] | type[float], fault: Fault) -> Any:
    """A cell as a number.

    Args:
        cells: the cells of a row by column.
        key: the column.
        kind: int for a whole number from 0, float for a finite number.
        fault: called with what is wrong.

    Returns:
        The number; None if the cell is empty, not there, or wrong.

    Examples:
        >>> read_number({"view": "3"}, "view", int, print)
        3
        >>> read_number({"view": "3.5"}, "view", int, print)
        view is '3.5' (expected a whole number from 0)
    """
    text = cells.get(key, "")
    if not text:
        return None
    try:
        value = kind(text)
        if math.isfinite(value) and (kind is float or value >= 0) and "_" not in text:
            return value
    except ValueError:
        pass
    fault(f"{key} is {text!r} (expected {'a whole number from 0' if kind is int else 'a finite number'})")
    return None


def read_box(cells: dict[str, str], key: str, fault: Fault) -> tuple[int, int, int, int] | None:
    """A cell as a box, "x,y,width,height": whole numbers, of which the last two are at least 1.

    Args:
        cells: the cells of a row by column.
        key: the column.
        fault: called with what is wrong.

    Returns:
        The four numbers; None if the cell is empty, not there, or wrong.

    Examples:
        >>> read_box({"bbox": "10,20,100,80"}, "bbox", print)
        (10, 20, 100, 80)
        >>> read_box({"bbox": "10,20,0,80"}, "bbox", print)
        bbox is '10,20,0,80' (expected x,y,width,height in whole pixels, with an area)
    """
    text = cells.get(key, "")
    if not text:
        return None
    parts = [part.strip() for part in text.split(",")]
    if len(parts) == 4 and all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        x, y, width, height = map(int, parts)
        if width and height:
            return x, y, width, height
    fault(f"{key} is {text!r} (expected x,y,width,height in whole pixels, with an area)")
    return None


def duplicates(path: Path, ids: Iterable[tuple[int, str]]) -> list[str]:
    """A fault for each (row number, id) whose id an earlier row has too.

    Examples:
        >>> duplicates(Path("shapes.csv"), [(2, "seat"), (3, "sofa"), (4, "seat")])
        ["shapes.csv: row 4: id 'seat' is already that of row 2"]
    """
    first: dict[str, int] = {}
    return [
        f"{path}: row {row}: id {name!r} is already that of row {first[name]}"
        for row, name in ids
        if first.setdefault(name, row) != row
    ]


def _header_problem(header: Sequence[str], required: Sequence[str]) -> str:
    missing = [name for name in required if name not in header]
    if missing and len(header) == 1 and (other := re.search(r"[;\t|]", header[0])):
        return f"cells separated by {other[0]!r}, expected commas"
    if missing:
        return f"no column {', '.join(missing)}"
    twice = [name for name, count in Counter(header).items() if name and count > 1]
    return f"two columns named {twice[0]!r}" if twice else ""


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
