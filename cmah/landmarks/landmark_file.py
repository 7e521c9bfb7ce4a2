"""The landmark file: texts that say what one object of a category can look like, in form and parts.

The similarity of two shapes of one category "through language" (Sbrolli & Matteucci, arXiv 2406.02202) compares how
near each lies to the landmarks of the category in an image-text space. The landmarks of that paper were not
published; those in landmarks.json were written for cmah, and `cmah landmarks` makes more for other categories.

    {"format": "cmah-landmarks", "version": 1,
     "categories": {"chair": ["a chair with …", …], …},
     "aliases": {"armchair": "chair", …}}
"""

import difflib
import re
import unicodedata
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from cmah.checks import shown
from cmah.errors import CmahError
from cmah.files import write_json
from cmah.reading import read_json, require_file

FORMAT, VERSION = "cmah-landmarks", 1
SHIPPED = Path(__file__).with_name("landmarks.json")
# 512 descriptions for each of 1,000 categories take half of this
LARGEST_FILE = 1 << 27
LARGEST_DESCRIPTION = 500  # characters


class Landmarks(dict[str, list[str]]):
    """The descriptions of each category by its name in normal form, in the order of the file.

    Attributes:
        aliases: other names in normal form, each with the category it stands for.

    Examples:
        >>> mine = Landmarks({"chair": ["a chair with four legs"]}, aliases={"armchair": "chair"})
        >>> mine["chair"], mine.aliases["armchair"]
        (['a chair with four legs'], 'chair')
    """

    def __init__(
        self, categories: Mapping[str, list[str]] | None = None, aliases: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(categories or {})
        self.aliases = dict(aliases or {})


def normal_name(name: str) -> str:
    """The form in which names are compared: lower case, single spaces for underscores and hyphens.

    Examples:
        >>> normal_name("Cell_Phone")
        'cell phone'
    """
    return " ".join(re.sub(r"[_\-\s]+", " ", name).lower().split())


def printable(name: str) -> bool:
    """Whether a name has neither control characters nor lone surrogates.

    Examples:
        >>> [name for name in ("chair", "chaise longue", "cha\\nir") if printable(name)]
        ['chair', 'chaise longue']
    """
    return not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name)


def name_fault(name: str) -> str:
    """Why a category cannot have this name; empty if it can.

    Examples:
        >>> name_fault("chair"), name_fault(" _ ")
        ('', 'empty, expected a name')
    """
    if not (normal := normal_name(name)):
        return "empty, expected a name"
    if not printable(normal):
        return "letters that cannot be printed, expected a name of one line"
    return ""


def has_lone_surrogate(text: str) -> bool:
    """Whether a text cannot be written as UTF-8: JSON's escapes can spell one half of a surrogate pair alone.

    Examples:
        >>> [text for text in ("a chair", "half a chair \\ud83e") if not has_lone_surrogate(text)]
        ['a chair']
    """
    return any("\ud800" <= letter <= "\udfff" for letter in text)


def read_landmarks(path: str | Path | None = None) -> Landmarks:
    """Read and check a landmark file; without a path the one that comes with cmah.

    Returns:
        The descriptions by category, a `dict` with the file's aliases as an attribute.

    Raises:
        CmahError: naming file, category and what was expected.

    Examples:
        >>> len(read_landmarks())
        85
    """
    if path is None:
        return _shipped()
    require_file(path, "expected a landmark file, as `cmah landmarks --out` writes it")
    if (size := Path(path).stat().st_size) > LARGEST_FILE:
        raise CmahError(f"{path}: {size} bytes, expected a landmark file of at most {LARGEST_FILE}")
    return _checked(read_json(path), str(path))


def known_landmarks(path: str | Path | None = None) -> Landmarks:
    """The landmarks that come with cmah, overridden by those of a file for the categories that the file has.

    Raises:
        CmahError: see `read_landmarks`.

    Examples:
        >>> write_landmarks("mine.json", {"chair": ["a chair with four legs"]})
        >>> known = known_landmarks("mine.json")
        >>> len(known), known["chair"]
        (85, ['a chair with four legs'])
    """
    mine, shipped = read_landmarks(path) if path else Landmarks(), _shipped()
    return Landmarks({**shipped, **mine}, {**shipped.aliases, **mine.aliases})


@cache
def _shipped() -> Landmarks:
    return _checked(read_json(SHIPPED), str(SHIPPED))


def landmarks_of(category: str, landmarks: Mapping[str, list[str]]) -> list[str]:
    """The descriptions of a category, looked up by its name in any spelling or by an alias.

    The aliases of `landmarks` come first, then those of the file that comes with cmah.

    Raises:
        CmahError: if there are none, with the names that come near.

    Examples:
        >>> mine = Landmarks({"chair": ["a chair with four legs"]}, aliases={"recliner": "chair"})
        >>> landmarks_of("Recliner", mine)
        ['a chair with four legs']
        >>> landmarks_of("chairs", mine)
        Traceback (most recent call last):
        cmah.errors.CmahError: no landmarks for the category 'chairs' (near: chair); ...
    """
    name = normal_name(category)
    if name in landmarks:
        return landmarks[name]
    for aliases in (getattr(landmarks, "aliases", {}), _shipped().aliases):
        if aliases.get(name) in landmarks:
            return landmarks[aliases[name]]
    near = difflib.get_close_matches(name, landmarks, n=3, cutoff=0.6)
    hint = f" (near: {', '.join(near)})" if near else ""
    raise CmahError(
        f"no landmarks for the category {category!r}{hint}; `cmah landmarks --category` tells how to get them"
    )


def write_landmarks(
    path: str | Path, landmarks: Mapping[str, list[str]], aliases: Mapping[str, str] | None = None
) -> None:
    """Write a landmark file, whole or not at all; aliases default to those of the landmarks.

    Raises:
        CmahError: if `read_landmarks` would refuse the file, or it cannot be written.

    Examples:
        >>> write_landmarks("phones.json", {"Cell_Phone": ["a phone with a hinge"]}, {"mobile": "cell phone"})
        >>> read_landmarks("phones.json"), read_landmarks("phones.json").aliases
        ({'cell phone': ['a phone with a hinge']}, {'mobile': 'cell phone'})
    """
    value: dict[str, Any] = {"format": FORMAT, "version": VERSION, "categories": dict(landmarks)}
    if aliases := getattr(landmarks, "aliases", {}) if aliases is None else aliases:
        value["aliases"] = dict(aliases)
    _checked(value, str(path))
    write_json(path, value)


def _checked(value: Any, path: str) -> Landmarks:
    """The content of a landmark file, or a CmahError that says what is wrong with it."""
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise CmahError(f'{path}: not a landmark file, expected an object with "format": "{FORMAT}"')
    if value.get("version") != VERSION:
        raise CmahError(f"{path}: version {shown(value.get('version'))}, expected {VERSION}")
    if unknown := sorted(value.keys() - {"format", "version", "categories", "aliases"}):
        raise CmahError(f"{path}: unknown key {unknown[0]!r}, expected categories or aliases")
    categories: Any = value.get("categories")
    aliases: Any = value.get("aliases", {})
    for key, table in (("categories", categories), ("aliases", aliases)):
        if not isinstance(table, dict):
            raise CmahError(f"{path}: {key}: expected an object")
    landmarks = Landmarks()
    for category, descriptions in categories.items():
        place, name = f"{path}: category {category!r}", normal_name(category)
        if fault := name_fault(category):
            raise CmahError(f"{place}: {fault}")
        if name in landmarks:
            raise CmahError(f"{place}: there already, expected a name that no other category has")
        _check_descriptions(descriptions, place)
        landmarks[name] = list(descriptions)
    for alias, category in aliases.items():
        name = normal_name(alias)
        if not isinstance(category, str) or normal_name(category) not in landmarks:
            raise CmahError(f"{path}: alias {alias!r}: expected the name of a category of the file")
        if not name or name in landmarks:
            raise CmahError(f"{path}: alias {alias!r}: expected a name that is not a category's")
        landmarks.aliases[name] = normal_name(category)
    return landmarks


def _check_descriptions(descriptions: Any, place: str) -> None:
    """Refuse what is not a list of different texts; `place` names file and category."""
    if not isinstance(descriptions, list) or not descriptions:
        raise CmahError(f"{place}: expected a list of one or more descriptions")
    seen = set()
    for number, text in enumerate(descriptions, 1):
        if not isinstance(text, str) or not 0 < len(text.strip()) <= LARGEST_DESCRIPTION:
            raise CmahError(
                f"{place}: description {number}: expected a text of 1 to {LARGEST_DESCRIPTION} characters"
            )
        if has_lone_surrogate(text):
            raise CmahError(f"{place}: description {number}: a lone surrogate, expected whole characters")
        if text in seen:
            raise CmahError(f"{place}: {text!r} is a duplicate, expected different descriptions")
        seen.add(text)
