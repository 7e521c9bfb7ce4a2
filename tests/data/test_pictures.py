"""Pictures of images, point clouds and query files, as they stand in a page."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from cmah.data.pictures import SIDE, drawing_of_points, picture_of_file, picture_of_image, picture_of_points


def decoded(address):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))).convert("RGB"))


def test_picture_of_image():
    image = np.zeros((40, 20, 3), np.uint8)
    image[:, :, 0] = 200
    picture = decoded(picture_of_image(image))
    assert picture.shape == (40, 40, 3)  # a small picture is not blown up
    assert abs(picture[..., 0].astype(int) - 200).max() < 8
    assert decoded(picture_of_image(np.zeros((300, 400, 3), np.uint8))).shape == (SIDE, SIDE, 3)


@pytest.mark.parametrize("columns", [3, 6])
def test_picture_of_points_is_upright(columns):
    """A pole along y becomes a vertical line in the middle, whatever its place and size."""
    points = np.full((200, columns), 7.0)
    points[:, 1] = np.linspace(0, 1000, 200)
    dark = decoded(picture_of_points(points)).min(axis=2) < 200
    rows, columns_of_dark = np.nonzero(dark)
    assert np.ptp(rows) > 0.8 * SIDE
    assert np.ptp(columns_of_dark) <= 2
    assert abs(columns_of_dark.mean() - SIDE / 2) < 3


def test_near_points_hide_far_ones_and_the_front_faces_the_viewer():
    """x = 1 lies to the right, and z = 1 is nearer than z = -1."""
    points = np.array([[0, 0, 1.0], [0, 0, -1.0]])
    picture = decoded(picture_of_points(points)).astype(int).min(axis=2)
    rows, columns = np.nonzero(picture < 250)
    near, far = picture[rows, columns].argmin(), picture[rows, columns].argmax()
    assert rows[near] > rows[far]  # seen from above, what is nearer lies lower
    assert picture[rows[near], columns[near]] < picture[rows[far], columns[far]]


def test_single_point_and_unreadable_files(tmp_path):
    assert (decoded(picture_of_points(np.ones((5, 3)))) < 200).any()
    assert picture_of_file(tmp_path / "nothing.jpg") == ""
    np.save(tmp_path / "cloud.npy", np.random.default_rng(0).standard_normal((30, 3)))
    upright, lying = picture_of_file(tmp_path / "cloud.npy"), picture_of_file(tmp_path / "cloud.npy", up="z")
    assert upright.startswith("data:image/png")
    assert upright != lying


def test_the_picture_of_a_query_does_not_depend_on_its_name(tmp_path):
    Image.new("RGB", (20, 20), "red").save(tmp_path / "photo.obj", format="PNG")
    assert picture_of_file(tmp_path / "photo.obj").startswith("data:image/jpeg")
    header = "ply\nformat ascii 1.0\nelement vertex 3\n" + "".join(f"property float {c}\n" for c in "xyz")
    (tmp_path / "cloud.ply").write_text(header + "end_header\n0 0 0\n1 0 0\n0 2 0\n")
    assert picture_of_file(tmp_path / "cloud.ply").startswith("data:image/png")


def painted(points, side, azimuth):
    """What `drawing_of_points` draws, point by point from the farthest to the nearest."""
    xyz = points - (points.min(axis=0) + points.max(axis=0)) / 2
    xyz /= np.linalg.norm(xyz, axis=1).max()
    a, e = np.radians(azimuth), np.radians(20)
    toward = np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])
    right = np.array([np.cos(a), 0, -np.sin(a)])
    up = np.cross(toward, right)
    canvas = np.full((side, side, 3), 255, np.uint8)
    for point in sorted(xyz, key=lambda point: point @ toward):
        column = round(side / 2 + point @ right * (side / 2 - min(6, side / 8)))
        line = round(side / 2 - point @ up * (side / 2 - min(6, side / 8)))
        near = (point @ toward + 1) / 2
        shade = np.array([176, 196, 222]) + near * (np.array([28, 60, 110]) - [176, 196, 222])
        canvas[line - 1 : line + 1, column - 1 : column + 1] = shade.astype(np.uint8)
    return canvas


@pytest.mark.parametrize(("side", "azimuth"), [(SIDE, 35), (24, 155), (8, 275)])
def test_points_are_painted_from_far_to_near(side, azimuth):
    points = np.random.default_rng(0).standard_normal((3000, 3))
    np.testing.assert_array_equal(drawing_of_points(points, side, azimuth), painted(points, side, azimuth))
