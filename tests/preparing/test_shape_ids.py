"""Ids, categories and splits from paths."""

import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cmah.errors import CmahError
from cmah.preparing.shape_ids import (
    check_prefix,
    find_meshes,
    shape_id_in,
    shape_id_of,
    split_of,
    with_prefix,
)

NAMES = st.text(min_size=1, max_size=8).filter(lambda part: "/" not in part and "\0" not in part)


def put(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("v 0 0 0\n")


def test_layouts(tmp_path: Path) -> None:
    put(tmp_path, "x.obj", "chair/a.glb", "chair/07/seat.OBJ", "bed/train/b.off", "bed/test/b.off", "val/sofa/c.ply",
        "train/d.stl", ".hidden/e.obj", "chair/.e.obj", "__MACOSX/chair/f.obj", "chair/readme.txt")  # fmt: skip
    found = {source.relative: (source.category, source.split) for source in find_meshes(tmp_path)}
    assert found == {
        "bed/test/b.off": ("bed", "test"),
        "bed/train/b.off": ("bed", "train"),
        "chair/07/seat.OBJ": ("chair", ""),
        "chair/a.glb": ("chair", ""),
        "train/d.stl": ("", "train"),
        "val/sofa/c.ply": ("sofa", "val"),
        "x.obj": ("", ""),
    }
    (single,) = find_meshes(tmp_path / "chair/a.glb")
    assert (single.relative, single.category) == ("a.glb", "")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CmahError, match="no meshes"):
        find_meshes(tmp_path / "empty")
    with pytest.raises(CmahError, match="no such"):
        find_meshes(tmp_path / "gone")
    with pytest.raises(CmahError, match="not a mesh file"):
        find_meshes(tmp_path / "chair/readme.txt")


def test_the_dataset_folder_within_the_meshes_is_passed_over(tmp_path: Path) -> None:
    put(tmp_path, "meshes/a.obj", "meshes/out/b.obj", "meshes/deep/out/c.obj")
    (tmp_path / "link").symlink_to(tmp_path / "meshes/out")
    for out in (tmp_path / "meshes/out", tmp_path / "link"):
        found = [source.relative for source in find_meshes(tmp_path / "meshes", out)]
        assert found == ["a.obj", "deep/out/c.obj"]


def test_a_folder_that_cannot_be_read_is_no_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its meshes would count as deleted."""
    put(tmp_path, "a.obj", "locked/b.obj")
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(CmahError, match=r"locked: cannot be read \(Permission denied\)"):
        find_meshes(tmp_path)


def test_the_id_of_a_path_is_that_of_the_mesh_found_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(
        tmp_path,
        "a/x.obj",
        "a/chair/no 7.GLB",
        "a/ä/y.ply",
        "a/chair/photo.jpg",
        "a/.hidden/z.obj",
        "a/.z.obj",
        "b/x.obj",
    )
    (tmp_path / "a/same.off").symlink_to(tmp_path / "b/x.obj")
    (tmp_path / "linked").symlink_to(tmp_path / "a")
    folders = [{"path": str((tmp_path / "a").resolve()), "prefix": "old"}]
    for root in (tmp_path / "a", tmp_path / "linked"):
        for source in find_meshes(root):
            expected = with_prefix("old", source.shape_id)
            assert shape_id_in(folders, source.path) == expected
            assert shape_id_in(folders, str(source.path)) == expected
    monkeypatch.chdir(tmp_path / "a/chair")
    assert shape_id_in(folders, "../x.obj") == "old.x.obj"
    for none in ("photo.jpg", "../.hidden/z.obj", "../.z.obj", "../../b/x.obj", "../../ax/x.obj"):
        assert shape_id_in(folders, none) is None
    assert shape_id_in([], "../x.obj") is None
    inner = {"path": str((tmp_path / "a/chair").resolve()), "prefix": ""}
    assert shape_id_in([*folders, inner], "no 7.GLB") == shape_id_of("no 7.GLB")


def test_the_id_of_a_path_that_is_no_text(tmp_path: Path) -> None:
    os.mkdir(os.fsencode(tmp_path) + b"/ch\xffir")
    with open(os.fsencode(tmp_path) + b"/ch\xffir/a\nb.obj", "wb"):
        pass
    (source,) = find_meshes(tmp_path)
    assert shape_id_in([{"path": str(tmp_path.resolve()), "prefix": ""}], source.path) == source.shape_id


@pytest.mark.parametrize("prefix", ["a b", "a.b", "a/b", "..", "ä", "x" * 41, "a\n"])
def test_wrong_prefixes(prefix: str) -> None:
    with pytest.raises(CmahError, match="expected up to 40 letters"):
        check_prefix(prefix)


def test_ids() -> None:
    assert shape_id_of("chair/07/seat.obj") == "chair.07.seat.obj"
    odd = [
        shape_id_of(name)
        for name in ("a b.obj", "a_b.obj", "a/b.obj", "a.b.obj", "ä.obj", "å.obj", "a" * 300 + ".obj")
    ]
    assert len(set(odd)) == len(odd)
    assert all(len(name) < 130 and name.isascii() and "/" not in name and " " not in name for name in odd)


@given(st.lists(NAMES, min_size=1), st.lists(NAMES, min_size=1))
def test_different_paths_have_different_ids(one: list[str], two: list[str]) -> None:
    first, second = "/".join(one) + ".obj", "/".join(two) + ".obj"
    assert (shape_id_of(first) == shape_id_of(second)) == (first == second)
    assert shape_id_of(first)[0] != "."


def test_names_that_are_no_text(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/ch\xffir"
    os.mkdir(folder)
    for name in (b"a\xfe.obj", b"a\nb.obj"):
        with open(folder + b"/" + name, "wb"):
            pass
    sources = find_meshes(tmp_path)
    assert len({source.shape_id for source in sources}) == 2
    for source in sources:
        assert source.path.exists()
        assert source.relative.isprintable()
        source.relative.encode("utf-8")


def test_splits_are_stable_and_near_the_fractions() -> None:
    splits = {f"chair.{i}.obj": split_of(f"chair.{i}.obj", (0.8, 0.1, 0.1)) for i in range(4000)}
    counts = Counter(splits.values())
    assert counts["train"] / 4000 == pytest.approx(0.8, abs=0.03)
    assert counts["val"] / 4000 == pytest.approx(0.1, abs=0.02)
    assert split_of("chair.0.obj", (1.0, 0.0, 0.0)) == "train"
    assert split_of("chair.0.obj", (0.0, 0.0, 1.0)) == "test"
    # pinned: a change would move shapes between splits of data sets that exist
    pinned = [
        "train",
        "test",
        "train",
        "train",
        "test",
        "train",
        "val",
        "val",
        "train",
        "train",
        "train",
        "train",
    ]
    assert [splits[f"chair.{i}.obj"] for i in range(12)] == pinned


def test_links_that_are_passed_over_are_told(tmp_path: Path) -> None:
    (tmp_path / "meshes/cup").mkdir(parents=True)
    (tmp_path / "meshes/cup/a.obj").touch()
    (tmp_path / "meshes/cup/b.obj").symlink_to(tmp_path / "gone")
    (tmp_path / "meshes/more").symlink_to(tmp_path)
    lines: list[str] = []
    found = find_meshes(tmp_path / "meshes", report=lines.append)
    assert [source.relative for source in found] == ["cup/a.obj"]
    folder = tmp_path / "meshes"
    assert lines == [
        f"{folder}: passed over 1 linked folder (first: {folder}/more)",
        f"{folder}: passed over 1 mesh that is no file, or a link to none (first: {folder}/cup/b.obj)",
    ]
