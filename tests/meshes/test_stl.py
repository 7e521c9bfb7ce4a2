"""STL files: text and binary, several solids, colours."""

from pathlib import Path

import numpy as np
import pytest
from mesh_samples import refusal, write

from cmah.meshes.mesh_files import read_parts
from cmah.meshes.mesh_loading import load_mesh
from cmah.meshes.stl import FACET

CORNERS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], "<f4")
FACETS = "facet normal 0 0 1\n outer loop\n" + "".join(f"  vertex {x} {y} {z}\n" for x, y, z in CORNERS)
FACETS += " endloop\nendfacet\n"


def binary(header: bytes, attributes: list[int], count: int | None = None) -> bytes:
    facets = np.zeros(len(attributes), FACET)
    facets["corners"], facets["attribute"] = CORNERS, attributes
    return header.ljust(80) + (count or len(attributes)).to_bytes(4, "little") + facets.tobytes()


@pytest.mark.parametrize(("text", "count"), [
    (f"solid a\n{FACETS}endsolid a\n", 1),
    (f"solid a\n{FACETS}{FACETS}endsolid a\nsolid vertex b\n{FACETS}endsolid\n", 3),
    (f"SOLID A\n{FACETS.upper()}ENDSOLID A\n", 1),
    (f"solid\r\n{FACETS}endsolid".replace("\n", "\r"), 1),
    (FACETS, 1),  # without the first line
    (" ".join(f"solid a\n{FACETS}{FACETS}endsolid a".split()), 2),  # all in one line
    (f"solid a\n{FACETS.replace('vertex 1.0 0.0 0.0', 'vertex +1.e0 .0 -0')}endsolid", 1),
    (FACETS.replace(" endloop", "  vertex 0 0.5 0\n endloop"), 2),  # a facet of four corners
])  # fmt: skip
def test_text(tmp_path: Path, text: str, count: int) -> None:
    mesh = load_mesh(write(tmp_path / "a.stl", text))
    assert (len(mesh.faces), mesh.coloured, mesh.remarks) == (count, False, ())
    np.testing.assert_allclose(np.ptp(mesh.vertices, axis=0), [np.sqrt(2), np.sqrt(2), 0], atol=1e-6)


@pytest.mark.parametrize(("text", "reason"), [
    (f"solid a\n{FACETS}".replace("vertex 1.0 0.0 0.0", "vertex 1,0 0 0"), "line 5: expected vertex and three numbers"),
    (f"solid a\n{FACETS}".replace("vertex 1.0 0.0 0.0", "vertex 1 0"), "line 5: expected vertex and three numbers"),
    (f"solid a\n{FACETS}{FACETS[:-18]}", "cut off"), ("solid a\nendsolid a\n", "no faces"),
    ("solid a\nfacet\n", "no faces"), ("x" * 100, "facets, but only 0 follow"),
])  # fmt: skip
def test_text_that_cannot_be_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    assert reason in refusal(write(tmp_path / "a.stl", text))


def test_binary(tmp_path: Path) -> None:
    path = tmp_path / "a.stl"
    for header in (b"", b"solid by a program", b"\0\xff\xfe"):
        path.write_bytes(binary(header, [0, 0]))
        (part,) = read_parts(path)
        assert part.face_rgba is None
        np.testing.assert_array_equal(part.vertices[part.faces], [CORNERS, CORNERS])
    path.write_bytes(binary(b"solid", [0, 0]) + b"\0\0")
    assert load_mesh(path).remarks == ("bytes after the last facet not read",)
    path.write_bytes(binary(b"solid", [0, 0], count=3))
    assert refusal(path) == "the header promises 3 facets, but only 2 follow"
    path.write_bytes(binary(b"", [0])[:80] + bytes(4))
    assert refusal(path) == "no faces (the header says 0 facets)"


def test_colours_in_the_spare_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.stl"
    red, blue = 31 << 10, 31
    path.write_bytes(binary(b"", [1 << 15 | red, 1 << 15 | blue, red]))  # VisCAM: the third one is not marked
    (part,) = read_parts(path)
    np.testing.assert_allclose(part.face_rgba, [[1, 0, 0, 1], [0, 0, 1, 1], [np.nan] * 4])
    path.write_bytes(binary(b"COLOR=\x00\xff\x00\xff,MATERIAL=", [1 << 15, blue, red]))  # Magics: red lowest
    (part,) = read_parts(path)
    np.testing.assert_allclose(part.face_rgba, [[0, 1, 0, 1], [1, 0, 0, 1], [0, 0, 1, 1]])


def test_a_colour_of_all_facets_counts_where_they_have_none(tmp_path: Path) -> None:
    (tmp_path / "a.stl").write_bytes(binary(b"made by x COLOR=\x00\xff\x00\xff", [0, 0]))
    mesh = load_mesh(tmp_path / "a.stl")
    np.testing.assert_allclose(mesh.face_rgba, [[0, 1, 0, 1]] * 2)


def test_files_that_end_too_early(tmp_path: Path) -> None:
    cut = f"solid a\n{FACETS}facet normal 0 0 1\nouter loop\n"
    assert "2 begin, 1 end" in refusal(write(tmp_path / "a.stl", cut))
    mesh = load_mesh(write(tmp_path / "b.stl", f"solid a\n{FACETS}"))
    assert mesh.remarks == ("the end of the solid is missing",)
    exponents = f"solid a\n{FACETS}endsolid".replace("1.0 0.0 0.0", "1.0D+00 0d0 0.0")
    assert load_mesh(write(tmp_path / "c.stl", exponents)).remarks == ()
