"""cmah encoders: list the published encoders that `cmah train` accepts."""

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from cmah.models.pretrained.encoder_table import Entry

IMAGES = """\
Image encoders (--image-encoder): SLIP, and any of open_clip or timm, with the libraries' own names
  open_clip:NAME   such as open_clip:ViT-B-32; their text towers serve cmah classify
  slip:ViT-B-16    ULIP's own, with a text tower; its weights lie in the same file as ULIP's shape encoder
  timm:NAME        such as timm:vit_base_patch16_224; options follow as ?KEY=VALUE&KEY=VALUE
Option of all three: ?stages=N puts the averages of the last N stages before the embedding, which serves no texts then
Their weights (--image-weights): a FILE, or download:TAG, such as download:laion2b_s34b_b79k for open_clip:ViT-B-32

Weights of shape encoders (--shape-weights) are the files as published; cmah encoders NAME shows the details of one.
Nothing is downloaded unless download:TAG is given."""


@click.command("encoders")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print the list, or the encoder NAME, as JSON.")
def encoders(name: str | None, as_json: bool) -> None:
    """List the published encoders that cmah train accepts, or show the details of one.

    Without NAME, print a table of the point-cloud encoders for --shape-encoder, and how image encoders are named for
    --image-encoder. With the NAME of a point-cloud encoder, print its details and a command that trains with it.
    """
    import json
    from dataclasses import asdict

    from cmah.models.pretrained.encoder_table import ENCODERS, find

    if name is None:
        click.echo(
            json.dumps([asdict(entry) for entry in ENCODERS], indent=1) if as_json else _table(ENCODERS)
        )
    else:
        entry = find(name)
        click.echo(json.dumps(asdict(entry), indent=1) if as_json else _page(entry))


def _table(entries: "tuple[Entry, ...]") -> str:
    """A table with a row for each shape encoder, then how image encoders are named."""
    rows = [("name", "parameters", "embedding", "points", "colours", "aligned with", "weights")]
    rows += [
        (
            entry.name,
            f"{entry.parameters / 1e6:,.1f} M",
            str(entry.dim),
            f"{entry.points:,}",
            "yes" if entry.colours else "no",
            entry.aligned_with or "-",
            entry.weights.partition(", ")[0],
        )
        for entry in entries
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    numbers = (1, 2, 3)
    lines = [
        "  ".join(
            cell.rjust(width) if i in numbers else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join(["Shape encoders (--shape-encoder)", *lines, "", IMAGES])


def _page(entry: "Entry") -> str:
    """The details of one encoder, with a command that uses it."""
    from cmah.models.pretrained.encoder_table import SAME

    aligned = entry.aligned_with or "nothing: training brings it to the image encoder's space"
    if entry.image_weights:
        same = ", the same file as for --shape-weights" if entry.image_weights == SAME else ""
        aligned += f", weights {entry.image_weights}{same}"
    image = entry.aligned_with or "open_clip:ViT-B-32"
    weights = entry.image_weights or "download:laion2b_s34b_b79k"
    recipe = "--recipe prealigned" + ("" if entry.published else " --preset scratch")
    lines = [
        f"{entry.name}: {entry.method}",
        f"  parameters    {entry.parameters:,}",
        f"  embedding     {entry.dim} numbers",
        f"  points        {entry.points:,} per cloud in its training; other numbers work too",
        f"  colours       {'yes' if entry.colours else 'no'}",
        f"  takes         {entry.takes}",
        f"  aligned with  {aligned}",
        f"  weights       {entry.weights}",
        "",
        f"  cmah train DATASET --out RUN {recipe} \\",
        f"    --shape-encoder {entry.name}{' --shape-weights FILE' if entry.published else ''} \\",
        f"    --image-encoder {image} --image-weights {weights}",
    ]
    return "\n".join(lines)
