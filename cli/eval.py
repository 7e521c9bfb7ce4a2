"""cmah eval: how well queries find what is relevant to them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    import numpy as np

    from cmah.codes import BinaryCodes, Embeddings

Some = TypeVar("Some", "BinaryCodes", "Embeddings", "BinaryCodes | Embeddings")


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
@click.option("--query", required=True, type=click.Path(path_type=Path), help="Code or embedding file.")
@click.option("--database", required=True, type=click.Path(path_type=Path), help="The same for the database.")
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
    help="Dataset folder whose point clouds HAU compares: first hit and truth.",
)
@click.option(
    "--floats-query",
    type=click.Path(path_type=Path),
    help="Embeddings of the queries before hashing, row by row: what does hashing cost?",
)
@click.option("--floats-database", type=click.Path(path_type=Path), help="The same of the database.")
@click.option("--json", "json_path", metavar="FILE", help="Write everything as JSON; - prints it.")
def command(
    query: Path,
    database: Path,
    both: bool,
    kind: str | None,
    bits: tuple[int, ...],
    metrics: tuple[str, ...],
    dataset: Path | None,
    floats_query: Path | None,
    floats_database: Path | None,
    json_path: str | None,
    **settings: Any,
) -> None:
    """Evaluate QUERY against DATABASE under named rules, a row for each code length and direction.

    Across modalities the paired item stays in the database and counts as relevant; within one modality the
    query itself is left out.
    """
    import json

    from cmah.codes import read_codes
    from cmah.errors import CodesError
    from cmah.evaluation import comparison, evaluate
    from cmah.files import write_json

    paths = (query, database)
    whole = [read_codes(path) for path in paths]
    sides = [_of_kind(rows, kind, path) for rows, path in zip(whole, paths, strict=True)]
    if kind and all(side.modality == "shape" for side in sides):
        raise CodesError(f"--kind {kind}: neither {query} nor {database} holds images")
    lengths = _lengths(sides, bits, paths)
    floats = _floats((floats_query, floats_database), whole, paths, kind)
    cloud_of = _clouds(dataset) if dataset else None
    names = [side.modality or name for side, name in zip(sides, ("query", "database"), strict=True)]
    reports, costs = [], []
    for a, b in [(0, 1), (1, 0)] if both else [(0, 1)]:
        label = f"{names[a]} -> {names[b]}"
        direct = evaluate(floats[a], floats[b], cloud_of=cloud_of, **settings) if floats else None
        for length in lengths:
            pair = [_cut(sides[side], length, paths[side]) for side in (a, b)]
            report = evaluate(*pair, cloud_of=cloud_of, **settings)
            if report.rules.left_out == report.rules.queries:
                raise CodesError(
                    f"{paths[a]}: none of the {report.rules.queries} queries has a relevant item in {paths[b]} "
                    f"(relevant: the same {report.rules.relevance})"
                )
            reports.append((label, report))
            if direct:
                costs.append((label, report.rules.width, direct["map"] - report["map"]))
        if direct:
            reports.append((label, direct))
    record = {
        "query": str(query),
        "database": str(database),
        "kind": kind,
        "results": [{"direction": label, **report.to_dict()} for label, report in reports],
        "costs": [{"direction": label, "bits": width, "map": cost} for label, width, cost in costs],
    }
    text = comparison(reports, metrics)
    if json_path == "-":
        click.echo(json.dumps(record, indent=1))
        return
    click.echo(text)
    for label, width, cost in costs:
        click.echo(f"cost of hashing, {label}, {width} bits: {cost:+.3f} (float mAP - code mAP)")
    if json_path:
        write_json(json_path, record)


def _lengths(
    sides: "Sequence[BinaryCodes | Embeddings]", bits: tuple[int, ...], paths: tuple[Path, Path]
) -> list[int | None]:
    """The code lengths to measure; None for embeddings."""
    from cmah.codes import BinaryCodes
    from cmah.errors import CodesError

    prefixes = [set(side.prefixes) for side in sides if isinstance(side, BinaryCodes)]
    if len(prefixes) < 2:
        if bits:
            raise click.UsageError("--bits is for codes, not for embeddings")
        return [None]
    lengths: list[int | None] = [*(bits or sorted(prefixes[0] & prefixes[1]))]
    if not lengths:
        texts = [
            f"{path} has codes of {sorted(known)} bits" for path, known in zip(paths, prefixes, strict=True)
        ]
        raise CodesError(", ".join(texts))
    return lengths


def _floats(
    given: tuple[Path | None, Path | None],
    codes: "Sequence[BinaryCodes | Embeddings]",
    paths: tuple[Path, Path],
    kind: str | None,
) -> "list[Embeddings]":
    """The embeddings of the same rows as the codes, or none if none are given."""
    from cmah.codes import BinaryCodes, Embeddings
    from cmah.errors import CodesError
    from cmah.npz import read_npy

    if given == (None, None):
        return []
    floats = []
    for path, side, other in zip(given, codes, paths, strict=True):
        if path is None:
            raise click.UsageError("--floats-query and --floats-database go together")
        if not isinstance(side, BinaryCodes):
            raise CodesError(f"{other}: holds embeddings, expected codes to compare with {path}")
        rows = Embeddings(read_npy(path)) if path.suffix == ".npy" else Embeddings.load(path)
        if len(rows) != len(side):
            raise CodesError(f"{path}: {len(rows)} rows, expected {len(side)} as in {other}")
        if rows.ids is not None and side.ids is not None and (rows.ids != side.ids).any():
            row = int((rows.ids != side.ids).argmax())
            raise CodesError(f"{path}: row {row} is {rows.ids[row]!r}, but {side.ids[row]!r} in {other}")
        # what is known of a row is taken from the codes, so that both are measured alike
        known = ("ids", "shape_ids", "categories", "kinds", "splits", "modality")
        rows = replace(rows, **{name: getattr(side, name) for name in known})
        floats.append(_of_kind(rows, kind, path))
    return floats


def _clouds(folder: Path) -> "Callable[[str], np.ndarray | None]":
    """The points of a shape by its id, normalised; None for a shape that the dataset does not have."""
    from cmah.data.dataset import Dataset
    from cmah.data.point_clouds import normalise

    dataset = Dataset.read(folder)
    shapes = {shape.shape_id: shape for shape in dataset.shapes}

    def cloud_of(name: str) -> "np.ndarray | None":
        return normalise(dataset.load_points(shapes[name])[:, :3]) if name in shapes else None

    return cloud_of


def _of_kind(rows: "Some", kind: str | None, path: Path) -> "Some":
    """The rows of a kind; shapes are of no kind and stay."""
    from cmah.errors import CodesError

    if kind is None or rows.modality == "shape":
        return rows
    if rows.kinds is None:
        raise CodesError(f"{path}: does not name the kinds of its rows, which --kind needs")
    chosen = rows[rows.kinds == kind]
    if not len(chosen):
        raise CodesError(f"{path}: has no {kind} (it has: {', '.join(sorted(set(rows.kinds.tolist())))})")
    return chosen


def _cut(rows: "BinaryCodes | Embeddings", bits: int | None, path: Path) -> Any:
    from cmah.codes import BinaryCodes
    from cmah.errors import CodesError

    if bits is None or not isinstance(rows, BinaryCodes):
        return rows
    try:
        return rows.truncate(bits)
    except CodesError as error:
        raise CodesError(f"{path}: {error}") from None
