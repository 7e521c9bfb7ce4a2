"""Primitives of glTF meshes as triangles: every mode, indexed or not, Draco, morph targets by their weights."""

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cmah.meshes.gltf_accessors import Accessor, read_accessor
from cmah.meshes.gltf_compression import DRACO, unpacked_mesh
from cmah.meshes.gltf_file import GltfFile

POINTS, TRIANGLES, STRIP, FAN = 0, 4, 5, 6
# joints come in sets of four; more than eight sets are no skin but a waste of time
MOST_JOINT_SETS = 8


@dataclass
class Primitive:
    """The triangles of a primitive in the space of its mesh, with the vertices that they use.

    Attributes:
        positions: float64 [v, 3].
        faces: int64 [f, 3].
        normals: float64 [v, 3] as the file gives them, or None.
        colours: float64 [v, 4] in linear light, or None.
        uv: float64 [v, 2] for each set of coordinates that a texture takes.
        joints: int64 [v, 4] for each set of joints.
        weights: float64 [v, 4] for each set of joints.

    Examples:
        >>> Primitive(np.eye(3), np.array([[0, 1, 2]])).joints
        []
    """

    positions: np.ndarray
    faces: np.ndarray
    normals: np.ndarray | None = None
    colours: np.ndarray | None = None
    uv: dict[int, np.ndarray] = field(default_factory=dict)
    joints: list[np.ndarray] = field(default_factory=list)
    weights: list[np.ndarray] = field(default_factory=list)


def read_primitive(
    gltf: GltfFile,
    entry: dict[str, Any],
    where: str,
    *,
    uv_set: int | None,
    morph: list[float],
    skinned: bool,
) -> Primitive | None:
    """Read a primitive; None, with a remark, if it has no triangles.

    Args:
        gltf: the file.
        entry: the primitive.
        where: for messages.
        uv_set: the number of the coordinates that its texture takes, or None.
        morph: the weights of its morph targets.
        skinned: whether its joints are wanted.

    Raises:
        CmahError: if it refers to what is not in the file, or its indices cannot be.

    Examples:
        >>> from base64 import b64encode
        >>> from pathlib import Path
        >>> from cmah.meshes.mesh_resources import ConfinedResolver
        >>> square = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]], "<f4").tobytes()
        >>> text = '''{"accessors": [{"bufferView": 0, "componentType": 5126, "type": "VEC3", "count": 4}],
        ...            "bufferViews": [{"buffer": 0, "byteLength": 48}],
        ...            "buffers": [{"byteLength": 48, "uri": "data:;base64,%s"}]}''' % b64encode(square).decode()
        >>> gltf = GltfFile(Path("a.gltf"), text.encode(), ConfinedResolver("."), print)
        >>> strip = {"attributes": {"POSITION": 0}, "mode": 5}
        >>> read_primitive(gltf, strip, "here", uv_set=None, morph=[], skinned=False).faces.tolist()
        [[0, 1, 2], [1, 3, 2]]
    """
    mode = gltf.count(entry, "mode", where, TRIANGLES)
    if mode > FAN:
        gltf.fault(f"{where}: mode {mode} should be 0 to 6")
    if mode < TRIANGLES:
        gltf.remark("points not shown" if mode == POINTS else "lines not shown")
        return None
    attributes = gltf.object(entry, "attributes", where)
    if "POSITION" not in attributes:
        gltf.remark("primitive without positions")
        return None
    packed = gltf.extension(entry, DRACO, where)
    decoded: dict[str, np.ndarray] = {}
    indices = None
    if packed is not None and (DRACO in gltf.required or not _plain(gltf, entry, attributes, where)):
        triangles, decoded = unpacked_mesh(gltf, packed, where)
        indices, mode = triangles.reshape(-1), TRIANGLES
    targets = _active_targets(gltf, entry, morph, where)
    positions = None if targets or "POSITION" in decoded else attributes["POSITION"]
    if _empty(gltf, positions, where) or (indices is None and _empty(gltf, entry.get("indices"), where)):
        # zeros by the letter; in truth data of an extension that has been lost
        gltf.fault(f"{where}: its positions or indices have no data")
    vertices = _Vertices(gltf, entry, where, decoded, targets)
    count = vertices.count
    if indices is None:
        indices = _indices(gltf, entry, count, where)
    if indices.size and (int(indices.max()) >= count or int(indices.min()) < 0):
        gltf.fault(f"{where}: its indices name vertex {int(indices.max())}, there are {count}")
    gltf.spend(len(indices))
    faces = _faces(gltf, indices, mode)
    if not len(faces):
        gltf.remark("primitive without triangles")
        return None
    vertices.rows, faces = _used(faces, count)
    made = Primitive(vertices.positions(), faces, vertices.values("NORMAL", ("VEC3",)))
    made.colours = vertices.values("COLOR_0", ("VEC3", "VEC4"))
    uv = None if uv_set is None else vertices.values(f"TEXCOORD_{uv_set}", ("VEC2",))
    if uv is not None and uv_set is not None:
        made.uv[uv_set] = uv
    if skinned:
        vertices.take_joints(made)
    return made


class _Vertices:
    """The vertices of a primitive: their attributes, out of accessors or Draco's data, with morph targets added."""

    def __init__(
        self,
        gltf: GltfFile,
        entry: dict[str, Any],
        where: str,
        decoded: dict[str, np.ndarray],
        targets: list[tuple[int, float]],
    ) -> None:
        self.gltf, self.entry, self.where = gltf, entry, where
        self.attributes: dict[str, Any] = entry["attributes"]
        self.decoded, self.targets = decoded, targets
        self.count = len(self.source("POSITION", ("VEC3",)).values)
        self.rows: np.ndarray | slice = slice(None)  # those that are wanted

    def source(self, name: str, types: tuple[str, ...], components: str = "iuf") -> Accessor:
        """The elements of an attribute as they are stored."""
        here = f"{self.where}: {name}"
        if name not in self.decoded:
            return read_accessor(self.gltf, self.attributes[name], here, types, components)
        values = self.decoded[name]
        if f"VEC{values.shape[1]}" not in types or values.dtype.kind not in components:
            self.gltf.fault(f"{here} is {values.shape[1]} x {values.dtype}; expected {' or '.join(types)}")
        stated = self.gltf.entry("accessors", self.attributes.get(name), here)
        return Accessor(values, stated.get("normalized") is True)

    def values(self, name: str, types: tuple[str, ...]) -> np.ndarray | None:
        """An attribute as floats, None if the primitive lacks it."""
        if name not in self.attributes:
            return None
        accessor = self.source(name, types)
        if len(accessor.values) != self.count:
            self.gltf.remark(f"attribute of another length than the positions ({name})")
            return None
        if (
            name == "COLOR_0"
        ):  # integers are fractions of their largest value, also if the file forgets to say so
            accessor = Accessor(accessor.values, normalised=True)
        values = accessor.floats(self.rows)
        self.gltf.spend(len(values))
        if name == "COLOR_0" and values.shape[1] == 3:
            values = np.column_stack([values, np.ones(len(values))])
        for number, weight in self.targets:
            target, here = self.entry["targets"][number], f"{self.where}.targets[{number}]"
            if name in target:
                delta = read_accessor(self.gltf, target[name], f"{here}: {name}", types)
                if len(delta.values) != self.count:
                    self.gltf.fault(
                        f"{here}: {name} has {len(delta.values)} elements for {self.count} vertices"
                    )
                added = delta.floats(self.rows)
                self.gltf.spend(len(added))
                values[:, : added.shape[1]] += weight * added
        return values

    def positions(self) -> np.ndarray:
        """The positions, which every primitive that is shown has."""
        values = self.values("POSITION", ("VEC3",))
        assert values is not None
        return values

    def take_joints(self, made: Primitive) -> None:
        """Give a primitive its joints and their weights."""
        numbers = sorted(int(name[7:]) for name in self.attributes if re.fullmatch(r"JOINTS_\d{1,3}", name))
        if len(numbers) > MOST_JOINT_SETS:
            self.gltf.fault(
                f"{self.where}: {len(numbers)} sets of joints; at most {MOST_JOINT_SETS} are read"
            )
        for number in numbers:
            if f"JOINTS_{number}" not in self.attributes or f"WEIGHTS_{number}" not in self.attributes:
                self.gltf.fault(f"{self.where}: JOINTS_{number} without WEIGHTS_{number}")
            joints = self.source(f"JOINTS_{number}", ("VEC4",), "u")
            weights = self.source(f"WEIGHTS_{number}", ("VEC4",))
            if len(joints.values) != self.count or len(weights.values) != self.count:
                self.gltf.fault(
                    f"{self.where}: JOINTS_{number} or WEIGHTS_{number} has not {self.count} elements"
                )
            made.joints.append(joints.values[self.rows].astype(np.int64))
            made.weights.append(weights.floats(self.rows))
            self.gltf.spend(2 * len(made.weights[-1]))


def _empty(gltf: GltfFile, index: Any, where: str) -> bool:
    """Whether an accessor is there and has no data of its own."""
    return index is not None and not {"bufferView", "sparse"} & gltf.entry("accessors", index, where).keys()


def _plain(gltf: GltfFile, entry: dict[str, Any], attributes: dict[str, Any], where: str) -> bool:
    """Whether a primitive has its data also uncompressed."""
    return not any(_empty(gltf, index, where) for index in (*attributes.values(), entry.get("indices")))


def _indices(gltf: GltfFile, entry: dict[str, Any], count: int, where: str) -> np.ndarray:
    """The vertices of a primitive one after the other, int64 [n]."""
    if "indices" not in entry:
        return np.arange(count)
    stored = read_accessor(gltf, entry["indices"], f"{where}: indices", ("SCALAR",), "u").values[:, 0]
    restart = int(np.iinfo(stored.dtype).max)
    gltf.spend(len(stored))
    if stored.size and int(stored.max()) == restart:
        gltf.fault(f"{where}: its indices hold {restart}, which glTF does not allow (primitive restart)")
    return stored.astype(np.int64)


def _faces(gltf: GltfFile, indices: np.ndarray, mode: int) -> np.ndarray:
    """Triangles int64 [f, 3] of a list, a strip or a fan."""
    if mode == TRIANGLES:
        if len(indices) % 3:
            gltf.remark("indices left over after the last triangle")
        return indices[: len(indices) // 3 * 3].reshape(-1, 3)
    if len(indices) < 3:
        return np.zeros((0, 3), np.int64)
    if mode == FAN:
        faces = np.column_stack([indices[1:-1], indices[2:], np.full(len(indices) - 2, indices[0])])
    else:
        faces = np.column_stack([indices[:-2], indices[1:-1], indices[2:]])
        faces[1::2, 1:] = faces[1::2, :0:-1]
    # strips are sewn together by triangles that use a vertex twice
    a, b, c = faces.T
    return faces[(a != b) & (b != c) & (c != a)]


def _used(faces: np.ndarray, count: int) -> tuple[np.ndarray | slice, np.ndarray]:
    """Which vertices are used, all or sorted int64 [v]; and the faces by their numbers among these."""
    if faces.size < count // 2:  # many primitives may share one long list of vertices
        used, numbers = np.unique(faces, return_inverse=True)
        return used, numbers.reshape(-1, 3)
    mask = np.zeros(count, bool)
    mask[faces] = True
    if mask.all():
        return slice(None), faces
    return np.flatnonzero(mask), (np.cumsum(mask) - 1)[faces]


def _active_targets(
    gltf: GltfFile, entry: dict[str, Any], morph: list[float], where: str
) -> list[tuple[int, float]]:
    """The morph targets with a weight other than 0."""
    targets = gltf.array(entry, "targets", where)
    active = [(number, weight) for number, weight in enumerate(morph[: len(targets)]) if weight]
    for number, _ in active:
        if not isinstance(targets[number], dict):
            gltf.fault(f"{where}.targets[{number}] is not an object")
    return active
