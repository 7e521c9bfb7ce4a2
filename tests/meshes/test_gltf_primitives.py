"""Primitives of glTF: modes, indices, attributes and morph targets, against the rules of the specification as loops."""

import numpy as np
import pytest
from gltf_samples import SQUARE, SQUARE_FACES, SQUARE_UV, Gltf, corners, read, size
from hypothesis import given
from hypothesis import strategies as st

from cmah.errors import CmahError


def triangles_of(numbers: list[int], mode: int) -> list[list[int]]:
    """p_i as the specification defines it, without those that use a vertex twice in strips and fans."""
    v = numbers
    if mode == 4:
        return [[v[3 * i], v[3 * i + 1], v[3 * i + 2]] for i in range(len(v) // 3)]
    if mode == 5:
        made = [[v[i], v[i + (1 + i % 2)], v[i + (2 - i % 2)]] for i in range(len(v) - 2)]
    else:
        made = [[v[i + 1], v[i + 2], v[0]] for i in range(len(v) - 2)]
    return [triangle for triangle in made if len(set(triangle)) == 3]


@given(mode=st.sampled_from([4, 5, 6]), numbers=st.lists(st.integers(0, 7), max_size=12), indexed=st.booleans(),
       kind=st.sampled_from(["u1", "<u2", "<u4"]))  # fmt: skip
def test_modes_are_those_of_the_specification(
    mode: int, numbers: list[int], indexed: bool, kind: str
) -> None:
    points = np.random.default_rng(0).random((8, 3)).astype("<f4")
    made = Gltf()
    primitive = {"attributes": {"POSITION": made.accessor(points)}, "mode": mode}
    if indexed:
        primitive["indices"] = made.accessor(np.array(numbers, kind))
    else:
        numbers = list(range(8))
    made.show(primitive)
    expected = triangles_of(numbers, mode)
    if not expected:
        with pytest.raises(CmahError, match="no faces"):
            read(made.glb())
        return
    parts, remarks = read(made.glb())
    np.testing.assert_array_equal(corners(parts), points[expected])
    left_over = ["indices left over after the last triangle"] if mode == 4 and len(numbers) % 3 else []
    assert remarks == left_over
    assert len(parts[0].vertices) == len({number for triangle in expected for number in triangle})


def test_points_and_lines_are_said_to_be_lost() -> None:
    made = Gltf()
    made.show(made.square(), *[made.square(mode=mode) for mode in range(4)], {"attributes": {}})
    parts, remarks = read(made.glb())
    assert len(parts) == 1
    assert remarks == ["points not shown", "lines not shown", "primitive without positions"]
    made = Gltf()
    made.show(made.square(mode=0))
    with pytest.raises(CmahError, match=r"a\.glb: no faces \(points not shown\)"):
        read(made.glb())
    made.tree["meshes"][0]["primitives"][0]["mode"] = 7
    with pytest.raises(CmahError, match="mode 7 should be 0 to 6"):
        read(made.glb())


@pytest.mark.parametrize(("kind", "restart"), [("u1", 255), ("<u2", 65535), ("<u4", 2**32 - 1)])
def test_indices_that_cannot_be_are_refused(kind: str, restart: int) -> None:
    for bad, message in (
        (restart, f"hold {restart}, which glTF does not allow"),
        (4, "name vertex 4, there are 4"),
    ):
        made = Gltf()
        primitive = made.square()
        primitive["indices"] = made.accessor(np.array([0, 1, 2, 0, bad, 3], kind))
        made.show(primitive)
        with pytest.raises(CmahError) as caught:
            read(made.glb())
        assert message in str(caught.value)
    made = Gltf()
    made.show({**made.square(), "indices": made.accessor(SQUARE_FACES.astype("<i2"))})
    with pytest.raises(CmahError, match="expected SCALAR of unsigned integers"):
        read(made.glb())


def test_many_primitives_share_a_long_list_of_vertices() -> None:
    points = np.random.default_rng(0).random((9000, 3)).astype("<f4")
    made = Gltf()
    shared = made.accessor(points)
    uses = np.random.default_rng(1).integers(0, 9000, (300, 6)).astype("<u2")
    made.show(*[{"attributes": {"POSITION": shared}, "indices": made.accessor(row)} for row in uses])
    parts, _ = read(made.glb())
    assert max(len(part.vertices) for part in parts) == 6
    np.testing.assert_array_equal(corners(parts), points[uses.reshape(-1, 3)])


@pytest.mark.parametrize(("stored", "normalised", "factor"), [
    ("i1", True, 127), ("u1", True, 255), ("<i2", True, 32767), ("<u2", True, 65535),
    ("i1", False, 1), ("u1", False, 1), ("<i2", False, 1), ("<u2", False, 1),
])  # fmt: skip
def test_quantised_attributes(stored: str, normalised: bool, factor: float) -> None:
    largest = np.iinfo(stored).max
    made = Gltf(extensionsRequired=["KHR_mesh_quantization"])
    whole = (SQUARE * largest).astype(stored)
    made.show({"attributes": {"POSITION": made.accessor(whole, 8, normalized=normalised)}})
    (part,), _ = read(made.glb())
    np.testing.assert_allclose(part.vertices, (SQUARE * largest / factor)[:3])
    signed = (
        np.array([[-largest - 1] * 3, [0, largest, 0], [largest, 0, 0]], stored)
        if stored[-2] == "i"
        else None
    )
    if signed is not None and normalised:
        made = Gltf()
        made.show({"attributes": {"POSITION": made.accessor(signed, 8, normalized=True)}})
        assert read(made.glb())[0][0].vertices.tolist() == [[-1, -1, -1], [0, 1, 0], [1, 0, 0]]


@pytest.mark.parametrize("weights", [[1.0], [0.5, 0, -2], [0, 3, 1, 7], []])
@pytest.mark.parametrize("of_node", [True, False])
def test_morph_targets_are_added_by_their_weights(weights: list[float], of_node: bool) -> None:
    rng = np.random.default_rng(0)
    deltas = rng.integers(-3, 4, (3, 4, 3)).astype("<f4")
    made = Gltf()
    primitive = made.square()
    normals, turned = np.tile([0, 0, 1], (4, 1)).astype("<f4"), rng.random((4, 3)).astype("<f4")
    primitive["attributes"]["NORMAL"] = made.accessor(normals)
    primitive["targets"] = [{"POSITION": made.accessor(delta)} for delta in deltas]
    primitive["targets"][0]["NORMAL"] = made.accessor(turned)
    if of_node:
        made.show(primitive, mesh={"weights": [9, 9, 9]}, weights=weights)
    else:
        made.show(primitive, mesh={"weights": weights})
    expected, expected_normals = SQUARE.astype(float), normals.astype(float)
    for weight, delta in zip(weights, deltas, strict=False):
        expected = expected + weight * delta
    if weights:
        expected_normals = expected_normals + weights[0] * turned
    (part,), remarks = read(made.glb())
    np.testing.assert_allclose(part.vertices, expected, atol=1e-6)
    np.testing.assert_allclose(part.normals, expected_normals, atol=1e-6)
    assert remarks == []


def test_targets_of_another_length_are_refused() -> None:
    made = Gltf()
    primitive = made.square(targets=[{"POSITION": made.accessor(SQUARE[:3])}])
    made.show(primitive, weights=[1])
    with pytest.raises(CmahError, match=r"targets\[0\]: POSITION has 3 elements for 4 vertices"):
        read(made.glb())
    made.tree["nodes"][0]["weights"] = [0]
    assert size(read(made.glb())[0]) == [1, 1, 0]


def test_attributes_of_another_length_are_lost_with_a_word() -> None:
    made = Gltf()
    primitive = made.textured([[[255, 0, 0]]])
    primitive["attributes"]["TEXCOORD_0"] = made.accessor(SQUARE_UV[:3])
    primitive["attributes"]["COLOR_0"] = made.accessor(SQUARE[:2])
    made.show(primitive)
    (part,), remarks = read(made.glb())
    assert part.uv is None
    assert part.vertex_rgba is None
    assert remarks == [
        "attribute of another length than the positions (COLOR_0)",
        "attribute of another length than the positions (TEXCOORD_0)",
        "texture without its coordinates (TEXCOORD_0)",
    ]


def test_small_files_cannot_ask_for_endless_work() -> None:
    made = Gltf()
    primitive = made.square()
    many = np.tile(SQUARE_FACES, 20000)
    primitive["indices"] = made.accessor(many)
    mesh = made.add("meshes", {"primitives": [primitive]})
    for _ in range(2000):
        made.root({"mesh": mesh, "translation": [1, 0, 0]})
    with pytest.raises(CmahError, match="more than 50 million triangles"):
        read(made.glb())
    made = Gltf()
    mesh = made.add("meshes", {"primitives": [{"attributes": {}}] * 10000})
    for _ in range(10000):
        made.root({"mesh": mesh})
    with pytest.raises(CmahError, match="no faces"):
        read(made.glb())


def test_positions_whose_data_is_lost_are_refused() -> None:
    """By the letter they are zeros, which viewers show as nothing and which would shift the box of other parts."""
    for key in ("POSITION", "indices"):
        made = Gltf()
        primitive = made.square()
        index = primitive["indices"] if key == "indices" else primitive["attributes"]["POSITION"]
        made.tree["accessors"][index].pop("bufferView")
        made.show(primitive, made.square())
        with pytest.raises(
            CmahError, match=r"meshes\[0\]\.primitives\[0\]: its positions or indices have no data"
        ):
            read(made.glb())
    made = Gltf()  # a shape that morph targets alone make up
    primitive = made.square(targets=[{"POSITION": made.accessor(SQUARE)}])
    made.tree["accessors"][primitive["attributes"]["POSITION"]].pop("bufferView")
    made.show(primitive, weights=[2])
    assert size(read(made.glb())[0]) == [2, 2, 0]
