"""Contrast of named pairs: loops over anchors, NT-Xent where it must be that, the reference outputs, pseudo labels."""

import inspect
import json
import math

import numpy as np
import pytest
import torch

from cmah.losses.pair_contrast import category_contrast, instance_contrast


def cosine(x, y):
    return x @ y / (np.linalg.norm(x) * np.linalg.norm(y))


def slow_nt_xent(a, b, t):
    """NT-Xent over 2n rows by the definition (Chen et al. 2020), as the released code computes it."""
    rows, n, total = [*a, *b], len(a), 0.0
    for i in range(2 * n):
        e = [math.exp(cosine(rows[i], rows[j]) / t) if i != j else 0.0 for j in range(2 * n)]
        total -= math.log(e[(i + n) % (2 * n)] / sum(e))
    return total / (2 * n)


def slow_pairs(rows, group, pairs, t):
    """Both rows of each pair against the rows of other groups."""
    total = 0.0
    for anchor, positive in [*pairs, *((j, i) for i, j in pairs)]:
        own = math.exp(cosine(rows[anchor], rows[positive]) / t)
        negatives = [j for j in range(len(rows)) if group[j] != group[anchor]]
        total -= math.log(own / (own + sum(math.exp(cosine(rows[anchor], rows[j]) / t) for j in negatives)))
    return total / (2 * len(pairs))


def some(seed, n=6, m=5, d=4):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng.normal(size=(m, d))


def logits_of(labels, classes):
    """Logits that prefer the given classes."""
    return torch.nn.functional.one_hot(torch.as_tensor(labels), classes).double() * 3


@pytest.fixture(scope="module")
def extra(shared):
    folder = shared / "goldens" / "losses"
    arrays = np.load(folder / "style_mixed_extra.npz", allow_pickle=False)
    return arrays, json.loads((folder / "style_mixed_extra.json").read_text())


def test_instance_contrast_equals_the_definition():
    queries, shapes = some(0)
    instance = [3, 0, 3, 2, 2, 0]  # shapes 1 and 4 are shown by no query
    group = [*instance, *range(5)]
    pairs = [(i, 6 + k) for i, k in enumerate(instance)]
    got = instance_contrast(torch.tensor(queries), torch.tensor(shapes), torch.tensor(instance), 0.5)
    assert got.item() == pytest.approx(slow_pairs([*queries, *shapes], group, pairs, 0.5), rel=1e-12)


@pytest.mark.parametrize("case", range(3))
def test_without_repeated_shapes_it_is_nt_xent_and_matches_the_reference(shared, case):
    folder = shared / "goldens" / "losses"
    arrays = np.load(folder / "ibsr.npz", allow_pickle=False)
    expected = json.loads((folder / "ibsr.json").read_text())["ntxent"][case]
    a, b = arrays[f"ntx_a_{case}"], arrays[f"ntx_b_{case}"]
    t, own = expected["temperature"], torch.arange(len(a))
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-5)):
        got = instance_contrast(torch.tensor(a, dtype=dtype), torch.tensor(b, dtype=dtype), own, t)
        assert got.item() == pytest.approx(expected["loss"], rel=tolerance)
    order = torch.randperm(len(a), generator=torch.Generator().manual_seed(case))
    moved = torch.empty_like(torch.tensor(b))
    moved[order] = torch.tensor(b)
    got = instance_contrast(torch.tensor(a), moved, order, t)
    assert got.item() == pytest.approx(expected["loss"], rel=1e-9)
    # the authors' code itself, in float32, which pairs by position
    assert slow_nt_xent(a, b, t) == pytest.approx(expected["released_jittor_f32"], rel=1e-6)


def test_the_released_pairs_are_wrong_from_the_first_repeated_shape_on(extra):
    arrays, texts = extra
    instance = arrays["batch_inst_index"]
    assert [i for i, k in enumerate(instance) if i == k] == [0, 1]
    assert texts["batch"]["released_ntxent_pairs"].endswith("only for i in [0, 1]")
    queries, shapes = some(1, n=6, m=6)
    meant = instance_contrast(torch.tensor(queries), torch.tensor(shapes), torch.tensor(instance), 0.5).item()
    assert abs(meant - slow_nt_xent(queries, shapes, 0.5)) > 1e-3


def test_a_repeated_query_counts_twice_as_anchor_but_never_as_negative_of_its_like():
    queries, shapes = (torch.tensor(x) for x in some(2, n=3, m=3))
    instance = torch.tensor([0, 1, 1])
    closer = queries.clone()
    closer[1] = closer[2]  # two images of one shape come together: nothing pushes them apart
    alone = instance_contrast(closer[:2], shapes, instance[:2], 0.5)
    both = instance_contrast(closer, shapes, instance, 0.5)
    group, rows = [0, 1, 1, 0, 1, 2], [*closer.numpy(), *shapes.numpy()]
    pairs = [(0, 3), (1, 4), (2, 4)]
    assert both.item() == pytest.approx(slow_pairs(rows, group, pairs, 0.5), rel=1e-12)
    # the anchors of the second shape see the same as if there were one query
    twice = slow_pairs(rows, group, [(1, 4)], 0.5)
    without = slow_pairs([*closer[:2].numpy(), *shapes.numpy()], [0, 1, 0, 1, 2], [(1, 3)], 0.5)
    assert twice == pytest.approx(without, rel=1e-12)
    assert both.item() != alone.item()


def test_far_apart_and_all_alike_have_closed_forms():
    eye = torch.eye(4).double()
    # 1 positive at cosine 1, 2·3 negatives at 0
    got = instance_contrast(eye, eye, torch.arange(4), 0.5).item()
    assert got == pytest.approx(math.log1p(6 * math.exp(-2)), rel=1e-12)
    ones = torch.ones(4, 3)
    assert instance_contrast(ones, ones, torch.arange(4), 0.5).item() == pytest.approx(math.log(7), rel=1e-6)
    # all queries of the one shape: nothing is a negative
    assert instance_contrast(ones, ones[:1], torch.zeros(4).long(), 0.5).item() == 0


def test_category_contrast_equals_the_definition():
    source, target = some(3)
    labels, pseudo = [0, 1, 1, 2, 0, 3], [1, 0, 1, 2, 5]
    pairs = [(i, 6 + j) for i, a in enumerate(labels) for j, b in enumerate(pseudo) if a == b]
    inputs = torch.tensor(source), torch.tensor(target), torch.tensor(labels), logits_of(pseudo, 6)
    got = category_contrast(*inputs, temperature=0.5)
    expected = slow_pairs([*source, *target], [*labels, *pseudo], pairs, 0.5)
    assert got.item() == pytest.approx(expected, rel=1e-12)


def test_the_released_category_contrast_matches_the_reference(extra):
    """NT-Xent over the list of pairs of equal labels: the same features stand in it several times, as negatives too."""
    arrays, texts = extra
    expected, pairs = texts["contrast_category"], arrays["con_pairs"]
    labels, true = arrays["dom_ys"], arrays["dom_yt"]
    listed = [[i, j] for i in range(6) for j in range(6) if labels[i] == true[j]]
    assert listed == pairs.tolist()
    source, target = arrays["dom_fs"][pairs[:, 0]], arrays["dom_ft"][pairs[:, 1]]
    assert slow_nt_xent(source, target, expected["tau"]) == pytest.approx(expected["loss"], rel=1e-9)
    as_instances = instance_contrast(
        torch.tensor(source), torch.tensor(target), torch.arange(len(pairs)), expected["tau"]
    )
    assert as_instances.item() == pytest.approx(expected["loss"], rel=1e-9)
    # as meant, rows of one class are no negatives of each other, so the loss of the same rows is smaller
    meant = category_contrast(
        *(torch.tensor(arrays[name]) for name in ("dom_fs", "dom_ft", "dom_ys")), logits_of(true, 4), 0.5
    )
    rows, group = [*arrays["dom_fs"], *arrays["dom_ft"]], [*labels, *true]
    slow = slow_pairs(rows, group, [(i, 6 + j) for i, j in listed], 0.5)
    assert meant.item() == pytest.approx(slow, rel=1e-9)
    assert meant.item() < expected["loss"]


def test_with_one_row_of_each_class_it_is_nt_xent():
    source, target = some(4, n=4, m=4)
    inputs = torch.tensor(source), torch.tensor(target), torch.arange(4), logits_of([0, 1, 2, 3], 4)
    assert category_contrast(*inputs, 0.3).item() == pytest.approx(
        slow_nt_xent(source, target, 0.3), rel=1e-12
    )


def test_unsure_rows_are_neither_positives_nor_negatives():
    source, target = (torch.tensor(x) for x in some(5))
    labels, logits = torch.tensor([0, 1, 1, 2, 0, 3]), logits_of([1, 0, 1, 2, 2], 4)
    logits[[1, 4]] /= 10
    sure = torch.tensor([0, 2, 3])
    expected = category_contrast(source, target[sure], labels, logits[sure])
    torch.testing.assert_close(category_contrast(source, target, labels, logits, confidence=0.7), expected)
    assert category_contrast(source, target, labels, logits).item() != expected.item()


def test_without_a_pair_there_is_nothing_to_learn():
    source, target = (torch.tensor(x, requires_grad=True) for x in some(6))
    loss = category_contrast(source, target, torch.zeros(6).long(), logits_of([1] * 5, 2))
    loss.backward()
    assert loss.item() == 0
    assert not source.grad.any()


def test_no_label_of_the_target_is_asked_for():
    assert list(inspect.signature(category_contrast).parameters) == [
        *("source", "target", "source_labels", "target_logits", "temperature", "confidence")
    ]


def test_gradients_reach_both_encoders():
    first, second = (torch.tensor(x, requires_grad=True) for x in some(7, n=5, m=4, d=3))
    logits = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    losses = [
        lambda a, b: instance_contrast(a, b, torch.tensor([3, 0, 3, 2, 2]), 0.5),
        lambda a, b: category_contrast(a, b, torch.tensor([0, 1, 1, 2, 0]), logits, 0.5),
    ]
    for loss in losses:
        assert torch.autograd.gradcheck(loss, (first, second))
        gradients = torch.autograd.grad(loss(first, second), (first, second, logits), allow_unused=True)
        assert all(gradient.abs().sum() > 0 for gradient in gradients[:2])
        assert gradients[2] is None


def test_low_temperatures_in_float32_are_finite():
    first, second = (torch.tensor(x, dtype=torch.float32, requires_grad=True) for x in some(8, n=5, m=5))
    loss = instance_contrast(first, second, torch.tensor([0, 0, 1, 2, 3]), 0.005)
    loss.backward()
    assert loss.isfinite()
    assert first.grad.isfinite().all()
    assert second.grad.isfinite().all()
