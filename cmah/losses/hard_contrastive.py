"""Contrast with hard negatives: HCL's importance-weighted, debiased estimator, across modalities and within one.

Robinson et al., "Contrastive learning with hard negative samples" (ICLR 2021): negatives are drawn, by importance
weights on those of the batch, from q(x⁻) ∝ exp(β s) p(x⁻) instead of p, and the expected share of positives among
them, τ⁺, is subtracted. Equation numbers are theirs. The form between two modalities is arXiv 2603.06982's, whose
estimator is not published: there it is a reconstruction after the authors' code for one modality.
"""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Tilt = Literal["logit", "similarity"]


def hard_info_nce(
    anchors: Tensor,
    others: Tensor,
    temperature: Tensor | float,
    beta: float = 0.0,
    tau_plus: float = 0.0,
    tilt: Tilt = "logit",
) -> Tensor:
    """HCL from `anchors` to `others`, whose rows correspond: one direction of a cross-modal loss.

    The negatives of row i are all other rows of `others`. For β = τ⁺ = 0 it is `contrastive.info_nce`.

    Args:
        anchors: [b, d], any norm.
        others: [c, d], any norm, c ≥ b; row i belongs to row i of `anchors`, rows from b on are only negatives.
        temperature: τ > 0, number or scalar tensor.
        beta: how much nearer negatives count for more, ≥ 0; 0 counts all alike.
        tau_plus: share of the negatives that are positives in truth, in [0, 1).
        tilt: see `hard_nce`.

    Returns:
        Scalar ≥ 0: the mean over rows; 0 if there are no negatives.
    """
    similarity = functional.normalize(anchors, dim=1) @ functional.normalize(others, dim=1).T
    positive = torch.eye(*similarity.shape, dtype=torch.bool, device=similarity.device)
    return hard_nce(similarity.diagonal(), similarity, positive, temperature, beta, tau_plus, tilt).mean()


def hard_info_nce_within(
    a: Tensor,
    b: Tensor,
    temperature: Tensor | float,
    beta: float = 0.0,
    tau_plus: float = 0.0,
    tilt: Tilt = "logit",
) -> Tensor:
    """HCL as its authors' code has it: two views of each of n things, all in one space.

    Row i of `a` and row i of `b` are each other's positive, and the 2n - 2 other rows are negatives of both.

    Args:
        a: [n, d], any norm.
        b: [n, d], any norm.
        temperature: τ > 0, number or scalar tensor.
        beta: as in `hard_info_nce`.
        tau_plus: as in `hard_info_nce`.
        tilt: see `hard_nce`; the authors' is "logit".

    Returns:
        Scalar ≥ 0: the mean over the 2n rows; 0 if there are no negatives.
    """
    rows = functional.normalize(torch.cat([a, b]), dim=1)
    similarity = rows @ rows.T
    eye = torch.eye(len(a), dtype=torch.bool, device=rows.device)
    positive = similarity.diagonal(len(a))
    excluded = eye.repeat(2, 2)
    return hard_nce(positive.repeat(2), similarity, excluded, temperature, beta, tau_plus, tilt).mean()


def hard_nce(
    positive: Tensor,
    similarity: Tensor,
    excluded: Tensor,
    temperature: Tensor | float,
    beta: float = 0.0,
    tau_plus: float = 0.0,
    tilt: Tilt = "logit",
) -> Tensor:
    """The estimator itself (equations 4-5), from similarities, and in log space: e^{s/τ} overflows below τ = 0.012.

    With M negatives s_ij of row i and weights w_ij = e^{β s_ij/τ},
    N_i = max( (Σ_j w_ij e^{s_ij/τ} / mean_j w_ij - τ⁺ M e^{s_i/τ}) / (1 - τ⁺), M e^{-1/τ} ) and
    the loss of row i is -log( e^{s_i/τ} / (e^{s_i/τ} + N_i) ).

    Args:
        positive: [r] cosines s_i of the positive pairs.
        similarity: [r, c] cosines.
        excluded: bool [r, c], the entries that are not negatives; as many in each row.
        temperature: τ > 0, number or scalar tensor.
        beta: β ≥ 0.
        tau_plus: τ⁺ in [0, 1).
        tilt: "logit" has w = e^{β s/τ} as the authors' code, "similarity" w = e^{β s} as arXiv 2603.06982 writes it,
            so that its β is that of "logit" times 1/τ. Gradients pass through the weights, as in that code.

    Returns:
        [r], ≥ 0.

    Raises:
        ValueError: for a β, τ⁺ or tilt that is none.
    """
    if not (beta >= 0 and 0 <= tau_plus < 1 and tilt in ("logit", "similarity")):
        raise ValueError(f"beta = {beta}, tau_plus = {tau_plus}, tilt = {tilt!r}: not those of a loss")
    count = similarity.shape[1] - int(excluded[0].sum()) if len(excluded) else 0
    if not count:
        return positive * 0.0
    logits, own = similarity / temperature, positive / temperature
    weights = beta * (logits if tilt == "logit" else similarity)
    weighted = (logits + weights).masked_fill(excluded, -torch.inf).logsumexp(dim=1)
    mean = weights.masked_fill(excluded, -torch.inf).logsumexp(dim=1) - math.log(count)
    negatives = weighted - mean  # log of the reweighted sum
    if tau_plus:
        # log(e^x - e^y) = x + log(1 - e^(y - x)); rows where nothing is left take the bound, and must not
        # send the logarithm's infinite slope through `where`
        gap = math.log(tau_plus * count) + own - negatives
        left = gap < 0
        rest = torch.log(-torch.expm1(torch.where(left, gap, -1.0)))
        negatives = torch.where(left, negatives + rest - math.log1p(-tau_plus), -torch.inf)
    bound = torch.as_tensor(math.log(count) - 1.0 / temperature, dtype=own.dtype, device=own.device)
    return functional.softplus(torch.maximum(negatives, bound) - own)


def annealed_beta(epoch: int, epochs: int, start: float, end: float, stages: int = 5) -> float:
    """β in equal stages from `start` to `end`, upwards or downwards.

    arXiv 2603.06982 lets β grow in five stages from 0.5; what it grows to and in what steps is not known here, so
    that equal stages and equal steps are a reconstruction. (HCL's code can let it fall instead.)

    Args:
        epoch: from 0; from `epochs` on, β stays at `end`.
        epochs: of the whole training.
        start: β of the first stage.
        end: β of the last stage.
        stages: how many; 1 stays at `start`.
    """
    stage = min(max(epoch, 0) * stages // max(epochs, 1), stages - 1)
    return start + (end - start) * stage / max(stages - 1, 1)
