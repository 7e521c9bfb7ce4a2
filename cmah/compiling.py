"""Importing compiled kernels, also where there is no place to keep what was compiled."""

import atexit
import os
import shutil
import tempfile
from importlib import import_module
from types import ModuleType


def load(name: str) -> ModuleType:
    """Import `cmah.kernels.…`, or a module that imports such.

    Numba keeps compiled code beside the source or in the user's home. Where it may write to neither, as in a
    container without a home, it refuses at import; then it gets a folder for this process alone, and each process
    compiles anew. A folder that others can write to would let them choose what is executed.

    Raises:
        ImportError: if Numba cannot be had.
        OSError: if no folder can be made either.
    """
    try:
        return import_module(name)
    except RuntimeError as error:
        if "cannot cache" not in str(error):
            raise
    import numba

    numba.config.CACHE_DIR = tempfile.mkdtemp(prefix="cmah-")
    atexit.register(_remove, numba.config.CACHE_DIR, os.getpid())
    return import_module(name)


def _remove(folder: str, process: int) -> None:
    if os.getpid() == process:  # a forked child must not take it from its parent
        shutil.rmtree(folder, ignore_errors=True)
