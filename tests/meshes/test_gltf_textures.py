"""Textures of glTF: pictures in every place and format, coordinates, transforms and wrapping."""

import cmath
from base64 import b64decode, b64encode
from io import BytesIO
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from gltf_samples import SQUARE_UV, Gltf, read
from PIL import Image, features

from cmah.errors import CmahError
from cmah.meshes.mesh import surface_colours
from cmah.meshes.mesh_loading import load_mesh
from cmah.meshes.part import Part

QUADRANTS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 0]]], np.uint8)
# 16 x 16 pixels of the four quadrants, in ETC1S with its levels and in UASTC with Zstandard
KTX2 = {
    "etc1s": (
        "q0tUWCAyMLsNChoKAAAAAAEAAAAQAAAAEAAAAAAAAAAAAAAAAQAAAAUAAAABAAAAyAAAACwAAAD0AAAAJAAAABgBAAAAAAAA"
        "CwEAAAAAAAApAgAAAAAAAAgAAAAAAAAAAAAAAAAAAAAmAgAAAAAAAAMAAAAAAAAAAAAAAAAAAAAlAgAAAAAAAAEAAAAAAAAA"
        "AAAAAAAAAAAkAgAAAAAAAAEAAAAAAAAAAAAAAAAAAAAjAgAAAAAAAAEAAAAAAAAAAAAAAAAAAAAsAAAAAAAAAAIAKACjAQIA"
        "AwMAAAgAAAAAAAAAAAA/AAAAAAAAAAAA/////x8AAABLVFh3cml0ZXIAQmFzaXMgVW5pdmVyc2FsIDIuNTAAAAsACABAAAAA"
        "IQAAADIAAAAAAAAAAAAAAAAAAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAMAAAAAAAAAAAAAAAAAAAAAAAAAAQAAAAAAAAAAAAAA"
        "AAAAAAAAAAABAAAAAAAAAAAAAAAAAAAAAAAAAAEAAAAAAAAAAAAAACBAxIYBAABBGHEMOeUAogYIAAAAwnBl4AEWP4CJAQIA"
        "AIIAzFFQV2gATEAQAAAABEDSoGnzUPZdbo3wc08HCCAEBYWHR+Xn51dVVVVdt7Rcv76+vq66vq6qqqqquh4evgYAwUQAAAAA"
        "AAAS4b/VAjAFAAAAAAgAYRipAE/ECAAABJ0DBAORJ0gAMAEAAAAAAIAAAtNrt5/CKPTjEkUICBwO"
    ),
    "uastc": (
        "q0tUWCAyMLsNChoKAAAAAAEAAAAQAAAAEAAAAAAAAAAAAAAAAQAAAAEAAAACAAAAaAAAACwAAACUAAAAJAAAAAAAAAAAAAAA"
        "AAAAAAAAAAC4AAAAAAAAADwAAAAAAAAAAAEAAAAAAAAsAAAAAAAAAAIAKACmAQIAAwMAABAAAAAAAAAAAAB/AAAAAAAAAAAA"
        "/////x8AAABLVFh3cml0ZXIAQmFzaXMgVW5pdmVyc2FsIDIuNTAAACi1L/1gAACVAQDw9x8A4B96ABfgH+AfAg8XAOD/HwLg"
        "Aff/H+AffA8ABwAFEgAgnwG5A5YCWGwmAgUwAg=="
    ),
}


def picture(kind: str = "PNG") -> bytes:
    data = BytesIO()
    Image.fromarray(QUADRANTS.repeat(8, axis=0).repeat(8, axis=1)).save(data, kind)
    return data.getvalue()


def textured(image: dict, **texture: object) -> Gltf:
    """A square with a texture of an image of the file."""
    made = Gltf()
    primitive = made.textured(QUADRANTS)
    made.tree["images"] = [image]
    made.tree["textures"] = [texture or {"source": 0}]
    made.show(primitive)
    return made


def opened(made: Gltf, folder: Path = Path(".")) -> tuple[Image.Image | None, list[str]]:
    (part,), remarks = read(made.glb(), folder)
    return part.texture, remarks


def test_the_picture_stands_upright(tmp_path: Path) -> None:
    made = Gltf()
    made.show(made.textured(QUADRANTS.repeat(8, axis=0).repeat(8, axis=1)))
    (tmp_path / "a.glb").write_bytes(made.glb())
    mesh = load_mesh(tmp_path / "a.glb")
    # near the corners of the faces (0, 0), (1, 0), (1, 1) and (0, 0), (1, 1), (0, 1)
    near = np.full((4, 3), 0.05, np.float32)
    near[[0, 1, 2, 3], [2, 2, 0, 1]] = 0.9
    faces = np.array([1, 0, 0, 0])
    where = np.sign(np.einsum("nc,ncd->nd", near, mesh.vertices[mesh.faces[faces]])[:, :2])
    assert where.tolist() == [[-1, 1], [1, 1], [-1, -1], [1, -1]]
    seen = surface_colours(mesh, faces, near)[:, :3] * 255
    assert seen.round().tolist() == QUADRANTS.reshape(-1, 3).tolist()


def test_pictures_in_every_place(tmp_path: Path) -> None:
    (tmp_path / "textures").mkdir()
    (tmp_path / "textures/Größe 1 #2.png").write_bytes(picture())
    places = [
        {"uri": "data:image/png;base64," + b64encode(picture()).decode()},
        {"uri": "data:application/octet-stream;base64," + b64encode(picture()).decode()},
        {"uri": "textures/" + quote("Größe 1 #2.png")},
        {"uri": "textures/Größe 1 #2.png"},
        {"uri": "./Textures\\größe 1 #2.PNG"},
    ]
    for place in places:
        image, remarks = opened(textured(place), tmp_path)
        assert image is not None, place
        np.testing.assert_array_equal(
            np.asarray(image)[[0, 0, 15, 15], [0, 15, 0, 15]], QUADRANTS.reshape(-1, 3)
        )
        assert remarks == []


@pytest.mark.parametrize(("kind", "extension"), [
    ("PNG", None), ("JPEG", None), ("WEBP", "EXT_texture_webp"), ("AVIF", "EXT_texture_avif"),
    ("DDS", "MSFT_texture_dds"), ("BMP", None), ("TIFF", None),
])  # fmt: skip
def test_pictures_of_every_format(kind: str, extension: str | None) -> None:
    if kind in ("WEBP", "AVIF") and not features.check(kind.lower()):
        pytest.skip(f"this Pillow reads no {kind}")
    made = Gltf(extensionsRequired=[extension] if extension else [])
    primitive = made.textured(QUADRANTS)
    view = made.view(picture(kind))
    made.tree["images"] = [{"bufferView": view, "mimeType": "image/png"}]  # also where the type is wrong
    texture = {"source": 0} if extension is None else {"extensions": {extension: {"source": 0}}}
    made.tree["textures"] = [texture]
    made.show(primitive)
    image, remarks = opened(made)
    assert remarks == []
    assert image is not None
    seen = np.asarray(image.convert("RGB"), dtype=int)[[2, 2, 13, 13], [2, 13, 2, 13]]
    assert np.abs(seen - QUADRANTS.reshape(-1, 3)).max() < 40


@pytest.mark.parametrize("codec", sorted(KTX2))
def test_ktx2_by_the_package_or_with_a_word(codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image = {"uri": "data:image/ktx2;base64," + KTX2[codec]}
    made = textured(image, extensions={"KHR_texture_basisu": {"source": 0}})
    made.tree["extensionsRequired"] = ["KHR_texture_basisu"]
    with monkeypatch.context() as patch:
        patch.setitem(__import__("sys").modules, "opengl_basisu", None)
        image, remarks = opened(made)
        assert image is None
        assert remarks == ["texture not decoded (KHR_texture_basisu: pip install opengl-basisu)"]
        # a plain picture beside it is as good
        made.tree["textures"][0]["source"] = made.image(QUADRANTS)
        assert opened(made)[1] == []
        del made.tree["textures"][0]["source"]
    pytest.importorskip("opengl_basisu")
    picture, remarks = opened(made)
    assert picture is not None
    seen = np.asarray(picture.convert("RGB"), dtype=int)[[4, 4, 12, 12], [4, 12, 4, 12]]
    assert np.abs(seen - QUADRANTS.reshape(-1, 3)).max() < 4
    assert remarks == []
    whole = b64decode(KTX2[codec])
    for length in range(0, len(whole), 7):
        made.tree["images"][0]["uri"] = "data:;base64," + b64encode(whole[:length]).decode()
        opened(made)  # whatever is said, nothing is raised


@pytest.mark.parametrize(("image", "remark"), [
    ({"uri": "gone.png"}, "texture not found (gone.png)"),
    ({"uri": "https://example.com/a.png"}, "texture not found (https://example.com/a.png)"),
    ({"uri": "data:image/png;base64,AAAA"}, "texture not readable (images[0])"),
    ({"uri": "data:image/png;base64,A"}, "texture broken (images[0])"),
    ({"bufferView": 99}, "texture not found (images[0])"),
    ({}, "texture not found (images[0])"),
    ({"uri": "data:image/svg+xml,<svg></svg>"}, "texture not readable (images[0])"),
    ({"uri": "data:,%25!PS-Adobe-3.0 EPSF-3.0"}, "texture not readable (images[0])"),
])  # fmt: skip
def test_lost_pictures_cost_the_texture_only(image: dict, remark: str) -> None:
    made = textured(image)
    made.tree["materials"][0]["pbrMetallicRoughness"]["baseColorFactor"] = [1, 0, 0, 1]
    (part,), remarks = read(made.glb())
    assert (part.texture, part.uv) == (None, None)
    assert part.face_rgba is not None
    assert part.face_rgba[0].tolist() == [1, 0, 0, 1]
    assert remarks == [remark]


def test_references_that_lead_nowhere_are_refused() -> None:
    for section, entry, message in (
        ("textures", {"source": 4}, r"textures\[0\] names images\[4\]"),
        ("textures", {"source": 0, "sampler": 4}, r"names samplers\[4\]"),
        ("images", 7, r"images\[0\] is not an object"),
    ):
        made = textured({"uri": "gone.png"})
        made.tree[section] = [entry]
        with pytest.raises(CmahError, match=message):
            read(made.glb())
    made = textured({"uri": "gone.png"})
    made.tree["textures"] = [{}]
    assert read(made.glb())[1] == ["texture without a picture"]


def uv_of(uv: np.ndarray, info: dict, **attributes: np.ndarray) -> tuple[Part, list[str]]:
    made = Gltf(extensionsUsed=["KHR_texture_transform"])
    primitive = made.textured(QUADRANTS, uv=uv, info=info)
    for name, values in attributes.items():
        primitive["attributes"][name] = made.accessor(values)
    made.show(primitive)
    (part,), remarks = read(made.glb())
    return part, remarks


def test_a_set_of_coordinates_is_chosen_by_the_texture_or_its_transform() -> None:
    other = SQUARE_UV + 3
    for info in (
        {"texCoord": 1},
        {"texCoord": 0, "extensions": {"KHR_texture_transform": {"texCoord": 1}}},
    ):
        part, _ = uv_of(SQUARE_UV, info, TEXCOORD_1=other)
        assert part.uv is not None
        np.testing.assert_allclose(part.uv, [0, 1] + [1, -1] * other)
    part, remarks = uv_of(SQUARE_UV, {"texCoord": 2}, TEXCOORD_1=other)
    assert (part.uv, part.texture) == (None, None)
    assert remarks == ["texture without its coordinates (TEXCOORD_2)"]


@pytest.mark.parametrize("change", [
    {}, {"scale": [0.5, 0.5]}, {"offset": [0.25, -2]}, {"rotation": 1.1}, {"scale": [1, -1], "offset": [0, 1]},
    {"offset": [0.3, 0.2], "rotation": -0.4, "scale": [2, 0.5]},
])  # fmt: skip
def test_transforms_scale_then_turn_against_the_clock_on_the_picture_then_move(change: dict) -> None:
    part, remarks = uv_of(SQUARE_UV, {"extensions": {"KHR_texture_transform": change}})
    scale, offset = change.get("scale", [1, 1]), change.get("offset", [0, 0])
    assert part.uv is not None
    for (u, v), seen in zip(SQUARE_UV.tolist(), part.uv.tolist(), strict=True):
        # v points down: with v upwards as the imaginary part, turning is a multiplication
        turned = complex(u * scale[0], -v * scale[1]) * cmath.exp(1j * change.get("rotation", 0))
        expected = turned.real + offset[0], -turned.imag + offset[1]
        assert seen == pytest.approx([expected[0], 1 - expected[1]], abs=1e-6)
    assert remarks == []


def test_the_example_of_the_extension_shows_the_lower_left_quadrant() -> None:
    """The second example of its text: offset (0, 1), a quarter turn, half the size."""
    change = {"offset": [0, 1], "rotation": 1.57079632679, "scale": [0.5, 0.5]}
    part, _ = uv_of(SQUARE_UV, {"extensions": {"KHR_texture_transform": change}})
    assert part.uv is not None
    assert part.uv.min(axis=0) == pytest.approx([0, 0], abs=1e-6)
    assert part.uv.max(axis=0) == pytest.approx([0.5, 0.5], abs=1e-6)


@pytest.mark.parametrize(
    ("stored", "normalised"), [("u1", True), ("<u2", True), ("i1", True), ("<i2", False)]
)
def test_quantised_coordinates(stored: str, normalised: bool) -> None:
    largest = np.iinfo(stored).max
    made = Gltf(extensionsRequired=["KHR_mesh_quantization"])
    scale = 1 if normalised else 1 / largest
    info = {"extensions": {"KHR_texture_transform": {"scale": [scale, scale]}}}
    primitive = made.textured(QUADRANTS, info=info)
    uv = made.accessor((SQUARE_UV * largest).astype(stored), 4, normalized=normalised)
    primitive["attributes"]["TEXCOORD_0"] = uv
    made.show(primitive)
    (part,), _ = read(made.glb())
    assert part.uv is not None
    np.testing.assert_allclose(part.uv, [0, 1] + [1, -1] * SQUARE_UV, atol=1e-6)


@pytest.mark.parametrize(("sampler", "wrap", "remarks"), [
    (None, ("repeat", "repeat"), []),
    ({}, ("repeat", "repeat"), []),
    ({"wrapS": 33071, "wrapT": 33648}, ("clamp", "mirror"), []),
    ({"wrapT": 10497, "magFilter": 9728}, ("repeat", "repeat"), []),
    ({"wrapS": 1}, ("repeat", "repeat"), ["wrapping of a texture unknown (1)"]),
])  # fmt: skip
def test_samplers(sampler: dict | None, wrap: tuple[str, str], remarks: list[str]) -> None:
    made = Gltf()
    made.show(made.textured(QUADRANTS, sampler=sampler))
    (part,), said = read(made.glb())
    assert (part.wrap, said) == (wrap, remarks)


def test_a_picture_is_opened_once() -> None:
    made = Gltf()
    primitive = made.textured(QUADRANTS)
    made.show(primitive, made.square(), {**primitive, "material": 0})
    made.show(primitive, translation=[2, 0, 0])
    parts, _ = read(made.glb())
    assert len({id(part.texture) for part in parts if part.texture is not None}) == 1
