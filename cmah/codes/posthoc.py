"""Codes from anyone's embeddings, without training a network: LSH, PCA with a random rotation, ITQ.

A post-hoc hash is the signs of a linear map of the (unit-length, centred) embeddings. It is the baseline that any
learned hash head must beat.
"""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from cmah.checks import as_int, shown
from cmah.codes.binary_codes import MAX_BITS, BinaryCodes, Embeddings
from cmah.codes.code_files import named, write_npz
from cmah.codes.npz import NpzReader
from cmah.codes.real_codes import as_real_codes
from cmah.codes.vector_table import COLUMNS
from cmah.errors import CodesError
from cmah.files import require_replaceable
from cmah.progress import progress
from cmah.vectors import unit_rows

HashMethod = Literal["lsh", "pca", "itq"]
Sharing = Literal["all", "projection", "nothing"]
VERSION = 1
ITERATIONS = 50  # of ITQ, as in its paper


@dataclass(frozen=True, eq=False)
class PostHocHash:
    """A fitted hash; make one with `fit_hash`.

    Attributes:
        method: "lsh", "pca" or "itq".
        sharing: what the sets it was fitted on have in common; see `fit_hash`.
        means: float32 [sets, d], taken from unit-length embeddings before they are projected.
        projections: float32 [sets, d, bits].
        modalities: text [sets], the modality of each set; "" where unknown.

    Raises:
        CodesError: for an unknown method or sharing, arrays of other shapes, or values that are not finite.

    Examples:
        >>> import numpy as np
        >>> from cmah.codes import Embeddings
        >>> from cmah.search import HammingIndex
        >>> rows = Embeddings(np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]]))
        >>> fitted = fit_hash([rows], bits=2)
        >>> codes = fitted.encode(rows)
        >>> HammingIndex.distances(codes, codes)[0].tolist()  # itself, its neighbours, the opposite
        [0, 1, 2, 1]
    """

    method: str
    sharing: str
    means: np.ndarray
    projections: np.ndarray
    modalities: np.ndarray

    def __post_init__(self) -> None:
        sets, d = self.means.shape if self.means.ndim == 2 else (0, 0)
        _check_names(self.method, self.sharing)
        if not sets or self.projections.ndim != 3 or self.projections.shape[:2] != (sets, d):
            raise CodesError(
                f"means {list(self.means.shape)} and projections {list(self.projections.shape)}, expected "
                "[sets, d] and [sets, d, bits]"
            )
        if self.modalities.shape != (sets,) or self.modalities.dtype.kind != "U":
            raise CodesError(f"modalities {list(self.modalities.shape)}, expected text [{sets}]")
        if not 1 <= self.bits <= MAX_BITS:
            raise CodesError(f"bits is {self.bits}, expected 1 to {MAX_BITS}")
        if not (np.isfinite(self.means).all() and np.isfinite(self.projections).all()):
            raise CodesError("means and projections must be finite")

    @property
    def bits(self) -> int:
        """Length of its codes."""
        return int(self.projections.shape[2])

    @property
    def sets(self) -> int:
        """How many sets of embeddings (one per modality) it was fitted on."""
        return len(self.means)

    def space(self, which: int = 0) -> str:
        """The space of the codes of a set: the same for all sets, unless they share nothing.

        Examples:
            >>> import numpy as np
            >>> from cmah.codes import Embeddings
            >>> rows = Embeddings(np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]))
            >>> alone = fit_hash([rows, rows[:2]], bits=2, sharing="nothing")
            >>> len({alone.space(0), alone.space(1)})  # codes of the two sets cannot be compared
            2
        """
        digest = hashlib.sha256(f"{self.method} {self.sharing}".encode())
        chosen = slice(which, which + 1) if self.sharing == "nothing" else slice(None)
        for array in (self.means[chosen], self.projections[chosen]):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]

    def encode(self, embeddings: Embeddings | npt.ArrayLike, which: int = 0) -> BinaryCodes:
        """The codes of embeddings, with their columns.

        Args:
            embeddings: of the width it was fitted on; or an array of floats [n, d], which has no columns.
            which: number of the set in `fit_hash` that they belong to, from 0.

        Raises:
            CodesError: for another width or type, or a set that does not exist.
        """
        embeddings = as_embeddings(embeddings, "embeddings")
        packed = np.packbits(self._projected(embeddings, which) >= 0, axis=1)
        return BinaryCodes.from_packed(packed, self.bits, **self._row_data(embeddings, which))

    def encode_real(self, embeddings: Embeddings | npt.ArrayLike, which: int = 0) -> Embeddings:
        """The real-valued codes of embeddings, float32 [n, bits] in (-1, 1), whose signs `encode` takes.

        They are tanh(p / m) of the projections p of a row and the mean m of their sizes: beyond about m a bit is sure,
        as in the relaxed codes of a learned head. Arguments and errors as in `encode`; see `cmah.codes.real_codes`.

        Examples:
            >>> import numpy as np
            >>> from cmah.codes import Embeddings
            >>> rows = Embeddings(np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]]))
            >>> fitted = fit_hash([rows], bits=2)
            >>> real = fitted.encode_real(rows)
            >>> (np.sign(real.embeddings) == fitted.encode(rows).signs()).all()
            np.True_
        """
        embeddings = as_embeddings(embeddings, "embeddings")
        projected = self._projected(embeddings, which)
        sizes = np.abs(projected).mean(axis=1, keepdims=True)
        real = as_real_codes(np.tanh(projected / np.where(sizes == 0, 1, sizes)))
        return Embeddings(embeddings=real, **self._row_data(embeddings, which))

    def _projected(self, embeddings: Embeddings, which: int) -> np.ndarray:
        """What embeddings of a set are before the signs are taken, float64 [n, bits]."""
        which = as_int(which, "set")
        if not 0 <= which < self.sets:
            raise CodesError(f"set {which}, expected 0 to {self.sets - 1}")
        width = self.means.shape[1]
        if embeddings.embeddings.shape[1] != width:
            raise CodesError(f"embeddings have width {embeddings.embeddings.shape[1]}, expected {width}")
        # in float64, so that a row's signs do not depend on how many rows are encoded with it
        centred = unit_rows(embeddings.embeddings) - self.means[which].astype(np.float64)
        return np.asarray(centred @ self.projections[which].astype(np.float64))

    def _row_data(self, embeddings: Embeddings, which: int) -> dict[str, Any]:
        """What the codes of embeddings bear beside their bits."""
        columns = {name: getattr(embeddings, name) for name in (*COLUMNS, "modality", "dataset")}
        return {**columns, "space": self.space(which)}

    def save(self, path: str | Path) -> None:
        """Write a hash file (.npz), whole or not at all; see docs/formats.md.

        Examples:
            >>> import numpy as np
            >>> from cmah.codes import Embeddings
            >>> rows = Embeddings(np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), modality="image")
            >>> fit_hash([rows], bits=2).save("hash.npz")
            >>> fitted = PostHocHash.load("hash.npz")
            >>> fitted.method, fitted.bits, fitted.modalities.tolist()
            ('itq', 2, ['image'])
        """
        members = {field.name: getattr(self, field.name) for field in fields(self)}
        write_npz(path, format="cmah-hash", version=VERSION, **members)

    @classmethod
    def load(cls, path: str | Path) -> "PostHocHash":
        """Read what `save` wrote.

        Raises:
            CodesError: if the file is no hash file, or is damaged.
        """
        file = NpzReader(path)
        if "format" not in file or str(file.read("format")) != "cmah-hash":
            raise CodesError(f"{path}: not a post-hoc hash, as cmah hash writes it")
        if (version := file.read("version")).shape != () or version != VERSION:
            raise CodesError(f"{path}: version {version}; this cmah reads version {VERSION}")
        arrays = {name: file.read(name) for name in ("means", "projections")}
        for name, array in arrays.items():
            if array.dtype.kind != "f":
                raise CodesError(f"{path}: {name} are {array.dtype}, expected float32")
        modalities = (
            file.read("modalities") if "modalities" in file else np.full(arrays["means"].shape[:1], "")
        )
        means, projections = (array.astype(np.float32) for array in arrays.values())
        with named(path):
            return cls(str(file.read("method")), str(file.read("sharing")), means, projections, modalities)


def refuse_to_replace(path: str | Path, inputs: Iterable[str | Path] = ()) -> None:
    """Refuse to write a hash over a file of another format, or over a file that is read.

    Args:
        path: the file that is to be written.
        inputs: files that are read.

    Raises:
        CmahError: if it is one of `inputs`, or exists and is no hash file.

    Examples:
        >>> from pathlib import Path
        >>> _ = Path("hash.npz").write_text("not a hash")
        >>> refuse_to_replace("hash.npz")
        Traceback (most recent call last):
            ...
        cmah.errors.CmahError: hash.npz: exists and is not such a file as is written here; ...
    """
    require_replaceable(path, (b"projections.npy", b"means.npy"), inputs)


def fit_hash(
    sets: Sequence[Embeddings | npt.ArrayLike] | Embeddings | np.ndarray,
    bits: int,
    method: HashMethod = "itq",
    *,
    sharing: Sharing = "projection",
    seed: int = 0,
) -> PostHocHash:
    """Fit a hash on embeddings, one set for each modality.

    Embeddings are brought to unit length and centred. "lsh": signs of random projections (Charikar 2002). "pca":
    the first principal components, turned by a random rotation, without which the first bits would carry most of
    the variance. "itq": the same, the rotation found by iterative quantisation (Gong and Lazebnik 2011).

    Args:
        sets: one for each modality, all of one width d: `Embeddings`, or arrays of floats [n, d]; one that stands alone
            is one set.
        bits: length of the codes, 1 to 4,096; at most d for "pca" and "itq".
        method: see above.
        sharing: "projection": each set has its own mean, which removes the constant gap between modalities, and all
            are projected alike; "all": one mean too; "nothing": each is fitted for itself, and its codes can be
            compared within the set only.
        seed: seed of the random numbers.

    Raises:
        CodesError: for sets of different widths, too few rows, what is no array of finite floats, or more bits than the
            method can give.

    Examples:
        >>> import numpy as np
        >>> from cmah.codes import Embeddings
        >>> rows = Embeddings(np.random.default_rng(0).standard_normal((100, 16)))
        >>> fit_hash([rows], bits=12).encode(rows).packed.shape  # 12 bits take two bytes
        (100, 2)
    """
    _check_names(method, sharing)
    bits, seed = as_int(bits, "bits"), as_int(seed, "seed")
    if seed < 0:
        raise CodesError(f"seed is {shown(seed)}, expected 0 or more")
    sets = _as_sets(sets)
    widths = [embeddings.embeddings.shape[1] for embeddings in sets]
    if len(set(widths)) > 1:
        raise CodesError(f"embeddings have widths {shown(widths)}, expected one width")
    d = widths[0]
    most = MAX_BITS if method == "lsh" else min(d, MAX_BITS)
    if not 1 <= bits <= most:
        longer = "; 'lsh' can give more" if method != "lsh" and bits <= MAX_BITS else ""
        raise CodesError(
            f"bits is {bits}, expected 1 to {most} for {method!r} on embeddings of width {d}{longer}"
        )
    if any(len(embeddings) < 2 for embeddings in sets):
        raise CodesError(
            f"sets of {shown([len(embeddings) for embeddings in sets])} rows, expected 2 or more in each"
        )
    unit = [unit_rows(embeddings.embeddings) for embeddings in sets]
    if sharing == "all":
        means = [np.concatenate(unit).mean(axis=0)] * len(unit)
    else:
        means = [rows.mean(axis=0) for rows in unit]
    centred = [rows - mean for rows, mean in zip(unit, means, strict=True)]
    groups = centred if sharing == "nothing" else [np.concatenate(centred)]
    projections = [_projection(rows, bits, method, np.random.default_rng(seed)) for rows in groups]
    if sharing != "nothing":
        projections *= len(sets)
    return PostHocHash(
        method,
        sharing,
        np.stack(means).astype(np.float32),
        np.stack(projections).astype(np.float32),
        np.array([embeddings.modality for embeddings in sets]),
    )


def as_embeddings(values: Embeddings | npt.ArrayLike, name: str) -> Embeddings:
    """Embeddings as they are, or an array of floats as embeddings.

    Args:
        values: `Embeddings`, or floats [n, d].
        name: what the message begins with.

    Raises:
        CodesError: for anything else.

    Examples:
        >>> as_embeddings(np.array([[0.5, 2.0]]), "set 0")
        Embeddings(1 x 2)
        >>> as_embeddings("image.npz", "set 0")
        Traceback (most recent call last):
            ...
        cmah.errors.CodesError: set 0: is a str, expected Embeddings or floats [n, d]; Embeddings.load reads a file
    """
    if isinstance(values, Embeddings):
        return values
    if isinstance(values, BinaryCodes):
        raise CodesError(f"{name}: are binary codes, expected Embeddings or floats [n, d]")
    if values is None or isinstance(values, str | bytes | dict | os.PathLike):
        raise CodesError(
            f"{name}: is a {type(values).__name__}, expected Embeddings or floats [n, d]; Embeddings.load reads a file"
        )
    with named(name):
        return Embeddings(values)  # type: ignore[arg-type]


def _as_sets(sets: Any) -> list[Embeddings]:
    """Sets of embeddings; one that stands alone is one set."""
    if isinstance(sets, Embeddings | BinaryCodes) or getattr(sets, "ndim", None) == 2:
        sets = [sets]
    if isinstance(sets, str | bytes | dict) or not isinstance(sets, Iterable):
        raise CodesError(
            f"sets are a {type(sets).__name__}, expected a list of Embeddings or of floats [n, d]"
        )
    sets = [*sets]
    if not sets:
        raise CodesError("sets is an empty list, expected Embeddings or floats [n, d], one for each modality")
    return [as_embeddings(values, f"set {number}") for number, values in enumerate(sets)]


def _check_names(method: str, sharing: str) -> None:
    for name, value, choices in (
        ("method", method, get_args(HashMethod)),
        ("sharing", sharing, get_args(Sharing)),
    ):
        if value not in choices:
            raise CodesError(f"{name} is {shown(value)}, expected {', '.join(choices)}")


def _projection(centred: np.ndarray, bits: int, method: str, random: np.random.Generator) -> np.ndarray:
    """The map from centred embeddings, float64 [n, d], to real values whose signs are the bits: float64 [d, bits]."""
    if method == "lsh":
        return random.standard_normal((centred.shape[1], bits))
    _, vectors = np.linalg.eigh(centred.T @ centred)
    components = vectors[:, ::-1][:, :bits]
    # the sign of an eigenvector is the solver's choice; fix it, so that machines agree
    largest = components[np.abs(components).argmax(axis=0), np.arange(bits)]
    components = components * np.where(largest < 0, -1, 1)
    rotation, _ = np.linalg.qr(random.standard_normal((bits, bits)))
    if method == "itq":
        reduced = centred @ components
        for _ in progress(range(ITERATIONS), "rotation", unit="iteration"):
            signs = np.where(reduced @ rotation >= 0, 1.0, -1.0)
            left, _, right = np.linalg.svd(signs.T @ reduced)
            rotation = (left @ right).T  # the rotation that brings `reduced` nearest to the signs
    return np.asarray(components @ rotation)
