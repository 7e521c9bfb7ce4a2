"""cmah index: an index file from a code file."""

from pathlib import Path
from shlex import quote

import click


@click.command("index")
@click.argument("codes", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--bits",
    type=click.IntRange(min=1),
    help="Length in bits to cut nested codes to.  [default: the whole code]",
)
@click.option(
    "--kind",
    default="flat",
    show_default=True,
    type=click.Choice(["flat", "multi"]),
    help="Type of the index. flat: a scan of all codes, bits / 8 bytes per code; multi: with hash tables, larger, and "
    "faster for more than about 100,000 clustered codes. Both give the same hits.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a summary of what was written as JSON.")
def index(codes: Path, out: Path, bits: int | None, kind: str, as_json: bool) -> None:
    """Write the codes of the file CODES (.npz, or .npy of ±1) and their ids to the index file OUT (.cmah)."""
    import json

    from cmah.codes import BinaryCodes
    from cmah.codes.code_files import named
    from cmah.search import HammingIndex, MultiIndex
    from cmah.search.index_file import refuse_to_replace

    refuse_to_replace(out, [codes])
    table = BinaryCodes.load(codes)
    with named(codes):
        table = table if bits is None else table.truncate(bits)
        hamming_index = (MultiIndex if kind == "multi" else HammingIndex)(table.bits, table.space)
        hamming_index.add(table)
    hamming_index.save(out)
    count, size = len(hamming_index), out.stat().st_size
    if as_json:
        summary = {"index": str(out), "kind": kind, "codes": count, "bits": table.bits, "bytes": size}
        click.echo(json.dumps(summary))
    else:
        click.echo(f"{out}: {count} codes of {table.bits} bits, {size} bytes")
        click.echo(
            f"next: cmah search {quote(str(out))} --codes QUERIES.npz (or --run RUN photo.jpg chair.obj cloud.npy)"
        )
