"""cmah train with weights on negatives, in both recipes that take them."""

import json

import pytest
from toy_dataset import MICRO

LANDMARKS = {
    "flat": ["a flat box that is wider than it is high", "a flat slab with four corners"],
    "tall": ["a tall box that is higher than it is wide", "a tall post on a small base"],
}
SMALL = (
    "model.shape_encoder=pointnet", "model.points=32", "model.bits=16", "training.batch_size=8", "training.workers=0",
    "training.warmup_epochs=0",
)  # fmt: skip


@pytest.fixture(scope="module")
def landmarks(tmp_path_factory):
    path = tmp_path_factory.mktemp("landmarks") / "boxes.json"
    path.write_text(json.dumps({"format": "cmah-landmarks", "version": 1, "categories": LANDMARKS}))
    return path


def settings(*given):
    return [part for setting in given for part in ("--set", setting)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["i2i", "i2l2", "avg", "i2i_all"])
def test_captionless(call, toy, tiny_clip, landmarks, tmp_path, kind):
    encoder, weights = tiny_clip
    options = [
        "--hard-negatives",
        kind,
        "--image-encoder",
        encoder,
        "--image-weights",
        weights,
        "--epochs",
        1,
    ]
    options += ["--landmarks", landmarks] if kind in ("i2l2", "avg") else []
    status, _, told = call(
        "train", toy, "--out", tmp_path / "run", "--recipe", "captionless", *options, *settings(*SMALL)
    )
    assert status == 0, told
    assert f"negatives weighted by {kind}" in told
    stored = json.loads((tmp_path / "run/config.json").read_text())
    assert stored["loss"]["negatives"]["kind"] == kind


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["i2i", "i2l2", "avg"])
def test_cmah(call, toy, tiny_clip, landmarks, tmp_path, kind):
    encoder, weights = tiny_clip
    own = [f"loss.negatives.image_encoder={encoder}", f"loss.negatives.image_weights={weights}"]
    options = ["--hard-negatives", kind, "--epochs", 1]
    options += ["--landmarks", landmarks] if kind != "i2i" else []
    status, _, told = call(
        "train", toy, "--out", tmp_path / "run", "--recipe", "cmah", *options, *settings(*MICRO, *own)
    )
    assert status == 0, told
    assert f"contrasts: InfoNCE, negatives weighted by {kind}" in told


def test_landmarks_that_nothing_reads_are_refused(call, toy, landmarks, tmp_path):
    status, _, told = call(
        "train", toy, "--out", tmp_path / "run", "--landmarks", landmarks, *settings(*MICRO)
    )
    assert status == 2
    assert "loss.negatives.landmarks" in told
    assert "has no effect" in told
