"""Options that several commands have."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


class Numbers(click.ParamType):
    """Whole numbers with commas between them, such as 16,32; an empty text is no number.

    Args:
        minimum: the smallest number that is allowed.
    """

    name = "numbers"

    def __init__(self, minimum: int = 1) -> None:
        self.minimum = minimum

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """The numbers of a text."""
        if not value:
            return ()
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(int(part) for part in value.split(","))
        except ValueError:
            self.fail(f"{value!r}, expected whole numbers such as 16,32", param, ctx)
        if min(numbers) < self.minimum:
            self.fail(f"{value!r}, expected {self.minimum} or more", param, ctx)
        return numbers


device = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")


def encoding(command: F) -> F:
    """Of those that encode with a run: device, workers, settings."""
    options = (
        device,
        click.option(
            "--workers",
            default=2,
            show_default=True,
            type=click.IntRange(0, 256),
            help="Processes that decode images.",
        ),
        click.option(
            "--set",
            "settings",
            multiple=True,
            metavar="KEY=VALUE",
            help="Such as model.image_weights=FILE.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command
