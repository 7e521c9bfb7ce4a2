"""Files written whole or not at all, folders locked, JSON, lists of skipped files, and arrays mapped from disk."""

import csv
import errno
import fcntl
import hashlib
import json
import os
import re
import stat
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmah.errors import CmahError
from cmah.file_names import readable_text, refuse_url
from cmah.spreadsheets import guarded, unguarded

if TYPE_CHECKING:
    import numpy as np

ABANDONED = 3600.0  # seconds after which the temporary file of a process that is dead here is no other machine's either
Skipped = list[tuple[str, str]]  # path (or id) and reason of each input that was left out


def require_file(path: str | Path, expected: str = "", error: type[CmahError] = CmahError) -> None:
    """Refuse a path that is no ordinary file or may not be read: a pipe could keep its reader waiting for ever.

    Args:
        path: the file that is to be read.
        expected: what is expected there, for the message.
        error: class of the error.

    Raises:
        CmahError: of class `error`, if the file is missing or not to be read, or a folder, pipe or device.

    Examples:
        >>> require_file("chair.obj", "a mesh")
        Traceback (most recent call last):
        cmah.errors.CmahError: chair.obj: no such file (a mesh)
    """
    try:
        ordinary = stat.S_ISREG(os.stat(path).st_mode)
        what = "" if ordinary else "not a file"
        if ordinary and not os.access(path, os.R_OK):
            what = f"cannot be read ({os.strerror(errno.EACCES)})"
    except (FileNotFoundError, NotADirectoryError):
        what = "a link that leads nowhere" if os.path.islink(path) else "no such file"
    except OSError as problem:
        what = f"cannot be read ({problem.strerror})"
    except ValueError:  # a NUL character in it
        what = "no such file"
    if what:
        refuse_url(path, error)
        raise error(f"{path}: {what}" + (f" ({expected})" if expected else ""))


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
    path = Path(path)
    if any(path.exists() and Path(given).exists() and path.samefile(given) for given in inputs):
        raise CmahError(f"{path}: is read here, expected another name to write")
    if path.is_file():
        marks = (mark,) if isinstance(mark, bytes) else mark
        with open(path, "rb") as file:
            beginning = file.read(1 << 16)
        if not any(each in beginning for each in marks):
            raise CmahError(f"{path}: exists and is not such a file as is written here; choose another name")
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
        yield temporary
        with open(temporary, "rb") as file:
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
    path = Path(path)
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


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        CmahError: if it is missing or not JSON, or an object has a key twice, of which one would be lost.

    Examples:
        >>> _ = Path("once.json").write_text('{"map": 0.75}')
        >>> read_json("once.json")
        {'map': 0.75}
    """
    require_file(path)
    try:
        return parse_json(Path(path).read_text(encoding="utf-8"), unique_keys=True)
    except OSError as error:
        raise CmahError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise CmahError(f"{path}: not a readable JSON file ({error})") from None


def parse_json(text: str | bytes, *, unique_keys: bool = False) -> Any:
    """The value of a JSON text.

    Args:
        text: the text, or its bytes.
        unique_keys: refuse an object that has a key twice; else the last one counts.

    Raises:
        ValueError: whatever is wrong with the text, also where it is nested too deeply.

    Examples:
        >>> parse_json('{"a": [1, 2]}')
        {'a': [1, 2]}
    """
    try:
        return json.loads(text, object_pairs_hook=_without_duplicates if unique_keys else None)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The entries of an object, each key of which may occur once."""
    entries = dict(pairs)
    if len(entries) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"duplicate key {next(key for key in keys if keys.count(key) > 1)!r}")
    return entries


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


def write_skipped(folder: str | Path, skipped: Sequence[tuple[str, str]]) -> None:
    """Write FOLDER/skipped.csv (path, reason), whole or not at all; if nothing was skipped, remove an old one.

    What a spreadsheet would take for a formula is guarded (`cmah.spreadsheets`), and bytes of names that are no text
    are written as \\xXX.

    Examples:
        >>> write_skipped("codes", [("a.obj", "no faces")])
        >>> Path("codes/skipped.csv").read_text().splitlines()
        ['path,reason', 'a.obj,no faces']
    """
    path = Path(folder) / "skipped.csv"
    if not skipped:
        path.unlink(missing_ok=True)
        return
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        rows = [[guarded(readable_text(cell)) for cell in row] for row in skipped]
        csv.writer(file).writerows([("path", "reason"), *rows])


def refuse_to_replace_skipped(folder: str | Path) -> None:
    """Refuse to write FOLDER/skipped.csv over a file of another format.

    Raises:
        CmahError: if there is such a file.

    Examples:
        >>> _ = Path("skipped.csv").write_text("my own notes")
        >>> refuse_to_replace_skipped(".")
        Traceback (most recent call last):
        cmah.errors.CmahError: skipped.csv: exists and is not such a file as is written here; ...
    """
    require_replaceable(Path(folder) / "skipped.csv", b"path,reason")


def read_skipped(folder: str | Path) -> Skipped:
    """The rows of FOLDER/skipped.csv; none if there is no such file.

    Examples:
        >>> write_skipped("shapes", [("a.obj", "no faces")])
        >>> read_skipped("shapes")
        [('a.obj', 'no faces')]
    """
    path = Path(folder) / "skipped.csv"
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return [(unguarded(row["path"]), unguarded(row["reason"])) for row in csv.DictReader(file)]


class MappedArrays:
    """Arrays of .npy files, memory-mapped on first use; those used last stay open.

    Args:
        most: largest number of files that stay open.

    Examples:
        >>> import numpy as np
        >>> np.save("points.npy", np.zeros((1024, 3), np.float32))
        >>> arrays = MappedArrays()
        >>> arrays(Path("points.npy")).shape, len(arrays)
        ((1024, 3), 1)
    """

    def __init__(self, most: int = 256) -> None:
        self.most = most
        self._open: OrderedDict[Path, np.ndarray] = OrderedDict()

    def __len__(self) -> int:
        return len(self._open)

    def __call__(self, path: Path) -> "np.ndarray":
        """The array of a file.

        Raises:
            OSError, ValueError, EOFError: if it cannot be read as an array.
        """
        if path not in self._open:
            import numpy as np

            self._open[path] = np.load(path, mmap_mode="r", allow_pickle=False)
            if len(self._open) > self.most:
                self._open.popitem(last=False)
        self._open.move_to_end(path)
        return self._open[path]

    def forget(self, path: Path) -> None:
        """Close a file that is to be replaced."""
        self._open.pop(path, None)
