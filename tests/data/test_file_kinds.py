"""What a file is taken for: by its bytes first, then by its name."""

import numpy as np
import PIL.Image
import pytest

from cmah.data.file_kinds import kind_of_file
from cmah.errors import CmahError
from cmah.synthetic.solids import Model
from cmah.synthetic.writing import write_glb, write_off

FORMATS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "name", ["photo", "photo.jfif", "photo.ppm", "photo.obj", "photo.npy", "photo.JPG", "a.dat"]
)
def test_a_picture_of_whatever_name(tmp_path, format, name):
    PIL.Image.new("RGB", (3, 3), "red").save(tmp_path / name, format=format)
    told = "mesh" if format in ("BMP", "PPM") and name.endswith(".obj") else "picture"
    assert kind_of_file(tmp_path / name) == told


@pytest.mark.parametrize("name", ["points.npy", "points", "points.jpg", "points.obj"])
def test_points_of_whatever_name(tmp_path, name):
    with open(tmp_path / name, "wb") as file:
        np.save(file, np.zeros((4, 3), np.float32))
    assert kind_of_file(tmp_path / name) == "points"


def test_meshes(tmp_path):
    box = Model()
    box.box(centre=(0, 0, 0), size=(1, 1, 1), colour=(1, 0, 0))
    write_off(box, tmp_path / "box.off")
    write_glb(box, tmp_path / "box.jpg")
    (tmp_path / "box.OBJ").write_text("v 0 0 0\n")
    (tmp_path / "cloud").write_bytes(b"ply\nformat ascii 1.0\n")
    for name in ("box.off", "box.jpg", "box.OBJ", "cloud"):
        assert kind_of_file(tmp_path / name) == "mesh"


@pytest.mark.parametrize(
    ("name", "content"), [("a.txt", b"hello"), ("a", b""), ("BM.txt", b"P7 text"), ("p.txt", b"P")]
)
def test_what_is_none_of_them_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CmahError, match="expected a picture, a mesh"):
        kind_of_file(tmp_path / name)


def test_a_broken_picture_is_told_by_its_name(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"<html>")
    assert kind_of_file(tmp_path / "photo.jpg") == "picture"
    with pytest.raises(CmahError, match="no such file"):
        kind_of_file(tmp_path / "none.jpg")
