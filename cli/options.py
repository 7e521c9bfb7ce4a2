"""Options that several commands have."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

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
