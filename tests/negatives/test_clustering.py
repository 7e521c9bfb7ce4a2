"""k-means finds groups that are there, and finds the same ones again."""

import numpy as np
import pytest

from cmah.errors import ConfigError
from cmah.negatives import clustering
from cmah.negatives.clustering import clusters


def groups(count=4, each=25, views=3, width=16):
    """Views of shapes about a direction for each group, the shapes in random order; and their groups."""
    rng = np.random.default_rng(0)
    truth = rng.permutation(np.repeat(np.arange(count), each))
    centres = np.linalg.qr(rng.normal(size=(width, count)))[0].T
    return centres[truth][:, None] + 0.1 * rng.normal(size=(len(truth), views, width)), truth


def test_finds_the_groups_and_finds_them_again(monkeypatch):
    views, truth = groups()
    found = clusters(lambda p: views[p], len(views), 4)
    assert sorted(np.unique(truth * 10 + found, return_counts=True)[1].tolist()) == [25] * 4
    monkeypatch.setattr(clustering, "CHUNK", 7)
    assert np.array_equal(found, clusters(lambda p: views[p], len(views), 4))


def test_more_clusters_than_there_are_things_to_tell_apart():
    views = np.ones((6, 2, 3))
    assert len(set(clusters(lambda p: views[p], 6, 3).tolist())) == 1
    views = np.eye(5)[:, None]
    assert sorted(clusters(lambda p: views[p], 5, 5)) == [0, 1, 2, 3, 4]
    with pytest.raises(ConfigError, match="there are 5 shapes"):
        clusters(lambda p: views[p], 5, 6)
