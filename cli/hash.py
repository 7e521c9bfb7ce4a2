"""cmah hash: codes from embeddings of any origin, without training."""

from pathlib import Path
from shlex import quote
from typing import Any

import click

from cmah.cli import options


def _check_names(files: tuple[Path, ...]) -> None:
    from cmah.codes.file_hashing import check_names

    check_names(files)


@click.command("hash")
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path), callback=options.checked(_check_names)
)
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder to write the code files and hash.npz to.",
)
@click.option(
    "--bits",
    type=click.IntRange(min=1),
    help="Length of the codes in bits; for pca and itq at most the width of the embeddings.  [default: 64]",
)
@click.option(
    "--method",
    type=click.Choice(["lsh", "pca", "itq"]),
    help="How the hash is fitted: random projections, principal components with a random rotation, or the same with an "
    "iteratively fitted rotation.  [default: itq]",
)
@click.option(
    "--sharing",
    type=click.Choice(["projection", "all", "nothing"]),
    help="What the hash has in common for all FILES: the projection, the mean too, or nothing (then codes of different "
    "files cannot be compared).  [default: projection]",
)
@click.option(
    "--seed", type=click.IntRange(min=0), help="Random seed of the projections and rotations.  [default: 0]"
)
@click.option(
    "--with",
    "fitted",
    type=click.Path(path_type=Path),
    help="Apply this hash.npz, which an earlier cmah hash wrote, instead of fitting one.",
)
@click.option(
    "--real",
    is_flag=True,
    help="Write the real-valued codes of each file too, as NAME_real.npz, for --rerank-by real of search and eval.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a summary of what was written as JSON.")
def hash_(
    files: tuple[Path, ...],
    out: Path,
    bits: int | None,
    method: Any,
    sharing: Any,
    seed: int | None,
    fitted: Path | None,
    real: bool,
    as_json: bool,
) -> None:
    """Hash the embeddings of FILES (.npz, or .npy of floats [n, d]), one file per modality.

    Writes a code file for each, and hash.npz, which --with applies to other embeddings from the same network: fit on a
    training set, apply to the rest. A file's modality is the one stored in it, or its name if that is image.npy or
    shape.npy; files of unknown modality are taken in the order of fitting. To evaluate the codes, give .npz files with
    `embeddings` and `categories`.
    """
    import json

    from cmah.codes.file_hashing import hash_files
    from cmah.codes.split_counts import counts_in_words, is_training, split_counts

    if fitted is not None and any(value is not None for value in (bits, method, sharing, seed)):
        raise click.UsageError("--with brings its own --bits, --method, --sharing and --seed")
    fit, written = hash_files(
        files,
        out,
        bits or 64,
        method or "itq",
        sharing=sharing or "projection",
        seed=seed or 0,
        fitted=fitted,
        real=real,
    )
    paths = [str(path) for path in written]
    if as_json:
        click.echo(json.dumps({"codes": paths, "bits": fit.bits, "method": fit.method}))
        return
    for path, codes in written.items():
        taken_as = f", hashed as {codes.modality}" if codes.modality else ""
        splits = counts_in_words(split_counts(codes.splits))
        click.echo(
            f"{path}: {len(codes)} codes of {fit.bits} bits ({fit.method}{taken_as}{splits and '; ' + splits})"
        )
    rows = list(written.values())
    unseen = sum(
        count
        for codes in rows
        for name, count in split_counts(codes.splits).items()
        if name and not is_training(name)
    )
    if fitted is None and unseen:
        click.echo(
            f"{unseen} of the {sum(map(len, rows))} rows that the hash was fitted on are of other splits than train; "
            "to fit on train alone, hash what cmah export --split train --embeddings writes, then use its hash.npz: "
            "--with",
            err=True,
        )
    quoted = [quote(str(path)) for path in paths]
    labelled = all(codes.categories is not None for codes in rows)
    instances = all(codes.shape_ids is not None for codes in rows)
    evaluated = len(files) > 1 and options.has_evaluated_split(rows[0], rows[1])
    if evaluated and fit.sharing != "nothing" and labelled:
        click.echo(f"next: cmah eval --query {quoted[0]} --database {quoted[1]} --both")
    elif evaluated and fit.sharing != "nothing" and instances:
        click.echo(f"next: cmah eval --query {quoted[0]} --database {quoted[1]} --both --relevance instance")
    else:
        click.echo(
            f"next: cmah index {quoted[-1]} OUT.cmah; evaluating needs .npz files with `categories` or `shape_ids`"
        )
