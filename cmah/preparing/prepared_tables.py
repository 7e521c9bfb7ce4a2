"""The tables of a dataset folder that prepare adds to: what stands in them stays, but for what is made anew.

Rows that prepare did not make, such as photos that somebody added to images.csv, stay too, and so do further columns.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cmah.data.csv_tables import duplicates, read_header, read_table
from cmah.data.dataset import Dataset
from cmah.data.mesh_sources import printable, source_of
from cmah.data.table_rows import REQUIRED_IMAGE_COLUMNS, SHAPE_COLUMNS, Image, RowReader, Shape
from cmah.errors import CmahError, DatasetError
from cmah.preparing.folder_claims import UNKNOWN, owner_of
from cmah.preparing.prepare_log import PrepareLog
from cmah.preparing.prepare_parameters import Parameters
from cmah.preparing.shape_ids import Source, check_fractions

# dataset.json while all is made anew: until that is done there is no dataset, but its further keys are not lost
ASIDE = ".dataset.json"
USUAL_FRACTIONS = (0.8, 0.1, 0.1)  # of train, val and test


@dataclass
class Tables:
    """The tables of a dataset folder as prepare finds them; a process may have been killed between one and the next.

    Attributes:
        name: of the dataset; "" if there is none yet.
        shapes: rows of shapes.csv by shape id, in order.
        images: rows of images.csv, in order.
        extra: further keys of dataset.json.

    Examples:
        >>> Tables("", {}, [], {}).shapes
        {}
    """

    name: str
    shapes: dict[str, Shape]
    images: list[Image]
    extra: dict[str, Any] = field(default_factory=dict)


def read_tables(out: Path) -> Tables:
    """Read what is there of the three tables.

    Raises:
        DatasetError: if a table has faults, or is gone from a whole dataset: what else it had would be lost.

    Examples:
        >>> tables = read_tables(Path("demo/dataset"))
        >>> tables.name, list(tables.shapes)[0], tables.images[0].image_id
        ('meshes', 'airplane.airplane_000.obj', 'airplane.airplane_000.obj_00')
        >>> read_tables(Path("no_such_folder")).shapes
        {}
    """
    faults: list[str] = []
    version = 2
    header: dict[str, Any] = {}
    for file in ("dataset.json", ASIDE):
        if (out / file).is_file():
            version, header = read_header(out / file, faults)
            faults += [
                f"{out / table}: is gone, and with it rows that prepare alone could not write again; put it back, or "
                "prepare into a new folder"
                for table in ("shapes.csv", "images.csv")
                if not (out / table).is_file()
            ]
            break
    rows = RowReader(version)
    shapes, images = [], []
    if (out / "shapes.csv").is_file():
        shapes = read_table(out / "shapes.csv", SHAPE_COLUMNS, SHAPE_COLUMNS, rows.shape, faults)
    if (out / "images.csv").is_file():
        columns = rows.image_columns
        images = read_table(out / "images.csv", columns, REQUIRED_IMAGE_COLUMNS, rows.image, faults)
    faults += duplicates(out / "shapes.csv", [(row, shape.shape_id) for row, shape in shapes])
    faults += duplicates(out / "images.csv", [(row, image.image_id) for row, image in images])
    if faults:
        raise DatasetError(faults)
    by_id = {shape.shape_id: shape for _, shape in shapes}
    # contradictions between the tables count for nothing here: a killed process may have left them
    linked = [rows.linked(image, by_id, "", []) for _, image in images]
    return Tables(header.get("name", ""), by_id, linked, header.get("extra", {}))


def ids_in_table(out: Path) -> set[str]:
    """The ids of the shapes that a dataset folder has; none where shapes.csv is not there or cannot be read.

    Examples:
        >>> len(ids_in_table(Path("demo/dataset"))) > 0, ids_in_table(Path("no_such_folder"))
        (True, set())
    """
    rows = read_table(out / "shapes.csv", SHAPE_COLUMNS, SHAPE_COLUMNS, RowReader(2).shape, [])
    return {shape.shape_id for _, shape in rows}


def is_view(image: Image) -> bool:
    """Whether a row of images.csv is a view that prepare made.

    Examples:
        >>> is_view(Image("seat_00", "seat", "chair", "train", "renders/seat/00.jpg", "render", view=0))
        True
        >>> is_view(Image("seat_mine", "seat", "chair", "train", "photos/1.jpg", "picture"))
        False
    """
    if image.kind != "render" or image.view is None:
        return False
    name = f"{image.shape_id}_{image.view:02d}"
    return image.image_id == name and image.path == f"renders/{image.shape_id}/{image.view:02d}.jpg"


def earlier_fractions(extra: Mapping[str, Any]) -> tuple[float, ...]:
    """The parts of train, val and test that a dataset was prepared with, by the further keys of its dataset.json.

    Examples:
        >>> earlier_fractions({"prepared": {"split_fractions": [1, 0, 0]}}), earlier_fractions({})
        ((1, 0, 0), (0.8, 0.1, 0.1))
    """
    prepared = extra.get("prepared")
    fractions = prepared.get("split_fractions") if isinstance(prepared, Mapping) else None
    try:
        check_fractions(tuple(fractions or ()))
    except (CmahError, TypeError):
        return USUAL_FRACTIONS
    return tuple(fractions or ())


def rows_of(
    source: Source, folder: str, split: str, entry: Mapping[str, Any], before: Tables
) -> tuple[Shape, list[Image]]:
    """The rows of a mesh and its views; cells of further columns that the tables had for them stay.

    Args:
        source: the mesh.
        folder: its folder.
        split: of the shape.
        entry: its line of the log.
        before: the tables as they are.

    Examples:
        >>> mesh = Source(Path("/meshes/seat.obj"), "seat.obj", "seat.obj", "", "", size=9, modified=1)
        >>> shape, views = rows_of(mesh, "/meshes", "train", {"cameras": [[0, 20], [180, 20]]}, Tables("", {}, []))
        >>> shape
        Shape(shape_id='seat.obj', category='', split='train', ..., extra={'source': '/meshes/seat.obj'})
        >>> [view.path for view in views]
        ['renders/seat.obj/00.jpg', 'renders/seat.obj/01.jpg']
    """
    shape_id, category = source.shape_id, source.category
    old = before.shapes.get(shape_id)
    extra = {**(old.extra if old else {}), "source": source_of(folder, source.relative)}
    extra.pop("remarks", None)
    if entry.get("remarks"):
        extra["remarks"] = "; ".join(map(str, entry["remarks"]))
    images = []
    for view, (azimuth, elevation) in enumerate(entry["cameras"]):
        path = f"renders/{shape_id}/{view:02d}"
        images.append(
            Image(
                f"{shape_id}_{view:02d}",
                shape_id,
                category,
                split,
                f"{path}.jpg",
                "render",
                view,
                azimuth,
                elevation,
                f"{path}_mask.png",
            )
        )
    return Shape(shape_id, category, split, f"points/{shape_id}.npy", extra), images


def merged(
    out: Path,
    before: Tables,
    made: Mapping[str, tuple[Shape, list[Image]]],
    gone: Iterable[str],
    log: PrepareLog,
    parameters: Parameters,
    fractions: tuple[float, ...] = USUAL_FRACTIONS,
) -> Dataset:
    """The dataset of what was made, and of what the tables had before.

    Shapes stand in the order of their folders, within a folder by their paths; last those that prepare did not make.

    Args:
        out: the dataset folder.
        before: its tables as they are.
        made: rows by shape id, see `rows_of`; they replace those of the tables.
        gone: ids of the shapes that are left out. Photos of them stay, of no shape.
        log: of the dataset folder.
        parameters: of views and points.
        fractions: parts of train, val and test; kept in dataset.json if they are not the usual ones.

    Examples:
        >>> mesh = Source(Path("/meshes/seat.obj"), "seat.obj", "seat.obj", "", "", size=9, modified=1)
        >>> before = Tables("mine", {"seat": Shape("seat", "chair", "train", "points/seat.npy")}, [])
        >>> made = {"seat.obj": rows_of(mesh, "/meshes", "train", {"cameras": [[0, 20]]}, before)}
        >>> settings = Parameters(1, 24, 64, "y", (20.0,), jitter=0.0, seed=0)
        >>> log = PrepareLog(Path("prepare.jsonl"), ['{"folder": "/meshes", "prefix": ""}'])
        >>> dataset = merged(Path("out"), before, made, [], log, settings)
        >>> [shape.shape_id for shape in dataset.shapes], dataset.images[0].image_id
        (['seat.obj', 'seat'], 'seat.obj_00')
    """
    left_out = set(gone)
    kept = {
        shape_id: _with_absolute_source(shape, log)
        for shape_id, shape in before.shapes.items()
        if shape_id not in left_out and shape_id not in made
    }
    shapes = {**kept, **{shape_id: shape for shape_id, (shape, _) in made.items()}}
    place = {UNKNOWN: 0, **{path: number + 1 for number, path in enumerate(log.folders)}}

    def key(shape: Shape) -> tuple[int, str]:
        owner = owner_of(shape, log)
        where = place.get(owner, len(place)) if owner is not None else len(place)
        return where, shape.extra.get("source", "") if 0 < where < len(place) else ""

    views: dict[str, list[Image]] = {shape_id: list(rows) for shape_id, (_, rows) in made.items()}
    others = []
    old_views = {image.image_id: image for image in before.images if is_view(image)}
    for image in before.images:
        if not is_view(image):
            others.append(_following(image, before.shapes.get(image.shape_id), shapes.get(image.shape_id)))
        elif image.shape_id in kept:
            views.setdefault(image.shape_id, []).append(image)
    for rows in views.values():
        rows[:] = [
            replace(row, extra=old.extra, bbox=old.bbox) if (old := old_views.get(row.image_id)) else row
            for row in rows
        ]
    ordered = sorted(shapes.values(), key=key)
    owners = {owner_of(shape, log) for shape in ordered}
    folders = [
        {"path": printable(path), "prefix": prefix, **({"up": log.ups[path]} if path in log.ups else {})}
        for path, prefix in log.folders.items()
        if path in owners
    ]
    images = [image for shape in ordered for image in views.get(shape.shape_id, [])]
    splits = {} if fractions == USUAL_FRACTIONS else {"split_fractions": list(fractions)}
    extra = {**before.extra, "prepared": {**parameters.to_json(), **splits, "folders": folders}}
    return Dataset(
        out, before.name, parameters.points, "y", parameters.image_size, ordered, [*images, *others], extra
    )


def _with_absolute_source(shape: Shape, log: PrepareLog) -> Shape:
    """The row of a mesh that is no longer in its folder, where that has moved or was not recorded before."""
    owner, source = owner_of(shape, log), shape.extra.get("source", "")
    if not owner or source.startswith(printable(owner).rstrip("/") + "/"):
        return shape
    within = log.entries.get(shape.shape_id, {}).get("path") or (source if source[:1] != "/" else "")
    return replace(shape, extra={**shape.extra, "source": source_of(owner, within)}) if within else shape


def _following(image: Image, before: Shape | None, now: Shape | None) -> Image:
    """A row that is not prepare's, with the shape that it shows as it is now."""
    if now is None:
        return replace(image, shape_id="") if before is not None else image
    follows = before is not None and image.split == before.split
    return replace(image, category=now.category, split=now.split if follows else image.split)
