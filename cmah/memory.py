"""How much memory there is for a result, asked before it is computed: what does not fit is refused in one line."""

import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

from cmah.errors import CmahError, CodesError

# results up to this size are not asked about: reading what is available takes as long as a small search
SMALL = 64 << 20
SHARE = 0.9  # part of what is available that a result may take
LATELY = 0.1  # seconds
_last: tuple[float, int | None] = (-1.0, None)  # when available_bytes was asked, and what it said
NO_LIMIT = 1 << 60  # version 1 of control groups says a number beyond where there is none


def available_bytes() -> int | None:
    """The memory in bytes that this process can still take; None where the system does not say.

    The least of what the machine has left (Linux's MemAvailable), what the limits of its control groups leave (as in a
    container or a batch job), and what a limit on its address space leaves (`ulimit -v`).

    Examples:
        >>> available = available_bytes()
        >>> available is None or available > 0
        True
    """
    return min(_bounds(), default=None)


def lately_available_bytes() -> int | None:
    """As `available_bytes`, but up to a tenth of a second old: asking takes as long as a search of one query.

    Examples:
        >>> lately_available_bytes() == lately_available_bytes()
        True
    """
    global _last  # noqa: PLW0603 (the memory is that of the process)
    now = time.monotonic()
    if now - _last[0] > LATELY:
        _last = (now, available_bytes())
    return _last[1]


def require_room(needed: int, what: str, hint: str, error: type[CmahError] = CodesError) -> None:
    """Refuse what needs more memory than there is.

    Args:
        needed: bytes, with what is needed on the way.
        what: that needs them, for the message.
        hint: what to do about it, for the message.
        error: class of the error.

    Raises:
        CmahError: of class `error`, with the bytes that are needed and available.

    Examples:
        >>> require_room(10**6, "the hits of 5 queries", "ask for fewer hits")
        >>> require_room(10**18, "the hits of 5 queries", "ask for fewer hits")
        Traceback (most recent call last):
        cmah.errors.CodesError: the hits of 5 queries need 1,000,000.0 TB of memory, ... available; ask for fewer hits
    """
    if needed <= SMALL:
        return
    available = available_bytes()
    if available is not None and needed > SHARE * available:
        raise error(f"{what} need {in_words(needed)} of memory, {in_words(available)} are available; {hint}")


def in_words(size: int) -> str:
    """A number of bytes for people, in units of 1000.

    Examples:
        >>> in_words(512), in_words(1_500_000), in_words(64 * 10**9)
        ('512 bytes', '1.5 MB', '64.0 GB')
    """
    if size < 1000:
        return f"{size} bytes"
    for power, unit in ((2, "kB"), (3, "MB"), (4, "GB")):
        if size < 1000**power:
            return f"{size / 1000 ** (power - 1):.1f} {unit}"
    return f"{size / 1000**4:,.1f} TB"


def _bounds() -> Iterator[int]:
    """Each limit that is known, in bytes."""
    with suppress(OSError, ValueError, IndexError), open("/proc/meminfo", "rb", buffering=0) as file:
        yield int(file.read(4096).split(b"MemAvailable:")[1].split()[0]) * 1024
    for paths in _limits_of_control_groups():
        yield from _left(*paths)
    if sys.platform == "win32":
        return
    with suppress(ImportError, OSError, ValueError, IndexError):
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        if soft != resource.RLIM_INFINITY:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            yield max(0, soft - pages * resource.getpagesize())


@cache  # looking for them takes as long as a small search
def _limits_of_control_groups() -> list[tuple[Path, Path, Path]]:
    """The files of this process's control groups, those of version 2 and that of version 1: limit, use, statistics."""
    root, files = Path("/sys/fs/cgroup"), []
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                folder = root / path.lstrip("/")
                for group in (folder, *folder.parents):
                    files.append((group / "memory.max", group / "memory.current", group / "memory.stat"))
                    if group == root:
                        break
            elif "memory" in controllers.split(","):
                old = root / "memory"
                group = old / path.lstrip("/")
                group = group if group.is_dir() else old  # within a container the path is that outside
                files.append(
                    (
                        group / "memory.limit_in_bytes",
                        group / "memory.usage_in_bytes",
                        group / "memory.stat",
                    )
                )
    return [each for each in files if each[0].exists()]


def _left(limit: Path, used: Path, statistics: Path) -> Iterator[int]:
    """What a group's limit leaves; pages that only cache files do not count as used."""
    with suppress(OSError, ValueError):
        with open(limit, "rb", buffering=0) as file:
            most = int(file.read(64))  # "max" where there is none
        if most >= NO_LIMIT:
            return
        fields = dict(line.split() for line in statistics.read_text().splitlines())
        cached = int(fields.get("total_inactive_file", fields.get("inactive_file", 0)))
        yield max(0, most - int(used.read_text()) + cached)
