"""A picture of what a dataset holds."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cmah.data.dataset import Dataset
from cmah.errors import CmahError
from cmah.preparing.contact_sheet import write_contact_sheet
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
