"""Figures 2 and 3: Precision@Top-K of the codes, and a t-SNE of them before and after training.

The paper shows both at 64 bits; its values are not known here. For a run of `cmah_table.py` or `cmah train`, on the
same dataset folder:

    python experiments/cmah_curves.py DATASET --run OUT/run --out FIGURES --bits 64
    python experiments/cmah_curves.py --smoke --out FIGURES

Writes precision.png and .svg, tsne.png and .svg, and curves.json. "Before training" is the same configuration
with no epochs, that is the model as initialised (over pre-trained towers if the run has them).

Expected, hardware, time: not measured.
"""

import json
from pathlib import Path
from typing import Any

import click
import numpy as np
from common import DIRECTIONS, SMOKE, both_ways, of_kind, run_and_encode, smoke_dataset


@click.command(help=__doc__)
@click.argument("dataset", required=False, type=click.Path(path_type=Path))
@click.option("--run", type=click.Path(path_type=Path), help="Draw the codes of this trained run folder.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for the figures.")
@click.option("--split", default="val", show_default=True, help="The split that is measured on.")
@click.option("--bits", default=64, show_default=True, help="Code length in bits.")
@click.option(
    "--categories",
    default=10,
    show_default=True,
    help="Number of categories in the t-SNE, the largest ones.",
)
@click.option("--smoke", is_flag=True, help="Use a few synthetic shapes and a micro model.")
def main(
    dataset: Path | None, run: Path | None, out: Path, split: str, bits: int, categories: int, smoke: bool
) -> None:
    """Encode with the trained and the untrained model, draw."""
    from cmah.runs.run_folder import RunFolder
    from cmah.training.starting import train

    if smoke:
        dataset, bits = smoke_dataset(out / "data"), 16
        run = train(dataset, out / "run", settings=[*SMOKE, "model.bits=8,16"], resume=True)
    if dataset is None or run is None:
        raise click.UsageError("give a DATASET and a --run, or --smoke")
    out.mkdir(parents=True, exist_ok=True)
    stored = RunFolder(run).trained.to_dictionary()
    settings = _flat({key: stored[key] for key in ("model", "loss", "data")})
    settings += ["training.epochs=0", "training.cached_copies=0"]
    before = run_and_encode(dataset, out / "untrained", split, None, settings, floats=False)["codes"]
    from cmah.runs.encoder import Encoder

    encoder = Encoder.load(run)
    from cmah.data.dataset import Dataset

    data = Dataset.read(dataset).select(split)
    after = (
        encoder.dataset_images(data, data.images, label="images")[0],
        encoder.dataset_shapes(data, data.shapes, label="shapes")[0],
    )
    codes = {"before training": before, "after training": after}
    cut = {
        name: (of_kind(image, ["render"]).truncate(bits), shape.truncate(bits))
        for name, (image, shape) in codes.items()
    }
    curves = _precision(cut, out, bits)
    _tsne(cut, out, bits, categories)
    (out / "curves.json").write_text(json.dumps(curves, indent=1), encoding="utf-8")
    click.echo(f"wrote precision and tsne (.png, .svg) and curves.json to {out}")


def _flat(nested: dict[str, Any], prefix: str = "") -> list[str]:
    """A configuration as KEY=VALUE strings."""
    settings: list[str] = []
    for key, value in nested.items():
        if isinstance(value, dict):
            settings += _flat(value, f"{prefix}{key}.")
        else:
            text = ",".join(map(str, value)) if isinstance(value, list) else value
            settings.append(f"{prefix}{key}={text}")
    return settings


def _figure(columns: int) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * columns, 4.2), layout="constrained")
    return figure, figure.subplots(1, columns)


def _save(figure: Any, out: Path, name: str) -> None:
    for suffix in ("png", "svg"):
        figure.savefig(out / f"{name}.{suffix}", dpi=150)


def _precision(codes: dict[str, Any], out: Path, bits: int) -> dict[str, Any]:
    figure, axes = _figure(2)
    curves: dict[str, Any] = {}
    for name, (image, shape) in codes.items():
        for axis, direction, report in zip(axes, DIRECTIONS, both_ways(image, shape, 0), strict=True):
            curves[f"{name}, {direction}"] = report.curves["rank"]
            axis.plot(report.curves["rank"]["k"], report.curves["rank"]["precision"], marker=".", label=name)
            axis.set(
                xscale="log",
                xlabel="K",
                ylabel="Precision@Top-K",
                title=f"{direction}, {bits} bits",
                ylim=(0, 1),
            )
            axis.grid(alpha=0.3)
            axis.legend()
    _save(figure, out, "precision")
    return curves


def _tsne(codes: dict[str, Any], out: Path, bits: int, categories: int) -> None:
    """One t-SNE of both modalities: crosses are images, circles are shapes, colours are categories."""
    from sklearn.manifold import TSNE

    figure, axes = _figure(2)
    for axis, (name, (image, shape)) in zip(axes, codes.items(), strict=True):
        names, counts = np.unique(shape.categories, return_counts=True)
        chosen = sorted(names[np.argsort(-counts, kind="stable")[:categories]])
        rows = [np.flatnonzero(np.isin(part.categories, chosen)) for part in (image, shape)]
        rows[0] = rows[0][:: max(1, len(rows[0]) // 600)]  # enough pictures to see, few enough to draw
        labels = np.concatenate([image.categories[rows[0]], shape.categories[rows[1]]])
        signs = np.concatenate([image[rows[0]].signs(), shape[rows[1]].signs()]).astype(np.float32)
        perplexity = min(30, (len(signs) - 1) / 3)
        plane = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(signs)
        is_shape = np.arange(len(plane)) >= len(rows[0])
        for i, category in enumerate(chosen):
            for marker, side in (("x", ~is_shape), ("o", is_shape)):
                points = plane[(labels == category) & side]
                label = category if marker == "o" else None
                axis.scatter(*points.T, s=14, marker=marker, color=f"C{i % 10}", linewidths=0.8, label=label)
        axis.set(xticks=[], yticks=[], title=f"{name}, {bits} bits (x image, o shape)")
    axes[-1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    _save(figure, out, "tsne")


if __name__ == "__main__":
    main()
