"""InfoNCE between two modalities, over nested prefixes of a code and with optional weights on the negatives."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def info_nce(
    anchors: Tensor,
    others: Tensor,
    temperature: Tensor | float,
    negative_weights: Tensor | None = None,
    targets: Tensor | None = None,
) -> Tensor:
    """InfoNCE in one direction: each anchor must recognise its counterpart among all rows of `others`.

    With cosine similarity s and temperature τ, the mean over rows i of
    -log( e^{s_ii/τ} / (e^{s_ii/τ} + Σ_{j≠i} w_ij e^{s_ij/τ}) ), which is InfoNCE (van den Oord et al. 2018) for
    w = 1 and the weighted form of arXiv 2406.02202, equations 5-6, otherwise. With soft targets t it is the
    cross-entropy -Σ_j t_ij log softmax_j(s_ij/τ + log w_ij).

    Args:
        anchors: [b, d], any norm.
        others: [c, d], any norm, c ≥ b; row i belongs to row i of `anchors`, rows from b on are only negatives.
        temperature: τ > 0, number or scalar tensor.
        negative_weights: [b, c], entry (i, j) ≥ 0 is the weight w_ij of `others[j]` as a negative of `anchors[i]`; the
            diagonal is not read. None means all ones.
        targets: [b, c], rows that sum to 1, what each anchor is to give to each row of `others`, such as those of
            `soft_targets`; None: all to its counterpart.

    Returns:
        Scalar ≥ 0. With all similarities equal and w = 1 it is log c.

    Examples:
        Two pairs at right angles, each row equal to its counterpart: log(1 + e^{-1/τ}).

        >>> rows = torch.eye(2)
        >>> round(float(info_nce(rows, rows, temperature=0.5)), 4)
        0.1269
    """
    logits = functional.normalize(anchors, dim=1) @ functional.normalize(others, dim=1).T / temperature
    if negative_weights is not None:
        eye = torch.eye(*logits.shape, dtype=torch.bool, device=logits.device)
        # a factor w inside the sum of exponentials is log w added to the logit
        logits = logits + negative_weights.to(logits).masked_fill(eye, 1.0).log()
    if targets is None:
        targets = torch.arange(len(logits), device=logits.device)
    return functional.cross_entropy(logits, targets)


def normalise_weights(similarity: Tensor) -> Tensor:
    """Weights on the negatives of each row from similarities, normalised within the batch.

    w_ij = (b - 1) s_ij / Σ_{k≠i} s_ik (arXiv 2406.02202, equation 6): their mean over a row's negatives is 1.

    Args:
        similarity: [b, b], ≥ 0; the diagonal is not read.

    Returns:
        [b, b] with a diagonal of ones. Transpose `similarity` first for the other direction. A row whose
        negatives are all 0 gets ones.

    Examples:
        >>> similarity = torch.tensor([[1.0, 0.3, 0.1], [0.3, 1.0, 0.3], [0.1, 0.3, 1.0]])
        >>> normalise_weights(similarity)[0]
        tensor([1.0000, 1.5000, 0.5000])
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
    targets: Tensor | Sequence[Tensor] | None = None,
) -> Tensor:
    """InfoNCE of nested codes: the mean of `info_nce` over the first b components, for each b in `prefixes`.

    Args:
        anchors: [b, bits] relaxed codes.
        others: [c, bits], c ≥ b, as in `info_nce`.
        prefixes: code lengths, each ≤ bits.
        temperatures: [len(prefixes)], one for each length.
        negative_weights: as in `info_nce`.
        targets: as in `info_nce`; or some for each length.

    Returns:
        Scalar ≥ 0.

    Examples:
        >>> codes = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
        >>> nested = nested_info_nce(codes, codes, (1, 2), torch.tensor([1.0, 1.0]))
        >>> round(float(nested), 4)  # the first bits are equal (log 2); both bits together tell the rows apart
        0.5032
    """
    each = [targets] * len(prefixes) if targets is None or isinstance(targets, Tensor) else targets
    losses = [
        info_nce(anchors[:, :length], others[:, :length], temperature, negative_weights, target)
        for length, temperature, target in zip(prefixes, temperatures, each, strict=True)
    ]
    return torch.stack(losses).mean()
