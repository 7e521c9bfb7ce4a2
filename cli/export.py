"""cmah export: codes of a dataset's images and shapes from a run."""

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Literal

import click

from cmah.cli import options
from cmah.cli.stopping import HAS_KEPT

if TYPE_CHECKING:
    from cmah.codes import BinaryCodes, Embeddings

# what is written beside codes, by the ending of its file's name
BESIDE = {"real": "the real-valued codes", "views": "vectors to compare views by,"}


@click.command("export")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write to.")
@click.option(
    "--split",
    default="all",
    show_default=True,
    help="Split of the dataset to encode, such as train, val or test; all encodes whatever a search should find.",
)
@click.option(
    "--database",
    default="split",
    show_default=True,
    type=click.Choice(["split", "all"]),
    help="Which shapes to encode beside the images of --split: those of the split (and those without a split of their "
    "own that its images show), or all of the dataset.",
)
@click.option(
    "--format",
    "file_format",
    default="npz",
    show_default=True,
    type=click.Choice(["npz", "pm1", "packed", "faiss"]),
    help="File to write beside the code file (.npz): a .npy of ±1 (pm1), a .npy of packed bytes (packed), or a binary "
    "flat index of FAISS (faiss); npz writes the code file alone.",
)
@click.option("--embeddings", is_flag=True, help="Write real vectors in place of codes.")
@click.option(
    "--real",
    is_flag=True,
    help="Write the real-valued codes too, whose signs are the codes, for --rerank-by real of search --codes and eval.",
)
@click.option(
    "--views",
    is_flag=True,
    help="Write vectors of the images and of single views of the shapes too, where the run sees shapes by views, for "
    "--rerank-by real+views and views of search and eval.",
)
@click.option(
    "--crop",
    type=click.Choice(["none", "box", "mask", "square"]),
    help="What images are cropped to: their boxes (column bbox), or boxes around their masks (an image without stays "
    "whole), or the largest square in their middle.  [default: as in training]",
)
@click.option(
    "--crop-margin",
    type=click.FloatRange(0, 1),
    help="What a crop keeps on each side of the box, as a part of its width and height.  [default: as in training]",
)
@click.option(
    "--background",
    type=click.Choice(["keep", "remove"]),
    help="What to do with image backgrounds: remove paints black what an image's mask says is not the object.  "
    "[default: as in training]",
)
@click.option(
    "--per-view",
    is_flag=True,
    help="Write a code for each view of a shape in place of one for each shape, where the run sees shapes by views.",
)
@options.encoding
@click.option(
    "--json", "as_json", is_flag=True, help="Print the paths written and the skipped files as JSON."
)
def export(
    run: Path,
    dataset: Path,
    out: Path,
    split: str,
    database: Literal["split", "all"],
    file_format: Literal["npz", "pm1", "packed", "faiss"],
    embeddings: bool,
    real: bool,
    views: bool,
    crop: Literal["none", "box", "mask", "square"] | None,
    crop_margin: float | None,
    background: Literal["keep", "remove"] | None,
    device: str,
    workers: int,
    settings: tuple[str, ...],
    per_view: bool,
    verify: bool,
    as_json: bool,
) -> None:
    """Encode the images and shapes of DATASET with RUN.

    Writes image.npz and shape.npz: codes at every trained length in one file, with the ids, categories, kinds and
    splits of their rows, so that cmah eval can keep to the split that training has not seen.
    """
    click.get_current_context().meta[HAS_KEPT] = lambda: any(out.glob(".export/*/*.np[yz]"))
    import json

    import cmah
    from cmah.codes import read_codes
    from cmah.progress import say

    if embeddings and file_format != "npz":
        raise click.UsageError("--embeddings are written as npz only")
    for option, given in (("--real", real), ("--views", views)):
        if embeddings and given:
            raise click.UsageError(f"{option} writes beside codes, which --embeddings replaces")
    image, shape, skipped = cmah.export(
        run,
        dataset,
        out,
        split=split,
        database=database,
        format=file_format,
        embeddings=embeddings,
        crop=crop,
        crop_margin=crop_margin,
        background=background,
        device=device,
        workers=workers,
        settings=settings,
        per_view=per_view,
        real=real,
        views=views,
        verify=verify,
        report=say,
    )
    options.echo_skipped_count(skipped, out / "skipped.csv")
    beside = [ending for ending, given in (("real", real), ("views", views)) if given]
    if as_json:
        files = {"image": str(image), "shape": str(shape)}
        for ending in beside:
            files |= {f"{name}_{ending}": str(out / f"{name}_{ending}.npz") for name in ("image", "shape")}
        click.echo(json.dumps({**files, "split": split, "database": database, "skipped": skipped}))
        return
    if image.suffix != ".npz":
        for path in (image, shape):
            click.echo(f"{path}: {file_format}")
        return
    for ending in beside:
        for name in ("image", "shape"):
            click.echo(f"{out / f'{name}_{ending}.npz'}: {BESIDE[ending]} of {name}.npz")
    queries, items = read_codes(image), read_codes(shape)
    for path, rows in ((image, queries), (shape, items)):
        click.echo(f"{path}: {_content(rows)}")
    if len(queries) and options.has_evaluated_split(queries, items):
        anew = f" --rerank 100 --rerank-by {'+'.join(beside)}" if beside else ""
        click.echo(f"next: cmah eval --query {quote(str(image))} --database {quote(str(shape))} --both{anew}")
    if not embeddings:
        click.echo(f"  or: cmah index {quote(str(shape))} {quote(str(out / 'shapes.cmah'))}")


def _content(rows: "BinaryCodes | Embeddings") -> str:
    """How many rows of what and of which splits a file holds."""
    from cmah.codes import Embeddings
    from cmah.codes.split_counts import counts_in_words, split_counts

    splits = counts_in_words(split_counts(rows.splits))
    if isinstance(rows, Embeddings):
        what, shorter = f"{len(rows)} embeddings of {rows.embeddings.shape[1]} numbers", ""
    else:
        what, shorter = f"{len(rows)} codes of {rows.bits} bits", ", ".join(map(str, rows.prefixes[:-1]))
    details = "; ".join(part for part in (f"also {shorter}" if shorter else "", splits) if part)
    return f"{what} ({details})" if details else what
