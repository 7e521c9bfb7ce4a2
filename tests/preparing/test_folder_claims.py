"""Which folder is given, however it is reached, and what cannot be added to a dataset."""

import os
from pathlib import Path
from typing import Any

import pytest
from quick_meshes import SETTINGS, QuickWorkers, put

from cmah.data.dataset import Dataset
from cmah.data.table_rows import Shape
from cmah.errors import CmahError
from cmah.preparing.folder_claims import Claim, check_ids, claim_folder, owner_of
from cmah.preparing.prepare_log import PrepareLog
from cmah.preparing.preparing import prepare
from cmah.preparing.shape_ids import Source, find_meshes, shape_id_in


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Prepare into tmp_path/out; the ids and sources of the dataset."""
    monkeypatch.setattr("cmah.preparing.preparation.run_isolated", QuickWorkers())

    def run(folder: Path, **options: Any) -> dict[str, str]:
        dataset = prepare(folder, tmp_path / "out", **{**SETTINGS, **options})
        return {shape.shape_id: shape.extra["source"] for shape in dataset.shapes}

    return run


def test_the_same_files_by_two_folders_are_refused(call: Any, tmp_path: Path) -> None:
    a = put(tmp_path / "a", chair_one="1", chair_two="2", lamp_one="3")
    call(a)
    text = r"a/chair/one\.obj: this file is in the dataset already, as the shape 'chair\.one\.obj' of .* \(and 1 more\)"
    for prefix in (None, "again"):
        with pytest.raises(CmahError, match=text):
            call(a / "chair", prefix=prefix)
    with pytest.raises(CmahError, match=r"as the shape 'chair\.one\.obj'"):
        call(a / "chair/one.obj")
    b = put(tmp_path / "b", mug_new="4")
    os.link(a / "lamp/one.obj", b / "mug/linked.obj")
    (b / "mug/soft.obj").symlink_to(a / "lamp/one.obj")
    with pytest.raises(CmahError, match=r"as the shape 'lamp\.one\.obj'"):
        call(b)
    for name in ("linked", "soft"):
        (b / f"mug/{name}.obj").unlink()
    assert len(call(b)) == 4


def test_the_folder_around_one_that_was_prepared_is_refused(call: Any, tmp_path: Path) -> None:
    a = put(tmp_path / "a", chair_one="1", lamp_one="3")
    call(a / "chair")
    with pytest.raises(CmahError, match=r"as the shape 'one\.obj' of .*a/chair/one\.obj; a mesh can be in"):
        call(a)


def test_one_folder_by_several_paths(call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a = put(tmp_path / "a", chair_one="1", chair_two="2")
    (tmp_path / "link").symlink_to(a)
    monkeypatch.chdir(tmp_path)
    expected = {f"chair.{name}.obj": f"{a}/chair/{name}.obj" for name in ("one", "two")}
    for path in (Path("link"), Path("a"), Path("a/../link/."), a):
        assert call(path) == expected
    assert [folder["path"] for folder in Dataset.read("out").mesh_folders] == [str(a)]


def test_single_files_and_then_their_folder(call: Any, tmp_path: Path) -> None:
    a = put(tmp_path / "a", one="1", two="22", three="333")
    assert list(call(a / "two.obj")) == ["two.obj"]
    assert list(call(a / "one.obj")) == ["one.obj", "two.obj"]  # the others stay, and are not called missing
    assert list(call(a)) == ["one.obj", "three.obj", "two.obj"]
    folders = Dataset.read(tmp_path / "out").mesh_folders
    assert folders == [{"path": str(a), "prefix": ""}]
    assert shape_id_in(folders, a / "three.obj") == "three.obj"


def test_the_dataset_folder_within_the_meshes_and_the_meshes_within_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("cmah.preparing.preparation.run_isolated", QuickWorkers())
    a = put(tmp_path / "a", chair_one="1")
    for _ in range(2):
        assert len(prepare(a, a / "out", **SETTINGS).shapes) == 1
    inside = put(a / "out/more", mug_one="2")
    assert [shape.shape_id for shape in prepare(inside, a / "out", **SETTINGS).shapes] == [
        "chair.one.obj",
        "mug.one.obj",
    ]
    assert len(prepare(a, a / "out", **SETTINGS).shapes) == 2


def test_a_folder_that_was_stopped_keeps_its_ids_and_waits(
    call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    a, b = put(tmp_path / "a", chair_one="1", chair_two="2"), put(tmp_path / "b", mug_one="3")
    with monkeypatch.context() as patch:
        patch.setattr("cmah.preparing.preparation.Preparation.write", interrupt)
        with pytest.raises(KeyboardInterrupt):
            call(a, prefix="p")
    lines: list[str] = []
    assert list(call(b, report=lines.append)) == ["mug.one.obj"]
    assert lines == [f"2 shapes of {a} not added, where prepare was stopped; call it again to go on"]
    assert [folder["path"] for folder in Dataset.read(tmp_path / "out").mesh_folders] == [str(b)]
    text = r"x/p/chair/one\.obj and .*a/chair/one\.obj have the same shape id 'p\.chair\.one\.obj'"
    with pytest.raises(CmahError, match=text):
        call(put(tmp_path / "x", p_chair_one="1"))
    lines.clear()
    assert list(call(a, report=lines.append)) == ["p.chair.one.obj", "p.chair.two.obj", "mug.one.obj"]
    assert lines == []


def test_folders_whose_names_are_no_text(call: Any, tmp_path: Path) -> None:
    call(put(tmp_path / "a", chair_one="1"))
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xff\n"))
    put(odd, mug_one="2", mug_two="33")
    shown = f"{tmp_path}/b\ufffd\ufffd"
    sources = {f"mug.{name}.obj": f"{shown}/mug/{name}.obj" for name in ("one", "two")}
    assert {"chair.one.obj": f"{tmp_path}/a/chair/one.obj", **sources} == call(odd)
    folders = Dataset.read(tmp_path / "out").mesh_folders
    assert folders[1] == {"path": shown, "prefix": ""}
    assert shape_id_in(folders, odd / "mug/one.obj") == "mug.one.obj"
    (odd / "mug/two.obj").unlink()
    lines: list[str] = []
    assert len(call(odd, report=lines.append)) == 3
    assert lines == [f"1 shape of {shown} is no longer there and stays; --prune removes it"]
    odd.rename(tmp_path / "c")
    assert call(tmp_path / "c")["mug.two.obj"] == f"{tmp_path}/c/mug/two.obj"


def test_ids_that_differ_by_capitals_only_where_the_file_system_does_not_tell_them() -> None:
    log = PrepareLog(Path("log"), ['{"folder": "/a", "prefix": ""}'])
    there = {"Chair.One.obj": Shape("Chair.One.obj", "", "", "p", {"source": "/a/Chair/One.obj"})}

    def mesh(name: str) -> Source:
        return Source(Path(f"/b/{name}"), name, name.replace("/", "."), "", "", 1, 1)

    check_ids(Claim("/b", ""), [mesh("chair/one.obj"), mesh("chair/ONE.obj")], log, there, one_case=False)
    with pytest.raises(CmahError, match=r"/b/chair/one\.obj and /a/Chair/One\.obj have the same"):
        check_ids(Claim("/b", ""), [mesh("chair/one.obj")], log, there, one_case=True)
    with pytest.raises(CmahError, match=r"/b/mug/ONE\.obj and /b/mug/one\.obj have the same"):
        check_ids(Claim("/b", ""), [mesh("mug/one.obj"), mesh("mug/ONE.obj")], log, there, one_case=True)


def test_shapes_without_a_line_of_the_log_are_of_the_folder_that_has_their_file(tmp_path: Path) -> None:
    """A line may be damaged; the mesh is then made again, and no clash with itself."""
    lines = [f'{{"folder": "{folder}", "prefix": ""}}' for folder in ("/a", "/a/b")]
    log = PrepareLog(Path("log"), lines)
    owners = {"/a/b/x.obj": "/a/b", "/a/bb/x.obj": "/a", "/c/x.obj": None, "a/x.obj": None, "": None}
    for source, owner in owners.items():
        assert owner_of(Shape("x", "", "", "p", {"source": source}), log) == owner


def test_moved_folders_are_told_by_unchanged_meshes(tmp_path: Path) -> None:
    a = put(tmp_path / "a", chair_one="1", chair_two="22")
    found = find_meshes(a)

    def log(size: int, folder: str) -> PrepareLog:
        entry = f'"size": {size}, "modified": 5, "cameras": [], "folder": "{folder}"'
        lines = [f'{{"folder": "{folder}", "prefix": ""}}', f'{{"shape_id": "chair.two.obj", {entry}}}']
        return PrepareLog(Path("log"), lines)

    gone = str(tmp_path / "gone")
    assert claim_folder(a, None, found, log(2, gone), []) == Claim(str(a), "", [gone])
    assert claim_folder(a, None, found, log(3, gone), []) == Claim(str(a), "", [])
    there = put(tmp_path / "there", chair_two="22")
    assert claim_folder(a, None, found, log(2, str(there)), []) == Claim(str(a), "", [])
