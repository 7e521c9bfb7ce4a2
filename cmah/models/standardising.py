"""Features of a frozen encoder minus their mean, divided by their deviation, for each kind of picture apart.

Renders, authors' pictures and photos differ in every feature of an early stage, whatever they show: standardised
together, the kind of a picture is the largest thing that they say, and photos find photos.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

LEAST_VARIANCE = 2.5e-3  # added to variances, so that nearly constant features stay small
UNKNOWN = -1


class Standardise(nn.Module):
    """Standardise rows of features by the statistics of their kind, and weigh blocks of features alike.

    The statistics are learned once, from the features of the training set (`learn`), and are kept with the weights.
    A row of no known kind gets those of the kind that it most resembles: of the kinds with statistics, the one with the
    greatest likelihood per feature under independent normal distributions, the mean over the blocks.

    Args:
        widths: of the blocks of a row, in order; each is weighed by the root of the mean width over its own, so that
            all count the same, however wide they are.
        kinds: how many kinds there are.

    Examples:
        Of two kinds, the second one was seen at 10 ± 2:

        >>> standardise = Standardise([1], kinds=2)
        >>> standardise.learn(0, torch.tensor([[-1.0], [1.0]]))
        >>> standardise.learn(1, torch.tensor([[8.0], [12.0]]))
        >>> rows = torch.tensor([[12.0], [12.0], [0.5]])
        >>> standardise(rows, torch.tensor([1, UNKNOWN, UNKNOWN])).round(decimals=2).flatten().tolist()
        [1.0, 1.0, 0.5]
    """

    mean: Tensor
    deviation: Tensor
    learned: Tensor
    weight: Tensor

    def __init__(self, widths: Sequence[int], kinds: int = 1) -> None:
        super().__init__()
        total = sum(widths)
        self.widths = tuple(widths)
        self.register_buffer("mean", torch.zeros(kinds, total))
        self.register_buffer("deviation", torch.ones(kinds, total))
        self.register_buffer("learned", torch.zeros(kinds, dtype=torch.bool))
        weight = torch.cat([torch.full((width,), (total / len(widths) / width) ** 0.5) for width in widths])
        self.register_buffer("weight", weight, persistent=False)

    def learn(self, kind: int, features: Tensor) -> None:
        """Take the statistics of a kind from its features.

        Args:
            kind: its number.
            features: float [n, d], n ≥ 1, of the training set.
        """
        rows = features.double()
        variance = rows.var(dim=0, correction=0) + LEAST_VARIANCE
        self.mean[kind] = rows.mean(dim=0).to(self.mean)
        self.deviation[kind] = variance.sqrt().to(self.deviation)
        self.learned[kind] = True

    def forward(self, features: Tensor, kinds: Tensor | None = None) -> Tensor:
        """Standardise.

        Args:
            features: float [n, d].
            kinds: int64 [n], the number of each row's kind, `UNKNOWN` where it is not known; None where there is a
                single kind. A kind without statistics is as one that is not known.

        Returns:
            float [n, d].
        """
        if len(self.mean) == 1:
            chosen = torch.zeros(len(features), dtype=torch.int64, device=features.device)
        else:
            if kinds is None:
                kinds = torch.full((len(features),), UNKNOWN, device=features.device)
            known = (kinds >= 0) & self.learned[kinds.clamp_min(0)]
            chosen = torch.where(known, kinds, self.resembled(features))
        return (features - self.mean[chosen]) / self.deviation[chosen] * self.weight

    def resembled(self, features: Tensor) -> Tensor:
        """The number of the kind with statistics that each row most resembles, int64 [n]; 0 where there is none."""
        scores = []
        for mean, deviation, learned in zip(self.mean, self.deviation, self.learned, strict=True):
            likelihood = -((features - mean) / deviation).square() / 2 - deviation.log()
            blocks = [block.mean(dim=1) for block in likelihood.split(self.widths, dim=1)]
            score = torch.stack(blocks).mean(dim=0)
            scores.append(torch.where(learned, score, -torch.inf))
        return torch.stack(scores).argmax(dim=0)
