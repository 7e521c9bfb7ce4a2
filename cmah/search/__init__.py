"""Exact search in Hamming space: `HammingIndex`."""

from cmah.search.index import HammingIndex, Hits, RadiusHits

__all__ = ["HammingIndex", "Hits", "RadiusHits"]
