"""What was lost of meshes that were accepted, such as a texture that was not found: `remarks.csv`, and in words."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cmah.data.dataset import Dataset
from cmah.skipped_files import read_path_list, write_path_list

FILE = "remarks.csv"
FEW = 10  # meshes, each of which has a line of its own
FEW_EACH = 3  # remarks that are in such a line
Remarks = Sequence[tuple[str, str]]  # path of a mesh and what was lost of it, one row for each loss


def remarks_of(dataset: Dataset, entries: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """A row for each thing that was lost of a shape of the dataset.

    Args:
        dataset: the tables.
        entries: what the log of prepare has of each shape, by its id.

    Examples:
        >>> dataset = Dataset.read("demo/dataset")
        >>> remarks_of(dataset, {dataset.shapes[0].shape_id: {"remarks": ["texture not found (wood.png)"]}})
        [('...airplane_000.obj', 'texture not found (wood.png)')]
    """
    return [
        (shape.extra.get("source", "") or shape.shape_id, str(remark))
        for shape in dataset.shapes
        for remark in entries.get(shape.shape_id, {}).get("remarks", ())
    ]


def write_remarks(folder: str | Path, remarks: Remarks) -> None:
    """Write FOLDER/remarks.csv (path, remark), whole or not at all; if there are none, remove an old one.

    Examples:
        >>> write_remarks("shapes", [("a.obj", "texture not found (wood.png)")])
        >>> Path("shapes/remarks.csv").read_text().splitlines()
        ['path,remark', 'a.obj,texture not found (wood.png)']
    """
    write_path_list(Path(folder) / FILE, "remark", remarks)


def read_remarks(folder: str | Path) -> list[tuple[str, str]]:
    """The rows of FOLDER/remarks.csv; none if there is no such file.

    Examples:
        >>> write_remarks("shapes", [("a.obj", "texture not found (wood.png)")])
        >>> read_remarks("shapes")
        [('a.obj', 'texture not found (wood.png)')]
    """
    return read_path_list(Path(folder) / FILE, "remark")


def counts_of(remarks: Iterable[tuple[str, str]]) -> list[tuple[str, int]]:
    """How many meshes lost what, the most frequent first; what stands in brackets differs from mesh to mesh.

    Examples:
        >>> counts_of([("a.obj", "texture not found (a.png)"), ("a.obj", "texture not found (b.png)")])
        [('texture not found', 1)]
    """
    kinds = {(path, re.sub(r"\s*\(.*", "", remark)) for path, remark in remarks}
    return Counter(kind for _, kind in sorted(kinds)).most_common()


def how_many(remarks: Remarks, total: int, what: str) -> str:
    """How many meshes lost something, in words.

    Args:
        remarks: of all.
        total: how many meshes there are.
        what: what they are called, in the plural.

    Examples:
        >>> how_many([("a.obj", "texture not found (a.png)")], 400, "shapes")
        '1 of 400 shapes lost something'
    """
    meshes = len({path for path, _ in remarks})
    return f"{meshes:,} of {total:,} {what} lost something{' each' * (meshes != 1)}"


def lines_of_remarks(remarks: Remarks, total: int, where: str) -> list[str]:
    """What people are told of meshes that lost something: a line for each of a few, of more one line of counts.

    Args:
        remarks: of all.
        total: how many meshes there are.
        where: where all remarks are listed, for the line of counts.

    Examples:
        >>> lines_of_remarks([("a.obj", "texture not found (a.png)"), ("a.obj", "no material m")], 1, "")
        ['remark on a.obj: texture not found (a.png); no material m']
        >>> many = [(f"{i}.obj", f"texture not found ({i}.png)") for i in range(37)]
        >>> lines_of_remarks(many, 400, "all in remarks.csv")
        ['37 of 400 meshes lost something each: 37 texture not found; all in remarks.csv']
    """
    of_mesh: dict[str, list[str]] = {}
    for path, remark in remarks:
        of_mesh.setdefault(path, []).append(remark)
    if len(of_mesh) > FEW:
        counts = ", ".join(f"{count:,} {remark}" for remark, count in counts_of(remarks))
        return [f"{how_many(remarks, total, 'meshes')}: {counts}; {where}"]
    return [
        f"remark on {path}: {'; '.join(each[:FEW_EACH])}"
        + (f"; and {len(each) - FEW_EACH} more" if len(each) > FEW_EACH else "")
        for path, each in of_mesh.items()
    ]
