"""What the decoders are asked for: pixels of masked patches and coordinates of masked groups."""

from torch import Tensor

from cmah import point_ops


def pixel_loss(predicted: Tensor, target: Tensor, *, normalise: bool) -> Tensor:
    """L_2D: mean squared error over masked patches (MAE, He et al. 2022).

    Args:
        predicted: [b, m, p] with p = patch · patch · 3.
        target: [b, m, p] pixels.
        normalise: subtract each target patch's mean and divide by its standard deviation first
            (unbiased variance plus 1e-6, as MAE does).
    """
    if normalise:
        mean = target.mean(dim=2, keepdim=True)
        variance = target.var(dim=2, keepdim=True)
        target = (target - mean) / (variance + 1e-6).sqrt()
    return (predicted - target).square().mean()


def group_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """L_3D: Chamfer-L2 between predicted and true masked groups (Point-MAE).

    The sum of the two means of squared nearest distances, over groups [b, m, size, 3] relative to their centres.
    """
    size = target.shape[2]
    return point_ops.chamfer(predicted.reshape(-1, size, 3).float(), target.reshape(-1, size, 3).float())
