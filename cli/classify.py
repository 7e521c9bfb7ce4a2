"""cmah classify: zero-shot classification by the texts of category names."""

from pathlib import Path
from typing import Any

import click

from cmah.cli import options


@click.command("classify", short_help="zero-shot classification by category names")
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("--split", default="test", show_default=True, help="Of the dataset, or all.")
@click.option(
    "--modality",
    default="shape",
    show_default=True,
    type=click.Choice(["shape", "image"]),
    help="What is classified.",
)
@click.option("--kind", type=click.Choice(["render", "picture", "photo"]), help="Of the images, only these.")
@click.option(
    "--prompt",
    "prompts",
    multiple=True,
    metavar="TEXT",
    help="With {} for the name; give several to average them.  [default: a point cloud model of a {}; "
    "of images: a photo of a {}]",
)
@click.option(
    "--names", type=click.Path(path_type=Path), help="JSON file: what categories are called in the prompt."
)
@options.encoding
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def command(run: Path, dataset: Path, prompts: tuple[str, ...], as_json: bool, **asked: Any) -> None:
    """Classify the shapes (or images) of DATASET by the text that lies nearest to their embedding by RUN.

    Needs a run of the recipes prealigned or captionless whose image encoder comes with a text tower (open_clip, slip).
    The candidates are the names of all categories of the dataset.
    """
    import json

    from cmah.runs.classifying import classify

    report = classify(run, dataset, prompts=prompts or None, **asked)
    for _, reason in report["skipped"]:
        click.echo(f"skipped {reason}", err=True)
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
