"""A folder for Numba's compiled code. Import this module before any module of `cmah.kernels`.

Numba keeps compiled code beside the source or in the user's home. Where it may write to neither, as in a container
without a home, the import of a kernel would fail. Importing this module tries that once, and if it fails gives Numba
a folder for this process alone, in which each process compiles anew. A folder that others can write to would let
them choose what is executed.

A disk without room, which Numba notices only when it has compiled, costs no more than that the code is not kept.

Raises:
    ImportError: on import, if Numba is not installed or does not work.
    OSError: on import, if no folder can be made either.
"""

import atexit
import hashlib
import os
import shutil
import tempfile
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core import caching
from numba.core.caching import Cache

from cmah import kernels


def _use_own_folder() -> None:
    """Give Numba a folder that this process removes when it ends."""
    folder = tempfile.mkdtemp(prefix="cmah-")
    numba.config.CACHE_DIR = folder
    atexit.register(_remove, folder, os.getpid())


def _remove(folder: str, process: int) -> None:
    if os.getpid() == process:  # a forked child must not take it from its parent
        shutil.rmtree(folder, ignore_errors=True)


def _keep_what_there_is_room_for() -> None:
    """Let Numba go on with what it has compiled where it cannot write it to its folder."""
    save = Cache.save_overload

    def save_overload(self: Any, signature: Any, data: Any) -> None:
        with suppress(OSError):
            save(self, signature, data)

    Cache.save_overload = save_overload


def _compile_anew_after_an_edit_of_any_kernel() -> None:
    """Let Numba look at all kernels for edits: it looks at a function's own file, and code of others is in it too."""
    mixin = caching._SourceFileBackedLocatorMixin
    own = mixin.get_source_stamp
    sources = [path for path in kernels.__path__ if os.path.isdir(path)]

    @cache  # every kernel asks
    def stamp_of(folder: str) -> str | None:
        if not any(os.path.isdir(path) and os.path.samefile(path, folder) for path in sources):
            return None
        stamp = hashlib.sha256()
        for path in sorted(Path(folder).glob("*.py")):
            stamp.update(path.read_bytes())
        return stamp.hexdigest()

    def get_source_stamp(self: Any) -> Any:
        return stamp_of(os.path.dirname(self._py_file)) or own(self)

    mixin.get_source_stamp = get_source_stamp


_compile_anew_after_an_edit_of_any_kernel()
_keep_what_there_is_room_for()
try:
    # the smallest kernel: the verdict is the same for all of them, they lie in one folder
    import cmah.kernels.clouds  # noqa: F401
except RuntimeError as error:
    if "cannot cache" not in str(error):
        raise
    _use_own_folder()
