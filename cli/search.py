"""cmah search: the nearest items of an index to photos, meshes, point clouds or codes."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from cmah.codes import BinaryCodes
    from cmah.data.pictures import DatasetPictures
    from cmah.search import HammingIndex


@click.command("search", short_help="search an index by photos, meshes, point clouds or codes")
@click.argument("index_path", metavar="INDEX", type=click.Path(path_type=Path))
@click.argument("files", nargs=-1)
@click.option("--codes", "codes_path", type=click.Path(path_type=Path), help="Queries as a code file.")
@click.option("--run", type=click.Path(path_type=Path), help="The run that encodes FILES.")
@click.option("-k", "k", type=click.IntRange(min=1), help="Hits a query.  [default: 10]")
@click.option("--radius", type=click.IntRange(min=0), help="All hits within so many bits, in place of -k.")
@click.option("--threads", type=click.IntRange(min=1), help="To search with.  [default: one a core]")
@click.option("--up", default="y", show_default=True, type=click.Choice(["y", "z"]), help="Up axis of FILES.")
@click.option(
    "--database", type=click.Path(path_type=Path), help="Code file of the index, for its categories."
)
@click.option(
    "--dataset", type=click.Path(path_type=Path), help="Dataset folder, for categories and pictures."
)
@click.option("--sheet", type=click.Path(path_type=Path), help="HTML page of queries and hits to write.")
@click.option("--device", default="cpu", show_default=True, help="auto, cpu or cuda; for FILES.")
@click.option("--json", "as_json", is_flag=True, help="Print the hits as JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Print the hits as CSV.")
def command(
    index_path: Path,
    files: tuple[str, ...],
    codes_path: Path | None,
    run: Path | None,
    k: int | None,
    radius: int | None,
    threads: int | None,
    up: str,
    database: Path | None,
    dataset: Path | None,
    sheet: Path | None,
    device: str,
    as_json: bool,
    as_csv: bool,
) -> None:
    """Search INDEX by FILES (photos, meshes, .npy point clouds; with --run) or by --codes."""
    _check_options(codes_path, run, files, k=k, radius=radius, as_json=as_json, as_csv=as_csv)
    if sheet and not dataset:
        raise click.UsageError("--sheet needs --dataset D, which has the pictures")
    if sheet and sheet.suffix.lower() not in (".html", ".htm"):
        raise click.BadParameter("expected a name that ends in .html", param_hint="--sheet")
    from cmah.search import HammingIndex

    if sheet:
        from cmah.report.hits_page import refuse_to_replace

        refuse_to_replace(sheet)
    index = HammingIndex.open(index_path)
    known = _Known(dataset, database)
    queries, skipped = _queries(codes_path, run, files, device, up)
    if index.bits in queries.prefixes:
        queries = queries.truncate(index.bits)
    found = _found(index, queries, k or 10, radius, threads, known)
    if as_json:
        import json

        click.echo(
            json.dumps(
                {"queries": found, "skipped": [{"file": f, "reason": r} for f, r in skipped]}, indent=1
            )
        )
    elif as_csv:
        _print_csv(found)
    else:
        _print_table(found)
    if skipped and not as_json:
        click.echo(f"{len(skipped)} of {len(files)} files were skipped", err=True)
    if sheet and known.pictures:
        _write(sheet, found, known.pictures, up, index)
        click.echo(f"sheet: {sheet}", err=True)


def _check_options(
    codes_path: Path | None,
    run: Path | None,
    files: tuple[str, ...],
    *,
    k: int | None,
    radius: int | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    if (codes_path is None) == (run is None):
        raise click.UsageError("give the queries either as --codes Q.npz or as --run RUN with files")
    if (run is None) == bool(files):
        raise click.UsageError(
            "--run needs files to encode" if run else "files need --run RUN to encode them"
        )
    if k is not None and radius is not None:
        raise click.UsageError("-k and --radius exclude each other")
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other")


def _queries(
    codes_path: Path | None, run: Path | None, files: tuple[str, ...], device: str, up: str
) -> "tuple[BinaryCodes, list[tuple[str, str]]]":
    """The codes of the queries, and (file, reason) of those that could not be read."""
    from cmah.codes import BinaryCodes
    from cmah.errors import CmahError

    if run is None:
        return BinaryCodes.load(str(codes_path)), []
    from cmah.runs.encoder import Encoder

    queries, skipped = Encoder.load(run, device=device).encode_files(files, up=up)
    for _, reason in skipped:
        click.echo(f"skipped {reason}", err=True)
    if not len(queries):
        raise CmahError(f"none of the {len(files)} files could be read")
    return queries, skipped


class _Known:
    """What is known of items and queries beside the index: categories and pictures."""

    def __init__(self, dataset: Path | None, database: Path | None) -> None:
        self.pictures: DatasetPictures | None = None
        self.categories: dict[str, str] = {}
        if dataset is not None:
            from cmah.data import pictures
            from cmah.data.dataset import Dataset

            self.pictures = pictures.DatasetPictures(Dataset.read(dataset))
        if database is not None:
            from cmah.codes import read_codes
            from cmah.errors import CodesError

            rows = read_codes(database)
            if rows.ids is None or rows.categories is None:
                raise CodesError(f"{database}: has no ids or no categories")
            self.categories = dict(zip(rows.ids.tolist(), rows.categories.tolist(), strict=True))

    def category(self, name: str) -> str:
        return self.categories.get(name) or (self.pictures.category(name) if self.pictures else "")


def _found(
    index: "HammingIndex",
    queries: "BinaryCodes",
    k: int,
    radius: int | None,
    threads: int | None,
    known: _Known,
) -> list[dict[str, Any]]:
    """For each query its name, category and hits, as plain data."""
    if radius is None:
        hits = index.search(queries, k, threads=threads)
        per_query = list(
            zip(hits.ids.tolist(), hits.distances.tolist(), hits.positions.tolist(), strict=True)
        )
    else:
        near = index.search_radius(queries, radius, threads=threads)
        spans = [slice(a, b) for a, b in zip(near.offsets[:-1], near.offsets[1:], strict=True)]
        columns = (near.ids, near.distances, near.positions)
        per_query = [tuple(column[span].tolist() for column in columns) for span in spans]
    names = [str(i) for i in range(len(queries))] if queries.ids is None else queries.ids.tolist()
    own = [""] * len(queries) if queries.categories is None else queries.categories.tolist()
    found = []
    for name, category, columns in zip(names, own, per_query, strict=True):
        rows = [
            {"rank": rank, "id": i, "distance": d, "position": p, "category": known.category(str(i))}
            for rank, (i, d, p) in enumerate(zip(*columns, strict=True), start=1)
        ]
        found.append({"query": name, "category": category or known.category(name), "hits": rows})
    return found


def _print_table(found: list[dict[str, Any]]) -> None:
    for entry in found:
        category = f"  ({entry['category']})" if entry["category"] else ""
        click.echo(f"{entry['query']}{category}")
        width = max((len(str(hit["id"])) for hit in entry["hits"]), default=0)
        for hit in entry["hits"]:
            line = f"{hit['rank']:5d}  {hit['id']!s:<{width}}  {hit['distance']:4d} bits  {hit['category']}"
            click.echo(line.rstrip())
        if not entry["hits"]:
            click.echo("       no hit")


def _print_csv(found: list[dict[str, Any]]) -> None:
    import csv
    import io

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["query", "rank", "id", "distance", "category"])
    for entry in found:
        for hit in entry["hits"]:
            writer.writerow([entry["query"], hit["rank"], hit["id"], hit["distance"], hit["category"]])
    click.echo(text.getvalue(), nl=False)


def _write(
    path: Path, found: list[dict[str, Any]], pictures: "DatasetPictures", up: str, index: "HammingIndex"
) -> None:
    from cmah.data.pictures import picture_of_file
    from cmah.report.hit_tiles import QueryHits, Tile
    from cmah.report.hits_page import write_sheet

    rows = []
    for entry in found:
        wanted = entry["category"]
        picture = pictures.picture(entry["query"]) or picture_of_file(entry["query"], up)
        tiles = [
            Tile(
                name=str(hit["id"]),
                picture=pictures.picture(str(hit["id"])),
                category=hit["category"],
                note=f"{hit['distance']} bits",
                relevant=hit["category"] == wanted if wanted and hit["category"] else None,
            )
            for hit in entry["hits"]
        ]
        rows.append(QueryHits(Tile(entry["query"], picture, wanted, "query"), tiles))
    notes = [f"{len(index)} items, codes of {index.bits} bits; under each hit its Hamming distance."]
    write_sheet(path, "Queries and their nearest items", rows, notes)
