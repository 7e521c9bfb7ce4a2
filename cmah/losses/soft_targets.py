"""Soft targets: what a contrast is to give, beside the pair, to other rows that look alike to frozen encoders.

InfoNCE pushes every other shape of a batch away alike, chairs from chairs as much as from cars. A part of the target is
given to the shapes that resemble the pair's own instead, as frozen features tell (as in SoftCLIP, Gao et al., AAAI
2024; here within one batch and without labels).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional

from cmah.settings import Range, Settings, Share

MOST = (
    0.95  # of a target that is spread where the share depends on the code length: something stays on the pair
)


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

    share: Share = 0.0  # of the target that is spread over the other rows at 64 bits; 0 leaves it one-hot
    by_length: Annotated[float, Range(0, 1)] = 0.0  # how much less of it at each doubling of the code length
    temperature: Annotated[float, Range(0.001, 10)] = 0.1  # by which their similarities are divided

    def share_at(self, bits: int) -> float:
        """The share at a code length, from 0 to `MOST`: few bits cannot tell every shape from every other.

        Examples:
            >>> config = SoftTargetsConfig(share=0.5, by_length=0.2)
            >>> [round(config.share_at(bits), 3) for bits in (8, 16, 64, 128)]
            [0.95, 0.9, 0.5, 0.3]
        """
        if not self.share:
            return 0.0
        return min(max(self.share - self.by_length * math.log2(bits / 64), 0.0), max(self.share, MOST))


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


def nested_targets(similarity: Tensor, config: SoftTargetsConfig, lengths: Sequence[int]) -> list[Tensor]:
    """The targets of each code length, [b, b], by the settings; arguments as in `soft_targets`.

    Examples:
        >>> config = SoftTargetsConfig(share=0.5, by_length=0.2)
        >>> [round(each[0, 0].item(), 3) for each in nested_targets(torch.eye(3), config, (64, 128))]
        [0.5, 0.7]
    """
    return [soft_targets(similarity, config.share_at(bits), config.temperature) for bits in lengths]
