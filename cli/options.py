"""Options and parameter types that several commands share."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


class Numbers(click.ParamType):
    """Whole numbers separated by commas, such as 16,32, as a tuple of ints.

    Args:
        minimum: the smallest number that is accepted.
    """

    name = "N,N,…"

    def __init__(self, minimum: int = 1) -> None:
        self.minimum = minimum

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """See the class; an empty text gives no numbers."""
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(int(part) for part in value.split(",")) if value else ()
        except ValueError:
            self.fail(f"{value!r}, expected whole numbers such as 16,32", param, ctx)
        if numbers and min(numbers) < self.minimum:
            self.fail(f"{value!r}, expected numbers of {self.minimum} or more", param, ctx)
        return numbers


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
