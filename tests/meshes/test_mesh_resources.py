"""The files that a mesh file names: found, confined, decoded within limits."""

import io
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from mesh_samples import TEXTURED, texture, write
from PIL import Image

from cmah.meshes.mesh_loading import load_mesh
from cmah.meshes.mesh_resources import ConfinedResolver, open_texture, texture_texels
from cmah.meshes.point_sampling import sample_points


@pytest.mark.parametrize(("said", "there"), [
    ("red.png", "red.png"),
    (".\\maps\\red.png", "maps/red.png"),
    ("-s 2 2 1 -clamp on red one.png", "red one.png"),
    ("Maps/RED.png", "maps/red.png"),
])  # fmt: skip
def test_textures_are_found(tmp_path: Path, said: str, there: str) -> None:
    texture(tmp_path / there)
    write(tmp_path / "m.mtl", f"newmtl a\nKd 0 0 0\nmap_Kd {said}\n")
    mesh = load_mesh(write(tmp_path / "a.obj", TEXTURED))
    np.testing.assert_allclose(sample_points(mesh, 50, 0)[:, 3:], [[1, 0, 0]] * 50, atol=1e-6)


@pytest.mark.parametrize(("said", "there"), [
    ("C:\\work\\wood.png", "beside/wood.png"), ("/home/me/tex/wood.png", "beside/wood.png"),
    ("D:/a/b/Wood.PNG", "beside/wood.png"),
    ("\\\\server\\share\\wood.png", "beside/wood.png"), ("file:///C:/tmp/wood.png", "beside/wood.png"),
    ("C:\\work\\tex\\wood.png", "beside/tex/wood.png"), ("../images/wood.png", "images/wood.png"),
    ("..\\..\\wood.png", "beside/wood.png"),
    ("tex/wood.png", "beside/wood.png"), ("wood.png", "textures/wood.png"), ("wood.png", "beside/Images/wood.png"),
    ("nin\u0303o.png", "beside/ni\u00f1o.png"), ("ni\u00f1o.png", "beside/NIN\u0303O.png"),
    ("../beside/../images/./wood.png", "images/wood.png"), ("my%20wood.png", "beside/my wood.png"),
    ("../../a/images/wood.png", "images/wood.png"),
])  # fmt: skip
def test_files_are_looked_for_where_people_keep_them(tmp_path: Path, said: str, there: str) -> None:
    (tmp_path / "root/a/beside").mkdir(parents=True)
    texture(tmp_path / "root/a" / there)
    resolver = ConfinedResolver(tmp_path / "root/a/beside", root=tmp_path / "root")
    assert resolver.get(said) == (tmp_path / "root/a" / there).read_bytes()
    if not there.startswith("beside/"):
        with pytest.raises(FileNotFoundError):
            ConfinedResolver(tmp_path / "root/a/beside").get(said)


def test_the_named_file_comes_before_its_namesakes(tmp_path: Path) -> None:
    for name in ("x/tex/wood.png", "x/wood.png", "x/textures/wood.png", "textures/wood.png", "maps/wood.png"):
        write(tmp_path / name, name)
    resolver = ConfinedResolver(tmp_path / "x", root=tmp_path)
    for said, given in (
        ("tex/wood.png", "x/tex/wood.png"), ("wood.png", "x/wood.png"), ("../maps/wood.png", "maps/wood.png"),
        ("C:/wood.png", "x/wood.png"), ("C:/tex/wood.png", "x/tex/wood.png"),
        (f"{tmp_path}/maps/wood.png", "maps/wood.png"),
        ("gone/wood.png", "x/wood.png"),
    ):  # fmt: skip
        assert resolver.get(said).decode() == given
    (tmp_path / "x/wood.png").unlink()
    resolver = ConfinedResolver(tmp_path / "x", root=tmp_path)
    assert resolver.get("wood.png").decode() == "x/textures/wood.png"


def test_paths_are_confined_and_cost_only_the_texture(tmp_path: Path) -> None:
    root, inside, outside = tmp_path / "root", tmp_path / "root/in", tmp_path / "out"
    texture(outside / "red.png")
    inside.mkdir(parents=True)
    (inside / "link.png").symlink_to(outside / "red.png")
    (inside / "linked").symlink_to(outside)
    (inside / "textures").symlink_to(outside)
    os.mkfifo(inside / "pipe.png")
    names = ["../../out/red.png", str(outside / "red.png"), "link.png", "linked/red.png", "pipe.png", "gone.png",
             "http://example.com/red.png", "file:///red.png", "C:\\red.png", "%2e%2e/%2e%2e/out/red.png", ".", "..", "",
             "../../../../../../etc/passwd", "/etc/passwd", "x" * 300, "x/" * 3000, "a\0b",
             "linked/../out/red.png"]  # fmt: skip
    for confined in (inside, root):
        resolver = ConfinedResolver(inside, root=confined)
        for name in names:
            with pytest.raises(FileNotFoundError):
                resolver.get(name)
            write(inside / "m.mtl", f"newmtl a\nKd 0 0 1\nmap_Kd {name}\n")
            mesh = load_mesh(write(inside / "a.obj", TEXTURED), root=confined)
            assert len(mesh.textures) == 0
            np.testing.assert_allclose(mesh.face_rgba[0], [0, 0, 1, 1], atol=1e-6)
            lost = [remark for remark in mesh.remarks if not remark.startswith("file outside the folder")]
            assert len(lost) == bool(name)
    write(inside / "a.obj", TEXTURED.replace("m.mtl", "../../out/n.mtl"))
    write(outside / "n.mtl", "newmtl a\nKd 0 1 0\n")
    for confined in (inside, root):
        assert not load_mesh(inside / "a.obj", root=confined).coloured


def test_a_mesh_outside_the_root_has_its_own_folder(tmp_path: Path) -> None:
    texture(tmp_path / "x/red.png")
    (tmp_path / "y").mkdir()
    assert ConfinedResolver(tmp_path / "x", root=tmp_path / "y").get("red.png")


GREY = np.full((4, 4), 16384, np.uint16)  # a quarter of full scale


def grey(pixels: Image.Image, alpha: int = 255) -> list[int]:
    texels = texture_texels(pixels, "blend")
    assert texels is not None
    assert (texels == texels[0, 0]).all()
    assert abs(int(texels[0, 0, 3]) - alpha) == 0
    return [int(value) for value in texels[0, 0, :3]]


def saved(image: Image.Image, form: str, **options: object) -> Image.Image:
    data = io.BytesIO()
    image.save(data, form, **options)
    return open_texture(data.getvalue(), "x")


def test_textures_of_every_depth_keep_their_values() -> None:
    quarter = [64, 64, 64]
    for form in ("PNG", "TIFF", "PPM", "JPEG2000"):
        assert grey(saved(Image.fromarray(GREY), form)) == quarter, form
    assert grey(saved(Image.fromarray(GREY), "PNG", transparency=16384), 0) == quarter
    assert grey(saved(Image.fromarray(GREY), "PNG", transparency=0)) == quarter
    assert grey(saved(Image.fromarray(GREY.astype(">u2")), "TIFF")) == quarter
    for values, expected in ((0.25, 64), (1.5, 255), (64.0, 64), (16384.0, 64), (np.nan, 0)):
        assert grey(saved(Image.fromarray(np.full((4, 4), values, np.float32)), "TIFF")) == [expected] * 3
    for value, expected in ((64, 64), (16448, 64), (2**29, 64), (-9, 0)):
        assert grey(saved(Image.fromarray(np.full((4, 4), value, np.int32)), "TIFF")) == [expected] * 3
    for mode, colour, expected in (
        ("L", 64, quarter), ("1", 1, [255] * 3), ("RGB", (1, 2, 3), [1, 2, 3]), ("CMYK", (255, 0, 0, 0), [0, 255, 255]),
    ):  # fmt: skip
        assert grey(saved(Image.new(mode, (4, 4), colour), "TIFF")) == expected
    for mode, colour, form in (
        ("LA", (64, 51), "PNG"),
        ("RGBA", (64, 64, 64, 51), "PNG"),
        ("RGBA", (64, 64, 64, 51), "TGA"),
    ):
        assert grey(saved(Image.new(mode, (4, 4), colour), form), 51) == quarter
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 64, 64, 64])
    assert grey(saved(palette, "PNG")) == quarter
    assert grey(saved(palette, "PNG", transparency=1), 0) == quarter
    assert grey(saved(palette, "PNG", transparency=bytes([0, 51])), 51) == quarter
    lab = saved(Image.new("LAB", (4, 4), (int(53.24 * 2.55), 128 + 80, 128 + 67)), "TIFF")  # red
    np.testing.assert_allclose(grey(lab), [255, 0, 0], atol=12)


def test_16_bits_in_colour_and_12_in_grey() -> None:
    def tiff(bits: tuple[int, ...], data: bytes) -> Image.Image:
        """A TIFF file of 4 x 1 pixels, written by hand."""
        tags = [(256, 3, 1, 4), (257, 3, 1, 1), (259, 3, 1, 1), (262, 3, 1, 1 if len(bits) == 1 else 2), (273, 4, 1, 8),
                (277, 3, 1, len(bits)), (278, 3, 1, 1), (279, 4, 1, len(data))]  # fmt: skip
        extra = struct.pack(f"<{len(bits)}H", *bits)
        tags.append((258, 3, len(bits), bits[0] if len(bits) == 1 else 8 + len(data)))
        body = b"II*\0" + struct.pack("<I", 8 + len(data) + len(extra)) + data + extra
        body += (
            struct.pack("<H", len(tags))
            + b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags))
            + bytes(4)
        )
        return open_texture(body, "x")

    assert grey(tiff((16, 16, 16), struct.pack("<12H", *[16384, 32768, 255] * 4))) == [64, 128, 0]
    assert grey(tiff((12,), bytes([0x40, 0x04, 0x00] * 2))) == [64, 64, 64]


def test_clear_and_opaque_textures_are_made_smaller_without_loss_of_colour() -> None:
    for alpha, kind in ((0, "blend"), (255, "blend"), (0, "ignore"), (7, "ignore")):
        texels = texture_texels(Image.new("RGBA", (3000, 10), (10, 200, 30, alpha)), kind)
        assert texels is not None
        assert texels.shape == (4, 1000, 4)
        assert (texels == [10, 200, 30, 255 if kind == "ignore" else alpha]).all()
    cut = texture_texels(Image.new("RGBA", (1, 1), (1, 2, 3, 100)), "mask", 0.3)
    assert cut is not None
    assert cut.tolist() == [[[1, 2, 3, 255]]]


@pytest.mark.parametrize(
    "data", [b"", b"x", b"\x89PNG\r\n\x1a\n", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"]
)
def test_what_is_no_picture_is_an_error_of_the_file(data: bytes) -> None:
    with pytest.raises(OSError, match=r"."):
        open_texture(data, "x")


def test_large_and_broken_textures(tmp_path: Path) -> None:
    write(tmp_path / "m.mtl", "newmtl a\nKd 0 0 1\nmap_Kd t.png\n")
    path = write(tmp_path / "a.obj", TEXTURED)
    Image.new("1", (12000, 12000)).save(tmp_path / "t.png")
    assert load_mesh(path).remarks == ("texture not readable (t.png)",)
    texture(tmp_path / "t.png", (3000, 1500))
    assert load_mesh(path).textures.tolist() == [[0, 500, 1000]]
    (tmp_path / "t.png").write_bytes((tmp_path / "t.png").read_bytes()[:200])
    mesh = load_mesh(path)
    assert len(mesh.textures) == 0
    assert mesh.remarks == ("texture not readable (t.png)",)
    np.testing.assert_allclose(mesh.face_rgba[0], [0, 0, 1, 1])


def test_what_lies_outside_is_told_as_such(tmp_path):
    """A link beside the mesh to a file elsewhere: it is there, and it is not read."""
    (tmp_path / "store").mkdir()
    (tmp_path / "store/0a1b").write_text("newmtl red\nKd 1 0 0\n")
    (tmp_path / "meshes").mkdir()
    (tmp_path / "meshes/a.mtl").symlink_to(tmp_path / "store/0a1b")
    (tmp_path / "meshes/a.obj").write_text("mtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    remarks = load_mesh(tmp_path / "meshes/a.obj").remarks
    assert remarks == ("material library not found (a.mtl)", "file outside the folder is not read (a.mtl)")
    assert load_mesh(tmp_path / "meshes/a.obj", root=tmp_path).remarks == ()


def test_a_link_to_itself_costs_what_it_is_named_for(tmp_path):
    (tmp_path / "a.mtl").symlink_to("a.mtl")
    mesh = load_mesh(write(tmp_path / "a.obj", "mtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"))
    assert mesh.remarks == ("material library not found (a.mtl)",)
