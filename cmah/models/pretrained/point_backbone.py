"""The interface of all encoders of point clouds, whatever convention each was trained with."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from cmah.models.pretrained.foreign_weights import Layout, load_tower, read_checkpoint

GREY = 0.4  # the colour of points without one (ULIP-2, OpenShape, Uni3D)


class PointEncoder(nn.Module, ABC):
    """An encoder of point clouds: clouds in cmah's convention in, one vector per cloud out.

    cmah's convention: y up, mean at the origin, largest norm 1, rgb in 0..1 where there are colours. Each encoder
    converts such clouds to the convention that it was trained with.

    Attributes:
        dim: width of the vector.
        layer_widths: widths of its parts, where it is of several layers' features one after the other; else ().
        points: how many points it was trained on, and takes by default; other numbers work too.
        colours: whether it reads colours.
        least: the fewest points that a cloud may have: the size of one group.
        layouts: how public files store its weights; see `load_tower` for which one is used.
        ignored: how many tensors of the loaded state dict lay outside the point tower; 0 before `load`.

    Examples:
        >>> class Centroid(PointEncoder):
        ...     dim, points = 3, 1024
        ...     def embed(self, points):
        ...         return points.mean(dim=1)
        >>> Centroid()(torch.tensor([[[0.0, 0.0, 0.0], [1.0, 2.0, 4.0]]])).tolist()
        [[0.5, 1.0, 2.0]]
    """

    dim: int
    layer_widths: tuple[int, ...] = ()
    points: int
    colours: bool = False
    least: int = 1
    layouts: tuple[Layout, ...] = ()
    ignored: int = 0

    def load(self, path: str) -> None:
        """Load the public checkpoint as published.

        Raises:
            RunError: if the file is missing, damaged or unsafe, or its point tower misses a tensor of this encoder,
                has one too many, or one of another shape; the message names it.
        """
        self.ignored = load_tower(self, read_checkpoint(path), self.layouts, path)

    def prepare(self, points: Tensor) -> Tensor:
        """Clouds in cmah's convention (see `forward`) to the input of the official network."""
        return with_colours(points) if self.colours else points[..., :3]

    @abstractmethod
    def embed(self, points: Tensor) -> Tensor:
        """The official network on the official input, to [b, dim] (not normalised)."""

    def forward(self, points: Tensor) -> Tensor:
        """Clouds to vectors.

        Args:
            points: float32 [b, n, 3] or [b, n, 6] (xyz, rgb in 0..1), y up, mean at the origin, largest norm 1 (as
                `cmah.data.point_clouds.normalise` makes them; all these encoders were trained on such clouds).

        Returns:
            [b, dim], of any norm.
        """
        return self.embed(self.prepare(points))


def with_colours(points: Tensor) -> Tensor:
    """Points [b, n, 3 or 6] to [b, n, 6]; without colours they become grey (0.4).

    Examples:
        >>> with_colours(torch.tensor([[[1.0, 2.0, 3.0]]]))
        tensor([[[1.0000, 2.0000, 3.0000, 0.4000, 0.4000, 0.4000]]])
    """
    if points.shape[-1] == 6:
        return points
    return torch.cat([points, torch.full_like(points, GREY)], dim=-1)
