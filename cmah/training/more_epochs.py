"""More epochs for a run: whether it would then be what it would have been, had it been started with so many."""

from dataclasses import replace

from cmah.config.schema import Config
from cmah.errors import ConfigError, RunError
from cmah.recipes.resolving import load_recipe
from cmah.runs.metrics_log import read_metrics
from cmah.runs.run_folder import RunFolder
from cmah.runs.tensor_files import load_values


def with_epochs(folder: RunFolder, epochs: int) -> Config:
    """The configuration of a run with another number of epochs, where what was trained so far does not depend on it.

    That is so where the learning rate is constant behind the warm-up (training.min_lr = training.lr), or where the run
    is still in its warm-up, and where nothing of the method follows the number of epochs.

    Args:
        folder: the run.
        epochs: how many it shall have in all.

    Raises:
        ConfigError: if the run would be another one than if it had been started with so many epochs.
        RunError: if its state is damaged.

    Examples:
        >>> with_epochs(RunFolder("demo/run"), epochs=0)
        Traceback (most recent call last):
        cmah.errors.ConfigError: demo/run: has trained ... epochs already, expected --epochs ... or more
    """
    config = folder.config
    training, anew = config.training, f"start anew with --epochs {epochs} in another folder"
    if not folder.state.exists():
        raise ConfigError(
            f"{folder.path}: has no saved state to train on from, so not to {epochs} epochs: {anew}"
        )
    values = load_values(folder.state)
    done, batch = values.get("epoch"), values.get("batch")
    if not isinstance(done, int) or not isinstance(batch, int):
        raise RunError(f"{folder.state}: does not say where the run stands")
    begun = done + (batch > 0)
    if epochs < begun:
        raise ConfigError(
            f"{folder.path}: has trained {done} epochs{' and a part of the next' * (batch > 0)} already, expected "
            f"--epochs {begun} or more"
        )
    was = f"{folder.path}: was started with {training.epochs} epochs"
    constant = training.min_lr == training.lr
    if not constant and begun > training.warmup_epochs:
        raise ConfigError(
            f"{was}, over which its learning rate falls from {training.lr:g} to {training.min_lr:g}; with {epochs} it "
            f"would have fallen otherwise from the start: {anew} (with --set training.min_lr={training.lr:g} the rate "
            "is constant, and a run can be given more epochs)"
        )
    if begun and (setting := load_recipe(config.recipe).follows_epochs(config)):
        raise ConfigError(
            f"{was}, over which {setting} changes; with {epochs} it would have changed otherwise: {anew}"
        )
    if training.patience and values.get("since_best", 0) >= training.patience:
        raise ConfigError(
            f"{folder.path}: stopped early after epoch {done}, since {training.patience} validations were no better "
            f"(training.patience); more epochs change nothing: {anew} and another patience"
        )
    _require_same_validations(folder, epochs, done)
    return replace(config, training=replace(training, epochs=epochs))


def _require_same_validations(folder: RunFolder, epochs: int, done: int) -> None:
    """Refuse where an epoch was validated for having been the last, or was not although it becomes the last."""
    training = folder.config.training
    if done % training.validate_every == 0 or not training.held_out:
        return
    last = next((record for record in read_metrics(folder.path) if record["epoch"] == done), {})
    if ("validation" in last) != (done == epochs):
        raise ConfigError(
            f"{folder.path}: epoch {done} was {'' if 'validation' in last else 'not '}validated, other than in a run "
            f"of {epochs} epochs (training.validate_every = {training.validate_every}): start anew with --epochs "
            f"{epochs} in another folder"
        )
