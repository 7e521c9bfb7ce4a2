"""Short names of folders; what is no path or no length."""

import pytest

from cmah.codes import BinaryCodes
from cmah.errors import CodesError
from cmah.evaluation.comparing import compare_folders, evaluate_files
from cmah.evaluation.vector_files import names_of


def test_names_of_folders(tmp_path):
    def names(*paths):
        return names_of([tmp_path / path for path in paths])

    assert names("a", "b") == ["a", "b"]
    assert names("a/codes", "b/codes") == ["a", "b"]
    assert names("x/a", "y/a/codes", "z/b") == ["a", "codes", "b"]
    assert names("x/a/c/d", "y/a/c/d", "y/b/c/d") == ["x/a", "y/a", "y/b"]


def test_paths_and_lengths_of_wrong_types_are_told(tmp_path):
    codes = BinaryCodes.from_bits([[0, 1], [1, 1]], categories=["a", "a"])
    codes.save(tmp_path / "a.npz")
    path = tmp_path / "a.npz"
    for call, message in (
        (lambda: evaluate_files(codes, path), "query is a BinaryCodes, expected the path of a code file"),
        (lambda: evaluate_files(path, None), "database is a NoneType, expected the path"),
        (lambda: evaluate_files(path, path, bits="2"), "bits is '2', expected a whole number"),
        (lambda: evaluate_files(path, path, kind=["photo"]), "expected one name, such as photo"),
        (lambda: evaluate_files(path, path, unhashed="b.npy"), "expected two paths"),
        (lambda: evaluate_files(path, path, protocol={}), "protocol is a dict"),
        (lambda: compare_folders("abc"), "folders are 'abc', expected a list"),
        (lambda: compare_folders([]), "expected a list of one or more paths"),
    ):
        with pytest.raises(CodesError, match=message):
            call()
    assert len(evaluate_files(path, path, bits=2).evaluations) == 1
