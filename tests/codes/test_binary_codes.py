"""Codes in and out, and every refusal."""

import numpy as np
import pytest
from bitarray import bitarray
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_codes import full, random_signs

from cmah.codes import BinaryCodes, Embeddings
from cmah.errors import CodesError


@settings(max_examples=60, deadline=None)
@given(n=st.integers(0, 9), bits=st.integers(1, 200), seed=st.integers(0, 99))
def test_signs_bits_and_packed_agree(n, bits, seed):
    signs = random_signs(n, bits, seed)
    codes = BinaryCodes.from_signs(signs)
    np.testing.assert_array_equal(codes.signs(), signs)
    assert codes.packed.shape == (n, (bits + 7) // 8)
    assert codes == BinaryCodes.from_bits(signs > 0) == BinaryCodes.from_bits((signs + 1) // 2)
    assert codes == BinaryCodes.from_packed(codes.packed, bits) == BinaryCodes.from_signs(signs.astype(float))
    assert len(codes) == n


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 5), bits=st.integers(1, 70), seed=st.integers(0, 99))
def test_zeros_and_ones_and_bitarrays(n, bits, seed):
    signs = random_signs(n, bits, seed)
    codes = BinaryCodes.from_signs(signs, ids=[f"item {i}" for i in range(n)])
    zeros_and_ones = codes.unpacked()
    assert zeros_and_ones.dtype == np.uint8
    assert zeros_and_ones.tolist() == [[int(sign > 0) for sign in row] for row in signs]
    assert codes.unpacked().view(bool).tolist() == (signs > 0).tolist()
    assert (codes.signs().dtype, codes.signs().tolist()) == (np.int8, signs.tolist())
    rows = codes.bitarrays()
    assert [row.tolist() for row in rows] == zeros_and_ones.tolist()
    assert BinaryCodes.from_bitarrays(rows, ids=codes.ids) == codes
    for endian in ("little", "big"):
        given_rows = [bitarray(row.tolist(), endian=endian) for row in rows]
        assert BinaryCodes.from_bitarrays(given_rows, ids=codes.ids) == codes
    assert codes[:0].bitarrays() == []
    assert codes[:0].unpacked().shape == codes[:0].signs().shape == (0, bits)


@pytest.mark.parametrize("bits", [1, 7, 8, 4095, 4096])
def test_longest_and_shortest(bits):
    signs = random_signs(3, bits)
    for kind in (np.int8, np.int64, np.float16, np.float32, np.float64):
        codes = BinaryCodes.from_signs(signs.astype(kind))
        np.testing.assert_array_equal(codes.signs(), signs)
    for kind in (bool, np.uint8, np.int32, np.float64):
        assert BinaryCodes.from_bits((signs > 0).astype(kind)) == codes
    for none in (BinaryCodes.from_signs(signs[:0]), BinaryCodes.from_bits(signs[:0] > 0), codes[:0]):
        assert (len(none), none.bits, none.packed.shape) == (0, bits, (0, (bits + 7) // 8))


def test_concatenation():
    codes = full()
    assert BinaryCodes.concatenate([codes]) == codes
    assert BinaryCodes.concatenate([codes[:2], codes[2:2], codes[2:]]) == codes
    assert BinaryCodes.concatenate([codes[:0], codes[:0]]) == codes[:0]
    bare = BinaryCodes.from_signs(random_signs(2, 20, 1), (13, 20), ids=["a", "b"], modality="shape")
    both = BinaryCodes.concatenate([bare, codes])
    np.testing.assert_array_equal(both.signs(), np.concatenate([bare.signs(), codes.signs()]))
    assert both.ids.tolist() == ["a", "b", *codes.ids.tolist()]
    assert (both.categories, both.shape_ids, both.kinds, both.splits) == (None, None, None, None)
    assert (both.prefixes, both.modality, both.space) == ((13, 20), "", "f00")
    # no rows are no reason to forget what is known of others
    assert BinaryCodes.concatenate([bare[:0], codes]).categories.tolist() == codes.categories.tolist()


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "no codes to concatenate"),
        ([full(), full(), full().truncate(13)], "part 2 has codes of 13 bits, expected 20 as in part 0"),
        (
            [full(), BinaryCodes.from_signs(random_signs(1, 20), space="other")],
            "part 1 has codes of space other, expected f00 as before",
        ),
    ],
)
def test_what_cannot_be_concatenated(parts, message):
    with pytest.raises(CodesError, match=message):
        BinaryCodes.concatenate(parts)


def test_first_bit_is_the_highest_of_byte_0():
    codes = BinaryCodes.from_signs([[1, -1, -1, -1, -1, -1, -1, -1, -1, 1]])
    assert codes.packed.tolist() == [[128, 64]]


def test_selecting_keeps_what_is_known():
    codes = full()
    for rows in (slice(1, 4), [0, 3], np.array([True, False, False, True, True])):
        part = codes[rows]
        np.testing.assert_array_equal(part.signs(), codes.signs()[rows])
        np.testing.assert_array_equal(part.ids, codes.ids[rows])
        assert (part.modality, part.space, part.prefixes) == ("image", "f00", (8, 13, 20))
    assert codes[-1].ids.tolist() == ["item 4"]
    assert [row.ids[0] for row in codes] == codes.ids.tolist()
    with pytest.raises(IndexError):
        codes[5]


def test_equality():
    assert full() == full()
    assert full() != full()[1:]
    assert BinaryCodes.from_signs(random_signs(2, 8)) != BinaryCodes.from_signs(
        random_signs(2, 8), ids=["a", "b"]
    )
    assert full() != 3
    with pytest.raises(TypeError):
        hash(full())


def test_truncate():
    codes = full()
    for bits in codes.prefixes:
        cut = codes.truncate(bits)
        np.testing.assert_array_equal(cut.signs(), codes.signs()[:, :bits])
        assert cut.prefixes == tuple(b for b in (8, 13, 20) if b <= bits)
        np.testing.assert_array_equal(cut.ids, codes.ids)
    with pytest.raises(CodesError, match=r"cannot be cut to 16 bits; lengths that are codes: 8, 13, 20"):
        codes.truncate(16)
    with pytest.raises(CodesError):
        BinaryCodes.from_signs(random_signs(2, 16)).truncate(8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: BinaryCodes.from_signs([[1, -1], [1, 0]]),
            r"\[2, 2\]: row 1, column 1 is 0, expected -1 or \+1",
        ),
        (lambda: BinaryCodes.from_signs([[1.0, np.nan]]), "row 0, column 1 is nan"),
        (lambda: BinaryCodes.from_signs([[0.3, 1.0]]), "row 0, column 0 is 0.3"),
        (lambda: BinaryCodes.from_signs([1, -1]), r"shape \[2\], expected \[n, width\]"),
        (lambda: BinaryCodes.from_signs(np.ones((2, 0))), r"shape \[2, 0\]"),
        (lambda: BinaryCodes.from_signs([[True, False]]), "signs are bool"),
        (lambda: BinaryCodes.from_signs([["a"]]), "signs are <U1"),
        (lambda: BinaryCodes.from_bits([[0, 2]]), r"column 1 is 2, expected 0 or \+1"),
        (lambda: BinaryCodes.from_bits([[-1, 1]]), "column 0 is -1"),
        (
            lambda: BinaryCodes.from_packed(np.zeros((2, 3), np.uint8), 32),
            r"shape \[2, 3\], expected \[n, 4\]",
        ),
        (lambda: BinaryCodes.from_packed(np.zeros((2, 4), np.int8), 32), "packed codes are int8"),
        (lambda: BinaryCodes.from_packed(np.zeros(4, np.uint8), 32), r"shape \[4\]"),
        (
            lambda: BinaryCodes.from_packed(np.array([[0, 0], [0, 1]], np.uint8), 15),
            "row 1 has bits set beyond bit 15",
        ),
        (lambda: BinaryCodes.from_packed(np.zeros((1, 0), np.uint8), 0), "bits is 0"),
        (lambda: BinaryCodes.from_packed(np.zeros((1, 513), np.uint8), 4097), "bits is 4097"),
        (lambda: BinaryCodes.from_packed(np.zeros((1, 1), np.uint8), 8.0), "bits is 8.0"),
        (lambda: BinaryCodes.from_bitarrays([]), "no bitarrays, expected one or more"),
        (
            lambda: BinaryCodes.from_bitarrays([bitarray("01"), bitarray("0")]),
            r"bitarrays \[2\]: row 1 is 1 bits, expected as many bits in each",
        ),
        (lambda: BinaryCodes.from_bitarrays([bitarray("01"), "01"]), "row 1 is str"),
        (lambda: BinaryCodes.from_bitarrays([[0, 1]]), "row 0 is list"),
        (lambda: BinaryCodes.from_bitarrays([bitarray()]), "row 0 is 0 bits"),
        (lambda: BinaryCodes.from_bitarrays([bitarray(4097)]), "bits is 4097"),
        (lambda: BinaryCodes.from_signs([[1, -1]], (2, 1)), r"prefixes are 2, 1,"),
        (lambda: BinaryCodes.from_signs([[1, -1]], (1,)), r"prefixes are 1,"),
        (lambda: BinaryCodes.from_signs([[1, -1]], ids=["a", "b"]), r"ids: shape \[2\], expected \[1\]"),
        (lambda: Embeddings(np.array([[1.0], [np.inf]])), "row 1 is not finite"),
        (lambda: Embeddings(np.array([[1e300]])), "row 0 is not finite"),
        (lambda: Embeddings(np.array([[1, 2]])), "embeddings are int64"),
        (lambda: Embeddings(np.ones(3)), r"shape \[3\]"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(CodesError, match=message):
        make()


@pytest.mark.parametrize("column", ["ids", "categories", "splits"])
def test_none_in_a_column_is_refused_rather_than_a_text(column):
    with pytest.raises(CodesError, match=f"^{column}: row 1 is None, expected text"):
        BinaryCodes.from_bits([[0], [1]], **{column: ["a", None]})
