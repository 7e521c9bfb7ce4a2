"""More epochs for a run: equal to a run that was started with so many, or refused."""

import json
import shutil

import pytest
from toy_dataset import MICRO

from cmah.errors import ConfigError
from cmah.recipes.prealigned import PrealignedRecipe
from cmah.recipes.resolving import make_config
from cmah.runs.metrics_log import read_metrics
from cmah.runs.tensor_files import load_tensors
from cmah.training.loop import TrainingLoop
from cmah.training.starting import train

CONSTANT = (*MICRO, "training.lr=1e-3", "training.min_lr=1e-3", "training.warmup_epochs=1.5")
ENCODER = ("model.image_encoder=timm:test_vit", "model.image_weights=vit.pt", "model.shape_encoder=pointnet")


def content(run):
    """All that must not depend on whether a run was started with its epochs or was given them later."""
    records = read_metrics(run)
    for record in records:
        del record["seconds"], record["pairs_per_second"]
    tensors, values = load_tensors(run / "state/last.safetensors")
    del values["seconds"], values["crc32"]
    state = {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}
    files = [(run / name).read_bytes() for name in ("config.json", "model.safetensors")]
    return records, values, state, files


@pytest.fixture(scope="module")
def two_epochs(toy, tmp_path_factory):
    """A finished run of two epochs at a constant learning rate."""
    return train(toy, tmp_path_factory.mktemp("two") / "run", settings=[*CONSTANT, "training.epochs=2"])


@pytest.fixture
def run(two_epochs, tmp_path):
    return shutil.copytree(two_epochs, tmp_path / "run")


@pytest.mark.slow
def test_a_finished_run_with_more_epochs_is_the_run_of_so_many(toy, run, tmp_path):
    train(toy, run, resume=True, overrides={"training": {"epochs": 4}})
    whole = train(toy, tmp_path / "whole", settings=[*CONSTANT, "training.epochs=4"])
    assert content(run) == content(whole)
    assert json.loads((run / "config.json").read_text())["training"]["epochs"] == 4


@pytest.mark.slow
def test_a_stopped_run_takes_more_and_fewer_epochs(toy, tmp_path, monkeypatch):
    run, steps, step = tmp_path / "run", [], TrainingLoop.step

    def interrupted(self, batch):
        steps.append(1)
        if len(steps) == 6:  # in the second epoch
            raise KeyboardInterrupt
        return step(self, batch)

    monkeypatch.setattr(TrainingLoop, "step", interrupted)
    settings = [*CONSTANT, "training.save_minutes=0", "training.batch_size=4"]
    with pytest.raises(KeyboardInterrupt):
        train(toy, run, settings=[*settings, "training.epochs=10"])
    monkeypatch.setattr(TrainingLoop, "step", step)
    with pytest.raises(
        ConfigError, match=r"has trained 1 epochs and a part of the next already, .* 2 or more"
    ):
        train(toy, run, settings=["training.epochs=1"], resume=True)
    train(toy, run, settings=["training.epochs=3"], resume=True)
    whole = train(toy, tmp_path / "whole", settings=[*settings, "training.epochs=3"])
    assert content(run) == content(whole)


def test_a_falling_learning_rate_refuses(toy, toy_run):
    before = {path: path.read_bytes() for path in toy_run.rglob("*") if path.is_file()}
    with pytest.raises(
        ConfigError, match=r"over which its learning rate falls from 0\.001 to 1e-06; with 9 it"
    ):
        train(toy, toy_run, settings=["training.epochs=9"], resume=True)
    assert {path: path.read_bytes() for path in toy_run.rglob("*") if path.is_file()} == before


def test_what_else_is_refused(toy, run):
    def refused(*settings):
        with pytest.raises(ConfigError) as caught:
            train(toy, run, settings=settings, resume=True)
        return str(caught.value)

    assert "has trained 2 epochs already, expected --epochs 2 or more" in refused("training.epochs=1")
    assert "was started with other settings: training.lr = 0.001, not 1" in refused(
        "training.epochs=4", "training.lr=1"
    )
    path = run / "config.json"
    stored = json.loads(path.read_text())
    stored["training"]["validate_every"] = 5
    path.write_text(json.dumps(stored))
    assert "epoch 2 was validated, other than in a run of 4 epochs" in refused("training.epochs=4")
    shutil.rmtree(run / "state")
    assert "has no saved state to train on from" in refused("training.epochs=4")


def test_a_run_without_training_stays_without(toy, tmp_path):
    run = train(toy, tmp_path / "run", settings=[*MICRO, "training.epochs=0"])
    with pytest.raises(ConfigError, match="no saved state"):
        train(toy, run, settings=["training.epochs=2"], resume=True)


@pytest.mark.slow
def test_a_run_that_stopped_early_is_told_so(toy, tmp_path):
    settings = [
        *CONSTANT,
        "training.epochs=9",
        "training.patience=1",
        "training.lr=1e-12",
        "training.min_lr=1e-12",
    ]
    run = train(toy, tmp_path / "run", settings=settings)
    done = len(read_metrics(run))
    with pytest.raises(ConfigError, match=f"stopped early after epoch {done}, since 1 validations"):
        train(toy, run, settings=["training.epochs=20"], resume=True)


def test_settings_that_follow_the_epochs():
    def follows(*settings):
        return PrealignedRecipe.follows_epochs(make_config("prealigned", assignments=[*ENCODER, *settings]))

    assert follows() == "loss.beta"
    assert follows("loss.beta_stages=1") == follows("loss.beta=1", "loss.beta_end=1") == ""
