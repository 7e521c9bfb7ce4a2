"""Options and parameter types that several commands share."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from pathlib import Path

    from cmah.codes import BinaryCodes, Embeddings

F = TypeVar("F", bound=Callable[..., Any])


class Numbers(click.ParamType):
    """Numbers separated by commas, such as 16,32 or 1e6,1e7; an option of this type gives a tuple.

    Args:
        minimum: the least number that is accepted; None for any.
        whole: accept whole numbers only and give ints, and () for an empty text; else floats.
    """

    name = "numbers"

    def __init__(self, minimum: float | None = None, *, whole: bool = True) -> None:
        self.minimum, self.whole = minimum, whole

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """What stands for the value in a help text."""
        return "N,N,…"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...] | tuple[float, ...]:
        """Turn "16,32" into (16, 32)."""
        if isinstance(value, tuple):
            return value
        text = str(value)
        kind = "whole numbers" if self.whole else "numbers"
        if self.whole and not text:
            return ()
        try:
            numbers = [_number(part, self.whole) for part in text.split(",")]
        except (ValueError, OverflowError):
            example = "16,32" if self.whole else "0,20.5"
            self.fail(f"{text!r}, expected {kind} such as {example}, separated by commas", param, ctx)
        if self.whole and any(number != int(number) for number in numbers):
            bound = "" if self.minimum is None else f", {self.minimum:g} or more"
            self.fail(f"{text!r}, expected {kind}{bound}", param, ctx)
        if self.minimum is not None and min(numbers) < self.minimum:
            self.fail(f"{text!r}, expected {kind}, {self.minimum:g} or more", param, ctx)
        return tuple(map(int, numbers)) if self.whole else tuple(numbers)


class GivenPath(click.Path):
    """A path: any text but an empty one, which an unset variable of a shell leaves, and no URL.

    Whether it can be read is seen later, so that what the system says against it is the same line in every command.

    Args:
        path_type: what the value becomes; None for text.
    """

    def __init__(self, path_type: type[Any] | None = Path) -> None:
        super().__init__(path_type=path_type, readable=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path."""
        if value in ("", b""):
            self.fail("an empty text, expected a path", param, ctx)
        from cmah.errors import CmahError
        from cmah.file_names import refuse_url

        try:
            refuse_url(value)
        except CmahError as error:
            self.fail(str(error), param, ctx)
        return super().convert(value, param, ctx)


class GivenNumber(click.FloatRange):
    """A number in a range, which nan is not."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number."""
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail("nan, expected a number", param, ctx)
        return number


def strict(command: click.Command) -> click.Command:
    """The command, with `GivenPath` and `GivenNumber` for click's own types, which let more pass."""
    for parameter in command.params:
        given = parameter.type
        if isinstance(given, click.Path) and not given.exists:
            parameter.type = GivenPath(given.type)
        elif isinstance(given, click.FloatRange):
            parameter.type = GivenNumber(given.min, given.max, given.min_open, given.max_open, given.clamp)
    return command


def checked(check: Callable[[Any], object]) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """A callback for an option or argument: what a check of the library refuses is a wrong value of it.

    Args:
        check: raises a CmahError for a value that cannot be used; it is not called where none is given.
    """

    def callback(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
        from cmah.errors import CmahError

        if value is not None:
            try:
                check(value)
            except CmahError as error:
                raise click.BadParameter(str(error), ctx, param) from None
        return value

    return callback


def _number(text: str, whole: bool) -> int | float:
    """A number from text; whole ones may be of any size, and be written as 1e6."""
    if not whole:
        return float(text)
    try:
        return int(text)
    except ValueError:
        number = float(text)
        int(number)  # infinite and NaN are no numbers here
        return number


device = click.option(
    "--device",
    default="auto",
    show_default=True,
    help="Device to compute on: auto (CUDA where there is one), cpu, cuda or cuda:N.",
)
verify = click.option(
    "--verify",
    is_flag=True,
    help="Read weights files anew instead of trusting the digests that the cache remembers.",
)
json_output = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")


def encoding(command: F) -> F:
    """Options of commands that encode a dataset with a run: device, workers, settings, verify."""
    options = (
        device,
        click.option(
            "--workers",
            default=2,
            show_default=True,
            type=click.IntRange(0, 256),
            help="Number of processes that decode images; 0 decodes them in the main process.",
        ),
        click.option(
            "--set",
            "settings",
            multiple=True,
            metavar="KEY=VALUE",
            help="Change a setting of the run's model, such as model.image_weights=FILE for weights that have moved.",
        ),
        verify,
    )
    for option in reversed(options):
        command = option(command)
    return command


def echo_skipped_count(skipped: Sequence[tuple[str, str]], listed: "Path") -> None:
    """Print on standard error how many files were skipped, and why the first was.

    Args:
        skipped: (path or id, reason) of each; shapes without points have had their line before.
        listed: the file that lists them all.
    """
    from cmah.data.dataset import NO_POINTS

    reasons = [reason for _, reason in skipped if reason != NO_POINTS]
    if reasons:
        first = "; the first" if len(reasons) > 1 else ""
        click.echo(f"{len(reasons)} skipped, listed in {listed}{first}: {reasons[0]}", err=True)


def has_evaluated_split(query: "BinaryCodes | Embeddings", database: "BinaryCodes | Embeddings") -> bool:
    """Whether cmah eval of these, without --splits, would measure more than what was trained on."""
    from cmah.codes.split_counts import split_counts
    from cmah.errors import CodesError
    from cmah.evaluation.split_choice import choose_splits

    try:
        choose_splits(split_counts(query.splits), split_counts(database.splits))
    except CodesError:
        return False
    return True


def echo_skipped(skipped: Sequence[tuple[str, str]]) -> None:
    """Print why each file was skipped, on standard error; shapes without points have had their one line before.

    Args:
        skipped: (path or id, reason) of each.
    """
    from cmah.data.dataset import NO_POINTS

    for _, reason in skipped:
        if reason != NO_POINTS:
            click.echo(f"skipped {reason}", err=True)
