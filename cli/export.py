"""cmah export: codes of a dataset's images and shapes from a run."""

from pathlib import Path
from typing import Literal

import click

from cmah.cli import options


@click.command("export", short_help="a run and a dataset to codes or embeddings")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write.")
@click.option("--split", default="test", show_default=True, help="Of the dataset, or all.")
@click.option(
    "--format",
    "file_format",
    default="npz",
    show_default=True,
    type=click.Choice(["npz", "pm1", "packed", "faiss"]),
    help="pm1: .npy of ±1; packed: .npy of bytes; faiss: a binary flat index; each beside the .npz.",
)
@click.option("--embeddings", is_flag=True, help="Real vectors in place of codes.")
@click.option(
    "--background",
    default="keep",
    show_default=True,
    type=click.Choice(["keep", "remove"]),
    help="remove: black where an image's mask says that the object is not.",
)
@options.encoding
@click.option("--json", "as_json", is_flag=True, help="Print what was written as JSON.")
def command(
    run: Path,
    dataset: Path,
    out: Path,
    split: str,
    file_format: str,
    embeddings: bool,
    background: Literal["keep", "remove"],
    device: str,
    workers: int,
    settings: tuple[str, ...],
    as_json: bool,
) -> None:
    """Encode the images and shapes of DATASET with RUN.

    Writes image.npz and shape.npz: codes at every trained length from the one file, with the ids, categories
    and kinds of their rows.
    """
    import json
    from typing import Any

    from cmah.codes import read_codes
    from cmah.runs.exporting import export

    if embeddings and file_format != "npz":
        raise click.UsageError("--embeddings are written as npz only")
    chosen: Any = file_format
    image, shape, skipped = export(
        run,
        dataset,
        out,
        split=split,
        format=chosen,
        embeddings=embeddings,
        device=device,
        workers=workers,
        settings=settings,
        background=background,
    )
    for _, reason in skipped:
        click.echo(f"skipped {reason}", err=True)
    if as_json:
        click.echo(json.dumps({"image": str(image), "shape": str(shape), "skipped": skipped}))
        return
    for path in (image, shape):
        described = repr(read_codes(path)) if path.suffix == ".npz" else file_format
        click.echo(f"{path}  {described}")
    if file_format == "npz":
        click.echo(f"next: cmah eval --query {image} --database {shape} --both")
    if not embeddings and file_format == "npz":
        click.echo(f"  or: cmah index {shape} {out / 'shapes.cmah'}")
