"""The recipe towers: its loss, what it learns of its data, training, export and resuming."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_towers import image_weights
from toy_dataset import make_toy

from cmah.codes import BinaryCodes, Embeddings
from cmah.data.dataset import Dataset, Image
from cmah.errors import ConfigError
from cmah.features.drawn_views import drawn_features
from cmah.losses.contrastive import info_nce
from cmah.losses.soft_targets import soft_targets
from cmah.models.cmah_network import turned
from cmah.models.pretrained import point_encoder
from cmah.recipes.resolving import build_recipe, make_config
from cmah.runs.describing import describe
from cmah.runs.encoder import Encoder
from cmah.runs.exporting import export
from cmah.runs.query_files import query_files
from cmah.runs.searching import search_files
from cmah.search import HammingIndex
from cmah.search.reranking import Reranking, rerank
from cmah.training.starting import train
from cmah.vectors import unit_rows

SMALL = (
    "model.image_encoder=timm:test_resnet", "model.image_size=32", "model.image_stages=2", "model.views=2",
    "model.shape_encoder=pointnet", "model.points=32", "model.shape_turns=2", "model.bits=8,16", "model.head_hidden=16",
    "training.batch_size=8", "training.workers=0", "training.warmup_epochs=0", "training.epochs=2",
    "loss.unpaired_batch=4", "loss.neighbours=3",
)  # fmt: skip


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    save_file(point_encoder("pointnet").state_dict(), folder / "shape.safetensors")
    return [
        *SMALL,
        f"model.image_weights={image_weights(folder)}",
        f"model.shape_weights={folder / 'shape.safetensors'}",
    ]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The toy with six photos without a shape, and each second view as an author's picture."""
    root = make_toy(tmp_path_factory.mktemp("photos") / "data")
    dataset = Dataset.read(root)
    dataset.images = [replace(image, kind="picture") if image.view else image for image in dataset.images]
    for i in range(6):
        shutil.copy(dataset.file(dataset.images[2 * i].path), root / f"renders/photo{i}.png")
        dataset.images.append(Image(f"photo{i}", "", "flat", "train", f"renders/photo{i}.png", "photo"))
    dataset.write()
    return root


def recipe(settings, *more):
    torch.manual_seed(0)
    return build_recipe(make_config(None, "towers", assignments=[*settings, *more]))


def test_the_preset_names_the_recipe(settings):
    config = make_config(None, "towers", assignments=settings)
    assert (config.recipe, config.preset) == ("towers", "towers")
    assert config.data.unpaired == ("photo",)
    with pytest.raises(ConfigError, match=r"data\.unpaired.*takes no images without a shape"):
        make_config("cmah", "tiny", assignments=["data.unpaired=photo"])


def test_weights_are_required():
    with pytest.raises(ConfigError, match=r"model\.shape_weights is not set"):
        make_config(None, "towers", assignments=["model.image_encoder=timm:test_resnet", "model.image_weights=a",
                                                 "model.shape_encoder=pointnet"])  # fmt: skip


def test_the_loss_is_the_soft_contrast_of_relaxed_codes(settings, data):
    method = recipe(settings, "loss.unpaired=0")
    batches = method.batches(
        Dataset.read(data).select("train"), make_config(None, "towers", assignments=settings)
    )
    batch = next(batches.epoch(0))
    assert "unpaired_features" not in batch
    network = method.network.eval()
    total, parts = method.loss(batch, torch.Generator())
    image = torch.tanh(network.encode_image_features(batch["image_features"], batch["image_kinds"]))
    shape = torch.tanh(network.encode_shape_features(batch["shape_features"]))
    index = batch["index"].numpy()
    assert batch["likeness"].tolist() == batches.likeness[index][:, index].tolist()
    expected = []
    for bits, share in ((8, 0.95), (16, 0.9)):
        targets = soft_targets(batch["likeness"], share, 0.1)
        expected += [
            info_nce(a[:, :bits], b[:, :bits], 0.3, targets=targets)
            for a, b in ((image, shape), (shape, image))
        ]
    assert total.item() == pytest.approx(torch.stack(expected).mean().item(), rel=1e-5)
    assert list(parts) == ["pairs"]


def test_photos_take_part_by_their_own_statistics(settings, data):
    method = recipe(settings)
    batches = method.batches(
        Dataset.read(data).select("train"), make_config(None, "towers", assignments=settings)
    )
    batch = next(batches.epoch(0))
    assert batch["unpaired_kinds"].tolist() == [2] * 4
    assert method.network.image_norm.learned.tolist() == [True, True, True]
    photos = torch.from_numpy(batches.unpaired.rows(range(6)))
    standardised = method.network.image_norm(photos, torch.full((6,), 2))
    np.testing.assert_allclose(standardised.mean(dim=0), 0, atol=1e-4)
    total, parts = method.loss(batch, torch.Generator())
    assert total.item() == pytest.approx((parts["pairs"] + 0.5 * parts["unpaired"]).item(), rel=1e-6)


@pytest.mark.slow
def test_a_run_trains_exports_and_needs_no_image_for_shapes(settings, data, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    run = train(folder, tmp_path / "run", preset="towers", settings=settings)
    image, shape, skipped = export(run, folder, tmp_path / "codes", split="all", workers=0)
    assert not skipped
    assert describe(run)["a shape is seen by"] == "points and 2 views that are drawn from its points"
    images, shapes = BinaryCodes.load(image), BinaryCodes.load(shape)
    assert (images.bits, images.prefixes, len(images)) == (16, (8, 16), 54)
    shutil.rmtree(folder / "renders")
    dataset = Dataset.read(folder)
    again, skipped = Encoder.load(run).dataset_shapes(dataset, dataset.shapes)
    assert not skipped
    assert again.packed.tobytes() == shapes.packed.tobytes()
    assert len(shapes) == 24


@pytest.mark.slow
def test_a_stopped_run_goes_on_to_the_same_weights(settings, data, tmp_path):
    whole = train(data, tmp_path / "whole", preset="towers", settings=settings)

    class Stop(Exception):
        pass

    def stop(line):
        if line.startswith("epoch 1"):
            raise Stop

    with pytest.raises(Stop):
        train(data, tmp_path / "part", preset="towers", settings=[*settings], report=stop)
    part = train(data, tmp_path / "part", preset="towers", settings=settings, resume=True)
    assert (part / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_views_are_compared_by_the_frozen_encoder(settings, data, tmp_path):
    run = train(data, tmp_path / "run", preset="towers", settings=settings)
    out = tmp_path / "codes"
    image, shape, _ = export(run, data, out, split="all", workers=0, real=True, views=True)
    looks, views = (Embeddings.load(out / f"{name}_views.npz") for name in ("image", "shape"))
    images, shapes = BinaryCodes.load(image), BinaryCodes.load(shape)
    assert looks.ids.tolist() == images.ids.tolist()
    assert views.ids.tolist() == [f"{name}_view{i}" for name in shapes.ids.tolist() for i in (0, 1)]
    assert views.shape_ids.tolist() == np.repeat(shapes.ids, 2).tolist()
    assert looks.space == views.space != images.space
    plain = tmp_path / "plain"
    export(run, data, plain, split="all", workers=0, real=True)
    assert [(plain / f"{name}.npz").read_bytes() for name in ("image", "shape_real")] == [
        (out / f"{name}.npz").read_bytes() for name in ("image", "shape_real")
    ]

    # the features of the last stages, less the mean of the kind, divided by its deviation, blocks weighed alike
    encoder, dataset = Encoder.load(run), Dataset.read(data)
    network, embedder = encoder.model.eval(), encoder.embedder(encoder.framing)
    norm = network.image_norm
    rows = embedder.embed(dataset, dataset.images[:4]).rows(range(4))
    kinds = [network.image_kinds.index(image.kind) for image in dataset.images[:4]]
    weight = np.concatenate([np.full(w, w**-0.5) for w in norm.widths])
    expected = (rows - norm.mean.numpy()[kinds]) / norm.deviation.numpy()[kinds] * weight
    np.testing.assert_allclose(unit_rows(looks.embeddings[:4]), unit_rows(expected), atol=1e-5)
    drawn = drawn_features(embedder, dataset, dataset.shapes[:2], 2).rows([0, 1]).reshape(4, -1)
    mean, deviation = (
        each.numpy()[0, -drawn.shape[1] :] for each in (network.shape_norm.mean, network.shape_norm.deviation)
    )
    expected = (drawn - mean) / deviation * weight
    np.testing.assert_allclose(unit_rows(views.embeddings[:4]), unit_rows(expected), atol=1e-5)

    # a search by files makes the same of them as one by the code files, but for the kind, which it guesses
    index = HammingIndex(shapes.bits, space=shapes.space)
    index.add(shapes)
    index.save(tmp_path / "shapes.cmah")
    pictures = [dataset.file(image.path) for image in dataset.images[:3]]
    reranking = Reranking.read(out / "shape_views.npz", 9, "real+views")
    records, skipped = search_files(tmp_path / "shapes.cmah", run, pictures, 9, reranking=reranking)
    codes, tables, _ = encoder.encode_queries(
        query_files(pictures)[0], ["a", "b", "c"], vectors=("real", "views")
    )
    assert not skipped
    assert tables["views"].space == views.space
    near = index.search(codes, 9)
    hits = rerank(near, tables["views"], reranking, index=index, real=tables["real"])
    assert [[hit["id"] for hit in record["hits"]] for record in records] == hits.ids.tolist()
    alone, real, _ = encoder.codes_and_real_codes(pictures)
    assert alone.packed.tobytes() == codes.packed.tobytes()
    assert real.embeddings.tobytes() == tables["real"].embeddings.tobytes()
    # a cloud is compared by the mean of its views
    cloud = dataset.file(dataset.shapes[0].points)
    _, tables, _ = encoder.encode_queries(query_files([cloud])[0], ["a"], vectors=("views",))
    np.testing.assert_allclose(tables["views"].embeddings[0], views.embeddings[:2].mean(axis=0), atol=1e-4)


@pytest.mark.slow
def test_an_image_of_the_dataset_gets_the_code_of_its_kind(settings, data, tmp_path):
    run = train(data, tmp_path / "run", preset="towers", settings=settings)
    encoder = Encoder.load(run)
    dataset = Dataset.read(data)
    photo = [image for image in dataset.images if image.kind == "photo"][:1]
    features = torch.from_numpy(encoder.embedder(encoder.framing).embed(dataset, photo).rows([0]))
    network = encoder.model.eval()
    codes, _ = encoder.dataset_images(dataset, photo)
    expected = network.encode_image_features(features.repeat(32, 1), torch.full((32,), 2))[0] >= 0
    assert (codes.signs()[0] > 0).tolist() == expected.tolist()


def test_heads_of_random_weights_are_not_used(settings, data, tmp_path):
    with pytest.raises(ConfigError, match=r"training\.epochs = 0: the hash heads"):
        train(data, tmp_path / "run", preset="towers", settings=[*settings, "training.epochs=0"])


def test_a_kind_that_there_is_not_is_refused(settings):
    for key in ("unpaired", "kinds"):
        with pytest.raises(
            ConfigError, match=rf"data\.{key} = 'photos': expected some of render, picture, photo"
        ):
            make_config(None, "towers", assignments=[*settings, f"data.{key}=photos"])


def test_photos_of_shapes_and_others_share_the_statistics_of_the_first(settings, data):
    """Photos that show a shape are standardised as the photos that show none."""
    dataset = Dataset.read(data).select("train")
    dataset.images = [
        replace(image, kind="photo") if image.kind == "picture" else image for image in dataset.images
    ]
    more = ("data.kinds=render,photo", "data.picture_weight=1")
    method = recipe(settings, *more)
    batches = method.batches(dataset, make_config(None, "towers", assignments=[*settings, *more]))
    of_pairs = batches.table.rows(batches.rows[batches.kinds == 2])
    np.testing.assert_allclose(method.network.image_norm.mean[2], of_pairs.mean(axis=0), rtol=1e-3, atol=1e-5)


def test_turning_keeps_the_colours_of_points():
    cloud = torch.rand(2, 5, 6)
    there = turned(cloud, 1.0)
    assert torch.equal(there[..., 3:], cloud[..., 3:])
    torch.testing.assert_close(turned(there, -1.0), cloud)
    assert torch.equal(there[..., :3], turned(cloud[..., :3], 1.0))


def test_too_many_stages_name_the_setting(settings):
    with pytest.raises(
        ConfigError, match=r"stages=9: it has \d before its last layer; set model\.image_stages to"
    ):
        recipe(settings, "model.image_stages=9")


def test_an_encoder_named_with_stages_keeps_to_them(settings):
    network = recipe(settings, "model.image_encoder=timm:test_resnet?stages=1").network
    assert network.frozen_images.encoder == "timm:test_resnet?stages=1"
    assert len(network.image_norm.widths) == 2


def test_an_unknown_preset_lists_those_of_all_recipes():
    with pytest.raises(ConfigError, match=r"'tower': the recipe cmah has small, .*; towers has towers$"):
        make_config(None, "tower")
    with pytest.raises(ConfigError, match=r"'towers': the recipe cmah has small, tiny, base$"):
        make_config("cmah", "towers")
