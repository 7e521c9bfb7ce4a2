"""`train`: starts a run, resumes it, or takes a model as it is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from cmah.config.schema import Config
from cmah.data.dataset import Dataset
from cmah.devices import chosen_device
from cmah.errors import ConfigError, RunError
from cmah.file_names import as_path
from cmah.files import atomic_path, locked
from cmah.models.encoder_model import needs_points
from cmah.recipes.resolving import build_recipe, differences, given_settings, load_recipe, make_config
from cmah.runs.run_folder import RunFolder
from cmah.runs.tensor_files import own_state, save_tensors
from cmah.training.fitting import fit_codes
from cmah.training.loop import TrainingLoop
from cmah.training.more_epochs import with_epochs
from cmah.training.optimisation import seed_step
from cmah.training.training_part import training_part
from cmah.training.validation import hold_out

LEAST_STEPS = 600  # about as many as `cmah demo` takes


def train(
    dataset: str | Path | Dataset,
    out: str | Path,
    *,
    recipe: str | None = None,
    preset: str | None = None,
    config: str | Path | None = None,
    settings: Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None,
    device: str = "auto",
    resume: bool = False,
    verify: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> Path:
    """Train a recipe on a dataset folder and write a run folder.

    Args:
        dataset: folder, or a `Dataset` read from one.
        out: the run folder to write.
        recipe: name of the method; None takes the file's, or cmah.
        preset: one of the recipe's presets; None takes its first.
        config: TOML file of settings.
        settings: strings such as "training.lr=1e-4"; they come last.
        overrides: nested dictionary of settings, such as {"model": {"bits": (16, 32)}}, between file and strings.
        device: "auto" (CUDA where there is one), "cpu", "cuda" or "cuda:1".
        resume: continue the run in `out` from its last saved state; start it if there is none. On the CPU, with
            the same number of threads, the numbers are bit-equal to those of an uninterrupted run; on
            CUDA, where sums may run in any order, this has not been measured. Another number of epochs than the run
            was started with is taken where the result is that of a run started with so many (see `with_epochs`).
        verify: when resuming, read weights files anew instead of trusting the digests that the cache remembers.
        report: called with a line for people at the start, after each validation, and at the end.

    Returns:
        The run folder: config.json, model.safetensors (the epoch with the best validation score),
        metrics.jsonl, curves.png and state/.

    Raises:
        ConfigError, DatasetError: for wrong settings or data.
        RunError: if `out` exists already, cannot be resumed, or the loss stops being finite.

    Examples:
        >>> settings = ["model.bits=16,32", "model.depth=1", "training.epochs=1", "training.workers=0"]
        >>> run = train("demo/dataset", "run", preset="tiny", settings=settings, device="cpu")
        >>> sorted(path.name for path in run.iterdir())
        ['config.json', 'curves.png', 'metrics.jsonl', 'model.safetensors', 'state']
        >>> RunFolder(run).config.model.bits
        (16, 32)
    """
    out, chosen = as_path(out), chosen_device(device)
    data = dataset if isinstance(dataset, Dataset) else Dataset.read(dataset)
    origin = {"path": str(data.root.resolve()), "name": data.name, "checksum": data.checksum()}
    if (out / "dataset.json").exists():
        raise RunError(f"{out}: holds a dataset; choose another folder")
    folder = None
    if (out / "config.json").exists():
        if not resume:
            raise RunError(f"{out}: holds a run already; continue it with --resume or choose another folder")
        folder = RunFolder(out, verify=verify)
        resolved = folder.config
        other = differences(resolved, recipe, preset, config, settings, overrides)
        if conflicts := [each for each in other if not each.startswith("training.epochs = ")]:
            raise ConfigError(f"{out}: was started with other settings: {'; '.join(conflicts)}")
        if other:
            given = given_settings(config, overrides, settings)
            resolved = with_epochs(folder, int(given["training"]["epochs"]))
        if folder.stored["dataset"]["checksum"] != origin["checksum"]:
            raise RunError(f"{out}: was started on other data than {data.root} (checksums differ)")
    else:
        resolved = make_config(recipe, preset, config, settings, overrides)
        resolved = load_recipe(resolved.recipe).for_data(resolved, data)
        if "epochs" not in given_settings(config, overrides, settings).get("training", {}):
            resolved = enough_steps(resolved, data, report)
    with locked(out):
        if resolved.training.epochs:
            TrainingLoop(resolved, data, out, chosen, report).run(origin, folder)
        else:
            adopt(resolved, data, out, chosen, report, origin)
    return out


def enough_steps(config: Config, data: Dataset, report: Callable[[str], None]) -> Config:
    """The configuration with more epochs, where those of the preset would be too few steps to learn anything.

    A preset's epochs are made for hundreds of shapes. Of 50, 60 epochs of the preset tiny are 60 steps, after which a
    third of the codes were different and the hits hardly better than chance.

    Args:
        config: with the epochs of its preset.
        data: the dataset.
        report: called with a line where the epochs are others.

    Examples:
        >>> from cmah.recipes.resolving import make_config
        >>> config, dataset = make_config("cmah", "tiny"), Dataset.read("demo/dataset")
        >>> dataset.shapes = [shape for shape in dataset.shapes if shape.split == "train"][:30]
        >>> enough_steps(config, dataset, report=print).training.epochs
        30 shapes make 1 batch an epoch: 600 epochs in place of 60 (--epochs decides otherwise)
        600
    """
    training = config.training
    samples, unit = load_recipe(config.recipe).samples_of(config, data)
    batches = training.batches(samples)
    if not training.epochs or not samples or training.epochs * batches >= LEAST_STEPS:
        return config
    epochs = -(-LEAST_STEPS // batches)
    report(
        f"{samples} {unit} make {batches} batch{'es' * (batches > 1)} an epoch: {epochs} epochs in place of "
        f"{training.epochs} (--epochs decides otherwise)"
    )
    every = training.validate_every * max(1, epochs // training.epochs)
    return replace(config, training=replace(training, epochs=epochs, validate_every=every))


def adopt(
    config: Config,
    data: Dataset,
    out: Path,
    device: torch.device,
    report: Callable[[str], None],
    origin: dict[str, str],
) -> None:
    """Write a run of a model as it is, without training: pre-trained encoders, or random weights to compare with.

    Args:
        config: of the run, with training.epochs = 0.
        data: the dataset; the hash of a model that learns no codes is fitted to its training split.
        out: the run folder, locked.
        device: to compute on.
        report: called with each line for people.
        origin: path, name and checksum of the data.

    Raises:
        ConfigError: if the outputs of the model as it is would mean nothing.

    Examples:
        >>> config = make_config("cmah", "tiny", assignments=["training.epochs=0"])
        >>> origin = {"path": "demo/dataset", "name": "demo", "checksum": ""}
        >>> dataset, cpu = Dataset.read("demo/dataset"), torch.device("cpu")
        >>> adopt(config, dataset, Path("untrained"), cpu, print, origin)
        cmah (tiny), no training: 0 epochs
    """
    seed_step(config.training.seed, 0, -1)
    recipe = build_recipe(config)
    recipe.require_usable_untrained()
    recipe.network.to(device)
    part = training_part(data, config.data, report, points=needs_points(recipe.model))
    training_set, _ = hold_out(part, config.training.held_out, config.data.kinds)
    for remark in recipe.remarks:
        report(remark)
    folder = RunFolder.create(out, config, origin)
    save_tensors(folder.weights, own_state(recipe.network), {"epoch": 0})
    with atomic_path(out / "metrics.jsonl") as temporary:
        temporary.write_text("", encoding="utf-8")
    report(f"{config.recipe} ({config.preset}), no training: 0 epochs")
    fit_codes(folder, recipe, training_set, device, report)
