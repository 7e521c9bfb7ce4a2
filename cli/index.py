"""cmah index: an index file from a code file."""

from pathlib import Path

import click


@click.command("index", short_help="a code file to an index file")
@click.argument("codes", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--bits", type=click.IntRange(min=1), help="Length to cut nested codes to; by default the whole."
)
@click.option(
    "--kind",
    default="flat",
    show_default=True,
    type=click.Choice(["flat", "multi"]),
    help="flat: a scan, bits / 8 bytes a code; multi: tables beside it, faster from some 100,000 clustered codes on.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
def command(codes: Path, out: Path, bits: int | None, kind: str, as_json: bool) -> None:
    """Index the codes of CODES (.npz, or .npy of ±1) under their ids and write OUT (.cmah).

    Both kinds give the same hits.
    """
    import json

    from cmah.codes import BinaryCodes
    from cmah.errors import CodesError
    from cmah.search import HammingIndex, MultiIndex
    from cmah.search.index_file import is_index

    if out.is_file() and not is_index(out):
        raise CodesError(f"{out}: exists and is not an index; choose another name")
    rows = BinaryCodes.load(codes)
    try:
        rows = rows if bits is None else rows.truncate(bits)
        index = (MultiIndex if kind == "multi" else HammingIndex)(rows.bits, rows.space)
        index.add(rows)
    except CodesError as error:
        raise CodesError(f"{codes}: {error}") from None
    index.save(out)
    size = out.stat().st_size
    if as_json:
        click.echo(
            json.dumps(
                {"index": str(out), "kind": kind, "codes": len(index), "bits": index.bits, "bytes": size}
            )
        )
    else:
        click.echo(f"{out}: {len(index)} codes of {index.bits} bits, {size} bytes")
        click.echo(
            f"next: cmah search {out} --codes QUERIES.npz (or --run RUN photo.jpg chair.obj cloud.npy)"
        )
