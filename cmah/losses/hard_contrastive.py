"""Contrast with hard negatives: HCL's importance-weighted, debiased estimator, across modalities and within one.

Robinson et al., "Contrastive learning with hard negative samples" (ICLR 2021): negatives are drawn, by importance
weights on those of the batch, from q(x⁻) ∝ exp(β s) p(x⁻) instead of p, and the expected share of positives among
them, τ⁺, is subtracted. Equation numbers are theirs. The form between two modalities is that of arXiv 2603.06982, whose
estimator is not published: it is reconstructed here from the code of Robinson et al. for one modality.
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
        beta: β ≥ 0, how much more near negatives count than far ones; 0 counts all alike.
        tau_plus: τ⁺ in [0, 1), the expected share of true positives among the negatives.
        tilt: what β multiplies, see `hard_nce`.

    Returns:
        Scalar ≥ 0: the mean over rows; 0 if there are no negatives.

    Raises:
        ValueError: see `hard_nce`.

    Examples:
        The two anchors have a near and a far negative; with β > 0 the near one counts for more.

        >>> anchors = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> others = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
        >>> [round(float(hard_info_nce(anchors, others, 0.5, beta)), 3) for beta in (0.0, 1.0)]
        [0.155, 0.208]
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
    """HCL within one modality, as its authors' code computes it: two views of each of n items in one space.

    `cmah`'s recipes contrast two modalities with `hard_info_nce`; this form is for embeddings of a single one, such as
    two augmentations of an image.

    Row i of `a` and row i of `b` are each other's positive, and the 2n - 2 other rows are negatives of both.

    Args:
        a: [n, d], any norm.
        b: [n, d], any norm.
        temperature: τ > 0, number or scalar tensor.
        beta: as in `hard_info_nce`.
        tau_plus: as in `hard_info_nce`.
        tilt: see `hard_nce`; the authors use "logit".

    Returns:
        Scalar ≥ 0: the mean over the 2n rows; 0 if there are no negatives.

    Raises:
        ValueError: see `hard_nce`.

    Examples:
        >>> views = torch.eye(2)
        >>> round(float(hard_info_nce_within(views, views, temperature=0.5, beta=1.0)), 4)
        0.2395
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
    """The estimator itself (equations 4-5), from similarities; in log space, since e^{s/τ} overflows below τ = 0.012.

    With M negatives s_ij of row i and weights w_ij = e^{β s_ij/τ},
    N_i = max( (Σ_j w_ij e^{s_ij/τ} / mean_j w_ij - τ⁺ M e^{s_i/τ}) / (1 - τ⁺), M e^{-1/τ} ) and
    the loss of row i is -log( e^{s_i/τ} / (e^{s_i/τ} + N_i) ).

    Args:
        positive: [r] cosines s_i of the positive pairs.
        similarity: [r, c] cosines.
        excluded: bool [r, c], the entries that are not negatives; the same number in each row.
        temperature: τ > 0, number or scalar tensor.
        beta: β ≥ 0.
        tau_plus: τ⁺ in [0, 1).
        tilt: what β multiplies in the weights: "logit" has w = e^{β s/τ}, as the authors' code; "similarity" has
            w = e^{β s}, as arXiv 2603.06982 writes it, so that its β is that of "logit" times 1/τ. Gradients pass
            through the weights, as in the authors' code.

    Returns:
        [r], ≥ 0.

    Raises:
        ValueError: for a β below 0, a τ⁺ outside [0, 1) or an unknown tilt.

    Examples:
        One row, its positive at cosine 1 and two negatives; without β and τ⁺ it is InfoNCE.

        >>> cosines = torch.tensor([[1.0, 0.5, -0.5]])
        >>> excluded = torch.tensor([[True, False, False]])
        >>> hard_nce(cosines[:, 0], cosines, excluded, temperature=1.0)
        tensor([0.6041])
    """
    if not (beta >= 0 and 0 <= tau_plus < 1 and tilt in ("logit", "similarity")):
        raise ValueError(
            f"beta = {beta}, tau_plus = {tau_plus}, tilt = {tilt!r}: not those of a loss; expected beta >= 0, "
            "0 <= tau_plus < 1, and tilt logit or similarity"
        )
    count = similarity.shape[1] - int(excluded[0].sum()) if len(excluded) else 0
    if not count:
        return positive * 0.0
    logits, positive_logit = similarity / temperature, positive / temperature
    weights = beta * (logits if tilt == "logit" else similarity)
    # log Σ_j w_ij e^{s_ij/τ} and log mean_j w_ij, over the negatives only
    weighted = (logits + weights).masked_fill(excluded, -torch.inf).logsumexp(dim=1)
    mean = weights.masked_fill(excluded, -torch.inf).logsumexp(dim=1) - math.log(count)
    negatives = weighted - mean  # log of the reweighted sum
    if tau_plus:
        # log(e^x - e^y) = x + log(1 - e^(y - x)); rows where nothing is left take the bound below. They get the
        # harmless value -1 first, since `where` would pass on the infinite gradient of log 0
        gap = math.log(tau_plus * count) + positive_logit - negatives
        left = gap < 0
        rest = torch.log(-torch.expm1(torch.where(left, gap, -1.0)))
        negatives = torch.where(left, negatives + rest - math.log1p(-tau_plus), -torch.inf)
    # N_i is at least M e^{-1/τ}: no cosine is below -1
    bound = torch.as_tensor(
        math.log(count) - 1.0 / temperature, dtype=positive_logit.dtype, device=positive_logit.device
    )
    # -log(e^p / (e^p + N)) = log(1 + N / e^p)
    return functional.softplus(torch.maximum(negatives, bound) - positive_logit)


def annealed_beta(epoch: int, epochs: int, start: float, end: float, stages: int = 5) -> float:
    """β in equal stages from `start` to `end`, upwards or downwards.

    arXiv 2603.06982 lets β grow in five stages from 0.5; its last value and its steps are not known here: equal stages
    and equal steps are a reconstruction. (HCL's code can let β fall instead.)

    Args:
        epoch: from 0; from `epochs` on, β stays at `end`.
        epochs: number of epochs of the whole training.
        start: β of the first stage.
        end: β of the last stage.
        stages: number of stages; 1 stays at `start`.

    Examples:
        >>> [annealed_beta(epoch, 10, 0.5, 1.0) for epoch in (0, 1, 2, 9)]
        [0.5, 0.5, 0.625, 1.0]
    """
    stage = min(max(epoch, 0) * stages // max(epochs, 1), stages - 1)
    return start + (end - start) * stage / max(stages - 1, 1)
