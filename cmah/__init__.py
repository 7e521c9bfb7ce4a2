"""Find 3D shapes by a photo, and photos by a shape, in a few bytes per object.

Importing this package loads neither torch nor numba: the names below are fetched on first use.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# In a checkout cmah.kernels and cmah.cli lie beside this folder; installed, they lie inside it.
if (Path(__file__).parent.parent / "setup.py").is_file():
    __path__.append(str(Path(__file__).parent.parent))

if TYPE_CHECKING:
    from cmah.codes import BinaryCodes as BinaryCodes
    from cmah.errors import CmahError as CmahError
    from cmah.preparing.preparing import prepare as prepare
    from cmah.runs.encoder import Encoder as Encoder
    from cmah.runs.exporting import export as export
    from cmah.search import HammingIndex as HammingIndex
    from cmah.search import MultiIndex as MultiIndex
    from cmah.training.starting import train as train

_HOME = {
    "BinaryCodes": "cmah.codes",
    "HammingIndex": "cmah.search",
    "MultiIndex": "cmah.search",
    "CmahError": "cmah.errors",
    "Encoder": "cmah.runs.encoder",
    "prepare": "cmah.preparing.preparing",
    "train": "cmah.training.starting",
    "export": "cmah.runs.exporting",
}
__all__ = [
    "BinaryCodes",
    "CmahError",
    "Encoder",
    "HammingIndex",
    "MultiIndex",
    "__version__",
    "export",
    "prepare",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'cmah' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
