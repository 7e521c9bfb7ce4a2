"""Orthogonal projection and class centres: loops, reference outputs as meant and as released, what is remembered."""

import json

import numpy as np
import pytest
import torch

from cmah.losses.class_alignment import ClassCentres, centre_alignment, orthogonal_projection_loss


@pytest.fixture(scope="module")
def reference(shared):
    folder = shared / "goldens" / "losses"
    arrays = np.load(folder / "style_mixed_extra.npz", allow_pickle=False)
    return arrays, json.loads((folder / "style_mixed_extra.json").read_text())


def slow_opl(features, labels, gamma):
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    within, between = [], []
    for i, j in np.ndindex(len(unit), len(unit)):
        if i != j:
            (within if labels[i] == labels[j] else between).append(unit[i] @ unit[j])
    return 1 - np.mean(within) + gamma * np.mean(between)


def released_opl(features, labels, gamma):
    """With the masks of the released code: bytes, inverted bit by bit."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    cosine, same = unit @ unit.T, (labels[:, None] == labels).astype(np.uint8)
    positive, negative = (same & ~np.eye(len(same), dtype=bool)).astype(float), (~same).astype(float)
    within = (positive * cosine).sum() / (positive.sum() + 1e-6)
    return 1 - within + gamma * (negative * cosine).sum() / (negative.sum() + 1e-6)


def slow_centres(kept, rows, labels, decay, classes):
    """(centres, classes met) after a batch; `kept` has an entry for each class met before."""
    kept = dict(kept)
    for k in range(classes):
        own = [row for row, label in zip(rows, labels, strict=True) if label == k]
        if own:
            mean = sum(own) / len(own)
            kept[k] = (1 - decay) * kept[k] + decay * mean if k in kept else mean
    return kept


def some(seed, n=7, m=6, d=3):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng.normal(size=(m, d))


def logits_of(labels, classes=4):
    return torch.nn.functional.one_hot(torch.as_tensor(labels), classes).double()


def test_projection_matches_the_reference_as_meant_and_as_released(reference):
    arrays, texts = reference
    features, labels, expected = arrays["dom_fs"], arrays["dom_ys"], texts["opl"]
    got = orthogonal_projection_loss(torch.tensor(features), torch.tensor(labels), expected["gamma"])
    # theirs has 1e-6 in the divisors
    assert got.item() == pytest.approx(expected["clean"], rel=1e-6)
    assert slow_opl(features, labels, 0.5) == pytest.approx(got.item(), rel=1e-12)
    released = released_opl(features, labels, expected["gamma"])
    assert released == pytest.approx(expected["released_uint8"], rel=1e-9)


def test_projection_closed_forms():
    labels = torch.tensor([0, 0, 1, 1])
    apart = torch.tensor([[1.0, 0], [2, 0], [0, 1], [0, 3]])
    assert orthogonal_projection_loss(apart, labels).item() == 0
    opposite = torch.tensor([[1.0, 0], [2, 0], [-1, 0], [-3, 0]])
    assert orthogonal_projection_loss(opposite, labels, 0.5).item() == pytest.approx(-0.5)
    # no pair of one class, no pair of different classes, a single row
    assert orthogonal_projection_loss(torch.eye(3), torch.arange(3)).item() == 1
    assert abs(orthogonal_projection_loss(torch.ones(3, 2), torch.zeros(3).long()).item()) < 1e-6
    assert orthogonal_projection_loss(torch.ones(1, 2), torch.zeros(1).long()).item() == 1


def test_gradients_of_projection():
    features = torch.tensor(some(0)[0], requires_grad=True)
    labels = torch.tensor([0, 0, 1, 1, 2, 3, 0])
    assert torch.autograd.gradcheck(lambda x: orthogonal_projection_loss(x, labels), (features,))
    (gradient,) = torch.autograd.grad(orthogonal_projection_loss(features, labels), features)
    assert (gradient.abs().sum(dim=1) > 0).all()


def test_a_first_step_matches_the_reference(reference):
    arrays, texts = reference
    source, target, labels, true = (arrays[f"dom_{name}"] for name in ("fs", "ft", "ys", "yt"))
    decay, expected = texts["semantic"]["decay"], texts["semantic"]["loss_first_step"]
    means = [
        np.stack([rows[own == k].mean(axis=0) for k in range(4)])
        for rows, own in ((source, labels), (target, true))
    ]
    # as released, where all centres are 0 before each step; all four classes are in both domains
    assert ((decay * means[0] - decay * means[1]) ** 2).mean() == pytest.approx(expected, rel=1e-9)
    # as meant, a first step begins at the means themselves, and those of the target come from its logits
    start = ClassCentres.zero(4, source.shape[1], like=torch.tensor(source))
    inputs = (torch.tensor(x) for x in (source, target, labels))
    loss, centres = centre_alignment(*inputs, logits_of(true), start, decay)
    assert loss.item() == pytest.approx(expected / decay**2, rel=1e-9)
    np.testing.assert_allclose(centres.source, means[0], rtol=1e-12)
    np.testing.assert_allclose(centres.target, means[1], rtol=1e-12)


def test_centres_are_kept_from_step_to_step():
    centres = ClassCentres.zero(4, 3, like=torch.zeros(1, dtype=torch.float64))
    kept_source, kept_target = {}, {}
    steps = [([0, 0, 1, 1, 1, 0, 0], [1, 1, 2, 2, 1, 2]), ([2, 2, 2, 0, 1, 1, 2], [0, 0, 0, 0, 1, 1])]
    for number, (labels, pseudo) in enumerate(steps):
        source, target = some(number)
        inputs = torch.tensor(source), torch.tensor(target), torch.tensor(labels), logits_of(pseudo)
        loss, centres = centre_alignment(*inputs, centres, 0.3)
        kept_source = slow_centres(kept_source, source, labels, 0.3, 4)
        kept_target = slow_centres(kept_target, target, pseudo, 0.3, 4)
        both = sorted(set(kept_source) & set(kept_target))
        expected = np.mean([(kept_source[k] - kept_target[k]) ** 2 for k in both])
        assert loss.item() == pytest.approx(expected, rel=1e-12)
        for tensor, kept in ((centres.source, kept_source), (centres.target, kept_target)):
            for k, centre in kept.items():
                np.testing.assert_allclose(tensor[k], centre, rtol=1e-12)
    assert centres.seen.tolist() == [[True, True, True, False]] * 2


def test_without_a_common_class_there_is_nothing_to_learn():
    source, target = (torch.tensor(x, requires_grad=True) for x in some(1))
    start = ClassCentres.zero(4, 3, like=source.detach())
    loss, _ = centre_alignment(source, target, torch.zeros(7).long(), logits_of([3] * 6), start)
    loss.backward()
    assert loss.item() == 0
    assert not source.grad.any()


def test_gradients_reach_both_domains_but_not_logits_nor_the_past():
    source, target = (torch.tensor(x, requires_grad=True) for x in some(2))
    logits = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 1, 2, 3, 0, 1, 2])
    start = ClassCentres.zero(4, 3, like=source.detach())
    _, centres = centre_alignment(source, target, labels, logits, start)
    assert not centres.source.requires_grad
    assert not centres.target.requires_grad
    assert torch.autograd.gradcheck(
        lambda a, b: centre_alignment(a, b, labels, logits, centres)[0], (source, target)
    )
    loss = centre_alignment(source, target, labels, logits, centres)[0]
    gradients = torch.autograd.grad(loss, (source, target, logits), allow_unused=True)
    assert all(gradient.abs().sum() > 0 for gradient in gradients[:2])
    assert gradients[2] is None
