"""The losses of CMIC (Lin et al., ICCV 2021): an image must find its shape among those of the batch, and its category.

They read scores of images with shapes, such as those of `cmah.models.view_attention`, image → shape only. SC-IBSR (Song
et al., TOMM 2024) takes them over, with queries whose style is mixed: L_inst + 0.2 L_cat, both at τ = 0.1.
"""

from torch import Tensor
from torch.nn import functional


def instance_loss(scores: Tensor, instance: Tensor, temperature: Tensor | float) -> Tensor:
    """L_inst, the mean over images i of -log( e^{s_ik/τ} / Σ_j e^{s_ij/τ} ), where k is the shape that i shows.

    Args:
        scores: s, [b, n], of b images with n shapes; no two rows of the shapes may be of one shape, since one would be
            a negative of the other's images.
        instance: int64 [b], for each image the row of its shape.
        temperature: τ > 0, number or scalar tensor.

    Returns:
        Scalar ≥ 0. With all scores equal it is log n.

    Examples:
        Two images of the first of two shapes.

        >>> import torch
        >>> scores = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
        >>> round(float(instance_loss(scores, torch.tensor([0, 0]), temperature=0.5)), 4)
        0.1269
    """
    return functional.cross_entropy(scores / temperature, instance)


def category_loss(
    scores: Tensor, image_categories: Tensor, shape_categories: Tensor, temperature: Tensor | float
) -> Tensor:
    """L_cat: -log( e^{s_ik/τ} / Σ_j e^{s_ij/τ} ), its mean over the shapes k of image i's category, averaged over i.

    The image's own shape is one of them. Where all shapes are of one category, nothing tells categories apart, and the
    loss is 0, as in the released code.

    Args:
        scores: s, [b, n], as in `instance_loss`.
        image_categories: int64 [b]; below 0: unknown.
        shape_categories: int64 [n], numbered likewise.
        temperature: τ > 0, number or scalar tensor.

    Returns:
        Scalar ≥ 0, over the images that have a shape of their category in the batch; 0 if none has.

    Examples:
        The image's category has two of the three shapes, which share what e^{s/τ} there is.

        >>> import torch
        >>> scores = torch.tensor([[50.0, 50.0, 0.0]])
        >>> category = torch.tensor([3]), torch.tensor([3, 3, 5])
        >>> round(float(category_loss(scores, *category, temperature=1.0)), 4)  # log 2
        0.6931
    """
    same = (image_categories[:, None] == shape_categories) & (image_categories >= 0)[:, None]
    # a factor in place of a branch: the CPU need not wait for the device
    differ = (shape_categories != shape_categories[:1]).any()
    count = same.sum(dim=1)
    row = -(functional.log_softmax(scores / temperature, dim=1) * same).sum(dim=1) / count.clamp_min(1)
    return differ * row.sum() / (count > 0).sum().clamp_min(1)
