"""Two towers: what is refused, what the outputs are made of, and that cached embeddings change nothing."""

import pytest
import timm
import torch
from safetensors.torch import save_file

from cmah.errors import ConfigError
from cmah.models.backbones import Frozen, Tuned
from cmah.models.pretrained import point_encoder
from cmah.models.two_towers import TowersConfig, TwoTowers


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random weights of a small image encoder (96 features) and of a PointNet (1,792)."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    save_file(timm.create_model("test_resnet", pretrained=False).state_dict(), folder / "image.safetensors")
    save_file(point_encoder("pointnet").state_dict(), folder / "shape.safetensors")
    return folder


def towers(weights, **changed):
    settings = {
        "image_encoder": "timm:test_resnet", "image_weights": str(weights / "image.safetensors"),
        "image_size": 32, "shape_encoder": "pointnet", "points": 16, **changed,
    }  # fmt: skip
    torch.manual_seed(1)
    return TwoTowers(TowersConfig(**settings)).eval()


IMAGES = torch.randint(0, 256, (5, 3, 32, 32), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
CLOUDS = torch.randn(5, 16, 3, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"bits": (16, 8)}, "ascending"),
        ({"bits": ()}, "ascending"),
        ({"bits": (8, 16)}, "not nested"),
        ({"head": "relu"}, "itq, tanh or layernorm_ste"),
        ({"image_encoder": ""}, "model.image_encoder is not set"),
        ({"image_weights": ""}, "model.image_weights is not set"),
        ({"shape_encoder": ""}, "model.shape_encoder is not set"),
        ({"shape_frozen": True}, "without model.shape_weights"),
        ({"head_dropout": 1.0}, "head_dropout"),
        ({"shape_encoder": "pointnot"}, "pointnet"),
    ],
)
def test_settings_that_are_refused(weights, changed, message):
    with pytest.raises(ConfigError, match=message):
        towers(weights, **changed)


def test_without_a_head_the_output_is_the_unit_embedding(weights):
    model = towers(weights)
    image, shape = model.encode_images(IMAGES), model.encode_shapes({"points": CLOUDS})
    assert image.shape == shape.shape == (5, 96)
    assert model.width == model.dim == 96
    assert torch.allclose(image.norm(dim=1), torch.ones(5))
    assert torch.allclose(shape.norm(dim=1), torch.ones(5))
    features = model.image_tower(IMAGES.float() / 255)
    assert torch.equal(image, features / features.norm(dim=1, keepdim=True))
    assert model.split(image) == (image, None)


def test_a_learned_head_adds_the_code(weights):
    model = towers(weights, bits=(4, 12), head="tanh")
    outputs = model.encode_images(IMAGES)
    embedding, codes = model.split(outputs)
    assert (model.width, embedding.shape, codes.shape) == (96 + 12, (5, 96), (5, 12))
    assert torch.equal(codes, torch.tanh(outputs[:, 96:]))
    assert torch.equal(codes, torch.tanh(model.image_head(embedding * 96**0.5)))


@pytest.mark.parametrize("joint", [0, 24])
def test_embeddings_made_before_give_the_same_outputs(weights, joint):
    model = towers(weights, joint_dim=joint)
    features = model.image_tower(IMAGES.float() / 255)
    assert torch.equal(model.encode_image_features(features), model.encode_images(IMAGES))
    assert model.dim == (joint or 96)


def test_whether_the_encoders_share_a_space_is_known_by_their_widths(weights):
    assert not towers(weights).aligned
    assert isinstance(towers(weights).shape_projection, torch.nn.Linear)
    assert not towers(weights, joint_dim=1792).aligned


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({}, None),
        ({"shape_weights": "shape.safetensors"}, Tuned),
        ({"shape_weights": "shape.safetensors", "shape_frozen": True}, Frozen),
    ],
)
def test_a_shape_tower_is_trained_from_nothing_tuned_or_frozen(weights, changed, kind):
    if "shape_weights" in changed:
        changed = {**changed, "shape_weights": str(weights / changed["shape_weights"])}
    model = towers(weights, **changed).train()
    assert isinstance(model.image_tower, Frozen)
    assert isinstance(model.shape_tower, kind or type(point_encoder("pointnet")))
    norm = next(m for m in model.shape_tower.modules() if isinstance(m, torch.nn.BatchNorm1d))
    assert norm.training == (kind is None)  # statistics of random weights are worth nothing
    assert next(model.shape_tower.parameters()).requires_grad == (kind is not Frozen)
