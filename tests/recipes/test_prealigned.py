"""The recipe prealigned: its loss, zero-shot runs without training, codes fitted afterwards, resuming."""

import json
import shutil

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from small_towers import TINY, image_weights, published_openshape

from cmah.codes import BinaryCodes, Embeddings
from cmah.codes.posthoc import fit_hash
from cmah.data.dataset import Dataset
from cmah.errors import ConfigError, DatasetError, RunError
from cmah.features.image_embedder import ImageEmbedder
from cmah.losses.contrastive import info_nce
from cmah.models.pretrained import point_encoder
from cmah.recipes.resolving import load_recipe, make_config
from cmah.runs.encoder import Encoder
from cmah.runs.exporting import export
from cmah.runs.file_batches import cloud_tensor
from cmah.runs.run_folder import HASH
from cmah.training.starting import train


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return image_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Settings of two encoders of one width, 512, with random weights in files."""
    folder = tmp_path_factory.mktemp("pair")
    torch.manual_seed(0)
    save_file(timm.create_model("resnet18", pretrained=False).state_dict(), folder / "image.safetensors")
    return (
        "model.image_encoder=timm:resnet18", f"model.image_weights={folder / 'image.safetensors'}",
        "model.shape_encoder=openshape_b32", f"model.shape_weights={published_openshape(folder)}",
        "model.image_size=32", "model.points=64", "model.bits=16", "training.workers=0", "training.batch_size=8",
    )  # fmt: skip


@pytest.fixture(scope="module")
def zero_shot(toy, pair, tmp_path_factory):
    """A run of the pair as it is."""
    out = tmp_path_factory.mktemp("zero") / "run"
    return train(
        toy, out, recipe="prealigned", settings=[*pair, "training.epochs=0", "model.shape_frozen=true"]
    )


def method(weights, *settings):
    torch.manual_seed(0)
    config = make_config("prealigned", assignments=[*TINY, f"model.image_weights={weights}", *settings])
    return load_recipe("prealigned")(config)


def batch(b=6):
    rng = torch.Generator().manual_seed(1)
    return {
        "image_features": torch.randn(b, 96, generator=rng),
        "points": torch.randn(b, 32, 3, generator=rng) * 0.3,
        "index": torch.arange(b),
    }


def test_at_beta_and_tau_plus_zero_it_is_info_nce_both_ways(weights):
    recipe, inputs = method(weights, "loss.beta=0", "loss.beta_end=0"), batch()
    recipe.start_epoch(0, 10)
    recipe.model.eval()
    total, parts = recipe.loss(inputs, torch.Generator())
    image = recipe.network.encode_image_features(inputs["image_features"])
    shape = recipe.network.encode_shapes({"points": inputs["points"]})
    expected = (info_nce(image, shape, 0.07) + info_nce(shape, image, 0.07)) / 2
    assert total.item() == pytest.approx(expected.item(), rel=1e-5)
    assert parts.keys() == {"embeddings"}


def test_beta_grows_in_stages_and_makes_the_loss_larger(weights):
    recipe, inputs = method(weights, "loss.beta=0.5", "loss.beta_end=2.5", "loss.tilt=logit"), batch()
    recipe.model.eval()
    betas, losses = [], []
    for epoch in range(10):
        recipe.start_epoch(epoch, 10)
        betas.append(recipe.beta)
        losses.append(recipe.loss(inputs, torch.Generator())[0].item())
    assert betas == [0.5, 0.5, 1.0, 1.0, 1.5, 1.5, 2.0, 2.0, 2.5, 2.5]
    assert losses == sorted(losses)
    assert losses[-1] > losses[0] + 0.1


def test_learned_codes_add_their_own_contrast_at_every_length(weights):
    recipe, inputs = method(weights, "model.head=tanh", "model.bits=8,16", "loss.code_weight=3"), batch()
    recipe.start_epoch(0, 1)
    recipe.model.eval()
    total, parts = recipe.loss(inputs, torch.Generator())
    assert total.item() == pytest.approx((parts["embeddings"] + 3 * parts["codes"]).item(), rel=1e-6)
    total.backward()
    trained = [name for name, p in recipe.model.named_parameters() if p.requires_grad]
    assert all(p.grad is not None for name, p in recipe.model.named_parameters() if name in trained)
    assert any(name.startswith("shape_head") for name in trained)
    assert "log_temperature" in trained
    assert not any(name.startswith("image_tower") for name in trained)


@pytest.mark.slow
def test_zero_shot_embeddings_are_those_of_the_encoders(toy, pair, zero_shot, tmp_path):
    image_file, shape_file, _ = export(zero_shot, toy, tmp_path, split="val", embeddings=True, workers=0)
    shapes = Embeddings.load(shape_file)
    settings = dict(setting.split("=") for setting in pair)
    encoder = point_encoder("openshape_b32", settings["model.shape_weights"]).eval()
    data = Dataset.read(toy).select("val")
    clouds = np.stack(
        [
            cloud_tensor(data.load_points(s).astype(np.float32), Encoder.load(zero_shot).model)[0]
            for s in data.shapes
        ]
    )
    with torch.inference_mode():
        expected = torch.nn.functional.normalize(encoder(torch.from_numpy(clouds)), dim=1).numpy()
    assert clouds.shape[2] == 6  # the encoder looks at colours, the clouds have none
    assert np.abs(shapes.embeddings - expected).max() < 1e-5
    assert Embeddings.load(image_file).embeddings.shape == (12, 512)
    assert (zero_shot / "metrics.jsonl").read_text() == ""
    assert (zero_shot / "model.safetensors").stat().st_size < 10_000  # both towers are frozen and foreign


@pytest.mark.slow
def test_zero_shot_reads_no_more_images_than_the_hash_is_fitted_to(toy, pair, tmp_path, monkeypatch):
    embedded = []

    class Counting(ImageEmbedder):
        def embed(self, dataset, images, **options):
            embedded.extend(image.image_id for image in images)
            return super().embed(dataset, images, **options)

    for user in ("cmah.recipes.two_tower_recipe", "cmah.runs.dataset_encoder"):
        monkeypatch.setattr(f"{user}.ImageEmbedder", Counting)
    settings = [*pair, "training.epochs=0", "training.validation_views=1", "training.held_out=0"]
    train(toy, tmp_path / "run", recipe="prealigned", settings=settings)
    assert len(embedded) == len(set(embedded)) == len(Dataset.read(toy).select("train").shapes)


@pytest.mark.slow
def test_zero_shot_codes_are_itq_of_the_training_embeddings(toy, zero_shot, tmp_path):
    val, _, _ = export(zero_shot, toy, tmp_path / "val", split="val", workers=0)
    codes = BinaryCodes.load(val)
    assert (codes.bits, codes.prefixes, codes.modality) == (16, (16,), "image")
    encoder = Encoder.load(zero_shot)
    floats = encoder.dataset_images(
        Dataset.read(toy).select("val"), Dataset.read(toy).select("val").images, embeddings=True
    )
    assert np.array_equal(encoder.fitted.encode(floats[0], 0).packed, codes.packed)
    assert fit_hash.__name__  # the hash is a PostHocHash of two sets, as `cmah hash` fits it
    assert (encoder.fitted.method, encoder.fitted.sets, encoder.fitted.bits) == ("itq", 2, 16)


@pytest.mark.slow
def test_a_file_gets_the_code_that_the_dataset_has(toy, zero_shot, tmp_path):
    image_file, shape_file, _ = export(zero_shot, toy, tmp_path, split="val", workers=0)
    images, shapes, data = (
        BinaryCodes.load(image_file),
        BinaryCodes.load(shape_file),
        Dataset.read(toy).select("val"),
    )
    paths = [toy / data.images[3].path, toy / data.shapes[2].points, toy / data.images[0].path]
    codes, skipped = Encoder.load(zero_shot).encode_files(paths)
    assert skipped == []
    assert np.array_equal(codes.packed, np.stack([images.packed[3], shapes.packed[2], images.packed[0]]))
    assert codes.space == images.space


def test_encoders_that_share_no_space_are_not_used_untrained(toy, weights, tmp_path):
    settings = [*TINY, f"model.image_weights={weights}", "training.epochs=0"]
    with pytest.raises(ConfigError, match="share no space"):
        train(toy, tmp_path / "run", recipe="prealigned", settings=settings)
    assert not (tmp_path / "run").exists() or not any((tmp_path / "run").glob("*.safetensors"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "message"),
    [("model.shape_weights=", "random weights"), ("model.head=tanh", "itq fits codes")],
)
def test_random_numbers_are_not_exported_as_zero_shot(toy, pair, tmp_path, setting, message):
    with pytest.raises(ConfigError, match=message):
        train(toy, tmp_path / "run", recipe="prealigned", settings=[*pair, "training.epochs=0", setting])


@pytest.mark.slow
def test_a_temperature_alone_is_nothing_to_train(toy, pair, tmp_path):
    settings = [*pair, "training.epochs=1", "model.shape_frozen=true"]
    with pytest.raises(ConfigError, match="nothing is left to train"):
        train(toy, tmp_path / "run", recipe="prealigned", settings=settings)


@pytest.mark.slow
def test_codes_of_a_changed_model_are_of_another_space(zero_shot, pair):
    same = Encoder.load(zero_shot, settings=[setting for setting in pair if "_weights" in setting])
    assert same.space == Encoder.load(zero_shot).space
    assert Encoder.load(zero_shot, settings=["model.points=48"]).space != same.space


@pytest.mark.slow
def test_nothing_to_train_is_said(toy, pair, tmp_path):
    settings = [*pair, "training.epochs=1", "model.shape_frozen=true", "loss.learn_temperature=false"]
    with pytest.raises(ConfigError, match="nothing is left to train"):
        train(toy, tmp_path / "run", recipe="prealigned", settings=settings)


def test_more_bits_than_itq_can_give(weights):
    with pytest.raises(ConfigError, match="at most 96"):
        method(weights, "model.bits=128")


@pytest.mark.slow
def test_resumes_bit_equal_and_fits_the_hash_at_the_end(toy, weights, tmp_path):
    settings = [*TINY, f"model.image_weights={weights}", "training.epochs=3"]
    whole = train(toy, tmp_path / "whole", recipe="prealigned", preset="scratch", settings=settings)
    assert (whole / HASH).exists()
    half = tmp_path / "half"
    stops = iter([False, True])

    def report(line):
        if line.startswith("epoch") and next(stops):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(toy, half, recipe="prealigned", preset="scratch", settings=settings, report=report)
    assert not (half / HASH).exists()
    with pytest.raises(RunError, match="--resume"):
        export(half, toy, tmp_path / "codes", split="val", workers=0)
    train(toy, half, resume=True)
    for name in ("model.safetensors", HASH):
        assert (half / name).read_bytes() == (whole / name).read_bytes(), name
    shutil.rmtree(half)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path, sets: fit_hash(sets, 12).save(path), "from 512 numbers to 12 bits"),
        (lambda path, sets: fit_hash(sets, 16, sharing="nothing").save(path), "sharing nothing; expected"),
        (lambda path, sets: fit_hash(sets[::-1], 16).save(path), "for shape and image"),
        (lambda path, sets: fit_hash(sets[:1], 16).save(path), "for image,"),
        (lambda path, _: path.write_bytes(path.read_bytes()[:1000]), r"remove it, and cmah train … --resume"),
        (lambda path, _: path.write_bytes(b""), r"remove it, and cmah train … --resume"),
    ],
)
def test_a_damaged_or_foreign_hash_is_refused(toy, zero_shot, tmp_path, make, message):
    run = tmp_path / "run"
    shutil.copytree(zero_shot, run)
    random = np.random.default_rng(0)
    sets = [
        Embeddings(embeddings=random.standard_normal((20, 512)).astype(np.float32), modality=name)
        for name in ("image", "shape")
    ]
    make(run / HASH, sets)
    for use in (lambda: Encoder.load(run), lambda: train(toy, run, resume=True)):
        with pytest.raises(RunError, match=rf"hash\.npz: .*{message}"):
            use()


@pytest.mark.slow
def test_a_hash_that_was_removed_is_made_again(toy, zero_shot, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(zero_shot, run)
    (run / HASH).unlink()
    train(toy, run, resume=True)
    assert (run / HASH).read_bytes() == (zero_shot / HASH).read_bytes()


def test_pictures_that_cannot_be_read_at_all(toy, weights, tmp_path):
    copy = tmp_path / "toy"
    shutil.copytree(toy, copy)
    for path in (copy / "renders").iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"no image could be read; the first: .*not a picture"):
        train(copy, tmp_path / "run", recipe="prealigned", settings=[*TINY, f"model.image_weights={weights}"])


def test_an_unreadable_view_takes_no_part(toy, weights, tmp_path):
    copy = tmp_path / "toy"
    shutil.copytree(toy, copy)
    (copy / "renders" / "box00_0.png").write_bytes(b"no picture")
    lines = []
    settings = [*TINY, f"model.image_weights={weights}", "training.epochs=1", "training.held_out=0"]
    run = train(copy, tmp_path / "run", recipe="prealigned", settings=settings, report=lines.append)
    assert any("box00_0.png" in line for line in lines)
    assert np.isfinite(json.loads((run / "metrics.jsonl").read_text())["loss"])
