"""Tiles small enough that a handful of shapes fills several."""

import pytest

from cmah.negatives import similarities


@pytest.fixture
def small_tiles(monkeypatch):
    """Three rows a tile, and nothing kept from one tile to the next."""
    monkeypatch.setattr(similarities, "TILE_BYTES", 3 * 4 * 8 * 4)
    monkeypatch.setattr(similarities, "KEPT_BYTES", 0)
    monkeypatch.setattr(similarities, "COLUMNS", 2)
