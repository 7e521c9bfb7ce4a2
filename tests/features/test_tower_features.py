"""Features of a frozen tower: what is kept, what is computed again, and that the bytes are always the same."""

import numpy as np
import pytest
import torch
from torch import nn

from cmah.errors import CmahError
from cmah.features import shards, tower_features
from cmah.features.tower_features import tower_key


@pytest.fixture
def tower():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.GELU())


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CMAH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tower_features, "SHARD", 2)
    monkeypatch.setattr(shards, "SECONDS", 0.0)
    return tmp_path / "cache"


def compute(tower, count=15, copies=3, broken=(), log=None, stop=None, content="a"):
    def draw(item, rng):
        if item in broken:
            raise CmahError(f"{item} cannot be read")
        if log is not None:
            log.append(item)
        if stop is not None and len(log) == stop:
            raise KeyboardInterrupt
        return rng.random((4, 3), np.float32) + item

    return tower_features.tower_features(tower, draw, count, copies, (3, 1), content=content, label="x")


def test_each_row_is_the_towers_own(tower):
    features, unreadable = compute(tower)
    assert (features.shape, unreadable) == ((15, 3, 5), {})
    for item, copy in ((0, 0), (7, 2), (14, 1)):
        drawn = np.random.default_rng([3, 1, item, copy]).random((4, 3), np.float32) + item
        with torch.no_grad():
            expected = tower(torch.from_numpy(drawn)[None])[0]
        np.testing.assert_allclose(features[item, copy], expected, rtol=2e-3)


def test_a_second_job_computes_nothing(tower):
    log = []
    first, _ = compute(tower, broken=[0, 6], log=log)
    seen = len(log)
    again, unreadable = compute(tower, broken=[0, 6], log=log)
    assert len(log) == seen == 13 * 3
    assert np.array_equal(first, again)
    assert unreadable == {0: "0 cannot be read", 6: "6 cannot be read"}
    assert not first[[0, 6]].any()


@pytest.mark.parametrize("stop", [1, 9, 20, 44])
def test_a_stopped_job_goes_on_to_the_same_bytes(tower, own_cache, tmp_path, monkeypatch, stop):
    monkeypatch.setenv("CMAH_CACHE", str(tmp_path / "whole"))
    wanted, _ = compute(tower, broken=[2])
    monkeypatch.setenv("CMAH_CACHE", str(own_cache))
    log = []
    with pytest.raises(KeyboardInterrupt):
        compute(tower, broken=[2], log=log, stop=min(stop, 42))
    done, log = len(log) - 1, []
    assert np.array_equal(compute(tower, broken=[2], log=log)[0], wanted)
    assert len(log) <= 42 - done // 8 * 8 + 3  # at most the batch that was cut off is drawn again
    files = {path.name: path.read_bytes() for path in own_cache.rglob("*.npy")}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "whole").rglob("*.npy")}
    assert not list(own_cache.rglob("*.part.npz"))


def test_what_is_unreadable_changes_nothing_for_the_others(tower):
    whole, _ = compute(tower)
    some, unreadable = compute(tower, broken=[0, 1, 2, 5], content="b")
    assert list(unreadable) == [0, 1, 2, 5]
    others = [i for i in range(15) if i not in unreadable]
    assert np.array_equal(some[others], whole[others])
    nothing, unreadable = compute(tower, broken=range(15), content="c")
    assert (nothing.shape[:2], len(unreadable)) == ((15, 3), 15)


def test_other_towers_and_contents_have_features_of_their_own(tower, own_cache):
    compute(tower)
    compute(tower, content="b")
    compute(tower, copies=2)
    with torch.no_grad():
        tower[1].weight[0, 0] += 1
    compute(tower)
    assert len(list((own_cache / "features").iterdir())) == 4


def test_settings_without_weights_are_part_of_a_tower():
    keys = {
        tower_key(module)
        for module in (nn.LayerNorm(2), nn.LayerNorm(2, eps=1e-3), nn.ReLU(), nn.Identity(), nn.ReLU())
    }
    assert len(keys) == 4
    assert tower_key(nn.Dropout(0.5)) == tower_key(nn.Dropout(0.5).eval())


def test_a_cache_that_cannot_be_written_is_done_without(tower, own_cache, capsys, monkeypatch):
    wanted, _ = compute(tower)
    own_cache.rename(own_cache.with_name("other"))
    own_cache.write_text("")
    monkeypatch.setattr("cmah.cache._told", set())
    assert np.array_equal(compute(tower)[0], wanted)
    assert len(capsys.readouterr().err.splitlines()) == 1
