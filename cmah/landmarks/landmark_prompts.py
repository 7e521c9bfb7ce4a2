"""What to ask a language model for landmarks, and what of its answers can be one.

Every description is about structure: colour, material and texture belong to one object, not to its shape.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from cmah.landmarks.landmark_file import LARGEST_DESCRIPTION, has_lone_surrogate, normal_name

ROUNDS = 5  # questions about one category
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
    word: subject
    for subject, words in (("colour", COLOURS), ("material", MATERIALS), ("texture", TEXTURES))
    for word in words.split()
}
"""Words that no landmark may hold, each with what it speaks of: "colour", "material" or "texture"."""


def prompt(category: str, count: int, metadata: str = "", known: Sequence[str] = ()) -> str:
    """What to ask a language model for landmarks, after the gist of arXiv 2406.02202, which does not print its prompt.

    Args:
        category: the category whose objects are to be described.
        count: how many descriptions to ask for.
        metadata: a sentence or two about the shapes, for the model; may be empty.
        known: existing descriptions, which the model is asked not to repeat.

    Examples:
        >>> print(prompt("Ice_Axe", 3, known=["an ice axe with a long shaft"]))
        Write 3 different descriptions of single objects of the category "ice axe".
        ...begins with the object, such as "an ice axe with …".
        Do not repeat these: ["an ice axe with a long shaft"]
        Answer with a JSON list of 3 strings and nothing else.
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
    """The descriptions in an answer: those of a JSON list anywhere in it, else its numbered, bulleted or quoted lines.

    A list that was cut off gives the lines that are whole. An answer without any list gives an empty one.

    Examples:
        >>> parse_answer("Here you are:\\n1. a chair with arms\\n2. a chair on runners")
        ['a chair with arms', 'a chair on runners']
    """
    decoder = json.JSONDecoder()
    # an opening bracket in prose is no list; few are tried, as each may cost a pass over the text
    for start in [match.start() for match in re.finditer(r"\[", text)][:50]:
        try:
            value, _ = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        if value and all(isinstance(item, str) for item in value):
            return [item.strip() for item in value]
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
    """Keep the descriptions that can be landmarks.

    Args:
        descriptions: as a language model gave them.
        known: existing descriptions; a new one of the same words is a duplicate.

    Returns:
        Those kept, in order, with single spaces and without a full stop; and those dropped, each with the reason.

    Examples:
        >>> clean(["a chair with four legs.", "a red chair with arms"])
        (['a chair with four legs'], [('a red chair with arms', 'colour: red')])
    """
    kept: list[str] = []
    dropped: list[tuple[str, str]] = []
    seen = {_bare_words(text) for text in known}
    for description in descriptions:
        text = " ".join(description.split()).rstrip(".").strip()
        words = _bare_words(text).split()
        forbidden = next((word for word in words if word in FORBIDDEN), None)
        if has_lone_surrogate(text):
            dropped.append((ascii(text), "lone surrogate"))
        elif forbidden is not None:
            dropped.append((text, f"{FORBIDDEN[forbidden]}: {forbidden}"))
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
        category: the category whose objects are to be described.
        count: how many descriptions it shall have in all.
        metadata: a sentence or two about the shapes, for the model; may be empty.
        known: the descriptions that it has already.

    Yields:
        After each answer the new descriptions, and those dropped with the reason.

    Examples:
        A model that gives one description at a time, the first of them with a colour:

        >>> answers = iter(['["a red chair with arms"]', '["a chair with four legs"]'])
        >>> for kept, dropped in ask_for(lambda question: next(answers), "chair", count=1):
        ...     print(kept, dropped)
        [] [('a red chair with arms', 'colour: red')]
        ['a chair with four legs'] []
    """
    have = list(known)
    for _ in range(ROUNDS):
        if (missing := count - len(have)) <= 0:
            return
        kept, dropped = clean(parse_answer(ask(prompt(category, missing, metadata, have))), have)
        have += kept[:missing]
        yield kept[:missing], dropped


def _bare_words(text: str) -> str:
    """The words of a text in lower case, without punctuation, between single spaces."""
    return " ".join(re.findall(r"[^\W_]+", text.lower()))
