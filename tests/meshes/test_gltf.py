"""glTF files as a whole: beside a second reader, the samples of the field, and files with anything in them."""

import io
import json
import random
import struct
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import trimesh
from gltf_samples import SQUARE, SQUARE_FACES, Gltf, corners, glb_of, read

from cmah.errors import CmahError
from cmah.meshes.mesh_files import read_parts
from cmah.meshes.part import Part
from cmah.synthetic import make_model
from cmah.synthetic.writing import write_glb


def sorted_rows(triangles: np.ndarray) -> np.ndarray:
    """Triangles [f, 3, n], each with its lowest corner first, in the order of their positions."""
    first = triangles[:, :, :3].round(4)
    lowest = np.array([min(range(3), key=lambda corner: tuple(rows[corner])) for rows in first])
    turned = (lowest[:, None] + np.arange(3)) % 3
    triangles = np.take_along_axis(triangles, turned[:, :, None], axis=1)
    return triangles[np.lexsort(triangles[:, :, :3].reshape(-1, 9).round(4).T)]


def second_reading(data: bytes) -> np.ndarray:
    """For each corner of each triangle, as trimesh reads it: position, coordinates of the texture, colour.

    It holds the colours of meshes without a texture in 8 bits.
    """
    scene = trimesh.load_scene(io.BytesIO(data), file_type="glb", process=False)
    rows = []
    for node in scene.graph.nodes_geometry:
        matrix, name = scene.graph[node]
        mesh = scene.geometry[name]
        points = trimesh.transform_points(mesh.vertices, matrix)
        uv, colours = np.zeros((len(points), 2)), np.zeros((len(points), 3))
        if getattr(mesh.visual, "uv", None) is not None:
            uv = mesh.visual.uv
        stored = (
            mesh.visual.vertex_attributes.get("color") if hasattr(mesh.visual, "vertex_attributes") else None
        )
        if stored is None and mesh.visual.kind == "vertex":
            stored = mesh.visual.vertex_colors
        if stored is not None:
            scale = np.iinfo(stored.dtype).max if stored.dtype.kind in "iu" else 1
            colours = (stored[:, :3] / scale) ** (1 / 2.2)
        rows.append(np.column_stack([points, uv, colours])[mesh.faces])
    return np.concatenate(rows)


def first_reading(parts: list[Part]) -> np.ndarray:
    """The same as we read it."""
    rows = []
    for part in parts:
        uv = np.zeros((len(part.vertices), 2)) if part.uv is None else part.uv
        colours = np.zeros((len(part.vertices), 3)) if part.vertex_rgba is None else part.vertex_rgba[:, :3]
        rows.append(np.column_stack([part.vertices, uv, colours])[part.faces])
    return np.concatenate(rows)


@pytest.mark.parametrize("seed", range(12))
def test_plain_scenes_as_a_second_reader_has_them(seed: int) -> None:
    """Trees of nodes with triangles, strips, coordinates and colours of the plainest types."""
    rng = np.random.default_rng(seed)
    made = Gltf(scene=0)
    for _ in range(rng.integers(1, 4)):
        primitives = []
        for _ in range(rng.integers(1, 3)):
            count = int(rng.integers(3, 30))
            attributes = {"POSITION": made.accessor(rng.normal(size=(count, 3)).astype("<f4"))}
            primitive = {"attributes": attributes}
            if rng.random() < 0.5:
                textured = made.textured(rng.integers(0, 255, (4, 4, 3)))
                primitive["material"] = textured["material"]
                attributes["TEXCOORD_0"] = made.accessor(rng.random((count, 2)).astype("<f4"))
            if rng.random() < 0.5:
                stored = ["<f4", "u1"][rng.integers(2)]
                colours = rng.random((count, 4)) * (255 if stored == "u1" else 1)
                attributes["COLOR_0"] = made.accessor(colours.astype(stored), normalized=stored == "u1")
            if rng.random() < 0.8:
                kind = ["u1", "<u2", "<u4"][rng.integers(3)]
                primitive["indices"] = made.accessor(
                    rng.integers(0, count, 3 * rng.integers(1, 20)).astype(kind)
                )
            elif count % 3:
                primitive["mode"] = 5
            primitives.append(primitive)
        made.add("meshes", {"primitives": primitives})
    for number in range(6):
        turn = rng.normal(size=4)
        node = {"mesh": int(rng.integers(len(made.tree["meshes"]))), "translation": rng.normal(size=3).tolist(),
                "rotation": (turn / np.linalg.norm(turn)).tolist(), "scale": rng.uniform(0.5, 2, 3).tolist(),
                "name": f"node{number}"}  # fmt: skip
        if number % 2:
            node["children"] = [number - 1]
            made.root(node)
        else:
            made.add("nodes", node)
    data = made.glb()
    parts, remarks = read(data)
    assert remarks == []
    seen, expected = sorted_rows(first_reading(parts)), sorted_rows(second_reading(data))
    np.testing.assert_allclose(seen[:, :, :5], expected[:, :, :5], atol=2e-5)
    np.testing.assert_allclose(seen[:, :, 5:] ** 2.2, expected[:, :, 5:] ** 2.2, atol=0.004)


@pytest.mark.parametrize("category", ["chair", "car", "plant"])
def test_written_scenes_are_read_back(tmp_path: Path, category: str) -> None:
    model = make_model(category, 3)
    write_glb(model, tmp_path / "a.glb")
    parts = read_parts(tmp_path / "a.glb")
    assert len(parts) == len(model.solids)
    for part, solid in zip(parts, model.solids, strict=True):
        used = np.unique(solid.faces)
        np.testing.assert_allclose(part.vertices[part.faces], solid.vertices[solid.faces], atol=1e-6)
        assert len(part.vertices) == len(used)
        assert part.face_rgba is not None
        np.testing.assert_allclose(part.face_rgba[:, :3], [solid.colour] * len(solid.faces), atol=1e-4)


@pytest.mark.parametrize("form", ["glb", "gltf"])
def test_scenes_of_another_writer(tmp_path: Path, form: str) -> None:
    scene, expected = trimesh.Scene(), []
    for number, made in enumerate(
        [trimesh.creation.box(), trimesh.creation.icosphere(2), trimesh.creation.torus(2, 1)]
    ):
        matrix = trimesh.transformations.random_rotation_matrix(np.random.default_rng(number).random(3))
        matrix[:3, 3] = number * 3
        scene.add_geometry(made, geom_name=f"m{number}", transform=matrix)
        expected.append(trimesh.transform_points(made.vertices, matrix)[made.faces])
    files = scene.export(file_type=form)
    if form == "glb":
        (tmp_path / "a.glb").write_bytes(files)
    else:
        for name, data in files.items():
            (tmp_path / ("a.gltf" if name.endswith(".gltf") else name)).write_bytes(data)
    seen = corners(read_parts(tmp_path / f"a.{form}"))
    np.testing.assert_allclose(sorted_rows(seen), sorted_rows(np.concatenate(expected)), atol=1e-5)


@pytest.mark.slow
def test_real_files_as_a_second_reader_has_them(shared: Path) -> None:
    files = sorted((shared / "data/meshes").rglob("*.glb"))
    assert len(files) > 100
    for path in files[::5]:
        remarks: list[str] = []
        parts = read_parts(path, remarks=remarks)
        np.testing.assert_allclose(
            sorted_rows(corners(parts)),
            sorted_rows(second_reading(path.read_bytes()))[:, :, :3],
            atol=1e-5,
            err_msg=str(path),
        )
        assert remarks == [], path


def rich_file() -> tuple[dict, bytes]:
    """A file with something of everything, as JSON and binary chunk."""
    rng = np.random.default_rng(0)
    made = Gltf(scene=0, extensionsUsed=["KHR_texture_transform"])
    info = {"extensions": {"KHR_texture_transform": {"scale": [0.5, 2], "rotation": 1, "offset": [1, 0]}}}
    textured = made.textured(
        rng.integers(0, 255, (3, 5, 4)), info=info, sampler={"wrapS": 33071}, alphaMode="MASK"
    )
    textured["attributes"]["COLOR_0"] = made.accessor(
        rng.integers(0, 255, (4, 4)).astype("u1"), normalized=True
    )
    textured["targets"] = [{"POSITION": made.accessor(rng.random((4, 3)).astype("<f4"))}]
    made.show(textured, weights=[0.5], scale=[1, 2, 1])
    sparse = made.accessor(SQUARE)
    places, values = made.view(np.array([1, 3], "<u2").tobytes()), made.view(SQUARE[:2].tobytes())
    changed = {"indices": {"bufferView": places, "componentType": 5123}, "values": {"bufferView": values}}
    made.tree["accessors"][sparse]["sparse"] = {"count": 2, **changed}
    skin = {"attributes": {"POSITION": sparse, "JOINTS_0": made.accessor(np.zeros((4, 4), "u1")),
                           "WEIGHTS_0": made.accessor(np.full((4, 4), 0.25, "<f4"))},
            "indices": made.accessor(SQUARE_FACES), "mode": 5}  # fmt: skip
    bind = made.accessor(np.eye(4, dtype="<f4").reshape(1, 16))
    made.add("skins", {"joints": [0], "inverseBindMatrices": bind})
    made.show(skin, skin=0)
    instances = {"TRANSLATION": made.accessor(rng.random((3, 3)).astype("<f4")),
                 "ROTATION": made.accessor(rng.integers(-99, 99, (3, 4)).astype("i1"), normalized=True)}  # fmt: skip
    made.add("materials", {"emissiveFactor": [1, 0, 1]})
    made.show(
        made.square(mode=6, material=1), extensions={"EXT_mesh_gpu_instancing": {"attributes": instances}}
    )
    made.root({"children": [made.add("nodes", {"mesh": 0, "rotation": [0, 0, 1, 1]})]})
    data = made.glb()
    length = struct.unpack_from("<I", data, 12)[0]
    return json.loads(data[20 : 20 + length]), data[28 + length :]


ODD = [None, True, -1, 0, 1, 2, 3, 7, 255, 65535, 2**31, 2**32, 2**63, 10**30, 0.5, -0.5, 1e38, 1e308, float("nan"),
       float("inf"), "", "0", "VEC3", "a.bin", "data:;base64,AAAA", "data:", [], {}, [0], [[]], {"a": 1}]  # fmt: skip


def mutated(rng: random.Random, tree: dict, blob: bytes) -> bytes:
    """A file with a few things in it changed: values of the JSON, bytes, lengths of chunks."""
    tree = json.loads(json.dumps(tree))
    for _ in range(rng.choice([0, 1, 1, 1, 2, 3])):
        holder: dict | list = tree
        while True:
            keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
            if not keys:
                break
            key = rng.choice(keys)
            if isinstance(holder[key], dict | list) and rng.random() < 0.85:
                holder = holder[key]
                continue
            act = rng.random()
            if act < 0.15:
                del holder[key]
            elif act < 0.3 and isinstance(holder, list):
                holder.append(deepcopy(holder[key]))
            elif act < 0.6 and isinstance(holder[key], int):
                holder[key] += rng.choice([-2, -1, 1, 2, 4, 100])
            elif act < 0.7:  # something else of the file: references in circles, objects of another kind
                section = rng.choice([value for value in tree.values() if isinstance(value, list)])
                holder[key] = deepcopy(rng.choice(section)) if section else section
            else:
                holder[key] = deepcopy(rng.choice(ODD))
            break
    data = bytearray(glb_of(json.dumps(tree).encode(), blob))
    if rng.random() < 0.3:
        for _ in range(rng.choice([1, 1, 4, 30])):
            start = 0 if rng.random() < 0.3 else len(data) - len(blob) if rng.random() < 0.7 else 20
            data[rng.randrange(start, len(data))] = rng.randrange(256)
    if rng.random() < 0.05:
        del data[rng.randrange(len(data)) :]
    return bytes(data)


def outcome(data: bytes) -> object:
    """What a reading gives, in a form that can be compared."""
    try:
        parts, remarks = read(data)
    except CmahError as error:
        reason = str(error)
        return reason if "\n" not in reason and len(reason) < 400 else len(reason)
    seen: list[object] = [remarks]
    for part in parts:
        assert part.faces.min() >= 0
        assert part.faces.max() < len(part.vertices)
        arrays = (part.vertices, part.faces, part.normals, part.uv, part.vertex_rgba, part.face_rgba)
        seen.append([None if array is None else array.tobytes() for array in arrays])
        for array in (part.vertex_rgba, part.face_rgba):
            assert array is None or (array.min() >= 0 and array.max() <= 1)
        seen.append((part.wrap, part.texture_alpha, part.alpha_cutoff))
    return seen


def try_many(seed: int, count: int, report: Callable[[bytes], None] | None = None) -> list[object]:
    """Read many mutated files, each twice."""
    rng, (tree, blob) = random.Random(seed), rich_file()
    outcomes = []
    for _ in range(count):
        data = mutated(rng, tree, blob)
        if report is not None:
            report(data)
        first = outcome(data)
        assert outcome(data) == first
        outcomes.append(first)
    return outcomes


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
def test_files_with_anything_in_them_are_read_or_refused() -> None:
    outcomes = try_many(seed=1, count=5000)
    refused = [seen for seen in outcomes if isinstance(seen, str)]
    assert not any(isinstance(seen, int) for seen in outcomes)
    assert 1000 < len(refused) < 4000
    assert len(set(refused)) > 200
