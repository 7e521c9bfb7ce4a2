"""Fine-grained consistency of SC-IBSR (Song et al., TOMM 2024): mixing the style must not change who resembles whom."""

from typing import Literal

from torch import Tensor
from torch.nn import functional


def consistency(
    plain: Tensor, mixed: Tensor, temperature: float = 1.0, reduction: Literal["mean", "sum"] = "mean"
) -> Tensor:
    """Agreement of the similarities of plain with mixed queries, and of mixed with plain ones, after CO2 (ICLR 2021).

    With A = softmax over rows of (Q Q'ᵀ / T) and A' = softmax over rows of (Q' Qᵀ / T), ½ KL(A‖A') + ½ KL(A'‖A).

    The two levels of the method differ in their settings only. Instance level: unit vectors, T = 1, the sum. Category
    level: the bottleneck's vectors as they are (their norm is not 1), T = 100, the mean. In both the matrices are
    nearly flat and the loss is tiny; a lower temperature makes it act. The released code divides each column by the sum
    of the row of the same number, and lets no gradient through at instance level; both are mended here.

    Args:
        plain: Q, [b, d], of the queries as they are.
        mixed: Q', [b, d], of the same queries with mixed style.
        temperature: T > 0.
        reduction: "mean" of the b rows' divergences, or their "sum".

    Returns:
        Scalar ≥ 0; 0 where Q Q'ᵀ is symmetric, so for Q' = Q.

    Raises:
        ValueError: for another reduction.

    Examples:
        >>> import torch
        >>> plain = torch.eye(2)
        >>> consistency(plain, plain).item()
        0.0
        >>> round(consistency(plain, torch.tensor([[1.0, 0.0], [1.0, 0.0]])).item(), 4)
        0.1155
    """
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction = {reduction!r}: expected mean or sum")
    similarity = plain @ mixed.T / temperature
    there, back = functional.log_softmax(similarity, dim=1), functional.log_softmax(similarity.T, dim=1)
    # ½ Σ A (log A - log A') + ½ Σ A' (log A' - log A) = ½ Σ (A - A') (log A - log A')
    total = ((there.exp() - back.exp()) * (there - back)).sum() / 2
    return total / len(plain) if reduction == "mean" else total
