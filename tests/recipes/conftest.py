"""Puts this folder on the path, for small_towers.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
