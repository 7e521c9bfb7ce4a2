"""The files that are evaluated: codes or embeddings of queries and database, and of which lengths."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cmah.checks import as_ints
from cmah.codes import BinaryCodes, Embeddings, read_codes
from cmah.codes.npz import read_npy
from cmah.codes.real_codes import read_real, real_part
from cmah.codes.split_counts import counts_in_words, is_training, split_counts
from cmah.errors import CodesError
from cmah.evaluation.relevance import Vectors
from cmah.evaluation.split_choice import choose_splits, rows_of, splits_in_words
from cmah.search.row_vectors import RowVectors, read_views


@dataclass(frozen=True)
class VectorFile:
    """What is evaluated of a code or embedding file.

    Attributes:
        path: the file.
        vectors: its codes or embeddings of the measured splits, of the images only those of the wanted kind.
        unhashed: embeddings of the same rows before hashing, where they are given.
        real: the real-valued codes of the same rows, where they are given.
        views: vectors of the same rows to compare views by, where they are given.
        splits: the splits that are measured, ("all",) for every one, ("",) for the rows alone that state none; None
            where neither this file nor the other states any.
        other_kinds: how many rows of the file were left out as images of other kinds.
        other_splits: how many of those left were left out as of other splits.

    Examples:
        >>> codes = BinaryCodes.from_bits([[0, 1, 1, 0], [1, 1, 0, 0]], prefixes=(2, 4))
        >>> file = VectorFile(Path("shape.npz"), codes)
        >>> file.truncated(2).bits, file.truncated(None).bits
        (2, 4)
    """

    path: Path
    vectors: Vectors
    unhashed: Embeddings | None = None
    splits: tuple[str, ...] | None = None
    other_kinds: int = 0
    other_splits: int = 0
    real: Embeddings | None = None
    views: RowVectors | None = None

    @property
    def rows(self) -> int:
        """How many rows the file has, measured or not."""
        return len(self.vectors) + self.other_kinds + self.other_splits

    @property
    def training(self) -> int:
        """How many of the measured rows are of the training split."""
        return sum(count for name, count in split_counts(self.vectors.splits).items() if is_training(name))

    def truncated(self, bits: int | None) -> Vectors:
        """The codes cut to `bits`; None, and embeddings, leave them as they are.

        Raises:
            CodesError: naming the file, for a length it does not have.
        """
        if bits is None or not isinstance(self.vectors, BinaryCodes):
            return self.vectors
        try:
            return self.vectors.truncate(bits)
        except CodesError as error:
            raise CodesError(f"{self.path}: {error}") from None


FilePair = tuple[VectorFile, VectorFile]  # of queries and database


def read_pair(
    query: str | Path,
    database: str | Path,
    kind: str | None = None,
    unhashed: tuple[str | Path, str | Path] | None = None,
    splits: tuple[str, ...] = (),
    real: tuple[str | Path | None, str | Path | None] = (None, None),
    views: tuple[str | Path | None, str | Path | None] = (None, None),
) -> FilePair:
    """Read the files of queries and database, and choose the rows that are measured.

    Args:
        query: code or embedding file of the queries.
        database: code or embedding file of the database.
        kind: "render", "picture" or "photo": of the images only these; shapes are of no kind and stay.
        unhashed: embedding files (.npz, .npy) of both, with the same rows in the same order.
        splits: the splits to measure, as `as_splits` gives them; by default as in `choose_splits`.
        real: files of the real-valued codes of both, with the same rows in the same order; not read beside embeddings.
        views: files of the vectors of both to compare views by, as `cmah export --views` writes them; likewise.

    Raises:
        CodesError: naming the file that is not what is expected, or has no row of the kind or the splits.

    Examples:
        >>> images, shapes = read_pair("demo/codes/image.npz", "demo/codes/shape.npz", kind="render")
        >>> images.vectors.modality, shapes.vectors.modality, images.vectors.bits
        ('image', 'shape', 64)
        >>> shapes.splits, shapes.other_splits  # the demo exports the split test alone
        (('test',), 0)
    """
    embeddings = unhashed or (None, None)
    if isinstance(embeddings, str | os.PathLike) or len(embeddings) != 2:
        raise CodesError(f"unhashed is {unhashed!r}, expected two paths: of queries and of database")
    for role, path in (("query", query), ("database", database)):
        if not isinstance(path, str | os.PathLike):
            raise CodesError(
                f"{role} is a {type(path).__name__}, expected the path of a code file; `evaluate` takes codes"
            )
    if kind is not None and not isinstance(kind, str):
        raise CodesError(f"kind is {kind!r}, expected one name, such as photo")
    files = (
        _read(Path(query), kind, embeddings[0], real[0], views[0]),
        _read(Path(database), kind, embeddings[1], real[1], views[1]),
    )
    if kind and all(file.vectors.modality == "shape" for file in files):
        raise CodesError(f"--kind {kind}: neither {query} nor {database} holds images")
    counts = [split_counts(file.vectors.splits) for file in files]
    chosen = choose_splits(counts[0], counts[1], splits, (str(query), str(database)))
    return _of_splits(files[0], chosen), _of_splits(files[1], chosen)


def _read(
    path: Path,
    kind: str | None,
    unhashed: str | Path | None,
    real_codes: str | Path | None,
    view_vectors: str | Path | None,
) -> VectorFile:
    vectors = read_codes(path)
    real = None
    if real_codes is not None and isinstance(vectors, BinaryCodes):
        real = real_part(read_real(real_codes, path), vectors, real_codes)
        _require_same_ids(real, vectors, Path(real_codes), path)
    views = None
    if view_vectors is not None and isinstance(vectors, BinaryCodes):
        views = RowVectors.of(read_views(view_vectors, path), vectors, view_vectors)
    embeddings = None if unhashed is None else _embeddings_of(Path(unhashed), vectors, path)
    chosen = _of_kind(vectors, kind, path)
    of_kind = VectorFile(
        path,
        vectors[chosen],
        None if embeddings is None else embeddings[chosen],
        real=None if real is None else real[chosen],
        views=None if views is None else views[chosen],
    )
    return replace(of_kind, other_kinds=len(vectors) - len(of_kind.vectors))


def _of_splits(file: VectorFile, splits: tuple[str, ...] | None) -> VectorFile:
    """The rows of a file that belong to the splits that are measured."""
    chosen = rows_of(file.vectors.splits, splits, len(file.vectors))
    if chosen.all():
        return replace(file, splits=splits)
    if not chosen.any():
        counts = counts_in_words(split_counts(file.vectors.splits))
        raise CodesError(
            f"{file.path}: none of its {len(file.vectors)} rows is measured, {splits_in_words(splits)} "
            f"(there are: {counts}); --splits all measures everything"
        )
    return replace(
        file,
        vectors=file.vectors[chosen],
        unhashed=None if file.unhashed is None else file.unhashed[chosen],
        real=None if file.real is None else file.real[chosen],
        views=None if file.views is None else file.views[chosen],
        splits=splits,
        other_splits=int(np.count_nonzero(~chosen)),
    )


def code_lengths(files: FilePair, bits: Sequence[int] = ()) -> list[int | None]:
    """The code lengths to measure: `bits`, or all that both files have; None alone for embeddings.

    Raises:
        CodesError: if they have none in common, or `bits` are given for embeddings.

    Examples:
        >>> code_lengths(read_pair("demo/codes/image.npz", "demo/codes/shape.npz"))
        [16, 32, 64]
    """
    bits = as_ints(bits, "bits")
    prefixes = [set(file.vectors.prefixes) for file in files if isinstance(file.vectors, BinaryCodes)]
    if len(prefixes) < len(files):
        if bits:
            raise CodesError("--bits is for codes, not for embeddings")
        return [None]
    lengths: list[int | None] = [*(bits or sorted(set.intersection(*prefixes)))]
    if not lengths:
        texts = [
            f"{file.path} has codes of {sorted(known)} bits"
            for file, known in zip(files, prefixes, strict=True)
        ]
        raise CodesError(", ".join(texts))
    return lengths


def same_items(a: FilePair, b: FilePair) -> bool:
    """Whether two pairs of files hold the same items, as far as their ids tell; only then can they be compared.

    Examples:
        >>> codes = BinaryCodes.from_bits([[0, 1], [1, 1]], ids=["a", "b"])
        >>> other = BinaryCodes.from_bits([[0, 0], [1, 0]], ids=["b", "c"])
        >>> one, two, three = (VectorFile(Path("x.npz"), each) for each in (codes, codes[::-1], other))
        >>> same_items((one, one), (two, two)), same_items((one, one), (three, one))
        (True, False)
    """
    for one, other in zip(a, b, strict=True):
        ids = one.vectors.id_texts, other.vectors.id_texts
        if len(one.vectors) != len(other.vectors):
            return False
        if ids[0] is not None and ids[1] is not None and sorted(ids[0]) != sorted(ids[1]):
            return False
    return True


def files_of(folder: Path) -> tuple[Path, Path]:
    """The files of images and shapes that cmah export or cmah hash left in a folder: codes, else embeddings.

    Raises:
        CodesError: if the folder is a run.

    Examples:
        >>> [file.name for file in files_of(Path("demo/codes"))]
        ['image.npz', 'shape.npz']
    """
    ending = ".npz"
    if not (folder / "image.npz").exists():
        if (folder / "config.json").exists():
            raise CodesError(
                f"{folder}: a run; give a folder of its codes: cmah export {folder} DATASET --out CODES"
            )
        if (folder / "image_embeddings.npz").exists():
            ending = "_embeddings.npz"
    return folder / f"image{ending}", folder / f"shape{ending}"


def names_of(folders: Sequence[Path]) -> list[str]:
    """A short name for each folder: the part of its path that tells it from the others, as "a" of RUNS/a/codes.

    Raises:
        CodesError: if one is given twice.

    Examples:
        >>> names_of([Path("runs/a/codes"), Path("runs/b/codes")])
        ['a', 'b']
    """
    parts = [Path(os.path.realpath(folder)).parts for folder in folders]
    if len({*parts}) < len(parts):
        twice = next(folder for folder, path in zip(folders, parts, strict=True) if parts.count(path) > 1)
        raise CodesError(f"{twice}: the folder is given twice")
    # drop what all paths end with, then take as many parts as tell them apart
    while len(parts) > 1 and len({path[-1] for path in parts}) == 1 and min(map(len, parts)) > 1:
        parts = [path[:-1] for path in parts]
    count = 1
    while len({path[-count:] for path in parts}) < len(parts):
        count += 1
    return ["/".join(path[-count:]) for path in parts]


def _embeddings_of(path: Path, codes: Vectors, codes_path: Path) -> Embeddings:
    """The embeddings of the same rows as the codes, with what the code file knows of them."""
    if not isinstance(codes, BinaryCodes):
        raise CodesError(f"{codes_path}: holds embeddings, expected codes to compare with {path}")
    rows = Embeddings(read_npy(path)) if path.suffix == ".npy" else Embeddings.load(path)
    if len(rows) != len(codes):
        raise CodesError(f"{path}: {len(rows)} rows, expected {len(codes)} as in {codes_path}")
    _require_same_ids(rows, codes, path, codes_path)
    # the code file's labels, so that both are measured alike
    labels = ("ids", "shape_ids", "categories", "kinds", "splits", "modality")
    return replace(rows, **{name: getattr(codes, name) for name in labels})


def _require_same_ids(rows: Embeddings, codes: Vectors, path: Path, codes_path: Path) -> None:
    """Refuse rows of other ids than the codes, or of another order."""
    own, expected = rows.id_texts, codes.id_texts
    if own is not None and expected is not None and (own != expected).any():
        row = int((own != expected).argmax())
        raise CodesError(
            f"{path}: row {row} is {str(own[row])!r}, but {str(expected[row])!r} in {codes_path}"
        )


def _of_kind(vectors: Vectors, kind: str | None, path: Path) -> np.ndarray:
    """Which rows are of a kind, bool [n]; shapes are of no kind and stay."""
    if kind is None or vectors.modality == "shape":
        return np.ones(len(vectors), dtype=bool)
    if vectors.kinds is None:
        raise CodesError(f"{path}: does not name the kinds of its rows, which --kind needs")
    chosen = vectors.kinds == kind
    if not chosen.any():
        raise CodesError(f"{path}: has no {kind} (it has: {', '.join(sorted(set(vectors.kinds.tolist())))})")
    return np.asarray(chosen)
