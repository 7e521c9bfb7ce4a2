"""PLY files: what their elements and properties mean."""

from pathlib import Path

import numpy as np
import pytest
from mesh_samples import refusal, texture, write

from cmah.errors import CmahError
from cmah.meshes.mesh_files import read_parts
from cmah.meshes.mesh_loading import load_mesh
from cmah.meshes.part import Part
from cmah.meshes.ply import ply_points
from cmah.meshes.point_sampling import sample_points

XYZ = "property float x\nproperty float y\nproperty float z\n"
FACE = "element face {}\nproperty list uchar int {}\n"


def ascii_ply(*header: str, rows: str) -> str:
    return "ply\nformat ascii 1.0\n" + "".join(header) + "end_header\n" + rows


def only(path: Path, remarks: list[str] | None = None) -> Part:
    (part,) = read_parts(path, remarks=remarks)
    return part


def triangle(properties: str, colour: str) -> str:
    rows = "".join(f"{xyz} {colour}\n" for xyz in ("0 0 0", "1 0 0", "0 1 0"))
    return ascii_ply(
        "element vertex 3\n", XYZ, properties, FACE.format(1, "vertex_index"), rows=rows + "3 0 1 2\n"
    )


def properties(kind: str, *names: str) -> str:
    return "".join(f"property {kind} {name}\n" for name in names)


@pytest.mark.parametrize(("kind", "names", "colour"), [
    ("uchar", ("red", "green", "blue"), "255 0 51"), ("uint8", ("r", "g", "b"), "255 0 51"),
    ("uchar", ("diffuse_red", "diffuse_green", "diffuse_blue"), "255 0 51"),
    ("uchar", ("red", "green", "blue", "alpha"), "255 0 51 255"),
    ("uchar", ("Red", "Green", "Blue", "Alpha"), "255 0 51 1"),
    ("ushort", ("red", "green", "blue"), "65535 0 13107"), ("ushort", ("red", "green", "blue"), "255 0 51"),
    ("float", ("red", "green", "blue"), "1 0 0.2"), ("float", ("red", "green", "blue", "alpha"), "255 0 51 1"),
    ("double", ("blue", "green", "red", "a"), "0.2 0 1 1"), ("int", ("red", "green", "blue"), "255 0 51"),
    ("char", ("red", "green", "blue"), "-1 0 51"),
])  # fmt: skip
def test_colours_of_vertices(tmp_path: Path, kind: str, names: tuple[str, ...], colour: str) -> None:
    part = only(write(tmp_path / "a.ply", triangle(properties(kind, *names), colour)))
    np.testing.assert_allclose(part.vertex_rgba, [[1, 0, 0.2, 1]] * 3, atol=1e-6)


def test_colours_of_faces_and_of_materials(tmp_path: Path) -> None:
    vertices = ("element vertex 4\n", XYZ)
    rows = "0 0 0\n1 0 0\n1 1 0\n0 1 0\n"
    rgb = properties("uchar", "red", "green", "blue")
    text = ascii_ply(
        *vertices, FACE.format(2, "vertex_indices"), rgb, rows=rows + "3 0 1 2 255 0 0\n4 0 1 2 3 0 0 255\n"
    )
    part = only(write(tmp_path / "a.ply", text))
    np.testing.assert_allclose(part.face_rgba, [[1, 0, 0, 1], [0, 0, 1, 1], [0, 0, 1, 1]])
    material = "element material 2\n" + properties(
        "uchar", "ambient_red", "diffuse_red", "diffuse_green", "diffuse_blue"
    )
    text = ascii_ply(
        *vertices, FACE.format(3, "vertex_indices"), "property int material_index\n", material,
        rows=rows + "3 0 1 2 1\n3 0 2 3 0\n3 1 2 3 7\n9 255 0 0\n9 0 0 255\n",
    )  # fmt: skip
    remarks: list[str] = []
    part = only(write(tmp_path / "b.ply", text), remarks)
    np.testing.assert_allclose(part.face_rgba, [[0, 0, 1, 1], [1, 0, 0, 1], [np.nan] * 4])
    assert remarks == ["material not found (1 faces)"]


def test_strips_of_triangles(tmp_path: Path) -> None:
    text = ascii_ply(
        "element vertex 6\n", XYZ, "element tristrips 2\nproperty list int int vertex_indices\n",
        rows="0 0 0\n0 1 0\n1 0 0\n1 1 0\n2 0 0\n2 1 0\n7 0 1 2 3 -1 2 3\n6 0 1 2 3 4 5\n",
    )  # fmt: skip
    part = only(write(tmp_path / "a.ply", text))
    assert part.faces.tolist() == [[0, 1, 2], [2, 1, 3], [0, 1, 2], [2, 1, 3], [2, 3, 4], [4, 3, 5]]
    corners = part.vertices[part.faces]
    assert (np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, 2] < 0).all()


SQUARE_ROWS = ("0 0 0", "1 0 0", "1 1 0", "0 1 0")
UV = ("0 0", "1 0", "1 1", "0 1")


@pytest.mark.parametrize(
    "names", [("s", "t"), ("u", "v"), ("texture_u", "texture_v"), ("texture_s", "texture_t")]
)
def test_a_texture_by_coordinates_of_vertices(tmp_path: Path, names: tuple[str, str]) -> None:
    texture(tmp_path / "my red.png")
    rows = "".join(f"{xyz} {uv}\n" for xyz, uv in zip(SQUARE_ROWS, UV, strict=True)) + "4 0 1 2 3\n"
    header = ("comment TextureFile my red.png\nelement vertex 4\n", XYZ, properties("float", *names))
    mesh = load_mesh(
        write(tmp_path / "a.ply", ascii_ply(*header, FACE.format(1, "vertex_indices"), rows=rows))
    )
    np.testing.assert_allclose(sample_points(mesh, 50, 0)[:, 3:], [[1, 0, 0]] * 50, atol=1e-6)
    (tmp_path / "my red.png").unlink()
    assert load_mesh(tmp_path / "a.ply").remarks == ("texture not found (my red.png)",)


def test_textures_by_coordinates_and_numbers_of_faces(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (4, 4), (255, 0, 0)).save(tmp_path / "red.png")
    Image.new("RGB", (4, 4), (0, 0, 255)).save(tmp_path / "blue.png")
    header = (
        "comment TextureFile red.png\ncomment TextureFile blue.png\nelement vertex 4\n", XYZ,
        properties("uchar", "red", "green", "blue"), FACE.format(4, "vertex_indices"),
        "property list uchar float texcoord\nproperty int texnumber\n",
    )  # fmt: skip
    rows = "".join(f"{xyz} 0 255 0\n" for xyz in SQUARE_ROWS)
    rows += "3 0 1 2 6 0 0 1 0 1 1 0\n3 0 2 3 6 0 0 1 1 0 1 1\n4 0 1 2 3 0 0\n3 0 1 3 6 0 0 1 0 0 1 -1\n"
    parts = read_parts(write(tmp_path / "a.ply", ascii_ply(*header, rows=rows)))
    names = [None if part.texture is None else part.texture.info["file_path"] for part in parts]
    assert (names, [len(part.faces) for part in parts]) == ([None, "red.png", "blue.png"], [3, 1, 1])
    assert parts[0].vertex_rgba is not None
    assert parts[1].uv is not None
    np.testing.assert_allclose(parts[1].uv[parts[1].faces[0]], [[0, 0], [1, 0], [1, 1]])


def test_no_faces_is_a_cloud(tmp_path: Path) -> None:
    cloud = ascii_ply(
        "element vertex 2\n",
        XYZ,
        properties("uchar", "red", "green", "blue"),
        rows="0 1 2 255 0 51\n3 4 5 0 0 0\n",
    )
    path = write(tmp_path / "a.ply", cloud)
    assert refusal(path) == "no faces (it is a cloud of 2 points)"
    xyz, rgb = ply_points(path)
    assert rgb is not None
    assert (xyz.dtype, rgb.dtype) == (np.float64, np.float32)
    np.testing.assert_allclose(xyz, [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_allclose(rgb, [[1, 0, 0.2], [0, 0, 0]], atol=1e-6)
    path = write(
        tmp_path / "b.ply",
        ascii_ply("element vertex 1\n", XYZ, FACE.format(0, "vertex_indices"), rows="0 1 2\n"),
    )
    assert refusal(path) == "no faces (it is a cloud of 1 points)"
    xyz, rgb = ply_points(path)
    assert rgb is None
    np.testing.assert_array_equal(xyz, [[0, 1, 2]])
    for text in (
        "ply\n",
        ascii_ply("element vertex 0\n", XYZ, rows=""),
        ascii_ply("element vertex 1\nproperty float x\n", rows="1\n"),
    ):
        with pytest.raises(CmahError):
            ply_points(write(tmp_path / "c.ply", text))
    with pytest.raises(CmahError, match="No such file"):
        ply_points(tmp_path / "d.ply")


@pytest.mark.parametrize(("faces", "reason"), [
    ("3 0 1 3", "not in the file (expected 0 to 2)"), ("3 0 1 -1", "not in the file"),
    ("3 0 1 1.5", "something else than a whole number"), ("3 0 1 nan", "something else than a whole number"),
])  # fmt: skip
def test_indices_that_cannot_be_are_refused(tmp_path: Path, faces: str, reason: str) -> None:
    text = triangle(properties("uchar", "red"), "0").replace("3 0 1 2", faces)
    assert reason in refusal(write(tmp_path / "a.ply", text))


def test_faces_without_corners_and_data_at_the_end(tmp_path: Path) -> None:
    text = triangle("", "")
    assert "faces without vertices" in refusal(
        write(tmp_path / "a.ply", text.replace("vertex_index", "texcoord"))
    )
    assert len(load_mesh(write(tmp_path / "c.ply", text.replace("vertex_index", "corners"))).faces) == 1
    mesh = load_mesh(write(tmp_path / "b.ply", text + "3 0 1 2\n"))
    assert mesh.remarks == ("data after the last element not read",)
