"""Text of mesh files: encodings, line ends, words and numbers."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mesh_samples import SQUARE, TEXTURED, texture

from cmah.meshes.mesh_loading import load_mesh
from cmah.meshes.mesh_text import TextLines, grouped, joined_lines, numbers, plain_text, runs, uneven_rows
from cmah.meshes.point_sampling import sample_points

BOXY = SQUARE + "f 1 2 3 4\n"


@pytest.mark.parametrize("encode", [
    lambda text: b"\xef\xbb\xbf" + text.encode(),
    lambda text: text.encode("utf-16"),
    lambda text: text.encode("utf-16-le"),
    lambda text: text.encode("utf-16-be"),
    lambda text: text.replace("\n", "\r\n").encode(),
    lambda text: text.replace("\n", "\r").encode(),
    lambda text: text.replace(" ", "\t").encode(),
    lambda text: text.replace("v ", "  v\t ").replace("\n", " \n\n").encode(),
    lambda text: text.strip().encode() + b"\0\0\x1a",
    lambda text: text.replace("f 1 2", "f 1 \\\n 2 \\ \n").encode(),
    lambda text: ("# in C:\\models\\\n" + text.replace("\n", " # from 1 to 2\n")).encode(),
])  # fmt: skip
def test_the_same_shape_in_every_dress(tmp_path: Path, encode) -> None:
    (tmp_path / "a.obj").write_bytes(encode(BOXY))
    mesh = load_mesh(tmp_path / "a.obj")
    assert (len(mesh.vertices), len(mesh.faces), mesh.remarks) == (4, 2, ())
    assert mesh.face_areas.sum() == pytest.approx(2)


def test_latin_1_names(tmp_path: Path) -> None:
    """Old exporters write the machine's own encoding: names of materials and textures must still be found."""
    texture(tmp_path / "niño.png")
    (tmp_path / "m.mtl").write_bytes("newmtl año\nmap_Kd niño.png\n".encode("latin-1"))
    (tmp_path / "a.obj").write_bytes(TEXTURED.replace("usemtl a", "usemtl año").encode("latin-1"))
    np.testing.assert_allclose(
        sample_points(load_mesh(tmp_path / "a.obj"), 9, 0)[:, 3:], [[1, 0, 0]] * 9, atol=1e-6
    )


def test_joined_lines_keep_their_numbers() -> None:
    text = b"f 1 \\\n2 \\\n3\nv 1 1 1\n"
    assert [line.split() for line in joined_lines(text).split(b"\n")] == [
        [b"f", b"1", b"2", b"3"], [], [], [b"v", b"1", b"1", b"1"], [],
    ]  # fmt: skip
    assert joined_lines(b"f 1 2 \\") == b"f 1 2 \\"
    assert joined_lines(b"f 1 2 \\\n") == b"f 1 2  \n"


@given(st.lists(st.lists(st.sampled_from([b"v", b"vt", b"1", b"-2.5", b"#", b"x"]), max_size=5), max_size=8))
def test_lines_and_words_are_those_of_python(rows: list[list[bytes]]) -> None:
    text = plain_text(b"\n".join(b"  ".join(row) for row in rows))
    lines = TextLines(text)
    expected = text.split(b"\n")[:-1]
    assert lines.counts.tolist() == [len(line.split()) for line in expected]
    assert [lines.line(number) for number in range(len(expected))] == [line.strip() for line in expected]
    for word in (b"v", b"vt"):
        assert lines.starting_with(word).tolist() == [
            number for number, line in enumerate(expected) if line.split()[:1] == [word]
        ]
    bare = [line.partition(b"#")[0].split() for line in expected]
    assert lines.without_comments().counts.tolist() == [len(line) for line in bare]


@pytest.mark.parametrize(("text", "values"), [
    (b"1 2.5 -3e2 1.e5 .5 +7", [1, 2.5, -300, 1e5, 0.5, 7]),
    (b"1,5 2", [1.5, 2]), (b"1.5, 2.0,", [1.5, 2]), (b"1,2,3", None), (b"1.5D+2 2d0", [150, 2]), (b"1dx", None),
    (b"0x10", None), (b"1.2.3", None), (b"1 x", None), (b"1-2", None), (b"", []), (b" \n", []),
])  # fmt: skip
def test_numbers(text: bytes, values: list[float] | None) -> None:
    got = numbers(text, len(text.split()))
    assert got is None if values is None else got is not None and got.tolist() == values


def test_rows_runs_and_groups() -> None:
    values = np.arange(9)
    assert uneven_rows(values, np.array([3, 2, 4]), 2).tolist() == [[0, 1], [3, 4], [5, 6]]
    assert runs(np.array([7, 1, 4]), np.array([2, 0, 3])).tolist() == [7, 8, 4, 5, 6]
    assert [(k, v.tolist()) for k, v in grouped(np.array([2, 1, 2, 2]))] == [(1, [1]), (2, [0, 2, 3])]
    assert list(grouped(np.zeros(0, int))) == []
