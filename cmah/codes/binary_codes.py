"""Binary codes and embeddings with an id, category, … per row, and the files they are kept in.

A code of b bits is a row of b signs. Packed (`numpy.packbits` order), the first sign is the highest bit of
byte 0, +1 is a set bit, and the unused low bits of the last byte are zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from cmah.checks import as_int, shown
from cmah.codes.code_files import Format, named, read_members, write_faiss, write_matrix, write_members
from cmah.codes.vector_table import COLUMNS, VectorTable, array_of, check_values, described, matrix_of
from cmah.errors import CodesError

if TYPE_CHECKING:
    from bitarray import bitarray

MAX_BITS = 4096


@dataclass(frozen=True, eq=False)
class BinaryCodes(VectorTable):
    """Codes of 1 to 4,096 bits, packed, with an id, category, … for each (see `VectorTable`).

    Make them with `from_signs`, `from_bits` or `from_packed`. `codes[rows]` selects rows by slice, mask, index array or
    number (one row), together with their columns; `==` compares everything.

    Attributes:
        packed: uint8 [n, ceil(bits / 8)].
        bits: length of a code.
        prefixes: the lengths at which a prefix of the code is itself a valid code, ascending, up to `bits`.

    Raises:
        CodesError: for a wrong width or type, or set bits beyond the last, with shape and row.

    Examples:
        >>> from cmah import BinaryCodes
        >>> codes = BinaryCodes.from_signs([[1, -1, -1], [1, 1, 1]], ids=["chair", "lamp"])
        >>> codes
        BinaryCodes(2 x 3 bits)
        >>> codes.packed.tolist(), codes[1:].ids.tolist()
        ([[128], [224]], ['lamp'])
    """

    packed: np.ndarray
    bits: int
    prefixes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        bits = as_int(self.bits, "bits")
        if not 1 <= bits <= MAX_BITS:
            raise CodesError(f"bits is {bits}, expected 1 to {MAX_BITS}")
        packed = array_of(self.packed, "packed codes")
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
        prefixes = tuple(as_int(length, "a prefix") for length in self.prefixes) or (bits,)
        if list(prefixes) != sorted(set(prefixes)) or prefixes[0] < 1 or prefixes[-1] != bits:
            raise CodesError(
                f"prefixes are {shown(prefixes)}, expected ascending lengths from 1 to {bits}, the last {bits}"
            )
        for name, value in (("packed", np.ascontiguousarray(packed)), ("bits", bits), ("prefixes", prefixes)):
            object.__setattr__(self, name, value)
        self._check_columns()

    @classmethod
    def from_signs(cls, signs: npt.ArrayLike, prefixes: tuple[int, ...] = (), **row_data: Any) -> Self:
        """Pack a matrix of ±1 (signed integers or floats) [n, bits].

        Args:
            signs: the matrix; 0 and NaN have no sign and are refused.
            prefixes: as in the class.
            **row_data: `ids`, `categories`, `space`, … as in `VectorTable`.

        Raises:
            CodesError: for another value or type, with row and column.

        Examples:
            >>> BinaryCodes.from_signs([[1, -1, -1], [1, 1, 1]]).unpacked().tolist()
            [[1, 0, 0], [1, 1, 1]]
        """
        matrix = matrix_of(signs, "signs")
        if matrix.dtype.kind not in "if":
            raise CodesError(
                f"signs are {matrix.dtype} {list(matrix.shape)}, expected -1 and +1 (int8 or float)"
            )
        check_values(matrix, (-1, 1), "signs")
        return cls(np.packbits(matrix > 0, axis=1), matrix.shape[1], prefixes, **row_data)

    @classmethod
    def from_bits(cls, values: npt.ArrayLike, prefixes: tuple[int, ...] = (), **row_data: Any) -> Self:
        """Pack a matrix of {0, 1} (bool or any number type) [n, bits]; arguments as in `from_signs`.

        Examples:
            >>> BinaryCodes.from_bits([[1, 0, 0], [1, 1, 1]]).signs().tolist()
            [[1, -1, -1], [1, 1, 1]]
        """
        matrix = matrix_of(values, "bits")
        if matrix.dtype.kind not in "buif":
            raise CodesError(f"bits are {matrix.dtype} {list(matrix.shape)}, expected 0 and 1")
        check_values(matrix, (0, 1), "bits")
        return cls(np.packbits(matrix.astype(bool), axis=1), matrix.shape[1], prefixes, **row_data)

    @classmethod
    def from_packed(
        cls, packed: np.ndarray, bits: int, prefixes: tuple[int, ...] = (), **row_data: Any
    ) -> Self:
        """Take codes that are already packed: uint8 [n, ceil(bits / 8)], first bit highest; see the class.

        Examples:
            >>> import numpy as np
            >>> BinaryCodes.from_packed(np.array([[0b10100000]], np.uint8), bits=3).unpacked().tolist()
            [[1, 0, 1]]
        """
        return cls(packed, bits, prefixes, **row_data)

    @classmethod
    def from_bitarrays(
        cls, rows: "Sequence[bitarray]", prefixes: tuple[int, ...] = (), **row_data: Any
    ) -> Self:
        """Take one or more `bitarray`s of one length, bit 0 first whatever their endianness.

        Args:
            rows: the codes.
            prefixes: as in the class.
            **row_data: as in `from_signs`.

        Raises:
            CodesError: if there are none, or their lengths differ, with the row.

        Examples:
            >>> from bitarray import bitarray
            >>> BinaryCodes.from_bitarrays([bitarray("100"), bitarray("011")]).signs().tolist()
            [[1, -1, -1], [-1, 1, 1]]
        """
        from bitarray import bitarray

        if not len(rows):
            raise CodesError("no bitarrays, expected one or more: their length is that of a code")
        for number, row in enumerate(rows):
            if not isinstance(row, bitarray) or not 0 < len(row) == len(rows[0]):
                actual = f"{len(row)} bits" if isinstance(row, bitarray) else type(row).__name__
                raise CodesError(
                    f"bitarrays [{len(rows)}]: row {number} is {actual}, expected as many bits in each"
                )
        data = b"".join(bitarray(row, endian="big").tobytes() for row in rows)
        return cls(np.frombuffer(data, np.uint8).reshape(len(rows), -1), len(rows[0]), prefixes, **row_data)

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """Concatenate codes.

        A column is kept where all parts have it, modality and dataset where they share them, and of the prefixes those
        that they have in common.

        Raises:
            CodesError: if there are none, or they differ in length, space or type of ids.

        Examples:
            >>> parts = [BinaryCodes.from_bits([[0, 1]], ids=["a"]), BinaryCodes.from_bits([[1, 1]], ids=["b"])]
            >>> BinaryCodes.concatenate(parts).ids.tolist()
            ['a', 'b']
        """
        if not parts:
            raise CodesError("no codes to concatenate")
        bits, space = parts[0].bits, next((part.space for part in parts if part.space), "")
        for number, part in enumerate(parts):
            if part.bits != bits:
                raise CodesError(f"part {number} has codes of {part.bits} bits, expected {bits} as in part 0")
            if part.space and part.space != space:
                raise CodesError(f"part {number} has codes of space {part.space}, expected {space} as before")
        row_data: dict[str, Any] = {}
        filled = [part for part in parts if len(part)] or parts[:1]  # empty parts must not erase columns
        for name in COLUMNS:
            columns = [getattr(part, name) for part in filled]
            if all(column is not None for column in columns):
                if len({column.dtype.kind for column in columns}) > 1:
                    raise CodesError("ids are numbers in some parts and text in others, expected one type")
                row_data[name] = np.concatenate(columns)
        return cls(
            np.concatenate([part.packed for part in parts]),
            bits,
            tuple(sorted(set.intersection(*(set(part.prefixes) for part in parts)))),
            modality=parts[0].modality if len({part.modality for part in parts}) == 1 else "",
            space=space,
            dataset=parts[0].dataset if len({part.dataset for part in parts}) == 1 else "",
            **row_data,
        )

    @property
    def matrix(self) -> np.ndarray:
        """The same as `packed`."""
        return self.packed

    def __getitem__(self, rows: Any) -> Self:
        return self._select(rows, "packed")

    def __repr__(self) -> str:
        return f"BinaryCodes({len(self)} x {self.bits} bits{described(self)})"

    def signs(self) -> np.ndarray:
        """The codes as ±1, int8 [n, bits].

        Examples:
            >>> BinaryCodes.from_bits([[0, 1, 1]]).signs().tolist()
            [[-1, 1, 1]]
        """
        signs = self.unpacked().view(np.int8)
        signs *= 2
        signs -= 1
        return signs

    def unpacked(self) -> np.ndarray:
        """The codes as 0 and 1, uint8 [n, bits]; `.view(bool)` gives booleans without a copy.

        Examples:
            >>> BinaryCodes.from_signs([[-1, 1, 1]]).unpacked().tolist()
            [[0, 1, 1]]
        """
        return np.unpackbits(self.packed, axis=1, count=self.bits)

    def bitarrays(self) -> "list[bitarray]":
        """The codes as big-endian `bitarray`s of `bits` bits.

        Examples:
            >>> BinaryCodes.from_bits([[0, 1, 1]]).bitarrays()
            [bitarray('011')]
        """
        from bitarray import bitarray

        return [bitarray(endian="big", buffer=code.tobytes())[: self.bits] for code in self.packed]

    def truncate(self, bits: int) -> Self:
        """The codes cut to their first `bits` bits.

        Raises:
            CodesError: unless `bits` is one of `prefixes`: the head of an ordinary code is not a code.

        Examples:
            >>> nested = BinaryCodes.from_bits([[0, 1, 1, 1]], prefixes=(2, 4))
            >>> nested.truncate(2).unpacked().tolist()
            [[0, 1]]
        """
        if (bits := as_int(bits, "bits")) not in self.prefixes:
            raise CodesError(
                f"these codes cannot be cut to {shown(bits)} bits; lengths that are codes: {shown(self.prefixes)}"
            )
        packed = self.packed[:, : (bits + 7) // 8].copy()
        packed[:, -1] &= np.uint8(256 - (1 << (-bits % 8)))
        return replace(self, packed=packed, bits=bits, prefixes=tuple(b for b in self.prefixes if b <= bits))

    def save(self, path: str | Path) -> None:
        """Write a code file (.npz), whole or not at all; see docs/formats.md.

        Examples:
            >>> BinaryCodes.from_bits([[0, 1, 1]], ids=["chair"]).save("codes.npz")
            >>> BinaryCodes.load("codes.npz").ids.tolist()
            ['chair']
        """
        prefixes = np.array(self.prefixes)
        write_members(
            path, "cmah-codes", packed=self.packed, bits=self.bits, prefixes=prefixes, **self._row_data()
        )

    @staticmethod
    def load(path: str | Path) -> "BinaryCodes":
        """Read a code file, as `read_codes`.

        Raises:
            CodesError: if it holds embeddings, or is no code file.

        Examples:
            >>> codes = BinaryCodes.load("demo/codes/shape.npz")  # of `cmah demo`
            >>> codes.bits, codes.prefixes, codes.modality
            (64, (16, 32, 64), 'shape')
        """
        table = read_codes(path)
        if not isinstance(table, BinaryCodes):
            raise CodesError(f"{path}: embeddings, expected binary codes")
        return table


@dataclass(frozen=True, eq=False)
class Embeddings(VectorTable):
    """Real vectors with an id, category, … for each (see `VectorTable`): `BinaryCodes` before hashing.

    Attributes:
        embeddings: float32 [n, d], finite.

    Raises:
        CodesError: for a wrong shape or type or a value that is not finite, with shape and row.

    Examples:
        >>> import numpy as np
        >>> rows = Embeddings(np.array([[0.6, 0.8], [1.0, 0.0]]), ids=["chair", "lamp"], modality="image")
        >>> rows[1:].embeddings.tolist(), rows[1:].ids.tolist()
        ([[1.0, 0.0]], ['lamp'])
    """

    embeddings: np.ndarray

    def __post_init__(self) -> None:
        matrix = matrix_of(self.embeddings, "embeddings")
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
        self._check_columns()

    @property
    def matrix(self) -> np.ndarray:
        """The same as `embeddings`."""
        return self.embeddings

    def __getitem__(self, rows: Any) -> Self:
        return self._select(rows, "embeddings")

    def __repr__(self) -> str:
        return f"Embeddings({len(self)} x {self.embeddings.shape[1]}{described(self)})"

    def save(self, path: str | Path) -> None:
        """Write an embedding file (.npz), whole or not at all; see docs/formats.md.

        Examples:
            >>> import numpy as np
            >>> Embeddings(np.array([[0.5, 2.0]]), ids=["chair"]).save("image.npz")
            >>> Embeddings.load("image.npz").embeddings.tolist()
            [[0.5, 2.0]]
        """
        write_members(path, "cmah-embeddings", embeddings=self.embeddings, **self._row_data())

    @staticmethod
    def load(path: str | Path) -> "Embeddings":
        """Read an embedding file, as `read_codes`.

        Raises:
            CodesError: if it holds binary codes, or is no embedding file.
        """
        table = read_codes(path)
        if not isinstance(table, Embeddings):
            raise CodesError(f"{path}: binary codes, expected embeddings")
        return table


def read_codes(path: str | Path) -> BinaryCodes | Embeddings:
    """Read a code or embedding file (.npz), or a bare matrix (.npy).

    A matrix of int8 or floats must be ±1; one of bool is bits; one of uint8 is packed codes of full bytes.

    Raises:
        CodesError: if the file is none of these; the message names file, row and what was expected.

    Examples:
        >>> import numpy as np
        >>> np.save("signs.npy", np.array([[1, -1, 1]], np.int8))
        >>> read_codes("signs.npy").unpacked().tolist()
        [[1, 0, 1]]
    """
    members = read_members(path)
    with named(path):
        if isinstance(members, dict):
            return BinaryCodes(**members) if "packed" in members else Embeddings(**members)
        if members.dtype == np.uint8:
            return BinaryCodes.from_packed(members, 8 * (members.shape[1] if members.ndim == 2 else 0))
        return BinaryCodes.from_bits(members) if members.dtype == bool else BinaryCodes.from_signs(members)


def write_codes(
    codes: BinaryCodes | Embeddings,
    path: str | Path,
    format: Format = "npz",
) -> None:
    """Write codes for `cmah` or for other software.

    Args:
        codes: what to write; embeddings only as "npz".
        path: the file.
        format: "npz" = code file with all columns; "pm1" = .npy, int8 [n, bits] of ±1; "packed" = .npy,
            uint8 [n, ceil(bits / 8)]; "faiss" = a file for `faiss.read_index_binary` (IndexBinaryFlat), whose
            dimension is `bits` rounded up to full bytes (FAISS knows no other; distances do not change).

    Raises:
        CodesError: for an unknown format.

    Examples:
        >>> import numpy as np
        >>> write_codes(BinaryCodes.from_bits([[1, 0, 1]]), "signs.npy", format="pm1")
        >>> np.load("signs.npy").tolist()
        [[1, -1, 1]]
    """
    if format == "npz":
        codes.save(path)
    elif format not in ("pm1", "packed", "faiss") or not isinstance(codes, BinaryCodes):
        raise CodesError(f"{type(codes).__name__} cannot be written as {format!r}")
    elif format == "faiss":
        write_faiss(path, codes.packed)
    else:
        write_matrix(path, codes.packed if format == "packed" else codes.signs())
