"""Short names of folders."""

from cmah.evaluation.vector_files import names_of


def test_names_of_folders(tmp_path):
    def names(*paths):
        return names_of([tmp_path / path for path in paths])

    assert names("a", "b") == ["a", "b"]
    assert names("a/codes", "b/codes") == ["a", "b"]
    assert names("x/a", "y/a/codes", "z/b") == ["a", "codes", "b"]
    assert names("x/a/c/d", "y/a/c/d", "y/b/c/d") == ["x/a", "y/a", "y/b"]
