"""A picture of what a dataset holds."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFont

from cmah.data.dataset import Dataset
from cmah.errors import CmahError
from cmah.preparing.contact_sheet import _font, _heading, write_contact_sheet
from cmah.preparing.preparing import prepare
from cmah.synthetic import make_shapes


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sheet")
    make_shapes(folder / "meshes", 4, ["chair", "lamp", "mug"])
    prepare(folder / "meshes", folder / "out", jobs=1, views=3, image_size=24, points=64)
    return folder / "out"


def test_contact_sheet(prepared: Path, tmp_path: Path) -> None:
    dataset = Dataset.read(prepared)
    assert write_contact_sheet(dataset, tmp_path / "sheet.png", views=2, tile=24, width=300) == 12
    sheet = np.asarray(Image.open(tmp_path / "sheet.png"))
    assert sheet.shape[0] == 3 * (14 + 24)
    assert (sheet < 200).any(axis=(1, 2)).mean() > 0.5
    assert write_contact_sheet(dataset, tmp_path / "sheet.jpg", limit=5) == 5
    with pytest.raises(CmahError, match="png"):
        write_contact_sheet(dataset, tmp_path / "sheet.txt")


@pytest.mark.parametrize("name", ["sheet.png", "sheet.jpg", "sheet.jpeg"])
def test_sheets_replace_sheets_and_no_other_picture(prepared: Path, tmp_path: Path, name: str) -> None:
    dataset, path = Dataset.read(prepared), tmp_path / name
    for _ in range(2):
        write_contact_sheet(dataset, path, limit=2)
    photo = Image.open(path)
    photo.load()
    photo.info.clear()
    photo.save(path)
    before = path.read_bytes()
    with pytest.raises(CmahError, match="choose another name, or remove it"):
        write_contact_sheet(dataset, path, limit=2)
    assert path.read_bytes() == before


def test_headings_show_umlauts_and_fit() -> None:
    own, pillow = _font(), ImageFont.load_default()
    assert bytes(own.getmask("ü")) != bytes(own.getmask("\uffff"))  # no box
    assert _heading("Stu\u0308hle", "  3", 500, own) == "Stühle  3"
    assert _heading("Stühle groß 椅", "  3", 500, pillow) == "Stuhle gross ?  3"
    for font in (own, pillow):
        for width in range(40, 200, 7):
            heading = _heading("Bürostühle mit Rollen", "  12", width, font)
            assert font.getlength(heading) <= width
            assert heading.endswith(("…  12", "Rollen  12"))
    assert _heading("Bürostühle", "  12", 3, own) == "…  12"


def test_shapes_without_images_are_drawn_by_their_points(prepared: Path, tmp_path: Path) -> None:
    dataset = Dataset.read(prepared)
    dataset.images = [image for image in dataset.images if image.category != "mug"]
    assert write_contact_sheet(dataset, tmp_path / "sheet.png", views=3, tile=24, width=76) == 12
    sheet = np.asarray(Image.open(tmp_path / "sheet.png")).astype(int)
    mug = sheet[-24:]
    for side in range(3):
        drawn = mug[:, 24 * side : 24 * side + 24]
        assert 20 < (drawn.min(axis=2) < 230).sum() < 500
        assert (drawn[..., 2] >= drawn[..., 0]).all()  # the blue of drawn points
    dataset.images = []
    assert write_contact_sheet(dataset, tmp_path / "clouds.png", views=2, tile=24, width=300) == 12
    for shape in range(len(dataset.shapes)):
        dataset.shapes[shape] = replace(dataset.shapes[shape], points="")
    with pytest.raises(CmahError, match="no shape has an image or points"):
        write_contact_sheet(dataset, tmp_path / "none.png")
