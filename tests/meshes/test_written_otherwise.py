"""One red sheet of 1 x 2, as exporters of every format write it: in their spelling, order, scale and names."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cmah.meshes.mesh import surface_colours
from cmah.meshes.mesh_loading import load_mesh

CORNERS = ("0 0 0", "1 0 0", "1 2 0", "0 2 0")
V = "".join(f"v {corner}\n" for corner in CORNERS)
VT = "vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
TEXTURED = "usemtl r\nf 1/1 2/2 3/3 4/4\n"
KD = "newmtl r\nKd 1 0 0\n"


def picture() -> bytes:
    data = BytesIO()
    Image.new("RGB", (4, 4), (255, 0, 0)).save(data, "PNG")
    return data.getvalue()


def colours(folder: Path, name: str, **files: str | bytes) -> tuple[np.ndarray, tuple[str, ...]]:
    """Write files, read one, check its shape; its colours float32 [faces, 4], and what is remarked."""
    for path, content in files.items():
        (folder / path).write_bytes(content if isinstance(content, bytes) else content.encode())
    mesh = load_mesh(folder / name)
    size = np.ptp(mesh.vertices, axis=0)
    np.testing.assert_allclose(size / size[0], [1, 2, 0], atol=1e-5)
    assert mesh.face_areas.sum() == pytest.approx(1.6)
    middles = np.full((len(mesh.faces), 3), 1 / 3, np.float32)
    return surface_colours(mesh, np.arange(len(mesh.faces)), middles), mesh.remarks


def assert_red(found: tuple[np.ndarray, tuple[str, ...]], *remarks: str) -> None:
    assert found[1] == remarks
    np.testing.assert_allclose(found[0], [[1, 0, 0, 1]] * len(found[0]), atol=1e-6)


@pytest.mark.parametrize("line", [
    'mtllib "my a.mtl"', "mtllib 'my a.mtl'", 'mtllib "b.mtl" "my a.mtl"', "mtllib b.mtl my a.mtl",
    "mtllib .\\my a.mtl",
    "mtllib my a.mtl # materials", "mtllib b.mtl \\\n my a.mtl", "mtllib C:\\Users\\x\\MY A.MTL",
    "mtllib\tb.mtl\nmtllib\tmy a.mtl",
])  # fmt: skip
@pytest.mark.parametrize("name", ["r", '"r"', "R", "r # red"])
def test_libraries_and_materials(tmp_path: Path, line: str, name: str) -> None:
    text = f"{line}\n{V}usemtl {name}\nf 1 2 3 4\n"
    files = {"x.obj": text, "my a.mtl": KD, "b.mtl": "newmtl b\nKd 0 0 1\n"}
    assert_red(colours(tmp_path, "x.obj", **files))


def test_a_library_that_is_not_named(tmp_path: Path) -> None:
    text = f"{V}usemtl r\nf 1 2 3 4\n"
    assert_red(colours(tmp_path, "x.obj", **{"x.obj": text, "x.mtl": KD}))
    two = "mtllib x.mtl\n" + text.replace("usemtl r\n", "")
    _, remarks = colours(tmp_path, "x.obj", **{"x.obj": two, "x.mtl": KD + "newmtl b\nKd 0 0 1\n"})
    assert remarks == ("materials that no face names (2)",)


@pytest.mark.parametrize("statements", [
    "Kd 1.0 0.0 0.0", "Kd 255 0 0", "Kd 2 0 0", "Kd 1.5 0 0", "Kd 1,0 0,0 0,0", "KD\t1 0 0", "Kd 1 0 0 # red",
    "map_Kd t.png",
    "map_Kd 't.png'", 'map_Kd "t.png"', "map_Kd t.png # wood", "map_Kd T.PNG", "map_Kd \\\\server\\share\\t.png",
    "map_Kd C:\\my work\\t.png", "map_Kd ../../tex/t.png", "map_Kd http://x.org/t.png?raw=true",
    "map_Kd file:///C:/t.png",
    "map_Kd -bm 1 -s 2 2 2 -o .5 0 0 -clamp on t.png", "map_Kd t.png -s 2 2 2", "Kd 0 0 0\nmap_Kd t.png",
    "map_Ka t.png",
    "Kd 0 0 0\nKe 1 0 0", "Kd 0 0 0\nKe 9 0 0", "Kd 0 0 0\nmap_Ke t.png", "Kd 1 0 0\nKe 0 0 0", "Kd 1 0 0\nTr 1\nd 1",
    "Kd 1 0 0\nd 1\nTr 1", "Kd 1 0 0\nTr 0", "Kd 1 0 0\nd 50",
])  # fmt: skip
def test_materials(tmp_path: Path, statements: str) -> None:
    files = {
        "x.obj": "mtllib m.mtl\n" + V + VT + TEXTURED,
        "m.mtl": f"newmtl r\n{statements}\n",
        "t.png": picture(),
    }
    assert_red(colours(tmp_path, "x.obj", **files))


@pytest.mark.parametrize(("statements", "remark"), [
    ("Kd 1 0 0\nKe 0 1 0", "statements of materials not read (Ke)"),
    ("map_Kd t.png\nmap_Ke t.png", "statements of materials not read (map_ke)"),
    ("Kd 1 0 0\nTr 1", "opacity 0 taken as opaque (r)"), ("Kd 1 0 0\nmap_d gone.png", "texture not found (gone.png)"),
])  # fmt: skip
def test_materials_that_lose_something(tmp_path: Path, statements: str, remark: str) -> None:
    files = {
        "x.obj": "mtllib m.mtl\n" + V + VT + TEXTURED,
        "m.mtl": f"newmtl r\n{statements}\n",
        "t.png": picture(),
    }
    assert_red(colours(tmp_path, "x.obj", **files), remark)


def red(text: str, colour: str = "1 0 0") -> str:
    """Vertices with a colour behind them."""
    return text.replace(" 0\n", f" 0 {colour}\n")


@pytest.mark.parametrize("text", [
    red(V) + "f 1 2 3 4\n", red(V, "255 0 0") + "f 1 2 3 4\n", red(V, "255.0 0 0 255") + "f -4 -3 -2 -1\n",
    red(V) + "o a\ng b c\ns off\nf 1 2 3\ns 1\ng\nf 1 3 4\n", red(V) + "f 1 2 \\\n 3 4\n",
    red(V) + "vn 0 0 1\nf 1//1 2//1 3//1 4//1\n",
    red(V) + "f 1/ 2/ 3// 4\n", "f 1 2 3 4\n" + red(V), red(V) + "f 1 2 3 4 # sheet", red(V) + "f 1 2 2 3 4\n",
    (red(V) + "f 1 2 3 4\n").replace("1 2 0", "1.0D+00 2d0 0"),
    (red(V, "1,0 0 0") + "f 1 2 3 4\n").replace("v 1 2", "v 1,0 2,0"),
    red(V).replace("0 1 0 0", "0.0, 1, 0, 0") + "f 1 2 3 4\n",
])  # fmt: skip
@pytest.mark.parametrize("form", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "cr", "crlf", "tabs"])
def test_obj(tmp_path: Path, text: str, form: str) -> None:
    text = text.replace("\n", {"cr": "\r", "crlf": "\r\n"}.get(form, "\n")).replace(
        " ", "\t" if form == "tabs" else " "
    )
    assert_red(colours(tmp_path, "x.obj", **{"x.obj": text.encode(form if "utf" in form else "utf-8")}))


def off(header: str, behind: str = "", face: str = "4 0 1 2 3", counts: str = "4 1 0") -> str:
    return "\n".join([header, counts, *(corner + behind for corner in CORNERS), face]) + "\n"


@pytest.mark.parametrize("text", [
    off("COFF", " 255 0 0 255"), off("COFF", " 255 0 0 1"), off("COFF", " 1.0 0 0 1.0"), off("COFF", " 1 0 0"),
    off("OFF", " 255 0 0"),
    off("CNOFF", " 0 0 1 1 0 0 1"), off("STCNOFF", " 0 0 1 1 0 0 1 .5 .5"), off("CnOFF\n3", " 1 0 0 1"),
    off("OFF", face="4 0 1 2 3 255 0 0"),
    off("OFF", face="4 0 1 2 3 1.0 0 0 1 # red", counts="4 1"), off("COFF", " 255 255 255", "4 0 1 2 3 255 0 0"),
    off("# c\nCOFF", " 1 0 0 1 # corner").replace("OFF\n", "OFF "), " ".join(off("COFF", " 1 0 0 1").split()) + "\n",
    off("COFF", " 1 0 0 1").replace("4 1 0", "4\n1\n0"), off("COFF", " 1 0 0 1").replace("1 2 0", "1D0 2.0D+0 0"),
    off("COFF", " 1,0 0,0 0,0 1,0"),
])  # fmt: skip
@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\n\n"])
def test_off(tmp_path: Path, text: str, end: str) -> None:
    assert_red(colours(tmp_path, "x.off", **{"x.off": text.replace("\n", end)}))


def ply(
    rows: str,
    behind: str,
    faces: str = "list uchar int vertex_indices",
    face: str = "4 0 1 2 3",
    comment: str = "",
) -> str:
    header = f"ply\nformat ascii 1.0\n{comment}element vertex 4\n" + "".join(
        f"property float {axis}\n" for axis in "xyz"
    )
    header += "".join(f"property {row}\n" for row in rows.split(", ") if row) + "element face 1\n"
    header += "".join(f"property {row}\n" for row in faces.split(", ")) + "end_header\n"
    return header + "".join(f"{corner}{behind}\n" for corner in CORNERS) + face + "\n"


RGB = "uchar red, uchar green, uchar blue"
UV_LIST = "list uchar int vertex_indices, list uchar float "
UV_FACE = "4 0 1 2 3 8 0 0 1 0 1 1 0 1"


@pytest.mark.parametrize("text", [
    ply(RGB, " 255 0 0"), ply(RGB.replace("uchar", "float"), " 1 0 0"), ply(RGB.replace("uchar", "float"), " 255 0 0"),
    ply(RGB.replace("uchar", "ushort"), " 65535 0 0"), ply(RGB.replace("uchar ", "uchar diffuse_"), " 255 0 0"),
    ply(RGB + ", uchar alpha", " 255 0 0 255"), ply(RGB + ", float alpha", " 255 0 0 1.0"),
    ply(RGB, " 255 0 0", "list int uint vertex_index"),
    ply(RGB, " 255 0 0", "list uint8 uint8 corners"),
    ply(RGB, " 255 0 0", "float w, list uchar int vertex_indices", "1 4 0 1 2 3"),
    ply("", "", "list uchar int vertex_indices, " + RGB, "4 0 1 2 3 255 0 0"),
    ply("", "", RGB + ", list uchar int vertex_indices", "255 0 0 4 0 1 2 3"),
    *(ply(f"float {u}, float {v}", " 0.5 0.5", comment="comment TextureFile t.png\n")
      for u, v in (("s", "t"), ("texture_u", "texture_v"), ("tx", "ty"), ("tu", "tv"), ("texcoord_u", "texcoord_v"))),
    *(ply("", "", UV_LIST + name, UV_FACE, "comment TextureFile C:\\x\\t.png\n") for name in ("texcoord", "texcoords")),
    ply("float s, float t", " 0 0", comment="comment texture: t.png\n"),
    ply(RGB, " 255 0 0").replace("1 2 0", "1D0 2.0D0 0"),
])  # fmt: skip
@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_ply(tmp_path: Path, text: str, end: str) -> None:
    assert_red(colours(tmp_path, "x.ply", **{"x.ply": text.replace("\n", end), "t.png": picture()}))


def test_ply_that_loses_something(tmp_path: Path) -> None:
    text = ply(RGB, " 255 0 0", "list uchar int vertex_indices, " + RGB, "4 0 1 2 3 0 0 255")
    remark = "colours of faces under those of vertices not shown"
    assert_red(colours(tmp_path, "x.ply", **{"x.ply": text}), remark)
    text = ply(RGB, " 255 0 0").replace("end_header", "element edge 1\nproperty int a\nend_header") + "0\n"
    assert_red(colours(tmp_path, "x.ply", **{"x.ply": text}), "lines not shown (1)")
    text = ply("", "", UV_LIST + "texcoord, int texnumber", UV_FACE + " 1", "comment TextureFile t.png\n")
    _, remarks = colours(tmp_path, "x.ply", **{"x.ply": text, "t.png": picture()})
    assert remarks == ("texture not found (by its number, 1 faces)",)


def test_off_that_loses_something(tmp_path: Path) -> None:
    text = off("COFF", " 255 0 0", "4 0 1 2 3 0 0 255")
    assert_red(
        colours(tmp_path, "x.off", **{"x.off": text}), "colours of faces under those of vertices not shown"
    )
