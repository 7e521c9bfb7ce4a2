"""InfoNCE against loops, closed forms and its own symmetries."""

import json
import math

import numpy as np
import pytest
import torch

from cmah.losses.contrastive import info_nce, nested_info_nce, normalise_weights


def slow_info_nce(anchors, others, temperature, weights=None):
    """The definition, term by term."""
    total, n = 0.0, len(anchors)
    for i in range(n):
        scores = []
        for j in range(n):
            cosine = sum(x * y for x, y in zip(anchors[i], others[j], strict=True))
            cosine /= math.sqrt(sum(x * x for x in anchors[i])) * math.sqrt(sum(y * y for y in others[j]))
            weight = 1.0 if i == j or weights is None else weights[i][j]
            scores.append(weight * math.exp(cosine / temperature))
        total -= math.log(scores[i] / sum(scores))
    return total / n


@pytest.mark.parametrize("weighted", [False, True])
def test_equals_the_definition(weighted):
    rng = np.random.default_rng(0)
    a, b, w = rng.normal(size=(7, 5)), rng.normal(size=(7, 5)), rng.uniform(0.1, 3, (7, 7))
    weights = torch.tensor(w) if weighted else None
    got = info_nce(torch.tensor(a), torch.tensor(b), 0.2, weights)
    assert got.item() == pytest.approx(slow_info_nce(a, b, 0.2, w if weighted else None), rel=1e-12)


def test_all_alike_gives_log_batch():
    ones = torch.ones(9, 4)
    assert info_nce(ones, ones, 0.07).item() == pytest.approx(math.log(9), rel=1e-6)


def test_one_hot_pairs_have_a_closed_form():
    eye = torch.eye(6, dtype=torch.float64)
    expected = -math.log(math.exp(2.0) / (math.exp(2.0) + 5))
    assert info_nce(eye, eye, 0.5).item() == pytest.approx(expected, rel=1e-12)


def test_weight_zero_removes_a_negative():
    rng = torch.Generator().manual_seed(1)
    a, b = torch.randn(4, 3, generator=rng), torch.randn(4, 3, generator=rng)
    weights = torch.ones(4, 4)
    weights[:3, 3] = 0
    weights[3, :3] = 0
    three = info_nce(a[:3], b[:3], 0.3)
    # row 3 then has no negatives at all and contributes 0
    assert info_nce(a, b, 0.3, weights).item() == pytest.approx(three.item() * 3 / 4, rel=1e-5)


def test_permuting_the_batch_changes_nothing():
    rng = torch.Generator().manual_seed(2)
    a, b = (torch.randn(8, 6, generator=rng, dtype=torch.float64) for _ in range(2))
    order = torch.randperm(8, generator=rng)
    assert info_nce(a[order], b[order], 0.1).item() == pytest.approx(info_nce(a, b, 0.1).item(), rel=1e-12)


def test_normalised_weights_average_to_one_over_the_negatives():
    similarity = torch.rand(5, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    weights = normalise_weights(similarity)
    off = weights - torch.diag(weights.diagonal())
    assert torch.allclose(off.sum(dim=1), torch.full((5,), 4.0, dtype=torch.float64))
    assert torch.equal(weights.diagonal(), torch.ones(5, dtype=torch.float64))
    assert weights[1, 2] / weights[1, 3] == pytest.approx((similarity[1, 2] / similarity[1, 3]).item())
    assert torch.equal(normalise_weights(torch.eye(3)), torch.ones(3, 3))


@pytest.mark.slow
@pytest.mark.parametrize("case", range(4))
def test_matches_the_reference_outputs(shared, case):
    folder = shared / "goldens" / "losses"
    arrays = np.load(folder / "sbrolli.npz", allow_pickle=False)
    losses = json.loads((folder / "sbrolli.json").read_text())["cases"][case]["paper"]
    image, shape = (torch.tensor(arrays[f"{name}_{case}"]).double() for name in ("image", "shape"))
    # the mean cosine over views, as a similarity in [0, 1] between all pairs
    similarity = torch.tensor((arrays[f"mean_cosine_{case}"] + 1) / 2).double()
    to_shape, to_image = normalise_weights(similarity), normalise_weights(similarity.T)
    off = ~torch.eye(len(similarity), dtype=torch.bool)
    assert torch.allclose(to_shape[off], torch.tensor(arrays[f"w_row_i2i_all_one_{case}"]).double()[off])
    assert torch.allclose(to_image.T[off], torch.tensor(arrays[f"w_col_i2i_all_one_{case}"]).double()[off])
    for temperature in (0.07, 0.5):
        expected = losses[f"i2i_all|diag_one|tau_{temperature}"]
        forth = info_nce(image, shape, temperature, to_shape).item()
        back = info_nce(shape, image, temperature, to_image).item()
        assert forth == pytest.approx(expected["image_to_shape"], rel=1e-9)
        assert back == pytest.approx(expected["shape_to_image"], rel=1e-9)


def test_nested_is_the_mean_over_prefixes():
    rng = torch.Generator().manual_seed(4)
    a, b = (torch.randn(6, 8, generator=rng) for _ in range(2))
    temperatures = torch.tensor([0.1, 0.2])
    expected = (info_nce(a[:, :4], b[:, :4], 0.1) + info_nce(a, b, 0.2)) / 2
    assert nested_info_nce(a, b, (4, 8), temperatures).item() == pytest.approx(expected.item(), rel=1e-5)
