"""The most comparisons that a machine can make: the inner loop of an exact scan, and nothing around it.

`cmah bench` sets the times of searches against it. It releases the interpreter's lock and starts no threads.
"""

from typing import Any

import numpy as np
from numba import njit
from numba.extending import intrinsic

# The intrinsics are those of hamming.py: Numba's cache does not see edits in another file.


@intrinsic
def _differing(typing_context, a, b):  # type: ignore[no-untyped-def]
    """The number of bits in which two words differ, as a word of the same width."""
    return a(a, a), lambda context, builder, signature, words: builder.ctpop(builder.xor(*words))


@intrinsic
def _plus(typing_context, a, b):  # type: ignore[no-untyped-def]
    """The sum of two words in their own width."""
    return a(a, a), lambda context, builder, signature, words: builder.add(*words)


@intrinsic
def _lesser(typing_context, a, b):  # type: ignore[no-untyped-def]
    """The lesser of two words, in their own width."""

    def generate(context, builder, signature, words):  # type: ignore[no-untyped-def]
        return builder.select(builder.icmp_unsigned("<", *words), *words)

    return a(a, a), generate


@intrinsic
def _greatest(typing_context, a):  # type: ignore[no-untyped-def]
    """The greatest word of the type of `a`."""
    return a(a), lambda context, builder, signature, words: context.get_value_type(signature.args[0])(-1)


@njit(cache=True, nogil=True)
def least_distances(
    block: np.ndarray, queries: np.ndarray, unrolled: Any, repeat: int, least: np.ndarray
) -> None:
    """The least distance of each query from the codes of a block.

    Args:
        block: unsigned [words, codes]; small enough for the core's first cache, so that it is read from there.
        queries: unsigned [q, words], of the same width.
        unrolled: a tuple with an item for each word, for which a loop is compiled.
        repeat: how often to go over all queries.
        least: unsigned [q], of the same width, changed; distances that such a word cannot count wrap round.

    Examples:
        >>> block = np.array([[0b0000, 0b0111, 0b1111]], np.uint64)  # one word of each of three codes
        >>> least = np.zeros(1, np.uint64)
        >>> least_distances(block, np.array([[0b0011]], np.uint64), (0,), 1, least)
        >>> least.tolist()
        [1]
    """
    for _ in range(repeat):
        for i in range(len(queries)):
            nearest = _greatest(queries[i, 0])
            for j in range(block.shape[1]):
                distance = _differing(queries[i, 0], block[0, j])
                for w in range(1, len(unrolled)):  # a constant number: the compiler writes them out
                    distance = _plus(distance, _differing(queries[i, w], block[w, j]))
                nearest = _lesser(nearest, distance)
            least[i] = nearest
