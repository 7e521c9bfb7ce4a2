"""cmah eval: how well queries find what is relevant to them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import numpy as np

    from cmah.data.dataset import Dataset
    from cmah.evaluation.findings import Result
    from cmah.evaluation.inputs import Side


def _numbers(_: click.Context, option: click.Parameter, text: str | None) -> tuple[int, ...]:
    """Whole numbers from text such as 16,32."""
    if not text:
        return ()
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(f"{text!r}, expected whole numbers such as 16,32", param=option) from None
    if min(numbers) < 1:
        raise click.BadParameter(f"{text!r}, expected 1 or more", param=option)
    return numbers


def _words(_: click.Context, option: click.Parameter, text: str | None) -> tuple[str, ...]:
    """Names from text such as nn,ft."""
    return tuple(part.strip().lower() for part in (text or "").split(",") if part.strip())


@click.command("eval", short_help="mAP and other measures of queries against a database")
@click.argument("folders", nargs=-1, type=click.Path(path_type=Path))
@click.option("--query", type=click.Path(path_type=Path), help="Code or embedding file.")
@click.option("--database", type=click.Path(path_type=Path), help="The same for the database.")
@click.option("--compare", is_flag=True, help="Compare FOLDERS that cmah export (or hash) wrote, both ways.")
@click.option("--both", is_flag=True, help="Measure the other direction too.")
@click.option("--kind", type=click.Choice(["render", "picture", "photo"]), help="Of the images, only these.")
@click.option(
    "--relevance",
    default="category",
    show_default=True,
    type=click.Choice(["category", "instance"]),
    help="An item is relevant if it is of the same category, or shows the same shape.",
)
@click.option("--bits", callback=_numbers, help="Lengths of nested codes, as 16,32.  [default: all]")
@click.option(
    "-k",
    "k",
    default="10",
    show_default=True,
    callback=_numbers,
    help="Depths of P@K, R@K, NDCG@K, as 1,10.",
)
@click.option(
    "--metrics",
    callback=_words,
    help="Columns behind mAP, as nn,ft,st,ndcg,anmrr; an unknown one lists all.  [default: p,ndcg,nn,acc]",
)
@click.option("--map-depth", type=click.IntRange(min=1), help="Ranks that count for mAP.  [default: all]")
@click.option(
    "--denominator",
    default="relevant",
    show_default=True,
    type=click.Choice(["relevant", "min(relevant,k)", "hits"]),
    help="What average precision divides by, where --map-depth is given.",
)
@click.option(
    "--ties",
    default="expected",
    show_default=True,
    type=click.Choice(["expected", "position"]),
    help="Mean over all orders of equal distances, or order of position.",
)
@click.option(
    "--bootstrap", default=1000, show_default=True, type=click.IntRange(min=0), help="0: no interval."
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Of the bootstrap.")
@click.option(
    "--dataset",
    type=click.Path(path_type=Path),
    help="Dataset folder: pictures for the report, point clouds of first hit and truth for HAU.",
)
@click.option(
    "--floats-query",
    type=click.Path(path_type=Path),
    help="Embeddings of the queries before hashing, row by row: what does hashing cost?",
)
@click.option("--floats-database", type=click.Path(path_type=Path), help="The same of the database.")
@click.option(
    "--report",
    "folder",
    type=click.Path(path_type=Path),
    help="Write index.html, a page with curves and pictures, report.json and figures/ to this folder.",
)
@click.option(
    "--before",
    nargs=2,
    type=click.Path(path_type=Path),
    help="Codes of both before training, for the report.",
)
@click.option("--run", type=click.Path(path_type=Path), help="Run folder whose settings the report shows.")
@click.option("--json", "json_path", metavar="FILE", help="Write everything as JSON; - prints it.")
def command(
    folders: tuple[Path, ...],
    query: Path | None,
    database: Path | None,
    compare: bool,
    both: bool,
    kind: str | None,
    bits: tuple[int, ...],
    metrics: tuple[str, ...],
    dataset: Path | None,
    floats_query: Path | None,
    floats_database: Path | None,
    folder: Path | None,
    before: tuple[Path, Path] | None,
    run: Path | None,
    json_path: str | None,
    **settings: Any,
) -> None:
    """Evaluate QUERY against DATABASE under named rules, a row for each code length and direction.

    Across modalities the paired item stays in the database and counts as relevant; within one modality the
    query itself is left out. With --compare, several runs or methods stand in one table: cmah eval --compare
    CODES1 CODES2, folders as cmah export writes them; one without codes may hold embeddings.
    """
    import json

    from cmah.evaluation import comparison
    from cmah.evaluation.findings import costs_of_hashing
    from cmah.evaluation.inputs import code_lengths, measure, names_of, read_sides, same_rows
    from cmah.files import write_json

    floats = (floats_query, floats_database) if floats_query and floats_database else None
    if (floats_query or floats_database) and not floats:
        raise click.UsageError("--floats-query and --floats-database go together")
    if (before or run) and (folder is None or compare):
        raise click.UsageError("--before and --run are for the --report of one pair of files")
    pairs = _pairs(folders, query, database, compare, bool(floats))
    inputs = [path for group in (*pairs, floats or (), before or ()) for path in group]
    _check_outputs(json_path, folder, inputs)
    data = _dataset(dataset)
    names = names_of(folders) if compare else [""]
    results: list[Result] = []
    sides: list[list[Side]] = []
    notes = []
    for name, pair in zip(names, pairs, strict=True):
        sides.append(read_sides(pair, kind, floats))
        if not same_rows(sides[0], sides[-1]):
            notes.append(f"{name} holds other items than {names[0]}: their numbers do not compare")
        results += measure(
            sides[-1],
            code_lengths(sides[-1], bits),
            both=both or compare,
            name=name,
            cloud_of=_clouds(data) if data else None,
            **settings,
        )
    if compare:  # what competes stands together
        results.sort(key=lambda result: (result.direction, result.report.rules.width))
    costs = costs_of_hashing(results)
    record = _record(
        results, costs, kind, **({"folders": folders} if compare else {"query": query, "database": database})
    )
    text = comparison([(_label(result), result.report) for result in results], metrics)
    if json_path == "-":
        click.echo(json.dumps(record, indent=1))
    else:
        costs_text = [
            f"cost of hashing, {_label(result)}, {result.report.rules.width} bits: {cost:+.3f} (float mAP - code mAP)"
            for result, cost in costs
        ]
        click.echo("\n".join([text, *costs_text]))
        if json_path:
            write_json(json_path, record)
    for note in notes:
        click.echo(f"Warning: {note}", err=True)
    if folder is not None:
        earlier: list[Result] = []
        if before:
            sides.append(read_sides(before, kind))
            earlier = _before(sides[-1], results, settings)
        page = _write(folder, results, earlier, sides, data, run, notes, settings["seed"])
        write_json(folder / "report.json", record)
        click.echo(f"report: {page}", err=json_path == "-")


def _pairs(
    folders: tuple[Path, ...], query: Path | None, database: Path | None, compare: bool, floats: bool
) -> list[tuple[Path, Path]]:
    """The files of queries and database, one pair or one for each folder."""
    if not compare:
        if folders:
            raise click.UsageError(f"{folders[0]}: folders are for --compare")
        if query is None or database is None:
            raise click.UsageError(f"Missing option '--{'query' if query is None else 'database'}'.")
        return [(query, database)]
    if query or database or floats:
        raise click.UsageError("--compare takes folders, not --query, --database or --floats-...")
    if len(folders) < 2:
        raise click.UsageError("--compare needs two or more folders, each with image.npz and shape.npz")
    return [_files(folder) for folder in folders]


def _files(folder: Path) -> tuple[Path, Path]:
    """What export or hash left in a folder: codes, or else what is named after embeddings."""
    end = ".npz"
    if not (folder / "image.npz").exists():
        if (folder / "config.json").exists():
            raise click.UsageError(
                f"{folder}: a run; give a folder of its codes: cmah export {folder} DATASET --out CODES"
            )
        if (folder / "image_embeddings.npz").exists():
            end = "_embeddings.npz"
    return folder / f"image{end}", folder / f"shape{end}"


def _record(
    results: "Sequence[Result]", costs: "Sequence[tuple[Result, float]]", kind: str | None, **asked: Any
) -> dict[str, Any]:
    """Everything that was found as plain data."""

    def who(result: "Result") -> dict[str, str]:
        return {**({"name": result.name} if result.name else {}), "direction": result.direction}

    return {
        **{
            key: str(value) if isinstance(value, Path) else [*map(str, value)] for key, value in asked.items()
        },
        "kind": kind,
        "results": [{**who(result), **result.report.to_dict()} for result in results],
        "costs": [{**who(result), "bits": result.report.rules.width, "map": cost} for result, cost in costs],
    }


def _label(result: "Result") -> str:
    return f"{result.name}: {result.direction}" if result.name else result.direction


def _dataset(folder: Path | None) -> "Dataset | None":
    if folder is None:
        return None
    from cmah.data.dataset import Dataset

    return Dataset.read(folder)


def _clouds(dataset: "Dataset") -> "Callable[[str], np.ndarray | None]":
    """The points of a shape by its id, normalised; None for one that the dataset does not have or cannot read."""
    from cmah.data.point_clouds import normalise
    from cmah.errors import CmahError

    shapes = {shape.shape_id: shape for shape in dataset.shapes}

    def cloud_of(name: str) -> "np.ndarray | None":
        try:
            return normalise(dataset.load_points(shapes[name])[:, :3]) if name in shapes else None
        except CmahError as error:
            click.echo(f"no distance to shape {name}: {error}", err=True)
            return None

    return cloud_of


def _before(sides: "Sequence[Side]", after: "Sequence[Result]", settings: dict[str, Any]) -> "list[Result]":
    """What codes before training give, at those lengths and in those directions that are measured after it."""
    from cmah.evaluation.inputs import code_lengths, measure

    widths = {result.report.rules.width for result in after}
    lengths = [length for length in code_lengths(sides) if length is None or length in widths]
    return measure(sides, lengths, both=len({result.direction for result in after}) > 1, **settings)


def _check_outputs(json_path: str | None, folder: Path | None, inputs: list[Path]) -> None:
    """Refuse to write over what is read, or what is someone else's, before anything is measured."""
    from cmah.files import require_replaceable

    if json_path and json_path != "-":
        require_replaceable(json_path, b'"query"', inputs)
    if folder is not None:
        from cmah.report.page import require_report_packages

        require_report_packages()
        require_replaceable(folder / "index.html", b'content="cmah"')
        require_replaceable(folder / "report.json", b'"query"', inputs)


def _write(
    folder: Path,
    results: "Sequence[Result]",
    before: "Sequence[Result]",
    sides: "Sequence[Sequence[Side]]",
    dataset: "Dataset | None",
    run: Path | None,
    notes: "Sequence[str]",
    seed: int,
) -> Path:
    """Write the page; say what was measured and how."""
    import json
    import shlex
    import sys

    from cmah.errors import RunError
    from cmah.files import read_json, sha256
    from cmah.report.page import Pictures, write_report

    files = [side for pair in sides for side in pair]  # those of before training are the last
    made = [("command", shlex.join(["cmah", *sys.argv[1:]]))]
    made += [(side.path.name, f"{side.path}, SHA-256 {sha256(side.path)}") for side in files]
    spaces = dict.fromkeys(side.rows.space for side in files if side.rows.space)
    if spaces:
        made.append(("space", ", ".join(spaces)))
    pictures: Pictures | None = None
    if dataset is not None:
        from cmah.report.hits_page import DatasetPictures

        pictures = DatasetPictures(dataset).picture
        made.append(("dataset", f"{dataset.name}, SHA-256 of its tables {dataset.checksum()}"))
    settings = ""
    if run is not None:
        config = read_json(run / "config.json")
        if not isinstance(config, dict) or config.get("format") != "cmah-run":
            raise RunError(f"{run}: its config.json is not that of a run")
        made.append(("run", f"{run}, recipe {config.get('recipe')}, cmah {config.get('cmah')}"))
        settings = json.dumps(config, indent=1, ensure_ascii=False)
    lead = [f"{len(side.rows)} {side.rows.modality or 'row'}s" for side in sides[0]]
    names = list(dict.fromkeys(result.name for result in results if result.name))
    if names:
        lead.append(f"methods {', '.join(names)}")
    text = f"{', '.join(lead)}; relevant: the same {results[0].report.rules.relevance}."
    return write_report(
        folder,
        results,
        title=f"Retrieval on {dataset.name}" if dataset else "Retrieval report",
        lead=[text, *notes],
        before=before,
        pictures=pictures,
        made=made,
        settings=("Settings of the run", settings),
        seed=seed,
    )
