"""The objectives of other hashing methods are what their formulas say, term by term."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"


@pytest.fixture(autouse=True)
def _modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXPERIMENTS))


def rows(n: int, bits: int, seed: int) -> Tensor:
    """Random rows of length 1."""
    values = torch.randn(n, bits, generator=torch.Generator().manual_seed(seed))
    return values / values.norm(dim=1, keepdim=True)


def sign(value: float) -> float:
    return 1.0 if value >= 0 else -1.0


@pytest.mark.parametrize("drawn", [0, 12])
def test_bank_contrast_is_the_formula(drawn: int) -> None:
    from peer_objectives import bank_contrast

    outputs, bank, index = rows(3, 4, 0), rows(6, 4, 1), torch.tensor([4, 0, 2])
    terms = []
    for u, own in zip(outputs.tolist(), index.tolist(), strict=True):
        e = [
            math.exp(sum(a * sign(c) for a, c in zip(u, code, strict=True)) / (0.7 * 2))
            for code in bank.tolist()
        ]
        terms.append(-math.log(e[own] / (e[own] + drawn / 6 * sum(e) if drawn else sum(e))))
    assert float(bank_contrast(outputs, bank, index, 0.7, drawn)) == pytest.approx(sum(terms) / 3, abs=1e-6)


def test_the_expectation_over_the_bank_is_what_drawing_comes_to() -> None:
    from peer_objectives import bank_contrast

    outputs, bank, index = rows(1, 4, 0), rows(6, 4, 1), torch.tensor([3])
    codes = torch.where(bank >= 0, 1.0, -1.0)
    logits = (outputs @ codes.T / 2)[0].exp()
    drawn = torch.randint(6, (4096,), generator=torch.Generator().manual_seed(0))
    sampled = -(logits[3] / (logits[3] + logits[drawn].sum())).log()
    assert float(bank_contrast(outputs, bank, index, 1.0, 4096)) == pytest.approx(float(sampled), abs=0.02)


def test_moved_rows_are_between_the_bank_and_the_outputs_and_others_stay() -> None:
    from peer_objectives import moved

    bank, images, shapes = rows(4, 3, 0), rows(2, 3, 1), rows(2, 3, 2)
    before = bank.clone()
    moved(bank, torch.tensor([3, 1]), images, shapes, momentum=0.4)
    assert torch.equal(bank[[0, 2]], before[[0, 2]])
    for place, row in ((3, 0), (1, 1)):
        mean = images[row] + shapes[row]
        expected = 0.4 * before[place] + 0.6 * mean / mean.norm()
        assert torch.allclose(bank[place], expected / expected.norm(), atol=1e-6)


def test_ranking_is_the_formula() -> None:
    from peer_objectives import ranking

    images, shapes = rows(5, 4, 0), rows(5, 4, 1)
    s = (images @ shapes.T).tolist()
    total = 0.0
    for get in (lambda i, j: s[i][j], lambda i, j: s[j][i]):
        for i in range(5):
            lowered = [get(i, j) - (0.5 if get(i, j) < s[i][i] - 0.2 else 0.0) for j in range(5)]
            total += (math.log(sum(map(math.exp, lowered))) - s[i][i] + 0.2) / 5
    assert float(ranking(images, shapes, margin=0.2, shift=0.5)) == pytest.approx(total, abs=1e-5)


@pytest.mark.parametrize("doubled", [True, False])
def test_joint_affinity_is_the_formula(doubled: bool) -> None:
    from peer_objectives import joint_affinity

    images, shapes = 3 * rows(4, 5, 0), 2 * rows(4, 3, 1)
    joint = [[0.0] * 4 for _ in range(4)]
    for features, share in ((images, 0.3), (shapes, 0.7)):
        for i in range(4):
            for j in range(4):
                a, b = features[i], features[j]
                cosine = float(a @ b / a.norm() / b.norm())
                joint[i][j] += share * (2 * cosine - 1 if doubled else cosine)
    given = joint_affinity(images, shapes, 0.3, 0.4, 1.5, doubled=doubled)
    for i in range(4):
        for j in range(4):
            second = sum(joint[i][k] * joint[k][j] for k in range(4)) / 4
            assert float(given[i, j]) == pytest.approx(1.5 * (0.6 * joint[i][j] + 0.4 * second), abs=1e-5)


def test_reconstruction_is_nought_where_cosines_are_the_affinity() -> None:
    from peer_objectives import reconstruction

    codes = rows(4, 6, 0)
    affinity = codes @ codes.T
    assert float(reconstruction(2 * codes, codes, affinity, 0.1)) == pytest.approx(0, abs=1e-12)
    # every entry is off by 1: between the modalities once, within each of them a tenth
    assert float(reconstruction(codes, codes, affinity + 1, 0.1)) == pytest.approx(1.2, abs=1e-6)


def test_both_views_contrast_is_the_formula() -> None:
    from peer_objectives import both_views_contrast

    images, shapes = rows(3, 4, 0), rows(3, 4, 1)
    both = [*images, *shapes]
    total = 0.0
    for i, row in enumerate(both):
        e = [math.exp(float(row @ other) / 0.3) for other in both]
        total -= math.log(e[(i + 3) % 6] / (sum(e) - e[i])) / 6
    assert float(both_views_contrast(5 * images, shapes, 0.3)) == pytest.approx(total, abs=1e-5)


def test_divergence_is_that_of_bernoulli_variables() -> None:
    from peer_objectives import bernoulli_divergence

    p, q = (torch.rand(3, 4, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    distributions = (torch.distributions.Bernoulli(each) for each in (p, q))
    expected = torch.distributions.kl_divergence(*distributions).sum(dim=1).mean()
    assert float(bernoulli_divergence(p, q)) == pytest.approx(float(expected), abs=1e-5)


def test_straight_through_gives_signs_and_the_gradient_of_the_probability() -> None:
    from peer_objectives import straight_through

    p = torch.tensor([0.1, 0.5, 0.9], requires_grad=True)
    values = straight_through(p)
    assert values.tolist() == [-1.0, 1.0, 1.0]
    (values * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert p.grad is not None
    assert p.grad.tolist() == [1.0, 2.0, 3.0]
