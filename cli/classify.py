"""cmah classify: zero-shot classification by the texts of category names."""

from pathlib import Path
from typing import Literal

import click

from cmah.cli import options


@click.command("classify")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option(
    "--split",
    default="test",
    show_default=True,
    help="Split of the dataset to classify, such as train, val or test; all takes everything.",
)
@click.option(
    "--modality",
    default="shape",
    show_default=True,
    type=click.Choice(["shape", "image"]),
    help="Whether shapes or images are classified.",
)
@click.option(
    "--kind",
    type=click.Choice(["render", "picture", "photo"]),
    help="Classify only images of this kind.  [default: all]",
)
@click.option(
    "--prompt",
    "prompts",
    multiple=True,
    metavar="TEXT",
    help="Text to compare with, {} standing for the category's name; several are averaged.  [default: a point cloud "
    "model of a {}; for images: a photo of a {}]",
)
@click.option(
    "--names",
    type=click.Path(path_type=Path),
    help="JSON file that says what categories are called in the prompt.",
)
@options.encoding
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def classify(
    run: Path,
    dataset: Path,
    split: str,
    modality: Literal["shape", "image"],
    kind: str | None,
    prompts: tuple[str, ...],
    names: Path | None,
    device: str,
    workers: int,
    settings: tuple[str, ...],
    verify: bool,
    as_json: bool,
) -> None:
    """Classify the shapes (or images) of DATASET by the text that lies nearest to their embedding by RUN.

    Needs a run of the recipes prealigned or captionless whose image encoder comes with a text tower (open_clip, slip).
    The candidates are the names of all categories of the dataset.
    """
    import json

    from cmah.progress import say
    from cmah.runs import classifying

    report = classifying.classify(
        run,
        dataset,
        split=split,
        modality=modality,
        kind=kind,
        prompts=prompts or None,
        names=names,
        device=device,
        workers=workers,
        settings=settings,
        verify=verify,
        report=say,
    )
    options.echo_skipped(report["skipped"])
    if as_json:
        click.echo(json.dumps(report, indent=1))
        return
    width = max(len(row["category"]) for row in report["categories"])
    for row in report["categories"]:
        click.echo(
            f"{row['category']:<{width}}  {row['n']:>6}  top-1 {row['top1']:.3f}  top-5 {row['top5']:.3f}"
        )
    for name, key in (
        (f"all {report['n']}", ""),
        (f"mean of {len(report['categories'])} categories", "mean_"),
    ):
        click.echo(f"{name}: top-1 {report[key + 'top1']:.3f}, top-5 {report[key + 'top5']:.3f}")
    prompt = "; ".join(report["prompts"])
    click.echo(f"{report['candidates']} candidates, {report['encoder']}, prompt: {prompt}")
