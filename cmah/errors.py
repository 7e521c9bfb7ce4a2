"""The errors that callers may want to catch; each message is one line that says what to put right."""

from collections.abc import Sequence


class CmahError(Exception):
    """Something the user can put right: the message names the file, the row and what was expected.

    Examples:
        >>> import cmah
        >>> try:
        ...     cmah.BinaryCodes.load("none.npz")
        ... except CmahError as error:
        ...     print(error)
        none.npz: no such file
    """


class CmahWarning(UserWarning):
    """Something that a result lacks and the user may want to know; each message is one line.

    The commands print these warnings and no others, unless given --debug.

    Examples:
        >>> import warnings
        >>> with warnings.catch_warnings(record=True) as caught:
        ...     warnings.warn("view 3 of chair.obj cannot be read", CmahWarning)
        >>> print(caught[0].message)
        view 3 of chair.obj cannot be read
    """


class CodesError(CmahError, ValueError):
    """Codes, embeddings or an index that are not what they should be.

    Examples:
        >>> from cmah.evaluation import Protocol
        >>> Protocol(map_depth=0)
        Traceback (most recent call last):
        cmah.errors.CodesError: map_depth is 0, expected 1 to 2^63 - 1
    """


class DatasetError(CmahError, ValueError):
    """A dataset folder with faults.

    Attributes:
        faults: every fault found, one line each, with file and row.

    Examples:
        >>> error = DatasetError([f"shapes.csv: row {row}: no points" for row in (2, 5, 7)])
        >>> print(error)
        shapes.csv: row 2: no points (and 2 more faults)
        >>> error.faults[2]
        'shapes.csv: row 7: no points'
    """

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = list(faults)
        more = len(self.faults) - 1
        super().__init__(self.faults[0] + (f" (and {more} more fault{'s' * (more > 1)})" if more else ""))


class ConfigError(CmahError, ValueError):
    """An unknown or impossible setting.

    Examples:
        >>> from cmah.devices import chosen_device
        >>> chosen_device("tpu")
        Traceback (most recent call last):
        cmah.errors.ConfigError: device 'tpu': expected auto, cpu, cuda or cuda:N
    """


class RunError(CmahError):
    """A run folder or checkpoint that cannot be used, or a training that cannot go on.

    Examples:
        >>> from cmah.encoding import Encoder
        >>> Encoder.load("runs/none")
        Traceback (most recent call last):
        cmah.errors.RunError: runs/none: no such run folder (make one with cmah train)
    """


class JobError(CmahError):
    """A fault that is not of one input but of the machine, such as a full disk: it ends a job over many inputs.

    Examples:
        >>> raise JobError("renders: cannot be written (No space left on device)")
        Traceback (most recent call last):
        cmah.errors.JobError: renders: cannot be written (No space left on device)
    """
