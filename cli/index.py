"""cmah index: an index file from a code file; adding to it, removing from it."""

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from cmah.codes import BinaryCodes
    from cmah.search import HammingIndex


@click.command("index")
@click.argument("paths", nargs=-1, required=True, metavar="[CODES] OUT", type=click.Path(path_type=Path))
@click.option(
    "--bits",
    type=click.IntRange(min=1),
    help="Length in bits to cut nested codes to.  [default: the whole code; with --append that of the index]",
)
@click.option(
    "--kind",
    type=click.Choice(["flat", "multi"]),
    help="Type of the index. flat: a scan of all codes, bits / 8 bytes per code; multi: with hash tables, larger, and "
    "faster for more than about 100,000 clustered codes. Both give the same hits.  [default: flat]",
)
@click.option(
    "--append",
    is_flag=True,
    help="Add the codes to the index file OUT, behind what it holds, which is not written anew.",
)
@click.option(
    "--remove",
    multiple=True,
    metavar="ID",
    help="Remove the item of this id from the index file OUT; give it again for each item. Nothing is written anew.",
)
@click.option(
    "--compact",
    is_flag=True,
    help="Write the index file OUT anew as a whole, without what was removed from it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a summary of what was written as JSON.")
def index(
    paths: tuple[Path, ...],
    bits: int | None,
    kind: str | None,
    append: bool,
    remove: tuple[str, ...],
    compact: bool,
    as_json: bool,
) -> None:
    """Write the codes of the file CODES (.npz, or .npy of ±1) and their ids to the index file OUT (.cmah).

    An index file grows: --append adds the codes of another file, --remove takes items out, and --compact writes the
    file anew. Each change counts as a whole or not at all, and does not disturb a search that has the file open.
    """
    import json

    codes, out = _codes_and_out(paths, append, remove, compact)
    if bits is not None and codes is None:
        raise click.UsageError("--bits is of no use without CODES")
    if kind is not None and (append or remove or compact):
        raise click.UsageError(
            "--kind is that of the index file; it cannot be changed by --append, --remove or --compact"
        )
    if codes is not None and not append:
        index, done = _written(codes, out, bits, kind or "flat"), ""
    else:
        index, done = _changed(out, codes, bits, remove, compact)
    count, size = len(index), out.stat().st_size
    if as_json:
        summary = {"index": str(out), "kind": index.kind, "codes": count, "bits": index.bits, "bytes": size}
        click.echo(json.dumps(summary))
    else:
        click.echo(f"{out}: {done}{count} codes of {index.bits} bits, {size} bytes")
        click.echo(
            f"next: cmah search {quote(str(out))} --codes QUERIES.npz (or --run RUN photo.jpg chair.obj cloud.npy)"
        )


def _codes_and_out(
    paths: tuple[Path, ...], append: bool, remove: tuple[str, ...], compact: bool
) -> tuple[Path | None, Path]:
    """The two arguments, of which the first is left out where nothing is added."""
    if sum((append, bool(remove), compact)) > 1:
        raise click.UsageError(
            "--append, --remove and --compact exclude each other; run the command for each"
        )
    alone = bool(remove) or compact
    if len(paths) != (1 if alone else 2):
        what = "the index file OUT alone" if alone else "two files, CODES and OUT"
        raise click.UsageError(f"{len(paths)} file{'s' if len(paths) > 1 else ''} named, expected {what}")
    return (None if alone else paths[0]), paths[-1]


def _written(codes: Path, out: Path, bits: int | None, kind: str) -> "HammingIndex":
    """The index of a code file, written to a new index file."""
    from cmah.codes.code_files import named
    from cmah.search import HammingIndex, MultiIndex
    from cmah.search.index_file import refuse_to_replace

    refuse_to_replace(out, [codes])
    table = _loaded(codes, bits)
    with named(codes):
        made = (MultiIndex if kind == "multi" else HammingIndex)(table.bits, table.space)
        made.add(table)
    made.save(out)
    return made


def _changed(
    out: Path, codes: Path | None, bits: int | None, remove: tuple[str, ...], compact: bool
) -> tuple["HammingIndex", str]:
    """The index of a file after a change of it, and what was done."""
    from cmah.codes.code_files import named
    from cmah.search import HammingIndex

    opened = HammingIndex.open(out)
    if codes is not None:
        table = _loaded(codes, bits or opened.bits)
        with named(codes):
            opened.add(table)
        opened.save(out, append=True)
        return opened, f"{len(table)} codes added; "
    if remove:
        with named(out):
            opened.remove(
                [int(each) for each in remove] if opened.id_kind != "text" and _whole(remove) else remove
            )
        opened.save(out, append=True)
        return opened, f"{len(set(remove))} codes removed; "
    before = out.stat().st_size
    opened.save(out)
    return opened, f"written anew, {before} bytes before; "


def _loaded(codes: Path, bits: int | None) -> "BinaryCodes":
    from cmah.codes import BinaryCodes
    from cmah.codes.code_files import named

    table = BinaryCodes.load(codes)
    with named(codes):
        return table if bits is None or bits == table.bits else table.truncate(bits)


def _whole(ids: tuple[str, ...]) -> bool:
    """Whether all ids are whole numbers, as those of an index without texts are."""
    return all(each.removeprefix("-").isdecimal() for each in ids)
