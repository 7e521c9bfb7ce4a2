"""Cells of CSV files that people open in a spreadsheet: text from outside must not be taken for a formula."""

import re

# what spreadsheets compute; behind apostrophes too, so that `unguarded` gives back what `guarded` was given
_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def guarded(cell: object) -> object:
    """A cell with an apostrophe before it if a spreadsheet would compute it: text that begins with = + - @, tab or CR.

    Numbers, also those written as text, are left as they are.

    Examples:
        >>> guarded("=HYPERLINK(1)"), guarded("chair"), guarded("-3.5"), guarded(-3)
        ("'=HYPERLINK(1)", 'chair', '-3.5', -3)
    """
    if isinstance(cell, str) and _FORMULA.match(cell) and not _is_number(cell):
        return "'" + cell
    return cell


def unguarded(cell: str) -> str:
    """The text that `guarded` was given.

    Examples:
        >>> unguarded("'=HYPERLINK(1)"), unguarded("'tis")
        ('=HYPERLINK(1)', "'tis")
    """
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", text) is not None
