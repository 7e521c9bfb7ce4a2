"""Real-valued codes: their scores against plain products of signs, and what does not fit codes."""

import numpy as np
import pytest

from cmah.codes import BinaryCodes, Embeddings, real_codes
from cmah.codes.posthoc import fit_hash
from cmah.codes.real_codes import (
    as_real_codes,
    codes_of_real,
    read_real,
    real_file_of,
    real_part,
    sign_scores,
)
from cmah.errors import CodesError

WIDTHS = (1, 7, 8, 16, 63, 64, 65, 200, 4096)


def numbers(n, bits, seed=0):
    return np.random.default_rng([seed, bits]).normal(size=(n, bits)).astype(np.float32)


def codes(q, m, bits, seed=1):
    """A set of codes for each query: packed [q, m, bytes], and signs [q, m, bits]."""
    signs = np.random.default_rng([seed, bits]).choice([-1, 1], (q, m, bits))
    return np.packbits(signs > 0, axis=2), signs


def cosines(real, signs):
    """By walking over all pairs."""
    scores = np.empty(signs.shape[:2])
    for i, query in enumerate(real.astype(np.float64)):
        for j, code in enumerate(signs[i].astype(np.float64)):
            scores[i, j] = query @ code / (np.sqrt(query @ query) * np.sqrt(code @ code))
    return scores


@pytest.mark.parametrize("bits", WIDTHS)
def test_scores_are_cosines_with_signs(bits):
    real, (packed, signs) = numbers(5, bits), codes(5, 9, bits)
    np.testing.assert_allclose(sign_scores(real, packed), cosines(real, signs), atol=2e-9)
    shared = sign_scores(real, packed[:1])
    np.testing.assert_allclose(shared, cosines(real, signs[:1].repeat(5, axis=0)), atol=2e-9)


@pytest.mark.parametrize("at_once", [1, 3000, 10_000])
def test_parts_give_what_all_give(monkeypatch, at_once):
    real, (packed, _) = numbers(11, 40), codes(11, 6, 40)
    whole = sign_scores(real, packed)
    monkeypatch.setattr(real_codes, "AT_ONCE", at_once)
    assert np.array_equal(sign_scores(real, packed), whole)
    assert np.array_equal(sign_scores(real, packed[:1]), sign_scores(real, packed[:1].repeat(11, axis=0)))


def test_only_the_direction_counts():
    real, (packed, _) = numbers(4, 64), codes(4, 20, 64)
    scores = sign_scores(real, packed)
    for scale in (1e-20, 0.37, 1e20):
        assert np.array_equal(sign_scores(real * np.float64(scale), packed), scores)
    np.testing.assert_allclose(sign_scores(-real, packed), -scores, atol=1e-9)
    np.testing.assert_allclose(sign_scores(real, ~packed), -scores, atol=1e-9)


def test_codes_of_the_query_s_own_signs_score_highest_and_signs_alone_give_the_distance():
    real = numbers(6, 32)
    own = codes_of_real(Embeddings(real))
    packed, signs = codes(6, 50, 32)
    best = sign_scores(real, own.packed[:, None])
    assert (best >= sign_scores(real, packed)).all()
    distances = (signs != own.signs()[:, None]).sum(axis=2)
    np.testing.assert_allclose(sign_scores(own.signs(), packed), 1 - 2 * distances / 32, atol=1e-9)


def test_equal_codes_have_equal_scores_and_zeros_score_nothing():
    packed, _ = codes(1, 30, 64)
    twice = np.concatenate([packed, packed[:, ::-1]], axis=1)
    scores = sign_scores(numbers(1, 64), twice)
    assert np.array_equal(scores[:, :30], scores[:, 30:][:, ::-1])
    assert not sign_scores(np.zeros((1, 64)), packed).any()
    assert sign_scores(numbers(0, 64), packed).shape == (0, 30)
    assert sign_scores(numbers(3, 64), packed[:, :0]).shape == (3, 0)


def test_codes_of_another_shape_are_refused():
    packed, _ = codes(2, 3, 16)
    for wrong in (packed.astype(np.int64), packed[0], packed[:, :, :1], packed[[0, 1, 0]]):
        with pytest.raises(CodesError, match=r"packed codes are .*, expected uint8 \[2, m, 2\] for 16 bits"):
            sign_scores(numbers(2, 16), wrong)


def test_signs_survive_float32():
    tiny = np.array([[-1e-300, -1e-60, -0.0, 0.0, 1e-60, 1e-300, -1e-40, 2.5, -1e300]])
    with np.errstate(over="ignore"):
        real = as_real_codes(tiny)
    assert real.dtype == np.float32
    assert np.array_equal(real >= 0, tiny >= 0)
    assert real[0, 7] == 2.5


@pytest.mark.parametrize("method", ["lsh", "pca", "itq"])
def test_a_post_hoc_hash_takes_the_signs_of_its_real_valued_codes(method):
    columns = {"ids": [f"i{i}" for i in range(40)], "dataset": "/data", "splits": ["val"] * 40}
    sets = [Embeddings(numbers(40, 24, seed), modality=name, **columns) for seed, name in enumerate("ab")]
    fitted = fit_hash(sets, bits=12, method=method)
    for which, rows in enumerate(sets):
        real, hashed = fitted.encode_real(rows, which), fitted.encode(rows, which)
        assert codes_of_real(real) == hashed
        assert (real.space, real.dataset) == (hashed.space, "/data")
        unit = rows.embeddings / np.linalg.norm(rows.embeddings, axis=1, keepdims=True)
        projected = (unit - fitted.means[which]) @ fitted.projections[which]
        expected = np.tanh(projected / np.abs(projected).mean(axis=1, keepdims=True))
        np.testing.assert_allclose(real.embeddings, expected, atol=1e-5)
        with pytest.raises(CodesError, match="embeddings have width 5, expected 24"):
            fitted.encode_real(rows.embeddings[:, :5], which)


def test_a_part_has_the_length_of_the_codes():
    real = Embeddings(numbers(8, 40), space="one")
    nested = BinaryCodes.from_bits(real.embeddings >= 0, prefixes=(3, 16, 40), space="one")
    for length in (3, 16, 40):
        part = real_part(real, nested.truncate(length))
        assert np.array_equal(part.embeddings, real.embeddings[:, :length])
    assert real_part(real, nested) is real


def test_what_are_no_real_valued_codes_of_codes():
    real = Embeddings(numbers(3, 10), space="one")
    right = BinaryCodes.from_bits(real.embeddings >= 0, space="one")
    flipped = right.unpacked()
    flipped[1, 9] ^= 1
    for wrong, message in (
        (right[:2], "f.npz: 3 rows, expected 2, one for each code"),
        (BinaryCodes.from_bits(np.ones((3, 11), int)), "f.npz: 10 numbers a row, expected 11, one for each bit"),
        (BinaryCodes.from_bits(right.unpacked(), space="two"), "f.npz: of space one, expected two as the codes"),
        (BinaryCodes.from_bits(flipped), r"f.npz: row 1, column 9 is [-.\d]+, but the code has [+-]1 there; exp"),
    ):  # fmt: skip
        with pytest.raises(CodesError, match=message):
            real_part(real, wrong, "f.npz")


def test_files(tmp_path):
    assert real_file_of(tmp_path / "image.npz") == tmp_path / "image_real.npz"
    Embeddings(numbers(3, 10), space="one").save(tmp_path / "image_real.npz")
    np.save(tmp_path / "image_real.npy", numbers(3, 10))
    read = [read_real(tmp_path / f"image_real.{end}", "image.npz").embeddings for end in ("npz", "npy")]
    assert np.array_equal(*read)
    BinaryCodes.from_bits(np.ones((3, 10), int)).save(tmp_path / "codes.npz")
    for name, message in (
        ("none.npz", r"none\.npz: no such file \(expected the real-valued codes of image\.npz, as cmah export --real"),
        ("codes.npz", r"codes\.npz: binary codes, expected embeddings"),
    ):  # fmt: skip
        with pytest.raises(CodesError, match=message):
            read_real(tmp_path / name, "image.npz")


def test_a_row_at_the_mean_has_positive_zeros():
    rows = Embeddings(np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0], [0.0, 0.0]]))
    fitted = fit_hash([rows], bits=2, method="pca")
    real = fitted.encode_real(rows)
    assert real.embeddings[4].tolist() == [0.0, 0.0]
    assert codes_of_real(real) == fitted.encode(rows)
