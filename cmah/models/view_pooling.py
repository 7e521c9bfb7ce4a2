"""One vector of a shape from those of its views: their mean, their maximum, or a learned attention over them."""

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from cmah.errors import ConfigError

Pooling = Literal["mean", "max", "attention"]
RENDERS, DRAWN = 12, 6  # views where no number is given


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


def features_of_views(shapes: Mapping[str, Tensor], encode: Callable[[Tensor], Tensor]) -> Tensor:
    """What an image encoder makes of the views of a batch of shapes, unless it was computed beforehand.

    Args:
        shapes: "view_features" float32 [b, v, d], or "views" uint8 [b, v, 3, s, s], as `EncoderModel` takes them.
        encode: from images float [b, 3, s, s] in 0..1 to features [b, d].

    Returns:
        [b, v, d].

    Examples:
        >>> views = torch.full((2, 3, 3, 4, 4), 255, dtype=torch.uint8)
        >>> tuple(features_of_views({"views": views}, lambda images: images.mean(dim=(2, 3))).shape)
        (2, 3, 3)
    """
    if "view_features" in shapes:
        return shapes["view_features"]
    # view by view, for the memory
    return torch.stack([encode(view.float() / 255) for view in shapes["views"].unbind(dim=1)], dim=1)


def each_view(change: Callable[[Tensor], Tensor], features: Tensor, there: Tensor, training: bool) -> Tensor:
    """Change the features of each view by a function of rows, such as a batch norm.

    Args:
        change: from [n, d] to [n, e].
        features: [b, v, d].
        there: bool [b, v], which of the places hold a view.
        training: then the other places do not enter `change`, nor the statistics of its batch norms, and become 0; in
            evaluation all are changed, so that the number of rows, and with it the rounding, is always the same.

    Returns:
        [b, v, e].

    Examples:
        >>> features, there = torch.ones(1, 2, 3), torch.tensor([[True, False]])
        >>> each_view(lambda rows: 2 * rows[:, :1], features, there, training=True).tolist()
        [[[2.0], [0.0]]]
    """
    if not training:
        return change(features.flatten(0, 1)).unflatten(0, tuple(there.shape))
    changed = change(features[there])
    places = changed.new_zeros(*there.shape, changed.shape[1])
    places[there] = changed
    return places


def view_count(views: int, views_from: str, shape_input: str) -> int:
    """How many views show a shape, by the settings of a model.

    Args:
        views: `model.views`; 0 for the usual number.
        views_from: `model.views_from`.
        shape_input: `model.shape_input`.

    Raises:
        ConfigError: if views are to be drawn from points for a model that sees none.

    Examples:
        >>> view_count(0, "all", "views"), view_count(0, "points", "both"), view_count(4, "points", "both")
        (12, 6, 4)
    """
    if views_from == "points" and shape_input == "points":
        raise ConfigError(
            "model.views_from = 'points' draws the views of a shape from its points, and model.shape_input = 'points' "
            "shows no views; set model.shape_input=both or views"
        )
    return views or (DRAWN if views_from == "points" else RENDERS)
