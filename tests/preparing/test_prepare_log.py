"""The log of `prepare`: its header, its damaged lines, and that one process at a time writes it."""

import json
from pathlib import Path

import pytest

from cmah.errors import CmahError
from cmah.files import locked
from cmah.preparing import prepare_log
from cmah.preparing.prepare_log import LOG, Parameters, open_log

PARAMETERS = Parameters(3, 24, 64, "y", (0, 30.0), 0.0, 7)
HEADER = (
    '{"format": "cmah-prepare-log", "version": 1, "parameters": {"views": 3, "image_size": 24, "points": 64, '
    '"up": "y", "elevations": [0, 30.0], "jitter": 0.0, "seed": 7}}\n'
)


def test_the_header_is_what_it_always_was(tmp_path: Path) -> None:
    with open_log(tmp_path / "out", PARAMETERS, overwrite=False) as (log, done):
        assert done == {}
        log.write('{"shape_id": "a", "size": 1, "modified": 2, "skipped": "x", "lost": false}\n{"shape')
    assert (tmp_path / "out" / LOG).read_text().startswith(HEADER)
    with open_log(tmp_path / "out", PARAMETERS, overwrite=False) as (log, done):
        assert list(done) == ["a"]
    assert (tmp_path / "out" / LOG).read_text().count("\n") == 2  # the torn line is gone
    (tmp_path / "out" / LOG).write_text("[" * 100_000 + "\n")
    with (
        pytest.raises(CmahError, match="not a log of this version"),
        open_log(tmp_path / "out", PARAMETERS, overwrite=False),
    ):
        pass


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with open_log(tmp_path, PARAMETERS, overwrite=False):
        pass
    with (
        locked(tmp_path),
        pytest.raises(CmahError, match="at work in this folder"),
        open_log(tmp_path, PARAMETERS, overwrite=False),
    ):
        pass


def test_damaged_entries_of_the_log_are_none() -> None:
    good = {"shape_id": "a", "size": 1, "modified": 2, "cameras": [[0.0, 20.0]], "coloured": False}
    changes: list[dict[str, object]] = [
        {"cameras": 3},
        {"cameras": [[1]]},
        {"size": None},
        {"skipped": 3},
        {"skipped": "x"},
    ]
    lines = ["[" * 100_000, "[]", "3", "{}", *(json.dumps(good | change) for change in changes)]
    assert not list(prepare_log.entries(lines))
    assert dict(prepare_log.entries([json.dumps(good)])) == {"a": good}


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
