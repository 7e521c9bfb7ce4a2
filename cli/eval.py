"""cmah eval: how well queries find what is relevant to them."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from cmah.codes import BinaryCodes, Embeddings


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


@click.command("eval", short_help="mAP, P@K and instance accuracy of queries against a database")
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
@click.option("-k", "k", default="10", show_default=True, callback=_numbers, help="Depths of P@K, as 1,10.")
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
@click.option("--json", "json_path", metavar="FILE", help="Write everything as JSON; - prints it.")
def command(
    query: Path,
    database: Path,
    both: bool,
    kind: str | None,
    bits: tuple[int, ...],
    json_path: str | None,
    **settings: Any,
) -> None:
    """Evaluate QUERY against DATABASE under named rules, a row for each code length and direction.

    Across modalities the paired item stays in the database and counts as relevant; within one modality the
    query itself is left out.
    """
    import json

    from cmah.codes import BinaryCodes, read_codes
    from cmah.errors import CodesError
    from cmah.evaluation import comparison, evaluate
    from cmah.files import write_json

    sides = [_of_kind(read_codes(path), kind, path) for path in (query, database)]
    if kind and all(side.modality == "shape" for side in sides):
        raise CodesError(f"--kind {kind}: neither {query} nor {database} holds images")
    if isinstance(sides[0], BinaryCodes) and isinstance(sides[1], BinaryCodes):
        common = sorted(set(sides[0].prefixes) & set(sides[1].prefixes))
        lengths: list[int | None] = list(bits or common)
        if not lengths:
            raise CodesError(
                f"{query} has codes of {list(sides[0].prefixes)} bits, {database} of {list(sides[1].prefixes)}"
            )
    elif bits:
        raise click.UsageError("--bits is for codes, not for embeddings")
    else:
        lengths = [None]
    names = [side.modality or name for side, name in zip(sides, ("query", "database"), strict=True)]
    directions = [(0, 1), (1, 0)] if both else [(0, 1)]
    reports = []
    for a, b in directions:
        for length in lengths:
            pair = [_cut(sides[side], length, (query, database)[side]) for side in (a, b)]
            reports.append((f"{names[a]} -> {names[b]}", evaluate(*pair, **settings)))
    record = {
        "query": str(query),
        "database": str(database),
        "kind": kind,
        "results": [{"direction": label, **report.to_dict()} for label, report in reports],
    }
    if json_path == "-":
        click.echo(json.dumps(record, indent=1))
        return
    click.echo(comparison(reports))
    if json_path:
        write_json(json_path, record)


def _of_kind(rows: "BinaryCodes | Embeddings", kind: str | None, path: Path) -> "BinaryCodes | Embeddings":
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
