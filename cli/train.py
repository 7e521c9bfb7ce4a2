"""cmah train: a recipe on a dataset folder."""

from pathlib import Path

import click

from cmah.cli import options


@click.command("train", short_help="train a recipe on a dataset folder")
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Run folder to write.")
@click.option("--recipe", help="Published method: cmah (default), prealigned, captionless.")
@click.option(
    "--preset",
    help="Of the recipe. cmah: small (default), tiny (minutes on a CPU), base; "
    "prealigned: finetune (default), scratch.",
)
@click.option("--bits", help="Code length, or several for nested codes: 16,32,64,128.")
@click.option("--config", type=click.Path(path_type=Path), help="TOML file of settings.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="A setting, such as training.lr=1e-4."
)
@click.option("--image-encoder", help="timm:NAME, open_clip:NAME or slip:ViT-B-16.")
@click.option("--image-weights", help="File with its weights, or download:TAG.")
@click.option("--shape-encoder", help="A name that cmah encoders lists.")
@click.option("--shape-weights", type=click.Path(), help="File with its weights, as published.")
@click.option(
    "--hard-negatives",
    help="Of captionless and cmah, weights on negatives: i2i, i2l2, avg (use categories; avg is the default of "
    "captionless), i2i_all (uses none).",
)
@click.option(
    "--landmarks", type=click.Path(), help="Landmark file for i2l2 and avg; default: the one shipped."
)
@click.option("--epochs", type=int, help="Passes over the training shapes.")
@click.option("--seed", type=int, help="Of initialisation, order, augmentation and masks.")
@options.device
@click.option("--resume", is_flag=True, help="Continue the run in --out where it was stopped.")
@click.option("--json", "as_json", is_flag=True, help="Print the last record as JSON at the end.")
def command(
    dataset: Path,
    out: Path,
    recipe: str | None,
    preset: str | None,
    bits: str | None,
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
    as_json: bool,
) -> None:
    """Train on DATASET and write a run folder.

    The run folder gets config.json, model.safetensors (the epoch that retrieves best on shapes held out of the
    training split), metrics.jsonl and curves.png. A run that was stopped goes on with --resume.
    """
    import json

    from cmah.progress import say
    from cmah.runs.metrics_log import read_metrics
    from cmah.training.starting import train

    if recipe == "prealigned" and (hard_negatives or landmarks):
        raise click.UsageError(
            "--hard-negatives and --landmarks are for captionless and cmah; how hard negatives weigh in prealigned say "
            "--set loss.beta=… and loss.beta_end=…"
        )
    flags = {
        "model.bits": bits,
        "model.image_encoder": image_encoder,
        "model.image_weights": image_weights,
        "model.shape_encoder": shape_encoder,
        "model.shape_weights": shape_weights,
        "loss.negatives.kind": hard_negatives,
        "loss.negatives.landmarks": landmarks,
        "training.epochs": epochs,
        "training.seed": seed,
    }
    try:
        train(
            dataset,
            out,
            recipe=recipe,
            preset=preset,
            config=config,
            settings=[*(f"{key}={value}" for key, value in flags.items() if value is not None), *settings],
            device=device,
            resume=resume,
            report=say,
        )
    except KeyboardInterrupt:
        if (out / "config.json").exists():
            say(f"stopped; cmah train {dataset} --out {out} --resume goes on from the last save")
        raise
    if as_json:
        records = read_metrics(out)
        click.echo(json.dumps({"run": str(out), **(records[-1] if records else {})}))
    else:
        from cmah.data.dataset import Dataset

        splits = {shape.split for shape in Dataset.read(dataset).shapes}
        split = next((name for name in ("val", "test") if name in splits), "all")
        click.echo(f"wrote {out}; next: cmah export {out} {dataset} --split {split} --out CODES")
