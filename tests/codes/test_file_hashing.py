"""Which set of a hash each file is taken as."""

import numpy as np

from cmah.codes import Embeddings
from cmah.codes.file_hashing import hash_files, read_embeddings


def test_a_file_is_of_the_modality_that_it_says_or_is_named_after(tmp_path):
    rows = np.eye(3, dtype=np.float32)
    for name in ("image", "shape", "mine"):
        np.save(tmp_path / f"{name}.npy", rows)
        Embeddings(rows).save(tmp_path / f"{name}.npz")
        expected = "" if name == "mine" else name
        assert read_embeddings(tmp_path / f"{name}.npy").modality == expected
        assert read_embeddings(tmp_path / f"{name}.npz").modality == expected
    Embeddings(rows, modality="shape").save(tmp_path / "image.npz")
    assert read_embeddings(tmp_path / "image.npz").modality == "shape"


def test_names_decide_where_a_fitted_hash_is_applied(tmp_path):
    """Applied in the other order, each file still gets the mean of its own modality."""
    rng = np.random.default_rng(0)
    files = {name: tmp_path / f"{name}.npz" for name in ("image", "shape")}
    for shift, path in enumerate(files.values()):
        Embeddings(rng.standard_normal((50, 8)) + 3 * shift).save(path)
    _, first = hash_files(files.values(), tmp_path / "a", 8)
    _, again = hash_files([*files.values()][::-1], tmp_path / "b", fitted=tmp_path / "a" / "hash.npz")
    assert (
        first[tmp_path / "a" / "image.npz"].packed.tolist()
        == again[tmp_path / "b" / "image.npz"].packed.tolist()
    )
    assert (
        first[tmp_path / "a" / "shape.npz"].packed.tolist()
        == again[tmp_path / "b" / "shape.npz"].packed.tolist()
    )
