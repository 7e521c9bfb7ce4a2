"""Exact search in Hamming space: `HammingIndex`, and `MultiIndex` for codes that lie in clusters."""

from cmah.search.index import HammingIndex, Hits, RadiusHits
from cmah.search.multi_index import MultiIndex

__all__ = ["HammingIndex", "Hits", "MultiIndex", "RadiusHits"]
