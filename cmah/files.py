"""Files written whole or not at all, JSON among them; folders locked; digests."""

import errno
import fcntl
import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from cmah.errors import CmahError
from cmah.file_names import as_path

ABANDONED = 3600.0  # seconds after which the temporary file of a process that is dead here is no other machine's either


def require_replaceable(
    path: str | Path, mark: bytes | tuple[bytes, ...], inputs: Iterable[str | Path] = ()
) -> None:
    """Refuse to overwrite an input or a file of another format, and to begin what could not be written at its end.

    Args:
        path: the file that is to be written.
        mark: bytes that every file of the written format has in its first 64 KiB; one of these, if there are several.
        inputs: files that are read.

    Raises:
        CmahError: if it is one of `inputs`, or exists without the mark, or cannot be written.

    Examples:
        >>> _ = Path("letter.txt").write_text("Dear Ada")
        >>> require_replaceable("letter.txt", b"<html")
        Traceback (most recent call last):
        cmah.errors.CmahError: letter.txt: exists and is not such a file as is written here; ...
    """
    path = as_path(path)
    if any(path.exists() and Path(given).exists() and path.samefile(given) for given in inputs):
        raise CmahError(f"{path}: is read here, expected another name to write")
    if path.is_file():
        marks = (mark,) if isinstance(mark, bytes) else mark
        with open(path, "rb") as file:
            beginning = file.read(1 << 16)
        if not any(each in beginning for each in marks):
            raise CmahError(
                f"{path}: exists and is not such a file as is written here; choose another name, or remove it"
            )
    require_writable(path)


def require_writable(path: str | Path) -> None:
    """Refuse a path at which no file can be written, before the work is done of which it shall take the result.

    An empty file is made beside it, or in the nearest folder above it that exists, and removed again.

    Raises:
        CmahError: if it is a folder or a device, or no file can be made there.

    Examples:
        >>> _ = Path("letter.txt").write_text("Dear Ada")
        >>> require_writable("letter.txt/codes.npz")
        Traceback (most recent call last):
        cmah.errors.CmahError: letter.txt/codes.npz: cannot be written (Not a directory)
    """
    path = _replaced(path)
    try:
        if os.path.isdir(path):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with suppress(FileNotFoundError):  # a name that is too long is refused here
            os.lstat(path)
        folder = path.parent
        while not os.path.lexists(folder):
            folder = folder.parent
        trial = folder / _temporary_name(Path("trial"))
        os.close(os.open(trial, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        trial.unlink()
    except OSError as error:
        raise CmahError(f"{path}: cannot be written ({error.strerror or error})") from error


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is synced and renamed to `path`, otherwise removed.

    A process that is killed at any moment leaves the old file whole.

    Raises:
        CmahError: if the file cannot be written: no room, no permission, a folder in its place.

    Examples:
        >>> with atomic_path("codes.txt") as temporary:
        ...     _ = temporary.write_text("1011")
        ...     print(Path("codes.txt").exists())
        False
        >>> Path("codes.txt").read_text()
        '1011'
    """
    path = _replaced(path)
    temporary = path.parent / _temporary_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path.parent, os.getpid())
        temporary.touch()
        mode = (
            temporary.stat().st_mode
        )  # that of ordinary files; safetensors would keep its files to their owner
        yield temporary
        with open(temporary, "rb") as file:
            if os.fstat(file.fileno()).st_mode != mode:
                os.fchmod(file.fileno(), mode & 0o777)
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise CmahError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        with suppress(OSError):  # an error that is being raised must not be replaced by this one
            temporary.unlink(missing_ok=True)


@contextmanager
def atomic_paths(paths: Sequence[str | Path]) -> Iterator[list[Path]]:
    """`atomic_path` for files that belong together: none is replaced before all are written.

    Raises:
        CmahError: as `atomic_path`; the old files are whole then, and still belong together.

    Examples:
        >>> with atomic_paths(["left.txt", "right.txt"]) as temporary:
        ...     for path in temporary:
        ...         _ = path.write_text("new")
        >>> Path("right.txt").read_text()
        'new'
    """
    with ExitStack() as stack:
        temporary = [stack.enter_context(atomic_path(path)) for path in paths]
        try:
            yield temporary
        except CmahError as error:  # one that names a temporary file
            text = str(error)
            for part, path in zip(temporary, paths, strict=True):
                text = text.replace(str(part), str(path))
            raise (error if text == str(error) else CmahError(text)) from None


def _replaced(path: str | Path) -> Path:
    """The ordinary file that is to be written: the one behind a link, which itself stays."""
    path = as_path(path)
    if os.path.islink(path):
        path = _target(path)
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        fault = f"{path}: a device or a pipe, expected an ordinary file to write"
        raise CmahError(fault) from FileExistsError(fault)
    return path


def _temporary_name(path: Path) -> str:
    """A name that no other thread of any process writes to; not much longer than the file's, however long that is."""
    return f".{path.stem[:40]}.{os.getpid()}.{threading.get_ident()}.tmp{path.suffix[:40]}"


@cache
def _remove_abandoned(folder: Path, process: int) -> None:
    """Remove, once in each process, what killed processes have left half-written in a folder."""
    with os.scandir(folder) as entries:
        for entry in entries:
            name = re.fullmatch(r"\..*\.(\d+)\.\d+\.tmp(\..*)?", entry.name, re.DOTALL)
            if name and not os.path.exists(f"/proc/{name[1]}"):
                with suppress(OSError):
                    if time.time() - entry.stat(follow_symlinks=False).st_mtime > ABANDONED:
                        os.unlink(entry.path)


def _target(link: Path) -> Path:
    """The path that a link leads to."""
    try:
        return link.resolve()
    except (OSError, RuntimeError):  # Python up to 3.12 raises RuntimeError
        raise CmahError(f"{link}: a link that leads to itself, expected a file to write") from None


@contextmanager
def locked(folder: str | Path, *, wait: bool = False) -> Iterator[None]:
    """Lock a folder for this process while the block runs; it is made if there is none.

    If the block fails, a folder that was made for it, and is still empty, is removed.

    Args:
        folder: the folder.
        wait: wait while another process holds the lock, instead of refusing.

    Raises:
        CmahError: if the folder cannot be made, or another process holds the lock and `wait` is off.

    Examples:
        >>> with locked("run"), locked("run"):
        ...     pass
        Traceback (most recent call last):
        cmah.errors.CmahError: run: another process is at work in this folder
    """
    made = [each for each in (Path(folder), *Path(folder).parents) if not os.path.lexists(each)]
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise CmahError(f"{folder}: cannot be used as a folder ({error.strerror})") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(handle)
        raise CmahError(f"{folder}: another process is at work in this folder") from None
    except OSError as error:
        os.close(handle)
        raise CmahError(f"{folder}: cannot be locked ({error.strerror})") from None
    try:
        yield
    except BaseException:
        with suppress(OSError):  # the first one that is not empty
            for each in made:
                each.rmdir()
        raise
    finally:
        os.close(handle)


def write_json(path: str | Path, value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all.

    Examples:
        >>> write_json("map.json", {"map": 0.75})
        >>> Path("map.json").read_text().splitlines()
        ['{', ' "map": 0.75', '}']
    """
    with atomic_path(path) as temporary:
        # bytes of a name that are no text become escapes
        temporary.write_text(json_text(value), encoding="utf-8", errors="backslashreplace")


def json_text(value: Any) -> str:
    """`value` as `write_json` writes it.

    Examples:
        >>> json_text({"map": 0.75})
        '{\\n "map": 0.75\\n}\\n'
    """
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def digest(value: Any) -> str:
    """A hash of a value of plain JSON types, as 32 hexadecimal digits.

    Examples:
        >>> digest([1, "a"])
        '4a72386a027702c1f4fdf182d13b7143'
    """
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:32]


def sha256(path: str | Path) -> str:
    """The SHA-256 of a file's content, as 64 hexadecimal digits.

    Examples:
        >>> _ = Path("abc.txt").write_text("abc")
        >>> sha256("abc.txt")
        'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
