"""Equal results first, then times: our index, its peers and the machine's ceilings, in turn."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from cmah.bench.ceilings import ceilings, logic_rates
from cmah.bench.kernel_choice import COUNTING, Kernel, chosen_kernel
from cmah.bench.peers import Answer, Search, require_equal, variants
from cmah.bench.timing import ROUNDS, Timing, affordable, in_turn, timed
from cmah.bench.workload import Workload, make_workload
from cmah.codes import BinaryCodes
from cmah.codes.binary_codes import MAX_BITS
from cmah.errors import CodesError
from cmah.memory import require_room
from cmah.search.index import HammingIndex

LARGEST = 10**18  # of any number of codes, queries or neighbours
POOL = 64  # queries drawn at least, so that calls of few queries are not always the same
_SAVED = 100_000  # codes in the index file whose size is measured, at most


@dataclass(frozen=True)
class Case:
    """The measurements of one code length, number of codes and k.

    Attributes:
        data: name of the workload.
        bits: length of the codes.
        n: number of codes that are searched.
        k: neighbours per query.
        queries: queries per call.
        threads: threads that every engine uses.
        bytes_per_object: bytes per code of an index file of `saved` of the codes, without ids.
        saved: number of codes in that file.
        ours: time of `HammingIndex.search`.
        peers: time of each peer.
        ceilings: the least seconds per query, "popcount" for comparing n codes in a core's first cache or, by bit
            planes, "logic" for the full adders; "memory" for reading all codes once per call. Empty without Numba.
        speedup: how many times as fast the threads reach the first of these ceilings as one of them; much less than
            their number where other processes are at work, or a core runs several. 0 without Numba.
        kernel: what compares the codes.
        logic: how fast a thread adds planes, as `logic_rates` gives it; empty for other kernels.

    Examples:
        >>> ours, peer = Timing(4e-5, 3e-5, 5e-5, 256, 64), Timing(4e-4, 4e-4, 5e-4, 256, 7)
        >>> least = {"popcount": 3e-5, "memory": 1e-5}
        >>> case = Case("random", 64, 1_000_000, 10, 256, 2, 8.0, 100_000, ours, {"faiss": peer}, least, 1.9)
        >>> round(case.ratios["faiss"], 3), round(case.fractions["popcount"], 3), case.bound
        (10.0, 0.75, 'popcount')
    """

    data: str
    bits: int
    n: int
    k: int
    queries: int
    threads: int
    bytes_per_object: float
    saved: int
    ours: Timing
    peers: dict[str, Timing]
    ceilings: dict[str, float]
    speedup: float
    kernel: Kernel = COUNTING
    logic: dict[str, float] = field(default_factory=dict)

    @property
    def comparisons_per_second(self) -> float:
        """Number of codes that our index compares with a query in a second."""
        return self.n / self.ours.seconds

    @property
    def ratios(self) -> dict[str, float]:
        """How many times as long each peer takes."""
        return {name: timing.seconds / self.ours.seconds for name, timing in self.peers.items()}

    @property
    def fractions(self) -> dict[str, float]:
        """Our speed as a share of each ceiling, 1 being the ceiling."""
        return {name: least / self.ours.seconds for name, least in self.ceilings.items()}

    @property
    def bound(self) -> str:
        """The lower one of the ceilings, "" without any."""
        return max(self.ceilings, key=lambda name: self.ceilings[name], default="")

    def to_dict(self) -> dict[str, Any]:
        """Everything, ready for JSON."""
        derived = {
            name: getattr(self, name) for name in ("comparisons_per_second", "ratios", "fractions", "bound")
        }
        return asdict(self) | derived


@dataclass(frozen=True)
class Settings:
    """What to measure: every length with every number of codes and every k.

    Attributes:
        threads: threads that every engine uses.
        bits: code lengths; None for the whole codes of a file.
        n: numbers of codes; None for all of a file.
        k: numbers of neighbours per query.
        queries: queries per call.
        peers: names of installed peers.
        data: as in `make_workload`.
        seed: as in `make_workload`.
        query_file: as in `make_workload`.
        rounds: number of turns of each engine.

    Examples:
        >>> settings = Settings(threads=2, bits=(64, 128), k=(10, 100))  # four cases
        >>> settings.n, settings.queries, settings.data
        ((1000000,), 256, 'random')
    """

    threads: int
    bits: tuple[int | None, ...] = (64,)
    n: tuple[int | None, ...] = (1_000_000,)
    k: tuple[int, ...] = (10,)
    queries: int = 256
    peers: tuple[str, ...] = ()
    data: str = "random"
    seed: int = 0
    query_file: Path | None = None
    rounds: int = ROUNDS


def measure(settings: Settings) -> Iterator[Case]:
    """Measure one case after another.

    Raises:
        CmahError: for a file without such codes, for sizes that are refused by `require_possible`, or if a peer's
            results differ from ours.

    Examples:
        >>> settings = Settings(threads=1, bits=(64,), n=(100, 200), k=(3,), queries=4, rounds=1)
        >>> [(case.bits, case.n, case.k, case.queries) for case in measure(settings)]
        [(64, 100, 3, 4), (64, 200, 3, 4)]
    """
    require_possible(settings)
    for bits, n in product(settings.bits, settings.n):
        yield from _of_one_size(settings, bits, n)


def require_possible(settings: Settings) -> None:
    """Refuse sizes that this machine has no memory for, before anything is made.

    Raises:
        CodesError: naming the bound, or the memory that is needed and how much of it there is.

    Examples:
        >>> require_possible(Settings(threads=1, n=(10**15,)))
        Traceback (most recent call last):
        cmah.errors.CodesError: --n 1000000000000000 --queries 256 -k 10 --bits 64 need 16,000.0 TB of memory, ...
    """
    for name, values, most in (
        ("bits", settings.bits, MAX_BITS),
        ("n", settings.n, LARGEST),
        ("number of queries", (settings.queries,), LARGEST),
        ("k", settings.k, LARGEST),
    ):
        for value in values:
            if value is not None and not 1 <= value <= most:
                bound = f"{most}" if most < LARGEST else "10^18"
                raise CodesError(f"{name} is {str(value)[:40]}, expected 1 to {bound}")
    k = max(settings.k)
    for bits, n in product(settings.bits, settings.n):
        width, drawn = ((bits or 8) + 7) // 8, max(settings.queries, POOL)
        # the codes and the index; the queries; the results of ours and of a peer, each a distance and a position
        needed = 2 * width * (n or 0) + width * drawn + 2 * (4 + 8) * drawn * min(k, n or 1)
        sizes = f"--n {n}" if n else f"--data {settings.data}"
        what = f"{sizes} --queries {settings.queries} -k {k} --bits {bits or 'all'}"
        require_room(needed, what, "ask for fewer codes, queries or neighbours")


def _of_one_size(settings: Settings, bits: int | None, n: int | None) -> Iterator[Case]:
    drawn = max(settings.queries, POOL // settings.queries * settings.queries)
    workload = make_workload(settings.data, bits, n, drawn, settings.seed, settings.query_file)
    contest = Contest(workload, settings.peers, settings.threads)
    for k in settings.k:
        yield contest.measure(k, settings.queries, settings.rounds)


class Contest:
    """Our index and its peers over the same codes.

    Args:
        workload: codes and queries.
        peers: names of installed peers.
        threads: threads that every engine uses.

    Raises:
        CodesError: if there is nothing to search.

    Examples:
        >>> contest = Contest(make_workload("random", 64, 200, 8), peers=["numpy"], threads=1)
        >>> case = contest.measure(k=5, queries=4, rounds=1)
        >>> case.n, case.peers["numpy"].way
        (200, 'bitwise_count, argpartition')
    """

    def __init__(self, workload: Workload, peers: Sequence[str], threads: int) -> None:
        if not len(workload.codes) or not len(workload.queries):
            raise CodesError(
                f"{len(workload.codes)} codes and {len(workload.queries)} queries, expected some"
            )
        self.workload = workload
        self.threads = threads
        self.index = HammingIndex(workload.codes.bits)
        self.index.add(workload.codes)
        self.searches = {name: variants(name, workload.codes, threads) for name in peers}

    def measure(self, k: int, queries: int, rounds: int = ROUNDS) -> Case:
        """Compare results, then take times.

        Args:
            k: neighbours per query, at most n.
            queries: queries per call, at most those of the workload.
            rounds: number of turns of each engine.

        Raises:
            CmahError: if a peer's results differ.
        """
        codes, pool = self.workload.codes, self.workload.queries
        k, queries = min(k, len(codes)), min(queries, len(pool))
        label = f"{self.workload.name}, {codes.bits} bits, n = {len(codes)}, k = {k}"
        answer = self._ours(pool, k)
        batches = [pool[first : first + queries] for first in range(0, len(pool) - queries + 1, queries)]
        calls: dict[str, Callable[[int], object]] = {
            "ours": lambda i: self._ours(batches[i % len(batches)], k)
        }
        chosen: dict[str, tuple[str, int]] = {}
        for name, ways in self.searches.items():
            way, count = self._better(name, ways, k, queries, answer, label)
            chosen[name] = way, count
            parts = [batch.packed[:count] for batch in batches]
            calls[name] = partial(_call, ways[way], parts, k)
        kernel = chosen_kernel(self.index._blocks, pool.packed[:queries], k, self.threads)
        limits = ceilings(self.index._blocks, pool.packed, queries, self.threads, kernel)
        times = in_turn(calls | {name: call for name, (call, _) in limits.items()}, rounds)
        least = {name: float(np.median(times[name])) * share for name, (_, share) in limits.items()}
        alone, cycle = least.pop("one thread", 0.0), least.pop("cycle", 0.0)
        file_bytes, saved = self._saved_size()
        return Case(
            data=self.workload.name,
            bits=codes.bits,
            n=len(codes),
            k=k,
            queries=queries,
            threads=self.threads,
            bytes_per_object=file_bytes / saved,
            saved=saved,
            ours=Timing.of(times["ours"], queries),
            peers={name: Timing.of(times[name], count, way) for name, (way, count) in chosen.items()},
            ceilings=least,
            speedup=alone / least[kernel.ceiling] if least else 0.0,
            kernel=kernel,
            logic=logic_rates(kernel, len(codes), self.threads, least["logic"], cycle) if cycle else {},
        )

    def _ours(self, queries: BinaryCodes, k: int) -> Answer:
        hits = self.index.search(queries, k, threads=self.threads)
        return hits.distances, hits.positions

    def _better(
        self, name: str, ways: dict[str, Search], k: int, queries: int, answer: Answer, label: str
    ) -> tuple[str, int]:
        """The fastest of a peer's ways, after all have been checked, and how many queries per call it can be given."""
        codes, packed = self.workload.codes, self.workload.queries.packed
        timed_ways = []
        for way, search in ways.items():
            count, theirs = affordable(search, packed, k)
            ours = answer[0][: len(theirs[0])], answer[1][: len(theirs[0])]
            require_equal(codes, packed[: len(theirs[0])], ours, theirs, f"{name} ({way}), {label}")
            few = packed[: min(count, queries)]
            seconds = min(timed(partial(search, few, k)) for _ in range(3)) / len(few) if len(ways) > 1 else 0
            timed_ways.append((seconds, way, len(few)))
        return min(timed_ways)[1:]

    def _saved_size(self) -> tuple[int, int]:
        """Bytes of an index file of the first codes, and how many of them are in it."""
        codes = self.workload.codes[:_SAVED]
        index = HammingIndex(codes.bits)
        index.add(codes)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "index.cmah"
            index.save(path)
            return path.stat().st_size, len(codes)


def _call(search: Search, batches: list[np.ndarray], k: int, number: int) -> Answer:
    return search(batches[number % len(batches)], k)
