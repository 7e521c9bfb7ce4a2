"""cmah index, as a user calls it; no torch."""

import json

import pytest

from cmah.codes import BinaryCodes
from cmah.search import HammingIndex, MultiIndex


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("index", "nothing.npz", "o.cmah"), "nothing.npz: no such file"),
        (("index", "shape.npz", "o.cmah", "--bits", "24"), "shape.npz: these codes cannot be cut to 24 bits"),
        (("index", "shape.npz", "image.npz"), "image.npz: exists and is not an index"),
        (("index", "shape.npz", "."), ".: cannot be written"),
        (("index", "shape.npz"), "1 file named, expected two files, CODES and OUT"),
        (("index", "a.npz", "b.npz", "o.cmah"), "3 files named, expected two files, CODES and OUT"),
        (("index", "shape.npz", "s.cmah", "--compact"), "2 files named, expected the index file OUT alone"),
        (("index", "s.cmah", "--compact", "--bits", "16"), "--bits is of no use without CODES"),
        (("index", "shape.npz", "s.cmah", "--append", "--kind", "multi"), "--kind is that of the index file"),
        (
            ("index", "s.cmah", "--compact", "--remove", "a"),
            "--append, --remove and --compact exclude each other",
        ),
        (("index", "shape.npz", "nothing.cmah", "--append"), "nothing.cmah: no such file"),
        (("index", "shape.npz", "s.cmah", "--append"), "shape.npz: duplicate id"),
        (
            ("index", "image.npz", "s.cmah", "--append", "--bits", "16"),
            "image.npz: codes of 16 bits, expected 40",
        ),
        (("index", "s.cmah", "--remove", "zeppelin"), "s.cmah: id zeppelin is not in this index"),
    ],
)
def test_mistakes_end_with_one_line(call, files, monkeypatch, arguments, message):
    monkeypatch.chdir(files)
    call("index", "shape.npz", "s.cmah")
    status, _, err = call(*arguments)
    assert status == 2
    assert message in err.splitlines()[-1]
    assert "Traceback" not in err


@pytest.mark.parametrize(("kind", "made"), [("flat", HammingIndex), ("multi", MultiIndex)])
def test_what_is_written(call, files, kind, made):
    path = files / "s.cmah"
    status, out, _ = call("index", files / "shape.npz", path, "--kind", kind, "--json")
    assert status == 0
    expected = {"index": str(path), "kind": kind, "codes": 6, "bits": 40, "bytes": path.stat().st_size}
    assert json.loads(out) == expected
    index = HammingIndex.open(path)
    assert type(index) is made
    assert index.codes.packed.tolist() == BinaryCodes.load(files / "shape.npz").packed.tolist()
    assert call("index", files / "shape.npz", path)[0] == 0  # its own files it does replace


@pytest.mark.parametrize("kind", ["flat", "multi"])
def test_an_index_file_that_grows(call, files, kind):
    """Parts that are appended and items that are removed against an index of the same items made at once."""
    path, whole = files / "s.cmah", BinaryCodes.load(files / "image.npz")
    whole[:10].save(files / "first.npz")
    whole[10:].save(files / "second.npz")
    call("index", files / "first.npz", path, "--kind", kind)
    before = path.read_bytes()
    status, out, _ = call("index", files / "second.npz", path, "--append", "--json")
    expected = {"index": str(path), "kind": kind, "codes": 15, "bits": 40, "bytes": path.stat().st_size}
    assert (status, json.loads(out)) == (0, expected)
    assert path.read_bytes()[320 : len(before)] == before[320:]  # all but the first header is as it was
    grown = HammingIndex.open(path)
    assert (grown.ids.tolist(), grown.codes.packed.tolist()) == (whole.ids.tolist(), whole.packed.tolist())
    gone = whole.ids[[3, 12]].tolist()
    status, out, _ = call("index", path, "--remove", gone[0], "--remove", gone[1])
    assert status == 0
    assert out.startswith(f"{path}: 2 codes removed; 13 codes of 40 bits, ")
    left = whole[[row for row in range(15) if row not in (3, 12)]]
    grown = HammingIndex.open(path)
    assert (grown.ids.tolist(), grown.shapes.values.tolist()) == (left.ids.tolist(), left.shape_ids.tolist())
    known = json.loads(call("info", path, "--json")[1])
    assert known["segments"] == "3, with 2 removed codes (cmah index --compact writes one)"
    assert (known["shapes"], known["codes"]) == (6, 13)
    with open(path, "ab") as file:  # as if the next append had been killed
        file.write(b"1" * 70)
    assert "70 bytes of an append that was stopped" in call("info", path)[1]
    size = path.stat().st_size
    status, out, _ = call("index", path, "--compact")
    assert status == 0
    assert out.startswith(f"{path}: written anew, {size} bytes before; 13 codes of 40 bits, ")
    assert path.stat().st_size < size
    assert HammingIndex.open(path).codes == grown.codes


def test_numbers_are_removed_by_their_text(call, files):
    path = files / "n.cmah"
    index = HammingIndex(8)
    index.add(BinaryCodes.from_bits([[0] * 8] * 3), ids=[5, -7, 9])
    index.save(path)
    assert call("index", path, "--remove=-7")[0] == 0
    assert HammingIndex.open(path).ids.tolist() == [5, 9]


def test_a_file_of_version_1_is_written_anew_before_it_grows(call, files, tmp_path):
    from pathlib import Path
    from shutil import copy

    old = copy(Path(__file__).parents[1] / "golden/index_v1_positions_64.cmah", tmp_path / "old.cmah")
    added = BinaryCodes.from_bits([[0] * 64], space="räume")
    added.save(tmp_path / "one.npz")
    status, _, err = call("index", tmp_path / "one.npz", old, "--append")
    assert (status, "version 1 of the format, to which nothing can be appended" in err) == (2, True)
    assert call("index", old, "--compact")[0] == 0
    assert call("index", tmp_path / "one.npz", old, "--append")[0] == 0
    assert len(HammingIndex.open(old)) == 516
