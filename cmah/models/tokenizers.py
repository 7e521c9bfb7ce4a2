"""From images and point clouds to tokens, and the random choice of which tokens stay visible."""

import torch
from torch import Tensor, nn

from cmah import point_ops


def sine_positions(side: int, width: int) -> Tensor:
    """Fixed two-dimensional sine-cosine positions (MAE, He et al. 2022, lineage).

    Args:
        side: patches along one side of the square image.
        width: of a token, a multiple of 4.

    Returns:
        float32 [side * side, width]; the first half encodes the row, the second the column.

    Examples:
        >>> sine_positions(2, 4).shape
        torch.Size([4, 4])
    """
    quarter = width // 4
    frequency = 1.0 / 10000 ** (torch.arange(quarter, dtype=torch.float64) / quarter)
    angle = torch.arange(side, dtype=torch.float64)[:, None] * frequency
    axis = torch.cat([angle.sin(), angle.cos()], dim=1)  # [side, width / 2]
    rows = axis[:, None, :].expand(side, side, -1)
    columns = axis[None, :, :].expand(side, side, -1)
    return torch.cat([rows, columns], dim=2).reshape(side * side, width).float()


def patchify(images: Tensor, patch: int) -> Tensor:
    """Cut images into square patches, row by row.

    Args:
        images: [b, 3, side, side] with `side` a multiple of `patch`.
        patch: side of a patch in pixels.

    Returns:
        [b, (side / patch)², patch * patch * 3], each patch as (row, column, channel).

    Examples:
        With patches of one pixel, each is the red, green and blue value of a pixel.

        >>> patchify(torch.arange(12).reshape(1, 3, 2, 2), 1).tolist()
        [[[0, 4, 8], [1, 5, 9], [2, 6, 10], [3, 7, 11]]]
    """
    b, channels, side, _ = images.shape
    n = side // patch
    cut = images.reshape(b, channels, n, patch, n, patch).permute(0, 2, 4, 3, 5, 1)
    return cut.reshape(b, n * n, patch * patch * channels)


class ImageTokenizer(nn.Module):
    """A linear map of each patch, plus a fixed position.

    Examples:
        >>> tuple(ImageTokenizer(image_size=32, patch=16, width=8)(torch.rand(1, 3, 32, 32)).shape)
        (1, 4, 8)
    """

    def __init__(self, image_size: int, patch: int, width: int) -> None:
        super().__init__()
        self.patch = patch
        self.project = nn.Linear(patch * patch * 3, width)
        self.register_buffer("positions", sine_positions(image_size // patch, width), persistent=False)
        self.positions: Tensor

    def forward(self, images: Tensor) -> Tensor:
        """Images [b, 3, side, side], normalised, to tokens [b, t, width] with positions added."""
        return self.project(patchify(images, self.patch)) + self.positions


class PointTokenizer(nn.Module):
    """Farthest points as centres, their nearest neighbours as groups, a mini-PointNet over each group.

    The layers and their order are Point-MAE's (Pang et al. 2022, models/Point_MAE.py), with the width of
    the token net free: 3 → w/2 → w, joined with the group's maximum, 2w → 2w → `width`, maximum.

    Examples:
        >>> tokenizer = PointTokenizer(groups=4, group_size=8, token_width=16, width=24)
        >>> centres, groups = tokenizer.group(torch.rand(1, 100, 3))
        >>> tuple(centres.shape), tuple(groups.shape), tuple(tokenizer(groups).shape)
        ((1, 4, 3), (1, 4, 8, 3), (1, 4, 24))
    """

    def __init__(self, groups: int, group_size: int, token_width: int, width: int) -> None:
        super().__init__()
        self.groups, self.group_size = groups, group_size
        half, full = token_width // 2, token_width * 2
        self.first = nn.Sequential(
            nn.Linear(3, half), PointNorm(half), nn.ReLU(inplace=True), nn.Linear(half, token_width)
        )
        self.second = nn.Sequential(
            nn.Linear(full, full), PointNorm(full), nn.ReLU(inplace=True), nn.Linear(full, width)
        )

    def group(self, points: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """Group a cloud.

        Args:
            points: float32 [b, n, 3] with n ≥ group_size.
            generator: if given, farthest-point sampling starts at a random point (training); otherwise at point
                0, so that the same cloud always gives the same groups.

        Returns:
            (centres [b, g, 3], groups [b, g, size, 3] relative to their centre).

        Examples:
            The pair at each end of a line; the first centre is point 0.

            >>> line = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [5, 0, 0], [7, 0, 0]]])
            >>> centres, groups = PointTokenizer(2, 2, token_width=8, width=8).group(line)
            >>> centres[..., 0].tolist(), groups[..., 0].tolist()
            ([[0.0, 7.0]], [[[0.0, 1.0], [0.0, -2.0]]])
        """
        start: int | Tensor = 0
        if generator is not None:
            start = torch.randint(points.shape[1], (points.shape[0],), generator=generator).to(points.device)
        with torch.no_grad():
            centre_index = point_ops.farthest_points(points, self.groups, start=start)
            centres = point_ops.gather(points, centre_index)
            neighbour_index, _ = point_ops.nearest(centres, points, self.group_size)
            return centres, point_ops.gather(points, neighbour_index) - centres[:, :, None]

    def forward(self, groups: Tensor) -> Tensor:
        """Groups [b, g, size, 3] to tokens [b, g, width]."""
        local = self.first(groups)
        largest = local.amax(dim=2, keepdim=True).expand_as(local)
        return self.second(torch.cat([largest, local], dim=3)).amax(dim=2)


class PointNorm(nn.BatchNorm1d):
    """Batch normalisation over all but the last axis; [..., c] in and out.

    Examples:
        >>> PointNorm(1)(torch.tensor([[[1.0], [3.0]]])).round().tolist()
        [[[-1.0], [1.0]]]
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last axis."""
        return super().forward(x.reshape(-1, x.shape[-1])).reshape(x.shape)


def position_mlp(width: int) -> nn.Sequential:
    """Positions of point groups from their centres: 3 → 128 → GELU → width (Point-MAE).

    Examples:
        >>> tuple(position_mlp(8)(torch.rand(1, 4, 3)).shape)
        (1, 4, 8)
    """
    return nn.Sequential(nn.Linear(3, 128), nn.GELU(), nn.Linear(128, width))


def random_split(b: int, tokens: int, ratio: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Choose which tokens are masked, independently for each item.

    Args:
        b: items.
        tokens: tokens of an item.
        ratio: share of tokens that is masked, in [0, 1); int(ratio * tokens) tokens are, as in Point-MAE and MAE, but
            at least one, so that there is something to reconstruct.
        generator: on the CPU, so that a choice does not depend on the device.

    Returns:
        (visible int64 [b, v], masked int64 [b, m]), each row ascending, together a permutation of the tokens.

    Examples:
        >>> visible, masked = random_split(2, 8, 0.75, torch.Generator())
        >>> tuple(visible.shape), tuple(masked.shape)
        ((2, 2), (2, 6))
        >>> sorted(visible[0].tolist() + masked[0].tolist())
        [0, 1, 2, 3, 4, 5, 6, 7]
    """
    order = torch.rand(b, tokens, generator=generator).argsort(dim=1)
    masked = max(1, int(ratio * tokens))
    return order[:, masked:].sort(dim=1).values, order[:, :masked].sort(dim=1).values


def take(tokens: Tensor, index: Tensor) -> Tensor:
    """Pick tokens [b, t, ...] by index int64 [b, v]: [b, v, ...].

    Examples:
        >>> take(torch.tensor([[10, 20, 30]]), torch.tensor([[2, 0]]))
        tensor([[30, 10]])
    """
    rows = torch.arange(tokens.shape[0], device=tokens.device)[:, None]
    return tokens[rows, index.to(tokens.device)]
