"""Table 1: mAP by code length and direction, from one nested run.

The paper (arXiv 2408.05711) prints mAP at several lengths and both directions on ShapeNetRender, ModelNet and
ShapeNet-55; its values are not known here, so none is compared. For any dataset folder:

    python experiments/cmah_table.py DATASET --out OUT --config experiments/configs/cmah_frozen.toml \
        --set model.image_weights=FILE --set model.shape_weights=FILE        (pre-trained, frozen towers)
    python experiments/cmah_table.py DATASET --out OUT --config experiments/configs/scratch.toml
    python experiments/cmah_table.py --smoke --out OUT                       (seconds, synthetic shapes)

A killed experiment, started again, resumes where it was.

Expected, on 41 categories (1,567 training and 271 measured shapes), mAP at 64 bits with the 95 % bootstrap interval:
configs/cmah_frozen.toml 0.466 (0.432-0.497) image to shape and 0.441 (0.406-0.476) shape to image;
configs/scratch.toml 0.396 (0.370-0.425) and 0.368 (0.339-0.400).
The whole tables are in docs/results.md.

Hardware: 2 cores of an AMD EPYC with AVX-512.

Time: 490 s for configs/cmah_frozen.toml; 2,460 s of one core, of an Intel Xeon with AVX-512, for configs/scratch.toml.
"""

import json
from pathlib import Path

import click
from common import DIRECTIONS, SMOKE, both_ways, markdown, of_kind, run_and_encode, smoke_dataset


@click.command(help=__doc__)
@click.argument("dataset", required=False, type=click.Path(path_type=Path))
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Folder for the run and the table."
)
@click.option("--config", type=click.Path(path_type=Path), help="Read settings from this TOML file.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a setting; may be repeated."
)
@click.option(
    "--split",
    default="val",
    show_default=True,
    help="The split that is measured on; never trained or chosen on.",
)
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    default=["render"],
    show_default=True,
    help="Use images of this kind as queries; may be repeated.",
)
@click.option("--smoke", is_flag=True, help="Use a few synthetic shapes and a micro model.")
def main(
    dataset: Path | None,
    out: Path,
    config: Path | None,
    settings: tuple[str, ...],
    split: str,
    kinds: tuple[str, ...],
    smoke: bool,
) -> None:
    """Train, export, evaluate, print."""
    if smoke:
        dataset, settings = smoke_dataset(out / "data"), (*SMOKE, "model.bits=8,16", *settings)
    elif dataset is None:
        raise click.UsageError("give a DATASET, or --smoke")
    outputs = run_and_encode(dataset, out, split, config, settings)
    rows, numbers = [], []
    for name in ("codes", "floats"):
        image, shape = of_kind(outputs[name][0], kinds), outputs[name][1]
        for width in image.prefixes if name == "codes" else [image.embeddings.shape[1]]:
            pair = (image.truncate(width), shape.truncate(width)) if name == "codes" else (image, shape)
            for direction, report in zip(DIRECTIONS, both_ways(*pair), strict=True):
                label = f"{width} bits" if name == "codes" else f"{width} floats"
                interval = f"{report['map']:.3f} ({report['map_low']:.3f}-{report['map_high']:.3f})"
                ties = f"{report['map_worst']:.3f}-{report['map_best']:.3f}"
                others = [f"{report[key]:.3f}" for key in ("p@10", "acc@1", "acc@10")]
                rows.append([label, direction, interval, ties, *others])
                numbers.append({"width": width, "floats": name == "floats", "direction": direction})
                numbers[-1] |= report.to_dict()
    (out / "table.json").write_text(json.dumps(numbers, indent=1), encoding="utf-8")
    head = ["", "direction", "mAP (95 % interval)", "worst-best tie order", "P@10", "Acc@1", "Acc@10"]
    click.echo(markdown(head, rows))


if __name__ == "__main__":
    main()
