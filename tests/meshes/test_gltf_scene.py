"""The scene of a glTF file: transforms, trees, instances and skins, against obvious ones."""

import itertools
import json
import math

import numpy as np
import pytest
from gltf_samples import SQUARE, Gltf, corners, glb_of, read, size
from hypothesis import given
from hypothesis import strategies as st

from cmah.errors import CmahError
from cmah.meshes.gltf_scene import transforms_of

HALF = math.sqrt(0.5)


def rotation(axis: int, angle: float) -> np.ndarray:
    """A rotation about x, y or z, float64 [4, 4]."""
    matrix = np.eye(4)
    a, b = (axis + 1) % 3, (axis + 2) % 3
    matrix[a, a] = matrix[b, b] = math.cos(angle)
    matrix[b, a], matrix[a, b] = math.sin(angle), -math.sin(angle)
    return matrix


def quaternion(axis: int, angle: float) -> list[float]:
    values = [0.0, 0.0, 0.0, math.cos(angle / 2)]
    values[axis] = math.sin(angle / 2)
    return values


def multiplied(p: list[float], q: list[float]) -> list[float]:
    """The quaternion that turns by q, then by p."""
    px, py, pz, pw = p
    qx, qy, qz, qw = q
    return [
        pw * qx + px * qw + py * qz - pz * qy,
        pw * qy - px * qz + py * qw + pz * qx,
        pw * qz + px * qy - py * qx + pz * qw,
        pw * qw - px * qx - py * qy - pz * qz,
    ]


@given(
    angles=st.tuples(*[st.floats(-4, 4)] * 3),
    scale=st.tuples(*[st.floats(-3, 3)] * 3),
    length=st.floats(0.1, 10),
)
def test_transforms_are_scale_then_rotation_then_translation(
    angles: tuple[float, ...], scale: tuple[float, ...], length: float
) -> None:
    turned = quaternion(0, angles[0])
    for axis in (1, 2):
        turned = multiplied(turned, quaternion(axis, angles[axis]))
    expected = rotation(0, angles[0]) @ rotation(1, angles[1]) @ rotation(2, angles[2]) @ np.diag([*scale, 1])
    expected[:3, 3] = [1, 2, 3]
    made = transforms_of(np.array([[1, 2, 3]]), length * np.array([turned]), np.array([scale]))
    np.testing.assert_allclose(made[0], expected, atol=1e-9)
    assert transforms_of(np.zeros((1, 3)), np.zeros((1, 4)), np.ones((1, 3))).tolist() == [np.eye(4).tolist()]


def test_nodes_move_their_children_and_matrices_are_by_columns() -> None:
    made = Gltf()
    matrix = rotation(2, math.pi / 2) @ np.diag([2, 1, 1, 1])
    matrix[:3, 3] = [10, 0, 0]
    child = made.add("nodes", {"mesh": 0, "translation": [0, 5, 0]})
    middle = made.add("nodes", {"children": [child]})
    made.add("meshes", {"primitives": [made.square()]})
    made.root({"children": [middle], "matrix": matrix.T.reshape(-1).tolist()})
    moved = np.column_stack([SQUARE + np.array([0, 5, 0]), np.ones(4)]) @ matrix.T
    (part,), _ = read(made.glb())
    np.testing.assert_allclose(part.vertices, moved[:, :3], atol=1e-12)


def test_normals_stand_upright_under_any_transform() -> None:
    for linear in (np.diag([2, 1, -3]), np.array([[1, 2, 0], [0, 1, 0], [0.5, 0, -1]])):
        made = Gltf()
        primitive = made.square()
        primitive["attributes"]["NORMAL"] = made.accessor(np.tile([0, 0, 1], (4, 1)).astype("<f4"))
        matrix = np.eye(4)
        matrix[:3, :3] = linear
        made.show(primitive, matrix=matrix.T.reshape(-1).tolist())
        (part,), _ = read(made.glb())
        across = np.cross(linear[:, 0], linear[:, 1])
        np.testing.assert_allclose(part.normals, np.tile(across, (4, 1)), atol=1e-9)


def test_which_scene_is_shown() -> None:
    made = Gltf()
    square = made.square()
    for move in range(3):
        made.show(square, translation=[move, 0, 0], scale=[1 + move, 1, 1])
    made.tree["scenes"] = [{"nodes": [0]}, {"nodes": [1]}, {}]
    assert read(made.glb())[1] == ["other scenes not shown (2)"]
    for scene, width in ((0, 1), (1, 2), (1.0, 2)):
        made.tree["scene"] = scene
        assert size(read(made.glb())[0]) == [width, 1, 0]
    for scene, message in ((2, "no faces"), (3, r"scene names scenes\[3\]"), ("0", "scene names")):
        made.tree["scene"] = scene
        with pytest.raises(CmahError, match=message):
            read(made.glb())
    del made.tree["scenes"], made.tree["scene"]  # all that has no parent
    assert size(read(made.glb())[0]) == [5, 1, 0]
    del made.tree["nodes"]  # a library of meshes
    assert len(read(made.glb())[0]) == 3


def test_nodes_are_trees() -> None:
    for nodes, message in (
        ([{"children": [0]}], "contain themselves"),
        ([{"children": [1]}, {"children": [2]}, {"children": [1]}], "two parents"),
        ([{"children": [1]}, {"children": [0]}], "contain themselves"),
        ([{"children": [1, 1]}, {}], "two parents"),
        ([{"children": [2]}, {"children": [2]}, {"mesh": 0}], r"nodes\[2\] has two parents"),
        ([{"children": [7]}], r"nodes\[0\] names nodes\[7\]"),
        ([{"children": 7}], "children is not a list"),
        ([7], r"nodes\[0\] is not an object"),
        ([{"matrix": [1] * 15}], "matrix should be a list of 16 numbers"),
        ([{"scale": [1, 1, None]}], "scale should be a finite number"),
        ([{"translation": [1, 1, 10**400]}], "translation should be a finite number"),
    ):
        made = Gltf(nodes=nodes, scenes=[{"nodes": [0]}])
        made.add("meshes", {"primitives": [made.square()]})
        with pytest.raises(CmahError, match=message):
            read(made.glb())


def test_a_node_is_shown_once_though_a_scene_names_it_twice_and_chains_may_be_long() -> None:
    made = Gltf()
    made.show(made.square(), translation=[0, 0, 1])
    nodes = made.tree["nodes"]
    for number in range(3000):
        nodes.append({"children": [number], "translation": [0, 0, 1]})
    made.tree["scenes"] = [{"nodes": [3000, 0, 3000]}]
    (part,), _ = read(made.glb())
    assert part.vertices[:, 2].tolist() == [3001] * 4


def test_a_node_may_have_a_camera_too() -> None:
    made = Gltf(cameras=[{"type": "perspective", "perspective": {"yfov": 1, "znear": 1}}])
    made.show(made.square(), camera=0)
    assert size(read(made.glb())[0]) == [1, 1, 0]


def test_hidden_nodes_and_all_below_them_are_not_shown() -> None:
    made = Gltf(extensionsRequired=["KHR_node_visibility"])
    square = made.square()
    made.show(square)
    hidden = {"extensions": {"KHR_node_visibility": {"visible": False}}}
    child = made.add("nodes", {"mesh": 0, "extensions": {"KHR_node_visibility": {"visible": True}}})
    made.root({**hidden, "mesh": 0, "children": [child]})
    made.root({"mesh": 0, "translation": [3, 0, 0], "extensions": {"KHR_node_visibility": {}}})
    assert len(read(made.glb())[0]) == 2


@pytest.mark.parametrize(
    "names", [*itertools.combinations(["TRANSLATION", "ROTATION", "SCALE"], 2), ("SCALE",), ()]
)
@pytest.mark.parametrize("stored", ["<f4", "i1", "<i2"])
def test_instances(names: tuple[str, ...], stored: str) -> None:
    rng = np.random.default_rng(0)
    values = {"TRANSLATION": rng.random((5, 3)) * 9, "SCALE": rng.random((5, 3)) + 0.5}
    turns = [multiplied(quaternion(0, angle), quaternion(1, 2 * angle)) for angle in rng.random(5)]
    values["ROTATION"] = np.array(turns)
    made = Gltf(extensionsRequired=["EXT_mesh_gpu_instancing"])
    attributes = {name: made.accessor(values[name].astype("<f4")) for name in names}
    if "ROTATION" in names and stored != "<f4":
        rounded = np.round(values["ROTATION"] * np.iinfo(stored).max).astype(stored)
        attributes["ROTATION"] = made.accessor(rounded, 8, normalized=True)
    primitive = made.square()
    primitive["attributes"]["COLOR_0"] = made.accessor(SQUARE + 0.1)
    primitive["attributes"]["NORMAL"] = made.accessor(np.tile([0, 0, 1], (4, 1)).astype("<f4"))
    made.show(primitive, extensions={"EXT_mesh_gpu_instancing": {"attributes": attributes}}, scale=[2, 1, 1])
    (part,), _ = read(made.glb())
    expected = []
    for i in range(5 if names else 1):
        points = SQUARE * values["SCALE"][i] if "SCALE" in names else SQUARE
        if "ROTATION" in names:
            x, y, z, w = values["ROTATION"][i]
            cross = np.cross([x, y, z], points)
            points = points + 2 * w * cross + 2 * np.cross([x, y, z], cross)
        points = points + (values["TRANSLATION"][i] if "TRANSLATION" in names else 0)
        expected.append(points * [2, 1, 1])
    tolerance = 0.1 if stored == "i1" else 1e-3
    np.testing.assert_allclose(part.vertices, np.concatenate(expected), atol=tolerance)
    assert len(part.faces) == 2 * len(expected)
    assert part.faces.max() == 4 * len(expected) - 1
    assert part.vertex_rgba is not None
    assert part.vertex_rgba.shape == (4 * len(expected), 4)
    edges = corners([part])
    upright = np.cross(edges[:, 1] - edges[:, 0], edges[:, 2] - edges[:, 0])
    assert part.normals is not None
    np.testing.assert_allclose(np.cross(upright, part.normals[part.faces[:, 0]]), 0, atol=1e-5)


def test_instances_of_different_lengths_and_bombs_are_refused() -> None:
    made = Gltf()
    attributes = {"TRANSLATION": made.accessor(SQUARE), "SCALE": made.accessor(SQUARE[:3])}
    made.show(made.square(), extensions={"EXT_mesh_gpu_instancing": {"attributes": attributes}})
    with pytest.raises(CmahError, match=r"of different lengths \(\[3, 4\]\)"):
        read(made.glb())
    zeros = {"componentType": 5126, "type": "VEC3", "count": 30_000_000}
    made.tree["nodes"][0]["extensions"]["EXT_mesh_gpu_instancing"]["attributes"] = {
        "SCALE": made.add("accessors", zeros)
    }
    with pytest.raises(CmahError, match="more than 1 million instances"):
        read(made.glb())
    made.tree["accessors"][-1]["count"] = 10**12
    with pytest.raises(CmahError, match="more than"):
        read(made.glb())


def skinned(joints: np.ndarray, weights: np.ndarray, bind: np.ndarray | None, **accessor: object) -> Gltf:
    """A square that hangs on two joints: one turned by 90 degrees about x, its child moved and twice as large."""
    made = Gltf()
    primitive = made.square()
    sets = joints.shape[1] // 4
    for number in range(sets):
        part = slice(4 * number, 4 * number + 4)
        primitive["attributes"][f"JOINTS_{number}"] = made.accessor(joints[:, part])
        primitive["attributes"][f"WEIGHTS_{number}"] = made.accessor(weights[:, part], **accessor)
    inner = made.add("nodes", {"translation": [0, 2, 0], "scale": [2, 2, 2]})
    outer = made.add("nodes", {"rotation": [HALF, 0, 0, HALF], "children": [inner]})
    armature = made.root({"children": [outer], "translation": [100, 0, 0]})
    skin: dict = {"joints": [outer, inner], "skeleton": armature}
    if bind is not None:
        flat = np.ascontiguousarray(bind.transpose(0, 2, 1)).reshape(-1, 16).astype("<f4")
        skin["inverseBindMatrices"] = made.accessor(flat)
    made.show(
        primitive, skin=made.add("skins", skin), translation=[7, 7, 7]
    )  # its own transform has no effect
    return made


@pytest.mark.parametrize("bound", [True, False])
@pytest.mark.parametrize("sets", [1, 2])
@pytest.mark.parametrize("stored", ["<f4", "u1", "<u2"])
def test_skins_hold_each_vertex_by_its_joints(bound: bool, sets: int, stored: str) -> None:
    rng = np.random.default_rng(sets)
    joints = rng.integers(0, 2, (4, 4 * sets)).astype("u1" if sets == 1 else "<u2")
    parts = rng.dirichlet(np.ones(4 * sets), 4)
    scale = 1 if stored == "<f4" else np.iinfo(stored).max
    weights = (parts * scale).astype(stored)
    bind = np.stack([np.eye(4) + 0.1 * np.vstack([rng.random((3, 4)), np.zeros(4)]) for _ in range(2)])
    made = skinned(joints, weights, bind if bound else None, normalized=stored != "<f4")
    outer = rotation(0, math.pi / 2)
    outer[:3, 3] = [100, 0, 0]
    inner = outer @ np.array([[2, 0, 0, 0], [0, 2, 0, 2], [0, 0, 2, 0], [0, 0, 0, 1]])
    world = [m @ b if bound else m for m, b in zip([outer, inner], bind, strict=True)]
    expected = []
    for point, numbers, shares in zip(SQUARE, joints, weights.astype(float), strict=True):
        total = np.zeros(4)
        for number, share in zip(numbers, shares, strict=True):
            total += share / shares.sum() * (world[number] @ [*point, 1])
        expected.append(total[:3])
    (part,), remarks = read(made.glb())
    np.testing.assert_allclose(part.vertices, expected, atol=1e-4)
    assert remarks == []


def test_skins_that_are_broken() -> None:
    joints, weights = np.zeros((4, 4), "u1"), np.tile([1, 0, 0, 0], (4, 1)).astype("<f4")
    joints[2, 0] = 2
    with pytest.raises(CmahError, match="hangs on joint 2, its skin has 2"):
        read(skinned(joints, weights, None).glb())
    weights[2, 0] = 0  # a joint without weight may be any, but then the vertex hangs on its first one
    joints[2] = [1, 9, 9, 9]
    assert len(read(skinned(joints, weights, None).glb())[0]) == 1
    with pytest.raises(CmahError, match="1 inverse bind matrices for 2 joints"):
        read(skinned(joints, weights, np.eye(4)[None]).glb())
    made = skinned(joints, weights, None)
    made.tree["skins"][0]["joints"] = [0, 99]
    with pytest.raises(CmahError, match=r"skins\[0\] names nodes\[99\]"):
        read(made.glb())
    # a mesh without joints stands where its node stands
    made = Gltf(skins=[{"joints": [0]}])
    made.show(made.square(), skin=0, translation=[5, 0, 0])
    assert read(made.glb())[0][0].vertices[:, 0].min() == 5


def test_children_of_a_chain_of_zeros_are_finite_or_refused_later() -> None:
    made = Gltf(nodes=[{"children": [1], "scale": [1e299, 1, 1]}, {"mesh": 0, "scale": [1e299, 1, 1]}])
    made.add("meshes", {"primitives": [made.square()]})
    (part,), _ = read(
        glb_of(
            json.dumps(made.tree | {"buffers": [{"byteLength": len(made.blob)}]}).encode(), bytes(made.blob)
        )
    )
    assert not np.isfinite(part.vertices).all()  # load_mesh refuses it
