"""The most that a machine can do: the inner operations of an exact scan, and nothing around them.

`cmah bench` sets the times of searches against these loops. They release the interpreter's lock and start no threads.
"""

from typing import Any

import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from cmah.kernels.bit_planes import WORD, _Adders, _Planes
from cmah.kernels.hamming import _least_in_block

CHAINS = 5  # adders that do not wait for each other: they keep all units busy, and 16 registers hold them
STEPS = 8  # of each chain in a round


@njit(cache=True, nogil=True)
def least_distances(
    blocks: np.ndarray, queries: np.ndarray, unrolled: Any, repeat: int, least: np.ndarray
) -> None:
    """The least distance of each query from the codes of the first block, by the loop that a scan takes.

    Args:
        blocks: unsigned [blocks, words, codes]; a block fits into the core's first cache, from which it is read.
        queries: unsigned [q, words], of the same width.
        unrolled: a tuple with an item for each word, for which a loop is compiled.
        repeat: how often to go over all queries.
        least: int64 [q], changed.

    Examples:
        >>> blocks = np.array([[[0b0000, 0b0111, 0b1111]]], np.uint64)  # one word of each of three codes
        >>> least = np.zeros(1, np.int64)
        >>> least_distances(blocks, np.array([[0b0011]], np.uint64), (0,), 1, least)
        >>> least.tolist()
        [1]
    """
    row = np.empty(blocks.shape[2], dtype=np.uint16)
    for _ in range(repeat):
        for i in range(len(queries)):
            least[i] = _least_in_block(blocks, 0, queries, i, unrolled, row)


@intrinsic
def _rounds_of_adders(typing_context, planes, repeat, lanes):  # type: ignore[no-untyped-def]
    """As `add_up`, with the address of the planes."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        planes = _Planes(context, builder, signature.args[2])

        def full_adder(*three: Any) -> tuple[Any, Any]:
            adders = _Adders(planes, 1)
            for plane in three:
                adders.add(0, plane)
            return adders.waiting[0][0], adders.beyond[0]

        places = [builder.add(arguments[0], WORD(planes.size * plane)) for plane in range(2 * CHAINS + 2)]
        first = [planes.load(place, anywhere=True) for place in places]
        rooms = [
            cgutils.alloca_once(builder, planes.type) for _ in range(2 * CHAINS)
        ]  # they become registers
        for room, plane in zip(rooms, first, strict=False):
            builder.store(plane, room)
        with cgutils.for_range(builder, arguments[1]):
            state = [builder.load(room) for room in rooms]
            for step in range(STEPS):
                third = first[2 * CHAINS + step % 2]
                made = [full_adder(state[2 * chain], state[2 * chain + 1], third) for chain in range(CHAINS)]
                state = [plane for chain in range(CHAINS) for plane in (made[chain][0], made[chain - 1][1])]
            for room, plane in zip(rooms, state, strict=True):
                builder.store(plane, room)
        for room, place in zip(rooms, places, strict=False):
            planes.store(builder.load(room), place, anywhere=True)
        return context.get_dummy_value()

    return types.none(types.int64, types.int64, lanes), generate


@njit(cache=True, nogil=True)
def add_up(planes: np.ndarray, repeat: int, lanes: Any) -> None:
    """Add three planes of bits, again and again, in registers: CHAINS x STEPS full adders a round.

    Each chain has two planes. A step adds a third to them, the first and the second one in turn, the same for all
    chains. The sum goes to the chain itself, the carry to the next one: with its own, the compiler finds shorter ways.

    Args:
        planes: uint64 [2 x CHAINS + 2, words], those of the chains and the two others; changed, as the chains go on
            from where they are.
        repeat: number of rounds.
        lanes: a tuple with an item for each word of a plane, a power of two of them.

    Examples:
        >>> planes = np.zeros((2 * CHAINS + 2, 2), np.uint64)
        >>> planes[-2] = 1  # added at each second step to sums and carries that are zeros at first
        >>> add_up(planes, 1, (0, 0))
        >>> planes[:4, 0].tolist()  # sum and carry of two chains
        [1, 0, 1, 0]
    """
    _rounds_of_adders(planes.ctypes.data, repeat, lanes)


@njit(cache=True, nogil=True)
def chained(start: np.uint64, step: np.uint64, repeat: int) -> np.uint64:
    """Operations that wait for each other, an addition and an xor each time: they tell how long two cycles are.

    Args:
        start: any word.
        step: any word.
        repeat: how often.

    Returns:
        What the last xor gives, as `start` becomes start ^ (start + step) each time.

    Examples:
        >>> int(chained(np.uint64(5), np.uint64(1), 2))  # 5 ^ 6 = 3, 3 ^ 4 = 7
        7
    """
    for _ in range(repeat):
        start ^= start + step
    return start
