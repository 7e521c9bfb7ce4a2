"""The scene of a glTF file: which meshes stand where, as they rest; instances, and skins by their joints."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from cmah.meshes.gltf_accessors import read_accessor
from cmah.meshes.gltf_file import GltfFile, whole_number
from cmah.meshes.gltf_primitives import Primitive

INSTANCING = "EXT_mesh_gpu_instancing"
MAX_INSTANCES = 1_000_000
# vertices that are moved by their joints at a time
BLOCK = 1 << 16


@dataclass
class Placement:
    """A mesh of a scene.

    Attributes:
        mesh: its index.
        where: the node, for messages.
        transforms: float64 [n, 4, 4], one for each time that it is shown.
        skin: the index of its skin, or None.
        weights: of its morph targets, or None if the mesh itself gives them.

    Examples:
        >>> Placement(0, "nodes[0]", np.eye(4)[None], None, None).transforms.shape
        (1, 4, 4)
    """

    mesh: Any
    where: str
    transforms: np.ndarray
    skin: Any
    weights: list[float] | None


def placements(gltf: GltfFile) -> Iterator[Placement]:
    """The meshes of the scene that a file shows: its default one, or the first.

    Raises:
        CmahError: if nodes are no trees (a circle, two parents), or name what is not in the file.

    Examples:
        >>> from pathlib import Path
        >>> from cmah.meshes.mesh_resources import ConfinedResolver
        >>> text = b'''{"scenes": [{"nodes": [0]}], "nodes": [
        ...     {"translation": [1, 0, 0], "children": [1]}, {"mesh": 3, "scale": [2, 2, 2]}]}'''
        >>> gltf = GltfFile(Path("a.gltf"), text, ConfinedResolver("."), print)
        >>> [(placed.mesh, placed.transforms[0].tolist()[0]) for placed in placements(gltf)]
        [(3, [2.0, 0.0, 0.0, 1.0])]
    """
    nodes = gltf.entries("nodes")
    if not nodes:  # a library of meshes
        for mesh in range(len(gltf.entries("meshes"))):
            yield Placement(mesh, f"meshes[{mesh}]", np.eye(4)[None], None, None)
        return
    world, hidden = _world(gltf)
    for number in _shown_nodes(gltf):
        node, where = nodes[number], f"nodes[{number}]"
        if "mesh" not in node or hidden[number]:
            continue
        transforms, skin = world[number][None], node.get("skin")
        instances = gltf.extension(node, INSTANCING, where)
        if instances is not None and skin is None:
            transforms = world[number] @ _instances(gltf, instances, where)
        elif instances is not None:
            gltf.remark(f"extension not applied ({INSTANCING} of a skinned mesh)")
        weights = gltf.numbers(node, "weights", None, where, []) if "weights" in node else None
        yield Placement(node["mesh"], where, transforms, skin, weights)


def _shown_nodes(gltf: GltfFile) -> Iterator[int]:
    """The nodes of the scene, each once, parents before their children.

    Siblings come last first: so they did before, and points are drawn from the faces in their order.
    """
    nodes, scenes = gltf.entries("nodes"), gltf.entries("scenes")
    if scenes:
        index = gltf.tree.get("scene", 0)
        scene = gltf.entry("scenes", index, "scene")
        roots = gltf.array(scene, "nodes", f"scenes[{index}]")
        if len(scenes) > 1:
            gltf.remark(f"other scenes not shown ({len(scenes) - 1})")
    else:
        children = {child for node in nodes for child in node.get("children", [])}
        roots = [number for number in range(len(nodes)) if number not in children]
    for root in roots:
        gltf.entry("nodes", root, "a scene")
    stack, seen = [int(root) for root in roots], set[int]()
    while stack:
        number = stack.pop()
        if number not in seen:
            seen.add(number)
            yield number
            stack += [int(child) for child in nodes[number].get("children", [])]


def _world(gltf: GltfFile) -> tuple[list[np.ndarray], list[bool]]:
    """The transform of every node into the scene, and whether it or a parent is hidden."""
    if "world" not in gltf.cache:
        gltf.cache["world"] = _all_transforms(gltf)
    world: tuple[list[np.ndarray], list[bool]] = gltf.cache["world"]
    return world


def _all_transforms(gltf: GltfFile) -> tuple[list[np.ndarray], list[bool]]:
    """As `_world`: from the roots down."""
    nodes = gltf.entries("nodes")
    parents = [-1] * len(nodes)
    for number in range(len(nodes)):
        node = gltf.entry("nodes", number, "the file")
        for child in gltf.array(node, "children", f"nodes[{number}]"):
            gltf.entry("nodes", child, f"nodes[{number}]")
            if parents[int(child)] >= 0:
                gltf.fault(f"nodes[{int(child)}] has two parents; the nodes of glTF are trees")
            parents[int(child)] = number
    local = _local_transforms(gltf)
    world, hidden = [np.eye(4)] * len(nodes), [False] * len(nodes)
    stack = [number for number, parent in enumerate(parents) if parent < 0]
    reached = 0
    while stack:
        number = stack.pop()
        reached += 1
        node, parent, matrix = nodes[number], parents[number], local.get(number)
        above = world[parent] if parent >= 0 else world[number]
        world[number] = above if matrix is None else above @ matrix
        visibility = gltf.extension(node, "KHR_node_visibility", f"nodes[{number}]") or {}
        hidden[number] = visibility.get("visible") is False or (parent >= 0 and hidden[parent])
        stack += [int(child) for child in node.get("children", [])]
    if reached < len(nodes):
        gltf.fault("nodes that contain themselves; the nodes of glTF are trees")
    return world, hidden


def _local_transforms(gltf: GltfFile) -> dict[int, np.ndarray]:
    """The transform of each node that has one within its parent: a matrix, or translation x rotation x scale."""
    local: dict[int, np.ndarray] = {}
    moved: dict[int, tuple[list[float], list[float], list[float]]] = {}
    for number, node in enumerate(gltf.entries("nodes")):
        where = f"nodes[{number}]"
        if "matrix" in node:  # column by column
            local[number] = np.array(gltf.numbers(node, "matrix", 16, where, [])).reshape(4, 4).T
        elif "translation" in node or "rotation" in node or "scale" in node:
            moved[number] = (
                gltf.numbers(node, "translation", 3, where, [0.0] * 3),
                gltf.numbers(node, "rotation", 4, where, [0.0, 0.0, 0.0, 1.0]),
                gltf.numbers(node, "scale", 3, where, [1.0] * 3),
            )
    if moved:
        columns = [np.array(column) for column in zip(*moved.values(), strict=True)]
        local.update(zip(moved, transforms_of(*columns), strict=True))
    return local


def transforms_of(translation: np.ndarray, rotation: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Matrices of a scaling, then a rotation, then a translation.

    Args:
        translation: float64 [n, 3].
        rotation: float64 [n, 4], quaternions x, y, z, w of any length; of length 0, no rotation.
        scale: float64 [n, 3].

    Returns:
        float64 [n, 4, 4].

    Examples:
        A quarter turn about z, of twice the size:

        >>> turn = np.array([[0, 0, np.sqrt(0.5), np.sqrt(0.5)]])
        >>> transforms_of(np.array([[5, 0, 0]]), turn, np.full((1, 3), 2))[0].round().astype(int).tolist()
        [[0, -2, 0, 5], [2, 0, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]]
    """
    length = np.linalg.norm(rotation, axis=1, keepdims=True)
    x, y, z, w = np.divide(rotation, length, out=np.zeros(rotation.shape), where=length > 0).T
    turned = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrices = np.zeros((len(rotation), 4, 4))
    matrices[:, :3, :3] = np.array(turned).transpose(2, 0, 1) * scale[:, None, :]
    matrices[:, :3, 3], matrices[:, 3, 3] = translation, 1
    return matrices


def _instances(gltf: GltfFile, extension: dict[str, Any], where: str) -> np.ndarray:
    """The transforms of the instances of a mesh within its node, float64 [n, 4, 4]."""
    attributes = gltf.object(extension, "attributes", where)
    values = {}
    for name, kind in (("TRANSLATION", "VEC3"), ("ROTATION", "VEC4"), ("SCALE", "VEC3")):
        if name in attributes:
            accessor = read_accessor(gltf, attributes[name], f"{where}: {name}", (kind,), "fi")
            if len(accessor.values) > MAX_INSTANCES:
                gltf.fault(f"{where}: more than {MAX_INSTANCES // 10**6} million instances")
            gltf.spend(len(accessor.values))
            values[name] = accessor.floats()
    if any("COLOR" in name for name in attributes):
        gltf.remark("colours of instances not shown")
    if not values:
        return np.eye(4)[None]
    counts = {len(value) for value in values.values()}
    if len(counts) > 1:
        gltf.fault(f"{where}: attributes of {INSTANCING} of different lengths ({sorted(counts)})")
    count = counts.pop()
    if count == 0:
        return np.zeros((0, 4, 4))
    defaults = {"TRANSLATION": np.zeros(3), "ROTATION": np.array([0, 0, 0, 1.0]), "SCALE": np.ones(3)}
    columns = [values.get(name, np.tile(default, (count, 1))) for name, default in defaults.items()]
    return transforms_of(*columns)


def posed(
    gltf: GltfFile, primitive: Primitive, skin: Any, where: str
) -> tuple[np.ndarray, np.ndarray | None]:
    """The vertices of a skinned mesh where its joints hold them at rest.

    Args:
        gltf: the file.
        primitive: with its joints and weights.
        skin: the index of the skin.
        where: the node, for messages.

    Returns:
        Positions in the scene, float64 [v, 3], and normals, float64 [v, 3] or None.

    Raises:
        CmahError: if the skin lacks a joint, or refers to what is not in the file.

    Examples:
        A joint that stands at x = 5 while the mesh was bound to it there moves nothing:

        >>> from pathlib import Path
        >>> from cmah.meshes.mesh_resources import ConfinedResolver
        >>> text = b'{"nodes": [{"translation": [5, 0, 0]}], "skins": [{"joints": [0]}]}'
        >>> gltf = GltfFile(Path("a.gltf"), text, ConfinedResolver("."), print)
        >>> held = Primitive(np.eye(3), np.array([[0, 1, 2]]))
        >>> held.joints, held.weights = [np.zeros((3, 4), int)], [np.tile([1.0, 0, 0, 0], (3, 1))]
        >>> posed(gltf, held, 0, "nodes[1]")[0].tolist()
        [[6.0, 0.0, 0.0], [5.0, 1.0, 0.0], [5.0, 0.0, 1.0]]
    """
    joints = _joint_matrices(gltf, skin, where)
    numbers, weights = np.concatenate(primitive.joints, axis=1), np.concatenate(primitive.weights, axis=1)
    weights = np.nan_to_num(weights).clip(0, None)
    # weights are rounded; and a vertex without any hangs on its first joint, as viewers have it
    weights[weights.sum(axis=1) == 0, 0] = 1
    weights /= weights.sum(axis=1, keepdims=True)
    if numbers.size and int(np.where(weights > 0, numbers, 0).max()) >= len(joints):
        gltf.fault(f"{where}: a vertex hangs on joint {int(numbers.max())}, its skin has {len(joints)}")
    gltf.spend(numbers.size // 4)
    positions = np.empty_like(primitive.positions)
    normals = None if primitive.normals is None else np.empty_like(primitive.normals)
    for start in range(0, len(positions), BLOCK):
        block = slice(start, start + BLOCK)
        matrices = np.zeros((len(positions[block]), 3, 4))
        for number, weight in zip(numbers[block].T, weights[block].T, strict=True):
            held = np.flatnonzero(weight)
            matrices[held] += weight[held, None, None] * joints[number[held]]
        linear = matrices[:, :, :3]
        positions[block] = np.einsum("vij,vj->vi", linear, primitive.positions[block]) + matrices[:, :, 3]
        if normals is not None and primitive.normals is not None:
            cofactors = np.cross(linear[:, [1, 2, 0]], linear[:, [2, 0, 1]])
            normals[block] = np.einsum("vij,vj->vi", cofactors, primitive.normals[block])
    return positions, normals


def _joint_matrices(gltf: GltfFile, skin: Any, where: str) -> np.ndarray:
    """For each joint of a skin, the matrix from the mesh as it was bound to the scene, float64 [j, 3, 4]."""
    entry = gltf.entry("skins", skin, where)
    key = ("skin", whole_number(skin))
    if key not in gltf.cache:
        here, world = f"skins[{whole_number(skin)}]", _world(gltf)[0]
        joints = gltf.array(entry, "joints", here)
        for joint in joints:
            gltf.entry("nodes", joint, here)
        matrices = np.array([world[int(joint)] for joint in joints]).reshape(-1, 4, 4)
        if "inverseBindMatrices" in entry:
            bound = read_accessor(gltf, entry["inverseBindMatrices"], here, ("MAT4",), "f").floats()
            if len(bound) < len(joints):
                gltf.fault(f"{here}: {len(bound)} inverse bind matrices for {len(joints)} joints")
            matrices = matrices @ bound[: len(joints)].reshape(-1, 4, 4).transpose(0, 2, 1)
        gltf.cache[key] = matrices[:, :3]
    joint_matrices: np.ndarray = gltf.cache[key]
    return joint_matrices
