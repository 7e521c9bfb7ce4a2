"""The dataset folder: dataset.json, shapes.csv and images.csv beside the points and pictures they name.

Version 1, plain enough to be made by hand or from a spreadsheet:

    dataset.json   {"format": "cmah-dataset", "version": 1, "name": …, "points_per_shape": …,
                    "up_axis": "y", "image_size": …}
    shapes.csv     shape_id, category, split, points
    images.csv     image_id, shape_id, category, split, path, kind; optional: view, azimuth, elevation, mask

Paths are relative to the folder, with "/" between the parts. Further columns and keys are kept. An image of a
shape may leave `category` and `split` empty: it takes those of its shape.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from cmah.data.csv_tables import (
    FORMAT,
    VERSION,
    Fault,
    check_path,
    check_text,
    duplicates,
    read_header,
    read_number,
    read_table,
    table_text,
)
from cmah.data.images import load_image, load_mask
from cmah.data.point_clouds import load_points_file, normalise
from cmah.errors import CmahError, DatasetError
from cmah.files import atomic_path
from cmah.progress import progress

KINDS = ("render", "picture", "photo")
# float16 keeps 11 bits: a cloud with larger coordinates is normalised before it is rounded
COMFORTABLE = 2.0


@dataclass(frozen=True)
class Shape:
    """A row of shapes.csv.

    Attributes:
        shape_id: unique among the shapes.
        category: empty where unknown.
        split: for example "train", "val" or "test"; may be empty.
        points: path of the .npy file, relative to the folder.
        extra: further columns of the file.

    Examples:
        >>> Dataset.read("demo/dataset").shapes[0]
        Shape(shape_id='airplane.airplane_000.obj', category='airplane', split='train', ...)
    """

    shape_id: str
    category: str
    split: str
    points: str
    extra: dict[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Image:
    """A row of images.csv.

    Attributes:
        image_id: unique among the images.
        shape_id: empty where only the category is known.
        category: empty where unknown.
        split: the same as that of its shape.
        path: path of the picture, relative to the folder.
        kind: "render", "picture" or "photo".
        view: number of the camera, None where unknown.
        azimuth: degrees about the up axis, None where unknown.
        elevation: degrees above the horizon, None where unknown.
        mask: path of a grey picture, 255 = object; empty where there is none.
        extra: further columns of the file.

    Examples:
        >>> Dataset.read("demo/dataset").images[1]
        Image(image_id='airplane.airplane_000.obj_01', shape_id='airplane.airplane_000.obj', ...)
    """

    image_id: str
    shape_id: str
    category: str
    split: str
    path: str
    kind: str
    view: int | None = None
    azimuth: float | None = None
    elevation: float | None = None
    mask: str = ""
    extra: dict[str, str] = field(default_factory=dict, hash=False)


SHAPE_COLUMNS = tuple(column.name for column in fields(Shape))[:-1]
IMAGE_COLUMNS = tuple(column.name for column in fields(Image))[:-1]
REQUIRED_IMAGE_COLUMNS = IMAGE_COLUMNS[:6]


@dataclass
class Dataset:
    """A dataset folder in memory: its tables, not its points and pictures.

    Attributes:
        root: the folder.
        name: name of the dataset.
        points_per_shape: rows of each file of points.
        up_axis: "y" or "z", the axis that points up in the files of points.
        image_size: side of the rendered views in pixels.
        shapes: the rows of shapes.csv, in order.
        images: the rows of images.csv, in order.
        extra: further keys of dataset.json.

    Examples:
        >>> dataset = Dataset.read("demo/dataset").select("test")
        >>> airplane = dataset.shapes[0]
        >>> dataset.load_points(airplane).shape
        (1024, 6)
        >>> dataset.views()[airplane.shape_id][1].path
        'renders/airplane.airplane_002.obj/01.jpg'
    """

    root: Path
    name: str
    points_per_shape: int
    up_axis: str
    image_size: int
    shapes: list[Shape]
    images: list[Image]
    extra: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, root: str | Path) -> "Dataset":
        """Read and check the three tables; no other file is opened.

        Raises:
            DatasetError: with every fault found, by file and row (row 1 is the header, as in a spreadsheet).
        """
        root = Path(root)
        if not root.is_dir():
            raise DatasetError([f"{root}: no such folder (expected a dataset folder with dataset.json)"])
        faults: list[str] = []
        header = read_header(root / "dataset.json", faults)
        shapes = read_table(root / "shapes.csv", SHAPE_COLUMNS, SHAPE_COLUMNS, _shape, faults)
        images = read_table(root / "images.csv", IMAGE_COLUMNS, REQUIRED_IMAGE_COLUMNS, _image, faults)
        by_id = {shape.shape_id: shape for _, shape in shapes}
        linked = [_linked(image, by_id, f"{root / 'images.csv'}: row {row}", faults) for row, image in images]
        for file, ids in (
            ("shapes.csv", [(row, shape.shape_id) for row, shape in shapes]),
            ("images.csv", [(row, image.image_id) for row, image in images]),
        ):
            faults.extend(duplicates(root / file, ids))
        if faults:
            raise DatasetError(faults)
        return cls(root, shapes=[shape for _, shape in shapes], images=linked, **header)

    def write(self, root: str | Path | None = None) -> None:
        """Write the three tables, each whole or not at all, to `root` (default: where the dataset lives)."""
        root = self.root if root is None else Path(root)
        for name, text in self._texts().items():
            with atomic_path(root / name) as temporary:
                temporary.write_text(text, encoding="utf-8", newline="")

    def checksum(self) -> str:
        """SHA-256, in hexadecimal, of the three tables as `write` would write them."""
        return hashlib.sha256("\0".join(self._texts().values()).encode()).hexdigest()

    def select(self, split: str) -> "Dataset":
        """The shapes and images of one split; "all" keeps everything.

        Raises:
            DatasetError: if nothing belongs to the split.
        """
        if split == "all":
            return replace(self)
        shapes = [shape for shape in self.shapes if shape.split == split]
        images = [image for image in self.images if image.split == split]
        if not shapes and not images:
            splits = {shape.split for shape in self.shapes} | {image.split for image in self.images}
            existing = ", ".join(sorted(splits)) or "none"
            raise DatasetError([f"{self.root}: no shape or image of split {split!r} (there are: {existing})"])
        return replace(self, shapes=shapes, images=images)

    def views(self) -> dict[str, list[Image]]:
        """The images of each shape, in file order; images without a shape are left out."""
        views: dict[str, list[Image]] = {shape.shape_id: [] for shape in self.shapes}
        for image in self.images:
            if image.shape_id in views:
                views[image.shape_id].append(image)
        return views

    def some_views(self, shapes: Sequence[Shape], kinds: Sequence[str], count: int) -> list[Image]:
        """Up to `count` images of each shape, of the given kinds, evenly spaced in file order."""
        views, chosen = self.views(), []
        for shape in shapes:
            candidates = [image for image in views[shape.shape_id] if image.kind in kinds]
            few = min(len(candidates), count)
            chosen += [candidates[i * len(candidates) // few] for i in range(few)]
        return chosen

    def load_points(self, shape: Shape) -> np.ndarray:
        """The points of a shape as float16 [n, 3] or [n, 6] (xyz, rgb in 0..1), y up whatever the file has.

        Clouds that reach far beyond the unit sphere are normalised first: float16 would round them coarsely.

        Raises:
            CmahError: if the file is missing or is not what it should be.
        """
        points = load_points_file(self.root / shape.points, self.up_axis)
        if np.abs(points[:, :3]).max() > COMFORTABLE:
            points = normalise(points)
        return points.astype(np.float16)

    def check_files(self) -> list[str]:
        """Open every file that the tables name; the faults, one line each, with table, row and what was expected."""
        faults: list[str] = []
        for shape in progress(self.shapes, "checking points"):
            with _collected(f"shapes.csv: row of {shape.shape_id!r}", faults):
                points = load_points_file(self.root / shape.points)
                if len(points) != self.points_per_shape:
                    raise CmahError(
                        f"{shape.points}: {len(points)} points (dataset.json says {self.points_per_shape})"
                    )
        for image in progress(self.images, "checking images"):
            with _collected(f"images.csv: row of {image.image_id!r}", faults):
                pixels = load_image(self.root / image.path)
                if image.mask and load_mask(self.root / image.mask).shape != pixels.shape[:2]:
                    raise CmahError(f"{image.mask}: not of the size of {image.path}")
        return faults

    def _texts(self) -> dict[str, str]:
        header = {
            "format": FORMAT,
            "version": VERSION,
            "name": self.name,
            "points_per_shape": self.points_per_shape,
            "up_axis": self.up_axis,
            "image_size": self.image_size,
            **self.extra,
        }
        optional = [
            name
            for name in IMAGE_COLUMNS[len(REQUIRED_IMAGE_COLUMNS) :]
            if any(getattr(image, name) not in (None, "") for image in self.images)
        ]
        return {
            "dataset.json": json.dumps(header, indent=1, ensure_ascii=False) + "\n",
            "shapes.csv": table_text(self.shapes, SHAPE_COLUMNS),
            "images.csv": table_text(self.images, (*REQUIRED_IMAGE_COLUMNS, *optional)),
        }


@contextmanager
def _collected(where: str, faults: list[str]) -> Iterator[None]:
    """Add a CmahError to `faults` instead of raising it."""
    try:
        yield
    except CmahError as error:
        faults.append(f"{where}: {error}")


def _shape(cells: dict[str, str], extra: dict[str, str], fault: Fault) -> Shape:
    if not cells["shape_id"]:
        fault("shape_id is empty")
    check_text(cells, fault)
    check_path(cells["points"], "points", fault)
    return Shape(**cells, extra=extra)


def _image(cells: dict[str, str], extra: dict[str, str], fault: Fault) -> Image:
    if not cells["image_id"]:
        fault("image_id is empty")
    check_text(cells, fault)
    check_path(cells["path"], "path", fault)
    if cells.get("mask"):
        check_path(cells["mask"], "mask", fault)
    if cells["kind"] not in KINDS:
        fault(f"kind is {cells['kind']!r} (expected {', '.join(KINDS)})")
    return Image(
        **{key: value for key, value in cells.items() if key not in ("view", "azimuth", "elevation")},
        view=read_number(cells, "view", int, fault),
        azimuth=read_number(cells, "azimuth", float, fault),
        elevation=read_number(cells, "elevation", float, fault),
        extra=extra,
    )


def _linked(image: Image, shapes: dict[str, Shape], where: str, faults: list[str]) -> Image:
    """The image with empty category and split taken from its shape; disagreements go to `faults`."""
    if not image.shape_id:
        return image
    shape = shapes.get(image.shape_id)
    if shape is None:
        faults.append(f"{where}: shape_id {image.shape_id!r} is not in shapes.csv")
        return image
    for key in ("split", "category"):
        stated, expected = getattr(image, key), getattr(shape, key)
        if stated and stated != expected:
            faults.append(
                f"{where}: {key} is {stated!r}, but that of its shape {image.shape_id!r} is {expected!r}"
            )
        elif stated != expected:
            image = replace(image, **{key: expected})
    return image
