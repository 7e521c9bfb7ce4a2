"""Bit planes: one bit of many codes side by side, so that one instruction works on that bit of all of them.

A plane is a vector of as many words of 64 bits as the processor has lanes. Here is what kernels over planes are made
of: planes from the words of codes, tables of how many bits of a group differ, and adders that work on all codes of
a plane at once. The machine must be little-endian.

Tuples such as `lanes` tell by their lengths for what a kernel is compiled; what is in them does not matter.
"""

from collections.abc import Callable
from functools import cache
from itertools import product
from typing import Any

import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

WORD = cgutils.ir.IntType(64)


@cache  # asking takes longer than a small search
def lanes_of_processor() -> int:
    """How many words of 64 bits a vector of this processor has.

    Examples:
        >>> lanes_of_processor() in (2, 4, 8)
        True
    """
    features = cpu_target.target_context.codegen().magic_tuple()[2].split(",")
    return 8 if "+avx512f" in features else 4 if "+avx2" in features else 2


class _Planes:
    """Writes down operations on planes: one vector in each, of as many words as `lanes` has items."""

    def __init__(self, context: Any, builder: Any, lanes: Any) -> None:
        self.context, self.builder, self.ir = context, builder, cgutils.ir
        self.type = cgutils.ir.VectorType(WORD, len(lanes))
        self.size = 8 * len(lanes)
        features = context.codegen().magic_tuple()[2].split(",")
        self.ternary = "+avx512f" in features and len(lanes) == 8

    def _at(self, address: Any, kind: Any) -> Any:
        return self.builder.inttoptr(address, kind.as_pointer())

    def load(self, address: Any, offset: int = 0, *, anywhere: bool = False) -> Any:
        """The plane at an address, which is a multiple of its size unless it may be anywhere."""
        plane = self.builder.load(self._at(self.builder.add(address, WORD(offset)), self.type))
        plane.align = 1 if anywhere else self.size
        return plane

    def store(self, plane: Any, address: Any, offset: int = 0, *, anywhere: bool = False) -> None:
        """Write a plane to an address, which is a multiple of its size unless it may be anywhere."""
        done = self.builder.store(plane, self._at(self.builder.add(address, WORD(offset)), self.type))
        done.align = 1 if anywhere else self.size

    def number(self, address: Any, offset: int, bits: int) -> Any:
        """The number of so many bits at an address, as a word."""
        kind = self.ir.IntType(bits)
        number = self.builder.load(self._at(self.builder.add(address, WORD(offset)), kind))
        return self.builder.zext(number, WORD) if bits < 64 else number

    def everywhere(self, word: Any) -> Any:
        """A plane of equal words."""
        number, undefined = self.ir.IntType(32), self.ir.Constant(self.type, self.ir.Undefined)
        first = self.builder.insert_element(undefined, word, number(0))
        zeros = self.ir.Constant(self.ir.VectorType(number, self.type.count), None)
        return self.builder.shuffle_vector(first, undefined, zeros)

    def any(self, plane: Any) -> Any:
        """Whether any bit is set."""
        bits = self.builder.bitcast(plane, self.ir.IntType(8 * self.size))
        return self.builder.icmp_unsigned("!=", bits, bits.type(0))

    def ones_in(self, plane: Any) -> Any:
        """How many bits of each word are set."""
        kind = self.ir.FunctionType(self.type, [self.type])
        ones = self.builder.module.declare_intrinsic(f"llvm.ctpop.v{self.type.count}i64", (), kind)
        return self.builder.call(ones, [plane])

    def of_three(self, function: Callable[[Any, Any, Any], Any], *planes: Any) -> Any:
        """A function of each bit of three planes: one instruction where the processor has ternary logic."""
        if not self.ternary:
            return function(*(_Bits(self.builder, plane) for plane in planes)).plane
        number = self.ir.IntType(32)
        kind = self.ir.FunctionType(self.type, [self.type] * 3 + [number])
        logic = self.builder.module.declare_intrinsic("llvm.x86.avx512.pternlog.q.512", (), kind)
        # the instruction wants the values of the function for 000, 001, … 111 as the bits of a byte
        return self.builder.call(logic, [*planes, number(function(0xF0, 0xCC, 0xAA) & 0xFF)])


class _Bits:
    """A plane with Python's operators on bits."""

    def __init__(self, builder: Any, plane: Any) -> None:
        self.builder, self.plane = builder, plane

    def __and__(self, other: "_Bits") -> "_Bits":
        return _Bits(self.builder, self.builder.and_(self.plane, other.plane))

    def __or__(self, other: "_Bits") -> "_Bits":
        return _Bits(self.builder, self.builder.or_(self.plane, other.plane))

    def __xor__(self, other: "_Bits") -> "_Bits":
        return _Bits(self.builder, self.builder.xor(self.plane, other.plane))

    def __invert__(self) -> "_Bits":
        return _Bits(self.builder, self.builder.not_(self.plane))


class _Adders:
    """Carry-save adders over planes: three planes of one power of two become their sum and a carry to the next.

    Args:
        planes: writes the operations down.
        levels: powers of two that are counted, from 1 on.

    Attributes:
        waiting: for each power of two the planes, up to two, that are not added up yet.
        beyond: the carries to 2^levels.
    """

    def __init__(self, planes: Any, levels: int) -> None:
        self.planes = planes
        self.waiting: list[list[Any]] = [[] for _ in range(levels)]
        self.beyond: list[Any] = []

    def add(self, level: int, plane: Any) -> None:
        """Add a plane that stands for 2^level."""
        if level == len(self.waiting):
            self.beyond.append(plane)
            return
        three = [*self.waiting[level], plane]
        self.waiting[level] = three
        if len(three) == 3:
            self.waiting[level] = [self.planes.of_three(lambda a, b, c: a ^ b ^ c, *three)]
            self.add(level + 1, self.planes.of_three(lambda a, b, c: b ^ ((a ^ b) & (b ^ c)), *three))

    def add_row(self, table: Any, row: Any, groups: int, size: int) -> None:
        """Add up what a table holds for the values of a query; `row` is the address of one of `rows_of_queries`."""
        planes, builder = self.planes, self.planes.builder
        for group in range(groups):
            address = builder.add(table, planes.number(row, 2 * group, bits=16))
            begin = 2 * planes.size * group << size
            self.add(0, planes.load(address, begin))
            self.add(1, planes.load(address, begin + planes.size))

    def finish(self) -> None:
        """Add up what waits, so that one plane of each power of two is left."""
        for level, two in enumerate(self.waiting):
            if len(two) == 2:
                self.waiting[level] = [self.planes.builder.xor(*two)]
                self.add(level + 1, self.planes.builder.and_(*two))


@intrinsic
def _transpose(typing_context, source, target, words, lanes):  # type: ignore[no-untyped-def]
    """Turn a chunk's words number w into its bit planes: from one address to another.

    There are as many planes as a word of the array `words` has bits. In each element of that many bits of the planes
    lies a square matrix, of codes by bits. Its halves are swapped, then the halves of these, and so on (Warren,
    "Hacker's Delight", section 7-3), for all elements at once. Afterwards bit r of element e of a plane belongs to
    code r x (number of elements) + e.
    """
    bits = words.dtype.bitwidth

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        planes = _Planes(context, builder, signature.args[3])
        rows: list[Any] = [None] * bits

        def swap(part: range, halves: list[int]) -> None:
            for half in halves:
                ones = (1 << 64) // ((1 << half) + 1)  # half ones, half zeros, half ones, …
                mask, shift = (planes.ir.Constant(planes.type, [n] * planes.type.count) for n in (ones, half))
                for row in part:
                    if row & half:
                        continue
                    upper, lower = rows[row], rows[row + half]
                    change = builder.and_(builder.xor(builder.lshr(upper, shift), lower), mask)
                    rows[row] = builder.xor(upper, builder.shl(change, shift))
                    rows[row + half] = builder.xor(lower, change)

        # every eighth row, then eight neighbours: as many as there are registers for
        halves = [half for half in (32, 16, 8, 4, 2, 1) if half < bits]
        for first in range(min(8, bits)):
            part = range(first, bits, 8)
            for row in part:
                rows[row] = planes.load(arguments[0], planes.size * row, anywhere=True)
            swap(part, [half for half in halves if half >= 8])
        for first in range(0, bits, 8):
            part = range(first, first + 8)
            swap(part, [half for half in halves if half < 8])
            for row in part:
                planes.store(rows[row], arguments[1], planes.size * row)
        return context.get_dummy_value()

    return types.none(types.int64, types.int64, words, lanes), generate


def _sum_up_to_three(planes: _Planes, one: tuple[Any, Any], other: tuple[Any, Any]) -> tuple[Any, Any]:
    """The sum of two numbers, each of them and the sum 3 at most, as the planes of the low and of the high bit."""
    builder, (low, high), (other_low, other_high) = planes.builder, one, other
    both, either = builder.and_(low, other_low), builder.xor(low, other_low)
    four = builder.or_(builder.and_(high, other_high), builder.and_(both, builder.or_(high, other_high)))
    return builder.or_(either, four), builder.or_(builder.or_(high, other_high), both)


def _counts(planes: _Planes, bits: list[Any]) -> list[tuple[Any, Any]]:
    """How many of some bits differ, 3 at most, for each value of a query: the planes of the low and of the high bit."""
    if len(bits) == 1:
        zero = planes.ir.Constant(planes.type, None)
        return [(bits[0], zero), (planes.builder.not_(bits[0]), zero)]
    first, second = _counts(planes, bits[: len(bits) // 2]), _counts(planes, bits[len(bits) // 2 :])
    return [_sum_up_to_three(planes, low, high) for high, low in product(second, first)]


@intrinsic
def _tabulate(typing_context, source, stride, table, size, lanes):  # type: ignore[no-untyped-def]
    """How many bits of a group differ, for each value of a query, 3 at most.

    The group's planes, as many as the tuple `size` has items, lie `stride` bytes apart from address `source` on. To
    `table` go, for each value, the planes of the low and of the high bit of that number.
    """

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        planes = _Planes(context, builder, signature.args[4])
        address, stride, table = arguments[:3]
        bits = []
        for _ in range(len(signature.args[3])):
            bits.append(planes.load(address))
            address = builder.add(address, stride)
        halves = [_counts(planes, half) for half in (bits[: len(bits) // 2], bits[len(bits) // 2 :])]
        for value, (high, low) in enumerate(product(*reversed(halves))):  # stored at once: few planes wait
            for place, plane in enumerate(_sum_up_to_three(planes, low, high)):
                planes.store(plane, table, planes.size * (2 * value + place))
        return context.get_dummy_value()

    return types.none(types.int64, types.int64, types.int64, size, lanes), generate


@njit(cache=True, nogil=True)
def aligned(n: int) -> np.ndarray:
    """Room for n words of 64 bits, at an address that every vector may have.

    Examples:
        >>> room = aligned(100)
        >>> len(room), room.ctypes.data % 64
        (100, 0)
    """
    room = np.empty(n + 8, dtype=np.uint64)
    first = -room.ctypes.data % 64 // 8
    return room[first : first + n]


@njit(cache=True, nogil=True)
def fill_table(planes_at: int, table_at: int, groups: int, size: Any, lanes: Any) -> None:
    """How many bits of each group differ, for each value of a query, 3 at most: two planes for each value.

    Args:
        planes_at: address of the planes of groups x size bits, in the order of the bits.
        table_at: address of the table: for each group, for each value, the planes of the low and the high bit.
        groups: how many there are.
        size: tuple with as many items as a group has bits.
        lanes: tuple with as many items as a plane has words.

    Examples:
        >>> planes, table = aligned(3 * 2), aligned(8 * 2 * 2)  # one group of three bits, two lanes
        >>> planes[:] = 0  # codes without a set bit
        >>> fill_table(planes.ctypes.data, table.ctypes.data, 1, (0,) * 3, (0,) * 2)
        >>> low, high = table.reshape(8, 2, 2)[:, :, 0].T & np.uint64(1)
        >>> (low + 2 * high).tolist()  # from the queries 000, 001, 010, …
        [0, 1, 1, 2, 1, 2, 2, 3]
    """
    plane_bytes = 8 * len(lanes)
    for group in range(groups):
        _tabulate(
            planes_at + group * plane_bytes,
            groups * plane_bytes,
            table_at + ((2 * group * plane_bytes) << len(size)),
            size,
            lanes,
        )


@njit(cache=True, nogil=True)
def rows_of_queries(query: np.ndarray, groups: int, size: int, lanes: int) -> np.ndarray:
    """Where each query's value lies in each group's part of a table, in bytes: uint16 [q, groups].

    Bit b of group c is bit c + b x groups of a code: neighbours, which may be much alike, go to different groups.

    Examples:
        >>> query = np.array([[0b100_011]], np.uint64)  # bits 0, 1 and 5; two groups of three bits: 0 2 4 and 1 3 5
        >>> (rows_of_queries(query, 2, 3, 8) // 128).tolist()  # 128 bytes for the two planes of a value
        [[1, 5]]
    """
    word_bits = 8 * query.itemsize
    rows = np.zeros((len(query), groups), dtype=np.uint16)
    for i in range(len(query)):
        for bit in range(min(query.shape[1] * word_bits, groups * size)):
            one = (np.int64(query[i, bit // word_bits]) >> (bit % word_bits)) & 1
            rows[i, bit % groups] += np.uint16(one << (bit // groups)) * np.uint16(16 * lanes)
    return rows
