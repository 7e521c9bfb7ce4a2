"""Lists of paths with what is said of each: skipped.csv, the inputs that were left out, and others like it."""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from cmah.file_names import readable_text
from cmah.files import atomic_path, require_replaceable
from cmah.spreadsheets import guarded, unguarded

Skipped = list[tuple[str, str]]  # path (or id) and reason of each input that was left out


class SkippedFiles(list[tuple[str, str]]):
    """A list of (path, reason) of files that were left out, with what was lost of those that were not.

    Attributes:
        remarks: (path, what was lost of it), a row for each thing, such as a texture that was not found.

    Examples:
        >>> skipped = SkippedFiles([("a.obj", "a.obj: no faces")], [("b.obj", "texture not found (wood.png)")])
        >>> skipped, skipped.remarks
        ([('a.obj', 'a.obj: no faces')], [('b.obj', 'texture not found (wood.png)')])
    """

    def __init__(
        self, skipped: Iterable[tuple[str, str]] = (), remarks: Iterable[tuple[str, str]] = ()
    ) -> None:
        super().__init__(skipped)
        self.remarks = list(remarks)


def write_skipped(folder: str | Path, skipped: Sequence[tuple[str, str]]) -> None:
    """Write FOLDER/skipped.csv (path, reason), whole or not at all; if nothing was skipped, remove an old one.

    What a spreadsheet would take for a formula is guarded (`cmah.spreadsheets`), and bytes of names that are no text
    are written as \\xXX.

    Examples:
        >>> write_skipped("codes", [("a.obj", "no faces")])
        >>> Path("codes/skipped.csv").read_text().splitlines()
        ['path,reason', 'a.obj,no faces']
    """
    write_path_list(Path(folder) / "skipped.csv", "reason", skipped)


def refuse_to_replace_skipped(folder: str | Path) -> None:
    """Refuse to write FOLDER/skipped.csv over a file of another format.

    Raises:
        CmahError: if there is such a file.

    Examples:
        >>> _ = Path("skipped.csv").write_text("my own notes")
        >>> refuse_to_replace_skipped(".")
        Traceback (most recent call last):
        cmah.errors.CmahError: skipped.csv: exists and is not such a file as is written here; ...
    """
    require_replaceable(Path(folder) / "skipped.csv", b"path,reason")


def read_skipped(folder: str | Path) -> Skipped:
    """The rows of FOLDER/skipped.csv; none if there is no such file.

    Examples:
        >>> write_skipped("shapes", [("a.obj", "no faces")])
        >>> read_skipped("shapes")
        [('a.obj', 'no faces')]
    """
    return read_path_list(Path(folder) / "skipped.csv", "reason")


def counts_of_reasons(reasons: Iterable[str]) -> list[tuple[str, int]]:
    """How often there is each reason for leaving something out, the most frequent first.

    Args:
        reasons: of each input one. Numbers, and what stands in brackets or behind ", got", differ from file to file:
            they are counted without these.

    Examples:
        >>> counts_of_reasons(["no faces", "more than 60 s", "more than 90 s"])
        [('more than N s', 2), ('no faces', 1)]
    """
    return Counter(general_reason(reason) for reason in reasons).most_common()


def general_reason(reason: str) -> str:
    """A reason without what differs from file to file.

    Examples:
        >>> general_reason("a face names vertex 7 (there are 6)")
        'a face names vertex N'
    """
    return re.sub(r"\s*(\(|, got).*", "", re.sub(r"\d+", "N", reason))


def write_path_list(path: Path, column: str, rows: Sequence[tuple[str, str]]) -> None:
    """Write a CSV of paths, whole or not at all; without rows, remove an old one.

    Args:
        path: the file.
        column: name of the second column.
        rows: (path, what is said of it) of each.

    Examples:
        >>> write_path_list(Path("remarks.csv"), "remark", [("a.obj", "texture not found")])
        >>> read_path_list(Path("remarks.csv"), "remark")
        [('a.obj', 'texture not found')]
    """
    if not rows:
        path.unlink(missing_ok=True)
        return
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        cells = [[guarded(readable_text(cell)) for cell in row] for row in rows]
        csv.writer(file).writerows([("path", column), *cells])


def read_path_list(path: Path, column: str) -> list[tuple[str, str]]:
    """The rows that `write_path_list` wrote; none if there is no such file.

    Examples:
        >>> read_path_list(Path("none.csv"), "remark")
        []
    """
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return [(unguarded(row["path"]), unguarded(row[column])) for row in csv.DictReader(file)]
