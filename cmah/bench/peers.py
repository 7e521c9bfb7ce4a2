"""The engines that ours is compared with, and the check that all give the same results."""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from types import ModuleType

import numpy as np

from cmah.codes import BinaryCodes
from cmah.errors import CmahError
from cmah.search.blocks import CodeBlocks
from cmah.search.numpy_scan import differing_bits
from cmah.threads import in_threads

Answer = tuple[np.ndarray, np.ndarray]  # distances [q, k], ids [q, k]
Search = Callable[[np.ndarray, int], Answer]  # of packed queries, uint8 [q, width], and k

# name of the Python package: name of the distribution
INSTALL = {"faiss": "faiss-cpu", "usearch": "usearch", "numpy": "numpy"}


def installed(names: tuple[str, ...]) -> tuple[dict[str, str], list[str]]:
    """Which peers are installed.

    Args:
        names: keys of INSTALL.

    Returns:
        The version of each that is installed, and a line for each that is not.

    Raises:
        CmahError: for a peer that is not known.

    Examples:
        >>> versions, notes = installed(("numpy",))
        >>> list(versions), notes
        (['numpy'], [])
    """
    versions, notes = {}, []
    for name in names:
        if name not in INSTALL:
            raise CmahError(f"no such peer: {name!r}, expected some of {', '.join(INSTALL)}")
        try:
            versions[name] = str(import_module(name).__version__)
        except ImportError as error:
            notes.append(f"{name} is left out: {error}; pip install {INSTALL[name]}")
    return versions, notes


def variants(name: str, codes: BinaryCodes, threads: int) -> dict[str, Search]:
    """The ways in which a peer searches exactly; where there are several, the faster one counts.

    Args:
        name: name of an installed peer.
        codes: the codes that are searched.
        threads: number of threads it uses.

    Examples:
        >>> codes = BinaryCodes.from_bits([[0, 0, 0, 0], [0, 0, 0, 1], [1, 1, 1, 1]])
        >>> search = variants("numpy", codes, threads=1)["bitwise_count, argpartition"]
        >>> distances, ids = search(codes[1:].packed, 2)
        >>> distances.tolist(), ids.tolist()
        ([[0, 1], [0, 3]], [[1, 0], [2, 1]])
    """
    if name == "faiss":
        return _faiss(import_module("faiss"), codes, threads)
    if name == "usearch":
        return {"exact search over b1": _usearch(import_module("usearch.index"), codes, threads)}
    return {"bitwise_count, argpartition": _numpy(codes, threads)}


def _faiss(faiss: ModuleType, codes: BinaryCodes, threads: int) -> dict[str, Search]:
    index = faiss.IndexBinaryFlat(8 * codes.packed.shape[1])
    index.add(codes.packed)

    def way(use_heap: bool) -> Search:
        def search(packed: np.ndarray, k: int) -> Answer:
            index.use_heap = use_heap
            before = faiss.omp_get_max_threads()  # a setting of the whole process, which torch shares
            faiss.omp_set_num_threads(threads)
            try:
                distances, ids = index.search(packed, k)
            finally:
                faiss.omp_set_num_threads(before)
            return distances, ids

        return search

    return {"IndexBinaryFlat, heap": way(True), "IndexBinaryFlat, counting": way(False)}


def _usearch(usearch: ModuleType, codes: BinaryCodes, threads: int) -> Search:
    def search(packed: np.ndarray, k: int) -> Answer:
        matches = usearch.search(
            codes.packed, packed, k, usearch.MetricKind.Hamming, exact=True, threads=threads, dtype="b1"
        )
        return matches.distances.reshape(len(packed), -1), matches.keys.reshape(len(packed), -1)

    return search


def _numpy(codes: BinaryCodes, threads: int) -> Search:
    layout = CodeBlocks(codes.bits)  # knows the widest words that the codes consist of
    words = layout.as_words(codes.packed)

    def one(query: np.ndarray, k: int) -> Answer:
        counts = differing_bits(words ^ query)
        distances = counts[:, 0] if words.shape[1] == 1 else counts.sum(axis=1, dtype=np.uint16)
        ids = np.argpartition(distances, k - 1)[:k]
        ids = ids[np.argsort(distances[ids], kind="stable")]
        return distances[ids], ids

    def search(packed: np.ndarray, k: int) -> Answer:
        rows = in_threads([partial(one, query, k) for query in layout.as_words(packed)], threads)
        return np.stack([row[0] for row in rows]), np.stack([row[1] for row in rows])

    return search


def require_equal(codes: BinaryCodes, packed: np.ndarray, ours: Answer, theirs: Answer, label: str) -> None:
    """Compare two answers to the same queries; at the k-th distance each may choose among ties.

    Args:
        codes: the codes that were searched.
        packed: the queries, uint8 [q, width].
        ours: our distances and positions.
        theirs: the peer's.
        label: names the peer and the case in an error message.

    Raises:
        CmahError: where they differ, with the row; or where an id is not at its distance.

    Examples:
        >>> codes = BinaryCodes.from_bits([[0, 0], [0, 1], [1, 0], [1, 1]])
        >>> ours, tie = np.array([[0, 1]]), np.array([[0, 2]])
        >>> require_equal(codes, codes[:1].packed, (ours, ours), (ours, tie), "faiss")  # 1 and 2 are as near
        >>> require_equal(codes, codes[:1].packed, (ours, ours), (ours, ours[:, ::-1]), "faiss")
        Traceback (most recent call last):
            ...
        cmah.errors.CmahError: faiss: query 0 has an id that is not at its distance, ...
    """
    for row, query in enumerate(packed):
        expected, positions = ours[0][row], ours[1][row].astype(np.int64)
        distances, ids = theirs[0][row], theirs[1][row].astype(np.int64)
        fault = ""
        if not np.array_equal(expected, distances):
            fault = f"distances {_short(distances)}, ours are {_short(expected)}"
        elif not _at_their_distance(codes, query, ids, expected):
            fault = "an id that is not at its distance, or comes twice"
        elif not _at_their_distance(codes, query, positions, expected):
            fault = "distances that are ours, but our ids are not at theirs"
        elif set(positions[expected < expected[-1]].tolist()) != set(ids[expected < expected[-1]].tolist()):
            fault = "other ids than ours nearer than the last"
        if fault:
            raise CmahError(f"{label}: query {row} has {fault}; one of the two is wrong")


def _at_their_distance(codes: BinaryCodes, query: np.ndarray, ids: np.ndarray, distances: np.ndarray) -> bool:
    """Whether all ids exist, are different, and are as far from the query as claimed."""
    if len(np.unique(ids)) < len(ids) or ids.min() < 0 or ids.max() >= len(codes):
        return False
    return np.array_equal(differing_bits(codes.packed[ids] ^ query).sum(axis=1, dtype=np.int64), distances)


def _short(distances: np.ndarray) -> str:
    text = " ".join(str(int(value)) for value in distances[:10])
    return f"[{text}{' …' if len(distances) > 10 else ''}]"
