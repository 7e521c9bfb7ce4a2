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
