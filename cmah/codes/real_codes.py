"""Real-valued codes: the numbers whose signs are codes, and their scores with codes of ±1 (asymmetric comparison).

A query need not be as small as the items of a database: its real-valued code says beside each sign how sure it is, and
compared with the items' codes it tells apart those that lie at one Hamming distance. Only its direction counts.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cmah.codes.binary_codes import BinaryCodes, Embeddings
from cmah.codes.code_files import named
from cmah.codes.npz import read_npy
from cmah.codes.vector_table import COLUMNS, matrix_of
from cmah.errors import CodesError
from cmah.reading import require_file

DIGITS = 9  # of a score: equal codes have equal scores, and so have those that differ by rounding alone
AT_ONCE = 1 << 20  # numbers of tables and of products that are in memory at a time
# the signs that each byte stands for, [256, 8]
SIGNS = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1) * 2.0 - 1.0


def real_file_of(path: str | Path) -> Path:
    """The file of real-valued codes that `cmah export --real` and `cmah hash --real` write beside a code file.

    Examples:
        >>> real_file_of("codes/image.npz").name
        'image_real.npz'
    """
    return Path(path).with_name(f"{Path(path).stem}_real.npz")


def read_real(path: str | Path, codes: str | Path) -> Embeddings:
    """Read a file of real-valued codes: an embedding file, or a matrix of floats (.npy).

    Args:
        path: the file.
        codes: the file of their codes, for the message.

    Raises:
        CodesError: if it is missing, or is none.

    Examples:
        >>> read_real("demo/codes/image_real.npz", codes="demo/codes/image.npz")
        Traceback (most recent call last):
        cmah.errors.CodesError: demo/codes/image_real.npz: no such file (expected the real-valued codes of
        demo/codes/image.npz, as cmah export --real writes them beside it)
    """
    path = Path(path)
    expected = f"expected the real-valued codes of {codes}, as cmah export --real writes them beside it"
    require_file(path, expected, CodesError)
    if path.suffix != ".npy":
        return Embeddings.load(path)
    with named(path):
        return Embeddings(read_npy(path))


def as_real_codes(values: np.ndarray) -> np.ndarray:
    """Numbers [n, bits] as float32 of the same signs, 0 counting as positive: none becomes 0 from below.

    Examples:
        >>> as_real_codes(np.array([[-1e-60, 0.5, 0.0]])).tolist()
        [[-1.17549...e-38, 0.5, 0.0]]
    """
    single = np.asarray(values, dtype=np.float32)
    return np.where((values < 0) & ~(single < 0), -np.finfo(np.float32).tiny, single).astype(np.float32)


def codes_of_real(real: Embeddings) -> BinaryCodes:
    """The signs of real-valued codes as codes, with their columns; the sign of 0 is +1.

    Examples:
        >>> codes_of_real(Embeddings(np.array([[-0.5, 0.0, 0.2]]), ids=["a"])).signs().tolist()
        [[-1, 1, 1]]
    """
    columns = {name: getattr(real, name) for name in (*COLUMNS, "modality", "space", "dataset")}
    return BinaryCodes.from_bits(real.embeddings >= 0, **columns)


def real_part(real: Embeddings, codes: BinaryCodes, source: str | Path = "real-valued codes") -> Embeddings:
    """Real-valued codes cut to the length of the codes, which their signs must be.

    Args:
        real: with a row for each code, in the same order.
        codes: of `real`'s width, or nested codes that were cut.
        source: what messages call the real-valued codes, such as their file.

    Raises:
        CodesError: for more or fewer rows, less than a number a bit, another space, or a sign that is not the code's.

    Examples:
        >>> real = Embeddings(np.array([[-0.5, 0.0, 0.2], [0.3, 0.4, -0.1]]))
        >>> real_part(real, BinaryCodes.from_bits([[0, 1], [1, 1]])).embeddings.tolist()
        [[-0.5, 0.0], [0.300..., 0.400...]]
        >>> real_part(real, BinaryCodes.from_bits([[0, 1], [1, 0]]), "image_real.npz")
        Traceback (most recent call last):
        cmah.errors.CodesError: image_real.npz: row 1, column 1 is 0.4, but the code has -1 there; expected ...
    """
    if len(real) != len(codes):
        raise CodesError(f"{source}: {len(real)} rows, expected {len(codes)}, one for each code")
    width = real.embeddings.shape[1]
    if width < codes.bits:
        raise CodesError(
            f"{source}: {width} numbers a row, expected {codes.bits}, one for each bit of the codes"
        )
    if real.space and codes.space and real.space != codes.space:
        raise CodesError(f"{source}: of space {real.space}, expected {codes.space} as the codes")
    values = real.embeddings[:, : codes.bits]
    wrong = np.packbits(values >= 0, axis=1) != codes.packed
    if wrong.any():
        row = int(wrong.any(axis=1).argmax())
        column = int(((values[row] >= 0) != codes[row].unpacked()[0].view(bool)).argmax())
        sign = codes[row].signs()[0, column]
        raise CodesError(
            f"{source}: row {row}, column {column} is {values[row, column]:.6g}, but the code has {sign:+d} there; "
            "expected numbers whose signs are the codes"
        )
    return real if width == codes.bits else replace(real, embeddings=values)


def sign_scores(real: npt.ArrayLike, packed: np.ndarray) -> np.ndarray:
    """The cosine of real-valued codes with codes of ±1, by tables of what each byte of a code adds.

    The asymmetric comparison of Gordo et al., "Asymmetric distances for binary embeddings" (TPAMI 2014), with the
    inner product: Σ_j r_j b_j, divided by the lengths of both.

    Args:
        real: numbers [q, bits].
        packed: codes that each is compared with, uint8 [q, m, ceil(bits / 8)]; or [1, m, …], the same for all.

    Returns:
        float64 [q, m], in [-1, 1], rounded to 9 decimals; 0 for a row of zeros.

    Raises:
        CodesError: for codes of another shape.

    Examples:
        >>> codes = BinaryCodes.from_signs([[1, 1], [1, -1], [-1, -1]])
        >>> sign_scores([[0.6, 0.8]], codes.packed[None]).round(4).tolist()
        [[0.9899, -0.1414, -0.9899]]
    """
    rows = matrix_of(real, "real-valued codes").astype(np.float64)
    q, bits = rows.shape
    width = (bits + 7) // 8
    if (
        packed.dtype != np.uint8
        or packed.ndim != 3
        or packed.shape[0] not in (1, q)
        or packed.shape[2] != width
    ):
        raise CodesError(
            f"packed codes are {packed.dtype} {list(packed.shape)}, expected uint8 [{q}, m, {width}] for {bits} bits"
        )
    m = packed.shape[1]
    lengths = np.linalg.norm(rows, axis=1) * np.sqrt(bits)
    padded = np.zeros((q, 8 * width))
    padded[:, :bits] = rows / np.where(lengths == 0, 1, lengths)[:, None]
    scores = np.empty((q, m))
    step = max(1, AT_ONCE // (width * max(256, m)))
    for first in range(0, q, step):
        part = slice(first, min(first + step, q))
        tables = (
            padded[part].reshape(-1, 8) @ SIGNS.T
        )  # what byte w of a code adds is in rows w, w + width, …
        codes = packed if packed.shape[0] == 1 else packed[part]
        at = codes + 256 * np.arange(len(tables)).reshape(-1, 1, width)
        scores[part] = tables.ravel()[at].sum(axis=2)
    return scores.round(DIGITS)
