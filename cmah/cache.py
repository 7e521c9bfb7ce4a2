"""The cache folder: what cmah can compute again, and the digests of large files that it remembers there.

The folder is `$CMAH_CACHE`, else `$XDG_CACHE_HOME/cmah`, else `~/.cache/cmah`. Deleting it costs time only.
"""

import os
import time
from contextlib import suppress
from pathlib import Path

from cmah.errors import CmahError
from cmah.files import digest, sha256, write_json
from cmah.progress import say
from cmah.reading import read_json

FORMAT, VERSION = "cmah-digest", 1
SETTLED = 2.0  # seconds after which a change of a file cannot leave its times as they are
NOWHERE = Path(os.devnull) / "cmah"  # in which nobody can write or find anything
_told: set[Path] = set()  # the cache folders of which the user knows that they cannot be written


def cache_folder() -> Path:
    """Where cmah keeps what it can compute again.

    Where no home folder is known, as in some containers, it is a path that nobody can write to: nothing is kept then.

    Examples:
        >>> from unittest.mock import patch
        >>> with patch.dict(os.environ, {"CMAH_CACHE": "/data/cache"}):
        ...     print(cache_folder())
        /data/cache
    """
    for variable, inner in (("CMAH_CACHE", ""), ("XDG_CACHE_HOME", "cmah")):
        if os.environ.get(variable):
            return _expanded(Path(os.environ[variable])) / inner
    return _expanded(Path("~/.cache/cmah"))


def _expanded(path: Path) -> Path:
    """A path without "~"."""
    try:
        return path.expanduser()
    except RuntimeError:  # no home folder is known
        return NOWHERE


def tell_not_kept(reason: str) -> None:
    """Say on standard error that the cache folder cannot be written, once in the life of a process.

    The job goes on: what it computes serves itself alone.

    Args:
        reason: the path that could not be written, and why.

    Examples:
        >>> from contextlib import redirect_stderr
        >>> import sys
        >>> with redirect_stderr(sys.stdout):
        ...     for _ in range(2):
        ...         tell_not_kept("/cache/features: cannot be written (Read-only file system)")
        /cache/features: cannot be written (Read-only file system); what is computed is not kept for the next time ...
    """
    folder = cache_folder()
    if folder in _told:
        return
    _told.add(folder)
    if NOWHERE in (folder, *folder.parents):
        reason = "no home folder is known"
    say(
        f"{reason}; what is computed is not kept for the next time (the environment variable CMAH_CACHE chooses "
        "another cache folder)"
    )


def file_digest(path: str | Path, *, verify: bool = False) -> str:
    """The SHA-256 of a file in hexadecimal, remembered in the cache.

    A remembered digest is used while path, device, inode, size and times (in ns) of the file are what they were.
    Weights files have gigabytes, and each command that loads them names its model by their digest.

    Args:
        path: the file.
        verify: read the whole file even if its digest is remembered.

    Raises:
        OSError: if the file cannot be read.

    Examples:
        >>> _ = Path("abc.txt").write_text("abc")
        >>> file_digest("abc.txt")
        'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'
    """
    path = os.path.abspath(path)
    state = os.stat(path)
    identity: list[str | int] = [
        path,
        state.st_dev,
        state.st_ino,
        state.st_size,
        state.st_mtime_ns,
        state.st_ctime_ns,
    ]
    record = cache_folder() / "digests" / f"{digest(path)}.json"
    if not verify and (remembered := _remembered(record, identity)):
        return remembered
    value = sha256(path)
    # a file that was written just now could be written again within the resolution of its times
    if time.time() - max(state.st_mtime, state.st_ctime) > SETTLED:
        with suppress(CmahError):  # a cache that cannot be written costs time only
            write_json(record, {"format": FORMAT, "version": VERSION, "file": identity, "sha256": value})
    return value


def _remembered(record: Path, identity: list[str | int]) -> str:
    """The digest in a record of the cache; "" if there is none for just this file."""
    if not os.path.isfile(record):  # which says no, too, where the folder may not be entered
        return ""
    with suppress(CmahError, OSError):
        entry = read_json(record)
        same = isinstance(entry, dict) and (entry.get("format"), entry.get("version"), entry.get("file")) == (
            FORMAT, VERSION, identity,
        )  # fmt: skip
        if same and isinstance(entry["sha256"], str):
            return str(entry["sha256"])
    return ""
