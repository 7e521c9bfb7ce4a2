"""OFF files of the whole family, and their colours."""

import struct
from pathlib import Path

import numpy as np
import pytest
from mesh_samples import refusal, write

from cmah.meshes.mesh_files import read_parts
from cmah.meshes.mesh_loading import load_mesh
from cmah.meshes.part import Part

CORNERS = ((0, 0, 0), (1, 0, 0), (0, 1, 0))


def only(path: Path, remarks: list[str] | None = None) -> Part:
    (part,) = read_parts(path, remarks=remarks)
    return part


@pytest.mark.parametrize(("text", "vertices", "triangles"), [
    ("OFF8 6 0\n" + "\n".join(f"{x} {y} {z}" for x in (0, 1) for y in (0, 1) for z in (0, 1))
     + "\n4 0 1 3 2\n4 4 6 7 5\n4 0 4 5 1\n4 2 3 7 6\n4 0 2 6 4\n4 1 5 7 3\n", 8, 12),
    ("# made by hand\nOFF\n\n3 1 # no edges\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n", 3, 1),
    ("OFF 5 2 0\n0 0 0\n1 0 0\n1 1 0\n.5 2 0\n0 1 0\n5 0 1 2 3 4\n2 0 1\n", 5, 3),
    ("NOFF\n3 1 0\n0 0 0 0 0 1\n1 0 0 0 0 1\n0 1 0 0 0 1\n3 0 1 2\n", 3, 1),
    ("off\r3 1 0\r0 0 0\r1 0 0\r0 1 0\r3 0 1 2\r", 3, 1),
    ("3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n", 3, 1),  # the word may be left out
    ("\ufeffOFF\n3\t1\t0\n0\t0\t0\n1 0 0\n0 1 0\n3  0 1 2", 3, 1),
    ("4OFF\n3 1 0\n0 0 0 2\n2 0 0 2\n0 2 0 2\n3 0 1 2\n", 3, 1),
    ("nOFF 3\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n", 3, 1),
    ("nOFF\n2\n3 1 0\n0 0\n1 0\n0 1\n3 0 1 2\n", 3, 1),
    ("STNOFF\n3 1 0\n0 0 0 0 0 1 .5 .5\n1 0 0 0 0 1 0 0\n0 1 0 0 0 1 0 0\n3 0 1 2\n", 3, 1),
    ("OFF\n3 1 0\n0 0 0 1\n0 0 0 1 0\n3 0 1\n2\n", 3, 1),  # broken into lines anywhere
])  # fmt: skip
def test_off_variants(tmp_path: Path, text: str, vertices: int, triangles: int) -> None:
    part = only(write(tmp_path / "a.off", text))
    assert (part.vertices.shape, part.faces.shape) == ((vertices, 3), (triangles, 3))
    assert part.vertex_rgba is None
    assert part.face_rgba is None
    if vertices == 3:
        np.testing.assert_allclose(part.vertices, CORNERS)
    assert (part.normals is not None) == ("NOFF" in text)


RED = [[1, 0, 0, 1]] * 3


@pytest.mark.parametrize(("header", "colour"), [
    ("COFF", "255 0 0 255"), ("COFF", "255 0 0 1"), ("COFF", "255 0 0"), ("COFF", "1 0 0 1"), ("COFF", "1.0 0 0"),
    ("COFF", "1 0 0 255"), ("coff", "255 0 0"), ("OFF", "255 0 0"), ("OFF", "1.0 0 0 1.0"), ("CNOFF", "0 0 1 255 0 0"),
    ("NCOFF", "0 0 1 255 0 0 255"), ("STCOFF", "255 0 0 255 0 0"), ("noff", "0 0 1"),
])  # fmt: skip
def test_colours_of_vertices(tmp_path: Path, header: str, colour: str) -> None:
    vertices = "".join(f"{x} {y} {z} {colour}\n" for x, y, z in CORNERS)
    part = only(write(tmp_path / "a.off", f"{header}\n3 1 0\n{vertices}3 0 1 2\n"))
    if header == "noff":
        assert part.normals is not None
        assert part.vertex_rgba is None
    else:
        np.testing.assert_allclose(part.vertex_rgba, RED)


def test_one_scale_for_vertices_and_faces(tmp_path: Path) -> None:
    body = "3 1 0\n0 0 0 255 0 0 255\n1 0 0 0 255 0 255\n0 1 0 0 0 51 255\n3 0 1 2 1 0 0\n"
    part = only(write(tmp_path / "a.off", "COFF\n" + body))
    np.testing.assert_allclose(part.vertex_rgba, [[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 0.2, 1]])
    assert part.face_rgba is None  # colours of vertices are finer, unless they say nothing
    white = "\n".join(f"{x} {y} 0 255 255 255 255" for x, y in ((0, 0), (1, 0), (0, 1)))
    part = only(write(tmp_path / "a.off", f"COFF\n3 1 0\n{white}\n3 0 1 2 1 0 0\n"))
    assert part.vertex_rgba is None
    np.testing.assert_allclose(part.face_rgba, [[1 / 255, 0, 0, 1]])
    some = body.replace("51 255", "51")  # without an opacity in one line
    np.testing.assert_allclose(
        only(write(tmp_path / "b.off", "COFF\n" + some)).vertex_rgba,
        [[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 0.2, 1]],
    )


def test_colours_of_faces_in_every_form(tmp_path: Path) -> None:
    faces = "OFF\n4 2 0\n0 0 0\n1 0 0\n0 1 0\n1 1 0\n3 0 1 2 0.5 0 1\n3 1 2 3\n"
    mesh = load_mesh(write(tmp_path / "b.off", faces))
    assert mesh.coloured
    np.testing.assert_allclose(sorted(mesh.face_rgba[:, 0].tolist()), [0.5, 0.7])
    part = only(write(tmp_path / "c.off", faces.replace("0.5 0 1", "51 0 255 1")))
    np.testing.assert_allclose(part.face_rgba, [[0.2, 0, 1, 1], [np.nan] * 4])
    remarks: list[str] = []
    part = only(write(tmp_path / "d.off", faces.replace("0.5 0 1", "7")), remarks)
    assert part.face_rgba is None
    assert remarks == ["colours of faces by number in a colour map not read (1)"]


def binary(header: bytes, table: np.ndarray, faces: list[tuple[list[int], list[float]]]) -> bytes:
    data = header + struct.pack(">3i", len(table), len(faces), 0) + table.astype(">f4").tobytes()
    for corners, colour in faces:
        data += struct.pack(f">i{len(corners)}i", len(corners), *corners)
        data += struct.pack(f">i{len(colour)}f", len(colour), *colour)
    return data


def test_binary(tmp_path: Path) -> None:
    table = np.array([[*corner, 1, 0, 0, 1] for corner in (*CORNERS, (1, 1, 0))], float)
    faces = [([0, 1, 2], [0.0, 1, 0]), ([1, 3, 2, 0], [])]
    data = binary(b"COFF BINARY\n", table, faces)
    (tmp_path / "a.off").write_bytes(data)
    part = only(tmp_path / "a.off")
    assert part.faces.shape == (3, 3)
    np.testing.assert_allclose(part.vertex_rgba, RED + RED[:1])
    (tmp_path / "a.off").write_bytes(binary(b"OFF BINARY\n", table[:, :3], faces))
    np.testing.assert_allclose(only(tmp_path / "a.off").face_rgba, [[0, 1, 0, 1], *[[np.nan] * 4] * 2])
    for length in (len(data) - 1, len(data) - 9, 60, 14):
        (tmp_path / "a.off").write_bytes(data[:length])
        refusal(tmp_path / "a.off")
    (tmp_path / "a.off").write_bytes(binary(b"OFF BINARY\n", table[:, :3], [([0, 1, 9], [])]))
    assert "not in the file" in refusal(tmp_path / "a.off")


@pytest.mark.parametrize(("text", "reason"), [
    ("OFF\n3 2 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n", "promises 3 vertices and 2 faces, but only 4 lines"),
    ("OFF\n3 1 0\n0 0 0\n1,5,0 0 0\n0 1 0\n3 0 1 2\n", "line 4: expected the numbers of a vertex"),
    ("OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 -1\n", "not in the file (3 vertices)"),
    ("OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 1.5\n", "line 6: expected a face"),
    ("OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 x\n", "line 6: expected a face"),
    ("OFFX\n3 1 0\n", "expected the counts"), ("solid\n", "not an OFF file"),
    ("nOFF x\n3 1 0\n", "number of dimensions"),
    ("OFF\n", "expected the counts"), ("OFF BINARY\n", "expected the counts"), ("OFF\n0 0 0\n", "no faces"),
    ("OFF\n99999999999999999999 1 0\n", "expected the counts"),
])  # fmt: skip
def test_what_cannot_be_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    assert reason in refusal(write(tmp_path / "a.off", text))


def test_more_than_three_dimensions_and_lines_at_the_end_are_remarked(tmp_path: Path) -> None:
    text = "nOFF\n4\n3 1 0\n0 0 0 5\n1 0 0 5\n0 1 0 5\n3 0 1 2\n3 0 1 2\n"
    mesh = load_mesh(write(tmp_path / "a.off", text))
    assert mesh.remarks == ("lines after the last face not read", "dimensions beyond the third left out (4)")
