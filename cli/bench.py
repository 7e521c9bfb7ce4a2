"""cmah bench: how fast the index is, beside other engines and the machine's ceilings."""

from pathlib import Path
from typing import Any

import click

BITS = (16, 32, 64, 128, 256, 512, 1024)
N = (1_000_000,)


def _numbers(_: click.Context, option: click.Parameter, text: str | None) -> tuple[int, ...]:
    """Whole numbers from text such as 16,32 or 1e6,1e7."""
    if not text:
        return ()
    try:
        numbers = [float(part) for part in text.split(",")]
        whole = tuple(int(number) for number in numbers)
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{text!r}, expected whole numbers such as 16,32 or 1e6", param=option
        ) from None
    if min(whole) < 1 or list(whole) != numbers:
        raise click.BadParameter(f"{text!r}, expected whole numbers, 1 or more", param=option)
    return whole


def _picture(_: click.Context, option: click.Parameter, path: Path | None) -> Path | None:
    if path is not None and path.suffix.lower() not in (".png", ".svg"):
        raise click.BadParameter(f"{path}: expected a name that ends with .png or .svg", param=option)
    return path


@click.command("bench", short_help="how fast the index is, beside other engines")
@click.option(
    "--bits", callback=_numbers, help="Lengths of codes.  [default: 16 to 1024; of a file, its whole]"
)
@click.option(
    "--n", "n", callback=_numbers, help="Numbers of codes, as 1e6,1e7.  [default: 1e6; of a file, all]"
)
@click.option("--queries", default=256, show_default=True, type=click.IntRange(min=1), help="In a call.")
@click.option("-k", "k", default="10", show_default=True, callback=_numbers, help="Neighbours, as 10,100.")
@click.option("--threads", type=click.IntRange(min=1), help="Of every engine.  [default: one a core]")
@click.option("--against", default="faiss,usearch,numpy", show_default=True, help="Engines, where installed.")
@click.option(
    "--data",
    default="random",
    show_default=True,
    metavar="random|clustered|FILE",
    help="Clustered: 1,000 codes around each centre, 6 % of their bits flipped. FILE: a code file.",
)
@click.option("--query", type=click.Path(path_type=Path), help="Code file of queries, beside --data FILE.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Of the data.")
@click.option("--cold", is_flag=True, help="Measure fresh processes too: first answer, compiling, memory.")
@click.option("--json", "json_path", metavar="FILE", help="Write everything as JSON; - prints it.")
@click.option("--plot", type=click.Path(path_type=Path), callback=_picture, help="Draw times: .png or .svg.")
def command(
    against: str, cold: bool, json_path: str | None, plot: Path | None, query: Path | None, **options: Any
) -> None:
    """Time exact search and compare it with other engines; a row for each length, number of codes and k.

    Results are compared first: a difference ends it. Then every engine has its turn, several times over. A slow
    engine gets as few queries as it answers in a second.
    """
    import json
    from dataclasses import asdict
    from importlib import import_module

    from cmah.bench import bench_report
    from cmah.bench.cold import describe, measure_cold
    from cmah.bench.measuring import Settings, measure
    from cmah.bench.peers import installed
    from cmah.bench.workload import MADE
    from cmah.files import require_replaceable, write_json
    from cmah.progress import progress
    from cmah.threads import thread_count

    if plot is not None:
        import_module("matplotlib")  # not after an hour
    versions, notes = installed(tuple(name for name in against.split(",") if name))
    for note in notes:
        click.echo(note, err=True)
    made = options["data"] in MADE
    options["bits"] = options["bits"] or (BITS if made else (None,))
    options["n"] = options["n"] or (N if made else (None,))
    options["threads"] = thread_count(options["threads"])
    settings = Settings(peers=tuple(versions), query_file=query, **options)
    cases = []
    if json_path and json_path != "-":
        require_replaceable(json_path, b'"machine"')
    shown = json_path != "-"
    bar = progress(
        measure(settings), "measuring", len(settings.bits) * len(settings.n) * len(settings.k), "case"
    )
    for case in bar:
        cases.append(case)
        if shown:
            bar.clear()
            if len(cases) == 1:
                click.echo(bench_report.heading(settings.peers))
            click.echo(bench_report.line(case, settings.peers))
    facts = bench_report.machine()
    started = measure_cold(settings.threads, seed=settings.seed) if cold else None
    record = {
        "machine": facts,
        "settings": asdict(settings) | {"query_file": None if query is None else str(query)},
        "notes": notes,
        "cases": [case.to_dict() for case in cases],
        "cold": started,
    }
    if plot is not None:
        bench_report.plot(cases, plot)
    if not shown:
        click.echo(json.dumps(record, indent=1))
        return
    click.echo("\n" + bench_report.rules(cases, facts, settings.seed))
    if started is not None:
        click.echo("\n" + describe(started))
    if json_path:
        write_json(json_path, record)
