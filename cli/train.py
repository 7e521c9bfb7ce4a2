"""cmah train: a recipe on a dataset folder."""

from pathlib import Path
from shlex import quote
from typing import Any

import click

from cmah.cli import options
from cmah.cli.stopping import CAN_RESUME


@click.command("train")
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Run folder to write.")
@click.option(
    "--recipe",
    help="Method to train: the published cmah, prealigned, captionless or style_mixed, or towers.  "
    "[default: the one that has the preset, cmah without one]",
)
@click.option(
    "--preset",
    help="Named settings to start from. Recipe cmah: small (default), tiny (trains in minutes on a CPU) or base; "
    "towers: towers (hash heads over frozen encoders, in minutes on a CPU); prealigned: finetune (default) or scratch; "
    "captionless: paper; style_mixed: instance (default), cmic or unsupervised_category.",
)
@click.option(
    "--bits",
    type=options.Numbers(minimum=1),
    help="Code length in bits, such as 64, or several for nested codes, such as 16,32,64,128.  [default: 64]",
)
@click.option("--config", type=click.Path(path_type=Path), help="TOML file of settings to use.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change one setting, such as training.lr=1e-4; can be given several times.",
)
@click.option(
    "--image-encoder",
    help="Image encoder to build on: timm:NAME, open_clip:NAME or slip:ViT-B-16 (see cmah encoders).",
)
@click.option(
    "--image-weights",
    metavar="FILE",
    type=click.Path(),
    help="Weights of the image encoder: a file, or download:TAG.",
)
@click.option(
    "--shape-encoder",
    help="Point-cloud encoder to build on, by a name that cmah encoders lists; views sees shapes by their renders, "
    "through the image encoder (in towers by views drawn from their points). In style_mixed the network for these "
    "views, timm:NAME.",
)
@click.option(
    "--shape-weights", type=click.Path(), help="File with the weights of the shape encoder, as published."
)
@click.option(
    "--hard-negatives",
    help="How similar shapes weigh as negatives, in the recipes captionless and cmah: i2i, i2l2 or avg (these use "
    "categories), or i2i_all (which does not).  [default: avg in captionless, none in cmah]",
)
@click.option(
    "--landmarks",
    type=click.Path(),
    help="Landmark file for --hard-negatives i2l2 and avg.  [default: the one that comes with cmah]",
)
@click.option(
    "--epochs",
    type=click.IntRange(min=0),
    help="Passes over the training shapes; 0 uses the encoders as they are, without training.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    help="Random seed of initialisation, order, augmentation and masks.  [default: 0]",
)
@options.device
@click.option(
    "--resume",
    is_flag=True,
    help="Continue the run in --out from where it was stopped; with --epochs, to more epochs, "
    "where the learning rate is constant (training.min_lr = training.lr).",
)
@options.verify
@click.option(
    "--json", "as_json", is_flag=True, help="Print the record of the last epoch as JSON at the end."
)
def train(
    dataset: Path,
    out: Path,
    recipe: str | None,
    preset: str | None,
    bits: tuple[int, ...] | None,
    config: Path | None,
    settings: tuple[str, ...],
    image_encoder: str | None,
    image_weights: str | None,
    shape_encoder: str | None,
    shape_weights: str | None,
    hard_negatives: str | None,
    landmarks: str | None,
    epochs: int | None,
    seed: int | None,
    device: str,
    resume: bool,
    verify: bool,
    as_json: bool,
) -> None:
    """Train on DATASET and write a run folder.

    The run folder gets config.json, model.safetensors (the epoch that retrieves best on shapes held out of the
    training split), metrics.jsonl and curves.png. A run that was stopped goes on with --resume.
    """
    import json

    import cmah
    from cmah.progress import say
    from cmah.runs.metrics_log import read_metrics

    if recipe == "prealigned" and (hard_negatives or landmarks):
        raise click.UsageError(
            "--hard-negatives and --landmarks are for captionless and cmah; how hard negatives weigh in prealigned say "
            "--set loss.beta=… and loss.beta_end=…"
        )
    if recipe == "style_mixed" and (hard_negatives or landmarks):
        raise click.UsageError("--hard-negatives and --landmarks are for captionless and cmah")
    model = {
        "bits": bits,
        "image_encoder": image_encoder,
        "image_weights": image_weights,
        "shape_encoder": None if shape_encoder == "views" else shape_encoder,
        "shape_weights": shape_weights,
        "shape_input": "views" if shape_encoder == "views" else None,
    }
    negatives = {"kind": hard_negatives, "landmarks": landmarks}
    given = {
        "model": model,
        "loss": {"negatives": negatives},
        "training": {"epochs": epochs, "seed": seed},
    }
    click.get_current_context().meta[CAN_RESUME] = (out / "config.json").exists
    cmah.train(
        dataset,
        out,
        recipe=recipe,
        preset=preset,
        config=config,
        settings=settings,
        overrides=_without_none(given),
        device=device,
        resume=resume,
        verify=verify,
        report=say,
    )
    if as_json:
        records = read_metrics(out)
        click.echo(json.dumps({"run": str(out), **(records[-1] if records else {})}))
    else:
        click.echo(f"wrote {out}; next: cmah export {quote(str(out))} {quote(str(dataset))} --out CODES")


def _without_none(table: dict[str, Any]) -> dict[str, Any]:
    """A nested table of settings without those that were not given, and without tables that are empty then."""
    given = {key: _without_none(value) if isinstance(value, dict) else value for key, value in table.items()}
    return {key: value for key, value in given.items() if value not in (None, {})}
