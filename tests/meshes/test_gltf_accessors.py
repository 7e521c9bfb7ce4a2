"""Accessors of every type, against a loop over the bytes."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from gltf_samples import COMPONENTS, Gltf, glb_of
from hypothesis import given
from hypothesis import strategies as st

from cmah.errors import CmahError
from cmah.meshes.gltf_accessors import SHAPES, read_accessor
from cmah.meshes.gltf_file import GltfFile
from cmah.meshes.mesh_resources import ConfinedResolver

CODES = {5120: "b", 5121: "B", 5122: "h", 5123: "H", 5125: "I", 5126: "f"}
LARGEST = {5120: 127, 5121: 255, 5122: 32767, 5123: 65535, 5125: 2**32 - 1}


def opened(tree: dict, blob: bytes) -> GltfFile:
    tree = {"buffers": [{"byteLength": len(blob)}], **tree}
    return GltfFile(Path("a.glb"), glb_of(json.dumps(tree).encode(), blob), ConfinedResolver("."), print)


def slowly(
    blob: bytes, start: int, stride: int, count: int, component: int, kind: str, normalised: bool
) -> list:
    """Element by element, column by column, as the specification describes the bytes."""
    rows, columns = SHAPES[kind]
    code = CODES[component]
    column = rows * struct.calcsize(code)
    step = column if columns == 1 else (column + 3) // 4 * 4
    out = []
    for element in range(count):
        values = []
        for c in range(columns):
            place = start + element * (stride or step * columns) + c * step
            values += struct.unpack_from(f"<{rows}{code}", blob, place)
        if normalised and component in LARGEST:
            values = [max(value / LARGEST[component], -1) for value in values]
        out.append(values)
    return out


@given(
    component=st.sampled_from(sorted(CODES)),
    kind=st.sampled_from(sorted(SHAPES)),
    count=st.integers(0, 5),
    extra=st.integers(0, 3),
    offsets=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    normalised=st.booleans(),
    seed=st.integers(0, 99),
)
def test_every_type_as_a_loop_reads_it(
    component: int, kind: str, count: int, extra: int, offsets: tuple[int, int], normalised: bool, seed: int
) -> None:
    rows, columns = SHAPES[kind]
    size = struct.calcsize(CODES[component])
    element = ((rows * size + 3) // 4 * 4 if columns > 1 else rows * size) * columns
    stride = element + extra * size if extra else 0
    blob = np.random.default_rng(seed).integers(0, 256, 24 + 5 * (element + 3 * size), np.uint8)
    if component == 5126:
        blob[3::4] = 63  # finite numbers
    view_offset, offset = offsets[0] * 4, offsets[1] * size
    view = {"buffer": 0, "byteOffset": view_offset, "byteLength": len(blob) - view_offset}
    if stride:
        view["byteStride"] = stride
    entry = {"bufferView": 0, "byteOffset": offset, "componentType": component, "type": kind, "count": count}
    tree = {"bufferViews": [view], "accessors": [{**entry, "normalized": normalised}]}
    accessor = read_accessor(opened(tree, blob.tobytes()), 0, "here", (kind,))
    assert len(accessor.values) == count
    expected = slowly(blob.tobytes(), view_offset + offset, stride, count, component, kind, normalised)
    np.testing.assert_allclose(
        accessor.floats(), np.array(expected).reshape(count, rows * columns), rtol=1e-12
    )


def test_the_last_element_needs_no_padding_and_one_byte_less_is_refused() -> None:
    # 3 columns of 3 bytes at 0, 4 and 8: 11 bytes, and the next element begins at 12
    tree = {"bufferViews": [{"buffer": 0, "byteLength": 23}],
            "accessors": [{"bufferView": 0, "componentType": 5121, "type": "MAT3", "count": 2}]}  # fmt: skip
    values = read_accessor(opened(tree, bytes(range(24))), 0, "here", ("MAT3",)).values
    assert values.tolist() == [[0, 1, 2, 4, 5, 6, 8, 9, 10], [12, 13, 14, 16, 17, 18, 20, 21, 22]]
    tree["bufferViews"][0]["byteLength"] = 22
    with pytest.raises(
        CmahError, match=r"accessors\[0\] lies outside its buffer view: 2 elements of 11 bytes"
    ):
        read_accessor(opened(tree, bytes(24)), 0, "here", ("MAT3",))


@pytest.mark.parametrize("base", [True, False])
@pytest.mark.parametrize("index_type", ["u1", "<u2", "<u4"])
def test_sparse_elements_replace_those_of_the_view_or_zeros(base: bool, index_type: str) -> None:
    made, rng = Gltf(), np.random.default_rng(1)
    values, changed = rng.random((6, 3)).astype("<f4"), rng.random((3, 3)).astype("<f4")
    places = np.array([0, 2, 5], index_type)
    number = made.accessor(values)
    sparse = {"count": 3, "indices": {"bufferView": made.view(places.tobytes()),
                                      "componentType": COMPONENTS[places.dtype.str[1:]]},
              "values": {"bufferView": made.view(b"1234" + changed.tobytes()), "byteOffset": 4}}  # fmt: skip
    made.tree["accessors"][number]["sparse"] = sparse
    if not base:
        del made.tree["accessors"][number]["bufferView"]
    expected = values.copy() if base else np.zeros_like(values)
    for place, value in zip(places.tolist(), changed, strict=True):
        expected[place] = value
    gltf = GltfFile(Path("a.glb"), made.glb(), ConfinedResolver("."), print)
    np.testing.assert_array_equal(read_accessor(gltf, number, "here", ("VEC3",)).values, expected)


def test_what_cannot_be_is_refused() -> None:
    entry = {"bufferView": 0, "componentType": 5126, "type": "VEC3", "count": 2}
    sparse = {"count": 1, "indices": {"bufferView": 0, "componentType": 5121}, "values": {"bufferView": 0}}
    for change, message in (
        ({"count": 3}, "lies outside its buffer view: 3 elements of 12 bytes from byte 0, the view has 24"),
        ({"count": 10**18}, "lies outside"),
        ({"count": -1}, "count should be a whole number"),
        ({"count": None}, "count should be a whole number"),
        ({"byteOffset": 1}, "lies outside"),
        ({"componentType": 5124}, "its componentType should be one of 5120 to 5126, got 5124"),
        ({"type": "VEC5"}, "its type should be one of SCALAR"),
        ({"type": ["VEC3"]}, "its type should be one of SCALAR"),
        ({"type": "VEC2"}, "here is accessors[0], a VEC2 of type 5126; expected VEC3"),
        ({"bufferView": 1}, "elements of 12 bytes at a stride of 8"),
        ({"sparse": {**sparse, "count": 3}}, "changes 3 of 2 elements"),
        (
            {"sparse": {**sparse, "indices": {"bufferView": 2, "componentType": 5121}}},
            "changes element 255 of 2",
        ),
        (
            {"sparse": {**sparse, "indices": {"bufferView": 0, "componentType": 5126}}},
            "should be 5121, 5123 or",
        ),
        ({"sparse": {**sparse, "values": {"bufferView": 2}}}, "sparse.values lies outside"),
        ({"bufferView": None}, "names bufferViews[None]"),
    ):
        views = [{"buffer": 0, "byteLength": 24}, {"buffer": 0, "byteLength": 24, "byteStride": 8},
                 {"buffer": 0, "byteLength": 1, "byteOffset": 24}]  # fmt: skip
        tree = {"bufferViews": views, "accessors": [{**entry, **change}]}
        with pytest.raises(CmahError) as caught:
            read_accessor(opened(tree, bytes(24) + b"\xff"), 0, "here", ("VEC3",))
        assert message in str(caught.value), change


def test_zeros_are_not_made_without_bound() -> None:
    tree = {"accessors": [{"componentType": 5126, "type": "VEC4", "count": 10**7 * 5}] * 2}
    gltf = opened(tree, b"")
    read_accessor(gltf, 0, "here", ("VEC4",))  # 800 MB that are not touched
    with pytest.raises(CmahError, match="more than 1 GiB"):
        read_accessor(gltf, 1, "here", ("VEC4",))
