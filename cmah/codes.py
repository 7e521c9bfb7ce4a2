"""Binary codes and embeddings with what is known of each row, and the files they are kept in.

A code of b bits is a row of b signs. Packed (`numpy.packbits` order), the first sign is the highest bit of
byte 0, +1 is a set bit, and the unused low bits of the last byte are zero.
"""

import struct
import unicodedata
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from cmah.errors import CodesError
from cmah.files import atomic_path, require_file
from cmah.npz import NpzReader, read_npy

MAX_BITS = 4096
VERSION = 1
_TEXTS = ("ids", "shape_ids", "categories", "kinds", "splits")


@dataclass(frozen=True, eq=False, kw_only=True)
class _Rows:
    """What may be known of the rows of a code or embedding array; every text array is unicode [n] or None.

    Attributes:
        ids: name of each row.
        shape_ids: the shape that each row shows, "" where unknown.
        categories: its category, "" where unknown.
        kinds: "render", "picture", "photo" or "shape".
        splits: "train", "val", "test" or another name.
        modality: "image", "shape" or "".
        space: a hash that names the model or hash function the rows come from, "" where unknown; rows of
            different spaces are not comparable.
    """

    ids: np.ndarray | None = None
    shape_ids: np.ndarray | None = None
    categories: np.ndarray | None = None
    kinds: np.ndarray | None = None
    splits: np.ndarray | None = None
    modality: str = ""
    space: str = ""

    @property
    def matrix(self) -> np.ndarray:
        """The rows themselves: `packed` or `embeddings`."""
        raise NotImplementedError

    def _check_texts(self) -> None:
        """Turn the text fields into unicode arrays of the right length."""
        for name in _TEXTS:
            values = getattr(self, name)
            if values is None:
                continue
            texts = np.asarray(values)
            texts = texts if texts.dtype.kind == "U" else _texts(texts)
            if texts.shape != (len(self),):
                raise CodesError(
                    f"{name}: shape {list(texts.shape)}, expected [{len(self)}], one for each row"
                )
            object.__setattr__(self, name, texts)

    def __len__(self) -> int:
        return len(self.matrix)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(_same(getattr(self, field.name), getattr(other, field.name)) for field in fields(self))

    __hash__ = None  # type: ignore[assignment]

    def _select(self, rows: Any, matrix_name: str) -> Self:
        if isinstance(rows, int | np.integer):
            if not -len(self) <= rows < len(self):
                raise IndexError(f"row {rows} of {len(self)}")
            rows = [rows]
        chosen: dict[str, Any] = {
            name: values[rows] for name in _TEXTS if (values := getattr(self, name)) is not None
        }
        return replace(self, **{matrix_name: self.matrix[rows]}, **chosen)

    def _members(self, name: str) -> dict[str, Any]:
        members = {key: getattr(self, key) for key in _TEXTS if getattr(self, key) is not None}
        return {**members, "modality": self.modality, "space": self.space, "format": name, "version": VERSION}


@dataclass(frozen=True, eq=False)
class BinaryCodes(_Rows):
    """Codes of 1 to 4,096 bits, packed, with what is known of each.

    Make them with `from_signs`, `from_bits` or `from_packed`. `codes[rows]` selects rows by slice, mask,
    index array or number (one row) with all that is known of them; `==` compares everything.

    Attributes:
        packed: uint8 [n, ceil(bits / 8)].
        bits: length of a code.
        prefixes: the lengths at which a prefix of the code is itself a valid code, ascending, up to `bits`.

    Raises:
        CodesError: for a wrong width or type, or set bits beyond the last, with shape and row.
    """

    packed: np.ndarray
    bits: int
    prefixes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        bits = _whole(self.bits, "bits")
        if not 1 <= bits <= MAX_BITS:
            raise CodesError(f"bits is {bits}, expected 1 to {MAX_BITS}")
        packed = np.asarray(self.packed)
        width = (bits + 7) // 8
        if packed.dtype != np.uint8:
            raise CodesError(
                f"packed codes are {packed.dtype} {list(packed.shape)}, expected uint8 [n, {width}]"
            )
        if packed.ndim != 2 or packed.shape[1] != width:
            raise CodesError(
                f"packed codes have shape {list(packed.shape)}, expected [n, {width}] for {bits} bits"
            )
        tail = packed[:, -1] & np.uint8((1 << (8 * width - bits)) - 1)
        if tail.any():
            row = int(np.flatnonzero(tail)[0])
            raise CodesError(f"packed codes {list(packed.shape)}: row {row} has bits set beyond bit {bits}")
        prefixes = tuple(_whole(length, "a prefix") for length in self.prefixes) or (bits,)
        if list(prefixes) != sorted(set(prefixes)) or prefixes[0] < 1 or prefixes[-1] != bits:
            raise CodesError(
                f"prefixes are {list(prefixes)}, expected ascending lengths from 1 to {bits}, the last {bits}"
            )
        for name, value in (("packed", np.ascontiguousarray(packed)), ("bits", bits), ("prefixes", prefixes)):
            object.__setattr__(self, name, value)
        self._check_texts()

    @classmethod
    def from_signs(cls, signs: npt.ArrayLike, prefixes: tuple[int, ...] = (), **known: Any) -> Self:
        """Pack a matrix of ±1 (signed integers or floats) [n, bits].

        Args:
            signs: the matrix; a 0 or NaN is refused, for its sign is anyone's guess.
            prefixes: as in the class.
            **known: `ids`, `categories`, … as in the class.
        """
        matrix = _matrix_of(signs, "signs")
        if matrix.dtype.kind not in "if":
            raise CodesError(
                f"signs are {matrix.dtype} {list(matrix.shape)}, expected -1 and +1 (int8 or float)"
            )
        _check_values(matrix, (-1, 1), "signs")
        return cls(np.packbits(matrix > 0, axis=1), matrix.shape[1], prefixes, **known)

    @classmethod
    def from_bits(cls, values: npt.ArrayLike, prefixes: tuple[int, ...] = (), **known: Any) -> Self:
        """Pack a matrix of {0, 1} (bool or any number type) [n, bits]; arguments as in `from_signs`."""
        matrix = _matrix_of(values, "bits")
        if matrix.dtype.kind not in "buif":
            raise CodesError(f"bits are {matrix.dtype} {list(matrix.shape)}, expected 0 and 1")
        _check_values(matrix, (0, 1), "bits")
        return cls(np.packbits(matrix.astype(bool), axis=1), matrix.shape[1], prefixes, **known)

    @classmethod
    def from_packed(cls, packed: np.ndarray, bits: int, prefixes: tuple[int, ...] = (), **known: Any) -> Self:
        """Take codes that are already packed: uint8 [n, ceil(bits / 8)], first bit highest; see the class."""
        return cls(packed, bits, prefixes, **known)

    @property
    def matrix(self) -> np.ndarray:
        """The same as `packed`."""
        return self.packed

    def __getitem__(self, rows: Any) -> Self:
        return self._select(rows, "packed")

    def __repr__(self) -> str:
        return f"BinaryCodes({len(self)} x {self.bits} bits{_described(self)})"

    def signs(self) -> np.ndarray:
        """The codes as ±1, int8 [n, bits]."""
        return (np.unpackbits(self.packed, axis=1, count=self.bits).astype(np.int8) * 2 - 1).astype(np.int8)

    def truncate(self, bits: int) -> Self:
        """The codes cut to their first `bits` bits.

        Raises:
            CodesError: unless `bits` is one of `prefixes`: the head of an ordinary code is not a code.
        """
        if bits not in self.prefixes:
            raise CodesError(
                f"these codes cannot be cut to {bits} bits; lengths that are codes: {list(self.prefixes)}"
            )
        packed = self.packed[:, : (bits + 7) // 8].copy()
        packed[:, -1] &= np.uint8(256 - (1 << (-bits % 8)))
        return replace(self, packed=packed, bits=bits, prefixes=tuple(b for b in self.prefixes if b <= bits))

    def save(self, path: str | Path) -> None:
        """Write a code file (.npz), whole or not at all; see docs/formats.md."""
        _save(
            path,
            packed=self.packed,
            bits=self.bits,
            prefixes=np.array(self.prefixes),
            **self._members("cmah-codes"),
        )

    @staticmethod
    def load(path: str | Path) -> "BinaryCodes":
        """Read a code file; `read_codes` that must be codes."""
        rows = read_codes(path)
        if not isinstance(rows, BinaryCodes):
            raise CodesError(f"{path}: embeddings, expected binary codes")
        return rows


@dataclass(frozen=True, eq=False)
class Embeddings(_Rows):
    """Real vectors with what is known of each; the counterpart of `BinaryCodes` before hashing.

    Attributes:
        embeddings: float32 [n, d], finite.

    Raises:
        CodesError: for a wrong shape or type or a value that is not finite, with shape and row.
    """

    embeddings: np.ndarray

    def __post_init__(self) -> None:
        matrix = _matrix_of(self.embeddings, "embeddings")
        if matrix.dtype.kind != "f":
            raise CodesError(f"embeddings are {matrix.dtype} {list(matrix.shape)}, expected float32 [n, d]")
        with np.errstate(over="ignore"):
            matrix = np.ascontiguousarray(matrix, dtype=np.float32)
        bad = ~np.isfinite(matrix).all(axis=1)
        if bad.any():
            raise CodesError(
                f"embeddings {list(matrix.shape)}: row {int(np.flatnonzero(bad)[0])} is not finite"
            )
        object.__setattr__(self, "embeddings", matrix)
        self._check_texts()

    @property
    def matrix(self) -> np.ndarray:
        """The same as `embeddings`."""
        return self.embeddings

    def __getitem__(self, rows: Any) -> Self:
        return self._select(rows, "embeddings")

    def __repr__(self) -> str:
        return f"Embeddings({len(self)} x {self.embeddings.shape[1]}{_described(self)})"

    def save(self, path: str | Path) -> None:
        """Write an embedding file (.npz), whole or not at all; see docs/formats.md."""
        _save(path, embeddings=self.embeddings, **self._members("cmah-embeddings"))

    @staticmethod
    def load(path: str | Path) -> "Embeddings":
        """Read an embedding file; `read_codes` that must be embeddings."""
        rows = read_codes(path)
        if not isinstance(rows, Embeddings):
            raise CodesError(f"{path}: binary codes, expected embeddings")
        return rows


def read_codes(path: str | Path) -> BinaryCodes | Embeddings:
    """Read a code or embedding file (.npz), or a bare matrix (.npy).

    A matrix of int8 or floats must be ±1; one of bool is bits; one of uint8 is packed codes of full bytes.

    Raises:
        CodesError: if the file is none of these; the message names file, row and what was expected.
    """
    path = Path(path)
    require_file(path, error=CodesError)
    try:
        with open(path, "rb") as file:
            magic = file.read(6)
    except OSError as error:
        raise CodesError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        if magic == b"\x93NUMPY":
            return _from_matrix(read_npy(path))
        if magic[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
            return _from_npz(NpzReader(path))
    except CodesError as error:
        raise error if str(error).startswith(str(path)) else CodesError(f"{path}: {error}") from None
    raise CodesError(f"{path}: not a code file (.npz with `packed` and `bits`, or .npy of ±1)")


def write_codes(
    codes: BinaryCodes | Embeddings,
    path: str | Path,
    format: Literal["npz", "pm1", "packed", "faiss"] = "npz",
) -> None:
    """Write codes for `cmah` or for other software.

    Args:
        codes: what to write; embeddings only as "npz".
        path: the file.
        format: "npz" = code file with all that is known; "pm1" = .npy, int8 [n, bits] of ±1; "packed" = .npy,
            uint8 [n, ceil(bits / 8)]; "faiss" = a file for `faiss.read_index_binary` (IndexBinaryFlat), whose
            dimension is `bits` rounded up to full bytes (FAISS knows no other; distances do not change).

    Raises:
        CodesError: for an unknown format.
    """
    if format == "npz":
        codes.save(path)
    elif format not in ("pm1", "packed", "faiss") or not isinstance(codes, BinaryCodes):
        raise CodesError(f"{type(codes).__name__} cannot be written as {format!r}")
    else:
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            if format == "faiss":
                # fourcc, dimension, bytes a code, number, is_trained, metric (1 = L2), bytes to follow
                n, width = codes.packed.shape
                file.write(struct.pack("<4siiq?iQ", b"IBxF", 8 * width, width, n, True, 1, n * width))
                file.write(codes.packed.tobytes())
            else:
                np.save(file, codes.packed if format == "packed" else codes.signs(), allow_pickle=False)


def _from_matrix(matrix: np.ndarray) -> BinaryCodes:
    if matrix.dtype == np.uint8:
        return BinaryCodes.from_packed(matrix, 8 * (matrix.shape[1] if matrix.ndim == 2 else 0))
    return BinaryCodes.from_bits(matrix) if matrix.dtype == bool else BinaryCodes.from_signs(matrix)


def _from_npz(file: NpzReader) -> BinaryCodes | Embeddings:
    if "packed" not in file and "embeddings" not in file:
        raise CodesError(
            f"no member `packed` or `embeddings` (found: {', '.join(file.names()) or 'nothing'})"
        )
    name = "cmah-codes" if "packed" in file else "cmah-embeddings"
    if "format" in file and (found := str(file.read("format"))) != name:
        raise CodesError(f"format is {found!r}, expected {name!r}")
    if "version" in file and not 1 <= (version := _whole(file.read("version"), "version")) <= VERSION:
        raise CodesError(f"version {version}; this cmah reads up to version {VERSION}")
    known: dict[str, Any] = {key: file.read(key) for key in _TEXTS if key in file}
    for key, values in known.items():
        if values.dtype.kind not in "UiuS":
            raise CodesError(f"{key} are {values.dtype}, expected text")
        known[key] = texts = _texts(values)
        for text in texts.ravel().tolist():
            _printable(text, key)
    known |= {key: _printable(str(file.read(key)), key) for key in ("modality", "space") if key in file}
    if name == "cmah-embeddings":
        return Embeddings(file.read("embeddings"), **known)
    bits = _whole(file.read("bits"), "bits")
    prefixes = tuple(np.atleast_1d(file.read("prefixes")).ravel().tolist()) if "prefixes" in file else ()
    return BinaryCodes(file.read("packed"), bits, prefixes, **known)


def _save(path: str | Path, **members: Any) -> None:
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, allow_pickle=False, **members)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return np.array_equal(a, b)
    return type(a) is type(b) and bool(a == b)


def _texts(values: np.ndarray) -> np.ndarray:
    """An array of text, numbers, or bytes that are UTF-8, as one of text."""
    items = values.ravel().tolist()
    try:
        texts = [item.decode() if isinstance(item, bytes) else str(item) for item in items]
    except UnicodeDecodeError as error:
        raise CodesError(f"{error.object!r} is not UTF-8 text") from None
    return np.array(texts, dtype=str).reshape(values.shape)


def _printable(text: str, name: str) -> str:
    """Refuse what cannot be printed on a line or written as UTF-8: control characters and lone surrogates."""
    if not text.isprintable() and any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise CodesError(f"{name}: {text[:50]!r} has control characters, expected text of one line")
    return text


def _whole(value: Any, name: str) -> int:
    """`value` as an int, if it is a single whole number."""
    array = np.asarray(value)
    if array.shape != () or array.dtype.kind not in "iu":
        raise CodesError(f"{name} is {value!r}, expected a whole number")
    return int(array)


def _matrix_of(values: npt.ArrayLike, name: str) -> np.ndarray:
    matrix = np.asarray(values)
    if matrix.ndim != 2 or matrix.shape[1] == 0:
        raise CodesError(f"{name} have shape {list(matrix.shape)}, expected [n, width]")
    return matrix


def _check_values(matrix: np.ndarray, allowed: tuple[int, int], name: str) -> None:
    bad = (matrix != allowed[0]) & (matrix != allowed[1])
    if bad.any():
        row, column = (int(i) for i in np.argwhere(bad)[0])
        expected = " or ".join(f"{value:+d}" if value else "0" for value in allowed)
        raise CodesError(
            f"{name} {list(matrix.shape)}: row {row}, column {column} is {matrix[row, column]}, "
            f"expected {expected}"
        )


def _described(rows: _Rows) -> str:
    parts = [f"{key}={value!r}" for key in ("modality", "space") if (value := getattr(rows, key))]
    return "".join(f", {part}" for part in parts)
