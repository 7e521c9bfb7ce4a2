"""cmah eval: how well queries find what is relevant to them."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cmah.cli.options import Numbers

if TYPE_CHECKING:
    from cmah.data.dataset import Dataset
    from cmah.evaluation.clouds import CloudOf
    from cmah.evaluation.comparing import Comparison
    from cmah.evaluation.protocol import Candidates, Denominator, Relevance, Ties
    from cmah.evaluation.reranked import RerankedBy
    from cmah.evaluation.voxels import Voxels


def _words(_: click.Context, option: click.Parameter, text: str | None) -> tuple[str, ...]:
    """Names from text such as nn,ft."""
    return tuple(part.strip().lower() for part in (text or "").split(",") if part.strip())


def _names(_: click.Context, option: click.Parameter, text: str | None) -> tuple[str, ...] | None:
    """Names from text such as val,test, as they are written."""
    if text is None:
        return None
    from cmah.errors import CodesError
    from cmah.evaluation.split_choice import as_splits

    try:
        return as_splits(text.split(","))
    except CodesError as error:
        raise click.BadParameter(str(error)) from None


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
    "--splits",
    callback=_names,
    metavar="NAME,NAME|all",
    help="Measure only queries and items of these splits; items without a split belong to every one.  [default: test, "
    "else val, else what has no split]",
)
@click.option(
    "--relevance",
    default="category",
    show_default=True,
    type=click.Choice(["category", "instance"]),
    help="An item is relevant if it is of the same category, or shows the same shape.",
)
@click.option(
    "--candidates",
    default="all",
    show_default=True,
    type=click.Choice(["all", "category"]),
    help="Rank each query among all items, or, with --relevance instance, among those of its own category.",
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
    help="Columns after mAP, such as nn,ft,st,ndcg,anmrr; mi3dor (all of MI3DOR's) and iou are measured only if named; "
    "an unknown name lists all.  [default: p,ndcg,nn,acc]",
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
    "datasets",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Dataset folder that gives the report its pictures, and the point clouds for HAU, Chamfer distance and IoU; "
    "give it again for a second one where the database shows shapes of another.",
)
@click.option(
    "--meshes",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Folder that the dataset was prepared from, to make the voxels of IoU from meshes instead of point clouds; "
    "as many as datasets, in the same order.",
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
    "--rerank",
    metavar="N",
    type=click.IntRange(min=1),
    help="Rank the first N items of each query anew by a score, --rerank-by; those behind them stay as they were.",
)
@click.option(
    "--rerank-by",
    type=click.Choice(["real", "views", "real+views"]),
    help="Score that --rerank orders by: the cosine of the query's real-valued code with the items' codes, the "
    "greatest cosine of its views with theirs, or the sum of both, standardised over the N items; export --real and "
    "--views write what they need beside the codes.",
)
@click.option(
    "--rerank-queries",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Real-valued codes of the queries for --rerank, as export --real writes.  [default: QUERY_real.npz beside "
    "QUERY.npz]",
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
    "--json",
    "json_path",
    metavar="FILE",
    type=click.Path(),
    help="Write all numbers to FILE as JSON; - prints them instead.",
)
def eval_(
    folders: tuple[Path, ...],
    query: Path | None,
    database: Path | None,
    compare: bool,
    both: bool,
    kind: str | None,
    splits: tuple[str, ...] | None,
    relevance: "Relevance",
    candidates: "Candidates",
    bits: tuple[int, ...],
    k: tuple[int, ...],
    metrics: tuple[str, ...],
    map_depth: int | None,
    denominator: "Denominator",
    ties: "Ties",
    bootstrap: int,
    seed: int,
    datasets: tuple[Path, ...],
    meshes: tuple[Path, ...],
    floats_query: Path | None,
    floats_database: Path | None,
    rerank: int | None,
    rerank_by: "RerankedBy | None",
    rerank_queries: Path | None,
    folder: Path | None,
    before: tuple[Path, Path] | None,
    run: Path | None,
    json_path: str | None,
) -> None:
    """Evaluate QUERY against DATABASE under named rules, with a row for each code length and direction.

    Only the evaluated split's queries and items are measured where the files name splits; both counts stand under the
    table. Across modalities the paired item stays in the database and counts as relevant; within one modality the
    query itself is left out. With --compare, several runs or methods stand in one table: cmah eval --compare
    CODES1 CODES2, folders as cmah export writes them; a folder without codes may hold embeddings.
    """
    from cmah.evaluation import Protocol
    from cmah.evaluation.comparing import compare_folders, evaluate_files
    from cmah.evaluation.measure_table import asks_for

    unhashed = (floats_query, floats_database) if floats_query and floats_database else None
    if (floats_query or floats_database) and not unhashed:
        raise click.UsageError("--floats-query and --floats-database go together")
    if (before or run) and (folder is None or compare):
        raise click.UsageError("--before and --run are for the --report of one pair of files")
    _check_rerank(rerank, rerank_by, rerank_queries, compare)
    pairs = _pairs(folders, query, database, compare, unhashed is not None)
    given = [
        *sum(pairs, ()),
        *(unhashed or ()),
        *(before or ()),
        *([rerank_queries] if rerank_queries else ()),
    ]
    _refuse_to_replace(json_path, folder, given)
    data, cloud_of, voxels = _shapes(datasets, meshes, asks_for(metrics, "iou"))
    protocol = Protocol(
        relevance=relevance,
        candidates=candidates,
        mi3dor=asks_for(metrics, "mi3dor"),
        k=k,
        map_depth=map_depth,
        denominator=denominator,
        ties=ties,
        rerank=rerank,
        rerank_by=rerank_by or "real",
        bootstrap=bootstrap,
        seed=seed,
    )
    if compare:
        result = compare_folders(
            folders, protocol=protocol, kind=kind, splits=splits, bits=bits, cloud_of=cloud_of, voxels=voxels
        )
    else:
        result = evaluate_files(
            *pairs[0],
            protocol=protocol,
            both=both,
            kind=kind,
            splits=splits,
            bits=bits,
            unhashed=unhashed,
            rerank_queries=rerank_queries,
            cloud_of=cloud_of,
            voxels=voxels,
        )
    _print(result, metrics, json_path)
    if folder is not None:
        page = _write_report(folder, result, before, data, run)
        click.echo(f"report: {page}", err=json_path == "-")


def _check_rerank(first: int | None, by: str | None, queries: Path | None, compare: bool) -> None:
    for option, value in (("--rerank-by", by), ("--rerank-queries", queries)):
        if first is None and value is not None:
            raise click.UsageError(f"{option} needs --rerank N, how many of the first items are re-ranked")
    if first is not None and by is None:
        raise click.UsageError("--rerank needs --rerank-by, the score")
    if by == "views" and queries is not None:
        raise click.UsageError(
            "--rerank-queries has real-valued codes, for --rerank-by real or real+views; views takes QUERY_views.npz"
        )
    if compare and queries is not None:
        raise click.UsageError(
            "--rerank-queries is for one pair of files; --compare takes image_real.npz and shape_real.npz of each"
        )


def _shapes(
    folders: tuple[Path, ...], meshes: tuple[Path, ...], iou: bool
) -> "tuple[list[Dataset], CloudOf | None, Voxels | None]":
    """The datasets, the clouds of their shapes, and the voxels if they are asked for."""
    from functools import partial

    if meshes and not iou:
        raise click.UsageError("--meshes is for --metrics iou")
    if not folders:
        if iou:
            raise click.UsageError("--metrics iou needs --dataset")
        return [], None, None
    if meshes and len(meshes) != len(folders):
        raise click.UsageError("--meshes is to be given as often as --dataset")
    from cmah.data.cloud_lookup import cloud_lookup
    from cmah.data.dataset import Dataset

    warn = partial(click.echo, err=True)
    datasets = [Dataset.read(folder) for folder in folders]
    voxels = None
    if iou:
        from cmah.data.voxel_lookup import voxel_lookup

        voxels = voxel_lookup(datasets, meshes, warn=None if not meshes else warn)
    return datasets, cloud_lookup(datasets, warn), voxels


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
    datasets: "list[Dataset]",
    run: Path | None,
) -> Path:
    """Write the page; say what was measured and how."""
    import shlex
    import sys

    from cmah.evaluation.comparing import evaluate_before
    from cmah.report.comparison_page import write_comparison

    earlier = evaluate_before(*before, result) if before else None
    for warning in earlier.warnings if earlier else ():
        click.echo(f"Warning: {warning}", err=True)
    command = shlex.join(["cmah", *sys.argv[1:]])
    if not datasets:
        return write_comparison(folder, result, before=earlier, run=run, command=command)
    from cmah.data.pictures import DatasetPictures

    pictures = [DatasetPictures(dataset).picture for dataset in datasets]
    return write_comparison(
        folder,
        result,
        before=earlier,
        dataset=" and ".join(dataset.name for dataset in datasets),
        checksum=", ".join(dataset.checksum() for dataset in datasets),
        pictures=lambda name, modality: next(filter(None, (of(name, modality) for of in pictures)), ""),
        run=run,
        command=command,
    )
