"""The extensions of glTF: those that are applied, those that change nothing that is seen here, and the rest."""

from collections.abc import Iterator
from typing import Any

from cmah.meshes.gltf_compression import DRACO, MESHOPT
from cmah.meshes.gltf_file import GltfFile

# a texture may name its picture in any of these; one that cannot be decoded costs the texture, not the mesh
TEXTURE_SOURCES = (
    "EXT_texture_webp",
    "EXT_texture_avif",
    "KHR_texture_basisu",
    "MSFT_texture_dds",
    "EXT_texture_astc",
)
APPLIED = {
    *TEXTURE_SOURCES,
    *MESHOPT,
    DRACO,
    "EXT_mesh_gpu_instancing",
    "EXT_mesh_primitive_restart",  # only joins primitives that are also given one by one
    "KHR_materials_emissive_strength",
    "KHR_materials_pbrSpecularGlossiness",
    "KHR_materials_unlit",
    "KHR_materials_variants",  # the materials of the default variant are those of the primitives
    "KHR_mesh_quantization",
    "KHR_node_visibility",
    "KHR_texture_transform",
}
# about light, gloss, motion, sound, physics and data: shapes and base colours are the same without them
UNSEEN = {
    "ADOBE_materials_clearcoat_specular",
    "ADOBE_materials_clearcoat_tint",
    "AGI_articulations",
    "AGI_stk_metadata",
    "CESIUM_primitive_outline",
    "CESIUM_RTC",
    "EXT_feature_metadata",
    "EXT_instance_features",
    "EXT_lights_ies",
    "EXT_lights_image_based",
    "EXT_mesh_features",
    "EXT_mesh_manifold",
    "EXT_mesh_primitive_edge_visibility",
    "EXT_structural_metadata",
    "FB_geometry_metadata",
    "GODOT_single_root",
    "GRIFFEL_bim_data",
    "KHR_animation_pointer",
    "KHR_audio_emitter",
    "KHR_interactivity",
    "KHR_lights_punctual",
    "KHR_materials_anisotropy",
    "KHR_materials_clearcoat",
    "KHR_materials_dispersion",
    "KHR_materials_ior",
    "KHR_materials_iridescence",
    "KHR_materials_sheen",
    "KHR_materials_specular",
    "KHR_materials_volume",  # colours what KHR_materials_transmission lets through, which is remarked
    "KHR_node_hoverability",
    "KHR_node_selectability",
    "KHR_physics_rigid_bodies",
    "KHR_implicit_shapes",
    "KHR_xmp",
    "KHR_xmp_json_ld",
    "MPEG_animation_timing",
    "MPEG_audio_spatial",
    "MPEG_media",
    "MPEG_viewport_recommended",
    "MSFT_lod",  # the node itself is its finest level
    "MSFT_packing_normalRoughnessMetallic",
    "MSFT_packing_occlusionRoughnessMetallic",
    "VRM",
    "VRMC_materials_mtoon",
    "VRMC_node_constraint",
    "VRMC_springBone",
    "VRMC_vrm",
}
SEEN_IN = (
    "scenes",
    "nodes",
    "meshes",
    "materials",
    "textures",
    "images",
    "samplers",
    "accessors",
    "bufferViews",
    "buffers",
    "skins",
)


def check_extensions(gltf: GltfFile) -> None:
    """Refuse a file that cannot be read without what is not applied here; remark what it can be read without.

    Raises:
        CmahError: if a required extension is not applied, with its name.

    Examples:
        >>> from pathlib import Path
        >>> from cmah.meshes.mesh_resources import ConfinedResolver
        >>> text = b'{"extensionsRequired": ["ACME_bent"], "asset": {"version": "2.0"}}'
        >>> check_extensions(GltfFile(Path("a.gltf"), text, ConfinedResolver("."), print))
        Traceback (most recent call last):
        cmah.errors.CmahError: a.gltf: needs the extension ACME_bent, which is not applied
    """
    unknown = sorted(gltf.required - APPLIED - UNSEEN)
    if unknown:
        gltf.fault(f"needs the extension {', '.join(unknown)}, which is not applied")
    names = set(gltf.object(gltf.tree, "extensions", "the file"))
    for section in SEEN_IN:
        names.update(_named(gltf.tree.get(section)))
    for name in sorted(names - APPLIED - UNSEEN):
        gltf.remark(f"extension not applied ({name[:80]})")


def _named(tree: Any) -> Iterator[str]:
    """The names of all extensions in a part of the JSON."""
    stack = [tree]
    while stack:
        value = stack.pop()
        if isinstance(value, list):
            stack += [child for child in value if isinstance(child, dict | list)]
        elif isinstance(value, dict):
            extensions = value.get("extensions")
            if isinstance(extensions, dict):
                yield from extensions
            stack += [
                child for key, child in value.items() if key != "extras" and isinstance(child, dict | list)
            ]
