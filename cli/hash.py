"""cmah hash: codes from embeddings of any origin, without training."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from cmah.codes import Embeddings
    from cmah.codes.posthoc import PostHocHash


@click.command("hash", short_help="codes from anyone's embeddings, without training a network")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write.")
@click.option("--bits", type=click.IntRange(min=1), help="Length of the codes.  [default: 64]")
@click.option("--method", type=click.Choice(["lsh", "pca", "itq"]), help="[default: itq]")
@click.option(
    "--sharing",
    type=click.Choice(["projection", "all", "nothing"]),
    help="What the files have in common: the projection, the mean too, or nothing (then their codes cannot be "
    "compared with each other).  [default: projection]",
)
@click.option("--seed", type=click.IntRange(min=0), help="Of the random numbers.  [default: 0]")
@click.option("--with", "fitted", type=click.Path(path_type=Path), help="Apply this hash.npz; fit nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
def command(
    files: tuple[Path, ...],
    out: Path,
    bits: int | None,
    method: Any,
    sharing: Any,
    seed: int | None,
    fitted: Path | None,
    as_json: bool,
) -> None:
    """Hash the embeddings of FILES (.npz, or .npy of floats [n, d]), a file for each modality.

    Writes a code file for each, and hash.npz, which --with applies to other embeddings of the same kind: fit on a
    training set, apply to the rest. A file's modality is the one it names, or its name if that is image.npy or
    shape.npy; files of unknown modality are taken in the order of fitting. To evaluate the codes, give .npz files with
    `embeddings` and `categories`.
    """
    import json

    from cmah.codes.code_files import named
    from cmah.codes.posthoc import PostHocHash, fit_hash
    from cmah.files import require_replaceable

    targets = [out / f"{path.stem}.npz" for path in files]
    if len({*targets, out / "hash.npz"}) <= len(files):
        raise click.UsageError(
            "the files need names of their own, other than hash, for the codes are named alike"
        )
    for path in targets:
        require_replaceable(path, b"packed.npy", files)
    if fitted is None:
        require_replaceable(out / "hash.npz", b"projections.npy", files)
    sets = [_embeddings(path) for path in files]
    if fitted is not None:
        if any(value is not None for value in (bits, method, sharing, seed)):
            raise click.UsageError("--with brings its own --bits, --method, --sharing and --seed")
        chosen = PostHocHash.load(fitted)
        places = _places(chosen, sets, files, fitted)
    else:
        places = list(range(len(files)))
        chosen = fit_hash(sets, bits or 64, method or "itq", sharing=sharing or "projection", seed=seed or 0)
        chosen.save(out / "hash.npz")
    for path, target, rows, place in zip(files, targets, sets, places, strict=True):
        with named(path):
            chosen.encode(rows, place).save(target)
    written = [str(target) for target in targets]
    if as_json:
        click.echo(json.dumps({"codes": written, "bits": chosen.bits, "method": chosen.method}))
        return
    for name, rows in zip(written, sets, strict=True):
        click.echo(f"{name}  {len(rows)} codes of {chosen.bits} bits ({chosen.method})")
    if len(files) > 1 and chosen.sharing != "nothing" and all(rows.categories is not None for rows in sets):
        click.echo(f"next: cmah eval --query {written[0]} --database {written[1]} --both")
    else:
        click.echo(f"next: cmah index {written[-1]} OUT.cmah; evaluating needs .npz files with `categories`")


def _places(
    chosen: "PostHocHash", sets: "list[Embeddings]", files: tuple[Path, ...], fitted: Path
) -> list[int]:
    """Which of the sets it was fitted on each file belongs to: by modality where it is known, else by order."""
    from cmah.errors import CodesError

    modalities = chosen.modalities.tolist()
    if all(rows.modality and rows.modality in modalities for rows in sets):
        return [modalities.index(rows.modality) for rows in sets]
    if len(files) != chosen.sets:
        raise CodesError(
            f"{fitted}: was fitted on {chosen.sets} files, got {len(files)}; give them in that order"
        )
    for path, rows, modality in zip(files, sets, modalities, strict=True):
        if rows.modality and modality and rows.modality != modality:
            raise CodesError(f"{path}: of modality {rows.modality!r}, expected {modality!r} at its place")
    return list(range(len(files)))


def _embeddings(path: Path) -> "Embeddings":
    """The embeddings of a file; a bare matrix is of the modality that its name says, if any."""
    from cmah.codes import Embeddings
    from cmah.codes.code_files import named
    from cmah.codes.npz import read_npy
    from cmah.errors import CodesError
    from cmah.files import require_file

    require_file(path, "expected embeddings, .npz or .npy", CodesError)
    if path.suffix != ".npy":
        return Embeddings.load(path)
    with named(path):
        return Embeddings(read_npy(path), modality=path.stem if path.stem in ("image", "shape") else "")
