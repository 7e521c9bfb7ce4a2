"""Contrast whose negatives are weighted by a fixed similarity of the shapes (Sbrolli & Matteucci, arXiv 2406.02202).

A shape that looks like the anchor's shape is a harder negative and counts for more. `batch_weights` and
`weighted_info_nce` follow the paper's equations 5-6, `released_weights` and `released_loss` the authors' code; their
docstrings say where the two differ.
"""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Diagonal = Literal["one", "eq6"]
LN_10 = math.log(10)
EPSILON = 1e-9  # added inside the logarithm of the released loss


def batch_weights(similarity: Tensor, diagonal: Diagonal = "one") -> tuple[Tensor, Tensor]:
    """Weights of both directions from the similarities of a batch's b shapes (equation 6).

    Image → shape is normalised over the shapes of each image: w_is = (b - 1) sim(i, s) / Σ_{k≠i} sim(i, k).
    Shape → image is normalised over the images of each shape: w_is = (b - 1) sim(i, s) / Σ_{k≠s} sim(k, s).

    Args:
        similarity: [b, b], ≥ 0, entry (i, s) of image i and shape s. The diagonal is read for "eq6" only.
        diagonal: weight of the positive in the denominator of equation 5: "one" has 1 there, as InfoNCE,
            "eq6" the value of equation 6 for s = i.

    Returns:
        to_shape [b, b], whose row i belongs to anchor image i, and to_image [b, b], TRANSPOSED with regard to
        the equation: its row s belongs to anchor shape s and its columns are images. So both are used row by row;
        for a symmetric similarity they are equal. A row whose negatives are all 0 gets ones.

    Raises:
        ValueError: for another diagonal.

    Examples:
        >>> similarity = torch.tensor([[1.0, 0.3, 0.1], [0.3, 1.0, 0.3], [0.1, 0.3, 1.0]])
        >>> batch_weights(similarity)[0][0]
        tensor([1.0000, 1.5000, 0.5000])
        >>> batch_weights(similarity, "eq6")[0][0]
        tensor([5.0000, 1.5000, 0.5000])
    """
    return _row_weights(similarity, diagonal), _row_weights(similarity.T, diagonal)


def released_weights(similarity: Tensor) -> tuple[Tensor, Tensor]:
    """Weights as the authors' code computes them.

    Differences from `batch_weights`: a row is divided by its mean over all b entries, of which the diagonal is set to
    0 (so the factor is b, not b - 1); the diagonal is 1; one matrix, normalised by rows, serves both directions, row
    i for anchor image i and for anchor shape i.

    Args:
        similarity: [b, b], ≥ 0; the diagonal is not read.

    Returns:
        The same [b, b] twice. A row whose negatives are all 0 gets ones.

    Examples:
        >>> similarity = torch.tensor([[1.0, 0.3, 0.1], [0.3, 1.0, 0.3], [0.1, 0.3, 1.0]])
        >>> released_weights(similarity)[0][0]
        tensor([1.0000, 2.2500, 0.7500])
    """
    eye = torch.eye(len(similarity), dtype=torch.bool, device=similarity.device)
    off = similarity.masked_fill(eye, 0.0)
    mean = off.mean(dim=1, keepdim=True)
    weights = torch.where(mean > 0, off / mean.clamp_min(torch.finfo(off.dtype).tiny), 1.0)
    weights = weights.masked_fill(eye, 1.0)
    return weights, weights


def weighted_info_nce(
    anchors: Tensor, others: Tensor, temperature: Tensor | float, weights: Tensor
) -> Tensor:
    """One direction of equation 5, the mean over rows i of -log( e^{s_ii/τ} / Σ_j w_ij e^{s_ij/τ} ).

    It differs from `contrastive.info_nce` in that the weight of the positive is read too; where w_ii > 1 the loss
    may be larger, and where w_ii < 1 below 0.

    Args:
        anchors: [b, d], any norm.
        others: [c, d], any norm, c ≥ b; row i belongs to row i of `anchors`.
        temperature: τ > 0, number or scalar tensor.
        weights: [b, c], ≥ 0; a matrix of `batch_weights` or `released_weights`.

    Returns:
        Scalar.

    Examples:
        With all weights 1 it is InfoNCE.

        >>> rows = torch.eye(2)
        >>> round(float(weighted_info_nce(rows, rows, 0.5, torch.ones(2, 2))), 4)
        0.1269
    """
    logits = functional.normalize(anchors, dim=1) @ functional.normalize(others, dim=1).T / temperature
    return ((logits + weights.to(logits).log()).logsumexp(dim=1) - logits.diagonal()).mean()


def released_loss(
    image: Tensor,
    shape: Tensor,
    weights: tuple[Tensor, Tensor],
    temp: Tensor | float = LN_10,
    bias: Tensor | float = -10.0,
) -> Tensor:
    """The loss of the authors' code, both directions.

    Logits are cosine · temp + bias, where temp is a plain factor (although its initial value, ln 10, was meant to be a
    logarithm); 1e-9 is added to the sum inside the logarithm, without which the bias would cancel.

    Args:
        image: [b, d], any norm.
        shape: [b, d], any norm; rows correspond.
        weights: of `released_weights`, both [b, b].
        temp: factor on the cosine, number or scalar tensor.
        bias: added to the logits, number or scalar tensor.

    Returns:
        Scalar: the mean of the two directions.

    Examples:
        >>> rows = torch.eye(2)
        >>> round(float(released_loss(rows, rows, (torch.ones(2, 2), torch.ones(2, 2)))), 4)
        0.0953
    """
    logits = functional.normalize(image, dim=1) @ functional.normalize(shape, dim=1).T * temp + bias
    parts = []
    for rows, row_weights in zip((logits, logits.T), weights, strict=True):
        total = (rows + row_weights.to(rows).log()).logsumexp(dim=1)
        parts.append(torch.logaddexp(total, total.new_tensor(math.log(EPSILON))) - rows.diagonal())
    return torch.stack(parts).mean()


def _row_weights(similarity: Tensor, diagonal: Diagonal) -> Tensor:
    """Equation 6 by rows."""
    if diagonal not in ("one", "eq6"):
        raise ValueError(f"diagonal = {diagonal!r}: expected one or eq6")
    b = len(similarity)
    eye = torch.eye(b, dtype=torch.bool, device=similarity.device)
    total = similarity.masked_fill(eye, 0.0).sum(dim=1, keepdim=True)
    scaled = (b - 1) * similarity / total.clamp_min(torch.finfo(similarity.dtype).tiny)
    weights = torch.where(total > 0, scaled, 1.0)
    return weights.masked_fill(eye, 1.0) if diagonal == "one" else weights
