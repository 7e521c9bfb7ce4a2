"""Shapes seen by views that are drawn from their own points: no image of the dataset is needed for their codes."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_towers import TINY, image_weights
from toy_dataset import MICRO

from cmah.codes import BinaryCodes, Embeddings
from cmah.data.dataset import Dataset
from cmah.data.surfels import draw_views
from cmah.errors import ConfigError
from cmah.recipes.resolving import make_config
from cmah.runs.encoder import Encoder
from cmah.runs.exporting import export
from cmah.training.starting import train

pytestmark = pytest.mark.slow
DRAWN = ("model.views_from=points", "model.views=3")
BOTH = (*DRAWN, "model.shape_input=both", "model.joint_dim=24", "model.head=tanh", "training.epochs=1")
VIEWS = (*DRAWN, "model.shape_input=views", "training.epochs=0")


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return [*TINY, f"model.image_weights={image_weights(tmp_path_factory.mktemp('weights'))}"]


@pytest.fixture(scope="module")
def runs(toy, settings, tmp_path_factory):
    """Runs over a frozen encoder, points and views and views alone, and one that trains its own image encoder."""
    root = tmp_path_factory.mktemp("drawn")
    trained = [*MICRO, *DRAWN, "model.shape_input=both", "training.epochs=1"]
    return {
        "both": train(toy, root / "both", recipe="prealigned", settings=[*settings, *BOTH]),
        "views": train(toy, root / "views", recipe="prealigned", settings=[*settings, *VIEWS]),
        "trained": train(toy, root / "trained", recipe="cmah", settings=trained),
    }


@pytest.mark.parametrize("name", ["both", "views", "trained"])
def test_codes_of_shapes_need_no_image(toy, runs, name, tmp_path, monkeypatch):
    """With all images deleted, and nothing in the cache, the shapes' file is the same to the byte."""
    data = tmp_path / "data"
    shutil.copytree(toy, data)
    image, shape, skipped = export(runs[name], data, tmp_path / "before", split="all", workers=0)
    assert not skipped
    every = Dataset.read(data)
    assert BinaryCodes.load(image).ids.tolist() == [image.image_id for image in every.images]  # all may ask
    shutil.rmtree(data / "renders")
    monkeypatch.setenv("CMAH_CACHE", str(tmp_path / "cache"))
    codes, skipped = Encoder.load(runs[name]).dataset_shapes(every, every.shapes)
    assert not skipped
    before = BinaryCodes.load(shape)
    replace(codes, dataset=before.dataset).save(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == shape.read_bytes()


@pytest.mark.parametrize("name", ["both", "views", "trained"])
def test_a_cloud_has_one_code(toy, runs, name, tmp_path):
    """By the dataset, as a file of points, and as an array; the real outputs too are equal to the bit."""
    encoder, dataset = Encoder.load(runs[name]), Dataset.read(toy)
    shapes = dataset.shapes[:5]
    codes, _ = encoder.dataset_shapes(dataset, shapes)
    exported, _ = encoder.dataset_shapes(dataset, shapes, embeddings=True)
    paths = [toy / shape.points for shape in shapes]
    of_files, embeddings, _ = encoder.codes_and_embeddings(paths)
    np.testing.assert_array_equal(of_files.packed, codes.packed)
    np.testing.assert_array_equal(embeddings.embeddings, exported.embeddings)
    clouds = [np.load(path) for path in paths]
    np.testing.assert_array_equal(encoder.encode_points(clouds).packed, codes.packed)
    lines = "".join("{!r} {!r} {!r}\n".format(*map(float, point)) for point in clouds[0])
    header = f"ply\nformat ascii 1.0\nelement vertex {len(clouds[0])}\n"
    header += "".join(f"property float {axis}\n" for axis in "xyz") + "end_header\n"
    (tmp_path / "cloud.ply").write_text(header + lines)
    of_ply, skipped = encoder.encode_files([tmp_path / "cloud.ply"])
    assert not skipped
    np.testing.assert_array_equal(of_ply.packed, codes.packed[:1])
    alone, _ = encoder.dataset_shapes(dataset, shapes[3:4])
    np.testing.assert_array_equal(alone.packed, codes.packed[3:4])


def test_the_frozen_encoder_sees_the_drawn_views(toy, runs):
    """Without training, a shape's embedding is the mean of what the image encoder makes of its views."""
    encoder, dataset = Encoder.load(runs["views"]), Dataset.read(toy)
    codes, _ = encoder.dataset_shapes(dataset, dataset.shapes[:2], embeddings=True)
    for row, shape in enumerate(dataset.shapes[:2]):
        views = draw_views(np.load(toy / shape.points), views=3, size=32)
        with torch.no_grad():
            seen = encoder.model.image_encoder(torch.from_numpy(views).float() / 255).numpy()
        mean = (seen / np.linalg.norm(seen, axis=1, keepdims=True)).mean(axis=0)
        np.testing.assert_allclose(codes.embeddings[row], mean / np.linalg.norm(mean), atol=1e-5)


@pytest.mark.parametrize("shape_input", ["views", "both"])
@pytest.mark.parametrize("tower", [(), ("model.image_encoder=timm:test_resnet", "training.cached_copies=2")])
def test_cmah_trains_on_drawn_views(toy, settings, shape_input, tower, tmp_path):
    weights = [setting for setting in settings if setting.startswith("model.image_weights")] if tower else []
    chosen = [*MICRO, *DRAWN, f"model.shape_input={shape_input}", *tower, *weights, "training.epochs=2"]
    runs = [
        train(toy, tmp_path / str(workers), recipe="cmah", settings=[*chosen, f"training.workers={workers}"])
        for workers in (0, 1)
    ]
    first, second = ((run / "model.safetensors").read_bytes() for run in runs)
    assert first == second


def test_shapes_without_readable_points_are_left_out_and_told(toy, settings, tmp_path):
    shutil.copytree(toy, tmp_path / "data")
    dataset = Dataset.read(tmp_path / "data")
    broken, gone = dataset.shapes[0].points, dataset.shapes[1].points
    (tmp_path / "data" / broken).write_bytes(b"")
    (tmp_path / "data" / gone).unlink()
    lines = []
    run = train(
        tmp_path / "data", tmp_path / "run", recipe="prealigned", report=lines.append,
        settings=[*settings, *DRAWN, "model.shape_input=views", "model.joint_dim=24", "training.epochs=1"],
    )  # fmt: skip
    assert all(any(name in line for line in lines) for name in (broken, gone))
    codes, skipped = Encoder.load(run).dataset_shapes(dataset, dataset.shapes[:3])
    assert codes.ids.tolist() == [dataset.shapes[2].shape_id]
    assert len(skipped) == 2


def test_features_follow_the_drawing(toy, settings, runs, tmp_path, monkeypatch):
    """The cache is asked by the version of the drawing, the clouds and the number of views."""
    from cmah.features import drawn_views
    from cmah.features.image_embedder import ImageEmbedder

    weights = next(s.partition("=")[2] for s in settings if s.startswith("model.image_weights"))
    embedder = ImageEmbedder("timm:test_resnet", weights, cache=tmp_path / "cache")
    dataset = Dataset.read(toy)

    def shards():
        return {path.name for path in (tmp_path / "cache").rglob("drawn-*.npy")}

    before = drawn_views.drawn_features(embedder, dataset, dataset.shapes[:3], 2).rows([0, 1, 2])
    assert len(shards()) == 1
    again = drawn_views.drawn_features(embedder, dataset, dataset.shapes[:3], 2, workers=1).rows([0, 1, 2])
    np.testing.assert_array_equal(again, before)
    assert len(shards()) == 1
    drawn_views.drawn_features(embedder, dataset, dataset.shapes[:3], 3)
    assert len(shards()) == 2
    monkeypatch.setattr(drawn_views, "VERSION", -1)
    drawn_views.drawn_features(embedder, dataset, dataset.shapes[:3], 2)
    assert len(shards()) == 3


def test_what_is_refused(settings):
    with pytest.raises(ConfigError, match=r"shows no views; set model.shape_input=both or views"):
        make_config("prealigned", assignments=[*settings, "model.views_from=points"])
    with pytest.raises(ConfigError, match=r"model.views_from = 'points': expected"):
        make_config("style_mixed", assignments=[*settings[:1], *settings[-1:], "model.views_from=points"])


@pytest.mark.parametrize(("chosen", "count"), [((), 6), (("model.views=4",), 4)])
def test_six_views_by_default(settings, chosen, count):
    drawn = ["model.shape_input=both", "model.views_from=points", *chosen]
    assert make_config("prealigned", assignments=[*settings, *drawn]).model.views == count
    assert make_config("cmah", "tiny", assignments=drawn).model.views == count
    assert make_config("cmah", "tiny", assignments=["model.shape_input=both"]).model.views == 12


def test_embeddings_of_shapes_and_images_can_be_exported(toy, runs, tmp_path):
    image, shape, _ = export(runs["both"], toy, tmp_path / "out", split="all", embeddings=True, workers=0)
    assert len(Embeddings.load(shape)) == len(Dataset.read(toy).shapes)
    assert len(Embeddings.load(image)) == len(Dataset.read(toy).images)


@pytest.mark.parametrize("name", ["both", "views", "trained"])
def test_a_code_per_drawn_view(toy, runs, name, tmp_path):
    _, path, skipped = export(
        runs[name], toy, tmp_path / "out", split="all", per_view=True, embeddings=True, workers=0
    )
    each, dataset = Embeddings.load(path), Dataset.read(toy)
    assert not skipped
    assert each.ids.tolist() == [f"{s.shape_id}_view{i}" for s in dataset.shapes for i in range(3)]
    assert each.shape_ids.tolist() == [s.shape_id for s in dataset.shapes for _ in range(3)]
    if name == "views":  # without training: the mean of the views' unit vectors
        together, _ = Encoder.load(runs[name]).dataset_shapes(dataset, dataset.shapes, embeddings=True)
        mean = each.embeddings.reshape(len(dataset.shapes), 3, -1).mean(axis=1)
        mean /= np.linalg.norm(mean, axis=1, keepdims=True)
        np.testing.assert_allclose(mean, together.embeddings, atol=1e-5)


def test_a_mesh_is_seen_by_its_points(toy, runs, tmp_path):
    (tmp_path / "cube.obj").write_text(
        "".join(f"v {x} {y} {z}\n" for x in (0, 1) for y in (0, 1) for z in (0, 2))
        + "f 1 3 4 2\nf 5 6 8 7\nf 1 2 6 5\nf 3 7 8 4\nf 1 5 7 3\nf 2 4 8 6\n"
    )
    codes, skipped = Encoder.load(runs["both"]).encode_files([tmp_path / "cube.obj"])
    assert not skipped
    assert len(codes) == 1
