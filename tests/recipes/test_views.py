"""Shapes seen by their views, alone and beside their points, through training, export and search."""

import shutil

import numpy as np
import pytest
import torch
from small_towers import TINY, image_weights
from toy_dataset import MICRO

from cmah.codes import BinaryCodes, Embeddings
from cmah.data.dataset import Dataset
from cmah.errors import CmahError, ConfigError
from cmah.features.image_embedder import ImageEmbedder
from cmah.models.two_towers import TowersConfig, TwoTowers
from cmah.recipes.resolving import build_recipe, make_config
from cmah.runs.encoder import Encoder
from cmah.runs.exporting import export
from cmah.training.starting import train

pytestmark = pytest.mark.slow
VIEWS = ("model.shape_input=views", "model.views=2")
BOTH = ("model.shape_input=both", "model.views=2", "model.joint_dim=24", "model.head=tanh")


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    weights = image_weights(tmp_path_factory.mktemp("weights"))
    return [*TINY, f"model.image_weights={weights}"]


@pytest.fixture(scope="module")
def zero_shot(toy, settings, tmp_path_factory):
    out = tmp_path_factory.mktemp("views") / "run"
    return train(toy, out, recipe="prealigned", settings=[*settings, *VIEWS, "training.epochs=0"])


def test_a_shape_is_the_mean_of_its_views(toy, zero_shot, settings, tmp_path):
    """Without training, the embedding is that of the image encoder, averaged over unit vectors."""
    _, path, skipped = export(zero_shot, toy, tmp_path / "out", split="all", embeddings=True, workers=0)
    shapes = Embeddings.load(path)
    dataset = Dataset.read(toy)
    weights = next(s.partition("=")[2] for s in settings if s.startswith("model.image_weights"))
    embedder = ImageEmbedder(
        "timm:test_resnet", weights, backbone=Encoder.load(zero_shot).model.image_encoder
    )
    assert not skipped
    for row, shape in enumerate(dataset.shapes[:4]):
        renders = [image for image in dataset.views()[shape.shape_id] if image.kind == "render"]
        renders = renders[:: max(1, len(renders) // 2)][:2]
        table = embedder.embed(dataset, renders)
        vectors = table.rows(range(len(renders)))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        expected = vectors.mean(axis=0)
        np.testing.assert_allclose(shapes.embeddings[row], expected / np.linalg.norm(expected), atol=1e-5)


def test_no_render_is_query_and_description(toy, zero_shot, tmp_path):
    lines = []
    for which in ("all", "even"):
        image, shape, _ = export(
            zero_shot, toy, tmp_path / which, split="all", workers=0, settings=[f"model.views_from={which}"],
            report=lines.append,
        )  # fmt: skip
        _, views, _ = export(
            zero_shot, toy, tmp_path / f"{which}-views", split="all", workers=0, per_view=True,
            settings=[f"model.views_from={which}"],
        )  # fmt: skip
        asking, describing = BinaryCodes.load(image), BinaryCodes.load(views)
        assert not {*asking.ids} & {*describing.ids}
        assert {*describing.shape_ids} == {*BinaryCodes.load(shape).ids}
        assert describing.space == asking.space
    told = [line for line in lines if "renders describe their shapes" in line]
    assert len(told) == 2
    assert "are no queries (model.views_from=even)" in told[1]


def test_a_code_per_view_is_that_of_the_view_alone(toy, zero_shot):
    encoder, dataset = Encoder.load(zero_shot), Dataset.read(toy)
    each, _ = encoder.dataset_shapes(dataset, dataset.shapes[:3], per_view=True, embeddings=True)
    images = {image.image_id: image for image in dataset.images}
    alone, _ = encoder.dataset_images(dataset, [images[name] for name in each.ids], embeddings=True)
    np.testing.assert_allclose(each.embeddings, alone.embeddings, atol=1e-6)


def test_shapes_without_views_are_listed(toy, zero_shot):
    dataset = Dataset.read(toy)
    first, second = dataset.shapes[:2]
    dataset.images = [image for image in dataset.images if image.shape_id != first.shape_id]
    codes, skipped = Encoder.load(zero_shot).dataset_shapes(dataset, [first, second])
    assert codes.ids.tolist() == [second.shape_id]
    assert [(name, "no render that may be a view of it" in reason) for name, reason in skipped] == [
        (first.shape_id, True)
    ]


def test_company_does_not_matter(toy, zero_shot):
    encoder, dataset = Encoder.load(zero_shot), Dataset.read(toy)
    together, _ = encoder.dataset_shapes(dataset, dataset.shapes[:5])
    alone, _ = encoder.dataset_shapes(dataset, dataset.shapes[3:4])
    assert together[3:4].packed.tolist() == alone.packed.tolist()


@pytest.mark.parametrize("joining", ["concatenate", "average"])
def test_both_train_resume_and_search(toy, settings, joining, tmp_path):
    chosen = [*settings, *BOTH, f"model.joining={joining}", "training.epochs=2"]
    whole = train(toy, tmp_path / "whole", recipe="prealigned", settings=chosen)
    part = train(toy, tmp_path / "part", recipe="prealigned", settings=chosen)
    assert (whole / "model.safetensors").read_bytes() == (part / "model.safetensors").read_bytes()
    _, shape, skipped = export(whole, toy, tmp_path / "codes", split="all", workers=0)
    codes = BinaryCodes.load(shape)
    assert len(codes) == len(Dataset.read(toy).shapes)
    assert not skipped
    cloud = next(path for path in (toy / "points").iterdir())
    none, refused = Encoder.load(whole).encode_files([cloud])
    assert len(none) == 0
    assert "this run sees shapes by their views; expected a mesh" in refused[0][1]


def test_pictures_and_features_give_the_same(settings):
    """Views as pictures, and as what the frozen encoder made of them beforehand."""
    model = build_recipe(make_config("prealigned", assignments=[*settings, *VIEWS])).model.eval()
    views = torch.randint(0, 256, (3, 2, 3, 32, 32), dtype=torch.uint8)
    there = torch.tensor([[True, True], [True, False], [True, True]])
    with torch.no_grad():
        features = model.image_tower(views.flatten(0, 1).float() / 255).unflatten(0, (3, 2))
        seen = model.encode_shapes({"views": views, "view_mask": there})
        known = model.encode_shapes({"view_features": features, "view_mask": there})
    torch.testing.assert_close(seen, known, atol=1e-5, rtol=0)


def test_the_batch_norm_sees_no_empty_places(settings):
    config = make_config("prealigned", assignments=[*settings, *BOTH, "model.shape_input=views"])
    features = torch.randn(4, 2, 96)
    there = torch.tensor([[True, True], [True, False], [True, False], [True, True]])
    means = []
    for filling in (0.0, 1e4):
        torch.manual_seed(0)
        model = TwoTowers(config.model).train()
        filled = torch.where(there[..., None], features, torch.full_like(features, filling))
        model.encode_shapes({"view_features": filled, "view_mask": there})
        means.append(model.view_projection[0].running_mean.clone())
    torch.testing.assert_close(means[0], means[1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"joint_dim": 16}, "would be of random weights"),
        ({"shape_input": "both", "shape_encoder": "pointnet"}, "would be of random weights"),
        ({"head": "tanh"}, "heads of model.head=tanh would be of random weights"),
    ],
)
def test_what_cannot_be_used_untrained(settings, changes, message):
    assignments = [*settings, *VIEWS, *(f"model.{key}={value}" for key, value in changes.items())]
    with pytest.raises(ConfigError, match=message):
        build_recipe(make_config("prealigned", assignments=assignments)).require_usable_untrained()


def test_views_need_no_point_encoder_and_points_no_views(toy_run, toy):
    TowersConfig(shape_input="views", image_encoder="timm:test_resnet", image_weights="w.pt")
    with pytest.raises(CmahError, match="this run sees shapes by their points"):
        Encoder.load(toy_run).dataset_shapes(Dataset.read(toy), [], per_view=True)


@pytest.mark.parametrize("shape_input", ["views", "both"])
@pytest.mark.parametrize("tower", [(), ("model.image_encoder=timm:test_resnet", "training.cached_copies=2")])
def test_cmah_sees_views(toy, settings, shape_input, tower, tmp_path):
    weights = [setting for setting in settings if setting.startswith("model.image_weights")] if tower else []
    chosen = [*MICRO, f"model.shape_input={shape_input}", "model.views=2", *tower, *weights]
    runs = [
        train(toy, tmp_path / name, recipe="cmah", settings=[*chosen, "training.epochs=2"]) for name in "ab"
    ]
    first, second = ((run / "model.safetensors").read_bytes() for run in runs)
    assert first == second
    _, shape, skipped = export(runs[0], toy, tmp_path / "out", split="all", workers=0)
    assert not skipped
    assert len(BinaryCodes.load(shape)) == len(Dataset.read(toy).shapes)


def test_cmah_over_views_has_no_masked_shapes(settings):
    recipe = build_recipe(
        make_config("cmah", "tiny", assignments=["model.shape_input=views", "model.views=2"])
    )
    batch = {
        "image": torch.randint(0, 256, (4, 3, 3, 64, 64), dtype=torch.uint8),
        "drawn": torch.tensor([3, 3, 2, 1]), "index": torch.arange(4),
    }  # fmt: skip
    loss, parts = recipe.loss(batch, torch.Generator().manual_seed(0))
    assert [*parts] == ["full_full", "mask_full", "pixels"]
    loss.backward()
    assert all(p.grad is not None for p in recipe.network.image_encoder.parameters())
    # what stands in the places of views that were not drawn does not matter
    batch["image"][2, 2] = 0
    again, _ = recipe.loss(batch, torch.Generator().manual_seed(0))
    torch.testing.assert_close(again, loss)


def test_an_unreadable_view_describes_nothing_and_is_told(toy, settings, tmp_path):
    shutil.copytree(toy, tmp_path / "data")
    broken = Dataset.read(tmp_path / "data").images[5]
    (tmp_path / "data" / broken.path).write_bytes(b"")
    weights = [setting for setting in settings if setting.startswith("model.image_weights")]
    tower = ["model.image_encoder=timm:test_resnet", *weights, "training.cached_copies=1"]
    lines = []
    chosen = [*MICRO, "model.shape_input=both", "model.views=2", *tower, "training.epochs=1"]
    train(tmp_path / "data", tmp_path / "run", recipe="cmah", settings=chosen, report=lines.append)
    assert [line for line in lines if line.startswith("left out") and broken.path in line]


@pytest.mark.parametrize("recipe", ["prealigned", "cmah"])
def test_views_as_pictures_in_bfloat16(settings, recipe):
    tower = [s for s in settings if s.startswith(("model.image_encoder", "model.image_weights"))]
    wanted = [*settings, *VIEWS] if recipe == "prealigned" else [*MICRO, *tower, *VIEWS]
    model = build_recipe(make_config(recipe, assignments=wanted)).network.train()
    size = model.image_size
    views = torch.randint(0, 256, (4, 2, 3, size, size), dtype=torch.uint8)
    there = torch.tensor([[True, True], [True, False], [True, True], [True, True]])
    with torch.autocast("cpu", torch.bfloat16):
        outputs = model.encode_shapes({"views": views, "view_mask": there})
    assert outputs.isfinite().all()


def test_real_valued_codes_of_a_hash_that_was_fitted(toy, zero_shot, tmp_path):
    """Those of files are those of export, and their signs the codes; per view too."""
    from cmah.codes.real_codes import codes_of_real

    even = ["model.views_from=even"]
    export(zero_shot, toy, tmp_path, split="all", workers=0, real=True, per_view=True, settings=even)
    read = {name: Embeddings.load(tmp_path / f"{name}_real.npz") for name in ("image", "shape")}
    for name, real in read.items():
        codes = BinaryCodes.load(tmp_path / f"{name}.npz")
        assert codes_of_real(real) == codes
        assert np.abs(real.embeddings).max() < 1
        assert 0.1 < np.abs(real.embeddings).mean() < 0.9
    images = {image.image_id: image for image in Dataset.read(toy).images}
    files = [toy / images[name].path for name in read["shape"].ids[:3]]
    _, real, _ = Encoder.load(zero_shot).codes_and_real_codes(files)
    assert real.space == read["image"].space
    assert real.embeddings.shape == (3, read["image"].embeddings.shape[1])
