"""Patches, positions and masks, each against loops."""

import math

import pytest
import torch

from cmah.models.tokenizers import PointTokenizer, patchify, random_split, sine_positions, take


def test_patchify_against_loops():
    images = torch.arange(2 * 3 * 8 * 8).reshape(2, 3, 8, 8)
    patches = patchify(images, 4)
    assert patches.shape == (2, 4, 48)
    for b in range(2):
        for row in range(2):
            for column in range(2):
                for y in range(4):
                    for x in range(4):
                        for c in range(3):
                            got = patches[b, row * 2 + column, (y * 4 + x) * 3 + c]
                            assert got == images[b, c, row * 4 + y, column * 4 + x]


def test_sine_positions_against_the_formula():
    table = sine_positions(3, 8)
    for row in range(3):
        for column in range(3):
            expected = []
            for place in (row, column):
                angles = [place / 10000 ** (i / 2) for i in range(2)]
                expected += [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
            assert table[row * 3 + column].tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("tokens", "ratio", "masked"), [(64, 0.6, 38), (64, 0.75, 48), (5, 0.0, 1), (4, 0.99, 3)]
)
def test_random_split_is_a_permutation(tokens, ratio, masked):
    visible, hidden = random_split(50, tokens, ratio, torch.Generator().manual_seed(0))
    assert hidden.shape == (50, masked)
    assert visible.shape == (50, tokens - masked)
    together = torch.cat([visible, hidden], dim=1).sort(dim=1).values
    assert torch.equal(together, torch.arange(tokens).expand(50, -1))
    again = random_split(50, tokens, ratio, torch.Generator().manual_seed(0))
    assert torch.equal(visible, again[0])
    if masked > 0:
        assert hidden.float().std(dim=0).max() > 0  # items differ


def test_take_picks_rows():
    tokens = torch.randn(3, 5, 2)
    index = torch.tensor([[4, 0], [1, 1], [2, 3]])
    for b in range(3):
        for v in range(2):
            assert torch.equal(take(tokens, index)[b, v], tokens[b, index[b, v]])


def test_point_tokens_ignore_the_order_within_a_group():
    tokenizer = PointTokenizer(4, 8, 16, 12).eval()
    groups = torch.randn(2, 4, 8, 3)
    shuffled = groups[:, :, torch.randperm(8)]
    assert torch.allclose(tokenizer(groups), tokenizer(shuffled), atol=1e-6)


def test_groups_are_relative_to_their_centres():
    tokenizer = PointTokenizer(6, 5, 16, 12)
    points = torch.randn(2, 40, 3)
    centres, groups = tokenizer.group(points)
    # the nearest point of a centre is the centre itself
    assert torch.equal(groups[:, :, 0], torch.zeros(2, 6, 3))
    for b in range(2):
        for g in range(6):
            distances = (points[b] - centres[b, g]).square().sum(1).sort().values[:5]
            assert torch.allclose(groups[b, g].square().sum(1), distances, atol=1e-6)
