"""Reconstruction losses of the masked autoencoders: pixels of masked patches, points of masked groups."""

from torch import Tensor

from cmah import point_ops


def pixel_loss(predicted: Tensor, target: Tensor, *, normalise: bool) -> Tensor:
    """L_2D: mean squared error over masked patches (MAE, He et al. 2022).

    Args:
        predicted: [b, m, p] with p = patch · patch · 3.
        target: [b, m, p] pixels.
        normalise: subtract each target patch's mean and divide by its standard deviation first
            (unbiased variance plus 1e-6, as MAE does).

    Returns:
        Scalar ≥ 0.

    Examples:
        >>> import torch
        >>> pixel_loss(torch.zeros(1, 1, 2), torch.tensor([[[1.0, 3.0]]]), normalise=False)
        tensor(5.)
    """
    if normalise:
        mean = target.mean(dim=2, keepdim=True)
        variance = target.var(dim=2, keepdim=True)
        target = (target - mean) / (variance + 1e-6).sqrt()
    return (predicted - target).square().mean()


def group_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """L_3D: Chamfer-L2 between predicted and true masked groups (Point-MAE, Pang et al. 2022).

    The sum of the two means of squared nearest distances, see `point_ops.chamfer`.

    Args:
        predicted: [b, m, size, 3], points relative to their group's centre.
        target: likewise.

    Returns:
        Scalar ≥ 0.

    Examples:
        >>> import torch
        >>> group_loss(torch.zeros(1, 1, 2, 3), torch.ones(1, 1, 2, 3))
        tensor(6.)
    """
    size = target.shape[2]
    return point_ops.chamfer(predicted.reshape(-1, size, 3).float(), target.reshape(-1, size, 3).float())
