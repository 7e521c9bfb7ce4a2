"""InfoNCE between two modalities, over nested prefixes of a code and with optional weights on the negatives."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def info_nce(
    anchors: Tensor, others: Tensor, temperature: Tensor | float, negative_weights: Tensor | None = None
) -> Tensor:
    """Instance discrimination from `anchors` to `others`, whose rows correspond.

    With cosine similarity s and temperature τ, the mean over rows i of
    -log( e^{s_ii/τ} / (e^{s_ii/τ} + Σ_{j≠i} w_ij e^{s_ij/τ}) ), which is InfoNCE (van den Oord et al. 2018) for
    w = 1 and the weighted form of arXiv 2406.02202, equations 5-6, otherwise.

    Args:
        anchors: [b, d], any norm.
        others: [c, d], any norm, c ≥ b; row i belongs to row i of `anchors`, rows from b on are only negatives.
        temperature: τ > 0, number or scalar tensor.
        negative_weights: [b, c], entry (i, j) ≥ 0 weighs `others[j]` as a negative of `anchors[i]`; the
            diagonal is not read. None means all ones.

    Returns:
        Scalar ≥ 0. With all similarities equal and w = 1 it is log c.
    """
    logits = functional.normalize(anchors, dim=1) @ functional.normalize(others, dim=1).T / temperature
    if negative_weights is not None:
        eye = torch.eye(*logits.shape, dtype=torch.bool, device=logits.device)
        logits = logits + negative_weights.to(logits).masked_fill(eye, 1.0).log()
    return functional.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


def normalise_weights(similarity: Tensor) -> Tensor:
    """Weights on the negatives of each row from similarities, normalised within the batch.

    w_ij = (b - 1) s_ij / Σ_{k≠i} s_ik (arXiv 2406.02202, equation 6): their mean over a row's negatives is 1.

    Args:
        similarity: [b, b], ≥ 0; the diagonal is not read.

    Returns:
        [b, b] with a diagonal of ones. Transpose `similarity` first for the other direction. A row whose
        negatives are all 0 gets ones.
    """
    b = len(similarity)
    eye = torch.eye(b, dtype=torch.bool, device=similarity.device)
    off = similarity.masked_fill(eye, 0.0)
    total = off.sum(dim=1, keepdim=True)
    weights = torch.where(total > 0, (b - 1) * off / total.clamp_min(torch.finfo(off.dtype).tiny), 1.0)
    return weights.masked_fill(eye, 1.0)


def nested_info_nce(
    anchors: Tensor,
    others: Tensor,
    prefixes: Sequence[int],
    temperatures: Tensor,
    negative_weights: Tensor | None = None,
) -> Tensor:
    """Mean of `info_nce` over the first b components, b in `prefixes` (nested codes).

    Args:
        anchors: [b, bits] relaxed codes.
        others: [c, bits], c ≥ b, as in `info_nce`.
        prefixes: lengths ≤ bits.
        temperatures: [len(prefixes)], one for each length.
        negative_weights: as in `info_nce`.
    """
    losses = [
        info_nce(anchors[:, :length], others[:, :length], temperature, negative_weights)
        for length, temperature in zip(prefixes, temperatures, strict=True)
    ]
    return torch.stack(losses).mean()
