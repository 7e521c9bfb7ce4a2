"""What a training sees of a dataset: never an image of another split, nor a shape that states another."""

from dataclasses import replace

import pytest
from toy_dataset import MICRO, make_cars

from cmah.config.schema import DataConfig
from cmah.data.dataset import Dataset
from cmah.errors import ConfigError, DatasetError
from cmah.runs.encoder import Encoder
from cmah.runs.metrics_log import read_metrics
from cmah.runs.run_folder import RunFolder
from cmah.training.starting import train
from cmah.training.training_part import training_part


@pytest.fixture(scope="module")
def cars(tmp_path_factory):
    return make_cars(tmp_path_factory.mktemp("cars"))


def test_what_is_trained_on(cars):
    lines = []
    part = training_part(Dataset.read(cars), DataConfig(), lines.append)
    assert [shape.shape_id for shape in part.shapes] == ["box01", *(f"box{i:02d}" for i in range(3, 16))]
    assert [image.image_id for image in part.images] == [f"{shape.shape_id}_0" for shape in part.shapes]
    assert {image.split for image in part.images} == {"train"}
    assert lines == [
        "1 of 16 images of split train show shapes of another split and are left out (first: 'box00_0', of shape "
        "'box00')",
        "1 of 15 shapes have no points (first: 'box02'); they are left out",
    ]


def test_what_is_done_to_images_is_told(cars):
    lines = []
    data = Dataset.read(cars)
    data.images[6] = replace(data.images[6], bbox=None)
    training_part(data, DataConfig(crop="box", background="remove"), lines.append)
    assert lines[-1] == (
        "images: cropped to their boxes (margin 0.1), backgrounds removed; 1 of 14 have no bbox and stay whole (first: "
        "'box03_0'); 14 of 14 have no mask: their own opacity counts, if they have one (first: 'box01_0')"
    )


def test_a_dataset_of_version_1_is_its_split(toy):
    data, lines = Dataset.read(toy), []
    assert training_part(data, DataConfig(), lines.append) == data.select("train")
    assert training_part(data, DataConfig("all"), lines.append) == data
    assert lines == []


def test_what_cannot_be_trained_on(cars, tmp_path):
    data = Dataset.read(cars)
    data.shapes = [replace(shape, points="") for shape in data.shapes]
    with pytest.raises(
        DatasetError, match=r"15 of 15 shapes have no points \(first: 'box01'\), expected some to train"
    ):
        training_part(data, DataConfig())
    with pytest.raises(DatasetError, match="no shape or image of split 'none'"):
        training_part(data, DataConfig("none"))
    for setting in ("data.crop=face", "data.crop_margin=1.5", "data.background=blur"):
        with pytest.raises(ConfigError, match=setting.partition("=")[0]):
            train(cars, tmp_path / "run", settings=[*MICRO, setting])


@pytest.mark.slow
@pytest.mark.parametrize(
    "framing", [(), ("data.crop=box", "data.crop_margin=0.25", "data.background=remove")]
)
def test_a_run_on_files_elsewhere_resumes_to_the_same_numbers(cars, tmp_path, framing):
    settings, lines = [*MICRO, *framing, "training.epochs=4", "training.held_out=0.3"], []
    files = {path: path.stat().st_mtime_ns for path in cars.parent.rglob("*")}
    whole = train(cars, tmp_path / "whole", settings=settings, device="cpu", report=lines.append)
    assert any("14 shapes" in line or "held out" in line for line in lines)
    assert sum("have no points" in line for line in lines) == 1
    assert files == {path: path.stat().st_mtime_ns for path in cars.parent.rglob("*")}
    # the files move, and the tables say where to: the run goes on
    stopped = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        train(cars, stopped, settings=settings, device="cpu", report=stop_after(2))
    data = Dataset.read(cars)
    moved = replace(data, root=tmp_path / "tables", file_root=str(data.file("").resolve()))
    moved.write()
    train(tmp_path / "tables", stopped, resume=True, device="cpu")
    found, expected = read_metrics(stopped), read_metrics(whole)
    assert [record["loss"] for record in found] == [record["loss"] for record in expected]
    assert Encoder.load(stopped).framing == RunFolder(whole).config.data.framing
    assert (Encoder.load(stopped).framing.crop == "box") == bool(framing)


def stop_after(epochs):
    """A report that ends the training behind some epoch."""

    def report(line):
        if line.startswith(f"epoch {epochs}:"):
            raise KeyboardInterrupt

    return report
