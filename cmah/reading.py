"""Files read: what is no ordinary file is refused, and so is JSON that is none; arrays mapped from disk."""

import errno
import json
import os
import stat
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cmah.errors import CmahError
from cmah.file_names import refuse_url

if TYPE_CHECKING:
    import numpy as np


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
