"""The bytes of code and embedding files, as arrays; what they mean is checked in `cmah.codes.binary_codes`."""

import struct
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cmah.checks import as_int
from cmah.codes.npz import NpzReader, read_npy
from cmah.codes.vector_table import COLUMNS, as_text
from cmah.errors import CodesError
from cmah.file_names import as_path
from cmah.files import atomic_path, require_replaceable
from cmah.reading import require_file

VERSION = 1

Format = Literal["npz", "pm1", "packed", "faiss"]  # in which codes are written; see `cmah.codes.write_codes`
_MARKS = {"npz": b"packed.npy", "pm1": b"\x93NUMPY", "packed": b"\x93NUMPY", "faiss": b"IBxF"}


def read_members(path: str | Path) -> np.ndarray | dict[str, Any]:
    """Read a code or embedding file.

    Returns:
        The matrix of a .npy file; of an .npz file the arguments of `BinaryCodes` or `Embeddings`, texts as unicode
        that can be printed on a line.

    Raises:
        CodesError: if it is missing, neither of these, damaged, or of a later version.

    Examples:
        >>> from cmah import BinaryCodes
        >>> BinaryCodes.from_bits([[0, 1, 1]], ids=["chair"]).save("codes.npz")
        >>> members = read_members("codes.npz")
        >>> members["bits"], members["packed"].tolist(), members["ids"].tolist()
        (3, [[96]], ['chair'])
    """
    path = as_path(path, CodesError)
    require_file(path, error=CodesError)
    try:
        with open(path, "rb") as file:
            magic = file.read(6)
    except OSError as error:
        raise CodesError(f"{path}: cannot be read ({error.strerror})") from None
    with named(path):
        if magic == b"\x93NUMPY":
            return read_npy(path)
        if magic[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
            return _from_npz(NpzReader(path))
    raise CodesError(f"{path}: not a code file (.npz with `packed` and `bits`, or .npy of ±1)")


def write_members(path: str | Path, format: str, **members: Any) -> None:
    """Write an .npz file of arrays, text and numbers, whole or not at all, with its format and version.

    Examples:
        >>> import numpy as np
        >>> from cmah import BinaryCodes
        >>> write_members("codes.npz", "cmah-codes", packed=np.array([[0b01100000]], np.uint8), bits=3)
        >>> BinaryCodes.load("codes.npz").unpacked().tolist()
        [[0, 1, 1]]
    """
    write_npz(path, **members, format=format, version=VERSION)


def write_npz(path: str | Path, **members: Any) -> None:
    """Write an .npz file of arrays, text and numbers, whole or not at all.

    Raises:
        CodesError: if a member is an object that would have to be pickled.

    Examples:
        >>> write_npz("numbers.npz", rows=[[1, 2]], names=["a"])
        >>> with np.load("numbers.npz") as file:
        ...     sorted(file), file["rows"].shape
        (['names', 'rows'], (1, 2))
    """
    arrays: dict[str, Any] = {name: np.asarray(value) for name, value in members.items()}
    if objects := [name for name, array in arrays.items() if array.dtype.hasobject]:
        raise CodesError(f"{path}: {', '.join(objects)} would have to be pickled; expected numbers or text")
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, **arrays)  # NumPy before 2.1 would take `allow_pickle` for one more member


def write_matrix(path: str | Path, matrix: np.ndarray) -> None:
    """Write a .npy file, whole or not at all.

    Examples:
        >>> import numpy as np
        >>> write_matrix("signs.npy", np.array([[1, -1]], np.int8))
        >>> np.load("signs.npy").tolist()
        [[1, -1]]
    """
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.save(file, matrix, allow_pickle=False)


def write_faiss(path: str | Path, packed: np.ndarray) -> None:
    """Write packed codes, uint8 [n, width], as FAISS writes an IndexBinaryFlat of 8 × width bits.

    Examples:
        >>> from pathlib import Path
        >>> import numpy as np
        >>> write_faiss("codes.faiss", np.array([[1, 2], [3, 4]], np.uint8))
        >>> data = Path("codes.faiss").read_bytes()
        >>> data[:4], list(data[-4:])
        (b'IBxF', [1, 2, 3, 4])
    """
    n, width = packed.shape
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        # fourcc, dimension, bytes per code, number, is_trained, metric (1 = L2), bytes to follow
        file.write(struct.pack("<4siiq?iQ", b"IBxF", 8 * width, width, n, True, 1, n * width))
        file.write(packed.tobytes())


def refuse_to_replace(
    path: str | Path, inputs: Iterable[str | Path] = (), *, format: Format = "npz", embeddings: bool = False
) -> None:
    """Refuse to write codes or embeddings over a file of another format, or over a file that is read.

    Args:
        path: the file that is to be written.
        inputs: files that are read.
        format: the format it is to be written in.
        embeddings: whether it is to hold embeddings, not codes.

    Raises:
        CmahError: if it is one of `inputs`, or exists and is of another format.

    Examples:
        >>> import numpy as np
        >>> np.save("signs.npy", [[1, -1]])
        >>> refuse_to_replace("signs.npy", format="pm1")  # a matrix may replace a matrix
        >>> refuse_to_replace("signs.npy", format="npz")
        Traceback (most recent call last):
            ...
        cmah.errors.CmahError: signs.npy: exists and is not such a file as is written here; ...
    """
    require_replaceable(path, b"embeddings.npy" if embeddings else _MARKS[format], inputs)


@contextmanager
def named(path: str | Path) -> Iterator[None]:
    """Let the messages of `CodesError`s raised inside begin with the file that they are about.

    Examples:
        >>> from cmah.errors import CodesError
        >>> with named("codes.npz"):
        ...     raise CodesError("row 3 is not finite")
        Traceback (most recent call last):
            ...
        cmah.errors.CodesError: codes.npz: row 3 is not finite
    """
    try:
        yield
    except CodesError as error:
        raise error if str(error).startswith(str(path)) else CodesError(f"{path}: {error}") from None


def _from_npz(file: NpzReader) -> dict[str, Any]:
    if "packed" not in file and "embeddings" not in file:
        raise CodesError(f"neither codes (`packed`) nor `embeddings` in it (members: {file.listing()})")
    name = "cmah-codes" if "packed" in file else "cmah-embeddings"
    if "format" in file and (format := str(file.read("format"))) != name:
        raise CodesError(f"format is {format!r}, expected {name!r}")
    if "version" in file and not 1 <= (version := as_int(file.read("version"), "version")) <= VERSION:
        raise CodesError(f"version {version}; this cmah reads up to version {VERSION}")
    row_data: dict[str, Any] = {key: file.read(key) for key in COLUMNS if key in file}
    for key, values in row_data.items():
        if values.dtype.kind not in "UiuS":
            raise CodesError(f"{key} are {values.dtype}, expected text")
        if key == "ids" and values.dtype.kind in "iu":
            continue
        row_data[key] = texts = as_text(values)
        for text in texts.ravel().tolist():
            _printable(text, key)
    row_data |= {key: _printable(str(file.read(key)), key) for key in ("modality", "space") if key in file}
    if "dataset" in file:
        dataset = file.read("dataset")
        if dataset.shape or dataset.dtype.kind != "U":
            raise CodesError(f"dataset is {dataset.dtype} {list(dataset.shape)}, expected one text")
        row_data["dataset"] = _printable(str(dataset), "dataset")
    if name == "cmah-embeddings":
        return {"embeddings": file.read("embeddings"), **row_data}
    bits = as_int(file.read("bits"), "bits")
    prefixes = tuple(np.atleast_1d(file.read("prefixes")).ravel().tolist()) if "prefixes" in file else ()
    return {"packed": file.read("packed"), "bits": bits, "prefixes": prefixes, **row_data}


def _printable(text: str, name: str) -> str:
    """Refuse what cannot be printed on a line or written as UTF-8: control characters and lone surrogates."""
    if not text.isprintable() and any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise CodesError(f"{name}: {text[:50]!r} has control characters, expected text of one line")
    return text
