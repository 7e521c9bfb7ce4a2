"""Standardising features by the kind of picture, against loops."""

import numpy as np
import pytest
import torch

from cmah.models.standardising import LEAST_VARIANCE, UNKNOWN, Standardise


def learned(widths=(3, 5), kinds=3, seed=0):
    """A module that has learned the kinds 0 and 2 of three, and the features of each."""
    rng = torch.Generator().manual_seed(seed)
    module = Standardise(widths, kinds)
    features = {kind: torch.randn(40, sum(widths), generator=rng) * (1 + kind) + 4 * kind for kind in (0, 2)}
    for kind, rows in features.items():
        module.learn(kind, rows)
    return module, features


def test_equals_the_definition():
    module, features = learned()
    rows = features[2][:4]
    got = module(rows, torch.full((4,), 2)).numpy()
    seen = features[2].double().numpy()
    for column in range(8):
        deviation = np.sqrt(seen[:, column].var() + LEAST_VARIANCE)
        width = 3 if column < 3 else 5
        weight = np.sqrt((8 / 2) / width)
        expected = (rows[:, column].double().numpy() - seen[:, column].mean()) / deviation * weight
        np.testing.assert_allclose(got[:, column], expected, rtol=1e-4, atol=1e-5)


def test_blocks_count_the_same_however_wide_they_are():
    module = Standardise([2, 50])
    module.learn(0, torch.randn(5000, 52, generator=torch.Generator().manual_seed(1)))
    rows = module(torch.randn(2000, 52, generator=torch.Generator().manual_seed(2)))
    narrow, wide = (block.square().sum(dim=1).mean().item() for block in rows.split([2, 50], dim=1))
    assert narrow == pytest.approx(26, rel=0.1)
    assert wide == pytest.approx(26, rel=0.1)


def slow_guess(module, row):
    """The last kind, where the blocks before the last find it likeliest; else the first that was learned."""
    scores = {}
    for kind in (0, 2):
        mean, deviation = module.mean[kind].double().numpy(), module.deviation[kind].double().numpy()
        densities = -((row - mean) ** 2) / (2 * deviation**2) - np.log(deviation)
        scores[kind] = densities[:3].mean()  # the first of two blocks
    return 2 if scores[2] > scores[0] else 0


def test_an_unknown_kind_is_guessed_by_the_blocks_before_the_last():
    module, features = learned()
    rows = torch.cat([features[0], features[2], (features[0] + features[2]) / 2])
    expected = [slow_guess(module, row.double().numpy()) for row in rows]
    assert module.guessed(rows).tolist() == expected
    assert set(expected) == {0, 2}
    unknown = module(rows, torch.full((120,), UNKNOWN))
    torch.testing.assert_close(unknown, module(rows, torch.tensor(expected)))


def test_what_is_not_of_the_last_kind_is_of_the_first_that_was_learned():
    module = Standardise((3, 5), 3)
    module.learn(1, torch.randn(40, 8, generator=torch.Generator().manual_seed(0)))
    module.learn(2, torch.randn(40, 8, generator=torch.Generator().manual_seed(1)) + 9)
    assert module.guessed(torch.tensor([[0.0] * 8, [9.0] * 8])).tolist() == [1, 2]


def test_a_kind_without_statistics_is_as_unknown():
    module, features = learned()
    rows = features[2]
    torch.testing.assert_close(module(rows, torch.ones(40, dtype=torch.int64)), module(rows))


def test_a_row_does_not_depend_on_those_beside_it():
    module, features = learned()
    rows, kinds = torch.cat([features[0], features[2]]), torch.tensor([0, UNKNOWN] * 40)
    whole = module(rows, kinds)
    for i in (0, 1, 41, 79):
        assert torch.equal(whole[i], module(rows[i : i + 1], kinds[i : i + 1])[0])


def test_statistics_are_kept_with_the_weights():
    module, features = learned()
    other = Standardise((3, 5), 3)
    other.load_state_dict(module.state_dict())
    assert torch.equal(other(features[2]), module(features[2]))
