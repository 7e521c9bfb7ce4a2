"""The dataset folder: dataset.json, shapes.csv and images.csv, and the points and pictures that they name.

Plain enough to be made by hand or from a spreadsheet:

    dataset.json   {"format": "cmah-dataset", "version": 2, "name": …, "points_per_shape": …,
                    "up_axis": "y", "image_size": …}; optional: root
    shapes.csv     shape_id, category, split, points
    images.csv     image_id, shape_id, category, split, path, kind; optional: view, azimuth, elevation, mask, bbox

Paths have "/" between the parts and are relative to the folder or, where dataset.json names one, to `root`. Further
columns and keys are kept. An image may leave `category` and `split` empty: it takes those of its shape.

Version 1 is the same without `root` and `bbox`, with points for every shape, and with the split of an image that of its
shape. What needs nothing else is written as version 1, so that its checksum, by which runs are resumed, stays.
"""

import hashlib
import json
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cmah.data.csv_tables import FORMAT, duplicates, read_header, read_table, table_text
from cmah.data.framing import PictureFile, check_box
from cmah.data.images import load_image, load_mask
from cmah.data.mesh_sources import mesh_folders, split_source, why_unfinished
from cmah.data.names import alike_but_for_case, existing_form, split_faults
from cmah.data.point_clouds import load_points_file, normalise
from cmah.data.table_rows import (
    IMAGE_COLUMNS,
    REQUIRED_IMAGE_COLUMNS,
    SHAPE_COLUMNS,
    Image,
    RowReader,
    Shape,
)
from cmah.errors import CmahError, CmahWarning, DatasetError
from cmah.file_names import as_path, refuse_url
from cmah.files import atomic_path
from cmah.progress import progress

# float16 keeps 11 bits: a cloud with larger coordinates is normalised before it is rounded
COMFORTABLE = 2.0
NO_POINTS = "no points"  # why a shape that has images only is left out
Database = Literal["split", "all"]  # the shapes that are searched: of the images' split, or every one


@dataclass
class Dataset:
    """A dataset folder in memory: its tables, not its points and pictures.

    Attributes:
        root: the folder of the three tables.
        name: name of the dataset.
        points_per_shape: rows of each file of points.
        up_axis: "y" or "z", the axis that points up in the files of points.
        image_size: side of the rendered views in pixels.
        shapes: the rows of shapes.csv, in order.
        images: the rows of images.csv, in order.
        extra: further keys of dataset.json.
        file_root: the folder of points and pictures, absolute or relative to `root`; empty where it is `root` itself.
            Nothing is ever written there.
        remarks: what `read` accepted though it may not be meant, such as categories that differ by case alone; they
            are given as warnings too.

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
    file_root: str = ""
    remarks: list[str] = field(default_factory=list, compare=False, repr=False)

    @classmethod
    def read(cls, root: str | Path) -> "Dataset":
        """Read and check the three tables; no other file is opened.

        Raises:
            DatasetError: with every fault found, by file and row (row 1 is the header, as in a spreadsheet).
        """
        root = as_path(root)
        if not root.is_dir():
            refuse_url(root)
            raise DatasetError([f"{root}: no such folder (expected a dataset folder with dataset.json)"])
        if unfinished := why_unfinished(root):
            raise DatasetError([unfinished])
        faults: list[str] = []
        version, header = read_header(root / "dataset.json", faults)
        rows = RowReader(version)
        shapes = read_table(root / "shapes.csv", SHAPE_COLUMNS, SHAPE_COLUMNS, rows.shape, faults)
        images = read_table(
            root / "images.csv", rows.image_columns, REQUIRED_IMAGE_COLUMNS, rows.image, faults
        )
        by_id = {shape.shape_id: shape for _, shape in shapes}
        table = root / "images.csv"
        # each row of images.csv would name a shape of a table that cannot be read
        linked = (
            [rows.linked(image, by_id, f"{table}: row {row}", faults) for row, image in images]
            if shapes or not faults
            else []
        )
        for file, ids in (
            ("shapes.csv", [(row, shape.shape_id) for row, shape in shapes]),
            ("images.csv", [(row, image.image_id) for row, image in images]),
        ):
            faults.extend(duplicates(root / file, ids))
        faults += split_faults(
            [
                *((f"{root / 'shapes.csv'}: row {row}", shape.split) for row, shape in shapes),
                *((f"{table}: row {row}", image.split) for row, image in images),
            ]
        )
        if faults:
            raise DatasetError(faults)
        dataset = cls(root, shapes=[shape for _, shape in shapes], images=linked, **header)
        dataset.remarks += _remarks(shapes, images)
        for remark in dataset.remarks:
            warnings.warn(f"{root}: {remark}", CmahWarning, stacklevel=2)
        return dataset

    def write(self, root: str | Path | None = None) -> None:
        """Write the three tables, each whole or not at all, to `root` (default: where the dataset lives).

        A relative `file_root` is written as an absolute one where `root` is another folder, so that it leads to the
        same files.

        Raises:
            DatasetError: if further columns or keys have names that mean something in version 2, which is needed.
        """
        files = self.file_root
        if files and root is not None and Path(root).resolve() != self.root.resolve():
            files = str(self.file("").resolve())
        root = self.root if root is None else Path(root)
        # dataset.json last: where there is none yet, a process that is killed before the end leaves no dataset
        for name, text in reversed(self._texts(files).items()):
            with atomic_path(root / name) as temporary:
                temporary.write_text(text, encoding="utf-8", newline="")

    def checksum(self) -> str:
        """SHA-256, in hexadecimal, of the three tables as `write` would write them, wherever files and meshes lie.

        The folders of meshes are left out, and of each mesh counts its path within its folder.
        """
        folders, tables = self.mesh_folders, self
        if folders:
            shapes = [
                replace(
                    shape, extra={**shape.extra, "source": split_source(shape.extra["source"], folders)[1]}
                )
                if "source" in shape.extra
                else shape
                for shape in self.shapes
            ]
            prepared = {key: value for key, value in self.extra["prepared"].items() if key != "folders"}
            tables = replace(self, shapes=shapes, extra={**self.extra, "prepared": prepared})
        return hashlib.sha256("\0".join(tables._texts("").values()).encode()).hexdigest()

    @property
    def mesh_folders(self) -> list[dict[str, str]]:
        """The folders of meshes that the dataset was prepared from, by absolute `path` and `prefix` of their ids.

        There are none where it was made otherwise, or by a version of cmah that did not record them.

        Examples:
            >>> [Path(folder["path"]).name for folder in Dataset.read("demo/dataset").mesh_folders]
            ['meshes']
        """
        return mesh_folders(self.extra.get("prepared"))

    def file(self, path: str) -> Path:
        """Where a file lies that the tables name; every path of a shape or an image goes through here.

        Examples:
            >>> dataset = Dataset.read("demo/dataset")
            >>> str(dataset.file(dataset.shapes[0].points))
            'demo/dataset/points/airplane.airplane_000.obj.npy'
            >>> str(replace(dataset, file_root="/mnt/large").file("photos/1.jpg"))
            '/mnt/large/photos/1.jpg'
        """
        return existing_form(self.root / self.file_root / path)

    def picture(self, image: Image) -> PictureFile:
        """The picture of an image with its mask and box."""
        return PictureFile(self.file(image.path), self.file(image.mask) if image.mask else None, image.bbox)

    def select(self, split: str, database: Database = "split") -> "Dataset":
        """The images of one split and the shapes that are searched; "all" keeps everything.

        A shape that states a split is of that one alone; a shape that states none is of every split that an image of
        it is of. Only images whose own split it is are taken, also those that show a shape of another split.

        Args:
            split: its name.
            database: "split" keeps the shapes of the split, "all" every shape.

        Raises:
            DatasetError: if nothing belongs to the split.

        Examples:
            >>> dataset = Dataset.read("demo/dataset")
            >>> searched = [dataset.select("test", database=name).shapes for name in ("split", "all")]
            >>> len(searched[0]) < len(dataset.shapes), len(searched[1]) == len(dataset.shapes)
            (True, True)
        """
        if database not in ("split", "all"):
            raise DatasetError([f"database {database!r}: expected 'split' or 'all'"])
        if split == "all":
            return replace(self)
        images = [image for image in self.images if image.split == split]
        shown = {image.shape_id for image in images}
        shapes = [
            shape
            for shape in self.shapes
            if shape.split == split or (not shape.split and shape.shape_id in shown)
        ]
        if not shapes and not images:
            splits = {shape.split for shape in self.shapes} | {image.split for image in self.images}
            existing = ", ".join(sorted(splits)) or "none"
            raise DatasetError([f"{self.root}: no shape or image of split {split!r} (there are: {existing})"])
        return replace(self, shapes=self.shapes if database == "all" else shapes, images=images)

    def images_apart(self) -> list[Image]:
        """The images whose split is not that of their shape."""
        splits = {shape.shape_id: shape.split for shape in self.shapes}
        return [image for image in self.images if splits.get(image.shape_id, image.split) != image.split]

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
            CmahError: if the shape has no points, or the file is missing or is not what it should be.
        """
        if not shape.points:
            raise CmahError(f"shape {shape.shape_id!r}: {NO_POINTS}")
        points = load_points_file(self.file(shape.points), self.up_axis)
        if np.abs(points[:, :3]).max() > COMFORTABLE:
            points = normalise(points)
        return points.astype(np.float16)

    def absent_files(self) -> list[str]:
        """The files that the tables name and that are not there, one line each, with table, row and path."""
        named = [("shapes.csv", shape.shape_id, (shape.points, "")) for shape in self.shapes]
        named += [("images.csv", image.image_id, (image.path, image.mask)) for image in self.images]
        return [
            f"{table}: row of {name!r}: {self.file(path)}: no such file"
            for table, name, paths in named
            for path in paths
            if path and not os.path.exists(self.file(path))
        ]

    def check_files(self) -> list[str]:
        """Open every file that the tables name; the faults, one line each, with table, row and what was expected."""
        faults: list[str] = []
        views = self.views()
        for shape in progress([shape for shape in self.shapes if shape.points], "checking points"):
            with _collected(f"shapes.csv: row of {shape.shape_id!r}", faults):
                points = load_points_file(self.file(shape.points))
                # a shape that was a cloud from the start has no renders, and perhaps fewer points than are drawn
                cloud = all(image.kind != "render" for image in views[shape.shape_id])
                if len(points) != self.points_per_shape and not (
                    cloud and len(points) < self.points_per_shape
                ):
                    raise CmahError(
                        f"{shape.points}: {len(points)} points (dataset.json says {self.points_per_shape})"
                    )
        for image in progress(self.images, "checking images"):
            with _collected(f"images.csv: row of {image.image_id!r}", faults):
                size = load_image(self.file(image.path)).shape[:2]
                if image.mask and load_mask(self.file(image.mask)).shape != size:
                    raise CmahError(f"{image.mask}: not of the size of {image.path}")
                if image.bbox:
                    check_box(image.bbox, size)
        return faults

    @property
    def version(self) -> int:
        """The version that the tables are written in: 2 where something of it is used, else 1."""
        return 2 if self.file_root else self._version_of_tables()

    def _version_of_tables(self) -> int:
        apart = any(image.split for image in self.images_apart())
        boxes = any(image.bbox for image in self.images)
        return 2 if apart or boxes or not all(shape.points for shape in self.shapes) else 1

    def _texts(self, file_root: str) -> dict[str, str]:
        """The three tables by name, with this folder of points and pictures."""
        version = 2 if file_root else self._version_of_tables()
        taken = ["key 'root'"] * ("root" in self.extra)
        taken += ["column 'bbox'"] * any("bbox" in image.extra for image in self.images)
        if taken and version > 1:
            raise DatasetError(
                [f"{self.root}: {taken[0]} means something in version 2; expected another name"]
            )
        header = {
            "format": FORMAT,
            "version": version,
            "name": self.name,
            "points_per_shape": self.points_per_shape,
            "up_axis": self.up_axis,
            "image_size": self.image_size,
            **({"root": file_root} if file_root else {}),
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


def _remarks(shapes: Sequence[tuple[int, Shape]], images: Sequence[tuple[int, Image]]) -> list[str]:
    """What rows of both tables have that only looks equal, given with their row numbers."""
    rows = [("shapes.csv", row, item) for row, item in shapes] + [
        ("images.csv", row, item) for row, item in images
    ]
    categories: dict[str, str] = {}
    for table, row, item in rows:
        categories.setdefault(item.category, f"{table}, row {row}")
    return [
        *alike_but_for_case("categories", categories),
        *alike_but_for_case("shape ids", {shape.shape_id: f"row {row}" for row, shape in shapes}),
        *alike_but_for_case("image ids", {image.image_id: f"row {row}" for row, image in images}),
    ]


@contextmanager
def _collected(where: str, faults: list[str]) -> Iterator[None]:
    """Add a CmahError to `faults` instead of raising it."""
    try:
        yield
    except CmahError as error:
        faults.append(f"{where}: {error}")


def without_points(shapes: Sequence[Shape]) -> str:
    """How many shapes have no points, for people; "" if all have.

    Examples:
        >>> shapes = [Shape("seat", "chair", "train", "points/seat.npy"), Shape("sofa", "sofa", "train", "")]
        >>> without_points(shapes)
        "1 of 2 shapes have no points (first: 'sofa')"
    """
    missing = [shape.shape_id for shape in shapes if not shape.points]
    return f"{len(missing)} of {len(shapes)} shapes have no points (first: {missing[0]!r})" if missing else ""
