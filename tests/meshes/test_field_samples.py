"""Small meshes built after public reports, each with what must be seen of it: shape, colours, remarks or refusal."""

from pathlib import Path

import numpy as np
import pytest

from cmah.errors import CmahError
from cmah.meshes.mesh import Mesh, surface_colours
from cmah.meshes.mesh_loading import load_mesh
from cmah.meshes.point_sampling import sample_points
from cmah.meshes.rendering import render_seen, ring_of_cameras

RED, GREEN, GREY = (1, 0, 0), (0, 0.8, 0), None
# the middles of the quarters of the picture, from the upper left: red, green, blue, yellow
QUARTERS = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0))
LOST, CLEAR = "texture not", "all transparent, taken as opaque"

# folder and file, extent with its least part 1, area if it tells more, colour (quarters, one, or none), remark
SAMPLES = [
    ("A01-skin-joint/q.glb", (1, 4, 1), None, GREY, ""),
    ("A03-quantised-parts/chair.glb", (1, 2, 1), None, "as ref_chair.glb", ""),
    ("A04-uv-uint16/quad.glb", (1, 1), None, QUARTERS, ""),
    ("A04-uv-uint16/a03_uv_u8_quad.glb", (1, 1), None, QUARTERS, ""),
    ("A05-texture-transform/quad.glb", (1, 1), None, RED, ""),
    ("A07-sparse/q.glb", (1, 3), None, GREY, ""),
    ("A07-sparse/a07_sparse_noview_q.glb", (1, 3), None, GREY, ""),
    ("A08-gpu-instancing/q.glb", (13, 1, 1), None, GREY, ""),
    ("A16-morph-weights/q.glb", (1, 4, 1), None, GREY, ""),
    ("A17-vertex-alpha-opaque/q.glb", (1, 1, 1), None, RED, ""),
    ("A19-basisu/q.glb", (1, 1), None, GREY, LOST),
    ("A22-clamp/q.glb", (1, 1), None, QUARTERS, ""),
    ("B01-shapenet-textures/b01_shapenet/03001627/abc/models/model_normalized.obj", (1, 1), None, QUARTERS, ""),
    ("B03-windows-absolute/b03_winabs/a.obj", (1, 1), None, QUARTERS, ""),
    ("B05-bom-vertex/x.obj", (1, 1, 1.5), None, GREY, ""),
    ("B07-tabs/b05_tabv/x.obj", (1, 3), None, GREY, ""),
    ("B07-tabs/b05_tabusemtl/x.obj", (1, 1), None, RED, ""),
    ("B09-concave-ngon/x.off", (1, 1), 1.25, GREY, ""),
    ("B09-concave-ngon/x.ply", (1, 1), 1.25, GREY, ""),
    ("B12-vertex-colour-and-mtl/h08_vc_mtl/x.obj", (1, 1, 1), None, (0.8, 0.1, 0.1), ""),
    ("B12-vertex-colour-and-mtl/h08_vc_noMtl_uv/x.obj", (1, 1, 1), None, (0.8, 0.1, 0.1), ""),
    ("B16-no-usemtl/b12_nousemtl/x.obj", (1, 1), None, QUARTERS, ""),
    ("C01-16bit-texture/c01_tex16grey/x.obj", (1, 1), None, (0.25, 0.25, 0.25), ""),
    ("C01-16bit-texture/c11_textiff16/x.obj", (1, 1), None, (0.25, 0.25, 0.25), ""),
    ("C03-texture-alpha-0/h06_texalpha0/x.obj", (1, 1, 1), None, GREEN, "texture all transparent, taken as opaque"),
    ("D01-ply-binary-mixed/x.ply", (1, 3), None, GREY, ""),
    ("D03-ply-two-lists/x.ply", (1, 3), None, GREY, ""),
    ("D07-vertex-alpha-0/x.ply", (1, 1, 1), None, RED, CLEAR),
    ("F01-coff-alpha/x.off", (1, 1, 1), None, RED, ""),
]  # fmt: skip


@pytest.fixture(scope="module")
def field(shared: Path) -> Path:
    """The folder of samples."""
    folder = shared / "data/field"
    if not folder.is_dir():
        pytest.skip("no samples of the field beside the checkout")
    return folder


def load(field: Path, name: str) -> Mesh:
    """A sample, read as `cmah prepare` reads it when its folder is given."""
    parts = Path(name).parts
    return load_mesh(field / name, root=field.joinpath(*parts[: 2 if len(parts) > 2 else 1]))


@pytest.mark.parametrize(
    ("name", "extent", "area", "colour", "remark"), SAMPLES, ids=[row[0] for row in SAMPLES]
)
def test_shape_colour_and_remarks(
    field: Path, name: str, extent: tuple, area: float | None, colour: object, remark: str
) -> None:
    mesh = load(field, name)
    if isinstance(colour, str):
        reference = load_mesh((field / name).with_name("ref_chair.glb"))
        np.testing.assert_allclose(mesh.vertices[mesh.faces], reference.vertices[reference.faces], atol=1e-3)
        extent = tuple(np.ptp(reference.vertices, axis=0) / np.ptp(reference.vertices, axis=0).min())
        colour = GREY
    size = np.ptp(mesh.vertices, axis=0)[: len(extent)]
    np.testing.assert_allclose(size / size.min(), extent, atol=0.01)
    assert np.ptp(mesh.vertices, axis=0)[len(extent) :].max(initial=0) < 1e-6
    if area is not None:
        assert mesh.face_areas.sum() == pytest.approx(area)
    assert len(mesh.remarks) == bool(remark)
    assert all(line.startswith(remark) for line in mesh.remarks)
    points = sample_points(mesh, 4000, 0)
    images, masks, _ = render_seen(mesh, ring_of_cameras(8), 64)
    assert masks.any(axis=(1, 2)).all()
    if colour is GREY:
        assert np.ptp(points[:, 3:], axis=0).max(initial=0) == 0
    elif colour is QUARTERS:
        for place, expected in zip(
            ((-0.35, 0.35), (0.35, 0.35), (-0.35, -0.35), (0.35, -0.35)), QUARTERS, strict=True
        ):
            near = np.abs(points[:, :2] - place).max(axis=1) < 0.2
            np.testing.assert_allclose(np.median(points[near, 3:], axis=0), expected, atol=0.02)
    else:
        off = np.abs(points[:, 3:] - np.array(colour)).max(axis=1)
        assert (off < 0.03).mean() > 0.9  # textures run into each other at the edges of their quarters
        seen = images[masks == 255].astype(float)
        np.testing.assert_allclose(seen.max(axis=0) > 100, np.array(colour) > 0.5)
    assert mesh.opaque


def test_parts_with_colours_and_places_of_their_own(field: Path) -> None:
    for name in ("b04_mtllib_one", "b04_mtllib_lines"):
        points = sample_points(load(field, f"B04-several-mtllib/{name}/x.obj"), 2000, 0)
        left = points[:, 0] < 0
        np.testing.assert_allclose(points[left, 3:], [[1, 0, 0]] * left.sum(), atol=1e-6)
        np.testing.assert_allclose(points[~left, 3:], [[0, 0, 1]] * (~left).sum(), atol=1e-6)
    instances = sample_points(load(field, "A08-gpu-instancing/q.glb"), 2000, 0)
    places = instances[:, 0] / np.abs(instances[:, 0]).max() * 6.5  # boxes of 1, 3 apart
    np.testing.assert_array_equal(np.unique(np.round(places / 3)), [-2, -1, 0, 1, 2])
    notched = sample_points(load(field, "B09-concave-ngon/u.obj"), 4000, 0)
    middle = (np.abs(notched[:, 0]) < 0.1) & (notched[:, 1] > 0.1)
    assert not middle.any()


def test_leaves_have_holes(field: Path) -> None:
    mesh = load(field, "B14-map_d/b11_map_d/x.obj")
    generator = np.random.default_rng(0)
    weights = generator.dirichlet([1, 1, 1], 1000).astype(np.float32)
    rgba = surface_colours(mesh, generator.integers(0, len(mesh.faces), 1000), weights)
    assert not mesh.opaque
    assert rgba[:, 3].min() < 0.02
    assert 0.3 < rgba[:, 3].mean() < 0.7


@pytest.mark.parametrize(("name", "reason"), [
    ("A09-draco-mixed/q.glb", "(?i)draco"), ("A11-meshopt/q.glb", "(?i)meshopt"),
    ("B10-zero-based/x.obj", "a face names a vertex that is not in the file"),
])  # fmt: skip
def test_refusals(field: Path, name: str, reason: str) -> None:
    with pytest.raises(CmahError, match=reason) as caught:
        load(field, name)
    assert "\n" not in str(caught.value)
