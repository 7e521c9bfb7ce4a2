"""Soft targets: what a contrast is to give, beside the pair, to other rows that look alike to frozen encoders.

InfoNCE pushes every other shape of a batch away alike, chairs from chairs as much as from cars. A part of the target is
given to the shapes that resemble the pair's own instead, as frozen features tell (as in SoftCLIP, Gao et al., AAAI
2024; here within one batch and without labels).
"""

from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional

from cmah.settings import Range, Settings, Share


@dataclass(frozen=True)
class SoftTargetsConfig(Settings):
    """How much of each target goes to other rows. No label is read.

    Examples:
        >>> SoftTargetsConfig().share  # one-hot targets
        0.0
        >>> SoftTargetsConfig(share=1.5)
        Traceback (most recent call last):
        cmah.errors.ConfigError: loss.soft.share = 1.5: expected a number from 0 to 1
    """

    table = "loss.soft"

    share: Share = 0.0  # of the target that is spread over the other rows; 0 leaves it one-hot
    temperature: Annotated[float, Range(0.001, 10)] = 0.1  # by which their similarities are divided


def cosines(features: Tensor) -> Tensor:
    """The cosine of every two rows.

    Args:
        features: [b, d]; standardised over the training set, these are correlations.

    Returns:
        [b, b]; 0 with a row that is 0.

    Examples:
        >>> cosines(torch.tensor([[3.0, 4.0], [4.0, 3.0], [0.0, 0.0]]))[0]
        tensor([1.0000, 0.9600, 0.0000])
    """
    unit = functional.normalize(features.float(), dim=1)
    return unit @ unit.T


def soft_targets(similarity: Tensor, share: float, temperature: float = 0.1) -> Tensor:
    """Targets of a contrast: (1 - share) on the pair, the rest over the other rows by their similarity.

    t_ii = 1 - s, and t_ij = s · softmax over j ≠ i of (T_ij / τ) for similarities T.

    Args:
        similarity: [b, b], T; the diagonal is not read.
        share: s, from 0 to 1.
        temperature: τ > 0; the smaller, the more goes to the most similar row.

    Returns:
        [b, b] whose rows sum to 1. A batch of a single row keeps all on the pair.

    Examples:
        >>> similarity = torch.tensor([[1.0, 0.3, 0.3], [0.3, 1.0, 0.3], [0.3, 0.3, 1.0]])
        >>> soft_targets(similarity, share=0.5)[0]
        tensor([0.5000, 0.2500, 0.2500])
    """
    b = len(similarity)
    eye = torch.eye(b, dtype=similarity.dtype, device=similarity.device)
    if b == 1 or not share:
        return eye
    others = (similarity / temperature).masked_fill(eye.bool(), -torch.inf).softmax(dim=1)
    return (1 - share) * eye + share * others
