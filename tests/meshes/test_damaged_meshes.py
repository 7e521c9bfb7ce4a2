"""Random damage to valid mesh files: a shape, the same at every reading, or one clear error."""

import io
import random
import re
import struct
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from mesh_samples import TEXTURED
from PIL import Image

from cmah.errors import CmahError
from cmah.meshes.mesh import Mesh
from cmah.meshes.mesh_loading import load_mesh

MTL = """newmtl a
Kd 0.8 0.2 0.1
d 0.7
map_Kd -s 2 2 1 -o 0.1 0.2 0 -clamp on t.png
map_d -mm 0.1 0.9 t.png
newmtl b c
Tr 0.25
Kd xyz 0.5 0.4 0.3
"""
OBJ = (
    TEXTURED
    + """vn 0 0 1
v 2 0 0 1 0 0
v 3 0 0.5 255 0 0 255
v 3 2 0.25 0 1 0
g one two
usemtl b c
s 1
f 5//1 6//1 7//1 3//-1 # a comment
f -1/-1/-1 -2/-2/-1 \\
  -3/-3/-1 1/1/1 2/2/1
l 1 2
"""
)
OFF = """STCNOFF
# made by hand
5 3 0
0 0 0 0 0 1 255 0 0 1 0 0
1 0 0 0 0 1 0 255 0 1 1 0
1 1 0 0 0 1 0 0 255 1 1 1
0 1 0 0 0 1 9 9 9 1 0 1
0.5 0.5 1 0 0 1 1 2 3 1 0 1
4 0 1 2 3 255 0 0
3 0 1 4 0.5 0.5 0.5 1
5 0 4 3 2 1 7
"""
FACET = "facet normal 0 0 1\nouter loop\nvertex 0 0 0\nvertex 1 0 0\nvertex 0 1 0.5\nendloop\nendfacet\n"
HEADER = """ply
format {} 1.0
comment TextureFile t.png
element vertex 4
property float x
property double y
property float z
property uchar red
property uchar green
property uchar blue
property uchar alpha
element face 2
property int flags
property list uchar int vertex_indices
property list uchar float texcoord
property int texnumber
element tristrips 1
property list int int vertex_indices
end_header
"""
POINTS = ((0, 0, 0), (1, 0, 0), (1, 1, 0.5), (0, 1, 0))
FACES = ([0, 1, 2, 3], [0, 2, 1])


def ply_text() -> bytes:
    rows = [f"{x} {y} {z} 255 0 9 255" for x, y, z in POINTS]
    rows += [f"7 {len(f)} {' '.join(map(str, f))} {2 * len(f)} {'0.5 ' * 2 * len(f)}0" for f in FACES]
    return (HEADER.format("ascii") + "\n".join([*rows, "4 0 1 2 -1"]) + "\n").encode()


def ply_binary(order: str, form: str) -> bytes:
    data = HEADER.format(form).encode()
    for x, y, z in POINTS:
        data += struct.pack(f"{order}fdf4B", x, y, z, 255, 0, 9, 255)
    for face in FACES:
        data += struct.pack(f"{order}iB{len(face)}i", 7, len(face), *face)
        data += struct.pack(f"{order}B{2 * len(face)}fi", 2 * len(face), *[0.5] * 2 * len(face), 0)
    return data + struct.pack(f"{order}5i", 4, 0, 1, 2, -1)


def picture() -> bytes:
    data = io.BytesIO()
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(4, 4, 4)).save(data, "PNG")
    return data.getvalue()


def off_binary() -> bytes:
    vertices = struct.pack(">12f", *[value for point in POINTS for value in point])
    faces = b"".join(struct.pack(f">{len(f) + 2}i", len(f), *f, 0) for f in FACES)
    return b"OFF BINARY\n" + struct.pack(">3i", 4, 2, 0) + vertices + faces


STL_FACET = struct.pack("<12f", 0, 0, 1, *POINTS[0], *POINTS[1], *POINTS[2]) + b"\1\x80"
SOUND = {
    "obj": (OBJ.encode(), ".obj"), "mtl": (MTL.encode(), ".mtl"), "png": (picture(), ".png"),
    "off": (OFF.encode(), ".off"), "off binary": (off_binary(), ".off"),
    "stl": (f"solid a\n{FACET}{FACET}endsolid a\n".encode(), ".stl"),
    "stl binary": (b"solid COLOR=\1\2\3\4".ljust(80) + struct.pack("<I", 2) + STL_FACET * 2, ".stl"),
    "ply": (ply_text(), ".ply"), "ply little": (ply_binary("<", "binary_little_endian"), ".ply"),
    "ply big": (ply_binary(">", "binary_big_endian"), ".ply"),
}  # fmt: skip
WORDS = b"-1 0 1 2 3 4 255 256 1e5 1e308 nan inf -0 1,5 / // 99999999999999999999 4294967295 # f v vt usemtl".split()
WORDS += [b"mtllib", b"list", b"-s", b"map_d", b"\\\n", b"\0", b"\xff", b"\r", b"\n", b" "]
NUMBERS = [bytes(4), b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\1", b"\0\0\xc0\x7f",
           b"\x7f\xc0\0\0", b"\0\0\x80\x7f"]  # fmt: skip


def damaged(data: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    """Up to six changes: bytes, words, numbers, pieces left out, doubled, moved, or taken from another file."""
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(data) + 1)
        end = min(len(data), at + chance.choice([1, 2, 4, 8, 40, 200]))
        way = chance.randrange(9)
        if way == 0:
            data = data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
        elif way == 1:
            data = data[:at] + chance.choice(NUMBERS) + data[at + 4 :]
        elif way == 2:
            data = data[:at] + data[end:]
        elif way == 3:
            data = data[:end] + data[at:]
        elif way == 4:
            data = data[:at]
        elif way == 5:
            other = chance.choice(others)
            start = chance.randrange(len(other))
            data = data[:at] + other[start : start + chance.choice([5, 30, 100])] + data[at:]
        elif way == 6:
            data = data[:at] + data[at:end] * chance.randint(2, 30) + data[end:]
        else:
            words = data.split(b" ")
            place = chance.randrange(len(words))
            words[place] = chance.choice(WORDS)
            data = b" ".join(words)
        if not data:
            return b"x"
    return data


TYPES = b"char uchar short ushort int uint float double int64 uint64 list string".split()
LARGE = [
    b"1" * 300,
    b"-2147483648",
    b"9223372036854775808",
    b"-0",
    b"1e-400",
    b"0x10",
    b"1_0",
    b"1d3",
    b"1.",
    b"",
]


def respelt(data: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    """Up to four changes of whole words, numbers of corners and lines, so that most of the file keeps its meaning."""
    lines = data.split(b"\n")
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(lines))
        other = chance.randrange(len(lines))
        way = chance.randrange(8)
        if way == 0:
            lines[place], lines[other] = lines[other], lines[place]
        elif way == 1:
            lines.insert(place, lines[other])
        elif way == 2:
            lines[place] = b""
        else:
            words = re.split(rb"([ /\t]+)", lines[place])
            words[chance.randrange(len(words))] = chance.choice(WORDS + TYPES + LARGE)
            lines[place] = b"".join(words)
    form = chance.randrange(40)
    text = b"\n".join(lines)
    if form == 0:
        return text.replace(b"\n", b"\r")
    return text.decode("latin-1").encode("utf-16") if form == 1 else text


def outcome(path: Path) -> tuple[object, ...]:
    """What a reading gives, so that two can be compared; anything but CmahError and MemoryError fails the test."""
    try:
        mesh = load_mesh(path)
    except (CmahError, MemoryError) as error:
        message = str(error)
    else:
        return content(mesh)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < len(str(path)) + 400
    return (message,)


def content(mesh: Mesh) -> tuple[object, ...]:
    """All that is in a mesh, checked."""
    assert np.isfinite(mesh.vertices).all()
    assert np.isfinite(mesh.face_rgba).all()
    assert mesh.faces.max() < len(mesh.vertices)
    rgba = [] if mesh.vertex_rgba is None else mesh.vertex_rgba.tolist()
    return (
        mesh.vertices.tolist(),
        mesh.faces.tolist(),
        mesh.face_rgba.tolist(),
        rgba,
        mesh.texels.tolist(),
        mesh.remarks,
    )


Change = Callable[[bytes, random.Random, list[bytes]], bytes]


def attack(folder: Path, kind: str, seconds: float, seed: int, change: Change = damaged) -> int:
    """Damage one file, beside the others whole, as often as there is time; how many were still read."""
    chance, read = random.Random(seed), 0
    for name, sound in (("m.mtl", MTL.encode()), ("t.png", picture())):
        (folder / name).write_bytes(sound)
    data, suffix = SOUND[kind]
    path = folder / {".mtl": "m.mtl", ".png": "t.png"}.get(suffix, f"a{suffix}")
    mesh = path if path.name.startswith("a") else folder / "a.obj"
    if mesh != path:
        mesh.write_bytes(OBJ.encode())
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        path.write_bytes(change(data, chance, [sound for sound, _ in SOUND.values()]))
        started = time.monotonic()
        first = outcome(mesh)
        took = time.monotonic() - started
        assert took < 5, f"{took} seconds"
        assert repr(outcome(mesh)) == repr(first)
        read += len(first) > 1
    return read


@pytest.mark.slow
@pytest.mark.parametrize("kind", SOUND)
def test_damaged_files_are_read_or_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"whole{SOUND[kind][1]}"
    if path.suffix not in {".mtl", ".png"}:
        path.write_bytes(SOUND[kind][0])
        assert len(outcome(path)) > 1
    assert attack(tmp_path, kind, 1.5, seed=len(kind)) > 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in SOUND if kind != "png"])
def test_files_with_other_words_are_read_or_refused(tmp_path: Path, kind: str) -> None:
    assert attack(tmp_path, kind, 1.5, seed=100 + len(kind), change=respelt) > 0
