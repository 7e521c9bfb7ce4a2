"""Bringing an unlabelled domain to a labelled one: CDAN+E and batch nuclear norm, as SC-IBSR combines them.

SC-IBSR's category level (Song et al., TOMM 2024) learns from labelled images, the source, and unlabelled shapes, the
target. Nothing in here takes a label of the target.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def smoothed_cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = 0.1) -> Tensor:
    """Cross-entropy with smoothed labels: 1 - ε of the target on the label, ε spread evenly over all K classes.

    K is the number of columns. The released code has 31 there, whatever the data set, so that its targets do not sum
    to 1.

    Args:
        logits: [n, K].
        labels: int64 [n], from 0.
        smoothing: ε in [0, 1).

    Returns:
        Scalar ≥ 0.

    Examples:
        >>> round(float(smoothed_cross_entropy(torch.tensor([[2.0, 0.0]]), torch.tensor([0]))), 4)
        0.2269
    """
    return functional.cross_entropy(logits, labels, label_smoothing=smoothing)


class _Reversal(torch.autograd.Function):
    """The identity, whose gradient is multiplied by minus the coefficient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, coefficient: float) -> Tensor:
        ctx.coefficient = coefficient
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.coefficient * gradients[0], None


def reverse_gradient(x: Tensor, coefficient: float) -> Tensor:
    """`x` itself; its gradient comes back multiplied by -`coefficient` (Ganin & Lempitsky, ICML 2015).

    Args:
        x: any shape.
        coefficient: ≥ 0.

    Examples:
        >>> x = torch.ones(1, requires_grad=True)
        >>> reverse_gradient(x, 0.5).sum().backward()
        >>> x.grad
        tensor([-0.5000])
    """
    return _Reversal.apply(x, coefficient)


def reversal_coefficient(step: float, steps: float = 10_000, sharpness: float = 10.0) -> float:
    """How much of the gradient is reversed at a step: 2 / (1 + e^{-sharpness · step / steps}) - 1, from 0 towards 1.

    Args:
        step: from 0.
        steps: at this step it has reached 0.9999 (for a sharpness of 10); the whole training, or longer: SC-IBSR trains
            1,500 steps with 10,000 here, as CDAN has it.
        sharpness: how fast it rises.

    Examples:
        >>> [round(reversal_coefficient(step), 3) for step in (0, 100, 1500, 10_000)]
        [0.0, 0.05, 0.635, 1.0]
    """
    return math.tanh(sharpness * step / steps / 2)  # the same function, without overflow


def entropy(probabilities: Tensor) -> Tensor:
    """The entropy of each row, -Σ p log(p + 1e-5), as CDAN computes it.

    Args:
        probabilities: [n, classes], each row ≥ 0 with sum 1.

    Returns:
        [n], from about 0 to log(classes).

    Examples:
        >>> entropy(torch.tensor([[0.5, 0.5], [0.9, 0.1]]))
        tensor([0.6931, 0.3251])
    """
    return -(probabilities * (probabilities + 1e-5).log()).sum(dim=1)


def conditional_features(features: Tensor, probabilities: Tensor) -> Tensor:
    """What the discriminator of CDAN sees: the outer product of a row's class probabilities and its features.

    Args:
        features: [n, d].
        probabilities: [n, classes].

    Returns:
        [n, classes · d], class by class.

    Examples:
        >>> conditional_features(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.25, 0.75]]))
        tensor([[0.2500, 0.5000, 0.7500, 1.5000]])
    """
    return torch.einsum("nc,nd->ncd", probabilities, features).flatten(1)


def conditional_adversarial_loss(
    discriminator: Callable[[Tensor], Tensor],
    source: tuple[Tensor, Tensor],
    target: tuple[Tensor, Tensor],
    coefficient: float,
) -> Tensor:
    """CDAN+E (Long et al., NeurIPS 2018): can the domain of a row be told from its features and predicted class?

    Of each domain, the mean of the binary cross-entropy (source 1, target 0) weighed by 1 + e^{-H}, with H the entropy
    of the row's prediction; then the mean of the two domains. One optimiser serves both players: the discriminator
    descends on the loss, and gradients into features and entropies are reversed, so that whatever computes those
    ascends. As in the authors' code the predictions within the outer product, and the sums that the weights are divided
    by, are constants: with these the reversed gradient lowers entropies.

    SC-IBSR's released code applies the sigmoid twice; here the discriminator gives logits, which are taken once.

    Args:
        discriminator: [rows, classes · d] to logits [rows], such as `cmah.models.domain_discriminator`.
        source: features [n, d] and class logits [n, classes].
        target: features [m, d] and class logits [m, classes].
        coefficient: ≥ 0, see `reversal_coefficient`.

    Returns:
        Scalar ≥ 0.

    Examples:
        A discriminator that knows nothing costs log 2.

        >>> domain = torch.rand(4, 3), torch.rand(4, 2)
        >>> loss = conditional_adversarial_loss(lambda rows: 0 * rows.sum(dim=1), domain, domain, 1.0)
        >>> round(float(loss), 4)
        0.6931
    """
    features, logits = (torch.cat(pair) for pair in zip(source, target, strict=True))
    probabilities = logits.softmax(dim=1)
    rows = conditional_features(reverse_gradient(features, coefficient), probabilities.detach())
    weights = 1 + torch.exp(-reverse_gradient(entropy(probabilities), coefficient))
    score, n = discriminator(rows), len(source[0])
    cost = weights * torch.cat([functional.softplus(-score[:n]), functional.softplus(score[n:])])
    of_source, of_target = (
        cost[part].sum() / weights[part].sum().detach() for part in (slice(n), slice(n, None))
    )
    return (of_source + of_target) / 2


def nuclear_norm_loss(probabilities: Tensor) -> Tensor:
    """BNM (Cui et al., CVPR 2020): minus the mean singular value of a batch of predictions.

    It falls as predictions become certain and as the classes in the batch become many, so that certainty is not bought
    by calling everything one class.

    Args:
        probabilities: [n, classes] of the unlabelled rows, each row ≥ 0 with sum 1.

    Returns:
        Scalar below 0: minus the nuclear norm divided by k = min(n, classes); at least -√(n / k).

    Examples:
        >>> nuclear_norm_loss(torch.eye(3)), nuclear_norm_loss(torch.full((4, 4), 0.25))
        (tensor(-1.), tensor(-0.2500))
    """
    return -torch.linalg.svdvals(probabilities).mean()
