"""The rows of shapes.csv and images.csv: what they hold, and reading them; every fault is noted."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace

from cmah.data.csv_tables import Fault, check_path, check_text, read_box, read_number
from cmah.data.framing import Box

MOST_HINTS = 20
KINDS = ("render", "picture", "photo")


@dataclass(frozen=True)
class Shape:
    """A row of shapes.csv.

    Attributes:
        shape_id: unique among the shapes.
        category: empty where unknown.
        split: for example "train", "val" or "test"; empty for a shape that is in every split that its images are in.
        points: path of the .npy file (see `Dataset.file`); empty where there are images only.
        extra: further columns of the file.

    Examples:
        >>> from cmah.data.dataset import Dataset
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
        split: its own; where the file has none, that of its shape.
        path: path of the picture (see `Dataset.file`).
        kind: "render", "picture" or "photo".
        view: number of the camera, None where unknown.
        azimuth: degrees about the up axis, None where unknown.
        elevation: degrees above the horizon, None where unknown.
        mask: path of a grey picture, 255 = object; empty where there is none.
        extra: further columns of the file.
        bbox: where the object is: x, y, width, height in pixels of the upright picture, from its upper left corner;
            None where unknown.

    Examples:
        >>> from cmah.data.dataset import Dataset
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
    bbox: Box | None = None


SHAPE_COLUMNS = tuple(column.name for column in fields(Shape) if column.name != "extra")
IMAGE_COLUMNS = tuple(column.name for column in fields(Image) if column.name != "extra")
REQUIRED_IMAGE_COLUMNS = IMAGE_COLUMNS[:6]
FIRST_IMAGE_COLUMNS = tuple(name for name in IMAGE_COLUMNS if name != "bbox")  # those of version 1


class RowReader:
    """Makes shapes and images of the cells of a table, by the rules of one version of the format.

    Args:
        version: of the dataset folder, 1 or 2.

    Examples:
        >>> cells = {"shape_id": "seat", "category": "chair", "split": "", "points": ""}
        >>> RowReader(2).shape(cells, {}, print)
        Shape(shape_id='seat', category='chair', split='', points='', extra={})
        >>> _ = RowReader(1).shape(cells, {}, print)
        points is empty (expected a path relative to the dataset folder)
    """

    def __init__(self, version: int) -> None:
        self.version = version
        self.image_columns = IMAGE_COLUMNS if version > 1 else FIRST_IMAGE_COLUMNS

    def shape(self, cells: dict[str, str], extra: dict[str, str], fault: Fault) -> Shape:
        """A shape; what is wrong goes to `fault`."""
        if not cells["shape_id"]:
            fault("shape_id is empty")
        check_text(cells, fault)
        if cells["points"] or self.version == 1:
            check_path(cells["points"], "points", fault)
        return Shape(**cells, extra=extra)

    def image(self, cells: dict[str, str], extra: dict[str, str], fault: Fault) -> Image:
        """An image; what is wrong goes to `fault`."""
        if not cells["image_id"]:
            fault("image_id is empty")
        check_text(cells, fault)
        check_path(cells["path"], "path", fault)
        if cells.get("mask"):
            check_path(cells["mask"], "mask", fault)
        if cells["kind"] not in KINDS:
            fault(f"kind is {cells['kind']!r} (expected {', '.join(KINDS)})")
        numbers = ("view", "azimuth", "elevation", "bbox")
        return Image(
            **{key: value for key, value in cells.items() if key not in numbers},
            view=read_number(cells, "view", int, fault),
            azimuth=read_number(cells, "azimuth", float, fault),
            elevation=read_number(cells, "elevation", float, fault),
            bbox=read_box(cells, "bbox", fault),
            extra=extra,
        )

    def linked(self, image: Image, shapes: Mapping[str, Shape], where: str, faults: list[str]) -> Image:
        """The image with empty category and split taken from its shape.

        Args:
            image: of any shape or none.
            shapes: all shapes by id.
            where: file and row of the image.
            faults: gets a line for each contradiction: another category or, in version 1, another split.
        """
        if not image.shape_id:
            return image
        shape = shapes.get(image.shape_id)
        if shape is None:
            hint = ""
            if len(faults) < MOST_HINTS:  # each looks through all shapes
                wanted = image.shape_id.casefold()
                hint = next((f", which has {name!r}" for name in shapes if name.casefold() == wanted), "")
            faults.append(f"{where}: shape_id {image.shape_id!r} is not in shapes.csv{hint}")
            return image
        own_split = bool(image.split) and self.version > 1
        for key in ("category",) if own_split else ("split", "category"):
            stated, expected = getattr(image, key), getattr(shape, key)
            if stated and stated != expected:
                hint = " (allowed in version 2)" if key == "split" else ""
                faults.append(
                    f"{where}: {key} is {stated!r}, but that of its shape {image.shape_id!r} is {expected!r}{hint}"
                )
            elif stated != expected:
                image = replace(image, **{key: expected})
        return image
