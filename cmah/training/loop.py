"""The training loop: step, validate, keep, log, save. It knows recipes by their interface only."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cmah.config.schema import Config
from cmah.data.dataset import Dataset
from cmah.errors import ConfigError, RunError
from cmah.files import atomic_path
from cmah.models.chunks import set_chunk_size
from cmah.models.encoder_model import needs_points
from cmah.progress import progress
from cmah.reading import require_file
from cmah.recipes.resolving import build_recipe
from cmah.runs.metrics_log import read_metrics
from cmah.runs.run_folder import RunFolder
from cmah.runs.tensor_files import checksum, load_own_state, load_tensors, own_state, save_tensors
from cmah.skipped_files import Skipped
from cmah.training.fitting import fit_codes
from cmah.training.moving_average import MovingAverage
from cmah.training.optimisation import (
    learning_rate,
    load_optimizer,
    optimizer_tensors,
    parameter_groups,
    seed_step,
)
from cmah.training.plotting import plot_curves
from cmah.training.training_part import training_part
from cmah.training.validation import Validator, hold_out

MOST_LINES = 5  # of the same reason
FEW = 30  # held-out shapes, below which their mAP says little


@dataclass
class Progress:
    """Where a run stands; all of it is saved.

    Examples:
        >>> vars(Progress(epoch=3, best=0.5, best_epoch=2))
        {'epoch': 3, 'batch': 0, 'best': 0.5, 'best_epoch': 2, 'since_best': 0, 'sums': {}, 'seconds': 0.0}
    """

    epoch: int = 0  # finished epochs
    batch: int = 0  # finished batches of the current one
    best: float = -math.inf  # validation score of the kept model
    best_epoch: int = 0
    since_best: int = 0  # validations
    sums: dict[str, float] = field(default_factory=dict)  # of losses over the current epoch's batches
    seconds: float = 0.0  # of training so far, over all its processes


def lines_of_left_out(skipped: Skipped) -> list[str]:
    """What is said of shapes and images that are left out: a line each, or one for many of the same reason.

    Examples:
        >>> lines_of_left_out([("seat", "no image of kind render")])
        ['left out seat: no image of kind render']
        >>> lines_of_left_out([(f"scan{i}", "no image of kind render") for i in range(200)])
        ['left out 200 (first: scan0): no image of kind render']
    """
    names_of: dict[str, list[str]] = {}
    for name, reason in dict.fromkeys(skipped):
        names_of.setdefault(reason, []).append(name)
    return [
        line
        for reason, names in names_of.items()
        for line in (
            [f"left out {len(names)} (first: {names[0]}): {reason}"]
            if len(names) > MOST_LINES
            else [f"left out {name}: {reason}" for name in names]
        )
    ]


class TrainingLoop:
    """One training: recipe, optimiser, data and progress.

    Examples:
        >>> from cmah.recipes.resolving import make_config
        >>> config = make_config("cmah", "tiny", assignments=["training.epochs=1", "training.workers=0"])
        >>> dataset, cpu = Dataset.read("demo/dataset"), torch.device("cpu")
        >>> loop = TrainingLoop(config, dataset, Path("run"), cpu, lambda line: None)
        >>> loop.run({"path": "demo/dataset", "name": "demo", "checksum": dataset.checksum()})
        >>> [record["epoch"] for record in read_metrics(Path("run"))]
        [1]
    """

    def __init__(
        self, config: Config, data: Dataset, out: Path, device: torch.device, report: Callable[[str], None]
    ) -> None:
        """Build the network and its batches, which may take hours where images are embedded first.

        Args:
            config: of the run; at least one epoch.
            data: the dataset.
            out: the run folder.
            device: to train on.
            report: called with each line for people.

        Raises:
            ConfigError, RunError: if nothing is to be trained, or there is too little to train on.
        """
        self.config, self.out, self.device, self.report = config, out, device, report
        training = config.training
        seed_step(training.seed, 0, -1)
        self.recipe = build_recipe(config)
        self.recipe.network.to(device)
        self.training_set, held_out = hold_out(
            training_part(data, config.data, report, points=needs_points(self.recipe.model)),
            training.held_out,
            config.data.kinds,
        )
        if training.chunk_size and not set_chunk_size(self.recipe.network, training.chunk_size):
            raise ConfigError(
                f"training.chunk_size = {training.chunk_size}: no encoder of this network is trained that can go in "
                "chunks; expected 0"
            )
        for remark in self.recipe.remarks:  # before hours of embedding, not after
            report(remark)
        self.loader = self.recipe.batches(self.training_set, config)
        self.pairs = self.loader.pairs
        if len(self.pairs) < 2:
            raise RunError(f"{data.root}: split {config.data.split!r} has fewer than two shapes with images")
        self.batches = len(self.loader)
        for line in lines_of_left_out(self.pairs.skipped):
            report(line)
        self.average: MovingAverage | None = None
        self.kept: Any = self.recipe.network
        if training.average:
            self.average = MovingAverage(self.recipe.network, training.average)
            self.kept = self.recipe.teacher = self.average.network
        self.validator: Validator | None = None
        if held_out:
            by = self.recipe.chosen_by
            self.validator = Validator(self.kept, held_out, config, device, by)
        self.held_out = len(held_out.shapes) if held_out else 0
        self.names: dict[Tensor, str] = {
            parameter: name for name, parameter in self.recipe.network.named_parameters()
        }
        groups = parameter_groups(self.recipe.network, training)
        if not groups:
            raise ConfigError(
                "nothing is left to train: every tower is frozen; set training.epochs=0 to use them as they are"
            )
        self.optimizer = torch.optim.AdamW(groups, lr=training.lr)
        precision = training.precision
        if precision == "auto":
            precision = "bfloat16" if device.type == "cuda" else "float32"
        self.autocast = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
        self.generator = torch.Generator()
        self.progress = Progress()

    def run(self, origin: dict[str, str], folder: RunFolder | None = None) -> None:
        """Train from where the run stands to its end.

        Args:
            origin: path, name and checksum of the data.
            folder: the run, where there is one to resume.
        """
        training = self.config.training
        self.folder = self.start(origin, folder)
        samples, held_out = f"{len(self.pairs)} {self.pairs.unit}", f"{self.held_out} held out"
        if self.pairs.unit != "shapes":
            samples, held_out = f"{samples} to train on", f"{self.held_out} shapes held out"
        count = sum(parameter.numel() for parameter in self.names if parameter.requires_grad)
        self.report(
            f"{self.config.recipe} ({self.config.preset}), {count / 1e6:.2f} M trained parameters, "
            f"{samples} and {held_out}, {self.batches} batches an epoch, "
            f"{training.epochs} epochs on {self.device}"
        )
        p = self.progress
        bar = progress(range(training.epochs * self.batches), "train", unit="batch")
        bar.skip(p.epoch * self.batches + p.batch)
        try:
            while p.epoch < training.epochs and not (training.patience and p.since_best >= training.patience):
                self.epoch(bar)
        finally:
            bar.close()
            if p.epoch:
                plot_curves(self.out)
        fit_codes(self.folder, self.recipe, self.training_set, self.device, self.report)
        few = f", of {self.held_out} shapes only" if self.held_out < FEW else ""
        best = (
            f"; kept epoch {p.best_epoch}, held-out mAP {p.best:.3f} (mean of directions and lengths{few})"
            if self.validator and math.isfinite(p.best)
            else ""
        )
        self.report(f"trained {p.epoch} epochs in {p.seconds:.0f} s{best}")

    def start(self, origin: dict[str, str], folder: RunFolder | None) -> RunFolder:
        """Go back to the last saved state, or write what a new run begins with; arguments as in `run`."""
        state = self.out / "state" / "last.safetensors"
        records = read_metrics(self.out)
        if state.exists():
            self.restore(state)
            folder = folder or RunFolder(self.out)
            if folder.config.training.epochs != self.config.training.epochs:
                folder.change_epochs(self.config.training.epochs)
        elif len(records) > 1:  # one may have been written by a run that was killed before its first save
            raise RunError(
                f"{state}: no such file, but {len(records)} epochs are recorded; what they left stays as it is: start "
                "anew in another folder"
            )
        else:
            folder = RunFolder.create(self.out, self.config, origin)
            save_tensors(folder.weights, own_state(self.recipe.network), {"epoch": 0})
        records = [record for record in records if record["epoch"] <= self.progress.epoch]
        if len(records) < self.progress.epoch:
            self.report(
                f"{self.out / 'metrics.jsonl'}: has records of {len(records)} of the {self.progress.epoch} epochs "
                "trained; those that are gone are missing from the curves too"
            )
        text = "".join(json.dumps(record) + "\n" for record in records)
        with atomic_path(self.out / "metrics.jsonl") as temporary:
            temporary.write_text(text, encoding="utf-8")
        return folder

    def epoch(self, bar: Any) -> None:
        """Train one epoch (or the rest of one), validate, keep the best, log and save."""
        training, p = self.config.training, self.progress
        self.recipe.network.train()
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
        if (validation := self.validate()) is not None:
            record["validation"] = validation
        p.epoch, p.batch, p.sums = p.epoch + 1, 0, {}
        if validation is not None:
            self.keep_if_best(validation["score"])
        elif not self.validator:
            self.keep_if_best(float(p.epoch))  # nothing to choose by: the last epoch is kept
        p.seconds = before + time.monotonic() - started
        record |= {"seconds": round(p.seconds, 2), "pairs_per_second": round(speed, 1)}
        with open(self.out / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        self.save()
        if self.validator and validation is not None:
            measured = self.validator.describe(validation)
            self.report(f"epoch {p.epoch}: loss {means['loss']:.3f}, {measured}")
        elif p.epoch % max(1, self.config.training.epochs // 10) == 0:
            self.report(f"epoch {p.epoch}: loss {means['loss']:.3f}")

    def validate(self) -> dict[str, Any] | None:
        """What the held-out shapes give after the current epoch; None if it is not its turn, or nothing to measure."""
        training, epoch = self.config.training, self.progress.epoch + 1
        if not self.validator or (epoch % training.validate_every and epoch != training.epochs):
            return None
        try:
            measured = self.validator.measure()
        except RunError as error:
            raise self.diverged(f"validation ({error})") from None
        if math.isnan(measured["score"]):  # a matter of the data: so it will stay
            self.report("no held-out query has a relevant item that can be read: the last epoch is kept")
            self.validator = None
            return None
        return measured

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
        on_device = {key: value.to(self.device, non_blocking=True) for key, value in batch.items()}
        with self.autocast:
            loss, parts = self.recipe.loss(on_device, self.generator)
        values = {"loss": loss.item(), **{name: part.item() for name, part in parts.items()}}
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.names, training.clip_norm or math.inf)
        if not math.isfinite(values["loss"]) or not bool(norm.isfinite()):
            named = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
            raise self.diverged(f"batch {p.batch + 1} ({named}, gradient norm {norm.item():.4g})")
        self.optimizer.step()
        self.recipe.after_step()
        if self.average:
            self.average.update(self.recipe.network)
        for name, value in values.items():
            p.sums[name] = p.sums.get(name, 0.0) + value
        return rate

    def keep_if_best(self, score: float) -> None:
        """Write the network's weights, or their average, to the run if its score is the best so far."""
        p = self.progress
        if score > p.best:
            p.best, p.best_epoch, p.since_best = score, p.epoch, 0
            values = {"epoch": p.epoch, "score": score}
            save_tensors(self.folder.weights, own_state(self.kept), values)
        else:
            p.since_best += 1

    def save(self) -> None:
        """Save what resuming needs, in one file."""
        tensors = {f"model.{key}": value for key, value in own_state(self.recipe.network).items()}
        tensors |= optimizer_tensors(self.optimizer, self.names)
        if self.average:
            tensors |= self.average.state()
        values = vars(self.progress)
        save_tensors(self.folder.state, tensors, {**values, "crc32": checksum(tensors, values)})

    def restore(self, state: Path) -> None:
        """Go back to the last saved state.

        Raises:
            RunError: if the file is damaged, or of another model.
        """
        tensors, values = load_tensors(state)
        fresh, stored = vars(self.progress), values.pop("crc32", None)
        if stored is not None and stored != checksum(tensors, values):  # earlier versions stored none
            raise RunError(
                f"{state}: damaged (its checksum is another); training cannot go on from here: start anew in another "
                "folder (model.safetensors keeps the best epoch)"
            )
        if values.keys() != fresh.keys() or any(
            not isinstance(values[key], int | float if isinstance(value, float) else type(value))
            for key, value in fresh.items()
        ):
            raise RunError(f"{state}: does not say where the run stands")
        progress = Progress(**values)
        if progress.epoch < 0 or not 0 <= progress.batch < self.batches:
            raise RunError(
                f"{state}: stands at epoch {progress.epoch}, batch {progress.batch}, which cannot be"
            )
        require_file(self.out / "model.safetensors", "the best epoch before; start anew", RunError)
        model = {key[6:]: value for key, value in tensors.items() if key.startswith("model.")}
        load_own_state(self.recipe.network, model, state)
        try:
            load_optimizer(self.optimizer, self.names, tensors)
            if self.average:
                self.average.load(tensors)
        except RunError as error:
            raise RunError(f"{state}: {error}") from None
        self.progress = progress
