"""cmah eval: how well queries find what is relevant to them."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cmah.cli.options import Numbers

if TYPE_CHECKING:
    from cmah.data.dataset import Dataset
    from cmah.evaluation.comparing import Comparison
    from cmah.evaluation.protocol import Denominator, Relevance, Ties


def _words(_: click.Context, option: click.Parameter, text: str | None) -> tuple[str, ...]:
    """Names from text such as nn,ft."""
    return tuple(part.strip().lower() for part in (text or "").split(",") if part.strip())


@click.command("eval")
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path))
@click.option("--query", type=click.Path(path_type=Path), help="Code or embedding file of the queries.")
@click.option("--database", type=click.Path(path_type=Path), help="Code or embedding file of the database.")
@click.option(
    "--compare",
    is_flag=True,
    help="Compare FOLDERS that cmah export or cmah hash wrote, in both directions.",
)
@click.option("--both", is_flag=True, help="Measure the other direction too.")
@click.option(
    "--kind",
    type=click.Choice(["render", "picture", "photo"]),
    help="Measure only the images of this kind.  [default: all images]",
)
@click.option(
    "--relevance",
    default="category",
    show_default=True,
    type=click.Choice(["category", "instance"]),
    help="An item is relevant if it is of the same category, or shows the same shape.",
)
@click.option(
    "--bits",
    default="",
    type=Numbers(minimum=1),
    help="Code lengths to measure, such as 16,32.  [default: all that the codes have]",
)
@click.option(
    "-k",
    "k",
    default="10",
    show_default=True,
    type=Numbers(minimum=1),
    help="Depths K of P@K, R@K and NDCG@K, such as 1,10.",
)
@click.option(
    "--metrics",
    callback=_words,
    metavar="NAME,NAME,…",
    help="Columns after mAP, such as nn,ft,st,ndcg,anmrr; an unknown name lists all.  [default: p,ndcg,nn,acc]",
)
@click.option(
    "--map-depth",
    type=click.IntRange(min=1),
    help="Number of first ranks that count for mAP.  [default: all]",
)
@click.option(
    "--denominator",
    default="relevant",
    show_default=True,
    type=click.Choice(["relevant", "min(relevant,k)", "hits"]),
    help="What average precision is divided by; differs only with --map-depth.",
)
@click.option(
    "--ties",
    default="expected",
    show_default=True,
    type=click.Choice(["expected", "position"]),
    help="Take the mean over all orders of items at equal distance, or their order in the database.",
)
@click.option(
    "--bootstrap",
    default=1000,
    show_default=True,
    type=click.IntRange(min=0),
    help="Bootstrap draws for the 95 % interval of mAP; 0 leaves the interval out.",
)
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(min=0),
    help="Random seed of the bootstrap, and of the report's t-SNE and choice of queries.",
)
@click.option(
    "--dataset",
    type=click.Path(path_type=Path),
    help="Dataset folder that gives the report its pictures, and the point clouds for HAU and Chamfer distance.",
)
@click.option(
    "--floats-query",
    type=click.Path(path_type=Path),
    help="Embeddings of the queries before hashing, in the same order, to measure what hashing costs.",
)
@click.option(
    "--floats-database",
    type=click.Path(path_type=Path),
    help="Embeddings of the database before hashing, in the same order.",
)
@click.option(
    "--report",
    "folder",
    type=click.Path(path_type=Path),
    help="Write a page with curves and pictures (index.html), report.json and figures/ to this folder.",
)
@click.option(
    "--before",
    nargs=2,
    type=click.Path(path_type=Path),
    metavar="QUERY DATABASE",
    help="Code files of both from before training, which the report shows beside the others.",
)
@click.option(
    "--run", type=click.Path(path_type=Path), help="Run folder whose configuration the report shows."
)
@click.option(
    "--json", "json_path", metavar="FILE", help="Write all numbers to FILE as JSON; - prints them instead."
)
def eval_(
    folders: tuple[Path, ...],
    query: Path | None,
    database: Path | None,
    compare: bool,
    both: bool,
    kind: str | None,
    relevance: "Relevance",
    bits: tuple[int, ...],
    k: tuple[int, ...],
    metrics: tuple[str, ...],
    map_depth: int | None,
    denominator: "Denominator",
    ties: "Ties",
    bootstrap: int,
    seed: int,
    dataset: Path | None,
    floats_query: Path | None,
    floats_database: Path | None,
    folder: Path | None,
    before: tuple[Path, Path] | None,
    run: Path | None,
    json_path: str | None,
) -> None:
    """Evaluate QUERY against DATABASE under named rules, with a row for each code length and direction.

    Across modalities the paired item stays in the database and counts as relevant; within one modality the
    query itself is left out. With --compare, several runs or methods stand in one table: cmah eval --compare
    CODES1 CODES2, folders as cmah export writes them; a folder without codes may hold embeddings.
    """
    from functools import partial

    from cmah.evaluation import Protocol
    from cmah.evaluation.comparing import compare_folders, evaluate_files

    unhashed = (floats_query, floats_database) if floats_query and floats_database else None
    if (floats_query or floats_database) and not unhashed:
        raise click.UsageError("--floats-query and --floats-database go together")
    if (before or run) and (folder is None or compare):
        raise click.UsageError("--before and --run are for the --report of one pair of files")
    pairs = _pairs(folders, query, database, compare, unhashed is not None)
    _refuse_to_replace(json_path, folder, [*sum(pairs, ()), *(unhashed or ()), *(before or ())])
    data, cloud_of = None, None
    if dataset is not None:
        from cmah.data.cloud_lookup import cloud_lookup
        from cmah.data.dataset import Dataset

        data = Dataset.read(dataset)
        cloud_of = cloud_lookup(data, warn=partial(click.echo, err=True))
    protocol = Protocol(
        relevance=relevance,
        k=k,
        map_depth=map_depth,
        denominator=denominator,
        ties=ties,
        bootstrap=bootstrap,
        seed=seed,
    )
    if compare:
        result = compare_folders(folders, protocol=protocol, kind=kind, bits=bits, cloud_of=cloud_of)
    else:
        result = evaluate_files(
            *pairs[0],
            protocol=protocol,
            both=both,
            kind=kind,
            bits=bits,
            unhashed=unhashed,
            cloud_of=cloud_of,
        )
    _print(result, metrics, json_path)
    if folder is not None:
        page = _write_report(folder, result, before, data, run)
        click.echo(f"report: {page}", err=json_path == "-")


def _pairs(
    folders: tuple[Path, ...], query: Path | None, database: Path | None, compare: bool, unhashed: bool
) -> list[tuple[Path, Path]]:
    """The files of queries and database, one pair or one for each folder."""
    from cmah.evaluation.vector_files import files_of

    if not compare:
        if folders:
            raise click.UsageError(f"{folders[0]}: folders are for --compare")
        if query is None or database is None:
            raise click.UsageError(f"Missing option '--{'query' if query is None else 'database'}'.")
        return [(query, database)]
    if query or database or unhashed:
        raise click.UsageError("--compare takes folders, not --query, --database or --floats-...")
    if len(folders) < 2:
        raise click.UsageError("--compare needs two or more folders, each with image.npz and shape.npz")
    return [files_of(folder) for folder in folders]


def _refuse_to_replace(json_path: str | None, folder: Path | None, inputs: list[Path]) -> None:
    """Refuse to write over what is read, or what is someone else's, before anything is measured."""
    from cmah.evaluation import comparing
    from cmah.report import comparison_page

    if json_path and json_path != "-":
        comparing.refuse_to_replace(json_path, inputs)
    if folder is not None:
        comparison_page.refuse_to_replace(folder, inputs)


def _print(result: "Comparison", metrics: tuple[str, ...], json_path: str | None) -> None:
    """Print the table, or the JSON record in its place; write the record if a file is named."""
    import json

    text = result.text(metrics)  # an unknown metric is refused with --json - too
    if json_path == "-":
        click.echo(json.dumps(result.record(), indent=1))
    else:
        click.echo(text)
        if json_path:
            result.write(json_path)
    for warning in result.warnings:
        click.echo(f"Warning: {warning}", err=True)


def _write_report(
    folder: Path,
    result: "Comparison",
    before: tuple[Path, Path] | None,
    dataset: "Dataset | None",
    run: Path | None,
) -> Path:
    """Write the page; say what was measured and how."""
    import shlex
    import sys

    from cmah.evaluation.comparing import evaluate_before
    from cmah.report.comparison_page import write_comparison

    earlier = evaluate_before(*before, result) if before else None
    command = shlex.join(["cmah", *sys.argv[1:]])
    if dataset is None:
        return write_comparison(folder, result, before=earlier, run=run, command=command)
    from cmah.data.pictures import DatasetPictures

    return write_comparison(
        folder,
        result,
        before=earlier,
        dataset=dataset.name,
        checksum=dataset.checksum(),
        pictures=DatasetPictures(dataset).picture,
        run=run,
        command=command,
    )
