"""The training loop: validate, save, stop?, step, log. It knows recipes by their interface only."""

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import cmah
from cmah.config.schema import Config, differences, make_config
from cmah.data.dataset import Dataset
from cmah.devices import chosen_device
from cmah.errors import ConfigError, RunError
from cmah.files import atomic_path, locked, require_file
from cmah.progress import progress
from cmah.recipes import Recipe, load_recipe
from cmah.runs.encoder import FITTED, Encoder, load_fitted
from cmah.runs.exporting import fitted_codes
from cmah.runs.metrics_log import read_metrics
from cmah.runs.run_folder import (
    check_towers,
    load_optimizer,
    load_own_state,
    load_tensors,
    optimizer_tensors,
    own_state,
    read_config,
    save_tensors,
    write_config,
)
from cmah.training.optimisation import learning_rate, parameter_groups, seed_step
from cmah.training.plotting import plot_curves
from cmah.training.validation import Validator, hold_out


@dataclass
class Progress:
    """Where a run stands; saved with the weights, so that a resumed run goes on with the same numbers."""

    epoch: int = 0  # epochs completed
    batch: int = 0  # batches completed of the current epoch
    best: float = -math.inf  # validation score of model.safetensors
    best_epoch: int = 0
    since_best: int = 0  # validations since then
    sums: dict[str, float] = field(default_factory=dict)  # of losses over the current epoch's batches
    seconds: float = 0.0  # of training so far, over all its processes


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
        overrides: nested dictionary of settings, between file and strings.
        device: "auto" (CUDA where there is one), "cpu", "cuda" or "cuda:1".
        resume: continue the run in `out` from its last saved state; start it if there is none. On the CPU, with
            the same number of threads, the numbers are bit-equal to those of an uninterrupted run; on
            CUDA, where sums may run in any order, this has not been measured.
        report: called with a line for people at the start, after each validation, and at the end.

    Returns:
        The run folder: config.json, model.safetensors (the epoch with the best validation score),
        metrics.jsonl, curves.png and state/.

    Raises:
        ConfigError, DatasetError: for wrong settings or data.
        RunError: if `out` exists already, cannot be resumed, or the loss stops being finite.
    """
    out, chosen = Path(out), chosen_device(device)
    data = dataset if isinstance(dataset, Dataset) else Dataset.read(dataset)
    origin = {"path": str(data.root.resolve()), "name": data.name, "checksum": data.checksum()}
    if (out / "dataset.json").exists():
        raise RunError(f"{out}: holds a dataset; choose another folder")
    if (out / "config.json").exists() and not resume:
        raise RunError(f"{out}: holds a run already; continue it with --resume or choose another folder")
    if (out / "config.json").exists():
        resolved, stored = read_config(out)
        other = differences(resolved, recipe, preset, config, settings, overrides)
        if other:
            raise ConfigError(f"{out}: was started with other settings: {'; '.join(other)}")
        if stored["dataset"]["checksum"] != origin["checksum"]:
            raise RunError(f"{out}: was started on other data than {data.root} (checksums differ)")
        check_towers(stored, resolved)
    else:
        resolved = make_config(recipe, preset, config, settings, overrides)
    with locked(out):
        Run(resolved, data, out, chosen, report).go(origin)
    return out


class Run:
    """One training: recipe, optimiser, data and progress."""

    def __init__(
        self, config: Config, data: Dataset, out: Path, device: torch.device, report: Callable[[str], None]
    ) -> None:
        self.config, self.out, self.device, self.report = config, out, device, report
        training = config.training
        seed_step(training.seed, 0, -1)
        self.recipe: Recipe = load_recipe(config.recipe)(config)
        self.recipe.model.to(device)
        self.fit, held_out = hold_out(data.select(config.data.split), training.held_out, config.data.kinds)
        for remark in self.recipe.remarks:  # before hours of embedding, not after
            report(remark)
        self.batches = 0
        if training.epochs:  # reading points and embedding images may take hours
            self.loader = self.recipe.batches(self.fit, config)
            self.pairs = self.loader.pairs
            if len(self.pairs) < 2:
                raise RunError(
                    f"{data.root}: split {config.data.split!r} has fewer than two shapes with images"
                )
            self.batches = len(self.loader)
            for name, reason in self.pairs.skipped:
                report(f"left out {name}: {reason}")
        self.validator = Validator(self.recipe, held_out, config, device) if held_out else None
        self.held_out = len(held_out.shapes) if held_out else 0
        self.names: dict[Tensor, str] = {
            parameter: name for name, parameter in self.recipe.model.named_parameters()
        }
        groups = parameter_groups(self.recipe.model, training)
        if training.epochs and not groups:
            raise ConfigError(
                "nothing is left to train: every tower is frozen; set training.epochs=0 to use them as they are"
            )
        self.optimizer = torch.optim.AdamW(groups or [{"params": [], "scale": 1.0}], lr=training.lr)
        precision = training.precision
        if precision == "auto":
            precision = "bfloat16" if device.type == "cuda" else "float32"
        self.autocast = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
        self.generator = torch.Generator()
        self.progress = Progress()

    @property
    def state_file(self) -> Path:
        """What resuming needs: weights, optimiser state and progress in one file."""
        return self.out / "state" / "last.safetensors"

    def go(self, origin: dict[str, str]) -> None:
        """Train from where the run stands to its end."""
        training, p = self.config.training, self.progress
        records = read_metrics(self.out)
        if self.state_file.exists():
            self.restore()
            p = self.progress
        elif len(records) > 1:  # one may have been written by a run that was killed before its first save
            raise RunError(
                f"{self.state_file}: no such file, but {len(records)} epochs are recorded; what they left stays as it "
                "is: start anew in another folder"
            )
        else:
            write_config(self.out, self.config, origin, cmah.__version__)
            save_tensors(self.out / "model.safetensors", own_state(self.recipe.model), {"epoch": 0})
        records = [record for record in records if record["epoch"] <= p.epoch]
        text = "".join(json.dumps(record) + "\n" for record in records)
        with atomic_path(self.out / "metrics.jsonl") as temporary:
            temporary.write_text(text, encoding="utf-8")
        count = sum(parameter.numel() for parameter in self.names if parameter.requires_grad)
        what = "no training: 0 epochs"
        if training.epochs:
            what = (
                f"{count / 1e6:.2f} M trained parameters, {len(self.pairs)} shapes and {self.held_out} held out, "
                f"{self.batches} batches an epoch, {training.epochs} epochs on {self.device}"
            )
        self.report(f"{self.config.recipe} ({self.config.preset}), {what}")
        bar = progress(range(training.epochs * self.batches), "train", unit="batch")
        bar.update(p.epoch * self.batches + p.batch)
        try:
            while p.epoch < training.epochs and not (training.patience and p.since_best >= training.patience):
                self.epoch(bar)
        finally:
            bar.close()
            if p.epoch:
                plot_curves(self.out)
        self.fit_codes()
        best = (
            f"; kept epoch {p.best_epoch}, held-out mAP {p.best:.3f} (mean of directions and lengths)"
            if self.validator and math.isfinite(p.best)
            else ""
        )
        if training.epochs:
            self.report(f"trained {p.epoch} epochs in {p.seconds:.0f} s{best}")

    def fit_codes(self) -> None:
        """Where the model has learned no codes: fit the hash that makes them of its embeddings, if not done."""
        path, training = self.out / FITTED, self.config.training
        if self.recipe.learned_codes:
            return
        if path.exists():
            load_fitted(path, self.recipe)
            return
        best = self.out / "model.safetensors"
        load_own_state(self.recipe.model, load_tensors(best)[0], best)
        encoder = Encoder(self.recipe, self.device, space="fit")
        kinds, views = self.config.data.kinds, training.validation_views
        fitted_codes(encoder, self.fit, kinds, views, training.workers).save(path)
        bits = self.recipe.prefixes[-1]
        self.report(f"codes: {bits} bits by ITQ, fitted to the embeddings of the training shapes, in {path}")

    def epoch(self, bar: Any) -> None:
        """Train one epoch (or the rest of one), validate, log and save."""
        training, p = self.config.training, self.progress
        self.recipe.model.train()
        self.recipe.start_epoch(p.epoch, training.epochs)
        started = saved = time.monotonic()
        before, first = p.seconds, p.batch
        for batch in self.loader.epoch(p.epoch, p.batch):
            rate = self.step(batch)
            p.batch += 1
            bar.update()
            bar.set_postfix_str(f"epoch {p.epoch + 1} loss {p.sums['loss'] / p.batch:.3f}")
            p.seconds = before + time.monotonic() - started
            # after the last batch, the whole epoch is saved below
            if p.batch < self.batches and time.monotonic() - saved > 60 * training.save_minutes:
                self.save()
                saved = time.monotonic()
        if not all(bool(parameter.isfinite().all()) for parameter in self.names):
            raise self.diverged("weights after its last batch")
        speed = (p.batch - first) * min(training.batch_size, len(self.pairs)) / (p.seconds - before)
        means = {name: total / p.batch for name, total in p.sums.items()}
        record: dict[str, Any] = {
            "epoch": p.epoch + 1,
            "step": (p.epoch + 1) * self.batches,
            "lr": rate,
            **means,
        }
        if self.validator and (
            (p.epoch + 1) % training.validate_every == 0 or p.epoch + 1 == training.epochs
        ):
            try:
                record["validation"] = self.validator.measure()
            except RunError as error:
                raise self.diverged(f"validation ({error})") from None
            if math.isnan(record["validation"]["score"]):  # a matter of the data: so it will stay
                self.report(
                    "of what is held out and can be read, nothing is there to be found: the last epoch is kept"
                )
                self.validator = None
                del record["validation"]
        p.epoch, p.batch, p.sums = p.epoch + 1, 0, {}
        if "validation" in record:
            self.judge(record["validation"]["score"])
        elif not self.validator:
            self.judge(float(p.epoch))  # nothing to choose by: the last epoch is kept
        p.seconds = before + time.monotonic() - started
        record |= {"seconds": round(p.seconds, 2), "pairs_per_second": round(speed, 1)}
        with open(self.out / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        self.save()
        if self.validator and "validation" in record:
            measured = self.validator.describe(record["validation"])
            self.report(f"epoch {p.epoch}: loss {means['loss']:.3f}, {measured}")

    def diverged(self, where: str) -> RunError:
        """The error that ends a run whose numbers have stopped being finite."""
        return RunError(
            f"{self.out}: not finite at epoch {self.progress.epoch + 1}, {where}; model.safetensors keeps the best "
            "epoch before; try a lower training.lr"
        )

    def step(self, batch: dict[str, Tensor]) -> float:
        """One optimiser step; returns the learning rate."""
        training, p = self.config.training, self.progress
        seed = seed_step(training.seed, p.epoch, p.batch)
        self.generator.manual_seed(seed)
        rate = learning_rate(p.epoch * self.batches + p.batch, self.batches, training)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["scale"]
        moved = {key: value.to(self.device, non_blocking=True) for key, value in batch.items()}
        with self.autocast:
            loss, parts = self.recipe.loss(moved, self.generator)
        values = {"loss": loss.item(), **{name: part.item() for name, part in parts.items()}}
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.names, training.clip_norm or math.inf)
        if not math.isfinite(values["loss"]) or not bool(norm.isfinite()):
            named = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
            raise self.diverged(f"batch {p.batch + 1} ({named}, gradient norm {norm.item():.4g})")
        self.optimizer.step()
        self.recipe.after_step()
        for name, value in values.items():
            p.sums[name] = p.sums.get(name, 0.0) + value
        return rate

    def judge(self, score: float) -> None:
        """Keep the model if it is the best so far."""
        p = self.progress
        if score > p.best:
            p.best, p.best_epoch, p.since_best = score, p.epoch, 0
            facts = {"epoch": p.epoch, "score": score}
            save_tensors(self.out / "model.safetensors", own_state(self.recipe.model), facts)
        else:
            p.since_best += 1

    def save(self) -> None:
        """Save what resuming needs, in one file."""
        tensors = {f"model.{key}": value for key, value in own_state(self.recipe.model).items()}
        tensors |= optimizer_tensors(self.optimizer, self.names)
        save_tensors(self.state_file, tensors, vars(self.progress))

    def restore(self) -> None:
        """Go back to the last saved state."""
        tensors, facts = load_tensors(self.state_file)
        known = vars(self.progress)
        if facts.keys() != known.keys() or any(
            not isinstance(facts[key], int | float if isinstance(value, float) else type(value))
            for key, value in known.items()
        ):
            raise RunError(f"{self.state_file}: does not say where the run stands")
        progress = Progress(**facts)
        if progress.epoch < 0 or not 0 <= progress.batch < self.batches:
            raise RunError(
                f"{self.state_file}: stands at epoch {progress.epoch}, batch {progress.batch}, which cannot be"
            )
        require_file(self.out / "model.safetensors", "the best epoch before; start anew", RunError)
        model = {key[6:]: value for key, value in tensors.items() if key.startswith("model.")}
        load_own_state(self.recipe.model, model, self.state_file)
        try:
            load_optimizer(self.optimizer, self.names, tensors)
        except RunError as error:
            raise RunError(f"{self.state_file}: {error}") from None
        self.progress = progress
