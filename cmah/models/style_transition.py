"""Style transition: feature maps of photos take on the statistics of feature maps of renders (SC-IBSR, TOMM 2024).

Song et al. took the layer from SagNet's style randomisation (Nam et al., CVPR 2021) and let the style come from the
other modality. Their released code mixes standard deviations where SagNet mixes variances, and takes the root of them
once more; here it is the variance, over space and with the divisor n.
"""

import torch
from torch import Tensor, nn

from cmah.models.view_attention import check_view_mask

EPSILON = 1e-5


def style_statistics(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance over space, of each sample and channel.

    Args:
        features: [n, c, ...], one or more dimensions of space last.

    Returns:
        Two tensors [n, c], the variance with divisor n (biased); of half precision, they are float32.

    Examples:
        >>> style_statistics(torch.tensor([[[[1.0, 3.0]]]]))
        (tensor([[2.]]), tensor([[1.]]))
    """
    flat = _full(features).flatten(2)
    return flat.mean(dim=2), flat.var(dim=2, correction=0)


def mix_style(
    features: Tensor, mean: Tensor, variance: Tensor, share: Tensor, eps: float = EPSILON
) -> Tensor:
    """Feature maps with a style between their own and another.

    With their own mean μ and variance σ², and a share a of the own style,
    (x - μ) / √(σ² + ε) · √(a σ² + (1 - a) variance + ε) + a μ + (1 - a) mean. Gradients pass through all of it, the
    statistics of both included.

    Args:
        features: x, [b, c, h, w].
        mean: of the other style, [b, c].
        variance: of the other style, [b, c].
        share: a in [0, 1], [b]; 1 leaves the features as they are.
        eps: ε > 0.

    Returns:
        [b, c, h, w], in the type of `features`.

    Examples:
        >>> features = torch.tensor([[[[1.0, 3.0]]]])  # mean 2, variance 1
        >>> mean, variance = torch.tensor([[0.0]]), torch.tensor([[4.0]])
        >>> mix_style(features, mean, variance, share=torch.tensor([0.0])).round(decimals=3)
        tensor([[[[-2.,  2.]]]])
    """
    own_mean, own_variance = style_statistics(features)
    a = share[:, None].to(own_mean)
    new_mean = a * own_mean + (1 - a) * mean
    new_variance = a * own_variance + (1 - a) * variance
    gain = ((new_variance + eps) / (own_variance + eps)).sqrt()
    mixed = (_full(features) - own_mean[..., None, None]) * gain[..., None, None] + new_mean[..., None, None]
    return mixed.to(features.dtype)


class StyleTransition(nn.Module):
    """In training, `mix_style` with the style of a random shape and a random share; otherwise the identity.

    Has no parameters. In SC-IBSR it stands before the third stage of a ResNet-50.

    Args:
        eps: ε of `mix_style`.

    Examples:
        >>> photos, renders = torch.rand(4, 8, 7, 7), torch.rand(4, 3, 8, 7, 7)
        >>> layer = StyleTransition().train()
        >>> first, again = (layer(photos, renders, torch.Generator().manual_seed(0)) for _ in range(2))
        >>> torch.equal(first, again), torch.equal(first, photos)
        (True, False)
        >>> torch.equal(layer.eval()(photos, renders, torch.Generator()), photos)
        True
    """

    def __init__(self, eps: float = EPSILON) -> None:
        super().__init__()
        self.eps = eps

    def forward(
        self, features: Tensor, styles: Tensor, generator: torch.Generator, view_mask: Tensor | None = None
    ) -> Tensor:
        """Mix.

        Args:
            features: of the queries, [b, c, h, w].
            styles: of the shapes at the same depth of the network, [s, c, h, w], or [s, v, c, h, w] with v views (or
                groups of views) each; then the style of a shape is the mean of their means and of their variances,
                which is a choice of ours. b and s, and the sizes of space, need not be equal.
            generator: of the shares, uniform in [0, 1), and of the shapes: a random permutation of them, followed by
                others if b > s.
            view_mask: bool [s, v], which places hold a view; at least one of each row. None: all do.

        Returns:
            [b, c, h, w].

        Raises:
            ValueError: if the channels differ, there are no shapes, or a shape has no view.
        """
        if not self.training:
            return features
        b = len(features)
        mean, variance = _style_of_shapes(styles, features.shape[1], view_mask)
        share = torch.rand(b, generator=generator, device=generator.device).to(features.device)
        partner = _partners(b, len(styles), generator).to(features.device)
        return mix_style(features, mean[partner], variance[partner], share, self.eps)


def _style_of_shapes(styles: Tensor, channels: int, view_mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Mean and variance [s, c] of each shape, averaged over its views."""
    if not len(styles) or styles.dim() not in (4, 5) or styles.shape[-3] != channels:
        raise ValueError(
            f"styles {list(styles.shape)}: expected [s, {channels}, h, w] or [s, v, {channels}, h, w]"
        )
    if styles.dim() == 4:
        return style_statistics(styles)
    s, v = styles.shape[:2]
    mean, variance = (x.unflatten(0, (s, v)) for x in style_statistics(styles.flatten(0, 1)))
    if view_mask is None:
        return mean.mean(dim=1), variance.mean(dim=1)
    check_view_mask(view_mask)
    weights = (view_mask / view_mask.sum(dim=1, keepdim=True))[..., None].to(mean)
    return (weights * mean).sum(dim=1), (weights * variance).sum(dim=1)


def _partners(count: int, shapes: int, generator: torch.Generator) -> Tensor:
    """`count` positions below `shapes`: every shape once before any is taken again."""
    rounds = -(-count // shapes)
    orders = [torch.randperm(shapes, generator=generator, device=generator.device) for _ in range(rounds)]
    return torch.cat(orders)[:count]


def _full(features: Tensor) -> Tensor:
    """As float32 if they are of half precision, whose squares overflow or keep two digits."""
    return features.float() if features.dtype in (torch.float16, torch.bfloat16) else features
