"""Names of codes: what is taken, what is refused, and where they are found."""

import numpy as np
import pytest
from slow_search import clustered

from cmah import BinaryCodes
from cmah.errors import CodesError
from cmah.search import HammingIndex, MultiIndex
from cmah.search.ids import NUMBERS, POSITIONS, TEXTS, Ids, SortedRuns, as_ids

LEAST, MOST = -(2**63), 2**63 - 1


def index_of(n, ids=None, bits=24):
    index = HammingIndex(bits)
    index.add(clustered(n, bits), ids=ids)
    return index


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([True], "ids are bool, expected whole numbers or text"),
        ([0.5], "ids are float64"),
        ([None], "ids are object"),
        ([b"a"], r"ids are \|S1"),
        ([[1]], r"ids have shape \[1, 1\], expected \[1\]"),
        ([1, 2], r"ids have shape \[2\], expected \[1\]"),
        ([], r"ids have shape \[0\], expected \[1\]"),
        ("a", r"ids have shape \[\], expected \[1\]"),
        ([2**63], "id 9223372036854775808 is too large, expected at most 9223372036854775807"),
        (np.array([2**64 - 1], np.uint64), "id 18446744073709551615 is too large"),
        ([2**64], "ids are object"),
        ([LEAST - 1], "ids are object"),
        (np.array(["\udc80"]), "cannot be written as UTF-8"),
    ],
)
def test_what_cannot_be_an_id(ids, message):
    index = HammingIndex(24)
    for _ in range(2):
        with pytest.raises(CodesError, match=message):
            index.add(clustered(1, 24), ids=ids)
        assert len(index) == 0
    index.add(clustered(1, 24))
    with pytest.raises(CodesError):
        index.add(clustered(1, 24), ids=ids)
    assert (len(index), index.ids.tolist()) == (1, [0])


@pytest.mark.parametrize("ids", [["a", 1], [1, "a"], ["a", None], ("a", 0.5)])
def test_text_and_numbers_do_not_mix(ids):
    with pytest.raises(CodesError, match=r"ids are text and|ids are object"):
        index_of(2, ids)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint32, np.int64, np.uint64, ">i4"])
def test_every_type_of_whole_number(dtype):
    index = index_of(3, np.array([7, 0, 100], dtype=dtype))
    assert index.ids.tolist() == [7, 0, 100]
    assert index.ids.dtype == np.int64
    assert index.codes_of(np.array([100], dtype=dtype)) == index.codes[2]


def test_numbers_at_the_ends_of_int64():
    index = index_of(3, [LEAST, MOST, -1])
    assert index.ids.tolist() == [LEAST, MOST, -1]
    assert index.codes_of([MOST, LEAST]).ids.tolist() == [MOST, LEAST]
    with pytest.raises(CodesError, match=f"no 1 numbers follow id {MOST}"):
        index.add(clustered(1, 24))
    index = index_of(1, [MOST - 2])
    with pytest.raises(CodesError, match=f"no 3 numbers follow id {MOST - 2}"):
        index.add(clustered(3, 24))
    assert len(index) == 1
    index.add(clustered(2, 24))
    assert index.ids.tolist() == [MOST - 2, MOST - 1, MOST]


def test_numbers_beyond_int64_are_not_found():
    index = index_of(3, [-5, -1, 3])
    for number in (2**64 - 5, 2**64 - 1, 2**63):
        with pytest.raises(CodesError, match=f"id {number} is not in this index"):
            index.codes_of(np.array([number], dtype=np.uint64))
    assert index.codes_of(np.array([3], dtype=np.uint64)) == index.codes_of([3])


def test_numbers_follow_the_greatest():
    index = index_of(2)
    index.add(clustered(2, 24), ids=[70, -5])
    index.add(clustered(2, 24))
    assert index.ids.tolist() == [0, 1, 70, -5, 71, 72]
    negative = index_of(1, [-9])
    negative.add(clustered(1, 24))
    assert negative.ids.tolist() == [-9, 0]


def test_ids_after_removing_and_adding():
    index = index_of(5)
    index.remove([4, 1])
    assert index.ids.tolist() == [0, 2, 3]
    index.add(clustered(2, 24, 1))
    assert index.ids.tolist() == [0, 2, 3, 4, 5]
    index.add(clustered(1, 24), ids=[1])
    assert index.ids.tolist() == [0, 2, 3, 4, 5, 1]
    with pytest.raises(CodesError, match="duplicate id 2"):
        index.add(clustered(1, 24), ids=[2])


@pytest.mark.parametrize("ids", [None, [5, 3, 8], ["a", "b", "c"]])
def test_an_index_that_was_emptied_takes_any_ids(ids):
    for more in (None, [9, 7], ["x", "y"]):
        index = index_of(3, ids)
        index.remove(index.ids)
        assert (len(index), index.ids.tolist(), list(index)) == (0, [], [])
        assert index.search(clustered(2, 24), 3).ids.shape == (2, 0)
        index.add(clustered(2, 24), ids=more)
        assert index.ids.tolist() == (more or [0, 1])


@pytest.mark.parametrize("ids", [None, [4, -2, 9], ["a", "", "Stühle/β.obj"]])
def test_what_is_there_twice(ids):
    index = index_of(3, ids)
    double = index.ids[1]
    for more in ([double], [double, double]):
        with pytest.raises(CodesError, match=f"duplicate id {double}"):
            index.add(clustered(len(more), 24), ids=more)
    new = "new" if isinstance(double, str) else 100
    with pytest.raises(CodesError, match=f"duplicate id {new}"):
        index.add(clustered(2, 24), ids=[new, new])
    assert len(index) == 3
    with pytest.raises(CodesError, match="some ids are text and some numbers"):
        index.add(clustered(1, 24), ids=[5] if isinstance(double, str) else ["five"])
    index.add(clustered(1, 24), ids=[new])  # what was refused left nothing behind
    assert index.ids.tolist()[3] == new


@pytest.mark.parametrize("ids", [None, [40, -2, 9, 7], ["a", "", "Stühle/β.obj", "d"]])
def test_codes_of_and_remove(ids):
    index = index_of(4, ids)
    packed, names = index.codes.packed, index.ids.tolist()
    some = [names[2], names[0], names[2]]
    np.testing.assert_array_equal(index.codes_of(some).packed, packed[[2, 0, 2]])
    assert index.codes_of(some).ids.tolist() == some
    assert len(index.codes_of([])) == 0
    index.remove([names[1], names[1]])
    assert index.ids.tolist() == [names[0], names[2], names[3]]
    np.testing.assert_array_equal(index.codes.packed, packed[[0, 2, 3]])
    assert [name for name, _ in index] == index.ids.tolist()
    missing = 1000 if ids is None or isinstance(ids[0], int) else "none"
    for action in (index.remove, index.codes_of, lambda who: index.search(clustered(1, 24), 1, subset=who)):
        with pytest.raises(CodesError, match=f"id {missing} is not in this index"):
            action([names[0], missing])
    index.remove([])
    assert len(index) == 3


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ([-1], "id -1 is not in this index"),
        ([3], "id 3 is not in this index"),
        (["0"], "id 0 is not in this index"),
        ([True], "ids are bool"),
        ([0.0], "ids are float64"),
        ([[0]], r"ids are int64 \[1, 1\]"),
        (0, r"ids are int64 \[\]"),
        (["0", 1], "ids are text and int"),
    ],
)
def test_positions_are_found_by_whole_numbers_only(wanted, message):
    with pytest.raises(CodesError, match=message):
        index_of(3).codes_of(wanted)


def test_positions_take_no_room():
    ids = Ids().extended(None, 1000).extended(None, 24)
    assert (ids.kind, len(ids), ids.numbers.nbytes, ids.text.nbytes) == (POSITIONS, 1024, 0, 0)
    assert ids.kept(np.arange(1024) > 1020).kind == NUMBERS


@pytest.mark.parametrize("kind", [POSITIONS, NUMBERS, TEXTS])
def test_many_ids_are_found_where_they_are(kind):
    random = np.random.default_rng(kind)
    names = np.arange(300) if kind == POSITIONS else random.permutation(10_000)[:300] - 5000
    names = names.astype(str) if kind == TEXTS else names
    ids = Ids()
    for first in range(0, 300, 75):
        ids = ids.extended(None if kind == POSITIONS else names[first : first + 75], 75)
    assert ids.kind == kind
    places = random.integers(0, 300, (7, 5))
    np.testing.assert_array_equal(ids.take(places), names[places])
    np.testing.assert_array_equal(ids.positions_of(names[places].ravel()), places.ravel())
    np.testing.assert_array_equal(ids.values, names)
    keep = random.random(300) < 0.5
    np.testing.assert_array_equal(ids.kept(keep).values, names[keep])


def test_a_nul_at_the_end_is_refused():
    with pytest.raises(CodesError, match="ends in a NUL"):
        as_ids(["a\0", "b"])


@pytest.mark.parametrize("kind", ["numbers", "text", "positions"])
def test_ids_added_one_by_one_are_those_added_at_once(kind):
    generator = np.random.default_rng(3)
    numbers = generator.permutation(10**6)[:300]
    values = {"numbers": numbers, "text": numbers.astype(str), "positions": None}[kind]
    codes = clustered(300, 24)
    whole, index = HammingIndex(24), HammingIndex(24)
    whole.add(codes, values)
    seen, first = [], 0
    while first < 300:
        last = min(first + int(generator.integers(1, 9)), 300)
        index.add(codes[first:last], None if values is None else values[first:last])
        seen.append((index.ids, whole.ids[:last]))
        if values is not None:
            with pytest.raises(CodesError, match="duplicate id"):
                index.add(codes[:1], values[last // 2 : last // 2 + 1])
        first = last
    # what was given out before is still as it was
    assert all(np.array_equal(given, expected) for given, expected in seen)
    assert index.codes_of(whole.ids[250:]) == whole.codes_of(whole.ids[250:])


def test_two_continuations_of_the_same_ids_do_not_disturb_each_other():
    for values in (np.array([5, 9]), np.array(["a", "bb"])):
        begin = Ids.of(values).extended(np.array(["x"]) if values.dtype.kind == "U" else values[:1] + 1, 1)
        more = np.array([70, 80]) if begin.kind == NUMBERS else np.array(["ccc", "dd"])
        one, two = begin.extended(more[:1], 1), begin.extended(more[1:], 1)
        assert one.values.tolist() == [*begin.values.tolist(), more[0]]
        assert two.values.tolist() == [*begin.values.tolist(), more[1]]
        assert one.extended(more[1:], 1).values.tolist() == [*begin.values.tolist(), *more.tolist()]


def test_a_number_that_follows_the_greatest_is_found_without_looking_at_all():
    runs = SortedRuns([np.array([3, 8])])
    for number in range(100, 400):
        runs = runs.extended(np.array([number]))
    assert runs.greatest == 399
    assert runs.holds(np.arange(402)).sum() == 302
    assert len(runs.runs) < 10  # so that asking takes few searches
    assert SortedRuns([]).greatest == SortedRuns([np.array([-7])]).greatest == -1


@pytest.mark.parametrize("index", [HammingIndex, MultiIndex])
def test_ids_keep_their_type_on_the_way_from_index_to_index(index, tmp_path):
    numbers, names = np.arange(30) + 100, [f"shape-{i}" for i in range(30)]
    for ids, kind in ((numbers, "numbers"), (names, "text")):
        flat = index_of(30, ids)
        flat.codes.save(tmp_path / "codes.npz")
        for codes in (
            flat.codes,
            BinaryCodes.load(tmp_path / "codes.npz"),
            BinaryCodes.concatenate([flat.codes]),
        ):
            other = index(24)
            other.add(codes)
            other.add(clustered(1, 24), ids=["another"] if kind == "text" else [7])
            assert other.id_kind == kind
            assert other.ids[:30].tolist() == list(ids)
