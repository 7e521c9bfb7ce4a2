"""Classes as directions and places: orthogonal projection within a labelled domain, class centres across two.

Two of the smaller terms of SC-IBSR's category level (Song et al., TOMM 2024), as their own authors meant them. Nothing
in here takes a label of the target.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


def orthogonal_projection_loss(features: Tensor, labels: Tensor, gamma: float = 0.5) -> Tensor:
    """OPL (Ranasinghe et al., ICCV 2021): a class has one direction, and others lie at right angles to it or beyond.

    1 - (mean cosine of pairs of one class) + γ (mean cosine of pairs of different classes), without the absolute value
    of the paper, as its authors' code has it. SC-IBSR's released code inverts an 8-bit mask bitwise, by which its
    second mean runs over nearly all pairs.

    Args:
        features: [n, d], any norm, of labelled rows.
        labels: int64 [n].
        gamma: γ ≥ 0.

    Returns:
        Scalar from -γ to 2 + γ. Where there is no pair of a kind, its mean is 0.

    Examples:
        >>> labels = torch.tensor([0, 0, 1, 1])
        >>> orthogonal_projection_loss(torch.eye(2).repeat_interleave(2, dim=0), labels)
        tensor(0.)
    """
    unit = functional.normalize(features, dim=1)
    cosine = unit @ unit.T
    same = labels[:, None] == labels
    other = ~same
    same = same ^ torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    within, between = ((cosine * pairs).sum() / pairs.sum().clamp_min(1) for pairs in (same, other))
    return 1 - within + gamma * between


@dataclass(frozen=True)
class ClassCentres:
    """Running means of the features of each class in both domains; what the next step is given.

    Attributes:
        source: [classes, d], without gradient.
        target: [classes, d], without gradient.
        seen: bool [2, classes], which classes have been met so far, in the source and in the target.

    Examples:
        >>> centres = ClassCentres.zero(classes=3, dim=2)
        >>> tuple(centres.source.shape), int(centres.seen.sum())
        ((3, 2), 0)
    """

    source: Tensor
    target: Tensor
    seen: Tensor

    @classmethod
    def zero(cls, classes: int, dim: int, like: Tensor | None = None) -> "ClassCentres":
        """Before the first step; type and device are those of `like`."""
        like = torch.empty(0) if like is None else like
        source, target = like.new_zeros(2, classes, dim)
        return cls(source, target, torch.zeros(2, classes, dtype=torch.bool, device=like.device))


def centre_alignment(
    source: Tensor,
    target: Tensor,
    source_labels: Tensor,
    target_logits: Tensor,
    centres: ClassCentres,
    decay: float = 0.3,
) -> tuple[Tensor, ClassCentres]:
    """Class centres of the source against those of the target (MSTN, Xie et al., ICML 2018: "semantic" alignment).

    A class met in the batch moves its centre to (1 - decay) · centre + decay · mean of its rows, or, met for the first
    time, to that mean; others stay. The loss is the mean squared difference over the classes that both domains have met
    by now. The class of a target row is the one that its own logits prefer, as in MSTN.

    SC-IBSR's released code reads labels of the target, never keeps a centre (so that all are decay · mean), and counts
    classes that are absent as centres at 0.

    Args:
        source: [n, d].
        target: [m, d].
        source_labels: int64 [n], from 0.
        target_logits: [m, classes], by the classifier; no gradient passes through them.
        centres: of the step before.
        decay: in (0, 1], the share of the batch.

    Returns:
        Scalar ≥ 0, whose gradient passes through the rows of this batch, and the centres for the next step.

    Examples:
        >>> rows, labels = torch.eye(2), torch.tensor([0, 1])
        >>> start = ClassCentres.zero(classes=2, dim=2)
        >>> loss, centres = centre_alignment(rows, 3 * rows, labels, target_logits=rows, centres=start)
        >>> loss, centres.target
        (tensor(2.), tensor([[3., 0.],
                [0., 3.]]))
    """
    pseudo_labels = target_logits.detach().argmax(dim=1)
    from_source, in_source = _moved(centres.source, centres.seen[0], source, source_labels, decay)
    from_target, in_target = _moved(centres.target, centres.seen[1], target, pseudo_labels, decay)
    both = (in_source & in_target)[:, None]
    apart = ((from_source - from_target) * both).square().sum()
    loss = apart / (both.sum() * source.shape[1]).clamp_min(1)
    seen = torch.stack([in_source, in_target])
    return loss, ClassCentres(from_source.detach(), from_target.detach(), seen)


def _moved(centre: Tensor, seen: Tensor, rows: Tensor, labels: Tensor, decay: float) -> tuple[Tensor, Tensor]:
    """Centres [classes, d] after a batch of one domain, and which classes have been met by then."""
    member = functional.one_hot(labels, len(centre)).to(rows)
    count = member.sum(dim=0)
    mean = member.T @ rows / count.clamp_min(1)[:, None]
    share = (1 - (1 - decay) * seen.to(rows)) * (count > 0)  # all of the mean where there is no centre yet
    return centre + share[:, None] * (mean - centre), seen | (count > 0)
