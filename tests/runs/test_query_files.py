"""Files and folders as queries: which files they are, what they are called, and what is refused."""

import codecs
import io
import os
import sys
from pathlib import Path

import pytest

from cmah.errors import CmahError
from cmah.file_names import readable_name
from cmah.preparing.shape_ids import find_meshes
from cmah.runs.query_files import is_mesh, query_files, read_list


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Pictures, meshes, and what is neither, in a folder of folders."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "toys/b/z.JPG", "toys/b/a.obj", "toys/c.png", "toys/c_mask.png", "toys/alone_mask.png", "toys/notes.txt",
        "toys/.hidden.png", "toys/.git/x.png", "toys/__MACOSX/x.png", "toys/a.mtl", "empty/readme.md", "toys/d.npy",
    ):  # fmt: skip
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    Path("toys/linked").symlink_to(tmp_path / "empty", target_is_directory=True)
    return tmp_path


def test_a_folder_is_all_pictures_and_meshes_in_it(folder):
    files, refused, lines = query_files(Path("toys"))
    names = ["toys/alone_mask.png", "toys/b/a.obj", "toys/b/z.JPG", "toys/c.png"]
    assert [file.name for file in files] == [str(file.path) for file in files] == names
    assert (refused, lines) == ([], ["toys: 3 pictures and 1 mesh"])


def test_one_or_many_of_any_kind_in_the_order_given(folder):
    assert [file.name for file in query_files("toys/d.npy")[0]] == ["toys/d.npy"]
    given = (name for name in ["toys/c.png", Path("toys/b"), "empty", "missing.jpg", "https://x.org/a.jpg"])
    files, refused, _ = query_files(given)
    assert [file.name for file in files] == ["toys/c.png", "toys/b/a.obj", "toys/b/z.JPG", "missing.jpg"]
    assert [name for name, _ in refused] == ["empty", "https://x.org/a.jpg"]
    assert refused[0][1].startswith("empty: no pictures or meshes in it (expected *.jpg")
    assert refused[1][1].endswith("a URL, expected a path; download it first")


def test_what_is_no_file_in_a_folder_is_counted(folder):
    os.mkfifo("toys/pipe.png")
    Path("toys/b/gone.obj").symlink_to("nowhere.obj")
    Path("empty/gone.png").symlink_to("nowhere.png")
    _, refused, lines = query_files(["toys", "empty"])
    assert lines == ["toys: 3 pictures and 1 mesh; 2 passed over (no ordinary file, or a link to none)"]
    assert refused[0][1].endswith("; 1 passed over (no ordinary file, or a link to none)")


@pytest.mark.parametrize("wrong", [7, None, b"a.jpg", [7], ["a.jpg", b"b.jpg"]])
def test_what_is_no_path_is_refused(wrong):
    with pytest.raises(CmahError, match=r"expected a path"):
        query_files(wrong)


@pytest.mark.parametrize("wrong", ["", ["toys/c.png", ""]])
def test_an_empty_path_is_not_the_current_folder(folder, wrong):
    with pytest.raises(CmahError, match="a file is an empty path, expected"):
        query_files(wrong)


def test_meshes_have_the_ids_that_prepare_gives_them(folder):
    def ids(given, prepared=()):
        return [file.shape_id for file in query_files(given, prepared)[0] if file.path.suffix == ".obj"]

    mesh, top = Path("toys/b/a.obj"), str(folder.resolve())
    assert ids(mesh) == ["toys/b/a.obj"]  # in no folder: as given
    assert ids("toys") == ["b.a.obj"]
    prepared = [{"path": f"{top}/toys", "prefix": ""}]
    assert ids(mesh, prepared) == ids(mesh.resolve(), prepared) == ids("toys/b", prepared) == ["b.a.obj"]
    prepared = [{"path": top, "prefix": ""}, {"path": f"{top}/toys/b", "prefix": "new"}]
    assert ids("toys", prepared) == ["new.a.obj"]  # the innermost counts
    assert ids("toys", [{"path": f"{top}/other", "prefix": ""}]) == ["b.a.obj"]


def test_ids_equal_those_of_prepare_whatever_the_files_are_called(folder):
    Path("toys/linked.off").symlink_to(folder / "toys/b/a.obj")  # a link keeps its own name
    for name in ("toys/no 7.GLB", os.fsdecode(b"toys/b/caf\xe9.obj"), "toys/train/chair/x.stl"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    Path("elsewhere").symlink_to("toys", target_is_directory=True)
    prepared = [{"path": f"{folder.resolve()}/toys", "prefix": "p"}]
    sources = find_meshes("toys")
    assert len(sources) == 5
    for source in sources:
        for path in (source.path, source.path.absolute(), Path("elsewhere", source.path.relative_to("toys"))):
            assert [file.shape_id for file in query_files(path)[0]] == [readable_name(path)]
            assert [file.shape_id for file in query_files(path, prepared)[0]] == [f"p.{source.shape_id}"]
    ids = [file.shape_id for file in query_files("toys")[0] if is_mesh(file.path)]
    assert ids == [source.shape_id for source in sources]


def test_ids_of_meshes_whose_folder_has_become_a_link(folder):
    prepared = [{"path": f"{folder.resolve()}/toys", "prefix": ""}]
    Path("toys").rename("moved")
    Path("toys").symlink_to("moved", target_is_directory=True)
    for given in ("toys/b", "toys/b/a.obj", "moved/b/a.obj", (folder / "toys/b/a.obj").resolve()):
        assert [file.shape_id for file in query_files(given, prepared)[0] if is_mesh(file.path)] == [
            "b.a.obj"
        ]


def test_lists_of_files(tmp_path, monkeypatch):
    data = b"a.jpg\r\n\n  \nb c.jpg\ncaf\xe9.jpg"
    (tmp_path / "list.txt").write_bytes(data)
    expected = ["a.jpg", "b c.jpg", os.fsdecode(b"caf\xe9.jpg")]
    assert read_list(tmp_path / "list.txt") == expected
    (tmp_path / "marked.txt").write_bytes(codecs.BOM_UTF8 + data)
    assert read_list(tmp_path / "marked.txt") == expected
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert read_list("-") == expected
    (tmp_path / "list.txt").write_bytes(b"\n")
    with pytest.raises(CmahError, match=r"list\.txt: names no file, expected a path on each line"):
        read_list(tmp_path / "list.txt")
    with pytest.raises(CmahError, match=r"none\.txt: cannot be read \(No such file"):
        read_list(tmp_path / "none.txt")


def test_pipes_and_links_that_lead_nowhere_are_counted(tmp_path):
    for name in ("a.jpg", "b.obj"):
        (tmp_path / name).touch()
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "link.obj").symlink_to("nowhere.obj")
    (tmp_path / "link.txt").symlink_to("nowhere.txt")  # not asked for by its suffix
    taken, refused, lines = query_files(tmp_path)
    assert [file.path.name for file in taken] == ["a.jpg", "b.obj"]
    assert (refused, lines) == (
        [],
        [f"{tmp_path}: 1 picture and 1 mesh; 2 passed over (no ordinary file, or a link to none)"],
    )


def test_a_name_that_is_too_long_costs_itself_only(tmp_path: Path) -> None:
    (tmp_path / "a.obj").touch()
    taken, refused, _ = query_files(["x" * 5000 + ".obj", tmp_path / "a.obj"])
    assert [file.path.name for file in taken] == ["a.obj"]
    ((_, reason),) = refused
    assert reason.endswith("cannot be read (File name too long)")


def test_meshes_are_no_masks(tmp_path: Path) -> None:
    for name in ("cup.obj", "cup_mask.obj", "cup.jpg", "lid.jpg", "lid_mask.png"):
        (tmp_path / name).touch()
    taken, _, _ = query_files(tmp_path)
    assert [file.path.name for file in taken] == ["cup.jpg", "cup.obj", "cup_mask.obj", "lid.jpg"]
