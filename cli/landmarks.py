"""cmah landmarks: texts on what objects of a category can look like: which there are, and making more."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from cmah.landmarks import Landmarks
    from cmah.landmarks.chat import Chat

# an endpoint that is down is not asked for each of a hundred categories
UNANSWERED = 3


@click.command("landmarks", short_help="what objects of a category can look like, in words")
@click.option(
    "--dataset", type=click.Path(path_type=Path), help="Take the categories of this dataset folder."
)
@click.option("--category", "names", multiple=True, help="A category; may be given again for others.")
@click.option(
    "--landmarks",
    "file",
    type=click.Path(path_type=Path),
    help="Look in this landmark file before cmah's own.",
)
@click.option("--prompts", is_flag=True, help="Print what to ask a language model.")
@click.option(
    "--answers", type=click.Path(path_type=Path), help="Read answers: JSON, category to list or text."
)
@click.option(
    "--endpoint", help="Ask this chat endpoint, such as https://HOST/v1 or http://localhost:8080/v1."
)
@click.option("--model", help="The model to ask for there.")
@click.option(
    "--key-env", help='Environment variable with the key; "" sends none.  [default: OPENAI_API_KEY, if set]'
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.1),
    default=120.0,
    show_default=True,
    help="Seconds to wait for it.",
)
@click.option(
    "--count",
    type=click.IntRange(1, 4096),
    default=128,
    show_default=True,
    help="Descriptions of each category.",
)
@click.option("--metadata", default="", help="What else is known of the shapes, for the prompt.")
@click.option("--out", type=click.Path(path_type=Path), help="Landmark file to write or extend.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def command(
    dataset: Path | None,
    names: tuple[str, ...],
    file: Path | None,
    prompts: bool,
    answers: Path | None,
    endpoint: str | None,
    model: str | None,
    key_env: str | None,
    timeout: float,
    count: int,
    metadata: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """Say which categories have landmarks, and make landmarks for others.

    Landmarks describe the structure of single objects; `cmah train` compares shapes of one category by them. For
    categories without, put --prompts to any language model and read its --answers, or let --endpoint do both. What
    --out holds already is kept, and a job that was stopped goes on where it was.
    """
    import json

    from cmah.landmarks import known_landmarks, prompt, read_landmarks
    from cmah.landmarks.chat import Chat

    if sum(map(bool, (prompts, answers, endpoint))) > 1:
        raise click.UsageError("--prompts, --answers and --endpoint exclude each other")
    if (answers or endpoint) and out is None:
        raise click.UsageError("--out is missing: the landmark file to write or extend")
    if out is not None and not (answers or endpoint):
        raise click.UsageError("--out goes with --answers or --endpoint")
    if bool(endpoint) != bool(model):
        raise click.UsageError("--endpoint and --model go together")
    categories = _categories(dataset, names)
    if not categories and (prompts or endpoint):
        raise click.UsageError("of which categories? give --dataset or --category")
    if prompts:
        asked = {name: prompt(name, count, metadata) for name in categories}
        text = json.dumps(asked, indent=1, ensure_ascii=False)
        click.echo(text if as_json else "\n\n".join(f"# {name}\n{words}" for name, words in asked.items()))
    elif out is not None:
        there = read_landmarks(out) if out.exists() else None
        if answers:
            _report(_take(answers, categories, there, out), out, count, as_json)
        elif endpoint and model:
            chat = Chat.from_environment(endpoint, model, key_env, timeout)
            _report(_ask(chat, categories, there, out, count, metadata), out, count, as_json)
    else:
        _coverage(categories, known_landmarks(file), as_json)


def _categories(dataset: Path | None, names: tuple[str, ...]) -> list[str]:
    """The categories asked for, in normal form and each once: those named, then those of the dataset by name."""
    from cmah.landmarks import normal_name

    found = list(names)
    if dataset is not None:
        from cmah.data.dataset import Dataset
        from cmah.errors import DatasetError

        labels = sorted({shape.category for shape in Dataset.read(dataset).shapes} - {""})
        if not labels:
            raise DatasetError([f"{dataset / 'shapes.csv'}: no shape has a category"])
        found += labels
    if not all(normal := [normal_name(name) for name in found]):
        raise click.UsageError("--category: empty, expected a name")
    return list(dict.fromkeys(normal))


def _take(answers: Path, categories: list[str], there: "Landmarks | None", out: Path) -> dict[str, Any]:
    """Read a file of answers; each category is written beside what is there."""
    from cmah.errors import CmahError
    from cmah.files import read_json
    from cmah.landmarks import Landmarks, clean, normal_name, parse_answer, printable, write_landmarks

    if out.exists() and answers.exists() and out.samefile(answers):
        raise CmahError(f"{out}: is read here, expected another name to write")
    given = read_json(answers)
    if not isinstance(given, dict) or not given:
        raise CmahError(
            f"{answers}: expected a JSON object of category to list of texts, or to the text of an answer"
        )
    landmarks = Landmarks() if there is None else Landmarks(there, there.aliases)
    failed: dict[str, str] = {}
    dropped: list[tuple[str, str]] = []
    for name, answer in given.items():
        category = normal_name(name)
        texts = parse_answer(answer) if isinstance(answer, str) else answer
        if not printable(category):
            failed[ascii(category)] = "letters that cannot be printed, expected a name of one line"
            continue
        if not category or not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            failed[category or name] = "expected a list of texts, or the text of an answer"
            continue
        known = landmarks.get(category, [])
        kept, bad = clean(texts, known)
        dropped += bad
        if kept or known:
            landmarks[category] = known + kept
        else:
            failed[category] = "no description that can be used"
    failed |= {
        name: "no answer in the file" for name in categories if name not in landmarks and name not in failed
    }
    if any(landmarks.get(normal_name(name)) for name in given):
        write_landmarks(out, landmarks, _free(landmarks))
    return {
        "categories": [normal_name(name) for name in given],
        "failed": failed,
        "dropped": dropped,
        "all": landmarks,
    }


def _ask(
    chat: "Chat", categories: list[str], there: "Landmarks | None", out: Path, count: int, metadata: str
) -> dict[str, Any]:
    """Ask for each category; what came is written after each answer."""
    from cmah.landmarks import Landmarks, ask_for, write_landmarks
    from cmah.landmarks.chat import ChatError
    from cmah.progress import progress

    landmarks = Landmarks() if there is None else Landmarks(there, there.aliases)
    failed: dict[str, str] = {}
    dropped: list[tuple[str, str]] = []
    silent = 0
    for number, category in enumerate(bar := progress(categories, "landmarks", unit="category")):
        bar.set_postfix_str(category)
        try:
            for kept, bad in ask_for(chat.ask, category, count, metadata, landmarks.get(category, [])):
                silent = 0
                dropped += bad
                if kept:
                    landmarks[category] = landmarks.get(category, []) + kept
                    write_landmarks(out, landmarks, _free(landmarks))
        except ChatError as error:
            failed[category] = str(error)
            silent += 1
            if error.final or silent == UNANSWERED:
                rest = [name for name in categories[number + 1 :] if len(landmarks.get(name, [])) < count]
                failed |= dict.fromkeys(rest, "not asked after that")
                break
        if category not in landmarks and category not in failed:
            failed[category] = "no answer held a description that can be used"
    return {"categories": categories, "failed": failed, "dropped": dropped, "all": landmarks}


def _free(landmarks: "Landmarks") -> dict[str, str]:
    """The aliases that no category has taken as its name."""
    return {alias: name for alias, name in landmarks.aliases.items() if alias not in landmarks}


def _report(done: dict[str, Any], out: Path, count: int, as_json: bool) -> None:
    """What was written, what was not and why; an error if nothing was there to write."""
    import json

    from cmah.errors import CmahError

    landmarks, failed, dropped = done["all"], done["failed"], done["dropped"]
    counts = {name: len(landmarks[name]) for name in done["categories"] if name in landmarks}
    if all(name in failed for name in done["categories"]):
        name, reason = next(iter(failed.items()))
        more = f" (and {len(failed) - 1} more categories)" if len(failed) > 1 else ""
        raise CmahError(f"{out}: no category got its landmarks; {name}: {reason}{more}")
    if as_json:
        found = {"out": str(out), "categories": counts, "failed": failed}
        found["dropped"] = [{"text": text, "reason": reason} for text, reason in dropped]
        click.echo(json.dumps(found, indent=1, ensure_ascii=False))
        return
    click.echo(f"{out}  {len(landmarks)} categories, {sum(map(len, landmarks.values()))} descriptions")
    if short := [f"{name} {number}" for name, number in counts.items() if number < count]:
        click.echo(f"fewer than {count} (ask again to go on): {_list(short)}")
    if dropped:
        click.echo(f"{len(dropped)} left out, such as {dropped[0][0][:80]!r} ({dropped[0][1]})", err=True)
    for name, reason in failed.items():
        click.echo(f"{name}: {reason}", err=True)


def _coverage(categories: list[str], landmarks: "Landmarks", as_json: bool) -> None:
    """Which categories the file covers, and what to do for the others; of none given, all that it holds."""
    import json

    from cmah.errors import CmahError
    from cmah.landmarks import landmarks_of

    covered: dict[str, int] = {}
    for name in categories or landmarks:
        try:
            covered[name] = len(landmarks_of(name, landmarks))
        except CmahError:
            continue
    missing = [name for name in categories if name not in covered]
    if as_json:
        click.echo(json.dumps({"covered": covered, "missing": missing}, indent=1, ensure_ascii=False))
        return
    for name, number in covered.items():
        click.echo(f"{name:<{max(map(len, covered))}}  {number}")
    if categories:
        click.echo(f"{len(covered)} of {len(categories)} categories have landmarks")
    if missing:
        options = " ".join(f'--category "{name}"' for name in missing[:3]) + (
            " …" if len(missing) > 3 else ""
        )
        click.echo(f"without: {_list(missing)}")
        click.echo(
            f"next: cmah landmarks {options} --prompts, put them to a language model, then --answers FILE.json"
        )
        click.echo("      --out mine.json; or --endpoint URL --model NAME --out mine.json, which does both")


def _list(names: Iterable[str]) -> str:
    """Names between commas, the first twenty."""
    names = list(names)
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
