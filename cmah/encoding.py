"""The documented name of `Encoder`: `from cmah.encoding import Encoder`."""

from cmah.runs.encoder import Encoder

__all__ = ["Encoder"]
