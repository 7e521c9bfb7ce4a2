"""What `BinaryCodes` and `Embeddings` share: a matrix with columns of text beside it, and the checks of values."""

from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from cmah.errors import CodesError

COLUMNS = ("ids", "shape_ids", "categories", "kinds", "splits")
MOST = np.iinfo(np.int64).max  # the greatest number that can be an id


@dataclass(frozen=True, eq=False, kw_only=True)
class VectorTable:
    """A matrix of n rows with an id, category, … for each; each column is text [n], or None where unknown.

    Attributes:
        ids: the id of each row: unicode, or int64 where numbers were given.
        shape_ids: id of the shape that each row shows, "" where unknown.
        categories: its category, "" where unknown.
        kinds: "render", "picture", "photo" or "shape".
        splits: "train", "val", "test" or another name.
        modality: "image", "shape" or "".
        space: a hash that names the model or hash function the rows come from, "" where unknown; rows of
            different spaces are not comparable.
        dataset: absolute path of the dataset folder whose shapes or images the rows are, "" where unknown.

    Examples:
        >>> from cmah import BinaryCodes
        >>> codes = BinaryCodes.from_bits([[0], [1], [1]], categories=["chair", "lamp", "chair"])
        >>> codes[codes.categories == "chair"].unpacked().tolist()
        [[0], [1]]
        >>> print(codes.ids)
        None
        >>> BinaryCodes.from_bits([[0], [1]], ids=[100, 101]).id_texts.tolist()
        ['100', '101']
    """

    ids: np.ndarray | None = None
    shape_ids: np.ndarray | None = None
    categories: np.ndarray | None = None
    kinds: np.ndarray | None = None
    splits: np.ndarray | None = None
    modality: str = ""
    space: str = ""
    dataset: str = ""

    @property
    def matrix(self) -> np.ndarray:
        """The rows themselves: `packed` or `embeddings`."""
        raise NotImplementedError

    @property
    def id_texts(self) -> np.ndarray | None:
        """The ids as text, by which rows of different files are compared; None where there are none."""
        return self.ids if self.ids is None or self.ids.dtype.kind == "U" else as_text(self.ids)

    def _check_columns(self) -> None:
        """Turn the columns into unicode arrays of the right length; ids may be whole numbers."""
        for name in COLUMNS:
            values = getattr(self, name)
            if values is None:
                continue
            texts = array_of(values, name)
            if texts.dtype.kind == "O" and None in (items := texts.ravel().tolist()):
                raise CodesError(f"{name}: row {items.index(None)} is None, expected text")
            if name == "ids" and texts.dtype.kind in "iu":
                texts = _as_numbers(texts)
            elif texts.dtype.kind != "U":
                texts = as_text(texts)
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
            name: values[rows] for name in COLUMNS if (values := getattr(self, name)) is not None
        }
        return replace(self, **{matrix_name: self.matrix[rows]}, **chosen)

    def _row_data(self) -> dict[str, Any]:
        """The columns that there are, modality, space and any dataset, by name, as the members of a file."""
        columns = {name: getattr(self, name) for name in COLUMNS if getattr(self, name) is not None}
        dataset = {"dataset": self.dataset} if self.dataset else {}
        return {**columns, "modality": self.modality, "space": self.space, **dataset}


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return np.array_equal(a, b)
    return type(a) is type(b) and bool(a == b)


def _as_numbers(ids: np.ndarray) -> np.ndarray:
    """Ids that are whole numbers as int64."""
    if ids.dtype.kind == "u" and (ids > MOST).any():
        raise CodesError(f"ids: {ids[ids > MOST][0]} is too large, expected at most {MOST}")
    return ids.astype(np.int64, copy=False)


def as_text(values: np.ndarray) -> np.ndarray:
    """An array of text, numbers or UTF-8 bytes as an array of text.

    Raises:
        CodesError: for bytes that are not UTF-8.

    Examples:
        >>> import numpy as np
        >>> as_text(np.array([7, 12])).tolist(), as_text(np.array([b"chair"])).tolist()
        (['7', '12'], ['chair'])
    """
    items = values.ravel().tolist()
    try:
        texts = [item.decode() if isinstance(item, bytes) else str(item) for item in items]
    except UnicodeDecodeError as error:
        raise CodesError(f"{error.object!r} is not UTF-8 text") from None
    return np.array(texts, dtype=str).reshape(values.shape)


def matrix_of(values: npt.ArrayLike, name: str) -> np.ndarray:
    """`values` as an array [n, width].

    Raises:
        CodesError: if they have another shape, or no width.

    Examples:
        >>> matrix_of([[1, -1, 1]], "signs").shape
        (1, 3)
        >>> matrix_of([1, -1, 1], "signs")
        Traceback (most recent call last):
            ...
        cmah.errors.CodesError: signs have shape [3], expected [n, width]
    """
    matrix = array_of(values, name)
    if not matrix.ndim and matrix.dtype.kind not in "biufc":
        raise CodesError(f"{name} are a {type(values).__name__}, expected an array [n, width]")
    if matrix.ndim != 2 or matrix.shape[1] == 0:
        raise CodesError(f"{name} have shape {list(matrix.shape)}, expected [n, width]")
    return matrix


def array_of(values: Any, name: str) -> np.ndarray:
    """`values` as an array.

    Raises:
        CodesError: if NumPy cannot make one of them: rows of different lengths, or a tensor that is not in main memory.

    Examples:
        >>> array_of([["chair"], ["lamp", "sofa"]], "categories")
        Traceback (most recent call last):
            ...
        cmah.errors.CodesError: categories are a list that NumPy takes for no array, expected rows of one length
    """
    try:
        return np.asarray(values)
    except (ValueError, TypeError, RuntimeError):
        hint = ".detach().float().cpu().numpy() of it" if hasattr(values, "detach") else "rows of one length"
        raise CodesError(
            f"{name} are a {type(values).__name__} that NumPy takes for no array, expected {hint}"
        ) from None


def check_values(matrix: np.ndarray, allowed: tuple[int, int], name: str) -> None:
    """Refuse a matrix with other values than the two allowed.

    Raises:
        CodesError: with the first such value, its row and column.

    Examples:
        >>> import numpy as np
        >>> check_values(np.array([[1, -1], [1, 0]]), (-1, 1), "signs")
        Traceback (most recent call last):
            ...
        cmah.errors.CodesError: signs [2, 2]: row 1, column 1 is 0, expected -1 or +1
    """
    bad = (matrix != allowed[0]) & (matrix != allowed[1])
    if bad.any():
        row, column = (int(i) for i in np.argwhere(bad)[0])
        expected = " or ".join(f"{value:+d}" if value else "0" for value in allowed)
        raise CodesError(
            f"{name} {list(matrix.shape)}: row {row}, column {column} is {matrix[row, column]}, "
            f"expected {expected}"
        )


def described(table: VectorTable) -> str:
    """Modality and space, where known, as the end of a representation.

    Examples:
        >>> from cmah import BinaryCodes
        >>> described(BinaryCodes.from_bits([[0, 1]], modality="image", space="ab12"))
        ", modality='image', space='ab12'"
    """
    parts = [f"{key}={value!r}" for key in ("modality", "space") if (value := getattr(table, key))]
    return "".join(f", {part}" for part in parts)
