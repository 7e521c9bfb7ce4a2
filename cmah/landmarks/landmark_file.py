"""Landmarks: texts that say what one object of a category can look like, in form and parts.

The similarity of two shapes of one category "through language" (Sbrolli & Matteucci, arXiv 2406.02202) compares how
near each lies to the landmarks of the category in an image-text space. The landmarks of that paper were not
published; those in landmarks.json were written for cmah, and `cmah landmarks` makes more for other categories.

    {"format": "cmah-landmarks", "version": 1,
     "categories": {"chair": ["a chair with …", …], …},
     "aliases": {"armchair": "chair", …}}

Every description is about structure: colour, material and texture belong to one object, not to its shape.
"""

import difflib
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from cmah.errors import CmahError
from cmah.files import read_json, require_file, write_json

FORMAT, VERSION = "cmah-landmarks", 1
SHIPPED = Path(__file__).with_name("landmarks.json")
# 512 descriptions each of 1,000 categories take half of this
LARGEST_FILE = 1 << 27
LARGEST_DESCRIPTION = 500  # characters
ROUNDS = 5  # questions for one category
WORDS = (4, 40)  # text encoders such as CLIP's read 77 tokens, and a word is seldom more than one and a half

COLOURS = """beige black blackish blond blonde blue bluish bronze brown brownish burgundy color colored
    colorful colors colour coloured colourful colours copper crimson cyan dark gold golden gray grayish green
    greenish grey greyish indigo ivory khaki magenta maroon monochrome multicolored multicoloured orange pale
    pink purple red reddish scarlet silver silvery tan teal turquoise violet white whitish yellow yellowish"""
MATERIALS = """acrylic alloy aluminium aluminum bamboo brass canvas cardboard ceramic chrome clay cloth
    concrete cork cotton denim earthenware enamel fabric fiberglass fibreglass fleece foam glass granite iron
    latex leather linen mahogany marble metal metallic nylon oak paper plaster plastic plywood polyester
    porcelain rattan resin rubber silicone silk stainless steel stone stoneware suede teak terracotta textile
    timber tin titanium velvet vinyl walnut wicker wood wooden wool woolen woollen"""
TEXTURES = """brushed checkered dotted fluffy fur furry fuzzy glossy grainy knitted lacquered matt matte
    mottled painted patterned plaid polished rusted rusty shiny speckled spotted striped texture textured
    textures translucent transparent varnished weathered woven"""
FORBIDDEN: dict[str, str] = {
    word: kind
    for kind, words in (("colour", COLOURS), ("material", MATERIALS), ("texture", TEXTURES))
    for word in words.split()
}
"""Words that no landmark may hold, each with what it tells of: "colour", "material" or "texture"."""


class Landmarks(dict[str, list[str]]):
    """The descriptions of each category by its name in normal form, in the order of the file.

    Attributes:
        aliases: other names in normal form, each with the category it stands for.
    """

    def __init__(
        self, categories: Mapping[str, list[str]] | None = None, aliases: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(categories or {})
        self.aliases = dict(aliases or {})


def normal_name(name: str) -> str:
    """The form in which names are compared: lower case, single spaces for underscores and hyphens."""
    return " ".join(re.sub(r"[_\-\s]+", " ", name).lower().split())


def read_landmarks(path: str | Path | None = None) -> Landmarks:
    """Read and check a landmark file; without a path the one that comes with cmah.

    Returns:
        The descriptions by category, a `dict` with the file's aliases as an attribute.

    Raises:
        CmahError: naming file, category and what was expected.
    """
    if path is None:
        return _shipped()
    require_file(path, "expected a landmark file, as `cmah landmarks --out` writes it")
    if (size := Path(path).stat().st_size) > LARGEST_FILE:
        raise CmahError(f"{path}: {size} bytes, expected a landmark file of at most {LARGEST_FILE}")
    return _checked(read_json(path), str(path))


def known_landmarks(path: str | Path | None = None) -> Landmarks:
    """The landmarks that come with cmah, those of a file before them: its categories count where both have one.

    Raises:
        CmahError: see `read_landmarks`.
    """
    own, shipped = read_landmarks(path) if path else Landmarks(), _shipped()
    return Landmarks({**shipped, **own}, {**shipped.aliases, **own.aliases})


@cache
def _shipped() -> Landmarks:
    return _checked(read_json(SHIPPED), str(SHIPPED))


def landmarks_of(category: str, landmarks: Mapping[str, list[str]]) -> list[str]:
    """The descriptions of a category, found by its name in any spelling or by an alias.

    Aliases are those of the landmarks, and after them those that come with cmah.

    Raises:
        CmahError: if there are none, with the names that come near.
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
        raise CmahError(f"{path}: version {value.get('version')!r}, expected {VERSION}")
    if unknown := sorted(value.keys() - {"format", "version", "categories", "aliases"}):
        raise CmahError(f"{path}: unknown key {unknown[0]!r}, expected categories or aliases")
    categories: Any = value.get("categories")
    aliases: Any = value.get("aliases", {})
    for key, table in (("categories", categories), ("aliases", aliases)):
        if not isinstance(table, dict):
            raise CmahError(f"{path}: {key}: expected an object")
    found = Landmarks()
    for category, descriptions in categories.items():
        place = f"{path}: category {category!r}"
        if not printable(normal_name(category)):
            raise CmahError(f"{place}: letters that cannot be printed, expected a name of one line")
        if not (name := normal_name(category)) or name in found:
            raise CmahError(f"{place}: {'there already' if name else 'empty'}, expected a name of its own")
        _check_descriptions(descriptions, place)
        found[name] = list(descriptions)
    for alias, category in aliases.items():
        name = normal_name(alias)
        if not isinstance(category, str) or normal_name(category) not in found:
            raise CmahError(f"{path}: alias {alias!r}: expected the name of a category of the file")
        if not name or name in found:
            raise CmahError(f"{path}: alias {alias!r}: expected a name that is not a category's")
        found.aliases[name] = normal_name(category)
    return found


def _check_descriptions(descriptions: Any, place: str) -> None:
    """Refuse what is no list of different texts; `place` names file and category."""
    if not isinstance(descriptions, list) or not descriptions:
        raise CmahError(f"{place}: expected a list of one or more descriptions")
    seen = set()
    for number, text in enumerate(descriptions, 1):
        if not isinstance(text, str) or not 0 < len(text.strip()) <= LARGEST_DESCRIPTION:
            raise CmahError(
                f"{place}: description {number}: expected a text of 1 to {LARGEST_DESCRIPTION} characters"
            )
        if not _writable(text):
            raise CmahError(
                f"{place}: description {number}: half of a surrogate pair, expected whole letters"
            )
        if text in seen:
            raise CmahError(f"{place}: {text!r} stands there twice, expected different descriptions")
        seen.add(text)


def prompt(category: str, count: int, metadata: str = "", known: Sequence[str] = ()) -> str:
    """What to ask a language model for landmarks (arXiv 2406.02202 gives the gist, not the words).

    Args:
        category: what is to be described.
        count: how many descriptions to ask for.
        metadata: what is known of the shapes, in a sentence or two; may be empty.
        known: descriptions that are there already, not to be given again.
    """
    name = normal_name(category)
    article = "an" if name[:1] in "aeiou" else "a"
    lines = [
        f'Write {count} different descriptions of single objects of the category "{name}".',
        "Each describes one such object by its structure alone: which parts it has, how many, their form, "
        "proportions and arrangement, and the outline of the whole.",
        "Leave out colour, material, surface texture, brand, surroundings and lighting.",
        "Together they should cover the ways in which objects of this category differ from each other, the usual "
        "and the rare; no two may describe the same structure in other words.",
        f"Each is one English phrase of 6 to 25 words that begins with the object, such as "
        f'"{article} {name} with …".',
    ]
    if metadata:
        lines.append(f"What is known of these objects: {' '.join(metadata.split())}")
    if known:
        lines.append(f"Do not repeat these: {json.dumps(list(known), ensure_ascii=False)}")
    lines.append(f"Answer with a JSON list of {count} strings and nothing else.")
    return "\n".join(lines)


def parse_answer(text: str) -> list[str]:
    """The descriptions in an answer: of a JSON list anywhere in it, else of its numbered, bulleted or quoted lines.

    A list that was cut off gives its whole lines. Nothing found: an empty list.
    """
    decoder = json.JSONDecoder()
    # an opening bracket of prose is no list; few are tried, for each may cost a pass over the text
    for start in [match.start() for match in re.finditer(r"\[", text)][:50]:
        try:
            found, _ = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        if found and all(isinstance(item, str) for item in found):
            return [item.strip() for item in found]
    lines = []
    for line in text.splitlines():
        if numbered := re.match(r"\s*(?:\d+\s*[.):]|[-*•])\s+(\S.*)", line):
            lines.append(numbered[1].strip().strip('"').strip())
        elif quoted := re.match(r'\s*\[?\s*("(?:[^"\\]|\\.)+")\s*,?\s*\]?\s*$', line):
            try:
                lines.append(json.loads(quoted[1]).strip())
            except ValueError:
                continue
    return lines


def clean(descriptions: Iterable[str], known: Iterable[str] = ()) -> tuple[list[str], list[tuple[str, str]]]:
    """Keep what can be a landmark.

    Args:
        descriptions: as a language model gave them.
        known: descriptions that are there already; one that says the same is a duplicate.

    Returns:
        Those kept, in order, with single spaces and without a full stop; and those dropped, each with the reason.
    """
    kept: list[str] = []
    dropped: list[tuple[str, str]] = []
    seen = {_plain(text) for text in known}
    for description in descriptions:
        text = " ".join(description.split()).rstrip(".").strip()
        words = _plain(text).split()
        told = next((word for word in words if word in FORBIDDEN), None)
        if not _writable(text):
            dropped.append((ascii(text), "half of a surrogate pair"))
        elif told is not None:
            dropped.append((text, f"{FORBIDDEN[told]}: {told}"))
        elif not WORDS[0] <= len(words) <= WORDS[1] or len(text) > LARGEST_DESCRIPTION:
            dropped.append((text, f"{len(words)} words, expected {WORDS[0]} to {WORDS[1]}"))
        elif " ".join(words) in seen:
            dropped.append((text, "duplicate"))
        else:
            seen.add(" ".join(words))
            kept.append(text)
    return kept, dropped


def ask_for(
    ask: Callable[[str], str], category: str, count: int, metadata: str = "", known: Iterable[str] = ()
) -> Iterator[tuple[list[str], list[tuple[str, str]]]]:
    """Ask a language model until a category has `count` landmarks, at most ROUNDS times.

    Args:
        ask: gives the answer to a prompt.
        category: what is to be described.
        count: how many descriptions it shall have.
        metadata: what is known of the shapes.
        known: those that it has already.

    Yields:
        After each answer the new descriptions, and those dropped with the reason.
    """
    there = list(known)
    for _ in range(ROUNDS):
        if (missing := count - len(there)) <= 0:
            return
        kept, dropped = clean(parse_answer(ask(prompt(category, missing, metadata, there))), there)
        there += kept[:missing]
        yield kept[:missing], dropped


def printable(name: str) -> bool:
    """Whether a name has no control characters and no halves of letters."""
    return not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name)


def _writable(text: str) -> bool:
    """Whether a text can be written as UTF-8; JSON's escapes can spell halves of letters, which cannot."""
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _plain(text: str) -> str:
    """The words of a text in lower case, without punctuation, between single spaces."""
    return " ".join(re.findall(r"[^\W_]+", text.lower()))
