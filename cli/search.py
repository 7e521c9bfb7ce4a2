"""cmah search: the nearest items of an index to photos, meshes, point clouds or codes."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from cmah.cli import options
from cmah.cli.stopping import HAS_KEPT

if TYPE_CHECKING:
    from cmah.search.reranking import Reranking
    from cmah.skipped_files import SkippedFiles


@click.command("search")
@click.argument("index_path", metavar="INDEX", type=click.Path(path_type=Path))
@click.argument("files", nargs=-1)
@click.option(
    "--files-from",
    "file_list",
    metavar="LIST",
    type=click.Path(),
    help="Text file with one path on each line, or - for standard input; these files come after FILES.",
)
@click.option(
    "--codes",
    "codes_path",
    type=click.Path(path_type=Path),
    help="Code file of the queries, in place of FILES and --run.",
)
@click.option("--run", type=click.Path(path_type=Path), help="Run folder whose networks encode FILES.")
@click.option("-k", "k", type=click.IntRange(min=1), help="Number of hits per query.  [default: 10]")
@click.option(
    "--radius",
    type=click.IntRange(min=0),
    help="Show all hits within this Hamming distance in bits, in place of the -k nearest.",
)
@click.option(
    "--together",
    is_flag=True,
    help="Take all FILES, or all rows of --codes, as photos of one object, and rank items by their distance from all.",
)
@click.option(
    "--by",
    type=click.Choice(["mean", "least"]),
    help="What counts with --together: the mean of an item's distances from the photos, or the least.  [default: mean]",
)
@click.option(
    "--per-shape",
    is_flag=True,
    help="Show each shape once, by its nearest item; --database says which item shows which shape.",
)
@click.option(
    "--rerank",
    "rerank_first",
    metavar="N",
    type=click.IntRange(min=1),
    help="Order the N nearest items by a score of real vectors, --rerank-by, and show the first -k of them.",
)
@click.option(
    "--rerank-by",
    type=click.Choice(["attention", "real", "real+views", "views"]),
    help="Score that --rerank orders by: the cosine of real vectors (without --rerank-with, of the query's real-valued "
    "code with the items' codes), the greatest cosine with a view of the item, the sum of both (with the items' "
    "codes), standardised over the N items, or attention over its views, as learned by --run.",
)
@click.option(
    "--rerank-with",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Embedding file of the items for --rerank: shape_views.npz of export --views for views and real+views, or one "
    "of export --embeddings, which needs --per-view but for real; real can do without.",
)
@click.option(
    "--rerank-queries",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Embedding file of the queries for --rerank with --codes; without --rerank-with their real-valued codes, from "
    "export --real.  --run makes the vectors of FILES itself.  [default without --rerank-with: CODES_real.npz beside "
    "CODES.npz; for views and real+views: CODES_views.npz]",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    help="Number of threads that search.  [default: one per core]",
)
@click.option(
    "--up",
    default="y",
    show_default=True,
    type=click.Choice(["y", "z"]),
    help="Axis that points up in the meshes and point clouds of FILES.",
)
@click.option(
    "--database",
    type=click.Path(path_type=Path),
    help="Code file that the index was made from; adds the categories of the hits. Has the shapes for --per-shape too, "
    "where the index does not.",
)
@click.option(
    "--dataset",
    type=click.Path(path_type=Path),
    help="Dataset folder of the items, which has their categories, paths, and pictures for --sheet.  [default: the one "
    "that --database or --codes was exported from, else that --run was trained on]",
)
@click.option(
    "--sheet",
    type=click.Path(path_type=Path),
    help="Write an HTML page with pictures of queries and hits to this file.",
)
@click.option(
    "--device", default="cpu", show_default=True, help="Device that encodes FILES: auto, cpu, cuda or cuda:N."
)
@click.option(
    "--workers",
    type=click.IntRange(0, 256),
    help="Number of processes that read FILES.  [default: one per core; none for fewer than 64 files]",
)
@options.verify
@click.option("--json", "as_json", is_flag=True, help="Print the hits as JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Print the hits as CSV.")
def search(
    index_path: Path,
    files: tuple[str, ...],
    file_list: str | None,
    codes_path: Path | None,
    run: Path | None,
    k: int | None,
    radius: int | None,
    together: bool,
    by: Literal["mean", "least"] | None,
    per_shape: bool,
    rerank_first: int | None,
    rerank_by: Literal["attention", "real", "real+views", "views"] | None,
    rerank_with: Path | None,
    rerank_queries: Path | None,
    threads: int | None,
    up: str,
    database: Path | None,
    dataset: Path | None,
    sheet: Path | None,
    device: str,
    workers: int | None,
    verify: bool,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Search INDEX for the items nearest to each query by Hamming distance.

    The queries are FILES (photos, meshes, or point clouds as .npy or .ply), which the networks of --run encode, or the
    codes of the file --codes. A folder among FILES stands for all pictures and meshes in it and below it. Stopped while
    it encodes many files, it goes on when called again.
    """
    shared = click.get_current_context().meta
    shared[HAS_KEPT] = bool  # nothing yet
    given = bool(files) or file_list is not None
    _check_options(codes_path, run, given, k=k, radius=radius, as_json=as_json, as_csv=as_csv)
    _check_ways(radius, together, by, per_shape)
    _check_rerank(rerank_first, rerank_by, rerank_with, rerank_queries, run=run, k=k or 10, radius=radius)
    way = (by or "mean") if together else None
    if sheet and sheet.suffix.lower() not in (".html", ".htm"):
        raise click.BadParameter("expected a name that ends in .html", param_hint="--sheet")
    import sys

    from cmah.errors import CmahError
    from cmah.runs.searching import search_codes, search_files
    from cmah.search.hit_lines import CsvWriter, JsonWriter, TableWriter
    from cmah.skipped_files import SkippedFiles

    reranking = _reranking(rerank_first, rerank_by, rerank_with)

    def write(text: str) -> None:  # in this module, so that an error is known for one of standard output
        sys.stdout.write(text)

    writer = (JsonWriter if as_json else CsvWriter if as_csv else TableWriter)(write)

    def report(line: str) -> None:
        click.echo(line, err=True)

    skipped = SkippedFiles()
    try:
        if run is None:
            search_codes(
                index_path, str(codes_path), k or 10, radius=radius, together=way, per_shape=per_shape,
                threads=threads, up=up, database=database, dataset=dataset, sheet=sheet, reranking=reranking,
                rerank_queries=rerank_queries, report=report, write=writer.add,
            )  # fmt: skip
        else:
            every = list(files)
            if file_list is not None:
                from cmah.runs.query_files import read_list

                every += read_list(file_list)
            from cmah.runs.search_parts import SearchParts

            parts = SearchParts()
            shared[HAS_KEPT] = lambda: parts.kept
            _, skipped = search_files(
                index_path, run, every, k or 10, radius=radius, together=way, per_shape=per_shape, threads=threads,
                up=up, device=device, workers=workers, verify=verify, database=database, dataset=dataset, sheet=sheet,
                reranking=reranking, report=report, write=writer.add, parts=parts,
            )  # fmt: skip
    except CmahError as error:
        writer.fail(str(error))
        raise
    # an ordinary search prints what it printed before there were others
    ways: dict[str, object] = {}
    if together or per_shape or reranking:
        ways = {"together": way, "per_shape": per_shape}
    if reranking:
        ways |= {"rerank": rerank_first, "rerank_by": rerank_by}
    writer.end({**_left_out(skipped), **({"mode": ways} if ways else {})})
    sys.stdout.flush()
    if sheet:
        click.echo(f"sheet: {sheet}", err=True)


def _reranking(
    first: int | None, by: Literal["attention", "real", "real+views", "views"] | None, vectors: Path | None
) -> "Reranking | None":
    """The re-ranking that is asked for: by vectors of the items, or without by their codes."""
    from cmah.search.reranking import Reranking

    if first is None or by is None:
        return None
    return Reranking(first) if vectors is None else Reranking.read(vectors, first, by)


def _left_out(skipped: "SkippedFiles") -> dict[str, list[dict[str, str]]]:
    """What --json lists of files that were left out, and of meshes that lost something, if any did."""
    from cmah.file_names import readable_text

    listed = [{"file": file, "reason": readable_text(reason)} for file, reason in skipped]
    lost = [{"file": file, "remark": readable_text(remark)} for file, remark in skipped.remarks]
    return {"skipped": listed, **({"remarks": lost} if lost else {})}


def _check_options(
    codes_path: Path | None,
    run: Path | None,
    files: bool,
    *,
    k: int | None,
    radius: int | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    if (codes_path is None) == (run is None):
        raise click.UsageError("give the queries either as --codes Q.npz or as --run RUN with files")
    if (run is None) == files:
        raise click.UsageError(
            "--run needs files to encode" if run else "files need --run RUN to encode them"
        )
    if k is not None and radius is not None:
        raise click.UsageError("-k and --radius exclude each other")
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other")


def _check_ways(radius: int | None, together: bool, by: str | None, per_shape: bool) -> None:
    for option, given in (("--together", together), ("--per-shape", per_shape)):
        if given and radius is not None:
            raise click.UsageError(f"{option} and --radius exclude each other")
    if by is not None and not together:
        raise click.UsageError("--by needs --together, whose distances it takes as one")


def _check_rerank(
    first: int | None,
    by: str | None,
    vectors: Path | None,
    queries: Path | None,
    *,
    run: Path | None,
    k: int,
    radius: int | None,
) -> None:
    given = {"--rerank-by": by, "--rerank-with": vectors, "--rerank-queries": queries}
    if first is None:
        for option, value in given.items():
            if value is not None:
                raise click.UsageError(
                    f"{option} needs --rerank N, how many of the nearest items are re-ranked"
                )
        return
    if by is None or (vectors is None and by != "real"):
        raise click.UsageError("--rerank needs --rerank-by, the score, and --rerank-with, the items' vectors")
    if radius is not None:
        raise click.UsageError("--rerank and --radius exclude each other")
    if first < k:
        raise click.UsageError(
            f"--rerank {first} is less than the {k} hits to show (-k), expected {k} or more"
        )
    if run is None and by == "attention":
        raise click.UsageError(
            "--rerank-by attention needs --run RUN, which has learned the attention, with photos or meshes as FILES"
        )
    if run is None and queries is None and vectors is not None and "views" not in by:
        raise click.UsageError("--rerank with --codes needs --rerank-queries, the queries' vectors")
    if run is not None and queries is not None:
        raise click.UsageError("--rerank-queries goes with --codes; --run makes the vectors of FILES itself")
