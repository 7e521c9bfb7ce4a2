"""The codes of a benchmark: random ones, clustered ones as real codes are, or those of a file."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cmah.codes import BinaryCodes
from cmah.codes.code_files import named
from cmah.errors import CodesError

GENERATED = RANDOM, CLUSTERED = "random", "clustered"  # names of generated data
PER_CENTRE = 1000  # codes around each centre of clustered data
FLIPPED = 0.06  # share of the bits of a centre
_AT_ONCE = 1 << 20  # codes that are made at a time


@dataclass(frozen=True)
class Workload:
    """Codes and queries, without ids or categories.

    Attributes:
        name: "random", "clustered" or the name of a file.
        codes: the codes that are searched.
        queries: codes of the same length; they are drawn at random, so one may occur twice.

    Examples:
        >>> codes = BinaryCodes.from_bits([[0, 1], [1, 1], [0, 0]])
        >>> workload = Workload("mine", codes, queries=codes[:1])
        >>> len(workload.codes), len(workload.queries)
        (3, 1)
    """

    name: str
    codes: BinaryCodes
    queries: BinaryCodes


def make_workload(
    data: str,
    bits: int | None,
    n: int | None,
    queries: int,
    seed: int = 0,
    query_file: str | Path | None = None,
) -> Workload:
    """Codes to search and queries; the same arguments give the same codes.

    Args:
        data: "random": every bit by a fair coin. "clustered": 1,000 codes around each random centre, 6 % of its bits
            flipped, and queries of the same kind around the same centres. Else the path of a code file.
        bits: length of the codes; for a file one of its prefixes, by default the whole code.
        n: number of codes; for a file its first n, by default all.
        queries: number of queries to draw.
        seed: random seed of codes and queries.
        query_file: code file to draw the queries from; by default they are drawn from the codes of the data file.

    Raises:
        CodesError: for a file without such codes.

    Examples:
        >>> workload = make_workload("clustered", bits=64, n=2000, queries=10)
        >>> workload.codes.packed.shape, workload.queries.packed.shape
        ((2000, 8), (10, 8))
        >>> make_workload("demo/codes/shape.npz", bits=16, n=None, queries=5).queries.packed.shape
        (5, 2)
    """
    random = np.random.default_rng(seed)
    if data not in GENERATED:
        return _from_files(Path(data), bits, n, queries, random, query_file)
    if query_file is not None:
        raise CodesError(f"{query_file}: queries from a file are for codes from a file, not for {data} ones")
    if bits is None or n is None:
        raise CodesError(f"{data} codes need a number of bits and of codes")
    BinaryCodes(np.empty((0, (bits + 7) // 8), dtype=np.uint8), bits)  # refuses an impossible length
    if data == RANDOM:
        packed, drawn = (_coins(random, count, bits) for count in (n, queries))
    else:
        centres = _coins(random, max(n // PER_CENTRE, 1), bits)
        places = np.arange(n) % len(centres), random.integers(0, len(centres), queries)
        packed, drawn = (_around(random, centres, chosen, bits) for chosen in places)
    return Workload(data, BinaryCodes(packed, bits), BinaryCodes(drawn, bits))


def _from_files(
    path: Path,
    bits: int | None,
    n: int | None,
    queries: int,
    random: np.random.Generator,
    query_file: str | Path | None,
) -> Workload:
    codes = _read(path, bits)
    pool = codes if query_file in (None, path) else _read(query_file, bits)
    if pool.bits != codes.bits or (pool.space and codes.space and pool.space != codes.space):
        raise CodesError(
            f"{query_file}: codes of {pool.bits} bits, space {pool.space or 'unknown'}; "
            f"expected {codes.bits} bits, space {codes.space or 'unknown'}, as {path}"
        )
    if n is not None and n > len(codes):
        raise CodesError(f"{path}: has {len(codes)} codes, expected {n} or more")
    if not len(codes) or not len(pool):
        raise CodesError(f"{path if not len(codes) else query_file}: has no codes")
    drawn = random.integers(0, len(pool), queries)
    packed = codes.packed[:n]
    return Workload(path.name, BinaryCodes(packed, codes.bits), BinaryCodes(pool.packed[drawn], codes.bits))


def _read(path: str | Path, bits: int | None) -> BinaryCodes:
    codes = BinaryCodes.load(path)
    with named(path):
        return codes if bits is None else codes.truncate(bits)


def _coins(random: np.random.Generator, n: int, bits: int) -> np.ndarray:
    """Packed codes whose every bit is set with probability 1/2."""
    packed = random.integers(0, 256, (n, (bits + 7) // 8), dtype=np.uint8)
    packed[:, -1] &= np.uint8(256 - (1 << (-bits % 8)))
    return packed


def _around(random: np.random.Generator, centres: np.ndarray, chosen: np.ndarray, bits: int) -> np.ndarray:
    """The chosen centres, each with FLIPPED of its bits changed."""
    out: np.ndarray = centres[chosen]  # a copy
    for first in range(0, len(out), _AT_ONCE):
        part = out[first : first + _AT_ONCE]
        part ^= _rare(random, len(part), bits)
    return out


def _rare(random: np.random.Generator, n: int, bits: int) -> np.ndarray:
    """Packed codes whose every bit is set with probability FLIPPED, to 16 binary digits of it.

    Each random bit decides a digit, from the last to the first: or-ed it takes half the way to 1, and-ed to 0.
    """
    flips = np.zeros((n, (bits + 7) // 8), dtype=np.uint8)
    for digit in range(16):
        coins = _coins(random, n, bits)
        flips = flips | coins if round(FLIPPED * (1 << 16)) >> digit & 1 else flips & coins
    return flips
