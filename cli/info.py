"""cmah info: what a path holds."""

import json
from pathlib import Path
from typing import Any

import click


@click.command("info")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--verify", is_flag=True, help="Check every checksum of an index, which reads all of it.")
@click.option(
    "--check",
    is_flag=True,
    help="Open every file of points, picture and mask that a dataset names, and list what is wrong with them.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the description as JSON.")
def info(path: Path, verify: bool, check: bool, as_json: bool) -> None:
    """Describe PATH: a dataset folder, a run folder, a code or embedding file, or an index."""
    from cmah.errors import CmahError
    from cmah.runs.describing import describe

    description = describe(path, verify=verify, check=check)
    if as_json:
        click.echo(json.dumps(description, indent=1))
    else:
        _print({name: value for name, value in description.items() if name != "faults"})
        for fault in description.get("faults", []):
            click.echo(fault, err=True)
        if check and not description["faults"]:
            click.echo("every file can be read")
    if description.get("faults"):
        raise CmahError(f"{path}: {len(description['faults'])} of its files or rows are at fault")


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
