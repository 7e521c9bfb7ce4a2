"""cmah hash: fit, apply, evaluate; one line for what is wrong."""

import json

import numpy as np
import pytest

from cmah.codes import BinaryCodes, Embeddings


@pytest.fixture
def files(tmp_path):
    random = np.random.default_rng(0)
    rows = random.standard_normal((40, 10)).astype(np.float32)
    np.save(tmp_path / "image.npy", rows)
    shape = rows + 0.1 * random.standard_normal(rows.shape).astype(np.float32)
    Embeddings(shape, ids=[f"s{i}" for i in range(40)], modality="shape").save(tmp_path / "shape.npz")
    return tmp_path


def test_fit_and_apply(call, files):
    status, out, _ = call(
        "hash", files / "image.npy", files / "shape.npz", "--bits", 8, "--out", files / "codes"
    )
    assert status == 0
    assert "cmah index" in out  # there are no categories to evaluate by
    image, shape = (BinaryCodes.load(files / "codes" / f"{name}.npz") for name in ("image", "shape"))
    assert (image.bits, image.modality, shape.modality, len(image)) == (8, "image", "shape", 40)
    assert shape.ids[3] == "s3"
    paired = np.diag((image.signs()[:, None] != shape.signs()[None]).sum(axis=2)).mean()
    assert paired < 1.5  # of 8 bits; 4 by chance
    status, out, _ = call(
        *("hash", files / "image.npy", files / "shape.npz", "--with", files / "codes" / "hash.npz"),
        *("--out", files / "again", "--json"),
    )
    assert status == 0
    assert json.loads(out)["bits"] == 8
    assert BinaryCodes.load(files / "again" / "image.npz") == image
    assert not (files / "again" / "hash.npz").exists()
    status, _, _ = call(
        "hash", files / "shape.npz", "--with", files / "codes" / "hash.npz", "--out", files / "one"
    )
    assert status == 0  # told by its modality, though it was the second
    assert BinaryCodes.load(files / "one" / "shape.npz") == shape
    np.save(files / "unknown.npy", np.ones((2, 10)))
    status, _, err = call(
        *("hash", files / "shape.npz", files / "unknown.npy"),
        *("--with", files / "codes" / "hash.npz", "--out", files / "swapped"),
    )
    assert (status, "of modality 'shape', expected 'image'" in err) == (2, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["image.npy", "--bits", "11"], "expected 1 to 10"),
        (["nothing.npy"], "no such file"),
        (["image.npy", "image.npy"], "names of their own"),
        (["image.npy", "--with", "shape.npz"], "not a post-hoc hash"),
        (["image.npy", "--with", "hash.npz", "--bits", "4"], "brings its own"),
        (["whole.npy"], "embeddings are int64"),
    ],
)
def test_one_line_for_what_is_wrong(call, files, monkeypatch, arguments, message):
    np.save(files / "whole.npy", np.ones((3, 4), int))
    monkeypatch.chdir(files)
    status, _, err = call("hash", *arguments, "--out", "out")
    assert status == 2
    assert message in err
    assert "Traceback" not in err


def test_nothing_that_is_there_is_lost(call, files):
    before = (files / "shape.npz").read_bytes()
    status, _, err = call("hash", files / "shape.npz", "--bits", 8, "--out", files)
    assert (status, "is read here" in err) == (2, True)
    (files / "codes").mkdir()
    (files / "codes" / "shape.npz").write_bytes(before)
    status, _, err = call("hash", files / "shape.npz", "--bits", 8, "--out", files / "codes")
    assert (status, "exists and is not such a file" in err) == (2, True)
    assert (files / "shape.npz").read_bytes() == (files / "codes" / "shape.npz").read_bytes() == before
    for _ in range(2):  # its own files it does replace
        assert call("hash", files / "shape.npz", "--bits", 8, "--out", files / "own")[0] == 0


def test_a_wide_hash_is_written_anew(call, tmp_path):
    """The arrays of a hash may be longer than what is looked at of a file that would be replaced."""
    rows = np.random.default_rng(0).standard_normal((4, 20_000)).astype(np.float32)
    np.save(tmp_path / "image.npy", rows)
    for _ in range(2):
        command = (
            "hash",
            tmp_path / "image.npy",
            "--method",
            "lsh",
            "--bits",
            8,
            "--out",
            tmp_path / "codes",
        )
        assert call(*command)[0] == 0


def test_files_of_one_name_are_refused_with_the_usage(call, files):
    status, _, err = call("hash", files / "image.npy", files / "image.npy", "--out", files / "codes")
    assert (status, err.startswith("Usage: cmah hash"), "names of their own" in err) == (2, True, True)


def test_splits_are_told_and_nothing_but_training_is_not_to_be_measured(call, tmp_path):
    rng = np.random.default_rng(0)
    for splits in (["train"] * 6 + ["test"] * 2, ["train"] * 8):
        for name in ("image", "shape"):
            Embeddings(
                rng.standard_normal((8, 4)), categories=["a", "b"] * 4, splits=splits, modality=name
            ).save(tmp_path / f"{name}.npz")
        files = tmp_path / "image.npz", tmp_path / "shape.npz"
        status, out, err = call("hash", *files, "--bits", 4, "--out", tmp_path / "codes")
        assert status == 0
        mixed = "test" in splits
        counts = "6 train, 2 test" if mixed else "8 train"
        path = tmp_path / "codes" / "shape.npz"
        assert out.splitlines()[1] == f"{path}: 8 codes of 4 bits (itq, hashed as shape; {counts})"
        assert ("next: cmah eval" in out) is mixed
        told = "4 of the 16 rows that the hash was fitted on are of other splits than train; to fit on train alone"
        assert err.startswith(told) is mixed
        assert mixed or err == ""
    # a hash that is applied was not fitted on these
    assert call("hash", *files, "--with", tmp_path / "codes/hash.npz", "--out", tmp_path / "x")[2] == ""


@pytest.mark.parametrize("more", [(), ("--real",)])
def test_real_valued_codes(call, files, more):
    out = files / "codes"
    assert call("hash", files / "image.npy", files / "shape.npz", "--bits", 8, "--out", out, *more)[0] == 0
    assert (out / "image_real.npz").exists() == bool(more)
    if not more:
        return
    for name in ("image", "shape"):
        codes, real = BinaryCodes.load(out / f"{name}.npz"), Embeddings.load(out / f"{name}_real.npz")
        assert np.array_equal(real.embeddings >= 0, codes.unpacked())
        assert (real.space, real.modality) == (codes.space, name)
    call("index", out / "shape.npz", out / "s.cmah")
    status, found, _ = call(
        "search",
        out / "s.cmah",
        "--codes",
        out / "image.npz",
        "--rerank",
        20,
        "--rerank-by",
        "real",
        "--json",
    )
    assert (status, len(json.loads(found)["queries"])) == (0, 40)
    np.save(files / "image_real.npy", np.ones((2, 10)))
    status, _, err = call(
        "hash", files / "image.npy", files / "image_real.npy", "--bits", 8, "--out", files / "x", "--real"
    )
    assert (status, "would hold the codes of a file and the real-valued codes of another" in err) == (2, True)
    (files / "more").mkdir()
    (files / "more" / "image_real.npz").write_bytes(b"mine")
    status, _, err = call("hash", files / "image.npy", "--bits", 8, "--out", files / "more", "--real")
    assert (status, "image_real.npz: exists and is not such a file" in err) == (2, True)
    assert not (files / "more" / "image.npz").exists()
