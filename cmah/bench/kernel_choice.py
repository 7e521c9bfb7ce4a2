"""Which kernel compares the codes of a case, asked of the search itself, and what the processor offers it."""

from dataclasses import dataclass

import numpy as np

from cmah.search.backend import compiled
from cmah.search.blocks import CodeBlocks
from cmah.search.scan import shares

POPCOUNT, BIT_PLANES, NUMPY = "popcount", "bit planes", "NumPy"
_FEATURES = (("AVX2", "avx2"), ("AVX-512", "avx512f"), ("VPOPCNTDQ", "avx512vpopcntdq"), ("NEON", "neon"))


@dataclass(frozen=True)
class Kernel:
    """What compares codes with queries.

    Attributes:
        name: "popcount" (`cmah.kernels.hamming`), "bit planes" (`cmah.kernels.bitsliced`) or "NumPy".
        group: bits that are looked up together, of bit planes; else 0, as the next two.
        vector: bits of a vector, each of another code.
        adders: full adders that a query takes for the codes of a vector. The few ands and ors beside them are left out,
            and the sums that nobody needs are counted.

    Examples:
        >>> Kernel("bit planes", group=4, vector=256, adders=30).short
        'planes/4'
    """

    name: str
    group: int = 0
    vector: int = 0
    adders: int = 0

    @property
    def short(self) -> str:
        """Its name in the table, bit planes with the bits of a group."""
        return f"planes/{self.group}" if self.name == BIT_PLANES else self.name

    @property
    def ceiling(self) -> str:
        """What it can at most be as fast as: "popcount", or "logic" for bit planes; "" for NumPy."""
        return {POPCOUNT: "popcount", BIT_PLANES: "logic"}.get(self.name, "")

    @property
    def operations(self) -> int:
        """Operations of a full adder: two where a vector of 512 bits has ternary logic, else five."""
        return 2 if self.vector == 512 else 5


COUNTING = Kernel(POPCOUNT)


def chosen_kernel(blocks: CodeBlocks, packed: np.ndarray, k: int, threads: int) -> Kernel:
    """The kernel that a search for the `k` nearest begins with.

    It may go on with another one: where codes turn out to be looked at for nothing, as if many of their bits were
    copies of each other, groups get smaller, and then popcounts take over; these also do what fills no vector.

    Args:
        blocks: the codes that are searched.
        packed: the queries of a call, uint8 [q, width].
        k: neighbours per query.
        threads: threads of the search.

    Examples:
        >>> from cmah.bench.workload import make_workload
        >>> made, blocks = make_workload("random", 64, 1000, 4), CodeBlocks(64)
        >>> blocks.append(made.codes.packed)
        >>> chosen_kernel(blocks, made.queries.packed, k=10, threads=1).name  # tables do not pay for 1,000 codes
        'popcount'
    """
    if compiled(1 << 62) is None:
        return Kernel(NUMPY)
    from cmah.kernels.bitsliced import adders_of
    from cmah.search.compiled_scan import first_shape

    full = blocks.segments()[0][0][: len(blocks) // blocks.codes_in_block]
    _, parts, tile = shares(len(packed), len(blocks), k, blocks.width, threads)
    shape = first_shape(full[: len(full) // parts], blocks.as_words(packed[:tile]), k)
    if shape is None:
        return COUNTING
    _, size, _, lanes = shape
    return Kernel(BIT_PLANES, len(size), 64 * len(lanes), adders_of(shape))


def vector_features() -> list[str]:
    """The vector instructions that Numba compiles for, of those that matter here; none without Numba.

    They are the processor's, unless NUMBA_CPU_NAME and NUMBA_CPU_FEATURES say otherwise.

    Examples:
        >>> set(vector_features()) <= {"AVX2", "AVX-512", "VPOPCNTDQ", "NEON"}
        True
    """
    try:
        from numba.core.registry import cpu_target
    except ImportError:
        return []
    system, _, features = cpu_target.target_context.codegen().magic_tuple()
    offered = set(features.split(","))
    if system.startswith(("aarch64", "arm64")):
        offered.add("+neon")  # every one has it, but not every system says so
    return [name for name, feature in _FEATURES if f"+{feature}" in offered]
