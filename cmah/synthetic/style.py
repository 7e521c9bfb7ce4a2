"""The palette, and the reproducible random choices that make one object."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from cmah.synthetic.solids import Colour

T = TypeVar("T")

PALETTE: tuple[Colour, ...] = (
    (0.78, 0.16, 0.14),
    (0.92, 0.52, 0.13),
    (0.93, 0.79, 0.25),
    (0.25, 0.55, 0.24),
    (0.13, 0.52, 0.55),
    (0.17, 0.35, 0.70),
    (0.47, 0.25, 0.60),
    (0.85, 0.48, 0.60),
    (0.90, 0.87, 0.80),
    (0.25, 0.25, 0.28),
)
WOODS: tuple[Colour, ...] = ((0.80, 0.62, 0.40), (0.60, 0.38, 0.20), (0.38, 0.22, 0.13), (0.86, 0.76, 0.60))
METALS: tuple[Colour, ...] = ((0.62, 0.64, 0.67), (0.18, 0.18, 0.20), (0.72, 0.58, 0.27))
GLASS = (0.35, 0.45, 0.52)
RUBBER = (0.12, 0.12, 0.13)
GREENS = ((0.20, 0.45, 0.18), (0.36, 0.58, 0.22), (0.12, 0.36, 0.26), (0.55, 0.62, 0.25))


class Style:
    """The random choices that make one object; the same generator state gives the same object.

    Examples:
        >>> style = Style(np.random.default_rng(0))
        >>> style.pick(["legs", "pedestal"]), style.count(3, 3), style.chance(1.0)
        ('pedestal', 3, True)
        >>> again = Style(np.random.default_rng(0))
        >>> again.pick(["legs", "pedestal"])
        'pedestal'
    """

    def __init__(self, generator: np.random.Generator) -> None:
        self.generator = generator

    def number(self, low: float, high: float) -> float:
        """A number between two bounds, uniformly."""
        return float(self.generator.uniform(low, high))

    def pick(self, items: Sequence[T]) -> T:
        """One of several options, each as likely as the others."""
        return items[int(self.generator.integers(len(items)))]

    def count(self, low: int, high: int) -> int:
        """A whole number between two bounds, both included."""
        return int(self.generator.integers(low, high + 1))

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return bool(self.generator.random() < probability)

    def colour(self, palette: Sequence[Colour] = PALETTE) -> Colour:
        """A random variation of a colour of a palette; RGB in 0..1 (sRGB)."""
        shifted = np.clip(np.array(self.pick(palette)) + self.generator.normal(0, 0.035, 3), 0.04, 0.96)
        return (float(shifted[0]), float(shifted[1]), float(shifted[2]))

    def frame(self) -> Colour:
        """A colour of wood or metal; RGB in 0..1 (sRGB)."""
        return self.colour(WOODS if self.chance(0.6) else METALS)
