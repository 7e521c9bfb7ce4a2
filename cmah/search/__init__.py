"""Exact search in Hamming space: `HammingIndex`, and `MultiIndex` for codes that lie in clusters."""

from cmah.search.grouping import Groups
from cmah.search.hits import Hit, Hits, QueryHits, RadiusHits, TogetherHits
from cmah.search.index import HammingIndex
from cmah.search.multi_hashing import MultiIndex

__all__ = ["Groups", "HammingIndex", "Hit", "Hits", "MultiIndex", "QueryHits", "RadiusHits", "TogetherHits"]
