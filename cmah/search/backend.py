"""Which code compares codes: the compiled kernels or NumPy. Both give the same results.

Importing Numba takes a third of a second, in which NumPy does a small search many times. So a process begins with
NumPy and changes to the compiled kernels when it has compared `WORTH_COMPILED` bytes in all, or when something else
has imported Numba. NumPy does everything where Numba cannot be imported, or where the environment variable
`CMAH_NO_NUMBA` is set to anything but the empty string; it is read at every search.
"""

import os
import sys
from collections.abc import Callable
from functools import cache

import numpy as np

from cmah.search.numpy_scan import ScanResult

WORTH_COMPILED = 64 << 20  # bytes compared by the process, from which on importing Numba pays
_work = 0  # bytes that this process was asked to compare so far

TileScan = Callable[[list[tuple[np.ndarray, int]], int, np.ndarray, int | None, int, int], ScanResult]


def compiled(work: int) -> TileScan | None:
    """The compiled counterpart of `numpy_scan.scan_tile`, or None where NumPy is to do the work.

    Args:
        work: bytes that are about to be compared; they count towards `WORTH_COMPILED`.

    Examples:
        >>> from unittest.mock import patch
        >>> with patch.dict("os.environ", CMAH_NO_NUMBA="1"):
        ...     print(compiled(work=1000))
        None
    """
    global _work  # noqa: PLW0603 (how much was done is a matter of the process)
    _work += work
    if os.environ.get("CMAH_NO_NUMBA") or ("numba" not in sys.modules and _work < WORTH_COMPILED):
        return None
    return _compiled_scan()


@cache
def _compiled_scan() -> TileScan | None:
    try:
        from cmah.search.compiled_scan import scan_tile
    except (ImportError, OSError):  # no Numba, one that does not work, or no folder for its compiled code
        return None
    return scan_tile
