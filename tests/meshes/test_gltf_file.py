"""The container of glTF files: chunks, JSON, buffers in every place, and what is refused."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from gltf_samples import SQUARE, Gltf, corners, glb_of, read

from cmah.errors import CmahError
from cmah.meshes.gltf_file import data_uri_bytes, whole_number
from cmah.meshes.mesh_files import read_parts


def square() -> Gltf:
    made = Gltf()
    made.show(made.square())
    return made


def refusal(data: bytes, folder: Path = Path(".")) -> str:
    with pytest.raises(CmahError) as caught:
        read(data, folder)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"{folder / 'a.glb'}: ")


def test_buffers_in_every_place_give_the_same(tmp_path: Path) -> None:
    made = square()
    expected = corners(read(made.glb())[0])
    assert expected.shape == (2, 3, 3)
    np.testing.assert_array_equal(expected.reshape(-1, 3)[[0, 1, 2, 5]], SQUARE)
    (tmp_path / "in here").mkdir()
    (tmp_path / "in here/größe 1.bin").write_bytes(bytes(made.blob))
    names = [None, "in here/größe 1.bin", "in%20here/gr%C3%B6%C3%9Fe%201.bin", "./in here\\größe 1.bin"]
    for uri in names:
        np.testing.assert_array_equal(corners(read(made.gltf(uri), tmp_path)[0]), expected)
    # what a file is, is told by its content
    for name, data in (("a.gltf", square().glb()), ("b.glb", made.gltf(names[1]))):
        (tmp_path / name).write_bytes(data)
        np.testing.assert_array_equal(corners(read_parts(tmp_path / name)), expected)


def test_what_exporters_add_is_let_be() -> None:
    made = square()
    text, expected = json.dumps(json.loads(made.gltf())).encode(), corners(read(made.glb())[0])
    chunk = struct.pack("<I4s", 4, b"MORE") + b"more"
    glb = made.glb()
    for data in (
        b"\xef\xbb\xbf" + text,
        text + b"\0\0\0",
        glb_of(b"\xef\xbb\xbf" + text),
        glb + b"anything",  # after the length that the header says
        glb[:8] + struct.pack("<I", len(glb) + len(chunk)) + glb[12:] + chunk,
    ):
        np.testing.assert_array_equal(corners(read(data)[0]), expected)
    # whole numbers may be written as decimals, and a stride of 0 is none
    made.tree["accessors"][0]["count"] = 4.0
    made.tree["bufferViews"][0]["byteStride"] = 0
    made.tree["meshes"][0]["primitives"][0]["indices"] = 1e0
    np.testing.assert_array_equal(corners(read(made.glb())[0]), expected)


def test_broken_containers_are_refused() -> None:
    glb = square().glb()
    assert "truncated" in refusal(glb[:15])
    assert refusal(glb[:-7]) == f"truncated: its header says {len(glb)} bytes, it has {len(glb) - 7}"
    assert refusal(glb[:4] + struct.pack("<I", 1) + glb[8:]) == "GLB of version 1 is not read; expected 2"
    for size in (len(glb), 2**32 - 1):
        assert "a chunk of" in refusal(glb[:12] + struct.pack("<I", size) + glb[16:])
    assert "first chunk" in refusal(glb[:16] + b"BIN\0" + glb[20:])
    for text in (b"{", b"[]", b"", b"\xff{}", b'{"a": ' + b"[" * 100000, b'{"a": 1' + b"0" * 5000 + b"}"):
        assert "JSON" in refusal(glb_of(text)), text[:20]
    assert refusal(b'{"asset": {"version": "1.0"}}') == "glTF 1.0 is not read; expected 2.0"
    assert (
        refusal(b'{"asset": {"version": "2.0", "minVersion": "2.1"}}') == "glTF 2.1 is not read; expected 2.0"
    )


def test_lengths_and_offsets_are_checked() -> None:
    for kind, change, expected in (
        ("buffers", {"byteLength": 1000}, "buffers[0] is truncated: 1000 bytes expected, 60 there"),
        ("bufferViews", {"byteLength": 10**30}, "lies outside its buffer"),
        ("bufferViews", {"byteOffset": 57}, "bufferViews[0] lies outside its buffer (bytes 57 to 105 of 60)"),
        ("bufferViews", {"byteOffset": -4}, "byteOffset should be a whole number, got -4"),
        ("bufferViews", {"byteLength": 1.5}, "byteLength should be a whole number, got 1.5"),
        ("bufferViews", {"buffer": 3}, "bufferViews[0] names buffers[3], but the file has 1 of them"),
        ("bufferViews", {"buffer": None}, "names buffers[None]"),
        ("bufferViews", {"buffer": True}, "names buffers[True]"),
        ("accessors", {"bufferView": "0"}, "accessors[0] names bufferViews[0], but the file has 2 of them"),
        ("meshes", {"primitives": {"0": 1}}, "meshes[0]: primitives is not a list"),
        ("meshes", {"primitives": [7]}, "meshes[0].primitives[0] is not an object"),
        ("nodes", {"mesh": 1}, "nodes[0] names meshes[1]"),
    ):
        made = square()
        made.glb()
        made.tree[kind][0].update(change)
        data = glb_of(json.dumps(made.tree).encode(), bytes(made.blob))
        assert expected in refusal(data), (kind, change)


def test_files_that_cannot_be_had_are_named(tmp_path: Path) -> None:
    made = square()
    assert refusal(made.gltf("gone.bin"), tmp_path) == "buffers[0]: file not found (gone.bin)"
    assert "file not found" in refusal(made.gltf("../a.bin"), tmp_path)
    assert "data URI is broken" in refusal(made.gltf("data:;base64,A"), tmp_path)
    made.gltf()
    del made.tree["buffers"][0]["uri"]
    assert "has no bytes" in refusal(json.dumps(made.tree).encode(), tmp_path)


def test_data_uris() -> None:
    assert data_uri_bytes("data:image/png;charset=x;base64,%41AEC") == b"\0\1\2"
    assert data_uri_bytes("DATA:;BASE64,AA EC\nAw") == b"\0\1\2\3"  # blanks, and no "="
    for broken in ("data:;base64", "data:;base64,AA!A", "data:;base64,A"):
        with pytest.raises(ValueError, match=r".*"):
            data_uri_bytes(broken)


def test_whole_numbers_are_whole() -> None:
    values = [7, -7, 10**400, 7.0, 7.5, float("nan"), float("inf"), True, None, "7", [7]]
    assert [whole_number(value) for value in values] == [7, -7, 10**400, 7, *[None] * 7]
