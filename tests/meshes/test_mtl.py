"""MTL files: colours, opacity, textures and their options."""

import time
from pathlib import Path

import numpy as np
import pytest
from mesh_samples import TEXTURED, write
from PIL import Image

from cmah.meshes.mesh import Mesh, surface_colours
from cmah.meshes.mesh_loading import load_mesh
from cmah.meshes.mtl import TextureName, read_mtl
from cmah.meshes.mtl_textures import MOST_COMPOSED

QUARTERS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 0]]], np.uint8)  # upper row first


def loaded(folder: Path, mtl: str, text: str = TEXTURED) -> Mesh:
    write(folder / "m.mtl", mtl)
    return load_mesh(write(folder / "a.obj", text))


def looks(mesh: Mesh, u: float, v: float) -> list[float]:
    """The colour of the textured square at a place of it, in 0..1 both ways."""
    # the square is cut into (0, 1, 2) and (2, 3, 0) of its corners, counted from the lower left
    weights = [1 - u, u - v, v] if u >= v else [u, v - u, 1 - v]
    faces = np.array([0 if u >= v else 1])
    return surface_colours(mesh, faces, np.array([weights], np.float32))[0].round(3).tolist()


@pytest.mark.parametrize(("text", "expected"), [
    ("a.png", TextureName("a.png")),
    ("-s 2 -o 0.5 0.25 a b.png", TextureName("a b.png", (2, 1), (0.5, 0.25))),
    ("-S 2 2 1 -O 0 1 -CLAMP ON -mm 0.1 .5 -imfchan m -bm 1 -texres 64 -blendu off x", TextureName(
        "x", (2, 2), (0, 1), True, 0.1, 0.5, "m")),
    ("wood.png -s 2 2 2 -clamp on", TextureName("wood.png", (2, 2), clamp=True)),
    ('"a -b.png"', TextureName("a -b.png")), ("-1.png", TextureName("-1.png")),
    ("-type sphere -t 1 2 3 a.png", TextureName("a.png")), ("-s 1 1 1 2.png", TextureName("2.png")),
    ("-o", TextureName("-o")), ("a.png -s", TextureName("a.png -s")),
])  # fmt: skip
def test_options_of_textures(text: str, expected: TextureName) -> None:
    assert TextureName.parsed(text) == expected


def test_materials_are_read(tmp_path: Path) -> None:
    read = read_mtl(
        b"Kd 9 9 9\nnewmtl  old  oak \nKd 0.5 0.25 0 # brown\n\tD 0.5\nTr 0.1\nmap_Kd a.png\nmap_Ka b.png\n"
        b"Pr 1\nmap_Pr r.png\n"
        b"newmtl b\r\nKd .5\nTr 0.25\nmap_Ka b.png\nKe 0 0 0\nd -halo 0.75\n"
        b"newmtl c\nKd spectral x.rfl 1\nmap_Tr t.png\n"
        b"newmtl d\nKd xyz 0.9505 1 1.089\nnewmtl e\nTr 1\nKd 1 0\nNi\n"
    )
    oak, b, c, d, e = (read[name] for name in ("old oak", "b", "c", "d", "e"))
    assert oak.colour is not None
    assert (oak.colour.tolist(), oak.opacity) == ([0.5, 0.25, 0], 0.5)
    assert oak.colour_map == TextureName("a.png")
    assert oak.unread == []
    assert b.colour is not None
    assert (b.colour.tolist(), b.opacity, b.colour_map) == ([0.5, 0.5, 0.5], 0.75, TextureName("b.png"))
    assert (c.colour, c.unread) == (None, ["Kd spectral", "map_tr"])
    np.testing.assert_allclose(d.colour, [1, 1, 1], atol=1e-3)
    assert (e.colour, e.opacity, e.unread) == (None, 0, ["Kd 1"])


def test_colours_up_to_255_hold_for_the_whole_library() -> None:
    read = read_mtl(b"newmtl a\nKd 255 51 0\nnewmtl b\nKd 1 0 0\n")
    np.testing.assert_allclose(read["a"].colour, [1, 0.2, 0])
    np.testing.assert_allclose(read["b"].colour, [1 / 255, 0, 0])
    np.testing.assert_allclose(read_mtl(b"newmtl a\nKd 1.3 -0.2 0.5\n")["a"].colour, [1, 0, 0.5])


@pytest.mark.parametrize(("lines", "opacity", "remarks"), [
    ("d 1", 1, ()), ("d 0.5", 0.5, ()), ("Tr 0.4", 0.6, ()), ("Tr 0.4\nd 0.7", 0.7, ()), ("d 0.01", 0.35, ()),
    ("d 0", 1, ("opacity 0 taken as opaque (a)",)), ("Tr 1", 1, ("opacity 0 taken as opaque (a)",)), ("d x", 1, ()),
    ("d -3", 1, ("opacity 0 taken as opaque (a)",)), ("d 1,0", 1, ()), ("d", 1, ()), ("illum 4\nTf 1 1 1", 1, ()),
])  # fmt: skip
def test_opacity(tmp_path: Path, lines: str, opacity: float, remarks: tuple[str, ...]) -> None:
    mesh = loaded(tmp_path, f"newmtl a\nKd 1 0 0\n{lines}\n")
    np.testing.assert_allclose(mesh.face_rgba, [[1, 0, 0, opacity]] * 2)
    assert mesh.remarks == remarks


def test_options_move_scale_clamp_and_change_the_texture(tmp_path: Path) -> None:
    Image.fromarray(QUARTERS).resize((64, 64), Image.Resampling.NEAREST).save(tmp_path / "t.png")
    red, green, blue, yellow = [1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 1, 1], [1, 1, 0, 1]
    plain = loaded(tmp_path, "newmtl a\nmap_Kd t.png\n")
    assert [looks(plain, u, v) for u, v in ((0.2, 0.8), (0.8, 0.8), (0.2, 0.2), (0.8, 0.2))] == [
        red,
        green,
        blue,
        yellow,
    ]
    half = loaded(tmp_path, "newmtl a\nmap_Kd -s 0.5 0.5 1 -o 0.5 0.5 0 t.png\n")
    assert looks(half, 0.2, 0.2) == looks(half, 0.8, 0.8) == green
    twice = loaded(tmp_path, "newmtl a\nmap_Kd -s 2 2 t.png\n")
    assert looks(twice, 0.9, 0.9) == green
    assert looks(twice, 0.6, 0.6) == blue
    once = loaded(tmp_path, "newmtl a\nmap_Kd -s 4 4 -clamp on t.png\n")
    assert looks(once, 0.9, 0.9) == green
    assert looks(once, 0.1, 0.1) == blue
    paler = loaded(tmp_path, "newmtl a\nmap_Kd -mm 0.5 0.5 t.png\n")
    assert looks(paler, 0.2, 0.2) == pytest.approx([0.502, 0.502, 1, 1], abs=1e-3)


MASK = Image.fromarray(np.array([[0, 255], [255, 0]], np.uint8)).resize((64, 64), Image.Resampling.NEAREST)


def test_a_mask_makes_holes(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), (0, 255, 0)).save(tmp_path / "green.png")
    MASK.save(tmp_path / "mask.png")
    rgba = Image.new("RGBA", MASK.size, (9, 9, 9))
    rgba.putalpha(MASK)
    rgba.save(tmp_path / "alpha.png")
    Image.merge("RGB", (MASK, MASK.point(lambda value: 255), MASK.point(lambda value: 255))).save(
        tmp_path / "in_red.png"
    )
    for lines in (
        "map_Kd green.png\nmap_d mask.png", "map_d mask.png\nKd 0 1 0", "map_Kd green.png\nmap_d alpha.png",
        "map_Kd green.png\nmap_d -imfchan m alpha.png", "map_Kd green.png\nmap_d -imfchan r in_red.png",
        "Kd 0 1 0\nmap_Kd gone.png\nmap_d mask.png",
    ):  # fmt: skip
        mesh = loaded(tmp_path, f"newmtl a\n{lines}\n")
        assert looks(mesh, 0.8, 0.8) == looks(mesh, 0.2, 0.2) == [0, 1, 0, 1], lines
        assert looks(mesh, 0.2, 0.8)[3] == looks(mesh, 0.8, 0.2)[3] == 0, lines
        assert not mesh.opaque
    for lines in ("map_Kd alpha.png\nmap_d alpha.png", "map_Kd alpha.png"):
        mesh = loaded(tmp_path, f"newmtl a\n{lines}\n")
        assert looks(mesh, 0.8, 0.8)[3] == 1
        assert looks(mesh, 0.2, 0.8)[3] == 0
    # a picture without opacity that is named twice: its brightness is not meant
    assert loaded(tmp_path, "newmtl a\nmap_Kd green.png\nmap_d green.png\n").opaque
    mesh = loaded(tmp_path, "newmtl a\nmap_Kd green.png\nmap_d gone.png\n")
    assert (mesh.opaque, mesh.remarks) == (True, ("texture not found (gone.png)",))


def test_a_mask_that_cannot_be_read_costs_the_mask_alone(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), (0, 255, 0)).save(tmp_path / "green.png")
    MASK.save(tmp_path / "mask.png")
    (tmp_path / "mask.png").write_bytes((tmp_path / "mask.png").read_bytes()[:60])
    mesh = loaded(tmp_path, "newmtl a\nmap_Kd green.png\nmap_d mask.png\n")
    assert (looks(mesh, 0.2, 0.8), mesh.remarks) == ([0, 1, 0, 1], ("texture not readable (mask.png)",))


def test_a_library_cannot_ask_for_pictures_without_end(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), (200, 200, 200)).save(tmp_path / "t.png")
    names = range(MOST_COMPOSED + 5)
    mtl = "".join(f"newmtl m{number}\nmap_Kd -mm 0 {1 + number / 1000} t.png\n" for number in names)
    uses = "".join(f"usemtl m{number}\nf 1/1 2/2 3/3\n" for number in names)
    mesh = loaded(tmp_path, mtl, TEXTURED.partition("usemtl")[0] + uses)
    assert mesh.remarks == ("options of textures not applied (too many different ones)",)
    assert len(mesh.textures) == MOST_COMPOSED + 1


def test_what_is_seen_and_not_read_is_remarked(tmp_path: Path) -> None:
    mesh = loaded(
        tmp_path, "newmtl a\nKd spectral x.rfl\nmap_Tr t.png\nPm 1\nmap_bump b.png\nrefl -type sphere c.png\n"
    )
    assert mesh.remarks == ("statements of materials not read (Kd spectral, map_tr)",)


@pytest.mark.parametrize("line", [
    "map_Kd " + "-s " * 500000, "newmtl " + "x " * 500000, "Kd " + "1 " * 500000, "d " * 500000,
    "map_Kd a\n" * 100000, "newmtl a\nmap_Kd -mm 0 0.5 t.png\n" * 20000, "map_d " + "- " * 500000,
])  # fmt: skip
def test_strange_texts_take_no_square_of_time(line: str) -> None:
    started = time.process_time()
    read_mtl(b"newmtl a\n" + line.encode())
    assert time.process_time() - started < 5
