"""Compressed geometry: by the packages that undo it, by the plain data beside it, or refused with their names."""

import sys

import numpy as np
import pytest
from gltf_samples import SQUARE, SQUARE_FACES, SQUARE_UV, Gltf, corners, read

from cmah.errors import CmahError

DRACO = "KHR_draco_mesh_compression"
MESHOPT = ["EXT_meshopt_compression", "KHR_meshopt_compression"]


@pytest.fixture
def no_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("DracoPy", "meshopt"):
        monkeypatch.setitem(sys.modules, module, None)


def fallback(made: Gltf, view: int, packed: bytes, extension: str, plain: bool, **more: object) -> None:
    """Let a buffer view be compressed, its plain bytes in a buffer that is there or not."""
    entry = made.tree["bufferViews"][view]
    source = made.tree["bufferViews"][made.view(packed)]
    entry["extensions"] = {extension: {**source, **more}}
    if not plain:
        buffers = made.tree.setdefault("buffers", [{}])
        if len(buffers) < 2:
            buffers.append({"byteLength": 10**6, "extensions": {extension: {"fallback": True}}})
        entry["buffer"] = 1


def packed_square(extension: str, plain: bool, required: bool) -> Gltf:
    """A square whose positions and indices are compressed (into nonsense, if the package is not there)."""
    made = Gltf(extensionsUsed=[extension], extensionsRequired=[extension] if required else [])
    made.show(made.square())
    packed = [b"nonsense"] * 2
    if sys.modules.get("meshopt", "") is not None and not plain:
        meshopt = pytest.importorskip("meshopt")
        packed = [meshopt.encode_gltf_buffer(SQUARE, "ATTRIBUTES"),
                  meshopt.encode_gltf_buffer(SQUARE_FACES.astype("<u4"), "TRIANGLES")]  # fmt: skip
    fallback(made, 0, packed[0], extension, plain, mode="ATTRIBUTES", count=4, byteStride=12)
    fallback(made, 1, packed[1], extension, plain, mode="TRIANGLES", count=6, byteStride=2)
    return made


@pytest.mark.parametrize("extension", MESHOPT)
@pytest.mark.usefixtures("no_packages")
def test_meshopt_without_its_package(extension: str) -> None:
    np.testing.assert_array_equal(
        corners(read(packed_square(extension, plain=True, required=False).glb())[0]),
        SQUARE[SQUARE_FACES.reshape(-1, 3)],
    )
    for plain, required in ((False, True), (False, False), (True, True)):
        with pytest.raises(CmahError, match=f"{extension} needs the package meshopt: pip install meshopt"):
            read(packed_square(extension, plain, required).glb())


@pytest.mark.parametrize("extension", MESHOPT)
@pytest.mark.parametrize("required", [True, False])
def test_meshopt(extension: str, required: bool) -> None:
    pytest.importorskip("meshopt")
    parts, remarks = read(packed_square(extension, plain=False, required=required).glb())
    np.testing.assert_array_equal(corners(parts), SQUARE[SQUARE_FACES.reshape(-1, 3)])
    assert remarks == []


@pytest.mark.parametrize("bits", [8, 12])
def test_meshopt_filters(bits: int) -> None:
    meshopt = pytest.importorskip("meshopt")
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(4, 4))
    normals[:, 3] = 0
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    stride = 4 if bits == 8 else 8
    colours = rng.random((4, 4))
    made = Gltf(extensionsRequired=["KHR_meshopt_compression"])
    primitive = made.square()
    stored = "i1" if bits == 8 else "<i2"
    unsigned = stored.replace("i", "u")
    for name, values, kind, type_ in (
        ("NORMAL", normals, "OCTAHEDRAL", stored),
        ("COLOR_0", colours, "COLOR", unsigned),
    ):
        encode = meshopt.encode_filter_oct if kind == "OCTAHEDRAL" else meshopt.encode_filter_color
        packed = meshopt.encode_gltf_buffer(
            encode(values.astype(np.float32), stride, bits), "ATTRIBUTES", version=1
        )
        width = 3 if name == "NORMAL" else 4
        number = made.accessor(np.zeros((4, width), type_), stride, normalized=True)
        primitive["attributes"][name] = number
        view = made.tree["accessors"][number]["bufferView"]
        fallback(made, view, packed, "KHR_meshopt_compression", plain=False, mode="ATTRIBUTES", count=4,
                 byteStride=stride, filter=kind)  # fmt: skip
    lifted = SQUARE + np.array([0, 0, 0.3])
    rows = meshopt.encode_filter_exp(lifted.astype(np.float32), 15)
    view = made.tree["accessors"][primitive["attributes"]["POSITION"]]["bufferView"]
    fallback(made, view, meshopt.encode_gltf_buffer(rows, "ATTRIBUTES"), "KHR_meshopt_compression", plain=False,
             mode="ATTRIBUTES", count=4, byteStride=12, filter="EXPONENTIAL")  # fmt: skip
    made.tree["materials"] = [{"alphaMode": "BLEND"}]
    made.show({**primitive, "material": 0})
    (part,), _ = read(made.glb())
    tolerance = 0.03 if bits == 8 else 0.002
    np.testing.assert_allclose(part.vertices, lifted, atol=1e-3)
    assert part.normals is not None
    assert part.vertex_rgba is not None
    np.testing.assert_allclose(part.normals, normals[:, :3], atol=tolerance)
    np.testing.assert_allclose(part.vertex_rgba[:, :3] ** 2.2, colours[:, :3], atol=tolerance)
    np.testing.assert_allclose(part.vertex_rgba[:, 3], colours[:, 3], atol=tolerance)


def test_meshopt_views_that_cannot_be() -> None:
    pytest.importorskip("meshopt")
    for change, message in (
        ({"mode": "FOO"}, "does not know mode FOO"),
        ({"byteStride": 6}, "4 elements of 6 bytes"),
        ({"byteStride": 260}, "does not know"),
        ({"filter": "QUATERNION"}, "with filter QUATERNION"),
        ({"filter": []}, "does not know"),
        ({"mode": "TRIANGLES", "byteStride": 4}, "does not know"),
        ({"count": 10**9}, "says 1000000000 elements of 12 bytes, the view has 48 bytes"),
        ({"count": 5}, "says 5 elements of 12 bytes, the view has 48 bytes"),
        ({"byteLength": 3}, "is broken"),
        ({"byteLength": 10**9}, "lies outside its buffer"),
        ({"count": 0}, "says 0 elements"),
        ({"mode": "INDICES", "byteStride": 4, "count": 12}, "is broken"),
    ):
        made = packed_square(MESHOPT[0], plain=False, required=True)
        made.tree["bufferViews"][0]["extensions"][MESHOPT[0]].update(change)
        with pytest.raises(CmahError, match=message):
            read(made.glb())
    made = packed_square(MESHOPT[0], plain=False, required=True)
    made.tree["bufferViews"][0]["extensions"][MESHOPT[0]]["count"] = 10**8
    made.tree["bufferViews"][0]["byteLength"] = 12 * 10**8
    with pytest.raises(CmahError, match="bytes cannot hold them"):
        read(made.glb())


def draco_square(plain: bool, required: bool, extra: bool = True) -> Gltf:
    """A square whose positions, coordinates and colours are compressed by Draco, its normals are not."""
    made = Gltf(extensionsUsed=[DRACO], extensionsRequired=[DRACO] if required else [])
    primitive = made.textured([[[255, 255, 255]]])
    primitive["attributes"]["COLOR_0"] = made.accessor(
        np.array([[255, 0, 0, 255]] * 4, "u1"), normalized=True
    )
    names = {"POSITION": 0, "TEXCOORD_0": 1, "COLOR_0": 2}
    data = b"nonsense"
    if not plain:
        draco = pytest.importorskip("DracoPy")
        colours = np.array([[255, 0, 0, 255]] * 4, np.uint8)
        data = draco.encode(SQUARE.astype(float), SQUARE_FACES.reshape(-1, 3).astype(np.uint32), colors=colours,
                            tex_coord=SQUARE_UV.astype(float), preserve_order=True)  # fmt: skip
        ids = {
            attribute["attribute_type"]: attribute["unique_id"] for attribute in draco.decode(data).attributes
        }
        names = {"POSITION": ids[0], "TEXCOORD_0": ids[3], "COLOR_0": ids[2]}
        for number in [*(primitive["attributes"][name] for name in names), primitive["indices"]]:
            del made.tree["accessors"][number]["bufferView"]
    if extra:
        primitive["attributes"]["NORMAL"] = made.accessor(np.tile([0, 0, 1], (4, 1)).astype("<f4"))
    primitive["extensions"] = {DRACO: {"bufferView": made.view(data), "attributes": names}}
    made.show(primitive)
    made.show(made.square(), translation=[2, 0, 0])
    return made


@pytest.mark.usefixtures("no_packages")
def test_draco_without_its_package() -> None:
    parts, remarks = read(draco_square(plain=True, required=False).glb())
    assert len(corners(parts)) == 4
    assert remarks == []
    with pytest.raises(CmahError, match=f"{DRACO} needs the package DracoPy: pip install DracoPy"):
        read(draco_square(plain=True, required=True).glb())
    made = draco_square(plain=True, required=False)
    del made.tree["accessors"][0]["bufferView"]
    with pytest.raises(CmahError, match=f"{DRACO} needs the package DracoPy: pip install DracoPy"):
        read(made.glb())


@pytest.mark.parametrize("required", [True, False])
def test_draco_beside_plain_primitives(required: bool) -> None:
    pytest.importorskip("DracoPy")
    parts, remarks = read(draco_square(plain=False, required=required).glb())
    assert remarks == []
    # siblings come last first
    np.testing.assert_allclose(corners(parts[:1])[:, :, 0].min(), 2)
    (square,) = parts[1:]
    np.testing.assert_allclose(corners([square]), SQUARE[SQUARE_FACES.reshape(-1, 3)], atol=1e-3)
    assert square.uv is not None
    assert square.vertex_rgba is not None
    assert square.normals is not None
    np.testing.assert_allclose(square.uv, square.vertices[:, :2], atol=1e-3)
    assert square.vertex_rgba.tolist() == [[1, 0, 0, 1]] * 4
    assert square.normals.tolist() == [[0, 0, 1]] * 4


def test_draco_that_cannot_be() -> None:
    draco = pytest.importorskip("DracoPy")
    with pytest.raises(CmahError, match=f"its {DRACO} data is broken"):
        read(draco_square(plain=True, required=True).glb())
    made = draco_square(plain=False, required=True)
    extension = made.tree["meshes"][0]["primitives"][0]["extensions"][DRACO]
    extension["attributes"]["POSITION"] = 77
    with pytest.raises(CmahError, match=r"has no attribute 77 \(POSITION\)"):
        read(made.glb())
    extension["bufferView"] = made.view(draco.encode(SQUARE.astype(float)))
    with pytest.raises(CmahError, match="is a point cloud, not a mesh"):
        read(made.glb())
    made = draco_square(plain=False, required=True)
    extension = made.tree["meshes"][0]["primitives"][0]["extensions"][DRACO]
    del extension["attributes"]["POSITION"]
    with pytest.raises(CmahError, match="positions or indices have no data"):
        read(made.glb())
