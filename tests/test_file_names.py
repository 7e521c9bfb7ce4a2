"""Names that are no text are given so that the file is found again; addresses are told to be no paths."""

import os
from pathlib import Path

import pytest

from cmah.codes import BinaryCodes
from cmah.codes.posthoc import PostHocHash
from cmah.data.dataset import Dataset
from cmah.errors import CmahError
from cmah.file_names import path_of_name, readable_name, readable_text, refuse_url
from cmah.search import HammingIndex

CODES = BinaryCodes.from_bits([[0, 1, 1]])


@pytest.mark.parametrize(
    "name",
    [
        b"caf\xe9.jpg",
        b"two\nlines %41.jpg",
        b"tab\t\xff#?.jpg",
        "a\u202egpj.exe".encode(),
        "é%20.jpg".encode(),
    ],
)
def test_a_file_is_found_again_by_its_readable_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(os.fsdecode(name)).write_bytes(b"here")
    readable = readable_name(os.fsdecode(name))
    readable.encode()  # UTF-8, without surrogates
    assert readable.isprintable()
    assert path_of_name(readable).read_bytes() == b"here"
    assert readable.startswith("file://") == (name != "é%20.jpg".encode())


def test_what_no_file_can_be_called_is_still_readable():
    assert readable_name("\ud800.jpg") == "\\ud800.jpg"
    assert readable_text("a\u202egpj.exe") == "a\\u202egpj.exe"
    assert readable_text("\ud800 \udce9 é") == "\\ud800 \\xe9 é"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("https://example.org/a.jpg", "https://example.org/a.jpg: a URL, expected a path; download it first"),
        (Path("s3://bucket/a.jpg"), "s3://bucket/a.jpg: a URL, expected a path; download it first"),
        ("HTTP://x/a", "HTTP://x/a: a URL"),
        ("file:///tmp/caf%C3%A9.jpg", "file:///tmp/caf%C3%A9.jpg: a URL, expected the path itself: /tmp/café.jpg"),
        (Path("file:///tmp/a.jpg"), "file:///tmp/a.jpg: a URL, expected the path itself: /tmp/a.jpg"),
    ],
)  # fmt: skip
def test_urls_are_told_to_be_ones(given, said):
    with pytest.raises(CmahError) as caught:
        refuse_url(given)
    assert str(caught.value).startswith(said)


def test_what_only_looks_like_a_url_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("photo.jpg", "a:b.jpg", "C:/photo.jpg", "https.jpg"):
        refuse_url(name)
    Path("s3:").mkdir()
    Path("s3:/a.jpg").touch()
    refuse_url("s3:/a.jpg")


@pytest.mark.parametrize("path", [None, 3, True, b"codes.npz", ["codes.npz"]])
@pytest.mark.parametrize(
    "call",
    [
        HammingIndex.open,
        HammingIndex(bits=8).save,
        CODES.save,
        BinaryCodes.load,
        Dataset.read,
        PostHocHash.load,
    ],
)
def test_what_is_no_path_is_refused_wherever_one_is_expected(call, path):
    with pytest.raises(CmahError, match=r"the path is .*, expected a text or a path"):
        call(path)


def test_names_that_turn_the_direction_of_writing_are_given_as_addresses(tmp_path):
    for char in "\u202e\u2067":
        name = readable_name(tmp_path / f"gpj{char}.exe")
        assert char not in name
        assert path_of_name(name) == tmp_path / f"gpj{char}.exe"
    assert (
        readable_name("\u0646\u0645\u06cc\u200c.jpg") == "\u0646\u0645\u06cc\u200c.jpg"
    )  # Persian needs its joiners


def test_messages_do_not_steer_the_terminal() -> None:
    assert readable_text("a\x1b[31mred.obj: no faces\n") == "a\\x1b[31mred.obj: no faces\n"
