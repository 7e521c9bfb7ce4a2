"""cmah bench: how fast the index is, beside other engines and the machine's ceilings."""

from pathlib import Path
from typing import Any

import click

from cmah.cli.options import Numbers

BITS = (16, 32, 64, 128, 256, 512, 1024)
N = (1_000_000,)


def _picture(_: click.Context, option: click.Parameter, path: Path | None) -> Path | None:
    if path is not None and path.suffix.lower() not in (".png", ".svg"):
        raise click.BadParameter(f"{path}: expected a name that ends with .png or .svg", param=option)
    return path


@click.command("bench")
@click.option(
    "--bits",
    type=Numbers(minimum=1),
    help="Lengths of the codes in bits, such as 16,32.  [default: 16 to 1024; of a file, its whole]",
)
@click.option(
    "--n",
    "n",
    type=Numbers(minimum=1),
    help="Numbers of codes that are searched, such as 1e6,1e7.  [default: 1e6; of a file, all]",
)
@click.option(
    "--queries",
    default=256,
    show_default=True,
    type=click.IntRange(min=1),
    help="Number of queries per call.",
)
@click.option(
    "-k",
    "k",
    default="10",
    show_default=True,
    type=Numbers(minimum=1),
    help="Numbers of nearest neighbours to search for, such as 10,100.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Number of threads that every engine uses.  [default: one per core]",
)
@click.option(
    "--against",
    default="faiss,usearch,numpy",
    show_default=True,
    help="Engines to compare with, where they are installed; an empty text compares with none.",
)
@click.option(
    "--data",
    default="random",
    show_default=True,
    metavar="random|clustered|FILE",
    type=click.Path(),
    help="Codes to search: random; clustered, 1,000 around each centre with 6 % of its bits flipped; or the codes "
    "of a file.",
)
@click.option(
    "--query",
    type=click.Path(path_type=Path),
    help="Code file to draw the queries from, together with --data FILE.  [default: the codes that are searched]",
)
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(min=0),
    help="Random seed of the codes and queries.",
)
@click.option(
    "--cold",
    is_flag=True,
    help="Measure fresh processes too: the time to the first answer, with and without compiling, and the memory.",
)
@click.option(
    "--json",
    "json_path",
    metavar="FILE",
    type=click.Path(),
    help="Write all numbers as JSON to this file; - prints them.",
)
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    callback=_picture,
    help="Draw the times to this file, .png or .svg.",
)
def bench(
    against: str, cold: bool, json_path: str | None, plot: Path | None, query: Path | None, **options: Any
) -> None:
    """Time exact search and compare it with other engines: a row per length, number of codes and k.

    The results are compared first, and a difference ends the run. Then the engines take turns, several times over. A
    slow engine is given only as many queries as it answers in a second.
    """
    import json
    from importlib import import_module

    from cmah.bench import bench_report
    from cmah.bench.cold import describe, measure_cold
    from cmah.bench.measuring import Settings, measure
    from cmah.bench.peers import installed
    from cmah.bench.workload import GENERATED
    from cmah.files import write_json
    from cmah.progress import progress
    from cmah.threads import thread_count

    if plot is not None:
        import_module("matplotlib")  # fails now, not after an hour
        bench_report.refuse_to_replace_plot(plot)
    versions, notes = installed(tuple(name for name in against.split(",") if name))
    for note in notes:
        click.echo(note, err=True)
    generated = options["data"] in GENERATED
    options["bits"] = options["bits"] or (BITS if generated else (None,))
    options["n"] = options["n"] or (N if generated else (None,))
    options["k"] = options["k"] or (10,)
    if generated and max(options["k"]) > max(options["n"]):
        raise click.BadParameter(
            f"{str(max(options['k']))[:40]}, expected at most the {max(options['n'])} codes of --n",
            param_hint="'-k'",
        )
    options["threads"] = thread_count(options["threads"])
    settings = Settings(peers=tuple(versions), query_file=query, **options)
    if json_path and json_path != "-":
        bench_report.refuse_to_replace(json_path)
    cases = []
    shown = json_path != "-"
    count = len(settings.bits) * len(settings.n) * len(settings.k)
    bar = progress(measure(settings), "measuring", count, "case")
    for case in bar:
        cases.append(case)
        if shown:
            bar.clear()
            if len(cases) == 1:
                click.echo(bench_report.heading(settings.peers))
            click.echo(bench_report.line(case, settings.peers))
    machine = bench_report.machine()
    cold_start = measure_cold(settings.threads, seed=settings.seed) if cold else None
    record = bench_report.record(cases, settings, machine, notes, cold_start)
    if plot is not None:
        bench_report.plot(cases, plot)
    if not shown:
        click.echo(json.dumps(record, indent=1))
        return
    click.echo("\n" + bench_report.rules(cases, machine, settings.seed))
    if cold_start is not None:
        click.echo("\n" + describe(cold_start))
    if json_path:
        write_json(json_path, record)
