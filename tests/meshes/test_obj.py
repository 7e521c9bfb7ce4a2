"""OBJ files: every statement that carries geometry or colour, against a slow reader."""

import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mesh_samples import SQUARE, refusal, texture, write

from cmah.errors import CmahError
from cmah.meshes.mesh import Mesh
from cmah.meshes.mesh_files import read_parts
from cmah.meshes.mesh_loading import load_mesh
from cmah.meshes.point_sampling import sample_points

TRIANGLES = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 5 0 0\nv 6 0 0\nv 5 1 0\n"


def slow_triangles(text: str) -> list[list[list[float]]]:
    """The corners of all triangles of a file of triangles, read line by line: position, uv, normal."""
    tables: dict[str, list[list[float]]] = {"v": [], "vt": [], "vn": []}
    triangles = []
    for line in text.split("\n"):
        key, *words = line.split() or [""]
        if key in tables:
            tables[key].append([float(word) for word in words])
        elif key == "f":
            corners = []
            for word in words:
                corner: list[float] = []
                for name, index in zip(("v", "vt", "vn"), [*word.split("/"), "", ""], strict=False):
                    if index and name != "vt":  # without a texture, its coordinates do not matter
                        table = tables[name]
                        corner += table[int(index) - 1 if int(index) > 0 else int(index)]
                corners.append(corner)
            triangles.append(corners)
    return triangles


@st.composite
def texts(draw: st.DrawFn) -> str:
    """An OBJ file of triangles in all forms, with indices of both kinds, in several blocks."""
    number = st.floats(-9, 9, width=16).map(lambda value: f"{value:.3f}")
    lines, count = [], 0
    for _ in range(draw(st.integers(1, 3))):
        fresh = draw(st.integers(3, 6))
        for key, width in (("v", 3), ("vt", 2), ("vn", 3)):
            lines += [" ".join([key, *(draw(number) for _ in range(width))]) for _ in range(fresh)]
        count += fresh
        for _ in range(draw(st.integers(1, 4))):
            form = draw(st.sampled_from(["{0}", "{0}/{1}", "{0}//{2}", "{0}/{1}/{2}"]))
            index = st.integers(1, count) | st.integers(-count, -1)
            lines.append(
                "f " + " ".join(form.format(draw(index), draw(index), draw(index)) for _ in range(3))
            )
    return "\n".join(lines)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=texts())
def test_triangles_are_those_of_a_slow_reader(tmp_path: Path, text: str) -> None:
    (part,) = read_parts(write(tmp_path / "a.obj", text))
    got = part.vertices[part.faces].tolist()
    expected = slow_triangles(text)
    assert got == [[corner[:3] for corner in triangle] for triangle in expected]
    for triangle, corners in zip(part.faces.tolist(), expected, strict=True):
        for vertex, corner in zip(triangle, corners, strict=True):
            assert part.normals is not None or len(corner) == 3
            if part.normals is not None:
                normal = part.normals[vertex].tolist()
                assert normal == corner[3:] if len(corner) == 6 else np.isnan(normal).all()


def points(mesh: Mesh) -> np.ndarray:
    return sample_points(mesh, 300, 0)


def test_relative_indices_count_from_the_face(tmp_path: Path) -> None:
    text = SQUARE + "f -4 -3 -2 -1\n" + SQUARE.replace(" 0\n", " 5\n") + "f -4 -3 -2 -1\n"
    absolute = SQUARE + SQUARE.replace(" 0\n", " 5\n") + "f 1 2 3 4\nf 5 6 7 8\n"
    one, two = load_mesh(write(tmp_path / "a.obj", text)), load_mesh(write(tmp_path / "b.obj", absolute))
    np.testing.assert_array_equal(one.vertices[one.faces], two.vertices[two.faces])
    assert "not in the file" in refusal(write(tmp_path / "c.obj", SQUARE + "f -9 -3 -2\n"))


@pytest.mark.parametrize(("line", "reason"), [
    ("f 0 1 2", "line 6: a face names a vertex that is not in the file (expected 1 to 4)"),
    ("f 1 2 5", "line 6: a face names a vertex"), ("f 1 2 x", "line 6: expected corners such as"),
    ("f 1 2 3.0", "line 6: expected corners"), ("f /1 /2 /3", "line 6: a face names a vertex"),
    ("f 1/1/1/1 2 3", "line 6: expected corners"), ("f 1 2-3 4", "line 6: expected corners"),
    ("f 1 2 99999999999999999999", "line 6: "), ("v 1,5x 0 0", "line 6: expected three numbers"),
    ("v 0 0", "line 6: expected three numbers"), ("vt", "line 6: expected a number"),
    ("vn 0 1", "line 6: expected three"),
])  # fmt: skip
def test_what_cannot_be_is_refused_by_its_line(tmp_path: Path, line: str, reason: str) -> None:
    assert refusal(write(tmp_path / "a.obj", SQUARE + f"f 1 2 3\n{line}\nf 1 3 4\n")).startswith(reason)


def test_vertex_colours_in_every_form(tmp_path: Path) -> None:
    rgb = "v 0 0 0 {r} 0 0\nv 1 0 0 {r} 0 0\nv 0 1 0 {r} 0 0\n"
    faces = "f 1 2 3\n"
    write(tmp_path / "m.mtl", "newmtl a\nKd 1 1 1\n")
    for text in (
        rgb.format(r=1) + faces,
        rgb.format(r=255) + faces,
        rgb.format(r=1).replace(" 0 0\n", " 0 0 1\n") + faces,  # with opacity
        rgb.format(r=255).replace(" 0 0\n", " 0 0 255\n") + faces,
        "mtllib m.mtl\nusemtl a\n" + rgb.format(r=1) + faces,
        rgb.format(r=1) + "vt 0 0\nf 1/1 2/1 3/1\n",
        "v 0 0 0\nv 1 0 0\nv 0 1 0\n#MRGB ffFF0000ffFF0000ffFF0000\n" + faces,
    ):
        mesh = load_mesh(write(tmp_path / "a.obj", text))
        np.testing.assert_allclose(points(mesh)[:, 3:], [[1, 0, 0]] * 300, atol=1e-6)
        assert (mesh.opaque, mesh.remarks) == (True, ())


def test_vertices_without_a_colour_have_that_of_the_material(tmp_path: Path) -> None:
    write(tmp_path / "m.mtl", "newmtl a\nKd 0 0 1\n")
    text = "mtllib m.mtl\nusemtl a\nv 0 0 0 1 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"
    mesh = load_mesh(write(tmp_path / "a.obj", text))
    assert mesh.vertex_rgba is not None
    np.testing.assert_allclose(mesh.vertex_rgba, [[1, 0, 0, 1], [0, 0, 1, 1], [0, 0, 1, 1]])
    write(tmp_path / "m.mtl", "newmtl a\nKd 0.2 0 1\n")  # white is what exporters write who have no colours
    white = text.replace("1 0 0\nv 1 0 0\nv 0 1 0", "1 1 1\nv 1 0 0 1 1 1\nv 0 1 0 1 1 1")
    mesh = load_mesh(write(tmp_path / "a.obj", white))
    np.testing.assert_allclose(points(mesh)[:, 3:], [[0.2, 0, 1]] * 300, atol=1e-6)


LIBRARIES = "{}\n" + TRIANGLES + "usemtl red\nf 1 2 3\nusemtl blue\nf 4 5 6\n"


@pytest.mark.parametrize("statement", [
    "mtllib a.mtl b.mtl", "mtllib a.mtl\nmtllib b.mtl", "mtllib  b.mtl   a.mtl ", "mtllib c d.mtl a.mtl",
    "mtllib\ta.mtl\tb.mtl", "mtllib A.MTL b.mtl", "mtllib both", 'mtllib "c d.mtl"\nmtllib a.mtl',
    "mtllib ./a.mtl .\\b.mtl",
    "mtllib a.mtl b.mtl # both",
])  # fmt: skip
def test_several_libraries(tmp_path: Path, statement: str) -> None:
    red, blue = "newmtl red\nKd 1 0 0\n", "\ufeffnewmtl blue\n\tKd\t0 0 1\n"
    for name, text in (
        ("a.mtl", red),
        ("b.mtl", blue),
        ("c d.mtl", blue),
        ("both", red + "newmtl blue\nKd 0 0 1\n"),
    ):
        write(tmp_path / name, text)
    mesh = load_mesh(write(tmp_path / "x.obj", LIBRARIES.format(statement)))
    got = points(mesh)
    np.testing.assert_allclose(got[got[:, 0] < 0][:, 3:].mean(axis=0), [1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(got[got[:, 0] > 0][:, 3:].mean(axis=0), [0, 0, 1], atol=1e-6)
    assert [remark for remark in mesh.remarks if "# both" not in remark and "(#)" not in remark] in (
        [],
        ["material library not found (both)"],
    )


def test_materials_are_found_by_near_names_or_missed_aloud(tmp_path: Path) -> None:
    write(tmp_path / "m.mtl", "newmtl dark  r\u00e9d\nKd 1 0 0\nnewmtl blue\nKd 0 0 1\n")
    text = "mtllib m.mtl\n" + TRIANGLES + "usemtl Dark re\u0301d\nf 1 2 3\nusemtl green\nf 4 5 6\n"
    mesh = load_mesh(write(tmp_path / "a.obj", text))
    assert mesh.remarks == ("material not found (green)",)
    np.testing.assert_allclose(mesh.face_rgba[:, :3], [[0.7, 0.7, 0.7], [1, 0, 0]], atol=1e-6)
    mesh = load_mesh(write(tmp_path / "a.obj", text.replace("m.mtl", "gone.mtl")))
    assert mesh.remarks == (
        "material library not found (gone.mtl)", "material not found (Dark re\u0301d)", "material not found (green)",
    )  # fmt: skip
    # both files were given another name, but not within the file
    write(tmp_path / "a.mtl", "newmtl dark r\u00e9d\nKd 1 0 0\nnewmtl green\nKd 0 1 0\n")
    assert load_mesh(tmp_path / "a.obj").remarks == ()


def test_one_material_that_nothing_names(tmp_path: Path) -> None:
    texture(tmp_path / "t.png")
    write(tmp_path / "m.mtl", "newmtl a\nmap_Kd t.png\n")
    text = "mtllib m.mtl\n" + SQUARE + "vt 0 0\nf 1/1 2/1 3/1 4/1\n"
    np.testing.assert_allclose(
        points(load_mesh(write(tmp_path / "a.obj", text)))[:, 3:], [[1, 0, 0]] * 300, atol=1e-6
    )
    write(tmp_path / "m.mtl", "newmtl a\nmap_Kd t.png\nnewmtl b\nKd 1 1 1\n")
    assert not load_mesh(tmp_path / "a.obj").coloured


def test_the_first_library_of_two_with_one_name_wins(tmp_path: Path) -> None:
    write(tmp_path / "a.mtl", "newmtl m\nKd 0 1 0\nnewmtl m\nKd 1 0 0\n")
    write(tmp_path / "b.mtl", "newmtl m\nKd 0 0 1\n")
    mesh = load_mesh(write(tmp_path / "x.obj", "mtllib a.mtl b.mtl\nusemtl m\n" + SQUARE + "f 1 2 3 4\n"))
    np.testing.assert_allclose(mesh.face_rgba[0], [1, 0, 0, 1])


def test_what_is_no_surface_is_remarked(tmp_path: Path) -> None:
    text = (
        SQUARE
        + "g a b\no c\ns off\nf 1 2 3 4\nf 1 2\nl 1 2 3\np 1 2\ncurv 0 1 1 2\ncstype bezier\nend\nfoo 1\ncall b.obj\n"
    )
    assert load_mesh(write(tmp_path / "a.obj", text)).remarks == (
        "lines not shown (1)", "points not shown (1)", "free-form curves and surfaces not shown (1)",
        "statements not read (foo, call)", "faces with fewer than 3 corners left out (1)",
    )  # fmt: skip
    assert refusal(write(tmp_path / "b.obj", SQUARE + "l 1 2 3\n")) == "no faces (lines not shown (1))"


def test_uv_and_normals_that_are_not_there_cost_no_shape(tmp_path: Path) -> None:
    text = SQUARE + "vn 1.#QNAN 0 -nan(ind)\nvn 0 0 1\nf 1/1/2 2/1/2 3/1/2\nf 1/0/2 3//9 4/9/1\n"
    mesh = load_mesh(write(tmp_path / "a.obj", text))
    assert len(mesh.faces) == 2
    assert mesh.smooth.tolist() == [True, False]
    assert mesh.remarks == ("texture coordinates not in the file (4)", "normals not in the file (1)")


def test_faces_of_a_texture_without_coordinates_keep_the_colour(tmp_path: Path) -> None:
    texture(tmp_path / "t.png")
    write(tmp_path / "m.mtl", "newmtl a\nKd 0 0 1\nmap_Kd t.png\n")
    text = "mtllib m.mtl\nusemtl a\n" + TRIANGLES + "vt 0 0\nf 1/1 2/1 3/1\nf 4 5 6\n"
    mesh = load_mesh(write(tmp_path / "a.obj", text))
    got = points(mesh)
    np.testing.assert_allclose(got[got[:, 0] < 0][:, 3:].mean(axis=0), [1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(got[got[:, 0] > 0][:, 3:].mean(axis=0), [0, 0, 1], atol=1e-6)
    assert mesh.remarks == ("texture without its coordinates (t.png)",)


@pytest.mark.parametrize("text", [
    "mtllib " + "a.mt " * 200000, "".join(f"mtllib {number}.mtl\n" for number in range(50000)), "\\\n" * 200000,
    "usemtl " + "x " * 500000, "f " * 300000, "f" + " 1/1/1" * 300000, "# \\\n" * 100000,
    "v 0 0 0 #" * 100000, "\\ " * 500000,
    "l 1 2\n" * 100000, "f 1 2 3 # x\n" * 50000, " " * 2000000, "x" * 2000000, "\n" * 2000000,
])  # fmt: skip
def test_strange_texts_take_no_square_of_time(tmp_path: Path, text: str) -> None:
    started = time.process_time()
    with suppress(CmahError):
        read_parts(write(tmp_path / "a.obj", SQUARE + text + "\nf 1 2 3\n"))
    assert time.process_time() - started < 8


def test_many_materials_and_vertices_take_no_square_of_time(tmp_path: Path) -> None:
    count = 20000
    lines = [f"v {i} 0 0\nv {i} 1 0\nv {i} 0 1\nusemtl m{i}\nf -3 -2 -1" for i in range(count)]
    parts = read_parts(write(tmp_path / "a.obj", "\n".join(lines)))
    assert len(parts) == count
