"""Materials of glTF: base colour, alpha by its mode, vertex colours, and the models of extensions."""

from pathlib import Path

import numpy as np
import pytest
from gltf_samples import Gltf, read

from cmah.errors import CmahError
from cmah.meshes.mesh import surface_colours
from cmah.meshes.mesh_loading import load_mesh
from cmah.meshes.part import Part

RED_HALF = np.array([[[255, 0, 0, 255], [255, 0, 0, 100]]])


def square(colours: np.ndarray | None = None, **material: object) -> tuple[Part, list[str]]:
    """A square of a material, and what is remarked."""
    made = Gltf()
    primitive = made.square(material=made.add("materials", material))
    if colours is not None:
        whole = colours.dtype.kind in "iu"
        primitive["attributes"]["COLOR_0"] = made.accessor(colours, **({"normalized": True} if whole else {}))
    made.show(primitive)
    (part,), remarks = read(made.glb())
    return part, remarks


def factor(*rgba: float) -> dict:
    return {"pbrMetallicRoughness": {"baseColorFactor": list(rgba)}}


def test_factors_are_linear_light() -> None:
    part, remarks = square(**factor(0.5, 0, 2, 1))
    assert part.face_rgba is not None
    np.testing.assert_allclose(part.face_rgba, [[0.5 ** (1 / 2.2), 0, 1, 1]] * 2, rtol=1e-6)
    assert remarks == []
    for material in ({}, {"pbrMetallicRoughness": {}}, {"pbrMetallicRoughness": {"metallicFactor": 0}}):
        assert square(**material)[0].face_rgba is None
    with pytest.raises(CmahError, match="baseColorFactor should be a list of 4 numbers"):
        square(**factor(1, 1, 1))


@pytest.mark.parametrize(("mode", "alpha", "seen"), [
    ("OPAQUE", 0.0, 1), (None, 0.2, 1), ("BLEND", 0.5, 0.5), ("BLEND", 0.1, 0.35), ("BLEND", 0.0, 1),
    ("MASK", 0.5, 1), ("MASK", 0.4, 0), ("WRONG", 0.0, 1),
])  # fmt: skip
def test_alpha_of_materials(mode: str | None, alpha: float, seen: float) -> None:
    part, remarks = square(**factor(1, 1, 1, alpha), **({"alphaMode": mode} if mode else {}))
    assert part.face_rgba is not None
    np.testing.assert_allclose(part.face_rgba[:, 3], seen)
    assert remarks == (["alpha mode unknown (WRONG)"] if mode == "WRONG" else [])


@pytest.mark.parametrize("stored", ["<f4", "u1", "<u2"])
@pytest.mark.parametrize("width", [3, 4])
def test_vertex_colours_of_every_type(stored: str, width: int) -> None:
    colours = np.array([[1, 0.2, 0, 0], [0, 0.6, 0, 0.4], [0, 0, 1, 1], [1, 1, 1, 1]])[:, :width]
    scale = 1 if stored == "<f4" else np.iinfo(stored).max
    linear = np.round(colours * scale) / scale if scale > 1 else colours
    for mode in ("OPAQUE", "BLEND", "MASK"):
        part, _ = square(
            (colours * scale).round(0 if scale > 1 else 9).astype(stored), alphaMode=mode, alphaCutoff=0.4
        )
        assert part.vertex_rgba is not None
        # those after the first four come of cutting along the edge of a mask
        np.testing.assert_allclose(part.vertex_rgba[:4, :3], linear[:, :3] ** (1 / 2.2), atol=1e-6)
        alpha = linear[:, 3] if width == 4 else np.ones(4)
        expected = {"OPAQUE": np.ones(4), "BLEND": alpha, "MASK": alpha >= 0.4}[mode]
        np.testing.assert_allclose(part.vertex_rgba[:4, 3], expected, atol=1e-6)
        assert part.face_rgba is None


def test_vertex_colours_outside_their_range_are_clamped() -> None:
    part, _ = square(np.array([[2, -1, np.nan]] * 4, "<f4"))
    assert part.vertex_rgba is not None
    assert part.vertex_rgba[0].tolist() == [1, 0, 1, 1]


def test_integers_that_do_not_say_normalised_are_fractions_too() -> None:
    made = Gltf()
    primitive = made.square()
    primitive["attributes"]["COLOR_0"] = made.accessor(np.array([[255, 0, 255, 255]] * 4, "u1"))
    made.show(primitive)
    (part,), _ = read(made.glb())
    assert part.vertex_rgba is not None
    assert part.vertex_rgba[0].tolist() == [1, 0, 1, 1]


def textured(
    tmp_path: Path, colours: np.ndarray | None = None, **material: object
) -> tuple[Part, list[float]]:
    """A square with a texture opaque on its left and of alpha 100 on its right; and the alpha on both sides."""
    made = Gltf()
    primitive = made.textured(RED_HALF, **material)
    if colours is not None:
        primitive["attributes"]["COLOR_0"] = made.accessor(colours)
    made.show(primitive)
    (part,), _ = read(made.glb())
    (tmp_path / "a.glb").write_bytes(made.glb())
    mesh = load_mesh(tmp_path / "a.glb")
    # in the first face (0, 0), (1, 0), (1, 1): near the left and near the right edge, at the texels' middles
    weights = np.array([[0.75, 0.125, 0.125], [0.25, 0.375, 0.375]], np.float32)
    return part, surface_colours(mesh, np.array([0, 0]), weights)[:, 3].tolist()


@pytest.mark.parametrize(("material", "left", "right"), [
    ({}, 1, 1),
    ({"alphaMode": "BLEND"}, 1, 0.39),
    ({"alphaMode": "BLEND", "rough": {"baseColorFactor": [1, 1, 1, 0.5]}}, 0.5, 0.2),
    ({"alphaMode": "MASK"}, 1, 0),
    ({"alphaMode": "MASK", "alphaCutoff": 0.39}, 1, 1),
    ({"alphaMode": "MASK", "alphaCutoff": 0.4}, 1, 0),
    ({"alphaMode": "MASK", "alphaCutoff": 0}, 1, 1),
    ({"alphaMode": "MASK", "alphaCutoff": 0.3, "rough": {"baseColorFactor": [1, 1, 1, 0.8]}}, 1, 1),
    ({"alphaMode": "MASK", "alphaCutoff": 0.35, "rough": {"baseColorFactor": [1, 1, 1, 0.8]}}, 1, 0),
])  # fmt: skip
def test_alpha_of_textures(tmp_path: Path, material: dict, left: float, right: float) -> None:
    assert textured(tmp_path, **material)[1] == pytest.approx([left, right], abs=0.01)


def test_a_mask_counts_material_texture_and_vertices(tmp_path: Path) -> None:
    grey = np.array([[1, 1, 1, 0.8]] * 4, "<f4")
    assert textured(tmp_path, grey, alphaMode="MASK", alphaCutoff=0.3)[1] == pytest.approx(
        [1, 1]
    )  # 0.39 x 0.8 = 0.31
    assert textured(tmp_path, grey, alphaMode="MASK", alphaCutoff=0.32)[1] == pytest.approx([1, 0])
    part, _ = textured(tmp_path, grey, alphaMode="MASK", alphaCutoff=0.32)
    assert part.alpha_cutoff == pytest.approx(0.4)
    part, _ = textured(tmp_path, alphaMode="OPAQUE", rough={"baseColorFactor": [1, 1, 1, 0.1]})
    assert part.texture_alpha == "ignore"


def test_specular_glossiness() -> None:
    name = "KHR_materials_pbrSpecularGlossiness"
    for glossy, expected in (
        ({"diffuseFactor": [1, 0, 0, 1]}, [1, 0, 0, 1]),
        # gold: the specular colour is all that a metal has
        ({"diffuseFactor": [0, 0, 0, 1], "specularFactor": [1, 0.5, 0]}, [1, 0.5 ** (1 / 2.2), 0, 1]),
        ({"diffuseFactor": [0, 0, 0, 1], "specularFactor": [0, 0, 0]}, [0, 0, 0, 1]),
    ):
        part, remarks = square(extensions={name: glossy}, **factor(0, 0, 1, 1))
        assert part.face_rgba is not None
        np.testing.assert_allclose(part.face_rgba[0], expected, atol=1e-6)
        assert remarks == []
    made = Gltf(extensionsRequired=[name])
    primitive = made.textured(RED_HALF)
    material = made.tree["materials"][0]
    material["extensions"] = {
        name: {"diffuseTexture": material.pop("pbrMetallicRoughness")["baseColorTexture"]}
    }
    made.show(primitive)
    assert read(made.glb())[0][0].texture is not None


def test_emitted_light_counts_where_it_is_all_there_is() -> None:
    red = {"emissiveFactor": [1, 0, 0]}
    for material in (red, red | factor(0, 0, 0, 1)):
        part, remarks = square(**material)
        assert part.face_rgba is not None
        assert part.face_rgba[0].tolist() == [1, 0, 0, 1]
        assert remarks == []
    part, remarks = square(**red, **factor(0, 0, 1, 1))
    assert part.face_rgba is not None
    assert part.face_rgba[0].tolist() == [1, 0, 1, 1]
    assert remarks == []
    strong = {"extensions": {"KHR_materials_emissive_strength": {"emissiveStrength": 4}}}
    part, _ = square(emissiveFactor=[0.125, 0, 1], **strong)
    assert part.face_rgba is not None
    np.testing.assert_allclose(part.face_rgba[0], [0.5 ** (1 / 2.2), 0, 1, 1], rtol=1e-6)
    made = Gltf()
    primitive = made.textured(RED_HALF)
    material = made.tree["materials"][0]
    material |= {"emissiveTexture": material.pop("pbrMetallicRoughness")["baseColorTexture"]}
    made.show(primitive)
    assert read(made.glb())[0][0].texture is None  # the factor is 0 where it is not given
    material["emissiveFactor"] = [1, 1, 1]
    assert read(made.glb())[0][0].texture is not None


def test_materials_that_are_not_there_are_refused() -> None:
    made = Gltf()
    made.show(made.square(material=3))
    with pytest.raises(CmahError, match=r"meshes\[0\]\.primitives\[0\] names materials\[3\]"):
        read(made.glb())


def test_variants_leave_the_default_material() -> None:
    made = Gltf(extensionsRequired=["KHR_materials_variants"],
                extensions={"KHR_materials_variants": {"variants": [{"name": "blue"}]}})  # fmt: skip
    mapping = {"mappings": [{"material": 1, "variants": [0]}]}
    made.tree["materials"] = [factor(1, 0, 0, 1), factor(0, 0, 1, 1)]
    made.show(made.square(material=0, extensions={"KHR_materials_variants": mapping}))
    (part,), remarks = read(made.glb())
    assert part.face_rgba is not None
    assert part.face_rgba[0].tolist() == [1, 0, 0, 1]
    assert remarks == []
