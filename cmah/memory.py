"""How much memory there is for a result, asked before it is computed: what does not fit is refused in one line."""

import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from cmah.errors import CmahError, CodesError

# results up to this size are not asked about: reading what is available takes as long as a small search
SMALL = 64 << 20
SHARE = 0.9  # part of what is available that a result may take


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
    with suppress(OSError, ValueError, KeyError):
        fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        yield int(fields["MemAvailable"].split()[0]) * 1024
    yield from _control_groups()
    if sys.platform == "win32":
        return
    with suppress(ImportError, OSError, ValueError, IndexError):
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        if soft != resource.RLIM_INFINITY:
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            yield max(0, soft - pages * resource.getpagesize())


def _control_groups() -> Iterator[int]:
    """What the limits of this process's control groups leave: those of version 2, and that of version 1."""
    root = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                folder = root / path.lstrip("/")
                for group in (folder, *folder.parents):
                    yield from _left(group / "memory.max", group / "memory.current", group / "memory.stat")
                    if group == root:
                        break
            elif "memory" in controllers.split(","):
                old = root / "memory"
                group = old / path.lstrip("/")
                group = group if group.is_dir() else old  # within a container the path is that outside
                yield from _left(
                    group / "memory.limit_in_bytes", group / "memory.usage_in_bytes", group / "memory.stat"
                )


def _left(limit: Path, used: Path, statistics: Path) -> Iterator[int]:
    """What a group's limit leaves; pages that only cache files do not count as used."""
    with suppress(OSError, ValueError):
        most = int(limit.read_text())  # "max" where there is none
        fields = dict(line.split() for line in statistics.read_text().splitlines())
        cached = int(fields.get("total_inactive_file", fields.get("inactive_file", 0)))
        yield max(0, most - int(used.read_text()) + cached)
