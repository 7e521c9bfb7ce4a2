"""Code files in and out, those of others, and every way in which they can be broken."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sample_codes import full, random_signs

from cmah.codes import BinaryCodes, Embeddings, read_codes, write_codes
from cmah.codes.code_files import refuse_to_replace, write_npz
from cmah.errors import CmahError, CodesError


def test_files(tmp_path):
    codes = full()
    codes.save(tmp_path / "codes.npz")
    assert read_codes(tmp_path / "codes.npz") == codes == BinaryCodes.load(tmp_path / "codes.npz")
    bare = BinaryCodes.from_signs(random_signs(0, 7))
    bare.save(tmp_path / "bare.npz")
    assert read_codes(tmp_path / "bare.npz") == bare
    vectors = Embeddings(np.arange(6.0).reshape(2, 3), ids=["a", "b"], modality="shape")
    vectors.save(tmp_path / "vectors.npz")
    assert read_codes(tmp_path / "vectors.npz") == vectors == Embeddings.load(tmp_path / "vectors.npz")
    assert vectors[1].embeddings.tolist() == [[3, 4, 5]]
    with pytest.raises(CodesError, match=r"vectors\.npz: embeddings, expected binary codes"):
        BinaryCodes.load(tmp_path / "vectors.npz")
    with pytest.raises(CodesError, match="binary codes, expected embeddings"):
        Embeddings.load(tmp_path / "codes.npz")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bare.npz", "codes.npz", "vectors.npz"]


def test_a_file_holds_the_documented_members_alone(tmp_path):
    full().save(tmp_path / "codes.npz")
    with np.load(tmp_path / "codes.npz") as file:
        columns = {
            "ids",
            "shape_ids",
            "categories",
            "kinds",
            "splits",
            "modality",
            "space",
            "format",
            "version",
        }
        assert set(file) == {"packed", "bits", "prefixes", *columns}


def test_objects_are_never_pickled(tmp_path):
    with pytest.raises(CodesError, match=r"odd\.npz: b would have to be pickled; expected numbers or text"):
        write_npz(tmp_path / "odd.npz", a=1, b=[object()])
    assert not (tmp_path / "odd.npz").exists()


def test_only_packed_and_bits_are_required(tmp_path):
    codes = full()
    np.savez_compressed(tmp_path / "own.npz", packed=codes.packed, bits=20)
    assert read_codes(tmp_path / "own.npz") == BinaryCodes.from_packed(codes.packed, 20)


def test_golden_files_of_version_1():
    folder = Path(__file__).parents[1] / "golden"
    codes = read_codes(folder / "codes_v1.npz")
    assert isinstance(codes, BinaryCodes)
    assert codes == full()
    vectors = read_codes(folder / "embeddings_v1.npz")
    assert vectors == Embeddings(
        np.array([[0.5, -1.25], [3, 4]]), ids=["a", "ß"], modality="shape", space="f00"
    )


def test_exports(tmp_path):
    codes = full()
    write_codes(codes, tmp_path / "a.npz")
    write_codes(codes, tmp_path / "b.npy", "pm1")
    write_codes(codes, tmp_path / "c.npy", "packed")
    assert read_codes(tmp_path / "a.npz") == codes
    signs = np.load(tmp_path / "b.npy", allow_pickle=False)
    assert signs.dtype == np.int8
    np.testing.assert_array_equal(signs, codes.signs())
    np.testing.assert_array_equal(read_codes(tmp_path / "b.npy").signs(), codes.signs())
    np.testing.assert_array_equal(np.load(tmp_path / "c.npy", allow_pickle=False), codes.packed)
    assert read_codes(tmp_path / "c.npy").bits == 24
    with pytest.raises(CodesError, match="Embeddings cannot be written as 'pm1'"):
        write_codes(Embeddings(np.ones((1, 2))), tmp_path / "d.npy", "pm1")


def test_faiss_reads_the_export(tmp_path):
    faiss = pytest.importorskip("faiss")
    codes = full()
    write_codes(codes, tmp_path / "codes.faiss", "faiss")
    index = faiss.read_index_binary(str(tmp_path / "codes.faiss"))
    assert (type(index).__name__, index.ntotal, index.d) == ("IndexBinaryFlat", 5, 24)
    distances, positions = index.search(codes.packed[:2], 5)
    expected = (codes.signs()[:2, None] != codes.signs()[None]).sum(axis=2)
    np.testing.assert_array_equal(np.take_along_axis(expected, positions, axis=1), distances)
    faiss.write_index_binary(index, str(tmp_path / "again.faiss"))
    assert (tmp_path / "again.faiss").read_bytes() == (tmp_path / "codes.faiss").read_bytes()


def test_hostile_files(shared, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where an unpickled file would leave its mark
    files = sorted((shared / "data" / "hostile" / "codes").iterdir())
    assert files
    for path in files:
        with pytest.raises(CodesError) as caught:
            read_codes(path)
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_damaged_bytes_never_crash(tmp_path):
    """Every answer is the codes, other codes that are valid, or a CodesError; damaged data never pass as whole."""
    full().save(tmp_path / "good.npz")
    data = (tmp_path / "good.npz").read_bytes()
    random = np.random.default_rng(1)
    path = tmp_path / "bad.npz"
    refused = 0
    for _ in range(400):
        damaged = bytearray(data)
        damaged[random.integers(len(data))] ^= 1 << random.integers(8)
        path.write_bytes(damaged)
        try:
            assert len(read_codes(path)) == 5
        except CodesError:
            refused += 1
    assert refused > 200
    for size in range(0, len(data), 97):
        path.write_bytes(data[:size])
        with pytest.raises(CodesError):
            read_codes(path)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"packed": np.zeros((2, 2), np.uint8)}, "no member 'bits'"),
        ({"packed": np.zeros((2, 2), np.uint8), "bits": [16, 16]}, "bits is"),
        (
            {"packed": np.zeros((2, 2), np.uint8), "bits": 16, "version": 2},
            "version 2; this cmah reads up to",
        ),
        ({"packed": np.zeros((2, 2), np.uint8), "bits": 16, "format": "other"}, "format is 'other'"),
        (
            {"packed": np.zeros((2, 2), np.uint8), "bits": 16, "ids": ["a"]},
            r"ids: shape \[1\], expected \[2\]",
        ),
        (
            {"packed": np.zeros((2, 2), np.uint8), "bits": 16, "categories": [0.5, 1]},
            "categories are float64",
        ),
        ({"packed": np.zeros((2, 2), np.uint8), "bits": 16, "prefixes": [8]}, r"prefixes are 8,"),
        ({"embeddings": np.zeros((2, 2), np.int32)}, "embeddings are int32"),
    ],
)
def test_wrong_members(tmp_path, members, message):
    np.savez(tmp_path / "codes.npz", **{name: np.asarray(value) for name, value in members.items()})
    with pytest.raises(CodesError, match=message) as caught:
        read_codes(tmp_path / "codes.npz")
    assert str(caught.value).startswith(str(tmp_path / "codes.npz"))


def test_missing_file(tmp_path):
    with pytest.raises(CodesError, match="no such file"):
        read_codes(tmp_path / "nothing.npz")
    with pytest.raises(CodesError, match="not a file"):
        read_codes(tmp_path)


@pytest.mark.parametrize(
    ("member", "value", "message"),
    [
        ("ids", np.array([b"\xff", b"b"]), "not UTF-8"),
        ("ids", np.array(["a\nb", "b"]), "expected text of one line"),
        ("categories", np.array(["\x1b[31mred", "b"]), "expected text of one line"),
        ("kinds", np.array(["\udc80", "b"]), "expected text of one line"),
        ("ids", np.array("a"), "one for each row"),
        ("space", "a\nb", "expected text of one line"),
    ],
)
def test_texts_of_foreign_files_can_be_printed(tmp_path, member, value, message):
    np.savez(tmp_path / "c.npz", packed=np.zeros((2, 2), np.uint8), bits=16, **{member: value})
    with pytest.raises(CodesError, match=message):
        read_codes(tmp_path / "c.npz")
    np.savez(
        tmp_path / "c.npz", packed=np.zeros((2, 2), np.uint8), bits=16, ids=np.array(["ü".encode(), b"b"])
    )
    assert read_codes(tmp_path / "c.npz").ids.tolist() == ["ü", "b"]


def test_the_dataset_of_rows_is_kept_where_it_is_known(tmp_path):
    path, codes = tmp_path / "codes.npz", replace(full(), dataset="/data/chairs")
    codes.save(path)
    assert BinaryCodes.load(path).dataset == "/data/chairs"
    assert codes[:1].dataset == codes.truncate(codes.prefixes[0]).dataset == "/data/chairs"
    assert BinaryCodes.concatenate([codes, codes]).dataset == "/data/chairs"
    assert BinaryCodes.concatenate([codes, full()]).dataset == ""
    full().save(path)  # a file of before has no such member, and gets none
    with np.load(path) as members:
        assert "dataset" not in members
    for wrong in (["a", "b"], 7, "two\nlines"):
        np.savez(path, packed=np.zeros((2, 2), np.uint8), bits=16, dataset=wrong)
        with pytest.raises(CodesError, match="dataset"):
            read_codes(path)


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CodesError, match="not a file"):
        read_codes(tmp_path / "pipe")


@pytest.mark.parametrize("format", ["npz", "pm1", "packed", "faiss"])
def test_files_of_another_format_are_not_replaced(tmp_path, format):
    path, foreign = tmp_path / "codes", tmp_path / "foreign"
    refuse_to_replace(path, [foreign], format=format)
    write_codes(full(), path, format)
    refuse_to_replace(path, [foreign], format=format)
    foreign.write_text("mine")
    with pytest.raises(CmahError, match="is read here"):
        refuse_to_replace(path, [foreign, path], format=format)
    with pytest.raises(CmahError, match="exists and is not such a file"):
        refuse_to_replace(foreign, format=format)
    with pytest.raises(CmahError, match="exists and is not such a file"):
        refuse_to_replace(path, embeddings=True)
    Embeddings(np.ones((2, 3))).save(path)
    refuse_to_replace(path, embeddings=True)
