"""One shape of a dataset: no view of it is empty."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cmah.errors import CmahError
from cmah.preparing.shape_task import prepare_shape

SHEETS = {
    "upright": "0 0 0\n1 0 0\n1 1 0\n0 1 0",
    "flat": "0 0 0\n1 0 0\n1 0 1\n0 0 1",
    "leaning": "0 0 0\n1 0 1\n1 1 1\n0 1 0",
}


def task(folder: Path, corners: str, **more: Any) -> dict[str, Any]:
    (folder / "a.off").write_text(f"OFF\n4 1 0\n{corners}\n4 0 1 2 3\n")
    given = {"path": str(folder / "a.off"), "out": str(folder / "out"), "shape_id": "a", "views": 8}
    return {
        **given,
        "image_size": 48,
        "points": 9,
        "up": "y",
        "elevations": [0.0],
        "jitter": 0.0,
        "seed": 0,
    } | more


@pytest.mark.parametrize("name", SHEETS)
def test_a_camera_that_looks_along_a_sheet_is_turned(tmp_path: Path, name: str) -> None:
    result = prepare_shape(task(tmp_path, SHEETS[name]))
    masks = [np.array(Image.open(path)) for path in sorted((tmp_path / "out/renders/a").glob("*_mask.png"))]
    assert len(masks) == 8
    assert all(mask.any() for mask in masks)
    turned = [camera for view, camera in enumerate(result["cameras"]) if camera != [45.0 * view, 0.0]]
    assert len(turned) == (8 if name == "flat" else 2)
    for azimuth, elevation in turned:
        assert (azimuth % 45, elevation) in {(5, 0), (0, 5)}


def test_a_thread_is_refused(tmp_path: Path) -> None:
    thread = "0 0 0\n0 1 0\n1e-7 1 0\n1e-7 0 0"
    with pytest.raises(CmahError, match="nothing to be seen from"):
        prepare_shape(task(tmp_path, thread))
