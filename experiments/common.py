"""Functions for several experiments: a run that is trained once and resumed, its codes, its numbers.

Imported by the experiments; it has no command.
"""

import os
import runpy
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
import numpy as np

from cmah.codes import BinaryCodes, Embeddings
from cmah.evaluation import Report, evaluate
from cmah.runs.exporting import export
from cmah.training.starting import train

SMOKE = (
    "model.width=32", "model.depth=1", "model.heads=2", "model.image_size=32", "model.patch_size=8",
    "model.points=64", "model.groups=8", "model.group_size=8", "model.token_width=16", "model.decoder_width=16",
    "model.decoder_depth=1", "model.decoder_heads=2", "training.epochs=2", "training.batch_size=8",
    "training.warmup_epochs=0", "training.workers=0", "training.validate_every=1",
)  # fmt: skip
DIRECTIONS = ("image→shape", "shape→image")


def smoke_dataset(out: Path) -> Path:
    """A dataset folder of a few synthetic shapes, for --smoke."""
    from cmah.preparing.preparing import prepare
    from cmah.synthetic import make_shapes

    if not (out / "dataset.json").exists():
        make_shapes(out.with_name("meshes"), per_category=8, categories=["chair", "table", "lamp"])
        fractions = (0.6, 0.4, 0.0)
        prepare(out.with_name("meshes"), out, views=2, image_size=32, points=128, split_fractions=fractions)
    return out


def run_and_encode(
    dataset: Path, out: Path, split: str, config: Path | None, settings: Sequence[str], floats: bool = True
) -> dict[str, tuple[Any, Any]]:
    """Train (or resume) the run in out/run and export its codes and embeddings.

    Returns:
        {"codes": (images, shapes), "floats": (images, shapes)}.
    """

    def report(line: str) -> None:
        click.echo(line, err=True)

    run = train(dataset, out / "run", config=config, settings=settings, resume=True, report=report)
    outputs: dict[str, tuple[Any, Any]] = {}
    image, shape, _ = export(run, dataset, out / "codes", split=split)
    outputs["codes"] = BinaryCodes.load(image), BinaryCodes.load(shape)
    if floats:
        image, shape, _ = export(run, dataset, out / "codes", split=split, embeddings=True)
        outputs["floats"] = Embeddings.load(image), Embeddings.load(shape)
    return outputs


def each_in_a_process(
    script: str, dataset: Path, tasks: Mapping[str, Path], arguments: Sequence[str], jobs: int
) -> None:
    """Run `script DATASET --out FOLDER --one NAME …` for each task NAME: FOLDER that has no numbers.json yet.

    Each is a process with one thread; `jobs` of them run at a time. With jobs = 0 they run in this process, one after
    the other, which saves the seconds that starting a process takes.
    """

    def start(task: tuple[str, Path]) -> None:
        name, folder = task
        if (folder / "numbers.json").exists():
            return
        of_task = [str(dataset), "--out", str(folder), "--one", name, *arguments]
        if jobs == 0:
            command.main(of_task, standalone_mode=False)
            return
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        subprocess.run([sys.executable, script, *of_task], check=True, env={**os.environ, **threads})

    if jobs == 0:
        command = runpy.run_path(script)["main"]
        for task in tasks.items():
            start(task)
        return
    with ThreadPoolExecutor(jobs) as pool:
        list(pool.map(start, tasks.items()))


def mean_and_deviation(values: Sequence[float]) -> str:
    """Mean ± standard deviation of values over seeds, as text."""
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return f"{np.mean(values):.3f} ± {spread:.3f}"


def of_kind(rows: Any, kinds: Sequence[str]) -> Any:
    """The images whose kind is among `kinds`."""
    return rows[[kind in kinds for kind in rows.kinds]]


def both_ways(image: Any, shape: Any, bootstrap: int = 1000) -> list[Report]:
    """Category relevance, full ranking, tie-aware: image→shape and shape→image."""
    return [evaluate(image, shape, bootstrap=bootstrap), evaluate(shape, image, bootstrap=bootstrap)]


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines)
