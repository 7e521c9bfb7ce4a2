"""Reading .npy and .npz files that someone else wrote: sizes are checked before anything is allocated."""

import lzma
import tokenize
import zipfile
import zlib
from math import prod
from pathlib import Path
from typing import IO

import numpy as np

from cmah.errors import CodesError
from cmah.file_names import as_path
from cmah.reading import require_file

# A member that unpacks to more than this, and to far more than lies in the file, is a bomb and not data.
LARGE = 64 << 20
RATIO = 200
# What damaged files make the readers of zip archives and of .npy headers raise
UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    tokenize.TokenError,
    SyntaxError,
    TypeError,
    ValueError,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
)


def read_npy(path: str | Path) -> np.ndarray:
    """Read one array from a .npy file.

    Raises:
        CodesError: if it is not such a file, holds Python objects, or its header disagrees with its size.

    Examples:
        >>> import numpy as np
        >>> np.save("signs.npy", [[1, -1]])
        >>> read_npy("signs.npy").tolist()
        [[1, -1]]
        >>> np.save("objects.npy", np.array([{}]))
        >>> read_npy("objects.npy")
        Traceback (most recent call last):
            ...
        cmah.errors.CodesError: objects.npy: not a readable .npy file (it holds pickled Python objects, ...)
    """
    path = as_path(path, CodesError)
    require_file(path, error=CodesError)
    try:
        with open(path, "rb") as file:
            return _read_array(file, path.stat().st_size)
    except UNREADABLE as error:
        raise CodesError(f"{path}: not a readable .npy file ({_reason(error)})") from None


class NpzReader:
    """The members of an .npz file, each read when asked for.

    Args:
        path: the file.

    Raises:
        CodesError: if it is missing or not a zip archive.

    Examples:
        >>> import numpy as np
        >>> np.savez("codes.npz", packed=np.array([[96]], np.uint8), bits=3)
        >>> file = NpzReader("codes.npz")
        >>> file.names(), "ids" in file, int(file.read("bits"))
        (['packed', 'bits'], False, 3)
    """

    def __init__(self, path: str | Path) -> None:
        self.path = as_path(path, CodesError)
        require_file(self.path, error=CodesError)
        try:
            with zipfile.ZipFile(self.path) as archive:
                self.members = {info.filename: info for info in archive.infolist()}
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise CodesError(f"{self.path}: not a readable .npz file ({_reason(error)})") from None

    def __contains__(self, name: str) -> bool:
        return f"{name}.npy" in self.members

    def names(self) -> list[str]:
        """The names of the members, without `.npy`."""
        return [name.removesuffix(".npy") for name in self.members]

    def listing(self) -> str:
        """The first of these names, for messages."""
        names = self.names()
        more = f" and {len(names) - 8} more" if len(names) > 8 else ""
        return f"{', '.join(names[:8]) or 'nothing'}{more}"

    def read(self, name: str) -> np.ndarray:
        """Read one member.

        Raises:
            CodesError: if it is missing, damaged, holds Python objects, or declares a size it does not have.
        """
        if name not in self:
            raise CodesError(f"{self.path}: no member {name!r} (members: {self.listing()})")
        info = self.members[f"{name}.npy"]
        if info.file_size > LARGE and info.file_size > RATIO * max(info.compress_size, 1):
            raise CodesError(
                f"{self.path}: member {name!r} would unpack to {info.file_size} bytes "
                f"from {info.compress_size}; refused"
            )
        if info.compress_size > self.path.stat().st_size:
            raise CodesError(f"{self.path}: member {name!r} is larger than the file")
        try:
            with zipfile.ZipFile(self.path) as archive, archive.open(info) as member:
                return _read_array(member, info.file_size)
        except UNREADABLE as error:
            raise CodesError(f"{self.path}: member {name!r} is unreadable ({_reason(error)})") from None


def _read_array(file: IO[bytes], size: int) -> np.ndarray:
    """Read an array from a file of exactly `size` bytes, header included."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        header = 10
    elif version == (2, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(file)
        header = 12
    else:
        raise ValueError(f"unknown npy version {version}")
    if dtype.hasobject:
        raise ValueError("it holds pickled Python objects, which are never loaded")
    # the header pads itself to a multiple of 64 bytes, so what is left after it is known only from the stream
    wanted = prod(shape) * dtype.itemsize
    if not dtype.itemsize and prod(shape) > LARGE:
        raise ValueError(f"its header promises {dtype} {list(shape)} of no bytes at all")
    if min(shape, default=0) < 0 or wanted + header > size:
        raise ValueError(f"its header promises {dtype} {list(shape)}, more than its {size} bytes")
    data = file.read(wanted)
    if len(data) != wanted or file.read(1):
        raise ValueError(f"its header promises {dtype} {list(shape)}, which is not what follows")
    flat = np.frombuffer(data, dtype=dtype) if dtype.itemsize else np.zeros(prod(shape), dtype=dtype)
    return flat.reshape(shape, order="F" if fortran else "C").copy()


def _reason(error: Exception) -> str:
    """What went wrong, in one short line."""
    return " ".join((str(error) or type(error).__name__).split())[:150]
