"""Point files and the normalisation that every cloud goes through."""

import io
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmah.data.point_clouds import fixed_subset, load_points_file, model_input, normalise, with_colours
from cmah.errors import CmahError


@pytest.fixture
def cloud():
    return np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)


def outcome(path):
    """The points, or None and the reason."""
    try:
        return load_points_file(path), ""
    except CmahError as error:
        return None, str(error)


@pytest.mark.parametrize("kind", ["<f2", "<f4", ">f8", "u1", "<i8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_numbers_of_any_type_and_order_are_read(tmp_path, cloud, kind, order):
    values = np.asarray(np.abs(cloud * 20), dtype=kind, order=order)
    np.save(tmp_path / "a.npy", values)
    loaded = load_points_file(tmp_path / "a.npy")
    assert loaded.dtype == np.float32
    assert loaded.flags.c_contiguous
    np.testing.assert_allclose(loaded, values.astype(np.float32), rtol=1e-6)


def test_colours_are_kept_and_checked(tmp_path, cloud):
    colours = np.random.default_rng(1).random((50, 3))
    np.save(tmp_path / "a.npy", np.hstack([cloud, colours]))
    np.testing.assert_allclose(load_points_file(tmp_path / "a.npy")[:, 3:], colours, atol=1e-6)
    np.save(tmp_path / "b.npy", np.hstack([cloud, colours * 255]))
    with pytest.raises(CmahError, match=r"expected rgb in 0\.\.1"):
        load_points_file(tmp_path / "b.npy")


def test_what_is_no_cloud_is_one_clear_line(tmp_path, cloud):
    spoilt = cloud.copy()
    spoilt[7, 1] = np.inf
    for name, value, message in (
        ("flat", cloud.ravel(), r"shape \(150,\)"),
        ("two", cloud[:, :2], r"shape \(50, 2\)"),
        ("none", cloud[:0], r"shape \(0, 3\)"),
        ("complex", cloud + 1j, "complex"),
        ("text", cloud.astype(str), "values of type"),
        ("bool", cloud > 0, "bool"),
        ("infinite", spoilt, "row 7"),
        ("huge", cloud.astype(np.float64) * 1e200, "at most"),
    ):
        np.save(tmp_path / f"{name}.npy", value)
        with pytest.raises(CmahError, match=message) as caught:
            load_points_file(tmp_path / f"{name}.npy")
        assert "\n" not in str(caught.value)
    for path, message in ((tmp_path / "nowhere.npy", "no such file"), (tmp_path, "not a file")):
        with pytest.raises(CmahError, match=message):
            load_points_file(path)
    os.mkfifo(tmp_path / "pipe.npy")
    with pytest.raises(CmahError, match="not a file"):
        load_points_file(tmp_path / "pipe.npy")


def test_the_header_is_checked_before_memory_is_taken(tmp_path):
    header = io.BytesIO()
    for rows, message in ((40_000_000, "truncated"), (10**12, "at most")):
        header.seek(0)
        np.lib.format.write_array_header_1_0(
            header, {"descr": "<f4", "fortran_order": False, "shape": (rows, 3)}
        )
        (tmp_path / "a.npy").write_bytes(header.getvalue() + bytes(100))
        with pytest.raises(CmahError, match=message):
            load_points_file(tmp_path / "a.npy")


def test_pickles_are_never_loaded(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(CmahError, match="never loaded"):
        load_points_file(tmp_path / "a.npy")


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_damaged_files_give_points_or_a_clean_error(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("damaged") / "a.npy"
    np.save(path, np.ones((5, 3), np.float32))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, 127))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    points, reason = outcome(path)
    if points is None:
        assert "\n" not in reason
    else:
        assert points.dtype == np.float32
        assert np.isfinite(points).all()


def test_hostile_files(shared, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sound = {"all_same.npy", "float64_far_away.npy", "integers.npy", "too_few.npy"}
    for path in sorted((shared / "data/hostile/points").iterdir()):
        points, reason = outcome(path)
        assert (points is not None) == (path.name in sound), reason
        assert "\n" not in reason
        assert points is None or np.isfinite(model_input(points, 64)).all()
    assert not list(tmp_path.iterdir())
    far = np.load(shared / "data/hostile/points/float64_far_away.npy")
    expected = far - far.mean(0)
    expected /= np.linalg.norm(expected, axis=1).max()
    points = load_points_file(shared / "data/hostile/points/float64_far_away.npy")
    np.testing.assert_allclose(normalise(points), expected, atol=1e-6)


def test_normalise_puts_the_mean_at_the_origin_and_the_largest_norm_at_one(cloud):
    moved = with_colours(cloud * 7 + 100)
    result = normalise(moved)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result[:, :3].mean(0), 0, atol=1e-6)
    assert np.linalg.norm(result[:, :3], axis=1).max() == pytest.approx(1, abs=1e-6)
    np.testing.assert_array_equal(result[:, 3:], moved[:, 3:])
    np.testing.assert_allclose(result[:, :3], normalise(cloud), atol=1e-5)
    batch = np.stack([cloud, cloud * 3 - 5, np.ones_like(cloud)])
    np.testing.assert_array_equal(normalise(batch), [normalise(one) for one in batch])


@pytest.mark.parametrize("value", [0.0, 1 / 3, 1e-20, 1e20, -7.7])
def test_equal_points_become_zeros(value):
    assert not normalise(np.full((1000, 3), value, np.float32)).any()


def test_reference_normalisation(shared):
    with np.load(shared / "goldens/ops/preprocess.npz") as file:
        np.testing.assert_allclose(normalise(file["raw"]), file["ulip"], atol=1e-7)


def test_fixed_subset_is_even_or_cyclic(cloud):
    assert fixed_subset(10, 5).tolist() == [0, 2, 4, 6, 8]
    assert fixed_subset(10, 10).tolist() == list(range(10))
    assert fixed_subset(3, 7).tolist() == [0, 1, 2, 0, 1, 2, 0]
    for n, wanted in ((2048, 1024), (10_000, 1024), (1025, 1024)):
        chosen = fixed_subset(n, wanted)
        assert len(set(chosen)) == wanted
        assert np.diff(chosen).max() - np.diff(chosen).min() <= 1
        assert chosen[-1] < n
    assert model_input(with_colours(cloud), 20).shape == (20, 3)
    assert model_input(cloud, 80, colours=True).shape == (80, 6)
    np.testing.assert_array_equal(model_input(cloud, 25), normalise(cloud[::2]))


def test_grey_is_as_exact_as_the_points():
    cloud = np.random.default_rng(0).normal(size=(20, 3))
    assert np.all(model_input(cloud.astype(np.float32), 10, colours=True)[:, 3:] == np.float32(0.4))
    assert with_colours(cloud.astype(np.float16)).dtype == np.float16
