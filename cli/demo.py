"""cmah demo: everything on shapes made on the spot."""

from pathlib import Path

import click


@click.command("demo")
@click.option(
    "--out",
    default="demo",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder for everything that the demo writes.",
)
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(0, 2**32 - 1),
    help="Random seed of the shapes and the training.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON.")
def demo(out: Path, seed: int, as_json: bool) -> None:
    """Make shapes, prepare, train, export, index, evaluate and search, in minutes on a laptop's CPU.

    Each stage names the command that does the same. Everything is kept in OUT; called again, it goes on where it
    was stopped. It ends with OUT/report.html, a page of queries and what they found.
    """
    import json

    from cmah.demo import run_demo

    summary = run_demo(out, seed=seed, report=lambda line: click.echo(line, err=as_json))
    if as_json:
        click.echo(json.dumps(summary, indent=1))
        return
    click.echo(f"\nLook at {summary['report']}. Then, with meshes of your own in MESHES/<category>/:")
    click.echo("  cmah prepare MESHES DATASET")
    click.echo("  cmah train DATASET --out RUN --preset tiny")
    click.echo("  cmah export RUN DATASET --out CODES")
    click.echo("  cmah index CODES/shape.npz shapes.cmah")
    click.echo("  cmah search shapes.cmah --run RUN --dataset DATASET --sheet hits.html photo.jpg")
