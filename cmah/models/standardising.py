"""Features of a frozen encoder minus their mean, divided by their deviation, for each kind of picture apart.

Renders, authors' pictures and photos differ in every feature of an early stage, whatever they show: standardised
together, the kind of a picture is the largest thing that they say, and photos find photos.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

LEAST_VARIANCE = 1e-5  # added to variances, so that constant features stay 0
UNKNOWN = -1


class Standardise(nn.Module):
    """Standardise rows of features by the statistics of their kind, and weigh blocks of features alike.

    The statistics are learned once, from the features of the training set (`learn`), and are kept with the weights.
    A row whose kind is not known is of the last kind or not, and if not, of the first one that was learned. It is of
    the last one where that is likelier than each other one: by independent normal distributions of the features, the
    mean over each block and over the blocks before the last, which say more of the kind than of what is shown. (Kinds:
    renders, authors' pictures, photos. Photos are told from the others nearly without fault; renders and pictures are
    not told from each other, and do well with the statistics of either.)

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
            chosen = torch.where(known, kinds, self.guessed(features))
        return (features - self.mean[chosen]) / self.deviation[chosen] * self.weight

    def guessed(self, features: Tensor) -> Tensor:
        """The number of the kind that each row is taken for, int64 [n]; 0 where nothing was learned."""
        scores, told_by = [], max(1, len(self.widths) - 1)
        for mean, deviation, learned in zip(self.mean, self.deviation, self.learned, strict=True):
            likelihood = -((features - mean) / deviation).square() / 2 - deviation.log()
            blocks = [block.mean(dim=1) for block in likelihood.split(self.widths, dim=1)[:told_by]]
            score = torch.stack(blocks).mean(dim=0)
            scores.append(torch.where(learned, score, -torch.inf))
        last = torch.stack(scores).argmax(dim=0) == len(scores) - 1
        return torch.where(last, len(scores) - 1, self.learned.int().argmax())
