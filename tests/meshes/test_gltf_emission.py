"""Emitted light is added to the colour of a surface, in linear light."""

from pathlib import Path

import numpy as np
import pytest
from gltf_samples import Gltf

from cmah.meshes import gltf_emission
from cmah.meshes.mesh import Mesh, surface_colours
from cmah.meshes.mesh_loading import load_mesh

DARK, BRIGHT = (40, 80, 0), (200, 10, 255)


def loaded(folder: Path, made: Gltf) -> Mesh:
    (folder / "a.glb").write_bytes(made.glb())
    return load_mesh(folder / "a.glb")


def seen(mesh: Mesh) -> list[float]:
    """The colour in the middle of the first face."""
    return surface_colours(mesh, np.array([0]), np.full((1, 3), 1 / 3, np.float32))[0].tolist()


def glowing(
    base: tuple | None, lamp: tuple | None, info: dict | None = None, side: int = 2, **material: object
) -> Gltf:
    """A square with pictures of one colour each, for its own colour and for its light."""
    made = Gltf()
    primitive = made.textured([[base or (0, 0, 0)] * 2] * 2, **material)
    entry = made.tree["materials"][0]
    if base is None:
        del entry["pbrMetallicRoughness"]["baseColorTexture"]
    if lamp is not None:
        picture = made.image([[lamp] * side] * side)
        entry["emissiveTexture"] = {"index": made.add("textures", {"source": picture}), **(info or {})}
    made.show(primitive)
    return made


@pytest.mark.parametrize("base", [None, DARK])
@pytest.mark.parametrize("lamp", [None, BRIGHT])
@pytest.mark.parametrize("side", [2, 5])
def test_colour_and_light_are_added(
    tmp_path: Path, base: tuple | None, lamp: tuple | None, side: int
) -> None:
    factor, light = np.array([0.5, 0.25, 1]), np.array([0.1, 0.5, 0.2])
    made = glowing(
        base, lamp, side=side, rough={"baseColorFactor": [*factor, 1]}, emissiveFactor=light.tolist()
    )
    expected = 0
    for picture, values in ((base, factor), (lamp, light)):
        expected = expected + (1 if picture is None else (np.array(picture) / 255) ** 2.2) * values
    mesh = loaded(tmp_path, made)
    np.testing.assert_allclose(seen(mesh), [*np.clip(expected, 0, 1) ** (1 / 2.2), 1], atol=0.003)
    assert mesh.remarks == ()


def test_black_surfaces_show_their_light(tmp_path: Path) -> None:
    """As exports without lighting have it, also over a black picture and over black vertices."""
    for base, rough in ((None, {"baseColorFactor": [0, 0, 0, 1]}), ((0, 0, 0), {}),
                        (DARK, {"baseColorFactor": [0, 0, 0, 1]})):  # fmt: skip
        made = glowing(base, BRIGHT, rough=rough, emissiveFactor=[1, 1, 1])
        np.testing.assert_allclose(seen(loaded(tmp_path, made))[:3], np.array(BRIGHT) / 255, atol=0.003)
    made = glowing(None, None, rough={"baseColorFactor": [0, 0, 0, 1]}, emissiveFactor=[0, 1, 0])
    made.tree["meshes"][0]["primitives"][0]["attributes"]["COLOR_0"] = made.accessor(np.zeros((4, 3), "<f4"))
    np.testing.assert_allclose(seen(loaded(tmp_path, made)), [0, 1, 0, 1])


def test_the_opacity_is_that_of_the_colour(tmp_path: Path) -> None:
    made = glowing((*DARK, 0), (*BRIGHT, 255), alphaMode="BLEND", emissiveFactor=[1, 1, 1])
    mesh = loaded(tmp_path, made)
    assert mesh.remarks == ("all transparent, taken as opaque",)
    assert (mesh.textures[:, 1:] == 2).all()


def test_what_cannot_be_added_is_remarked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    turned = {"extensions": {"KHR_texture_transform": {"scale": [2, 2]}}}
    mesh = loaded(tmp_path, glowing(DARK, BRIGHT, turned, emissiveFactor=[1, 1, 1]))
    assert mesh.remarks == ("emitted light not shown",)
    np.testing.assert_allclose(seen(mesh)[:3], np.array(DARK) / 255, atol=0.003)
    made = glowing(DARK, None, emissiveFactor=[1, 1, 1])
    made.tree["textures"].append({"source": made.add("images", {"uri": "gone.png"})})
    made.tree["materials"][0]["emissiveTexture"] = {"index": 1}
    mesh = loaded(tmp_path, made)
    assert mesh.remarks == ("texture not found (gone.png)",)
    np.testing.assert_allclose(seen(mesh)[:3], np.array(DARK) / 255, atol=0.003)
    made = glowing(None, BRIGHT, emissiveFactor=[1, 1, 1], rough={"baseColorFactor": [0.5, 0, 0, 1]})
    del made.tree["meshes"][0]["primitives"][0]["attributes"]["TEXCOORD_0"]
    mesh = loaded(tmp_path, made)
    assert mesh.remarks == ("texture without its coordinates (TEXCOORD_0)",)
    np.testing.assert_allclose(seen(mesh), [0.5 ** (1 / 2.2), 0, 0, 1], atol=1e-6)
    monkeypatch.setattr(gltf_emission, "MOST_COMPOSED", 0)
    mesh = loaded(tmp_path, glowing(DARK, BRIGHT, emissiveFactor=[1, 1, 1]))
    assert mesh.remarks == ("emitted light not shown",)
