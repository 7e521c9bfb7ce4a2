"""cmah info: what a path holds."""

import json
import re
from pathlib import Path
from typing import Any

import click

SHOWN = 3  # faults of a kind


@click.command("info")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--verify", is_flag=True, help="Check every checksum of an index, which reads all of it.")
@click.option(
    "--check",
    is_flag=True,
    help="Open every file of points, picture and mask that a dataset names, and list what is wrong with them.",
)
@click.option("--all", "every", is_flag=True, help="List every fault, not only the first three of each kind.")
@click.option("--json", "as_json", is_flag=True, help="Print the description, with every fault, as JSON.")
def info(path: Path, verify: bool, check: bool, every: bool, as_json: bool) -> None:
    """Describe PATH: a dataset folder, a run folder, a code or embedding file or a folder of them, or an index.

    What is wrong with a dataset or a run is counted and listed: rows of its tables, and files that are not there.
    """
    from cmah.errors import CmahError, DatasetError
    from cmah.runs.describing import describe

    description = describe(path, verify=verify, check=check)
    faults = description.get("faults", [])
    if as_json:
        click.echo(json.dumps(description, indent=1))
    else:
        if len(faults) == 1 and len(description) == 2:  # one row of a table, and no more is known
            raise DatasetError(faults)
        _print({name: value for name, value in description.items() if name != "faults"})
        for line in faults if every else _first_of_each_kind(faults):
            click.echo(line, err=True)
        if check and not faults:
            click.echo("every file can be read")
    if faults:
        raise CmahError(f"{path}: {len(faults)} of its files or rows are at fault")


def _first_of_each_kind(faults: list[str]) -> list[str]:
    """The first faults of each kind, with how many more there are: those that differ in names and numbers alone."""
    kinds: dict[str, list[str]] = {}
    for fault in faults:
        kinds.setdefault(re.sub(r"'[^']*'|\"[^\"]*\"|[^\s:]*/[^\s:]*|\d+", "", fault), []).append(fault)
    lines = []
    for same in kinds.values():
        lines += same[:SHOWN]
        if more := len(same) - SHOWN:
            lines += [f"… and {more} more like this (--all lists them)"] * (more > 0)
    return lines


def _print(description: dict[str, Any], indent: str = "") -> None:
    """Names and values in two columns; nested dictionaries are indented, counts stay on one line."""
    width = max((len(name) for name in description), default=0)
    for name, value in description.items():
        if isinstance(value, dict) and value and all(isinstance(count, int) for count in value.values()):
            parts = [f"{key} {count}" for key, count in list(value.items())[:8]]
            more = f", … {len(value) - 8} more" if len(value) > 8 else ""
            click.echo(f"{indent}{name:<{width}}  {', '.join(parts)}{more}")
        elif isinstance(value, dict) and value:
            click.echo(f"{indent}{name}")
            _print(value, indent + "  ")
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list) else "-" if value is None else value
            click.echo(f"{indent}{name:<{width}}  {text}")
