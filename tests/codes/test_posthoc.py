"""Post-hoc hashing: against plain loops, its invariances, its file, its refusals, and what it is worth."""

import numpy as np
import pytest

from cmah.codes import BinaryCodes, Embeddings
from cmah.codes.posthoc import ITERATIONS, PostHocHash, fit_hash, refuse_to_replace
from cmah.errors import CmahError, CodesError
from cmah.evaluation import evaluate


def clusters(n, d=12, seed=0, shift=0.0, **known):
    """Rows around six centres, `shift` away from the origin, and the centre of each."""
    centres = np.random.default_rng(99).standard_normal((6, d))
    random = np.random.default_rng(seed)
    label = random.integers(0, 6, n)
    rows = centres[label] + 0.4 * random.standard_normal((n, d)) + shift
    return Embeddings(rows.astype(np.float32), categories=label.astype(str), **known)


def unit_rows(embeddings):
    rows = embeddings.embeddings.astype(np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("method", ["lsh", "pca", "itq"])
def test_a_code_is_the_signs_of_the_projected_centred_row(method):
    rows = clusters(60, ids=[f"r{i}" for i in range(60)], modality="image")
    fitted = fit_hash([rows], 8, method)
    codes = fitted.encode(rows)
    assert (codes.bits, codes.modality, codes.space) == (8, "image", fitted.space())
    assert codes.ids.tolist() == rows.ids.tolist()
    assert codes.categories.tolist() == rows.categories.tolist()
    mean = unit_rows(rows).mean(axis=0)
    np.testing.assert_allclose(fitted.means[0], mean, atol=1e-6)
    for row, signs in zip(unit_rows(rows), codes.signs(), strict=True):
        values = [float(np.dot(row - fitted.means[0], fitted.projections[0][:, b])) for b in range(8)]
        assert signs.tolist() == [1 if value >= 0 else -1 for value in values]


@pytest.mark.parametrize("method", ["pca", "itq"])
def test_projections_are_rotated_principal_components(method):
    rows = clusters(200)
    fitted = fit_hash([rows], 5, method)
    projection = fitted.projections[0].astype(np.float64)
    np.testing.assert_allclose(projection.T @ projection, np.eye(5), atol=1e-6)
    centred = unit_rows(rows) - unit_rows(rows).mean(axis=0)
    _, _, right = np.linalg.svd(centred, full_matrices=False)
    top = right[:5].T  # the same space, whatever the turn within it
    np.testing.assert_allclose(top @ (top.T @ projection), projection, atol=1e-5)


def test_itq_loses_less_than_the_random_rotation_it_starts_from():
    rows = clusters(300)
    centred = unit_rows(rows) - unit_rows(rows).mean(axis=0)

    def loss(method):
        reduced = centred @ fit_hash([rows], 8, method).projections[0]
        return ((np.where(reduced >= 0, 1, -1) - reduced) ** 2).sum()

    assert loss("itq") < loss("pca")
    assert ITERATIONS == 50


def test_itq_takes_the_steps_of_its_paper():
    """Alternately: signs; then the rotation R that least changes V R from the signs, by SVD of their product."""
    rows = clusters(80)
    start = fit_hash([rows], 4, "pca").projections[0].astype(np.float64)
    centred = unit_rows(rows) - unit_rows(rows).mean(axis=0)
    turned, rotation = centred @ start, np.eye(4)
    for _ in range(ITERATIONS):
        signs = np.where(turned @ rotation >= 0, 1.0, -1.0)
        u, _, vt = np.linalg.svd(turned.T @ signs)  # orthogonal Procrustes: R = U V^T
        rotation = u @ vt
    np.testing.assert_allclose(fit_hash([rows], 4, "itq").projections[0], start @ rotation, atol=1e-5)


def test_sharing():
    image, shape = clusters(80, seed=1), clusters(90, seed=2, shift=3.0)
    projection = fit_hash([image, shape], 8)
    assert np.array_equal(projection.projections[0], projection.projections[1])
    assert not np.allclose(projection.means[0], projection.means[1], atol=0.1)
    assert projection.space(0) == projection.space(1)
    everything = fit_hash([image, shape], 8, sharing="all")
    assert np.array_equal(everything.means[0], everything.means[1])
    nothing = fit_hash([image, shape], 8, sharing="nothing")
    assert not np.allclose(nothing.projections[0], nothing.projections[1])
    assert nothing.space(0) != nothing.space(1)
    with pytest.raises(CodesError, match="space"):
        evaluate(nothing.encode(image, 0), nothing.encode(shape, 1))


def test_own_means_close_the_gap_between_modalities():
    image, shape = clusters(150, seed=1), clusters(150, seed=2, shift=1.0)
    scores = {}
    for sharing in ("projection", "all"):
        fitted = fit_hash([image, shape], 12, sharing=sharing)
        scores[sharing] = evaluate(fitted.encode(image, 0), fitted.encode(shape, 1), bootstrap=0)["map"]
    assert scores["projection"] > scores["all"]
    assert scores["projection"] > 0.7  # six classes: chance is a sixth


def test_a_row_has_the_same_code_in_any_company_and_scale():
    rows = clusters(50)
    fitted = fit_hash([rows], 10)
    whole = fitted.encode(rows)
    for part in (slice(0, 1), slice(7, 30)):
        assert np.array_equal(fitted.encode(rows[part]).packed, whole.packed[part])
    scaled = Embeddings(rows.embeddings * 8)
    assert np.array_equal(fitted.encode(scaled).packed, whole.packed)


def test_the_same_seed_gives_the_same_hash():
    rows = clusters(50)
    assert fit_hash([rows], 6, "lsh", seed=3).space() == fit_hash([rows], 6, "lsh", seed=3).space()
    assert fit_hash([rows], 6, "lsh", seed=3).space() != fit_hash([rows], 6, "lsh", seed=4).space()


def test_lsh_may_be_longer_than_the_rows_are_wide():
    codes = fit_hash([clusters(50)], 100, "lsh").encode(clusters(20, seed=5))
    assert (len(codes), codes.bits) == (20, 100)


def test_file(tmp_path):
    fitted = fit_hash([clusters(50), clusters(40, seed=1)], 9, "itq")
    fitted.save(tmp_path / "hash.npz")
    again = PostHocHash.load(tmp_path / "hash.npz")
    assert (again.method, again.sharing, again.bits, again.sets) == ("itq", "projection", 9, 2)
    assert again.space() == fitted.space()
    rows = clusters(30, seed=2)
    assert again.encode(rows, 1) == fitted.encode(rows, 1)


def test_damaged_files(tmp_path):
    path = tmp_path / "hash.npz"
    good = {"format": "cmah-hash", "version": 1, "method": "lsh", "sharing": "all", "modalities": ["image"]}
    arrays = {"means": np.zeros((1, 3), np.float32), "projections": np.zeros((1, 3, 4), np.float32)}
    for change, message in (
        ({"format": "cmah-codes"}, "not a post-hoc hash"),
        ({"version": 2}, "version 2"),
        ({"method": "magic"}, "magic"),
        ({"modalities": ["a", "b"]}, "modalities"),
        ({"means": np.zeros((1, 2), np.float32)}, "expected"),
        ({"means": np.float32(1)}, "expected"),
        ({"means": np.zeros((1, 3), int)}, "means are int64"),
        ({"projections": np.full((1, 3, 4), np.nan, np.float32)}, "finite"),
    ):
        np.savez(path, **{**good, **arrays, **change})
        with pytest.raises(CodesError, match=message):
            PostHocHash.load(path)
    np.savez(path, **{key: value for key, value in good.items() if key != "modalities"}, **arrays)
    assert PostHocHash.load(path).modalities.tolist() == [""]
    np.savez(path, **good)
    with pytest.raises(CodesError, match="no member 'means'"):
        PostHocHash.load(path)
    path.write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(CodesError, match=str(path)):
        PostHocHash.load(path)


def test_refusals():
    rows = clusters(20)
    with pytest.raises(CodesError, match="expected 1 to 12 for 'itq' on embeddings of width 12"):
        fit_hash([rows], 13)
    with pytest.raises(CodesError, match="expected 1 to 4096"):
        fit_hash([rows], 5000, "lsh")
    with pytest.raises(CodesError, match="expected one width"):
        fit_hash([rows, clusters(20, d=5)], 4)
    with pytest.raises(CodesError, match="sets is an empty list, expected Embeddings"):
        fit_hash([], 4)
    with pytest.raises(CodesError, match="expected a list of Embeddings"):
        fit_hash(5, 4)
    with pytest.raises(CodesError, match="seed is an object of type Embeddings, expected a whole number"):
        fit_hash([rows], 4, seed=rows)
    with pytest.raises(CodesError, match="2 or more"):
        fit_hash([rows[:1]], 4)
    with pytest.raises(CodesError, match="magic"):
        fit_hash([rows], 4, "magic")
    fitted = fit_hash([rows], 4)
    with pytest.raises(CodesError, match="have width 5, expected 12"):
        fitted.encode(clusters(20, d=5))
    with pytest.raises(CodesError, match="set 1, expected 0 to 0"):
        fitted.encode(rows, 1)


def test_rows_of_zeros():
    rows = Embeddings(np.zeros((5, 4), np.float32))
    assert len(fit_hash([rows], 3).encode(rows)) == 5


def test_only_hash_files_are_replaced(tmp_path):
    path, foreign = tmp_path / "hash.npz", tmp_path / "codes.npz"
    rows = Embeddings(np.random.default_rng(0).standard_normal((9, 4)))
    refuse_to_replace(path)
    fitted = fit_hash([rows], 2)
    fitted.save(path)
    refuse_to_replace(path, [foreign])
    with pytest.raises(CmahError, match="is read here"):
        refuse_to_replace(path, [path])
    fitted.encode(rows).save(foreign)
    with pytest.raises(CmahError, match="exists and is not such a file"):
        refuse_to_replace(foreign)


def test_arrays_are_sets_too():
    rows = clusters(40)
    expected = fit_hash([rows], 6)
    x = rows.embeddings
    for sets in (rows, x, [x], [x.tolist()], [x.astype(np.float64)], (one for one in [rows])):
        fitted = fit_hash(sets, np.int64(6))
        assert fitted.space() == expected.space()
    assert np.array_equal(fitted.encode(x).packed, expected.encode(rows).packed)


class Tensor:
    """What NumPy cannot read of torch: a tensor that requires gradients."""

    ndim = 2

    def detach(self):
        return self

    def __array__(self, *_, **__):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad.")


@pytest.mark.parametrize(
    ("sets", "arguments", "message"),
    [
        ([np.ones((6, 8), int)], {}, r"set 0: embeddings are int64 \[6, 8\], expected float32"),
        ([np.full((6, 8), np.nan)], {}, "set 0: embeddings .* row 0 is not finite"),
        ([np.ones(8)], {}, r"set 0: embeddings have shape \[8\], expected \[n, width\]"),
        (
            [np.ones((3, 8)), "b.npz"],
            {},
            "set 1: is a str, expected Embeddings or floats .* Embeddings.load reads",
        ),
        ("b.npz", {}, "sets are a str, expected a list"),
        (None, {}, "sets are a NoneType, expected a list"),
        ([], {}, "sets is an empty list"),
        ([np.ones((0, 8))], {}, "2 or more in each"),
        (
            [Tensor()],
            {},
            r"set 0: embeddings are a Tensor that NumPy takes for no array, expected .detach\(\)",
        ),
        ([BinaryCodes.from_bits([[0, 1]] * 3)], {}, "set 0: are binary codes"),
        ([np.ones((6, 8))], {"bits": 4.0}, r"bits is 4\.0, expected a whole number"),
        ([np.ones((6, 8))], {"bits": "4"}, "bits is '4', expected a whole number"),
        ([np.ones((6, 8))], {"seed": -1}, "seed is -1, expected 0 or more"),
        ([np.ones((6, 8))], {"seed": 0.5}, r"seed is 0\.5, expected a whole number"),
    ],
)
def test_what_is_no_set_is_told_in_one_line(sets, arguments, message):
    with pytest.raises(CodesError, match=message) as caught:
        fit_hash(sets, **{"bits": 4, **arguments})
    assert "\n" not in str(caught.value)


def test_what_cannot_be_encoded_is_told():
    fitted = fit_hash(clusters(40), 4)
    for rows, which, message in (
        (BinaryCodes.from_bits([[0, 1]]), 0, "embeddings: are binary codes"),
        (np.ones((2, 12)), 0.5, r"set is 0\.5, expected a whole number"),
        (np.ones((2, 12)), "image", "set is 'image', expected a whole number"),
    ):
        with pytest.raises(CodesError, match=message):
            fitted.encode(rows, which)
