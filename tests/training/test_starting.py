"""Starting, resuming and adopting a run: what does not belong together is refused."""

import pytest
from toy_dataset import MICRO, make_toy

from cmah.codes import BinaryCodes
from cmah.data.dataset import Dataset
from cmah.errors import CmahError, ConfigError, DatasetError, RunError
from cmah.recipes.resolving import make_config
from cmah.runs.exporting import export
from cmah.runs.metrics_log import read_metrics
from cmah.training.starting import enough_steps, train


def test_refuses_to_overwrite_or_mix(toy, toy_run, tmp_path):
    with pytest.raises(RunError, match="--resume"):
        train(toy, toy_run, settings=MICRO)
    with pytest.raises(ConfigError, match=r"other settings: training\.lr = 0\.001, not 0\.5$"):
        train(toy, toy_run, settings=[*MICRO, "training.lr=0.5"], resume=True)
    with pytest.raises(ConfigError, match=r"other settings: training\.lr = 0\.001, not 0\.5$"):
        train(toy, toy_run, settings=[*MICRO, "training.epochs=99", "training.lr=0.5"], resume=True)
    with pytest.raises(ConfigError, match=r"other settings: recipe cmah, not prealigned"):
        train(toy, toy_run, recipe="prealigned", resume=True)
    train(toy, toy_run, recipe="cmah", settings=["training.epochs=6"], resume=True)  # a part that agrees
    other = make_toy(tmp_path / "other", shapes=8, seed=1)
    with pytest.raises(RunError, match="other data"):
        train(other, toy_run, resume=True)


def test_no_epochs_leave_the_initial_model(toy, tmp_path):
    run = train(toy, tmp_path / "run", settings=[*MICRO, "training.epochs=0"])
    assert (run / "model.safetensors").is_file()
    assert read_metrics(run) == []


def test_few_shapes_take_more_epochs_unless_told(toy):
    from dataclasses import replace

    data, lines = Dataset.read(toy), []
    config = make_config("cmah", "tiny", assignments=["training.validate_every=2"])
    more = enough_steps(config, data, lines.append).training
    assert (more.epochs, more.validate_every) == (600, 20)
    assert lines == [
        "18 shapes make 1 batch an epoch: 600 epochs in place of 60 (--epochs decides otherwise)"
    ]
    many = replace(data, shapes=data.shapes * 100)
    assert enough_steps(config, many, lines.append) is config
    untrained = make_config("cmah", "tiny", assignments=["training.epochs=0"])
    assert enough_steps(untrained, data, lines.append) is untrained


def test_what_is_no_path_is_refused(tmp_path):
    for paths in ((None, tmp_path), (3, tmp_path), (tmp_path, None), (tmp_path, 3)):
        with pytest.raises(CmahError, match="expected a text or a path"):
            train(*paths)


def test_records_that_are_gone_are_told(toy, tmp_path):
    settings = [*MICRO, "training.epochs=2", "training.min_lr=1e-3"]
    run = train(toy, tmp_path / "run", settings=settings)
    lines = []
    train(toy, run, resume=True, report=lines.append)
    assert not any("records" in line for line in lines)
    (run / "metrics.jsonl").write_text("")
    train(toy, run, settings=["training.epochs=3"], resume=True, report=lines.append)
    told = f"{run}/metrics.jsonl: has records of 0 of the 2 epochs trained"
    assert any(line.startswith(told) for line in lines)


def with_clouds(toy, tmp_path, keep):
    """The toy whose shapes have no images, but for so many."""
    data = Dataset.read(toy)
    left = {shape.shape_id for shape in data.shapes[:keep]}
    data.images = [image for image in data.images if image.shape_id in left]
    data.file_root = str(toy.resolve())
    (tmp_path / "clouds").mkdir()
    data.write(tmp_path / "clouds")
    return tmp_path / "clouds"


def test_shapes_without_images_are_passed_over_and_counted(toy, tmp_path):
    lines = []
    folder = with_clouds(toy, tmp_path, keep=12)
    run = train(folder, tmp_path / "run", settings=[*MICRO, "training.epochs=1"], report=lines.append)
    assert "left out 9 (first: box12): no image of kind render" in lines
    _, shapes, skipped = export(run, folder, tmp_path / "codes")
    assert (len(BinaryCodes.load(shapes)), skipped) == (24, [])
    lines.clear()
    enough_steps(make_config("cmah", "tiny"), Dataset.read(folder), lines.append)
    assert lines[0].startswith("9 shapes make 1 batch an epoch")


@pytest.mark.parametrize(
    ("recipe", "settings", "reason"),
    [
        ("cmah", MICRO, "no shape has an image of kind render"),
        ("cmah", (*MICRO, "training.held_out=0"), "no shape to train on (no image of kind render)"),
        ("style_mixed", (), "no shape has an image of kind photo or picture or render"),
    ],
)
def test_clouds_alone_cannot_be_trained_on(toy, tmp_path, recipe, settings, reason):
    folder = with_clouds(toy, tmp_path, keep=0)
    with pytest.raises(DatasetError) as caught:
        train(folder, tmp_path / "run", recipe=recipe, settings=settings)
    assert str(caught.value) == f"{folder}: {reason}"
    assert not (tmp_path / "run").exists()
