"""Which splits of code files are measured: those that are named, or else what training has not seen.

Rows that state no split belong to every split. Files none of whose rows states one are measured whole.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from cmah.checks import shown
from cmah.codes.split_counts import counts_in_words, is_training
from cmah.errors import CodesError

ALL = "all"  # stands for every split
NONE = ""  # what the rows state that state no split
EVALUATED = ("test", "val")  # what is measured by default, the first that there is
Counts = Mapping[str, int]  # rows by split, as `split_counts` gives them


def as_splits(splits: str | Sequence[str] | None) -> tuple[str, ...]:
    """Names of splits as a tuple without duplicates; none for None.

    Args:
        splits: one name, or several; "all" stands alone.

    Raises:
        CodesError: if they are no text, are empty, or mix "all" or "train" with others.

    Examples:
        >>> as_splits("test"), as_splits(["val", "test"]), as_splits(None)
        (('test',), ('val', 'test'), ())
        >>> as_splits(["train", "test"])
        Traceback (most recent call last):
            ...
        cmah.errors.CodesError: splits train,test: items that were trained on and others do not mix; expected ...
    """
    if splits is None:
        return ()
    named = (
        [splits] if isinstance(splits, str) else list(splits) if isinstance(splits, Sequence) else [splits]
    )
    if not all(isinstance(name, str) and name.strip() for name in named):
        raise CodesError(f"splits are {shown(splits)}, expected names such as test, or all")
    names = tuple(dict.fromkeys(name.strip() for name in named))
    if len(names) > 1 and ALL in names:
        raise CodesError(f"splits {','.join(names)}: all stands for every split, expected it alone")
    if any(map(is_training, names)) and not all(map(is_training, names)):
        raise CodesError(
            f"splits {','.join(names)}: items that were trained on and others do not mix; expected train or others "
            "alone, or all, which measures everything"
        )
    return names


def choose_splits(
    query: Counts,
    database: Counts,
    asked: tuple[str, ...] = (),
    files: tuple[str, str] = ("query", "database"),
) -> tuple[str, ...] | None:
    """The splits to measure.

    By default: test if there are queries of it, else val; else, where queries state no split, these, against test or
    val items if there are such; else the one other split that is not the training's.

    Args:
        query: how many queries state each split.
        database: how many items do.
        asked: names to measure instead, as `as_splits` gives them.
        files: names of the two for messages.

    Returns:
        Names of splits, ("all",) for everything, ("",) for the rows alone that state no split; None if no row of
        either states one.

    Raises:
        CodesError: if there are training items only and nothing was asked for, if several other splits could be meant,
            if no row is of a split that was asked for, or if names differ by case alone and not all is measured.

    Examples:
        >>> choose_splits({"train": 38, "val": 4, "test": 4}, {"train": 38, "val": 4, "test": 4})
        ('test',)
        >>> choose_splits({"": 20}, {"train": 38, "val": 4})  # photos of one's own, which state no split
        ('val',)
        >>> choose_splits({"train": 9}, {"train": 9})
        Traceback (most recent call last):
            ...
        cmah.errors.CodesError: query: 9 train, nothing but what was trained on; --splits train measures these, ...
    """
    there = {**query, **database}
    if not there:
        return None
    if asked == (ALL,):
        return asked
    alike = sorted(name for name in there if name.casefold() in {o.casefold() for o in there if o != name})
    if alike:
        raise CodesError(
            f"{' and '.join(files)}: splits {shown(alike)} differ by case alone, expected one spelling; --splits all "
            "measures everything"
        )
    if not asked:
        return _default(query, database, files)
    for name in asked:
        if name not in there:
            known = "; ".join(_listed(*pair) for pair in zip(files, (query, database), strict=True))
            raise CodesError(f"no row is of split {name!r} ({known})")
    return asked


def _default(query: Counts, database: Counts, files: tuple[str, str]) -> tuple[str, ...]:
    """What is measured where nothing was asked for; see `choose_splits`."""
    file, decisive = files[0], query
    for name in EVALUATED:
        if name in query:
            return (name,)
    if NONE in query or not query:  # queries that belong to every split: the items decide
        file, decisive = files[1], database
        for name in EVALUATED:
            if name in database:
                return (name,)
        if NONE in database or not database:
            return (NONE,)
    others = [name for name in decisive if name != NONE and not is_training(name)]
    if len(others) == 1:
        return (others[0],)
    if others:
        raise CodesError(
            f"{_listed(file, decisive)}: say which to measure, such as --splits {others[0]}, or --splits all"
        )
    raise CodesError(
        f"{_listed(file, decisive)}, nothing but what was trained on; --splits train measures these, --splits all "
        "everything"
    )


def rows_of(splits: np.ndarray | None, chosen: tuple[str, ...] | None, rows: int) -> np.ndarray:
    """Which rows belong to the chosen splits, bool [rows]; those that state none do.

    Examples:
        >>> rows_of(np.array(["train", "test", ""]), ("test",), 3).tolist()
        [False, True, True]
        >>> rows_of(np.array(["train", "test", ""]), ("all",), 3).tolist(), rows_of(None, ("test",), 2).tolist()
        ([True, True, True], [True, True])
    """
    if splits is None or chosen in (None, (ALL,)):
        return np.ones(rows, dtype=bool)
    return np.isin(splits, [*chosen, NONE])


def splits_in_words(splits: tuple[str, ...] | None) -> str:
    """The splits that are measured, in words.

    Examples:
        >>> splits_in_words(("test",)), splits_in_words(("val", "test")), splits_in_words(("",))
        ('split test', 'splits val, test', 'items without a split')
    """
    if splits in (None, (ALL,)):
        return "all splits"
    if splits == (NONE,):
        return "items without a split"
    return f"split{'s' * (len(splits or ()) > 1)} {', '.join(splits or ())}"


def _listed(file: str, counts: Counts) -> str:
    """A file with its rows by split."""
    return f"{file}: {counts_in_words(counts) or 'names no splits'}"
