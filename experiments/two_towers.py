"""Functions for the experiments on methods over two towers: options, runs that are trained once, tables.

Imported by the experiments; it has no command. Each experiment measures on any dataset folder. Published values are
printed beside measured ones only if --published says that data and encoders are the paper's; else as a separate list.
"""

import json
import logging
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
from common import each_in_a_process, markdown, smoke_dataset

from cmah.data.dataset import Dataset
from cmah.errors import CmahError
from cmah.files import write_json
from cmah.runs.metrics_log import read_metrics
from cmah.training.starting import train

SMOKE = (
    "model.points=64", "training.epochs=2", "training.batch_size=8", "training.warmup_epochs=0", "training.workers=0",
    "training.held_out=0",
)  # fmt: skip
SMOKE_CLIP = {
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 40, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}
PATH = click.Path(path_type=Path)
SHARED = (
    click.argument("dataset", required=False, type=PATH),
    click.option("--out", required=True, type=PATH, help="Folder for runs and tables."),
    click.option("--target", type=PATH, help="Dataset folder to measure on.  [default: DATASET]"),
    click.option(
        "--split",
        default="val",
        show_default=True,
        help="The split that is measured on; never trained or chosen on.",
    ),
    click.option("--image-encoder", help="Frozen image encoder, as for cmah train."),
    click.option("--image-weights", help="Weights of the image encoder: a file or download:TAG."),
    click.option("--shape-encoder", help="Shape encoder, as for cmah train; cmah encoders lists them."),
    click.option("--config", type=PATH, help="Read settings from this TOML file."),
    click.option(
        "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a setting; may be repeated."
    ),
    click.option("--device", default="auto", show_default=True, help="Device: auto, cpu, cuda or cuda:N."),
    click.option(
        "--seeds",
        default=3,
        show_default=True,
        type=click.IntRange(min=1),
        help="Number of runs per arm, with seeds from 0.",
    ),
    click.option(
        "--jobs",
        default=1,
        show_default=True,
        type=click.IntRange(min=0),
        help="Number of runs at a time, one thread each; 0 runs one after the other in this process.",
    ),
    click.option("--smoke", is_flag=True, help="Use a few synthetic shapes, random weights and two epochs."),
    click.option("--one", hidden=True, help="Do a single run, by its name."),
)
# options that make no difference to the numbers of a single run
NOT_OF_A_RUN = ("out", "seeds", "jobs", "smoke", "one", "published", "counts", "arms", "zero_shot")
Published = Mapping[str, Sequence[float | None]]


def shared_options(command: Callable[..., None]) -> Callable[..., None]:
    """The argument DATASET and the options that all these experiments have."""
    for option in reversed(SHARED):
        command = option(command)
    return command


def model_settings(o: SimpleNamespace) -> list[str]:
    """The settings that a command line gives: the encoders it names, then --set."""
    names = ("image_encoder", "image_weights", "shape_encoder")
    given = [f"model.{name}={getattr(o, name)}" for name in names if getattr(o, name)]
    return [*given, *o.settings]


def use_smoke_inputs(o: SimpleNamespace, width: int = 64) -> None:
    """Change the options to a synthetic dataset and a tiny CLIP model with random weights, all in this process.

    `width` is the width of the model's embeddings.
    """
    import open_clip
    import torch
    from safetensors.torch import save_file

    os.environ.setdefault("CMAH_CACHE", str(o.out / "cache"))
    o.dataset, o.target, o.split, o.jobs = smoke_dataset(o.out / "data"), None, "val", 0
    name = f"smoke-clip-{width}"
    write_json(o.out / f"{name}.json", {"embed_dim": width, **SMOKE_CLIP})
    open_clip.add_model_config(o.out / f"{name}.json")
    o.image_encoder, o.image_weights = f"open_clip:{name}", str(o.out / "clip.safetensors")
    if not Path(o.image_weights).exists():
        torch.manual_seed(0)
        logging.disable(logging.WARNING)  # open_clip warns of random weights, which are wanted here
        save_file(open_clip.create_model(name).state_dict(), o.image_weights)
        logging.disable(logging.NOTSET)
    o.settings = (*SMOKE, *o.settings)


def require_data(o: SimpleNamespace) -> None:
    """Read the tables of the dataset folders that are named, before hours of training.

    Raises:
        click.UsageError: if no dataset is given.
        DatasetError: if one cannot be read.
    """
    if o.dataset is None:
        raise click.UsageError("give a DATASET, or --smoke")
    if not o.one:
        Dataset.read(o.dataset)
        Dataset.read(o.target or o.dataset).select(o.split)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn a CmahError into a message of one line, without a traceback."""
    try:
        yield
    except CmahError as error:
        raise click.ClickException(str(error)) from error


def trained(
    o: SimpleNamespace, recipe: str, settings: Sequence[str], preset: str | None = None
) -> tuple[Path, float]:
    """Train (or resume) the run in OUT/run; the run folder and the seconds of its training."""
    run = train(
        o.dataset,
        o.out / "run",
        recipe=recipe,
        preset=preset,
        config=o.config,
        settings=settings,
        device=o.device,
        resume=True,
        report=lambda line: click.echo(line, err=True),
    )
    records = read_metrics(run)
    return run, records[-1]["seconds"] if records else 0.0


def all_runs(script: str, command: click.Command, o: SimpleNamespace, names: Sequence[str]) -> dict[str, Any]:
    """The numbers of each run by its name, from OUT/<name>/numbers.json; missing runs are done first.

    Raises:
        click.UsageError: if OUT holds runs with other options.
    """
    arguments = passed_on(command, vars(o))
    asked = {"dataset": str(o.dataset), "options": arguments}
    path = o.out / "options.json"
    if path.exists() and (stored := json.loads(path.read_text(encoding="utf-8"))) != asked:
        raise click.UsageError(f"{path}: the runs there have other options, {stored}; choose another --out")
    o.out.mkdir(parents=True, exist_ok=True)
    write_json(path, asked)
    folders = {name: o.out / _file_name(name) for name in names}
    try:
        each_in_a_process(script, o.dataset, folders, arguments, o.jobs)
    except subprocess.CalledProcessError as error:
        raise click.ClickException("a run failed; see its message above") from error
    return {name: json.loads((folder / "numbers.json").read_text()) for name, folder in folders.items()}


def _file_name(name: str) -> str:
    return re.sub(r"[^\w.]+", "-", name, flags=re.ASCII).strip("-").lower()


def passed_on(command: click.Command, values: Mapping[str, Any]) -> list[str]:
    """The options to pass to the process of a single run, as arguments."""
    arguments: list[str] = []
    for option in command.params:
        value = values[str(option.name)]
        if not isinstance(option, click.Option) or option.name in NOT_OF_A_RUN or value is None:
            continue
        if option.is_flag:
            arguments += [option.opts[0]] if value else []
            continue
        for one in value if option.multiple else [value]:
            arguments += [option.opts[0], str(one)]
    return arguments


def kept(path: Path, compute: Callable[[], Any]) -> Any:
    """The result of `compute`, kept as JSON in a file; read from the file if an earlier process wrote it."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, compute())
    return json.loads(path.read_text(encoding="utf-8"))


def percent(values: Sequence[float | None]) -> str:
    """Fractions in percent as papers print them, with the standard deviation if there are several seeds."""
    finite = [100 * value for value in values if value is not None and np.isfinite(value)]
    if not finite or len(finite) < len(values):
        return "–"
    spread = f" ± {np.std(finite, ddof=1):.1f}" if len(finite) > 1 else ""
    return f"{np.mean(finite):.1f}{spread}"


def table(
    corner: str,
    columns: Sequence[str],
    measured: Mapping[str, Sequence[str]],
    published: Published | None = None,
) -> str:
    """A Markdown table of measured cells; with `published`, each has the published value beside it ("–": none)."""
    head, rows = [corner], []
    for column in columns:
        head += [column] if published is None else [column, "published"]
    for label, cells in measured.items():
        row = [label]
        for place, cell in enumerate(cells):
            row.append(cell)
            if published is not None:
                row.append(_number(published[label][place]) if label in published else "–")
        rows.append(row)
    return markdown(head, rows)


def reference_list(source: str, corner: str, columns: Sequence[str], values: Published) -> str:
    """A Markdown table of published values, under a line that says that they are not measured here."""
    rows = [[label, *map(_number, numbers)] for label, numbers in values.items()]
    return f"\nPublished ({source}), not measured here:\n\n" + markdown([corner, *columns], rows)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
