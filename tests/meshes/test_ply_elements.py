"""The elements of PLY files: text and binary against each other, and against plain Python."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmah.errors import CmahError
from cmah.meshes.ply_elements import PlyContent, read_elements

LETTERS = {
    "char": "b",
    "uchar": "B",
    "short": "h",
    "ushort": "H",
    "int": "i",
    "uint32": "I",
    "float": "f",
    "double": "d",
}
PATH = Path("a.ply")

scalars = st.sampled_from(list(LETTERS))
shapes = st.lists(
    st.tuples(scalars, st.none() | st.sampled_from(["uchar", "int", "ushort"])), min_size=1, max_size=3
)


@st.composite
def elements(draw: st.DrawFn) -> list[tuple[list[tuple[str, str | None]], list[list[Any]]]]:
    """Elements: the type of each property (and of its length, for lists), and rows of values."""
    content = []
    for _ in range(draw(st.integers(1, 3))):
        shape = draw(shapes)
        alike = draw(st.booleans())
        lengths = [draw(st.integers(0, 4)) for _ in shape]
        rows = []
        for _ in range(draw(st.integers(0, 4))):
            row: list[Any] = []
            for (_, count_type), length in zip(shape, lengths, strict=True):
                size = length if alike else draw(st.integers(0, 4))
                row.append(
                    draw(st.integers(0, 100))
                    if count_type is None
                    else [draw(st.integers(0, 100)) for _ in range(size)]
                )
            rows.append(row)
        content.append((shape, rows))
    return content


def header(content: list[Any], form: str) -> str:
    lines = ["ply", f"format {form} 1.0", "comment by hand", "obj_info x"]
    for number, (shape, rows) in enumerate(content):
        lines.append(f"element e{number} {len(rows)}")
        for place, (kind, count_type) in enumerate(shape):
            lines.append(f"property {f'list {count_type} ' if count_type else ''}{kind} p{place}")
    return "\n".join([*lines, "end_header\n"])


def as_text(content: list[Any]) -> bytes:
    lines = []
    for shape, rows in content:
        for row in rows:
            words = [
                [len(v), *v] if count_type else [v] for (_, count_type), v in zip(shape, row, strict=True)
            ]
            lines.append(" ".join(str(word) for group in words for word in group))
    return (header(content, "ascii") + "\n".join(lines)).encode()


def as_binary(content: list[Any], order: str, form: str) -> bytes:
    data = header(content, form).encode()
    for shape, rows in content:
        for row in rows:
            for (kind, count_type), value in zip(shape, row, strict=True):
                if count_type:
                    data += struct.pack(order + LETTERS[count_type], len(value))
                data += struct.pack(
                    f"{order}{len(value) if count_type else 1}{LETTERS[kind]}",
                    *(value if count_type else [value]),
                )
    return data


def check(read: PlyContent, content: list[Any]) -> None:
    assert read.comments == ["by hand", "x"]
    assert not read.left_over
    for number, (shape, rows) in enumerate(content):
        element = read.elements[f"e{number}"]
        for place, (_, count_type) in enumerate(shape):
            column = [row[place] for row in rows]
            if count_type is None:
                assert element.columns[f"p{place}"].tolist() == column
            else:
                lengths, values = element.lists[f"p{place}"]
                assert lengths.tolist() == [len(value) for value in column]
                assert values.tolist() == [number for value in column for number in value]


@settings(deadline=None, max_examples=150)
@given(content=elements())
def test_every_form_gives_what_was_written(content: list[Any]) -> None:
    check(read_elements(PATH, as_text(content)), content)
    for order, form in (("<", "binary_little_endian"), (">", "binary_big_endian")):
        data = as_binary(content, order, form)
        check(read_elements(PATH, data), content)
        check(
            read_elements(
                PATH, data.replace(b"\n", b"\r\n", data.count(b"\n", 0, data.index(b"end_header")) + 1)
            ),
            content,
        )
        if any(rows for _, rows in content) and len(data) > data.index(b"end_header\n") + 11:
            with pytest.raises(CmahError, match="file ends before"):
                read_elements(PATH, data[:-1])


START = b"ply\nformat ascii 1.0\nelement vertex 2\nproperty float x\nproperty list uchar int l\nend_header\n"


@pytest.mark.parametrize(("data", "reason"), [
    (b"plyx", "not a PLY file"), (b"solid", "not a PLY file"), (b"ply\nformat ascii 1.0\n", "not a PLY file"),
    (START.replace(b"ascii", b"ebcdic"), "a line that no PLY file has: 'format ebcdic 1.0'"),
    (START.replace(b"format ascii 1.0\n", b""), "no format"),
    (START.replace(b"float", b"complex"), "expected property TYPE"),
    (START.replace(b"vertex 2", b"vertex -2"), "a line that no PLY file has"),
    (START.replace(b"vertex 2", b"vertex 999999999999999999"), "promises 999999999999999999 of 'vertex'"),
    (START + b"1 1 5\n", "promises 2 of 'vertex'"), (START + b"1 1 5\n1 9 5\n", "promises 2"),
    (START + b"1 1 5\n1 1.5 5\n", "promises"),
    (START + b"1 1 5\n1 nan 5\n", "promises"), (START + b"1 1 5\n1 -1 5\n", "promises"),
    (START + b"1 0\n1,5,2 0\n", "line 8: expected numbers"),
    (START.replace(b"end_header", b"element vertex 2\nend_header"), "occurs twice"),
])  # fmt: skip
def test_what_cannot_be_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(CmahError) as caught:
        read_elements(PATH, data)
    assert reason in str(caught.value)


def test_lengths_and_indices_of_odd_types() -> None:
    text = START.replace(b"uchar", b"double").replace(b"ascii", b"binary_little_endian")
    data = text + struct.pack("<fd2i", 1, 2, 7, 8) + struct.pack("<fdi", 2, 1, 9)
    assert [values.tolist() for values in read_elements(PATH, data).elements["vertex"].lists["l"]] == [
        [2, 1],
        [7, 8, 9],
    ]
    for length in (-1.0, 1e30, np.nan):
        with pytest.raises(CmahError, match="promises"):
            read_elements(PATH, text + struct.pack("<fd2i", 1, 2, 7, 8) + struct.pack("<fdi", 2, length, 9))
