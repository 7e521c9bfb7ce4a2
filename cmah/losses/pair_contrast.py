"""NT-Xent between two domains whose pairs are not one to one: images of one shape, or of one category.

SC-IBSR (Song et al., TOMM 2024) contrasts style-mixed queries with shapes by NT-Xent (Chen et al., ICML 2020). Its
released code pairs by position, which is wrong from the first repeated shape on, and keeps rows of the same shape or
category among the negatives. Here pairs are named, and no row is a negative of a row that belongs with it.
"""

import torch
from torch import Tensor
from torch.nn import functional


def instance_contrast(
    queries: Tensor, shapes: Tensor, instance: Tensor, temperature: Tensor | float = 0.5
) -> Tensor:
    """L_con of the instance level: each query and its shape must find each other among all queries and shapes.

    Of the pair of query i and its shape k, both are anchors. Query i has as negatives all shapes but k and all queries
    of other shapes; shape k has the same. Every shape is one column, however many queries show it. Where query i shows
    shape i, and there are no further shapes, this is NT-Xent over 2b rows.

    Args:
        queries: [b, d] with mixed style, any norm.
        shapes: [s, d], any norm, each shape in one row; in the method the maximum over a shape's view vectors. Those
            that no query shows are only negatives.
        instance: int64 [b], for each query the row of its shape.
        temperature: τ > 0, number or scalar tensor.

    Returns:
        Scalar ≥ 0, the mean over the 2b anchors.

    Examples:
        Two pairs at right angles: of the three rows that an anchor sees, one is its positive.

        >>> rows = torch.eye(2)
        >>> round(float(instance_contrast(rows, rows, torch.tensor([0, 1]))), 4)
        0.2395
    """
    b, s = len(queries), len(shapes)
    group = torch.cat([instance, torch.arange(s, device=instance.device)])
    first = torch.arange(b, device=instance.device)
    return _contrast(torch.cat([queries, shapes]), group, first, b + instance, temperature)


def category_contrast(
    source: Tensor,
    target: Tensor,
    source_labels: Tensor,
    target_logits: Tensor,
    temperature: Tensor | float = 0.5,
    confidence: float = 0.0,
) -> Tensor:
    """The contrast of the category level, over all pairs of a source and a target row of one class.

    The class of a target row is the one that its own logits prefer (a pseudo label), so that no label of the target is
    read; the released code reads them, although its setting has none. Both rows of a pair are anchors, and their
    negatives are the rows of other classes of both domains.

    Args:
        source: [n, d], any norm.
        target: [m, d], any norm.
        source_labels: int64 [n], from 0.
        target_logits: [m, classes], by the classifier; no gradient passes through them.
        temperature: τ > 0, number or scalar tensor.
        confidence: in [0, 1]; target rows whose largest probability is below it are left out.

    Returns:
        Scalar ≥ 0, the mean over pairs and anchors; 0 if there is no pair.

    Examples:
        >>> rows, labels = torch.eye(2), torch.tensor([0, 1])
        >>> round(float(category_contrast(rows, rows, labels, target_logits=5 * rows)), 4)
        0.2395
        >>> round(float(category_contrast(rows, rows, labels, target_logits=-5 * rows)), 4)  # the wrong classes
        2.2395
    """
    probability, pseudo_labels = target_logits.detach().softmax(dim=1).max(dim=1)
    sure = probability >= confidence
    rows, group = torch.cat([source, target[sure]]), torch.cat([source_labels, pseudo_labels[sure]])
    n = len(source)
    first, second = (group[:n, None] == group[n:]).nonzero(as_tuple=True)
    return _contrast(rows, group, first, n + second, temperature)


def _contrast(
    rows: Tensor, group: Tensor, first: Tensor, second: Tensor, temperature: Tensor | float
) -> Tensor:
    """The mean over named pairs of the two anchors' losses; rows of one group are no negatives of each other.

    Args:
        rows: [n, d].
        group: int64 [n].
        first: int64 [p], rows; those of `second` at the same place are their positives, and the other way round.
        second: int64 [p].
        temperature: τ.
    """
    unit = functional.normalize(rows, dim=1)
    if not len(first):
        return unit.sum() * 0.0
    anchors, positives = torch.cat([first, second]), torch.cat([second, first])
    hidden = (group[anchors, None] == group).scatter(1, positives[:, None], False)
    logits = (unit[anchors] @ unit.T / temperature).masked_fill(hidden, -torch.inf)
    return functional.cross_entropy(logits, positives)
