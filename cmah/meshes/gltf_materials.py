"""Materials of glTF as the colours of a `Part`: base colour or diffuse colour, its texture, alpha, vertex colours."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from cmah.meshes.gltf_emission import with_light
from cmah.meshes.gltf_file import GltfFile
from cmah.meshes.gltf_masks import cut_by_opacity
from cmah.meshes.gltf_textures import Texture, read_texture
from cmah.meshes.part import LEAST_OPACITY, Part


@dataclass
class Material:
    """What is seen of a material.

    Attributes:
        factor: float64 [4], the colour in linear light and the opacity, in 0..1; None if the file gives none.
        texture: what it is multiplied with, or None.
        mode: "OPAQUE" (alpha has no effect), "MASK" (a hole where it is below the cutoff) or "BLEND".
        cutoff: for "MASK".
        glows: whether all of the colour is light that is emitted, which vertex colours do not dim.
        bare: the factor where the texture has no coordinates, if it is another one.

    Examples:
        >>> glass = Material(np.array([1, 0, 0, 0.5]), None, "BLEND", 0.5)
        >>> part = Part(np.eye(3), np.array([[0, 1, 2]]))
        >>> glass.colour(part, None, None)
        >>> part.face_rgba.tolist()
        [[1.0, 0.0, 0.0, 0.5]]
    """

    factor: np.ndarray | None
    texture: Texture | None
    mode: str
    cutoff: float
    glows: bool = False
    bare: np.ndarray | None = None

    def colour(self, part: Part, vertex_rgba: np.ndarray | None, uv: np.ndarray | None) -> None:
        """Give a part its colours.

        Args:
            part: what is coloured.
            vertex_rgba: float64 [v, 4], colours of its vertices in linear light, or None.
            uv: float64 [v, 2], the coordinates for the texture as the file gives them, or None.
        """
        if self.texture is not None and self.texture.image is not None and uv is not None:
            part.texture, part.wrap = self.texture.image, self.texture.wrap
            part.uv = self.texture.moved(uv).astype(np.float32)
        opacity = 1.0 if self.factor is None else float(self.factor[3])
        if vertex_rgba is not None:
            vertex_rgba = np.nan_to_num(vertex_rgba, nan=1.0).clip(0, 1)
            part.vertex_rgba = np.column_stack([encode_srgb(vertex_rgba[:, :3]), vertex_rgba[:, 3]])
            part.vertex_rgba = part.vertex_rgba.astype(np.float32)
            if self.glows:
                part.vertex_rgba[:, :3] = 1
        part.texture_alpha = {"BLEND": "blend", "MASK": "mask"}.get(self.mode, "ignore")
        if self.mode == "MASK":
            opacity = self._mask(part, opacity)
        elif self.mode == "BLEND":
            opacity = max(opacity, LEAST_OPACITY) if opacity > 0 else 1.0
        else:
            opacity = 1.0
            if part.vertex_rgba is not None:
                part.vertex_rgba[:, 3] = 1
        factor = self.factor if self.bare is None or part.texture is not None else self.bare
        if factor is not None or opacity != 1:
            rgba = np.ones(4, np.float32)
            rgba[:3] = 1 if factor is None else encode_srgb(factor[:3])
            rgba[3] = opacity
            part.face_rgba = np.broadcast_to(rgba, (len(part.faces), 4))

    def _mask(self, part: Part, opacity: float) -> float:
        """Compare the alpha of material x vertices x texture with the cutoff; the opacity of the faces, 0 or 1."""
        if part.vertex_rgba is not None:
            alphas = part.vertex_rgba[:, 3] * opacity
            if part.texture is not None and alphas.size and alphas.min() == alphas.max():
                opacity = float(alphas[0])  # as good as a part of the material's own
                part.vertex_rgba[:, 3] = 1
            else:
                cut_by_opacity(part, alphas, self.cutoff)
        if self.cutoff <= 0:
            part.texture_alpha = "ignore"
            return 1.0
        if part.texture is None:
            return 1.0 if part.vertex_rgba is not None or opacity >= self.cutoff else 0.0
        # opacity x texture >= cutoff; a texture holds at most 1
        if opacity < self.cutoff:
            part.texture_alpha = "ignore"
            return 0.0
        part.alpha_cutoff = self.cutoff / opacity
        return 1.0


def read_material(gltf: GltfFile, index: Any, where: str) -> Material:
    """A material by its index; the default one if that is None.

    Emitted light is added to the colour. It is all of it if the colour is black, or not given at all.

    Args:
        gltf: the file.
        index: of the material, or None.
        where: what names it, for messages.

    Raises:
        CmahError: if it is not there, or refers to what is not in the file.

    Examples:
        >>> from pathlib import Path
        >>> from cmah.meshes.mesh_resources import ConfinedResolver
        >>> text = b'{"materials": [{"pbrMetallicRoughness": {"baseColorFactor": [1, 0.2, 0, 1]}}]}'
        >>> gltf = GltfFile(Path("a.gltf"), text, ConfinedResolver("."), print)
        >>> read_material(gltf, 0, "meshes[0]").factor.tolist()
        [1.0, 0.2, 0.0, 1.0]
    """
    if index is None:
        return Material(None, None, "OPAQUE", 0.5)
    entry = gltf.entry("materials", index, where)
    key = ("material", int(index))
    if key not in gltf.cache:
        gltf.cache[key] = _read(gltf, entry, f"materials[{int(index)}]")
    material: Material = gltf.cache[key]
    return material


def _read(gltf: GltfFile, entry: dict[str, Any], where: str) -> Material:
    """A material of the file."""
    glossy = gltf.extension(entry, "KHR_materials_pbrSpecularGlossiness", where)
    if glossy is not None:
        factor = _factor(gltf, glossy, "diffuseFactor", 4, where)
        texture = read_texture(gltf, glossy, "diffuseTexture", where)
        if (
            factor is not None and not factor[:3].any() and texture is None
        ):  # a metal has only its specular colour
            specular = _factor(gltf, glossy, "specularFactor", 3, where)
            factor[:3] = 1 if specular is None else specular
    else:
        rough = gltf.object(entry, "pbrMetallicRoughness", where)
        factor = _factor(gltf, rough, "baseColorFactor", 4, where)
        texture = read_texture(gltf, rough, "baseColorTexture", where)
    light, light_texture = _emission(gltf, entry, where)
    # a colour that is not given is white by the letter, and nothing where light is all that a file speaks of
    glows = light is not None and texture is None and (factor is None or not factor[:3].any())
    if light is not None and glows:
        factor, texture = np.append(light, 1 if factor is None else factor[3]), light_texture
    bare = factor
    if light is not None and not glows:
        factor, texture = with_light(gltf, factor, texture, light, light_texture)
    mode = entry.get("alphaMode", "OPAQUE")
    if mode not in ("OPAQUE", "MASK", "BLEND"):
        gltf.remark(f"alpha mode unknown ({str(mode)[:20]})")
        mode = "OPAQUE"
    cutoff = gltf.number(entry.get("alphaCutoff", 0.5), f"{where}: alphaCutoff")
    return Material(factor, texture, mode, cutoff, glows, None if texture is None else bare)


def _factor(gltf: GltfFile, holder: dict[str, Any], key: str, length: int, where: str) -> np.ndarray | None:
    """A colour in linear light, float64 [length] in 0..1, or None if it is not given."""
    values = gltf.numbers(holder, key, length, where, [])
    return np.clip(values, 0, 1) if values else None


def _emission(gltf: GltfFile, entry: dict[str, Any], where: str) -> tuple[np.ndarray | None, Texture | None]:
    """The light that a material emits, float64 [3] in 0..1, None for none; and its texture."""
    factor = np.array(gltf.numbers(entry, "emissiveFactor", 3, where, [0.0, 0.0, 0.0]))
    strength = gltf.extension(entry, "KHR_materials_emissive_strength", where) or {}
    factor *= gltf.number(strength.get("emissiveStrength", 1), f"{where}: emissiveStrength")
    if not (factor > 0).any():
        return None, None
    return factor.clip(0, 1), read_texture(gltf, entry, "emissiveTexture", where)


def encode_srgb(linear: np.ndarray) -> np.ndarray:
    """Convert linear light to display values, by the power 1/2.2.

    Factors of glTF are linear light; multiplying encoded values is right, as the curve is a power.

    Examples:
        >>> encode_srgb(np.array([0, 0.5, 1])).round(3).tolist()
        [0.0, 0.73, 1.0]
    """
    return np.clip(linear, 0, 1) ** (1 / 2.2)
