"""Vectors of the rows of code files: found by ids, and compared as loops over all pairs of vectors do."""

import numpy as np
import pytest

from cmah.codes import BinaryCodes, Embeddings
from cmah.errors import CodesError
from cmah.search.row_vectors import RowVectors, read_views, views_file_of

RANDOM = np.random.default_rng(0)
NAMES = ["a", "b", "c", "d"]


def codes(names, **more):
    return BinaryCodes.from_bits(np.zeros((len(names), 4), int), ids=names, **more)


def views_of(shapes, **more):
    rows = RANDOM.normal(size=(len(shapes), 5)).astype(np.float32)
    ids = [f"{shape}_view{i}" for i, shape in enumerate(shapes)]
    return Embeddings(rows, ids=ids, shape_ids=shapes, modality="shape", **more)


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_scores_are_the_greatest_cosines_of_all_pairs():
    shapes = codes(NAMES, shape_ids=NAMES, modality="shape")
    table = views_of(["c", "a", "b", "a", "d", "c", "b", "a"])
    images = codes(["x", "y", "z"], modality="image")
    looks = Embeddings(RANDOM.normal(size=(3, 5)).astype(np.float32), ids=["z", "x", "y"], modality="image")
    of_shapes, of_images = RowVectors.of(table, shapes), RowVectors.of(looks, images)
    own = {name: table.embeddings[table.shape_ids == name].astype(float) for name in NAMES}
    own |= {name: looks.embeddings[looks.id_texts == name].astype(float) for name in "xyz"}
    chosen = np.array([3, 0, 2])
    for row, name in enumerate("xyz"):
        expected = [max(cosine(a, b) for a in own[name] for b in own[NAMES[p]]) for p in chosen]
        np.testing.assert_allclose(of_images.scores(row, of_shapes, chosen), expected, atol=2e-9)
    for row, name in enumerate(NAMES):
        expected = [max(cosine(a, b) for a in own[name] for b in own["xyz"[p]]) for p in (2, 0)]
        np.testing.assert_allclose(of_shapes.scores(row, of_images, np.array([2, 0])), expected, atol=2e-9)
    assert np.array_equal(
        of_shapes[[2, 1]].scores(0, of_images, chosen[1:]), of_shapes.scores(2, of_images, chosen[1:])
    )
    assert len(of_shapes[np.array([True, False, True, True])]) == 3


def test_rows_without_ids_are_those_of_the_codes():
    plain = BinaryCodes.from_bits(np.zeros((3, 4), int))
    assert RowVectors.of(Embeddings(np.eye(3)), plain).numbers.tolist() == [0, 1, 2]
    with pytest.raises(CodesError, match=r"f\.npz: has 3 rows, expected 2, one for each code"):
        RowVectors.of(Embeddings(np.eye(3)), plain[:2], "f.npz")


def test_a_row_of_unknown_shape_is_its_own():
    table = views_of(["a", "b", "b"])
    shapes = codes(["a", "b"], shape_ids=["", "b"], modality="shape")
    assert RowVectors.of(table, shapes).numbers.tolist() == [0, 1]
    assert RowVectors.of(table, codes(["b"], modality="shape")).numbers.tolist() == [1]


def test_what_does_not_fit():
    shapes = codes(NAMES, shape_ids=NAMES, modality="shape")
    table = views_of(["a", "b", "c", "a"], space="one")
    for given, rows, message in (
        (table, shapes, r"f\.npz: has no vector for d, which has a code"),
        (Embeddings(np.eye(4), ids=NAMES), shapes, r"f\.npz: has no shape ids, expected those of the views"),
        (Embeddings(np.eye(4), ids=NAMES), codes(["q"]), r"f\.npz: has no vector for q, which has a code"),
        (Embeddings(np.eye(2), ids=["a", "a"]), codes(["a"]), r"f\.npz: id a is there 2 times"),
        (table, BinaryCodes.from_bits([[0]], modality="shape"), "expected codes that name their shapes"),
    ):
        with pytest.raises(CodesError, match=message):
            RowVectors.of(given, rows, "f.npz")
    first = RowVectors.of(table, shapes[:2])
    other = RowVectors.of(
        Embeddings(np.eye(5), space="two"), BinaryCodes.from_bits(np.zeros((5, 1), int)), "g.npz"
    )
    with pytest.raises(CodesError, match=r"g\.npz: vectors of space two, expected one as the queries"):
        first.check_comparable(other)


def test_files(tmp_path):
    path = views_file_of(tmp_path / "shape.npz")
    assert path == tmp_path / "shape_views.npz"
    with pytest.raises(
        CodesError, match=r"shape_views\.npz: no such file \(expected the vectors of c\.npz to"
    ):
        read_views(path, "c.npz")
    views_of(["a"]).save(path)
    assert read_views(path, "c.npz").shape_ids.tolist() == ["a"]
