"""Names in the tables of a dataset that only look equal: cleaned on reading, and told apart by case."""

import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path

# zero-width space, word joiner, byte order mark, soft hyphen: not seen, and left by copying from web pages; marks of
# the direction of writing: put before paths by the file dialogues of Windows
DIRECTIONS = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
UNSEEN = dict.fromkeys(map(ord, "\u200b\u2060\ufeff\u00ad" + DIRECTIONS))
USUAL_SPLITS = ("train", "val", "test")
PATH_COLUMNS = ("points", "path", "mask")


def clean_name(cell: str) -> str:
    """A category, split, kind or id as it is compared: composed (NFC), ordinary blanks, none at its ends.

    Examples:
        >>> clean_name(" flat "), clean_name("cafe\u0301") == clean_name("caf\u00e9"), clean_name("dining\u00a0table")
        ('flat', True, 'dining table')
    """
    if cell.isascii():
        return cell.strip(" \t")
    text = unicodedata.normalize("NFC", cell).translate(UNSEEN)
    return "".join(" " if unicodedata.category(each) == "Zs" else each for each in text).strip(" \t")


def clean_path(cell: str) -> str:
    """A path without blanks at its ends; its letters stay, as the file system may tell their forms apart.

    Examples:
        >>> clean_path(" points/seat.npy ")
        'points/seat.npy'
    """
    return cell.strip(" \t\u00a0\ufeff\u200b" + DIRECTIONS)


def clean_cell(column: str, cell: str) -> str:
    """A cell of a column with a meaning as it is compared.

    Examples:
        >>> clean_cell("category", " flat "), clean_cell("path", " cafe\u0301.jpg") == "cafe\u0301.jpg"
        ('flat', True)
    """
    return clean_path(cell) if column in PATH_COLUMNS else clean_name(cell)


def existing_form(path: Path) -> Path:
    """The path, or where no such file is there the one whose accents are stored in the other form.

    macOS and its archives take letters with accents apart (NFD), tables made by hand have them composed (NFC).

    Examples:
        >>> folder = Path("photos")
        >>> folder.mkdir()
        >>> _ = (folder / "cafe\u0301.jpg").write_bytes(b"")
        >>> existing_form(folder / "caf\u00e9.jpg").name == "cafe\u0301.jpg"
        True
        >>> existing_form(folder / "other.jpg").name
        'other.jpg'
    """
    text = str(path)
    if text.isascii() or path.exists():
        return path
    forms = (Path(unicodedata.normalize(form, text)) for form in ("NFC", "NFD"))
    return next((form for form in forms if form.exists()), path)


def split_faults(splits: Iterable[tuple[str, str]]) -> list[str]:
    """A fault for each spelling of a split that differs by case alone from one before it, or from a usual one.

    Args:
        splits: (where, such as "shapes.csv: row 2"; name) of each row.

    Examples:
        >>> split_faults([("shapes.csv: row 2", "train"), ("shapes.csv: row 3", "Train")])
        ["shapes.csv: row 3: split is 'Train' (expected 'train': names that differ by case alone are different splits)"]
    """
    spellings = {name: name for name in USUAL_SPLITS}
    seen: set[str] = set()
    faults = []
    for where, name in splits:
        usual = spellings.setdefault(name.casefold(), name)
        if name != usual and name not in seen:
            seen.add(name)
            faults.append(
                f"{where}: split is {name!r} (expected {usual!r}: names that differ by case alone are different splits)"
            )
    return faults


def alike_but_for_case(what: str, names: Mapping[str, str]) -> list[str]:
    """A remark, or none, on names that differ by case alone.

    Args:
        what: what they are, in the plural.
        names: where each first stands, such as "row 2", by name.

    Examples:
        >>> alike_but_for_case("categories", {"chair": "row 2", "Chair": "row 7", "lamp": "row 3"})
        ["1 of 3 categories differs from another by case alone: 'Chair' (row 7) and 'chair' (row 2)"]
    """
    first: dict[str, str] = {}
    pairs = [(name, other) for name in names if (other := first.setdefault(name.casefold(), name)) != name]
    if not pairs:
        return []
    listed = ", ".join(
        f"{name!r} ({names[name]}) and {other!r} ({names[other]})" for name, other in pairs[:3]
    )
    more = f" and {len(pairs) - 3} more" if len(pairs) > 3 else ""
    verb = "differs from another" if len(pairs) == 1 else "differ from others"
    return [f"{len(pairs)} of {len(names)} {what} {verb} by case alone: {listed}{more}"]
