"""Damaged run folders: one clear error, and nothing that lies in them is lost."""

import json

import pytest
import torch
from damaged_runs import refused
from safetensors import safe_open
from safetensors.torch import save_file
from toy_dataset import MICRO

from cmah.errors import CmahError
from cmah.files import locked, sha256
from cmah.runs.encoder import Encoder
from cmah.runs.run_folder import RunFolder
from cmah.training.starting import train


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe": None}, "expected text for recipe"),
        ({"preset": [1]}, "expected text for recipe"),
        ({"dataset": 3}, "expected text for recipe"),
        ({"dataset": {}}, "expected text for recipe"),
        ({"towers": None}, "expected text for recipe"),
        ({"towers": {"image_weights": {"path": "x"}}}, "expected text for recipe"),
        ({"towers": {"image_weights": {"path": "x", "sha256": "y"}}}, "x: not the weights"),
        ({"model": 3}, "model = 3: expected a table"),
        ({"model": {"width": None}}, "width = None: expected a whole number"),
        ({"model": {"bits": [[8]]}}, "expected a whole number"),
        ({"training": {"lr": {}}}, "expected a number"),
        ({"model": {"image_encoder": "timm:hf-hub:a/b", "image_frozen": False}}, "encoder 'timm:hf-hub:a/b'"),
    ],
)
def test_config(toy, run, changes, message):
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | changes))
    refused(toy, run, message)


def facts(**changes):
    return lambda tensors, known: (tensors, known | changes)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors, known: (tensors, 3), "expected a dictionary"),
        (lambda tensors, known: (tensors, {"x": 1}), "does not say where the run stands"),
        (facts(epoch="x"), "does not say where the run stands"),
        (facts(sums=3), "does not say where the run stands"),
        (facts(epoch=-3), "which cannot be"),
        (facts(batch=1000), "which cannot be"),
        (lambda tensors, known: ({k: v[:1] for k, v in tensors.items() if v.ndim}, known), "does not fit"),
        (
            lambda tensors, known: ({k: v for k, v in tensors.items() if "exp_avg_sq" not in k}, known),
            "exp_avg_sq",
        ),
    ],
)
def test_state(toy, run, change, message):
    path = run / "state/last.safetensors"
    with safe_open(path, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        known = json.loads(file.metadata()["cmah"])
    del known["crc32"]  # as earlier versions wrote it; what is damaged is told by what is wrong with it
    tensors, known = change(tensors, known)
    save_file(tensors, path, {"cmah": json.dumps(known)})
    refused(toy, run, message, loads=True)


def test_a_lost_state_does_not_start_the_run_anew(toy, run):
    (run / "state/last.safetensors").unlink()
    refused(toy, run, "start anew in another folder", loads=True)


def test_weights_that_are_not_finite_give_no_codes(run):
    encoder = Encoder.load(run)
    with torch.no_grad():
        for parameter in encoder.model.parameters():
            parameter.fill_(torch.nan)
    with pytest.raises(CmahError, match="not finite"):
        encoder.outputs("image", [torch.zeros(1, 3, 16, 16, dtype=torch.uint8)])


def test_two_trainings_into_one_folder(toy, run):
    with locked(run):
        refused(toy, run, "another process is at work", loads=True)


def test_a_dataset_is_not_trained_into(toy):
    with pytest.raises(CmahError, match="holds a dataset"):
        train(toy, toy)


def test_other_than_model_settings_are_refused(run):
    with pytest.raises(CmahError, match="only settings of the model"):
        Encoder.load(run, settings=["training.lr=1"])


@pytest.mark.slow
def test_without_held_out_shapes_no_score_is_told(toy, tmp_path):
    lines = []
    settings = [*MICRO, "training.epochs=1", "training.held_out=0"]
    train(toy, tmp_path / "run", settings=settings, report=lines.append)
    assert lines[-1].startswith("trained 1 epochs")
    assert "mAP" not in lines[-1]


def test_what_was_hashed_once_is_not_read_again(run, monkeypatch):
    monkeypatch.setattr("cmah.cache.SETTLED", -1.0)  # the files are new, and no test waits until they are old
    read = []
    monkeypatch.setattr("cmah.cache.sha256", lambda path: read.append(str(path)) or sha256(path))
    spaces = [Encoder.load(run).space for _ in range(2)]
    assert read == [str(run / "model.safetensors")]
    spaces.append(Encoder.load(run, verify=True).space)
    assert len(read) == 2
    assert len(set(spaces)) == 1


def test_a_run_hands_out_what_it_holds(run):
    folder = RunFolder(run)
    recipe = folder.load_recipe(torch.device("cpu"))
    assert folder.config == folder.trained
    assert folder.config.recipe == folder.stored["recipe"] == "cmah"
    assert folder.space(recipe.model) == Encoder.load(run).space
    assert folder.fitted_hash(recipe.model) is None  # its model learns codes
    assert (folder.weights, folder.state) == (run / "model.safetensors", run / "state/last.safetensors")
