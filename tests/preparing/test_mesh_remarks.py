"""What meshes lost in preparing: the column, the list, and the counts."""

import csv
import json
from pathlib import Path

import pytest

from cmah.data.dataset import Dataset
from cmah.preparing.mesh_remarks import counts_of, lines_of_remarks, read_remarks, write_remarks
from cmah.preparing.preparing import prepare

PYRAMID = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nvt 0 0\nvt 1 0\nvt 0 1\n"
FACES = "f 1/1 2/2 3/3\nf 1/1 2/2 4/3\nf 2/1 3/2 4/3\nf 1/1 3/2 4/3\n"
SMALL = {"views": 2, "image_size": 24, "points": 50, "jobs": 1}


def put(folder: Path, name: str, texture: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.obj").write_text(f"mtllib {name}.mtl\n{PYRAMID}usemtl m\n{FACES}")
    (folder / f"{name}.mtl").write_text(f"newmtl m\nKd 1 0 0\nmap_Kd {texture}\n")


def test_a_lost_texture_is_a_remark_until_it_is_there(tmp_path: Path) -> None:
    from PIL import Image

    meshes, out = tmp_path / "meshes", tmp_path / "out"
    put(meshes / "box", "lost", "nowhere.png")
    put(meshes / "box/models", "kept", "../images/wood.png")
    (meshes / "box/images").mkdir()
    Image.new("RGB", (2, 2), (0, 255, 0)).save(meshes / "box/images/wood.png")
    dataset = prepare(meshes, out, **SMALL)
    lost = str((meshes / "box/lost.obj").resolve())
    assert read_remarks(out) == [(lost, "texture not found (nowhere.png)")]
    assert {shape.shape_id: shape.extra.get("remarks") for shape in dataset.shapes} == {
        "box.lost.obj": "texture not found (nowhere.png)",
        "box.models.kept.obj": None,
    }
    green = next(shape for shape in dataset.shapes if "kept" in shape.shape_id)
    assert dataset.load_points(green)[:, 3:].astype(float).mean(axis=0).round(2).tolist() == [0, 1, 0]
    again = prepare(meshes, out, **SMALL)  # nothing is made anew, and the remark stays
    assert again.shapes == dataset.shapes
    assert [shape.extra["remarks"] for shape in Dataset.read(out).shapes] == [
        "texture not found (nowhere.png)",
        "",
    ]

    Image.new("RGB", (2, 2), (0, 0, 255)).save(meshes / "box/nowhere.png")
    with open(meshes / "box/lost.obj", "a") as file:  # a mesh is made anew when its own file has changed
        file.write("# textured now\n")
    mended = prepare(meshes, out, **SMALL)
    assert all("remarks" not in shape.extra or not shape.extra["remarks"] for shape in mended.shapes)
    assert not (out / "remarks.csv").exists()


def test_the_command_counts_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from cmah.cli.main import main

    for name in ("a", "b"):
        put(tmp_path / "meshes", name, f"none_{name}.png")
    options = ["--views", "2", "--image-size", "24", "--points", "50", "-j", "1"]
    arguments = ["prepare", str(tmp_path / "meshes"), str(tmp_path / "out"), *options]
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert not stopped.value.code
    text = capsys.readouterr().out
    assert f"2 of 2 shapes lost something each, listed in {tmp_path / 'out/remarks.csv'}:" in text
    assert "      2  texture not found\n" in text
    with pytest.raises(SystemExit):
        main([*arguments, "--json"])
    remarks = json.loads(capsys.readouterr().out)["remarks"]
    assert [each["remark"] for each in remarks] == [
        f"texture not found (none_{name}.png)" for name in ("a", "b")
    ]


def test_counts_are_of_meshes_and_the_list_is_guarded(tmp_path: Path) -> None:
    rows = [
        ("a.obj", "texture not found (1)"),
        ("a.obj", "texture not found (2)"),
        ("b.obj", "texture not found"),
    ]
    rows += [("=b.obj", "extension not applied (KHR_x)")]
    assert counts_of(rows) == [("texture not found", 2), ("extension not applied", 1)]
    write_remarks(tmp_path, rows)
    assert read_remarks(tmp_path) == rows
    with open(tmp_path / "remarks.csv", newline="") as file:
        assert [row[0] for row in csv.reader(file)][-1] == "'=b.obj"
    write_remarks(tmp_path, [])
    assert read_remarks(tmp_path) == []


def test_few_meshes_have_a_line_each_and_many_are_counted() -> None:
    few = [(f"{i // 5}.obj", f"texture not found ({i}.png)") for i in range(15)]
    lines = lines_of_remarks(few, 40, "see remarks.csv")
    assert [line.split(":")[0] for line in lines] == [f"remark on {i}.obj" for i in range(3)]
    assert lines[1].endswith(
        "texture not found (5.png); texture not found (6.png); texture not found (7.png); and 2 more"
    )
    many = [(f"{i}.obj", "texture not found (a)") for i in range(1100)] + [("7.obj", "lines not shown (3)")]
    assert lines_of_remarks(many, 1200, "see remarks.csv") == [
        "1,100 of 1,200 meshes lost something each: 1,100 texture not found, 1 lines not shown; see remarks.csv"
    ]
    assert lines_of_remarks([], 40, "see remarks.csv") == []
