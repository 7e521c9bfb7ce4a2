"""Cached features of frozen towers are those the tower gives, and a cached run trains and resumes."""

import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from toy_dataset import MICRO, make_toy

from cmah.data.dataset import Dataset
from cmah.errors import DatasetError
from cmah.features.augmented_batches import IMAGE_STREAM, FeatureBatches
from cmah.models.pretrained.backbone_spec import BackboneSpec
from cmah.models.pretrained.image_towers import ImageBackbone
from cmah.models.pretrained.pointnet import PointNet
from cmah.recipes.resolving import load_recipe, make_config
from cmah.runs.metrics_log import read_metrics
from cmah.runs.tensor_files import load_tensors
from cmah.training.starting import train

IMAGE_TOWER = "timm:test_vit?img_size=16&patch_size=8"


@pytest.fixture(scope="module")
def towers(tmp_path_factory):
    """Settings with two frozen towers, their weights in files."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("towers")
    save_file(
        ImageBackbone(BackboneSpec.parse(IMAGE_TOWER), 16).net.state_dict(), folder / "image.safetensors"
    )
    save_file(PointNet().state_dict(), folder / "shape.safetensors")
    return (
        *MICRO, f"model.image_encoder={IMAGE_TOWER}", f"model.image_weights={folder}/image.safetensors",
        "model.shape_encoder=pointnet", f"model.shape_weights={folder}/shape.safetensors",
        "model.shape_frozen=true", "training.cached_copies=3", "loss.masked_part=0.5",
    )  # fmt: skip


@pytest.fixture(scope="module")
def batches(toy, towers):
    torch.manual_seed(0)
    config = make_config("cmah", "tiny", assignments=towers)
    recipe = load_recipe("cmah")(config)
    recipe.model.train()
    return recipe, recipe.batches(Dataset.read(toy).select("train"), config)


def test_features_are_the_towers_own(batches):
    recipe, cached = batches
    assert isinstance(cached, FeatureBatches)
    pairs, number, copy = cached.pairs, 5, 2
    view = [image for own in pairs.images for image in own][number]
    drawn = pairs.draw_view(view, np.random.default_rng([pairs.seed, IMAGE_STREAM, number, copy]))
    with torch.no_grad():
        expected = recipe.network.image_tower(torch.from_numpy(drawn.copy())[None].float() / 255)[0]
    assert torch.allclose(cached.image_features[number, copy].float(), expected, rtol=2e-3, atol=2e-3)


def test_a_batch_gets_features_of_its_own_views(batches):
    _, cached = batches
    first = list(cached.epoch(0))
    for batch in first:
        rows = torch.from_numpy(cached.first_view)[batch["index"]] + batch["view"]
        options = cached.image_features[rows].float()
        assert (options == batch["image_features"][:, None]).all(dim=2).any(dim=1).all()
    again = list(cached.epoch(0, first_batch=1))
    assert torch.equal(again[0]["shape_features"], first[1]["shape_features"])


@pytest.mark.slow
def test_a_cached_run_trains_without_saving_the_towers(toy, towers, tmp_path):
    run = train(toy, tmp_path / "run", settings=[*towers, "training.epochs=4"])
    losses = [record["full_full"] for record in read_metrics(run)]
    assert losses[-1] < losses[0]
    assert not [key for key in load_tensors(run / "model.safetensors")[0] if "tower" in key]


def test_what_cannot_be_read_gives_way_to_its_own_shape_or_to_the_next(towers, tmp_path):
    root = make_toy(tmp_path / "toy", shapes=12)
    data = Dataset.read(root).select("train")
    config = make_config("cmah", "tiny", assignments=towers)
    recipe = load_recipe("cmah")(config)
    whole = recipe.batches(data, config)
    views = [image for own in whole.pairs.images for image in own]
    for number in (0, 4, 5, 16, 17):  # the very first one, and both of the third and of the last shape
        (root / views[number].path).write_bytes(b"")
    some = recipe.batches(data, config)
    assert [name for name, _ in some.pairs.skipped] == [views[i].image_id for i in (0, 4, 5, 16, 17)]
    assert torch.equal(some.image_features[0], whole.image_features[1])
    others = [1, 2, 3, *range(6, 16)]
    assert torch.equal(some.image_features[others], whole.image_features[others])
    assert some.stand_in.tolist() == [0, 1, 3, 3, 4, 5, 6, 7, 0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        indices = torch.cat([batch["index"] for epoch in range(8) for batch in some.epoch(epoch)])
    assert set(indices.tolist()) == {0, 1, 3, 4, 5, 6, 7}
    for image in views:
        (root / image.path).write_bytes(b"")
    with pytest.raises(DatasetError, match="no image could be read; the first: "):
        recipe.batches(data, config)
