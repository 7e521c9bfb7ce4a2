"""Making landmarks: prompts for a language model, its answers from a file or from a chat endpoint, what is missing."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from cmah.errors import CmahError
from cmah.files import require_replaceable
from cmah.landmarks.chat import Chat, ChatError
from cmah.landmarks.landmark_file import (
    FORMAT,
    Landmarks,
    known_landmarks,
    landmarks_of,
    name_fault,
    normal_name,
    printable,
    read_landmarks,
    write_landmarks,
)
from cmah.landmarks.landmark_prompts import ask_for, clean, parse_answer, prompt
from cmah.progress import progress
from cmah.reading import read_json

# an endpoint that is down is not asked about each of a hundred categories
UNANSWERED = 3


@dataclass(frozen=True)
class Generated:
    """What became of the categories that landmarks were made for.

    Attributes:
        categories: those asked for or answered, in normal form.
        landmarks: everything the file holds now.
        failed: the categories that got nothing, or less than was asked for, each with the reason.
        dropped: the descriptions that were left out, each with the reason.

    Examples:
        >>> landmarks = Landmarks({"chair": ["a chair with four legs"]})
        >>> done = Generated(["chair", "lamp"], landmarks, failed={"lamp": "not asked after that"})
        >>> [name for name in done.categories if name not in done.failed]
        ['chair']
    """

    categories: list[str]
    landmarks: Landmarks
    failed: dict[str, str] = field(default_factory=dict)
    dropped: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class Coverage:
    """Which categories have landmarks.

    Attributes:
        covered: category, in normal form, to the number of its landmarks.
        missing: the categories without.

    Examples:
        >>> landmark_coverage(["Chair", "wombat"])
        Coverage(covered={'chair': ...}, missing=['wombat'])
    """

    covered: dict[str, int]
    missing: list[str]


def prompts(categories: Iterable[str], count: int = 128, metadata: str = "") -> dict[str, str]:
    """What to ask a language model about each category; see `prompt`.

    Raises:
        CmahError: if there is no category, or a name is empty or cannot be printed.

    Examples:
        >>> prompts(["Sofa_Bench"], 7)["sofa bench"][:34]
        'Write 7 different descriptions of '
    """
    return {name: prompt(name, count, metadata) for name in require_categories(categories)}


def take_answers(answers: str | Path, out: str | Path, categories: Iterable[str] = ()) -> Generated:
    """Add the answers of a language model to a landmark file; what the file holds is kept.

    Args:
        answers: a JSON object of category to a list of texts, or to the text of a whole answer.
        out: the landmark file to write or extend.
        categories: those that were asked for; one without an answer is listed among the failed.

    Raises:
        CmahError: if a file cannot be read or written, or no category got any landmarks.

    Examples:
        >>> from cmah.files import write_json
        >>> write_json("answers.json", {"Chair": ["a chair with four legs.", "a red chair with arms"]})
        >>> done = take_answers("answers.json", "landmarks.json", ["chair", "lamp"])
        >>> done.landmarks, done.dropped, done.failed
        ({'chair': ['a chair with four legs']}, [('a red chair with arms', 'colour: red')],
        {'lamp': 'no answer in the file'})
    """
    asked, out = _normal_names(categories), Path(out)
    landmarks = _existing(out)
    require_replaceable(out, FORMAT.encode(), [answers])
    given = read_json(answers)
    if not isinstance(given, dict) or not given:
        raise CmahError(
            f"{answers}: expected a JSON object of category to list of texts, or to the text of an answer"
        )
    done = Generated([normal_name(name) for name in given if not name_fault(name)], landmarks)
    for name, answer in given.items():
        category = normal_name(name)
        texts = parse_answer(answer) if isinstance(answer, str) else answer
        if fault := name_fault(name):
            done.failed[name if printable(name) else ascii(name)] = fault
        elif not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            done.failed[category] = "expected a list of texts, or the text of an answer"
        else:
            have = landmarks.get(category, [])
            kept, dropped = clean(texts, have)
            done.dropped.extend(dropped)
            if kept or have:
                landmarks[category] = have + kept
            else:
                done.failed[category] = "no description that can be used"
    for name in asked:
        if name not in landmarks:
            done.failed.setdefault(name, "no answer in the file")
    if any(landmarks.get(category) for category in done.categories):
        _write(out, landmarks)
    return _unless_all_failed(done, out)


def ask_endpoint(
    chat: Chat, out: str | Path, categories: Iterable[str], count: int = 128, metadata: str = ""
) -> Generated:
    """Ask a chat endpoint about each category until it has enough landmarks; the file is written after each answer.

    What the file holds is kept and counts, so that a job that was stopped goes on where it was. The job ends early
    when the endpoint refuses every question (a wrong key) or leaves UNANSWERED of them in a row unanswered.

    Args:
        chat: the endpoint.
        out: the landmark file to write or extend.
        categories: the categories, in any spelling.
        count: how many landmarks each shall have.
        metadata: a sentence or two about the shapes, for the model; may be empty.

    Raises:
        CmahError: if there is no category, the file cannot be read or written, or no category got its landmarks.

    Examples:
        An object that gives one answer stands for a `Chat`:

        >>> from types import SimpleNamespace
        >>> chat = SimpleNamespace(ask=lambda question: '["a chair with four legs"]')
        >>> ask_endpoint(chat, "asked.json", ["Chair"], count=1).landmarks
        {'chair': ['a chair with four legs']}
        >>> read_landmarks("asked.json")
        {'chair': ['a chair with four legs']}
    """
    names, out = require_categories(categories), Path(out)
    landmarks = _existing(out)
    done = Generated(names, landmarks)
    unanswered = 0
    for number, category in enumerate(bar := progress(names, "landmarks", unit="category")):
        bar.set_postfix_str(category)
        try:
            for kept, dropped in ask_for(chat.ask, category, count, metadata, landmarks.get(category, [])):
                unanswered = 0
                done.dropped.extend(dropped)
                if kept:
                    landmarks[category] = landmarks.get(category, []) + kept
                    _write(out, landmarks)
        except ChatError as error:
            done.failed[category] = str(error)
            unanswered += 1
            if error.final or unanswered == UNANSWERED:
                rest = [name for name in names[number + 1 :] if len(landmarks.get(name, [])) < count]
                done.failed.update(dict.fromkeys(rest, "not asked after that"))
                break
        if category not in landmarks and category not in done.failed:
            done.failed[category] = "no answer held a description that can be used"
    return _unless_all_failed(done, out)


def landmark_coverage(categories: Iterable[str] = (), path: str | Path | None = None) -> Coverage:
    """Which categories have landmarks in a file or, after it, in the one that comes with cmah.

    Args:
        categories: the categories, in any spelling; none: all that have landmarks.
        path: a landmark file to look in first.

    Raises:
        CmahError: if the file cannot be read, or a name is empty or cannot be printed.

    Examples:
        >>> landmark_coverage(["wombat"]).missing
        ['wombat']
    """
    names, landmarks = _normal_names(categories), known_landmarks(path)
    covered: dict[str, int] = {}
    missing = []
    for name in names or landmarks:
        try:
            covered[name] = len(landmarks_of(name, landmarks))
        except CmahError:
            missing.append(name)
    return Coverage(covered, missing)


def _normal_names(categories: Iterable[str]) -> list[str]:
    """The names in normal form, each once."""
    names = list(categories)
    for name in names:
        if fault := name_fault(name):
            raise CmahError(f"--category: {fault}")
    return list(dict.fromkeys(map(normal_name, names)))


def require_categories(categories: Iterable[str]) -> list[str]:
    """The names in normal form, each once.

    Raises:
        CmahError: if there is none, or a name is empty or cannot be printed.

    Examples:
        >>> require_categories(["Cell_Phone", "cell phone", "Chair"])
        ['cell phone', 'chair']
    """
    names = _normal_names(categories)
    if not names:
        raise CmahError("of which categories? expected at least one, by --dataset or --category")
    return names


def _existing(out: Path) -> Landmarks:
    """A copy of what the file holds."""
    landmarks = read_landmarks(out) if out.exists() else Landmarks()
    return Landmarks(landmarks, landmarks.aliases)


def _write(out: Path, landmarks: Landmarks) -> None:
    """Write the file without the aliases that a category has taken as its name."""
    aliases = {alias: name for alias, name in landmarks.aliases.items() if alias not in landmarks}
    write_landmarks(out, landmarks, aliases)


def _unless_all_failed(done: Generated, out: Path) -> Generated:
    """What was made; an error if it is nothing."""
    if all(name in done.failed for name in done.categories):
        name, reason = next(iter(done.failed.items()))
        more = f" (and {len(done.failed) - 1} more categories)" if len(done.failed) > 1 else ""
        raise CmahError(f"{out}: no category got its landmarks; {name}: {reason}{more}")
    return done
