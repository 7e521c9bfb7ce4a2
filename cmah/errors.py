"""The errors that callers may want to catch; each message is one line that says what to put right."""

from collections.abc import Sequence


class CmahError(Exception):
    """Something the user can put right: the message names the file, the row and what was expected."""


class CodesError(CmahError, ValueError):
    """Codes, embeddings or an index that are not what they should be."""


class DatasetError(CmahError, ValueError):
    """A dataset folder with faults.

    Attributes:
        faults: every fault found, one line each, with file and row.
    """

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = list(faults)
        more = len(self.faults) - 1
        super().__init__(self.faults[0] + (f" (and {more} more fault{'s' * (more > 1)})" if more else ""))


class ConfigError(CmahError, ValueError):
    """An unknown or impossible setting."""


class RunError(CmahError):
    """A run folder or checkpoint that cannot be used, or a training that cannot go on."""
