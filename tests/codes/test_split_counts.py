"""How many rows are of which split."""

import numpy as np

from cmah.codes.split_counts import counts_in_words, split_counts


def test_counts_in_a_fixed_order():
    splits = np.array(["zoo", "", "test", "train", "mine", "val", "train"])
    counts = split_counts(splits)
    assert list(counts.items()) == [
        ("train", 2), ("val", 1), ("test", 1), ("mine", 1), ("zoo", 1), ("", 1),
    ]  # fmt: skip
    for name, count in counts.items():
        assert count == sum(split == name for split in splits)
    assert counts_in_words(counts) == "2 train, 1 val, 1 test, 1 mine, 1 zoo, 1 without a split"
    assert split_counts(np.array([], dtype=str)) == split_counts(np.array([""])) == {}
