"""Soft targets against loops and closed forms, and the contrast that takes them."""

import math

import pytest
import torch

from cmah.losses.contrastive import info_nce, nested_info_nce
from cmah.losses.soft_targets import MOST, SoftTargetsConfig, cosines, nested_targets, soft_targets


def rows(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slow_targets(similarity, share, temperature):
    """The definition, entry by entry."""
    n = len(similarity)
    targets = [[0.0] * n for _ in range(n)]
    for i in range(n):
        weights = {j: math.exp(similarity[i][j] / temperature) for j in range(n) if j != i}
        for j, weight in weights.items():
            targets[i][j] = share * weight / sum(weights.values())
        targets[i][i] = 1 - share
    return targets


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_equal_the_definition(share):
    similarity = rows(6, 6)
    expected = torch.tensor(slow_targets(similarity.tolist(), share, 0.4), dtype=torch.float64)
    torch.testing.assert_close(soft_targets(similarity, share, 0.4), expected, rtol=1e-12, atol=1e-15)


def test_rows_sum_to_one_and_the_diagonal_is_not_read():
    similarity = rows(5, 5)
    targets = soft_targets(similarity, 0.5)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(5, dtype=torch.float64))
    assert torch.equal(soft_targets(similarity.clone().fill_diagonal_(99.0), 0.5), targets)


def test_a_single_row_keeps_everything():
    assert soft_targets(torch.zeros(1, 1), 0.5).tolist() == [[1.0]]


def test_a_cold_softmax_gives_all_to_the_most_similar_row():
    similarity = torch.tensor([[0.0, 0.2, 0.9], [0.9, 0.0, 0.1], [0.4, 0.5, 0.0]])
    targets = soft_targets(similarity, 1.0, 0.001)
    torch.testing.assert_close(targets, torch.tensor([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]]))


def test_cosines_do_not_see_the_length_of_rows():
    features = rows(4, 3).float()
    torch.testing.assert_close(cosines(features), cosines(features * torch.tensor([[1.0], [2], [3], [4]])))
    assert cosines(torch.zeros(2, 3)).tolist() == [[0, 0], [0, 0]]


def test_one_hot_targets_are_the_plain_contrast():
    a, b = rows(7, 5, seed=1), rows(7, 5, seed=2)
    targets = soft_targets(cosines(a).double(), 0.0)
    torch.testing.assert_close(info_nce(a, b, 0.2, targets=targets), info_nce(a, b, 0.2), rtol=1e-12, atol=0)


def test_the_contrast_equals_its_definition():
    a, b, targets = rows(4, 3, seed=3), rows(4, 3, seed=4), soft_targets(rows(4, 4, seed=5), 0.6)
    total = 0.0
    for i in range(4):
        scores = [math.exp(torch.nn.functional.cosine_similarity(a[i], b[j], dim=0) / 0.3) for j in range(4)]
        total -= sum(float(targets[i, j]) * math.log(scores[j] / sum(scores)) for j in range(4)) / 4
    assert info_nce(a, b, 0.3, targets=targets).item() == pytest.approx(total, rel=1e-12)
    nested = nested_info_nce(a, b, (2, 3), torch.tensor([0.3, 0.3]), targets=targets)
    first = info_nce(a[:, :2], b[:, :2], 0.3, targets=targets)
    assert nested.item() == pytest.approx((total + first.item()) / 2, rel=1e-7)


def test_the_least_loss_is_the_entropy_of_the_targets():
    """Where the softmax of the similarities equals the targets, no other similarities give less."""
    targets = torch.tensor([[0.7, 0.3], [0.3, 0.7]], dtype=torch.float64)
    gap = math.log(0.7 / 0.3)  # of two cosines divided by a temperature of 1: 1 and 1 - gap
    anchors = torch.eye(2, dtype=torch.float64)
    others = torch.tensor([[1.0, 1 - gap], [1 - gap, 1.0]], dtype=torch.float64)
    cosine = others / others.norm(dim=1, keepdim=True)
    temperature = float(cosine[0, 0] - cosine[1, 0]) / gap
    entropy = -(0.7 * math.log(0.7) + 0.3 * math.log(0.3))
    assert info_nce(anchors, others, temperature, targets=targets).item() == pytest.approx(entropy, rel=1e-9)
    for other in (0.8, 1.2):
        assert info_nce(anchors, others, other * temperature, targets=targets).item() > entropy


def test_shorter_codes_give_more_to_others():
    config = SoftTargetsConfig(share=0.5, by_length=0.2)
    assert [config.share_at(bits) for bits in (16, 32, 64, 128)] == pytest.approx([0.9, 0.7, 0.5, 0.3])
    assert config.share_at(1) == MOST
    assert config.share_at(4096) == 0.0
    assert SoftTargetsConfig(share=1.0).share_at(64) == 1.0
    assert SoftTargetsConfig(by_length=0.2).share_at(16) == 0.0  # off is off
    similarity = rows(4, 4)
    each = nested_targets(similarity, config, (16, 64))
    torch.testing.assert_close(each[0], soft_targets(similarity, config.share_at(16), 0.1))
    torch.testing.assert_close(each[1], soft_targets(similarity, 0.5, 0.1))
    a, b = rows(4, 3, seed=3), rows(4, 3, seed=4)
    nested = nested_info_nce(a, b, (2, 3), torch.tensor([0.3, 0.3]), targets=each)
    alone = [
        info_nce(a[:, :n], b[:, :n], 0.3, targets=target) for n, target in zip((2, 3), each, strict=True)
    ]
    assert nested.item() == pytest.approx(sum(alone).item() / 2, rel=1e-6)
