"""The recipe captionless: its weights are those of the batch's shapes, and the released variant is the code's."""

import math

import numpy as np
import pytest
import torch
from small_towers import TINY, image_weights
from torch.nn.functional import normalize
from toy_dataset import MICRO

from cmah.data.dataset import Dataset
from cmah.errors import ConfigError
from cmah.losses.contrastive import info_nce
from cmah.recipes.resolving import load_recipe, make_config
from cmah.training.starting import train

ALPHA = 0.25


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return image_weights(tmp_path_factory.mktemp("weights"))


def begun(toy, weights, *settings):
    """The recipe with its batches, and the first batch."""
    torch.manual_seed(0)
    chosen = [*TINY, f"model.image_weights={weights}", *settings]
    config = make_config("captionless", assignments=chosen)
    recipe = load_recipe("captionless")(config)
    batches = recipe.batches(Dataset.read(toy).select("train"), config)
    return recipe, batches, next(iter(batches.epoch(0)))


def slow_loss(recipe, batches, batch, by_category):
    """Equations 2, 5 and 6, an entry at a time."""
    table, first = batches.table, batches.first_view
    views = [
        normalize(torch.from_numpy(table.rows(np.arange(first[i], first[i + 1])))) for i in batch["index"]
    ]
    categories = [batches.pairs.shapes[i].category for i in batch["index"]]
    b = len(views)
    similarity = np.full((b, b), ALPHA)
    for i in range(b):
        for j in range(b):
            if categories[i] == categories[j] or not by_category:
                similarity[i, j] = ((views[i] * views[j]).sum(dim=1).mean().item() + 1) / 2
    image = normalize(recipe.network.encode_image_features(batch["image_features"]))
    shape = normalize(recipe.network.encode_shapes({"points": batch["points"]}))
    s = (image @ shape.T).double().detach().numpy() / 0.07
    total = 0.0
    for i in range(b):
        row = sum(similarity[i, k] for k in range(b) if k != i)
        column = sum(similarity[k, i] for k in range(b) if k != i)
        to_shape = sum((b - 1) * similarity[i, k] / row * math.exp(s[i, k]) for k in range(b) if k != i)
        to_image = sum((b - 1) * similarity[k, i] / column * math.exp(s[k, i]) for k in range(b) if k != i)
        total -= math.log(math.exp(s[i, i]) / (math.exp(s[i, i]) + to_shape)) / (2 * b)
        total -= math.log(math.exp(s[i, i]) / (math.exp(s[i, i]) + to_image)) / (2 * b)
    return total


@pytest.mark.parametrize("kind", ["i2i", "i2i_all"])
def test_the_loss_is_that_of_the_equations(toy, weights, kind):
    recipe, batches, batch = begun(toy, weights, f"loss.negatives.kind={kind}")
    recipe.model.eval()
    value = recipe.loss(batch, torch.Generator())[0].item()
    assert value == pytest.approx(
        slow_loss(recipe, batches, batch, kind == "i2i"), rel=2e-3
    )  # float16 on disk


def test_without_weights_it_is_info_nce(toy, weights):
    recipe, _, batch = begun(toy, weights, "loss.negatives.kind=")
    recipe.model.eval()
    image = recipe.network.encode_image_features(batch["image_features"])
    shape = recipe.network.encode_shapes({"points": batch["points"]})
    expected = (info_nce(image, shape, 0.07) + info_nce(shape, image, 0.07)) / 2
    assert recipe.loss(batch, torch.Generator())[0].item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize(
    "setting", ["landmarks=mine.json", "alpha=0.5", "variant=released", "views=all_pairs"]
)
def test_one_setting_of_negatives_leaves_the_others(weights, setting):
    chosen = [*TINY, f"model.image_weights={weights}", f"loss.negatives.{setting}"]
    assert make_config("captionless", assignments=chosen).loss.negatives.kind == "avg"


def test_the_released_variant_has_the_codes_temperature_and_bias(toy, weights):
    recipe, _, batch = begun(
        toy,
        weights,
        "loss.negatives.kind=i2i",
        "loss.negatives.variant=released",
        "loss.negatives.views=all_pairs",
    )
    named = dict(recipe.model.named_parameters())
    assert (named["factor"].item(), named["bias"].item()) == pytest.approx((math.log(10), -10))
    recipe.loss(batch, torch.Generator())[0].backward()
    assert named["factor"].grad.abs() > 0
    assert "log_temperature" not in [name for name, p in recipe.model.named_parameters() if p.requires_grad]


def test_landmarks_need_an_encoder_of_texts(toy, weights):
    with pytest.raises(ConfigError):
        begun(toy, weights, "loss.negatives.kind=avg")


@pytest.mark.slow
def test_cmah_takes_the_same_weights(toy, weights, tmp_path):
    settings = [
        *MICRO, "training.epochs=1", "loss.negatives.kind=i2i", "loss.negatives.image_encoder=timm:test_resnet",
        f"loss.negatives.image_weights={weights}",
    ]  # fmt: skip
    torch.manual_seed(0)
    config = make_config("cmah", "tiny", assignments=settings)
    recipe = load_recipe("cmah")(config)
    inputs = next(iter(recipe.batches(Dataset.read(toy).select("train"), config).epoch(0)))
    recipe.model.eval()
    weighted = recipe.loss(inputs, torch.Generator().manual_seed(0))[1]["full_full"].item()
    to_shape, to_image = recipe.negative_weights(inputs["index"])
    assert to_shape.fill_diagonal_(0).sum(dim=1).numpy() == pytest.approx(len(to_shape) - 1, rel=1e-5)
    # similarities are symmetric: what the columns are normalised to, transposed, is what the rows are
    assert torch.allclose(to_shape, to_image.fill_diagonal_(0))
    recipe.negative_weights = None
    plain = recipe.loss(inputs, torch.Generator().manual_seed(0))[1]["full_full"].item()
    assert abs(weighted - plain) > 1e-6
    train(toy, tmp_path / "run", preset="tiny", settings=settings)


def test_cmah_without_a_frozen_encoder_says_what_is_needed(toy, tmp_path):
    with pytest.raises(ConfigError, match=r"loss\.negatives\.image_encoder"):
        train(toy, tmp_path / "run", preset="tiny", settings=[*MICRO, "loss.negatives.kind=i2i"])
