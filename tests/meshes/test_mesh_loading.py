"""Meshes checked, turned upright and normalised."""

from pathlib import Path

import numpy as np
import pytest
from mesh_samples import SQUARE, TEXTURED, refusal, write
from PIL import Image

from cmah.meshes.mesh_loading import load_mesh
from cmah.meshes.point_sampling import sample_points


def test_normalisation_is_about_the_box_and_ignores_unused_vertices(tmp_path: Path) -> None:
    path = write(tmp_path / "a.obj", "v 99 99 99\nv 10 0 0\nv 12 0 0\nv 10 6 0\nv 10 0 3\nf 2 3 4\nf 2 3 5\n")
    mesh = load_mesh(path)
    corners = [(10, 0, 0), (12, 0, 0), (10, 6, 0), (10, 0, 3)]
    centred = [[x - 11, y - 3, z - 1.5] for x, y, z in corners]
    largest = max((x * x + y * y + z * z) ** 0.5 for x, y, z in centred)
    expected = [[x / largest, y / largest, z / largest] for x, y, z in centred]
    np.testing.assert_allclose(np.sort(mesh.vertices, axis=0), np.sort(expected, axis=0), atol=1e-6)
    assert mesh.vertices.dtype == np.float32


def test_z_up_is_rotated_not_mirrored(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.obj", "v 0 0 0\nv 1 0 0\nv 0 2 0\nv 0 0 3\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"
    )
    upright, turned = load_mesh(path), load_mesh(path, "z")
    rotation = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], np.float32)
    assert np.linalg.det(rotation) == pytest.approx(1)
    np.testing.assert_allclose(turned.vertices, upright.vertices @ rotation.T, atol=1e-6)
    assert turned.vertices[3].argmax() == 1  # what pointed along z points up


def test_polygons_keep_their_area(tmp_path: Path) -> None:
    angle = np.linspace(0, 2 * np.pi, 7, endpoint=False)
    vertices = "".join(f"v {np.cos(a)} {np.sin(a)} 0\n" for a in angle)
    mesh = load_mesh(write(tmp_path / "a.obj", vertices + "f 1 2 3 4 5 6 7\n"))
    # the box of a heptagon is not centred on it: scale the area back
    scale = np.linalg.norm(mesh.vertices[1] - mesh.vertices[0]) / np.hypot(
        np.cos(angle[1]) - 1, np.sin(angle[1])
    )
    assert mesh.face_areas.sum() / scale**2 == pytest.approx(7 / 2 * np.sin(2 * np.pi / 7), rel=1e-5)


def test_refusals(tmp_path: Path) -> None:
    assert refusal(write(tmp_path / "a.obj", SQUARE)) == "no faces"
    assert "not finite" in refusal(write(tmp_path / "b.obj", SQUARE + "v nan 0 0\nf 1 2 5\n"))
    assert "no extent" in refusal(write(tmp_path / "c.obj", "v 1 1 1\n" * 3 + "f 1 2 3\n"))
    assert "no area" in refusal(write(tmp_path / "d.obj", "v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n"))
    assert "normalised" in refusal(write(tmp_path / "e.obj", "v 0 0 0\nv 1e200 0 0\nv 0 1e200 0\nf 1 2 3\n"))
    far = "v 1e15 0 0\nv 1000000000000001 0 0\nv 1e15 1 0\nf 1 2 3\n"
    assert "normalised" in refusal(write(tmp_path / "f.obj", far))
    assert "promises 4000000000 vertices" in refusal(
        write(tmp_path / "g.off", "OFF\n4000000000 1 0\n0 0 0\n")
    )
    assert "counts" in refusal(write(tmp_path / "h.off", "OFF\n-3 1 0\n0 0 0\n"))
    assert "not in the file" in refusal(
        write(tmp_path / "i.off", "OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 7\n")
    )
    assert "expected a face" in refusal(
        write(tmp_path / "j.off", "OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n4 0 1 2\n")
    )
    assert "no faces" in refusal(write(tmp_path / "k.stl", "nothing"))
    assert "not readable as GLB" in refusal(write(tmp_path / "k.glb", "nothing"))
    (tmp_path / "n.stl").write_bytes(b"solid \xff\xfe\n" * 20)
    assert "no faces" in refusal(tmp_path / "n.stl")
    assert "three numbers" in refusal(write(tmp_path / "o.obj", "v 0 0\nv 1 0\nv 0 1\nf 1 2 3\n"))
    assert "no such file" in refusal(tmp_path / "l.obj")
    assert "not a mesh file" in refusal(write(tmp_path / "m.txt", "x"))


CORNERS = "v 0 0 0\nv 1 0 0\nv 0 1 0\n"


@pytest.mark.parametrize("alpha", [0, 1, 5])
def test_a_mesh_that_would_vanish_is_taken_as_opaque(tmp_path: Path, alpha: int) -> None:
    rows = "".join(f"{xyz} 255 0 0 {alpha}\n" for xyz in ("0 0 0", "1 0 0", "0 1 0", "0 0 1"))
    path = write(tmp_path / "a.off", f"COFF\n4 2 0\n{rows}3 0 1 2\n3 0 1 3\n")
    mesh = load_mesh(path)
    assert mesh.opaque
    assert mesh.remarks == (() if alpha == 1 else ("all transparent, taken as opaque",))
    np.testing.assert_allclose(sample_points(mesh, 50, 0)[:, 3:], [[1, 0, 0]] * 50, atol=1e-6)
    # one corner that is to be seen: the rest stays as it is
    mesh = load_mesh(write(path, path.read_text().replace(f"0 0 1 255 0 0 {alpha}", "0 0 1 255 0 0 255")))
    assert (mesh.opaque, mesh.remarks) == (False, ())


@pytest.mark.parametrize(("mode", "colour", "remarks"), [
    ("RGBA", (0, 200, 0, 0), ("texture all transparent, taken as opaque (t.png)",)),
    ("LA", (200, 0), ("texture all transparent, taken as opaque (t.png)",)), ("RGBA", (0, 200, 0, 7),
    ("all transparent, taken as opaque",)),
])  # fmt: skip
@pytest.mark.parametrize("side", [4, 2050])
def test_a_texture_that_would_vanish_is_taken_as_opaque(
    tmp_path: Path, mode: str, colour: tuple[int, ...], remarks: tuple[str, ...], side: int
) -> None:
    Image.new(mode, (side, side), colour).save(tmp_path / "t.png")
    write(tmp_path / "m.mtl", "newmtl a\nd 1\nmap_Kd t.png\n")
    mesh = load_mesh(write(tmp_path / "a.obj", TEXTURED))
    assert (mesh.opaque, mesh.remarks) == (True, remarks)
    green = sample_points(mesh, 50, 0)[:, 4]
    np.testing.assert_allclose(
        green, 200 / 255, atol=0.15 if colour[-1] else 1e-6
    )  # Pillow weighs by opacity


def test_a_leaf_in_a_large_clear_texture_stays_alone(tmp_path: Path) -> None:
    leaf = Image.new("RGBA", (512, 512), (0, 0, 0, 0))
    leaf.paste((0, 200, 0, 255), (100, 40, 120, 60))
    leaf.save(tmp_path / "t.png")
    write(tmp_path / "m.mtl", "newmtl a\nmap_Kd t.png\n")
    mesh = load_mesh(write(tmp_path / "a.obj", TEXTURED))
    assert (mesh.opaque, mesh.remarks) == (False, ())


def test_remarks_are_short_and_few(tmp_path: Path) -> None:
    lines = "".join(f"usemtl m\x07{'x' * 500}{number}\nf 1 2 3\n" for number in range(200))
    remarks = load_mesh(
        write(tmp_path / "a.obj", CORNERS + lines + "usemtl m1\nf 1 2 3\nusemtl m1\nf 1 2 3\n")
    ).remarks
    assert len(set(remarks)) == len(remarks) <= 40
    assert all(len(remark) <= 120 and remark.isprintable() for remark in remarks)
    assert remarks[0].startswith("material not found (m xxx")
    assert remarks[0].endswith("…)")


def test_an_stl_file_may_bear_any_name(tmp_path: Path) -> None:
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], "<f4")
    triangle = np.zeros(12, "<f4")
    triangle[3:] = corners.ravel()
    (tmp_path / "binary.stl").write_bytes(
        b"St\xfchle \xa9".ljust(80) + b"\1\0\0\0" + triangle.tobytes() + b"\0\0"
    )
    facet = "facet normal 0 0 1\nouter loop\n" + "".join(f"vertex {x} {y} {z}\n" for x, y, z in corners)
    text = f"solid Stühle\n{facet}endloop\nendfacet\nendsolid\n"
    (tmp_path / "text.stl").write_bytes(text.encode("latin-1"))
    for name in ("binary.stl", "text.stl"):
        assert len(load_mesh(tmp_path / name).faces) == 1


def test_hostile_files(shared: Path) -> None:
    folder = shared / "data/hostile/meshes"
    fine = {"huge_coordinates.obj", "missing_texture.obj", "modelnet_glued_header.off", "mtl_outside.obj"}
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name in fine:
            assert np.isfinite(sample_points(load_mesh(path), 100, 0)).all()
        elif path.is_file():
            assert len(refusal(path)) < 250


@pytest.mark.parametrize("text", [
    "OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n",
    "COFF\r\n3 1 0\r\n0 0 0 1 0 0\r\n1 0 0 1 0 0\r\n0 1 0 1 0 0\r\n3 0 1 2\r\n",
    "solid a\nfacet normal 0 0 1\nouter loop\nvertex 0 0 0\nvertex 1 0 0\nvertex 0 1 0\nendloop\nendfacet\nendsolid\n",
])  # fmt: skip
def test_a_file_is_read_as_what_it_is(tmp_path: Path, text: str) -> None:
    assert len(load_mesh(write(tmp_path / "a.obj", text)).faces) == 1


def test_a_pointer_of_git_is_named(tmp_path: Path) -> None:
    for name in ("a.obj", "a.glb", "a.stl"):
        pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"
        assert "Git LFS pointer" in refusal(write(tmp_path / name, pointer))


@pytest.mark.filterwarnings("error")
def test_normals_of_any_size_do_no_harm(tmp_path: Path) -> None:
    triangle = "v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 1e300 0\nvn 0 0 {}\nf 1/1/1 2/1/1 3/1/1\n"
    for size in ("1e300", "-1e39", "1e-300", "nan"):
        mesh = load_mesh(write(tmp_path / "a.obj", triangle.format(size)))
        assert mesh.face_normals.tolist() == [[0, 0, 1]]
