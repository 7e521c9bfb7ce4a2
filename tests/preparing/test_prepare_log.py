"""The log of `prepare`: its header, its damaged lines, and that one process at a time writes it."""

import json
import os
from pathlib import Path

import pytest

from cmah.errors import CmahError
from cmah.files import locked
from cmah.preparing.prepare_log import LOG, PrepareLog, earlier_parameters, open_log
from cmah.preparing.prepare_parameters import Parameters

PARAMETERS = Parameters(3, 24, 64, "y", (0, 30.0), 0.0, 7)
HEADER = (
    '{"format": "cmah-prepare-log", "version": 1, "parameters": {"views": 3, "image_size": 24, "points": 64, '
    '"up": "y", "elevations": [0, 30.0], "jitter": 0.0, "seed": 7}}\n'
)


ENTRY = {"shape_id": "a", "size": 1, "modified": 2, "skipped": "x", "lost": False}


def test_the_header_is_what_it_always_was(tmp_path: Path) -> None:
    path = tmp_path / "out" / LOG
    with open_log(tmp_path / "out", PARAMETERS, overwrite=False) as log:
        assert log.entries == {}
        log.add(ENTRY)
    with open(path, "a") as file:
        file.write('{"shape')
    assert path.read_text().startswith(HEADER)
    with open_log(tmp_path / "out", PARAMETERS, overwrite=False) as log:
        assert list(log.entries) == ["a"]
    assert path.read_text().count("\n") == 2  # the torn line is gone
    path.write_text("[" * 100_000 + "\n")
    with (
        pytest.raises(CmahError, match="not a log of this version"),
        open_log(tmp_path / "out", PARAMETERS, overwrite=False),
    ):
        pass


def test_folders_move_and_shapes_are_removed() -> None:
    def mesh(name: str, **more: object) -> str:
        return json.dumps({"shape_id": name, "size": 1, "modified": 2, "cameras": [], **more})

    lines = [
        mesh("early"),
        '{"folder": "/a", "prefix": ""}',
        mesh("a", folder="/a", path="a.obj"),
        '{"folder": "/b", "prefix": "b"}',
        mesh("b.a", folder="/b"),
        mesh("b.b", folder="/b"),
        '{"shape_id": "b.b", "removed": true}',
        '{"folder": "/c", "prefix": "", "was": ["/a", ""]}',
    ]
    log = PrepareLog(Path(LOG), lines)
    assert log.folders == {"/c": "", "/b": "b"}
    assert list(log.folders) == ["/c", "/b"]  # in the place of the one that has moved
    assert {name: entry["folder"] for name, entry in log.entries.items()} == {
        "early": "/c",
        "a": "/c",
        "b.a": "/b",
    }
    assert log.removed == {"b.b"}
    log = PrepareLog(Path(LOG), [*lines, mesh("b.b", folder="/b"), '{"folder": "/b", "removed": true}'])
    assert (log.removed, log.folders) == (set(), {"/c": ""})


@pytest.mark.parametrize("name", ["../a", "a/b", ".partial", "", "a\n", "..", "/etc"])
def test_no_id_leads_out_of_the_dataset_folder(name: str) -> None:
    """The files of a removed shape are deleted by its id, and a log may come from anywhere."""
    assert PrepareLog(Path(LOG), [json.dumps({"shape_id": name, "removed": True})]).removed == set()
    assert PrepareLog(Path(LOG), [json.dumps({**ENTRY, "shape_id": name})]).entries == {}


def test_a_log_that_cannot_be_written_is_told_by_its_name(tmp_path: Path) -> None:
    with open_log(tmp_path / "out", PARAMETERS, overwrite=False) as log:
        log.path = Path("/dev/full")
        with pytest.raises(CmahError, match=r"^/dev/full: cannot be written \(No space left on device\)$"):
            log.add(ENTRY)


def test_other_parameters_are_told_with_the_options_that_add(tmp_path: Path) -> None:
    with open_log(tmp_path, PARAMETERS, overwrite=False):
        pass
    other = Parameters(3, 24, 99, "y", (20.0,), 0.0, 7)
    with pytest.raises(CmahError) as caught, open_log(tmp_path, other, overwrite=False):
        pass
    assert str(caught.value) == (
        f"{tmp_path}: was prepared with other parameters (points 64 -> 99, elevations [0, 30.0] -> [20.0]); to add "
        "to it give --points 64 --elevation 0,30, or choose another folder, or --overwrite to make all of it anew"
    )
    with open_log(tmp_path, other, overwrite=True) as log:
        assert log.outdated


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with open_log(tmp_path, PARAMETERS, overwrite=False):
        pass
    with (
        locked(tmp_path),
        pytest.raises(CmahError, match="at work in this folder"),
        open_log(tmp_path, PARAMETERS, overwrite=False),
    ):
        pass


def test_damaged_lines_are_passed_over() -> None:
    good = {"shape_id": "a", "size": 1, "modified": 2, "cameras": [[0.0, 20.0]], "coloured": False}
    changes: list[dict[str, object]] = [
        {"cameras": 3},
        {"cameras": [[1]]},
        {"size": None},
        {"skipped": 3},
        {"skipped": "x"},
        {"folder": 3},
        {"path": None},
        {"shape_id": ["a"]},
    ]
    folders = [
        '{"folder": 3, "prefix": ""}',
        '{"folder": "/a"}',
        '{"folder": "/a", "prefix": "", "was": "/b"}',
    ]
    lines = ["[" * 100_000, "[]", "3", "{}", *(json.dumps(good | change) for change in changes), *folders]
    log = PrepareLog(Path(LOG), lines)
    assert (log.entries, log.folders, log.removed) == ({}, {}, set())
    assert PrepareLog(Path(LOG), [json.dumps(good)]).entries == {"a": good}


@pytest.mark.parametrize("overwrite", [False, True])
def test_nothing_is_prepared_where_the_files_lie_elsewhere(tmp_path: Path, overwrite: bool) -> None:
    out = tmp_path / "out"
    with open_log(out, PARAMETERS, overwrite=False):
        pass
    (out / "dataset.json").write_text('{"format": "cmah-dataset", "version": 2, "root": "../large"}')
    (tmp_path / "large/points").mkdir(parents=True)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with (
        pytest.raises(
            CmahError, match=r"dataset\.json: 'root' is '\.\./large': the points and pictures lie there"
        ),
        open_log(out, PARAMETERS, overwrite),
    ):
        pass
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    (out / "dataset.json").write_text("{")  # a file that is no dataset says nothing, and is written anew
    with open_log(out, PARAMETERS, overwrite):
        pass


def test_a_pipe_in_the_place_of_the_log_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / LOG)  # opening it would wait for ever
    assert earlier_parameters(tmp_path) == {}
    with (
        pytest.raises(CmahError, match="was not made by prepare"),
        open_log(tmp_path, PARAMETERS, overwrite=True),
    ):
        pass
