"""Real vectors of the rows of code files, such as all views of a shape, to compare rows of two files by."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cmah.codes import BinaryCodes, Embeddings
from cmah.codes.file_hashing import read_embeddings
from cmah.codes.real_codes import DIGITS
from cmah.errors import CodesError
from cmah.reading import require_file
from cmah.search.item_vectors import ItemVectors, check_comparable


@dataclass(frozen=True, eq=False)
class RowVectors:
    """Real vectors of the rows of a table of codes, one or several for each.

    Attributes:
        items: the vectors.
        numbers: int64 [n], which of the items each row is.

    Examples:
        A shape with two views, and an image that looks like the second of them:

        >>> shapes = BinaryCodes.from_bits([[0]], ids=["a"], shape_ids=["a"], modality="shape")
        >>> views = Embeddings(np.eye(2), ids=["a_0", "a_1"], shape_ids=["a", "a"], modality="shape")
        >>> images = BinaryCodes.from_bits([[0], [1]], ids=["x", "y"], modality="image")
        >>> looks = Embeddings(np.array([[0.6, 0.8], [1.0, 0.0]]), ids=["y", "x"], modality="image")
        >>> of_images, of_shapes = RowVectors.of(looks, images), RowVectors.of(views, shapes)
        >>> of_images[[1]].scores(0, of_shapes, np.array([0])).round(2).tolist()
        [0.8]
    """

    items: ItemVectors
    numbers: np.ndarray

    @classmethod
    def of(cls, table: Embeddings, codes: BinaryCodes, source: str | Path = "vectors") -> "RowVectors":
        """The vectors of codes, found by their ids: all views of each shape, or of anything else one vector.

        Args:
            table: of a code file of shapes a row for each view, with shape ids; else a row for each code. Where it or
                the codes have no ids, its rows are those of the codes.
            codes: the rows.
            source: what messages call the table, such as its file.

        Raises:
            CodesError: if a code has no vector, or as in `ItemVectors.of_shapes` and `ItemVectors.of_items`.
        """
        names = codes.id_texts
        if codes.modality == "shape":
            items = ItemVectors.of_shapes(table, str(source))
            shown = names if codes.shape_ids is None else codes.shape_ids
            names = shown if names is None or shown is None else np.where(shown == "", names, shown)
            if names is None:
                raise CodesError(f"{source}: holds views of shapes, expected codes that name their shapes")
        else:
            items = ItemVectors.of_items(table, str(source))
        if names is None or items.names is None:
            if len(items) != len(codes):
                raise CodesError(f"{source}: has {len(items)} rows, expected {len(codes)}, one for each code")
            return cls(items, np.arange(len(codes)))
        lacking = np.flatnonzero(~np.isin(names, items.names))
        if len(lacking):
            raise CodesError(f"{source}: has no vector for {names[lacking[0]]}, which has a code")
        return cls(items, items.numbers_of(names, np.arange(len(codes))))

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.numbers)

    def __getitem__(self, rows: Any) -> "RowVectors":
        """Some of the rows, as NumPy takes them."""
        return RowVectors(self.items, self.numbers[rows])

    def check_comparable(self, others: "RowVectors") -> None:
        """Refuse vectors of other rows that come of another model.

        Raises:
            CodesError: if they are of another width or space.

        Examples:
            >>> rows = [RowVectors(ItemVectors(np.eye(d), np.arange(d + 1)), np.arange(d)) for d in (2, 3)]
            >>> rows[0].check_comparable(rows[1])
            Traceback (most recent call last):
            cmah.errors.CodesError: vectors: vectors of 3 numbers, expected 2 as the queries
        """
        check_comparable(Embeddings(self.items.vectors[:1], space=self.items.space), others.items)

    def scores(self, row: int, others: "RowVectors", chosen: np.ndarray) -> np.ndarray:
        """The greatest cosine of any vector of a row with any of each of some other rows.

        Args:
            row: number of the row.
            others: the other rows.
            chosen: int64 [m], which of them.

        Returns:
            float64 [m], rounded to 9 decimals.
        """
        own = self.items.at(self.numbers[[row]]).vectors
        each = others.items.at(others.numbers[chosen]).scores(own)
        return np.asarray(np.round(each.max(axis=0), DIGITS))


def views_file_of(path: str | Path) -> Path:
    """The file of vectors of images, or of the views of shapes, that `cmah export --views` writes beside a code file.

    Examples:
        >>> views_file_of("codes/shape.npz").name
        'shape_views.npz'
    """
    return Path(path).with_name(f"{Path(path).stem}_views.npz")


def read_views(path: str | Path, codes: str | Path) -> Embeddings:
    """Read the vectors of the rows of a code file: an embedding file, or a matrix of floats (.npy).

    Args:
        path: the file.
        codes: the code file, for the message.

    Raises:
        CodesError: if it is missing, or is none.

    Examples:
        >>> read_views("demo/codes/image_views.npz", codes="demo/codes/image.npz")
        Traceback (most recent call last):
        cmah.errors.CodesError: demo/codes/image_views.npz: no such file (expected the vectors of demo/codes/image.npz
        to compare views by, as cmah export --views writes them beside it)
    """
    expected = (
        f"expected the vectors of {codes} to compare views by, as cmah export --views writes them beside it"
    )
    require_file(Path(path), expected, CodesError)
    return read_embeddings(path)
