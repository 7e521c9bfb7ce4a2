"""What is searched in a benchmark: random codes, clustered codes as real ones are, or codes from a file."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cmah.codes import BinaryCodes
from cmah.errors import CodesError

MADE = RANDOM, CLUSTERED = "random", "clustered"  # on the spot
PER_CENTRE = 1000  # codes around each centre of clustered data
FLIPPED = 0.06  # of the bits of a centre
_AT_ONCE = 1 << 20  # codes that are made at a time


@dataclass(frozen=True)
class Workload:
    """Codes and the queries put to them, without what else is known of them.

    Attributes:
        name: "random", "clustered" or the name of a file.
        codes: what is searched.
        queries: of the same length; rows are drawn, so one may come twice.
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
        data: "random": every bit by a coin. "clustered": 1,000 codes around each random centre, 6 % of its bits
            flipped, and queries of the same kind around the same centres. Else the path of a code file.
        bits: length of the codes; of a file, one of its prefixes, by default the whole.
        n: how many codes; of a file, its first, by default all.
        queries: how many to draw.
        seed: of everything random.
        query_file: code file to draw the queries from; by default they are drawn from the codes of the data file.

    Raises:
        CodesError: for a file that cannot serve.
    """
    random = np.random.default_rng(seed)
    if data not in MADE:
        return _from_files(Path(data), bits, n, queries, random, query_file)
    if query_file is not None:
        raise CodesError(f"{query_file}: queries from a file are for codes from a file, not for {data} ones")
    if bits is None or n is None:
        raise CodesError(f"{data} codes need a number of bits and of codes")
    BinaryCodes(np.empty((0, (bits + 7) // 8), dtype=np.uint8), bits)  # refuses an impossible length
    if data == RANDOM:
        sides = [_coins(random, count, bits) for count in (n, queries)]
    else:
        centres = _coins(random, max(n // PER_CENTRE, 1), bits)
        places = np.arange(n) % len(centres), random.integers(0, len(centres), queries)
        sides = [_around(random, centres, chosen, bits) for chosen in places]
    return Workload(data, BinaryCodes(sides[0], bits), BinaryCodes(sides[1], bits))


def _from_files(
    path: Path,
    bits: int | None,
    n: int | None,
    queries: int,
    random: np.random.Generator,
    query_file: str | Path | None,
) -> Workload:
    sides: list[BinaryCodes] = []
    for file in (path, query_file or path):
        if sides and file == path:
            sides.append(sides[0])
            continue
        rows = BinaryCodes.load(file)
        try:
            rows = rows if bits is None else rows.truncate(bits)
        except CodesError as error:
            raise CodesError(f"{file}: {error}") from None
        sides.append(rows)
    codes, pool = sides
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
