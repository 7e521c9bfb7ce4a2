"""What is no file, may not be read, or is no JSON."""

import os

import pytest

from cmah.errors import CmahError
from cmah.reading import read_json, require_file


def test_only_ordinary_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, message in (
        (tmp_path / "pipe", "not a file"),
        (tmp_path, "not a file"),
        (tmp_path / "x", "no such"),
    ):
        with pytest.raises(CmahError, match=message):
            require_file(path)
        with pytest.raises(CmahError, match=message):
            read_json(path)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1, "b": {"c": 1, "d": 2, "c": 3}}',
        "[" * 100_000,
        "{",
        "\x00",
        "\ud800".encode("utf-8", "surrogatepass"),
    ],
)
def test_json_that_is_none(tmp_path, text):
    (tmp_path / "a.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(CmahError, match="not a readable JSON file"):
        read_json(tmp_path / "a.json")


def test_a_file_that_may_not_be_read(tmp_path):
    (tmp_path / "a.json").write_text("1")
    (tmp_path / "a.json").chmod(0)
    if os.access(tmp_path / "a.json", os.R_OK):
        pytest.skip("root reads what no one may read")
    with pytest.raises(CmahError, match=r"a\.json: cannot be read \(Permission denied\)"):
        read_json(tmp_path / "a.json")
