"""How many rows of a file are of which split, as numbers and in words."""

from collections import Counter
from collections.abc import Mapping

import numpy as np

TRAINING = "train"  # the split that training sees
USUAL = (TRAINING, "val", "test")


def is_training(split: str) -> bool:
    """Whether a split is the one that training sees, by whatever letters: "train" or "training".

    Examples:
        >>> is_training("Train"), is_training("TRAINING"), is_training("test")
        (True, True, False)
    """
    return split.casefold() in (TRAINING, "training")


def split_counts(splits: np.ndarray | None) -> dict[str, int]:
    """How many rows state each split: train, val and test first, then others by name, then "" for none.

    Args:
        splits: text [n], "" where a row states none; None where no row does.

    Returns:
        Empty if no row states a split.

    Examples:
        >>> split_counts(np.array(["test", "train", "", "train"]))
        {'train': 2, 'test': 1, '': 1}
        >>> split_counts(np.array(["", ""])), split_counts(None)
        ({}, {})
    """
    counts = Counter([] if splits is None else splits.tolist())
    if not any(counts):
        return {}
    others = sorted({*counts} - {*USUAL, ""})
    return {name: counts[name] for name in (*USUAL, *others, "") if name in counts}


def counts_in_words(counts: Mapping[str, int]) -> str:
    """Counts by split in words, such as "38 train, 4 val, 4 test"; "" if there are none.

    Examples:
        >>> counts_in_words({"train": 38, "test": 4, "": 2})
        '38 train, 4 test, 2 without a split'
    """
    return ", ".join(f"{count} {name or 'without a split'}" for name, count in counts.items())
