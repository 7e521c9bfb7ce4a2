"""How well queries match shapes of several views: each query weighs the views of each shape for itself.

The retrieval score of CMIC (Lin et al., ICCV 2021) and of SC-IBSR (Song et al., TOMM 2024), as their released code has
it: attention in Luong's "general" form. A shape has no vector of its own here, so its score needs the query.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


def view_attention(queries: Tensor, views: Tensor, weight: Tensor, view_mask: Tensor | None = None) -> Tensor:
    """The attention of each query over the views of each shape, softmax over v of (W q)·v.

    Args:
        queries: [b, d].
        views: [s, v, d]; all numbers finite, also those of places without a view.
        weight: W, [d, d].
        view_mask: bool [s, v], which places hold a view; at least one of each row. None: all do.

    Returns:
        [b, s, v], each ≥ 0, with sum 1 over v; 0 at places without a view.

    Raises:
        ValueError: if a shape has no view.

    Examples:
        >>> views = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
        >>> view_attention(torch.tensor([[1.0, 0.0]]), views, torch.eye(2))
        tensor([[[0.7311, 0.2689]]])
    """
    logits = torch.einsum("bd,svd->bsv", functional.linear(queries, weight), views)
    if view_mask is not None:
        check_view_mask(view_mask)
        logits = logits.masked_fill(~view_mask, -torch.inf)
    return logits.softmax(dim=2)


def attention_scores(
    queries: Tensor, views: Tensor, weight: Tensor, view_mask: Tensor | None = None
) -> Tensor:
    """The score q·r(q) of each query with each shape, where r(q) = Σ_v a_v v with the attention a of the query.

    r(q) is not normalised, as in the released code: views that agree with each other score higher than views that do
    not. It is a weighted sum, so q·r(q) = Σ_v a_v (q·v), and the vectors r(q), b·s·d numbers, are never formed: memory
    is that of b·s·v.

    Args:
        queries: [b, d]; unit vectors in the published methods.
        views: [s, v, d]; likewise.
        weight: W, [d, d].
        view_mask: as in `view_attention`.

    Returns:
        [b, s]; for unit vectors in [-1, 1].

    Raises:
        ValueError: if a shape has no view.

    Examples:
        The query is one of the two views, which it weighs by 0.73.

        >>> views = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
        >>> attention_scores(torch.tensor([[1.0, 0.0]]), views, torch.eye(2))
        tensor([[0.7311]])
    """
    attention = view_attention(queries, views, weight, view_mask)
    return (attention * torch.einsum("bd,svd->bsv", queries, views)).sum(dim=2)


def check_view_mask(view_mask: Tensor) -> None:
    """Check a mask bool [s, v] of which places hold a view.

    Raises:
        ValueError: if a shape has no view.

    Examples:
        >>> check_view_mask(torch.tensor([[True, False], [False, False]]))
        Traceback (most recent call last):
        ValueError: view_mask: row 1 has no view; expected at least one for each shape
    """
    empty = ~view_mask.any(dim=1)
    if empty.any():
        row = int(empty.int().argmax())
        raise ValueError(f"view_mask: row {row} has no view; expected at least one for each shape")


class ViewAttention(nn.Module):
    """`attention_scores` with a learned W, without a bias.

    Args:
        dim: width d of queries and views.

    Examples:
        >>> score = ViewAttention(4)
        >>> tuple(score(torch.rand(5, 4), torch.rand(3, 12, 4)).shape)
        (5, 3)
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.projection = nn.Linear(dim, dim, bias=False)

    def forward(self, queries: Tensor, views: Tensor, view_mask: Tensor | None = None) -> Tensor:
        """Queries [b, d] and views [s, v, d], with a mask bool [s, v] or None, to scores [b, s]."""
        return attention_scores(queries, views, self.projection.weight, view_mask)
