"""The layout of codes in memory and file, byte by byte."""

from itertools import pairwise

import numpy as np
import pytest
from plain_index import bytes_of_codes
from slow_search import clustered

from cmah.codes import BinaryCodes
from cmah.errors import CodesError
from cmah.search.blocks import ALIGNMENT, CodeBlocks

LENGTHS = (1, 8, 9, 16, 24, 31, 48, 64, 72, 96, 200, 1000, 4096)


def sizes(bits):
    """Numbers of codes around the borders of blocks."""
    block = CodeBlocks(bits).codes_in_block
    return [0, 1, *(block * blocks + more for blocks in (1, 2) for more in (-1, 0, 1))]


def filled(bits, n, seed=0):
    blocks = CodeBlocks(bits)
    codes = clustered(n, bits, seed)
    blocks.append(codes.packed)
    return blocks, codes.packed


@pytest.mark.parametrize("bits", LENGTHS)
def test_bytes(bits):
    for n in sizes(bits):
        blocks, packed = filled(bits, n)
        data = b"".join(chunk.tobytes() for chunk in blocks.chunks())
        assert data == bytes_of_codes(packed)
        assert len(data) == n * ((bits + 7) // 8)
        again = CodeBlocks.from_bytes(bits, n, np.frombuffer(data, dtype=np.uint8))
        assert len(again) == len(blocks) == n
        for each in (blocks, again):
            np.testing.assert_array_equal(each.all_rows(), packed)
            every = np.arange(n)[::-1]
            np.testing.assert_array_equal(each.rows(every), packed[every])
            np.testing.assert_array_equal(np.concatenate([packed[:0], *each.parts()]), packed)
            assert each.all_rows().dtype == np.uint8


@pytest.mark.parametrize("bits", [8, 40, 64, 4096])
def test_blocks_are_whole_words_of_neighbours(bits):
    block = CodeBlocks(bits).codes_in_block
    blocks, packed = filled(bits, 2 * block + 3)
    words = blocks.as_words(packed)
    assert blocks.full_parts[0][0].shape == (2, blocks.words, block)
    np.testing.assert_array_equal(blocks.full_parts[0][0][1, :, 5], words[block + 5])
    last = blocks.last_block
    assert last.shape == (1, blocks.words, block)
    np.testing.assert_array_equal(last[0, :, :3], words[2 * block :].T)
    assert not last[0, :, 3:].any()
    for array in (blocks.full_parts[0][0], last):
        assert array.ctypes.data % ALIGNMENT == 0
        assert array.flags.c_contiguous
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0, 0] = 1
    assert filled(bits, 2 * block)[0].last_block.shape == (0, blocks.words, block)


@pytest.mark.parametrize("bits", [16, 24, 4096])
def test_appending_in_parts_is_appending_at_once(bits):
    block = CodeBlocks(bits).codes_in_block
    packed = clustered(3 * block + 7, bits).packed
    parts = CodeBlocks(bits)
    borders = [0, 1, 1, block - 1, block, 2 * block + 1, 3 * block, len(packed)]
    for first, last in pairwise(borders):
        parts.append(packed[first:last])
        np.testing.assert_array_equal(parts.all_rows(), packed[:last])


def test_appending_behind_bytes_that_cannot_be_written_to():
    packed = clustered(1030, 64).packed
    data = np.frombuffer(bytes_of_codes(packed[:600]), dtype=np.uint8)
    blocks = CodeBlocks.from_bytes(64, 600, data)
    blocks.append(packed[600:])
    np.testing.assert_array_equal(blocks.all_rows(), packed)
    assert data.tobytes() == bytes_of_codes(packed[:600])


def test_many_codes_are_rearranged_some_at_a_time(monkeypatch):
    monkeypatch.setattr("cmah.search.blocks._AT_ONCE", 1024)
    blocks, packed = filled(16, 5000)
    np.testing.assert_array_equal(blocks.all_rows(), packed)
    assert [len(part) for part in blocks.parts()] == [1024, 1024, 1024, 1024, 512, 392]
    assert b"".join(chunk.tobytes() for chunk in blocks.chunks()) == bytes_of_codes(packed)


def test_what_is_handed_out_cannot_change_the_codes():
    blocks, packed = filled(24, 600)
    original = packed.copy()
    packed[:] = 0
    blocks.all_rows()[:] = 0
    blocks.rows(np.arange(600))[:] = 0
    for part in blocks.parts():
        if part.flags.writeable:
            part[:] = 0
    np.testing.assert_array_equal(blocks.all_rows(), original)


def test_words_are_aligned_wherever_the_codes_lie():
    data = np.zeros(8 * 5 + 3, dtype=np.uint8)
    data[3:] = np.arange(40)
    codes = BinaryCodes.from_packed(data[3:].reshape(5, 8), 64)
    words = CodeBlocks(64).as_words(codes.packed)
    assert words.flags.aligned
    assert words.tobytes() == bytes(range(40))


def test_bits_beyond_the_last_are_seen():
    for bits, n in ((9, 1), (9, 515), (63, 512), (1, 513)):
        blocks, packed = filled(bits, n)
        assert not blocks.unused_bits_set()
        for row in {0, n - 1}:
            bad = packed.copy()
            bad[row, -1] |= 1
            blocks = CodeBlocks(bits)
            blocks.append(bad)
            assert blocks.unused_bits_set()
    assert not filled(64, 3)[0].unused_bits_set()


@pytest.mark.parametrize("bits", [0, -1, 4097, 8.0, "8", None, True, float("nan"), 10**30])
def test_impossible_lengths(bits):
    with pytest.raises(CodesError, match="bits is"):
        CodeBlocks(bits)
    assert CodeBlocks(np.int32(8)).bits == 8


def in_parts(bits, borders):
    """Bytes as the segments of a file have them: each begins at a full block, and repeats a short one."""
    block = CodeBlocks(bits).codes_in_block
    packed = clustered(borders[-1], bits).packed
    parts = [
        np.frombuffer(bytes_of_codes(packed[first // block * block : last]), np.uint8)
        for first, last in pairwise(borders)
    ]
    return parts, packed


@pytest.mark.parametrize("bits", [24, 64, 4096])
def test_blocks_in_several_parts(bits):
    block = CodeBlocks(bits).codes_in_block
    for borders in (
        [0, 1, 2],
        [0, block, 2 * block],
        [0, block - 1, block, block + 1, 3 * block + 5],
        [0, 3, 5, 2 * block + 1, 2 * block + 7],
        [0, 4 * block + 1, 5 * block],
    ):
        parts, packed = in_parts(bits, borders)
        blocks = CodeBlocks.from_bytes(bits, len(packed), *parts)
        assert len(blocks) == len(packed)
        np.testing.assert_array_equal(blocks.all_rows(), packed)
        np.testing.assert_array_equal(blocks.rows(np.arange(len(packed))[::-1]), packed[::-1])
        assert b"".join(chunk.tobytes() for chunk in blocks.chunks()) == bytes_of_codes(packed)
        for n in {0, 1, block, len(packed) // 2, len(packed)}:
            first = blocks.first(min(n, len(packed)))
            np.testing.assert_array_equal(first.all_rows(), packed[:n])
            first.append(packed[:3])  # which changes nothing in those that it was taken from
            np.testing.assert_array_equal(blocks.all_rows(), packed)
        more = clustered(block + 3, bits, 1).packed
        blocks.append(more)
        np.testing.assert_array_equal(blocks.all_rows(), np.concatenate([packed, more]))
        assert_segments(blocks)


def assert_segments(blocks):
    """Every range of full blocks is there once, in order, with the positions of its codes."""
    block, full = blocks.codes_in_block, len(blocks) // blocks.codes_in_block
    words = blocks.as_words(blocks.all_rows())
    for first in range(full + 1):
        for last in [*range(first, full + 1), None]:
            position = first * block
            for part, begin in blocks.segments(first, last):
                assert begin == position
                held = part.transpose(0, 2, 1).reshape(-1, blocks.words)
                count = min(len(held), len(words) - begin)
                np.testing.assert_array_equal(held[:count], words[begin : begin + count])
                position += count
            assert position == (len(words) if last is None else last * block)


def test_appending_to_blocks_of_a_file_does_not_copy_them():
    parts, packed = in_parts(64, [0, 1300, 2100])
    blocks = CodeBlocks.from_bytes(64, 2100, *parts)
    for seed in range(5):
        blocks.append(clustered(700, 64, seed).packed)
    given = [part for part, _ in blocks.full_parts]
    assert [len(part) for part in given] == [2, 2, (2100 + 5 * 700) // 512 - 4]
    assert np.shares_memory(given[0], parts[0])
    assert np.shares_memory(given[1], parts[1])
    first = blocks.first(1600)
    assert np.shares_memory(first.full_parts[1][0], parts[1])
    np.testing.assert_array_equal(blocks.all_rows()[:2100], packed)
