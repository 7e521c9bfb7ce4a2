"""The ablation that the paper's Figure 1 implies: what each part of CMAH adds.

Arms: all on; without the masked stream's contrast (mask-full); without reconstruction; without fusion; and
contrast of the full streams alone (none of the three). The paper's values are not known here.

    python experiments/cmah_ablation.py DATASET --out OUT --config experiments/configs/ablation.toml --jobs 2
    python experiments/cmah_ablation.py --smoke --out OUT

Each run is a separate process with one thread; --jobs of them run at a time. A killed experiment, started again,
resumes where it was.

Expected, on 41 categories (1,567 training and 271 measured shapes), mAP at 64 bits, mean ± standard deviation over
three seeds: all on 0.228 ± 0.002 (image to shape) and 0.198 ± 0.004 (shape to image), contrast of the full streams
alone 0.210 ± 0.004 and 0.180 ± 0.008. The whole table is in docs/results.md.

Hardware: one core of an AMD EPYC per run.

Time: 336 to 484 s of CPU per run, 15 runs.
"""

import json
from pathlib import Path
from typing import Any

import click
import numpy as np
from common import (
    DIRECTIONS,
    SMOKE,
    both_ways,
    each_in_a_process,
    markdown,
    of_kind,
    run_and_encode,
    smoke_dataset,
)

ARMS = {
    "all on": (),
    "no mask-full contrast": ("loss.mask_full=0",),
    "no reconstruction": ("loss.pixels=0", "loss.points=0"),
    "no fusion": ("model.fusion_depth=0",),
    "full-full contrast only": ("loss.mask_full=0", "loss.pixels=0", "loss.points=0"),
}
MEASURES = ("map", "p@10", "acc@1", "acc@10")


@click.command(help=__doc__)
@click.argument("dataset", required=False, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder for runs and tables.")
@click.option("--config", type=click.Path(path_type=Path), help="Read settings from this TOML file.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a setting; may be repeated."
)
@click.option("--split", default="val", show_default=True, help="The split that is measured on.")
@click.option("--bits", default=64, show_default=True, help="Code length in bits that the table shows.")
@click.option("--seeds", default=3, show_default=True, help="Number of runs per arm, with seeds from 0.")
@click.option("--jobs", default=1, show_default=True, help="Number of runs at a time.")
@click.option("--smoke", is_flag=True, help="Use a few synthetic shapes, a micro model and two seeds.")
@click.option("--one", hidden=True, help="Run one arm with one seed: ARM:SEED.")
def main(
    dataset: Path | None,
    out: Path,
    config: Path | None,
    settings: tuple[str, ...],
    split: str,
    bits: int,
    seeds: int,
    jobs: int,
    smoke: bool,
    one: str | None,
) -> None:
    """Run every arm with every seed, then print mean and deviation."""
    if smoke and not one:
        dataset, settings, bits, seeds = (
            smoke_dataset(out / "data"),
            (*SMOKE, "model.bits=8,16", *settings),
            16,
            2,
        )
    if dataset is None:
        raise click.UsageError("give a DATASET, or --smoke")
    if one:
        arm, seed = one.rsplit(":", 1)
        measure(dataset, out, config, (*settings, *ARMS[arm], f"training.seed={seed}"), split, bits)
        return
    # the baseline comes last, so that a table of the others is complete as early as can be
    *parts, baseline = ARMS
    order = [(arm, seed) for seed in range(seeds) for arm in parts] + [(baseline, s) for s in range(seeds)]
    tasks = {(arm, seed): out / f"{arm.replace(' ', '_')}-{seed}" for arm, seed in order}

    common = ["--split", split, "--bits", str(bits), *(["--config", str(config)] if config else [])]
    common += [part for setting in settings for part in ("--set", setting)]
    each_in_a_process(
        __file__, dataset, {f"{arm}:{seed}": tasks[arm, seed] for arm, seed in tasks}, common, jobs
    )
    table: dict[str, list[dict[str, Any]]] = {}
    for (arm, _), folder in tasks.items():
        table.setdefault(arm, []).append(json.loads((folder / "numbers.json").read_text(encoding="utf-8")))
    (out / "ablation.json").write_text(json.dumps(table, indent=1), encoding="utf-8")
    rows = []
    for arm, runs in table.items():
        columns = np.array(
            [[run[way][key] for way in DIRECTIONS for key in ("map", "acc@10")] for run in runs]
        )
        spread = columns.std(axis=0, ddof=1)
        cells = [f"{mean:.3f} ± {by:.3f}" for mean, by in zip(columns.mean(axis=0), spread, strict=True)]
        rows.append([arm, *cells, f"{np.mean([run['seconds'] for run in runs]):.0f} s"])
    head = ["arm", "mAP image→shape", "Acc@10", "mAP shape→image", "Acc@10", "training"]
    click.echo(f"{bits} bits, split {split}, mean ± standard deviation over {seeds} seeds\n")
    click.echo(markdown(head, rows))


def measure(
    dataset: Path, out: Path, config: Path | None, settings: tuple[str, ...], split: str, bits: int
) -> None:
    """One arm with one seed: train, export, write numbers.json."""
    from cmah.runs.metrics_log import read_metrics

    outputs = run_and_encode(dataset, out, split, config, settings, floats=False)
    image, shape = of_kind(outputs["codes"][0], ["render"]).truncate(bits), outputs["codes"][1].truncate(bits)
    reports = zip(DIRECTIONS, both_ways(image, shape, bootstrap=0), strict=True)
    numbers = {direction: {key: report[key] for key in MEASURES} for direction, report in reports}
    seconds = read_metrics(out / "run")[-1]["seconds"]
    (out / "numbers.json").write_text(json.dumps({**numbers, "seconds": seconds}), encoding="utf-8")


if __name__ == "__main__":
    main()
