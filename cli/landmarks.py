"""cmah landmarks: which categories have landmarks, and making landmarks for others."""

import json
from collections.abc import Iterable
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from cmah.landmarks import Coverage, Generated


@click.command("landmarks")
@click.option(
    "--dataset",
    type=click.Path(path_type=Path),
    help="Dataset folder whose categories are taken, beside those of --category.",
)
@click.option("--category", "names", multiple=True, help="Name of a category; may be given several times.")
@click.option(
    "--landmarks",
    "file",
    type=click.Path(path_type=Path),
    help="Landmark file to look in before the one that comes with cmah.",
)
@click.option(
    "--prompts", "print_prompts", is_flag=True, help="Print what to ask a language model about each category."
)
@click.option(
    "--answers",
    type=click.Path(path_type=Path),
    help="JSON file with a language model's answers to read: category to a list of texts or to a whole answer.",
)
@click.option(
    "--endpoint",
    help="Chat endpoint to ask, such as https://HOST/v1 or http://localhost:8080/v1; needs the extra `chat`.",
)
@click.option("--model", help="Name by which the endpoint knows the language model.")
@click.option(
    "--key-env",
    help="Environment variable that holds the endpoint's key; "
    '"" sends no key.  [default: OPENAI_API_KEY, if set]',
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.1),
    default=120.0,
    show_default=True,
    help="Seconds to wait for the endpoint before a try counts as failed.",
)
@click.option(
    "--count",
    type=click.IntRange(1, 4096),
    default=128,
    show_default=True,
    help="Number of descriptions that each category shall have.",
)
@click.option(
    "--metadata",
    default="",
    help="A sentence or two about the shapes that the prompt passes on.  [default: none]",
)
@click.option("--out", type=click.Path(path_type=Path), help="Landmark file to write or extend.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def landmarks(
    dataset: Path | None,
    names: tuple[str, ...],
    file: Path | None,
    print_prompts: bool,
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
    """Show which categories have landmarks, and make landmarks for others.

    Landmarks are texts on the structure of single objects; `cmah train` compares shapes of one category by them. For
    categories without landmarks, put --prompts to any language model and read its --answers, or let --endpoint do
    both. What the file of --out already holds is kept, and a job that was stopped goes on where it was.
    """
    from cmah.errors import CmahError
    from cmah.landmarks import ask_endpoint, landmark_coverage, prompts, take_answers
    from cmah.landmarks.chat import Chat
    from cmah.landmarks.generating import require_categories

    if sum(map(bool, (print_prompts, answers, endpoint))) > 1:
        raise click.UsageError("--prompts, --answers and --endpoint exclude each other")
    if (answers or endpoint) and out is None:
        raise click.UsageError("--out is missing: the landmark file to write or extend")
    if out is not None and not (answers or endpoint):
        raise click.UsageError("--out goes with --answers or --endpoint")
    if bool(endpoint) != bool(model):
        raise click.UsageError("--endpoint and --model go together")
    categories = [*names, *(_categories_of(dataset) if dataset else ())]
    if print_prompts or endpoint:
        try:
            require_categories(categories)
        except CmahError as error:
            raise click.UsageError(str(error)) from None
    if print_prompts:
        questions = prompts(categories, count, metadata)
        if as_json:
            click.echo(json.dumps(questions, indent=1, ensure_ascii=False))
        else:
            click.echo("\n\n".join(f"# {name}\n{question}" for name, question in questions.items()))
    elif answers and out:
        _print_generated(take_answers(answers, out, categories), out, count, as_json)
    elif endpoint and model and out:
        chat = Chat.from_environment(endpoint, model, key_env, timeout)
        _print_generated(ask_endpoint(chat, out, categories, count, metadata), out, count, as_json)
    else:
        _print_coverage(landmark_coverage(categories, file), bool(categories), as_json)


def _categories_of(dataset: Path) -> list[str]:
    from cmah.data.dataset import Dataset
    from cmah.errors import DatasetError

    categories = sorted({shape.category for shape in Dataset.read(dataset).shapes} - {""})
    if not categories:
        raise DatasetError([f"{dataset / 'shapes.csv'}: no shape has a category"])
    return categories


def _print_generated(done: "Generated", out: Path, count: int, as_json: bool) -> None:
    """What was written on standard output; what was not, and why, on standard error."""
    counts = {name: len(done.landmarks[name]) for name in done.categories if name in done.landmarks}
    if as_json:
        dropped = [{"text": text, "reason": reason} for text, reason in done.dropped]
        result = {"out": str(out), "categories": counts, "failed": done.failed, "dropped": dropped}
        click.echo(json.dumps(result, indent=1, ensure_ascii=False))
        return
    descriptions = sum(map(len, done.landmarks.values()))
    click.echo(f"{out}  {len(done.landmarks)} categories, {descriptions} descriptions")
    if short := [f"{name} {number}" for name, number in counts.items() if number < count]:
        click.echo(f"fewer than {count} (ask again to go on): {_first_names(short)}")
    if done.dropped:
        text, reason = done.dropped[0]
        click.echo(f"{len(done.dropped)} left out, such as {text[:80]!r} ({reason})", err=True)
    for name, reason in done.failed.items():
        click.echo(f"{name}: {reason}", err=True)


def _print_coverage(coverage: "Coverage", asked: bool, as_json: bool) -> None:
    """Which categories have landmarks, and what to do for the others."""
    covered, missing = coverage.covered, coverage.missing
    if as_json:
        click.echo(json.dumps({"covered": covered, "missing": missing}, indent=1, ensure_ascii=False))
        return
    for name, number in covered.items():
        click.echo(f"{name:<{max(map(len, covered))}}  {number}")
    if asked:
        click.echo(f"{len(covered)} of {len(covered) + len(missing)} categories have landmarks")
    if missing:
        options = " ".join(f"--category {quote(name)}" for name in missing[:3])
        options += " …" if len(missing) > 3 else ""
        click.echo(f"without: {_first_names(missing)}")
        click.echo(
            f"next: cmah landmarks {options} --prompts, put them to a language model, then --answers FILE.json"
        )
        click.echo("      --out mine.json; or --endpoint URL --model NAME --out mine.json, which does both")


def _first_names(names: Iterable[str]) -> str:
    """The first twenty names, between commas."""
    names = list(names)
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
