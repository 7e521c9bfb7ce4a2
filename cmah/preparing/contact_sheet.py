"""A picture of what a dataset holds: a few views of each shape, by category."""

import importlib.util
import unicodedata
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from cmah.data.dataset import Dataset
from cmah.data.images import encoded, fit_square, load_image
from cmah.data.pictures import drawing_of_points, some_points
from cmah.data.table_rows import Shape
from cmah.errors import CmahError
from cmah.files import atomic_path, require_replaceable

LINE = 14  # pixels of a heading
MARK = "cmah contact sheet"  # comment in the file, by which a sheet is told from someone's picture


def check_sheet_name(path: str | Path) -> None:
    """Refuse a file name that is not that of a picture.

    Raises:
        CmahError: unless it ends in .png, .jpg or .jpeg.

    Examples:
        >>> check_sheet_name("sheet.png")
        >>> check_sheet_name("sheet.pdf")
        Traceback (most recent call last):
        cmah.errors.CmahError: sheet.pdf: expected a name that ends in .png or .jpg
    """
    if Path(path).suffix.lower() not in {".png", ".jpg", ".jpeg"}:
        raise CmahError(f"{path}: expected a name that ends in .png or .jpg")


def refuse_to_replace(path: str | Path) -> None:
    """Refuse to write a sheet over a file that is none, such as a photo, or that bears no mark of being one.

    Raises:
        CmahError: if there is such a file.

    Examples:
        >>> refuse_to_replace("new.png")
        >>> Image.new("RGB", (3, 2)).save("photo.png")
        >>> refuse_to_replace("photo.png")
        Traceback (most recent call last):
        cmah.errors.CmahError: photo.png: exists and is not such a file as is written here; ...
    """
    require_replaceable(path, MARK.encode())


def write_contact_sheet(
    dataset: Dataset, path: str | Path, *, views: int = 3, tile: int = 96, width: int = 1800, limit: int = 400
) -> int:
    """Write a PNG or JPG with evenly spaced views of each shape, a heading for each category.

    Shapes without images are drawn as clouds of points, seen from as many sides.

    Args:
        dataset: a dataset with images or points of shapes.
        path: the picture to write.
        views: largest number of views of a shape.
        tile: side of a view, pixels.
        width: width of the sheet, pixels.
        limit: largest number of shapes, taken evenly from all.

    Returns:
        The number of shapes on the sheet.

    Raises:
        CmahError: if no shape has an image or points, the file name is not that of a picture, or there is another file.

    Examples:
        Rows of 5 shapes, each with two views of 32 pixels and a gap of 4:

        >>> dataset = Dataset.read("demo/dataset")
        >>> write_contact_sheet(dataset, "sheet.png", views=2, tile=32, width=350, limit=10)
        10
        >>> Image.open("sheet.png").width
        340
    """
    check_sheet_name(path)
    refuse_to_replace(path)
    images_of = dataset.views()
    shown = [shape for shape in dataset.shapes if images_of[shape.shape_id] or shape.points]
    if not shown:
        raise CmahError(f"{dataset.root}: no shape has an image or points")
    keep = np.unique(np.linspace(0, len(shown) - 1, min(limit, len(shown))).astype(int))
    rows: dict[str, list[np.ndarray]] = {}
    for position in keep:
        shape = shown[position]
        images = images_of[shape.shape_id]
        chosen = np.unique(np.linspace(0, len(images), min(views, len(images)), endpoint=False).astype(int))
        tiles = [fit_square(load_image(dataset.file(images[i].path)), tile) for i in chosen]
        tiles = tiles or _drawings(dataset, shape, views, tile)
        rows.setdefault(shape.category, []).append(np.concatenate(tiles, axis=1))
    per_row = max(1, width // (views * tile + 4))
    heights = {name: LINE + tile * -(-len(strips) // per_row) for name, strips in rows.items()}
    sheet = Image.new("RGB", (per_row * (views * tile + 4), sum(heights.values())), "white")
    draw, top = ImageDraw.Draw(sheet), 0
    font = _font()
    for name, strips in sorted(rows.items()):
        heading = _heading(name or "(no category)", f"  {len(strips)}", sheet.width - 8, font)
        draw.text((4, top), heading, fill="black", font=font)
        for number, strip in enumerate(strips):
            row, column = divmod(number, per_row)
            sheet.paste(Image.fromarray(strip), (column * (views * tile + 4), top + LINE + row * tile))
        top += heights[name]
    with atomic_path(path) as temporary:
        if temporary.suffix.lower() == ".png":
            text = PngInfo()
            text.add_text("Comment", MARK)
            temporary.write_bytes(encoded(sheet, "PNG", pnginfo=text))
        else:
            temporary.write_bytes(encoded(sheet, "JPEG", comment=MARK.encode()))
    return len(keep)


def _drawings(dataset: Dataset, shape: Shape, count: int, side: int) -> list[np.ndarray]:
    """The points of a shape, uint8 [side, side, 3], from sides all round."""
    points = some_points(dataset.load_points(shape))
    return [drawing_of_points(points, side, 35 + 360 * view / count) for view in range(count)]


Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def _font() -> Font:
    """A font for headings: that of matplotlib, which has most alphabets, else Pillow's, which has English letters."""
    package = importlib.util.find_spec("matplotlib")
    if package is not None and package.origin:
        try:
            path = Path(package.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
            return ImageFont.truetype(str(path), LINE - 3)
        except (OSError, ImportError):  # there is none, or Pillow was built without FreeType
            pass
    return ImageFont.load_default()


def _heading(name: str, count: str, width: int, font: Font) -> str:
    """A name, cut with "…" where it does not fit, and a count; without the accents that the font has not."""
    name = unicodedata.normalize("NFC", name)
    if not (isinstance(font, ImageFont.FreeTypeFont) and font.getname()[0] == "DejaVu Sans"):
        parts = unicodedata.normalize("NFKD", name.replace("ß", "ss"))
        name = "".join(c for c in parts if not unicodedata.combining(c)).encode("ascii", "replace").decode()
    cut, dots = name, "…" if isinstance(font, ImageFont.FreeTypeFont) else "..."
    while cut and font.getlength(text := (cut if cut == name else cut.rstrip() + dots) + count) > width:
        cut = cut[:-1]
    return text if cut else dots + count
