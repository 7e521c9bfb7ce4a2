"""Views by their cameras: what a picture that cannot be read costs, and cameras that do not correspond."""

import dataclasses

import pytest
import torch
from shapes_with_views import FakeEmbedder, close, similarity_by_loops, some_pairs, views_of

from cmah.errors import ConfigError
from cmah.losses.weighted import batch_weights
from cmah.negatives.negatives_config import NegativesConfig
from cmah.negatives.similarities import i2i, i2i_all_pairs
from cmah.negatives.weights import make_negative_weights

INDEX = torch.tensor([5, 1, 3, 0, 4, 7])


@pytest.mark.parametrize("how", ["unreadable", "left out"])
def test_a_picture_that_cannot_be_read_costs_its_view_only(how, tmp_path):
    lost = ("s2_1",)
    if how == "unreadable":  # by the embedder, now
        pairs, embedder = some_pairs(), FakeEmbedder(tmp_path, broken=lost)
    else:  # by whoever made the pairs, and said so
        pairs, embedder = some_pairs(drop=lost), FakeEmbedder(tmp_path)
        pairs.skipped.append(("s2_1.png", "broken"))
    weights = make_negative_weights(NegativesConfig("i2i"), pairs, embedder)
    views = views_of()
    views[2, 1] = 0
    close(weights(INDEX)[0], batch_weights(similarity_by_loops(i2i, views)[INDEX][:, INDEX])[0])
    ragged = make_negative_weights(NegativesConfig("i2i", views="all_pairs"), pairs, embedder)
    close(ragged(INDEX)[0], batch_weights(similarity_by_loops(i2i_all_pairs, views)[INDEX][:, INDEX])[0])


@pytest.mark.parametrize("fault", ["missing", "unnumbered", "twice"])
def test_cameras_that_do_not_correspond_are_told(fault, tmp_path):
    pairs = some_pairs(drop=("s4_0",) if fault == "missing" else ())
    if fault != "missing":
        view = None if fault == "unnumbered" else 1
        pairs.images[4][2] = dataclasses.replace(pairs.images[4][2], view=view)
    embedder = FakeEmbedder(tmp_path)
    with pytest.raises(ConfigError, match=r"shape 's4' has .*corresponding.*views = \"all_pairs\"$"):
        make_negative_weights(NegativesConfig("i2i"), pairs, embedder)
    make_negative_weights(NegativesConfig("i2i", views="all_pairs"), pairs, embedder)
