"""One vector of a shape from those of its views: their mean, their maximum, or a learned attention over them."""

from typing import Literal

import torch
from torch import Tensor, nn

Pooling = Literal["mean", "max", "attention"]


class ViewPooling(nn.Module):
    """Pool the vectors of a shape's views.

    "mean" and "max" (as in multi-view CNNs, Su et al., ICCV 2015) learn nothing. "attention" weighs views by the
    softmax of their products with a learned vector, which is 0 at the start, so that it begins as the mean.

    Examples:
        Two views and a place without one:

        >>> views = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [9.0, 9.0]]])
        >>> there = torch.tensor([[True, True, False]])
        >>> ViewPooling(2, "mean")(views, there).tolist(), ViewPooling(2, "max")(views, there).tolist()
        ([[0.5, 1.0]], [[1.0, 2.0]])
    """

    def __init__(self, dim: int, how: Pooling) -> None:
        super().__init__()
        self.how = how
        self.query = nn.Parameter(torch.zeros(dim)) if how == "attention" else None

    def forward(self, views: Tensor, there: Tensor) -> Tensor:
        """Pool.

        Args:
            views: float32 [b, v, dim].
            there: bool [b, v], which of the places hold a view; at least one of each row.

        Returns:
            float32 [b, dim].
        """
        if self.how == "max":
            return views.masked_fill(~there[..., None], -torch.inf).amax(dim=1)
        if self.query is None:
            weights = there / there.sum(dim=1, keepdim=True)
        else:
            weights = (views @ self.query).masked_fill(~there, -torch.inf).softmax(dim=1)
        return (weights[..., None] * views).masked_fill(~there[..., None], 0.0).sum(dim=1)
