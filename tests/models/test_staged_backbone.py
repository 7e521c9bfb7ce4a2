"""Image encoders in two parts: the same network, for pictures of other channels."""

import pytest
import timm
import torch
from safetensors.torch import save_file

from cmah.errors import ConfigError
from cmah.models.backbones import Tuned
from cmah.models.pretrained.backbone_spec import BackboneSpec
from cmah.models.pretrained.image_towers import ImageBackbone
from cmah.models.staged_backbone import StagedBackbone, grey, staged_tower

NAMES = ("timm:test_resnet", "timm:test_efficientnet", "timm:mobilenetv3_small_050", "timm:test_convnext")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "resnet.safetensors"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        save_file(timm.create_model("test_resnet", pretrained=False).state_dict(), path)
    return str(path)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_the_two_parts_are_the_whole_network(name, stage):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        whole = ImageBackbone(BackboneSpec.parse(name), 64).eval()
        torch.manual_seed(0)
        parts = StagedBackbone(BackboneSpec.parse(name), 64, stage=stage).eval()
    pictures = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        maps = parts.early(pictures)
        assert maps.shape == (2, parts.cut_dim, 64 // 2 ** (stage + 1), 64 // 2 ** (stage + 1))
        torch.testing.assert_close(parts.late(maps), whole(pictures), rtol=1e-4, atol=1e-5)
    assert parts.dim == whole.dim


def test_a_mask_does_nothing_at_first(weights):
    spec = BackboneSpec.parse("timm:test_resnet")
    colour, masked = (
        StagedBackbone(spec, 64, channels, weights=weights).eval()
        for channels in ("colour", "colour and mask")
    )
    pictures = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        for mask in (torch.zeros(2, 1, 64, 64), torch.rand(2, 1, 64, 64)):
            torch.testing.assert_close(masked(torch.cat([pictures, mask], dim=1)), colour(pictures))


def test_grey_channels_are_seen_as_their_mean_at_first(weights):
    """A grey picture as RGB, the network's mean and spread being equal for all colours, is the grey channel's."""
    spec = BackboneSpec.parse("timm:test_resnet?mean=0.5&std=0.25")
    nets = {
        channels: StagedBackbone(spec, 64, channels, weights=weights).eval()
        for channels in ("colour", "grey", "four grey")
    }
    views = torch.rand(2, 4, 64, 64)
    mean = views.mean(dim=1, keepdim=True)
    with torch.no_grad():
        expected = nets["colour"](mean.expand(2, 3, 64, 64))
        torch.testing.assert_close(nets["grey"](mean), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(nets["four grey"](views), expected, rtol=1e-4, atol=1e-5)


def test_a_mask_learns(weights):
    net = StagedBackbone(BackboneSpec.parse("timm:test_resnet"), 64, "colour and mask", weights=weights)
    net(torch.rand(2, 4, 64, 64)).sum().backward()
    convolution = next(module for module in net.modules() if isinstance(module, torch.nn.Conv2d))
    assert (convolution.weight.grad[:, 3] != 0).any()


@pytest.mark.parametrize("name", ["timm:vit_tiny_patch16_224", "timm:test_vit", "slip:ViT-B-16"])
def test_other_networks_are_refused(name):
    with pytest.raises(ConfigError, match=r"expected a (convolutional )?network"):
        StagedBackbone(BackboneSpec.parse(name))


def test_loaded_towers_keep_their_batch_norms(weights):
    tower = staged_tower("timm:test_resnet", weights, 64, "colour", 2).train()
    norms = [module for module in tower.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert isinstance(tower, Tuned)
    assert norms
    assert not any(module.training for module in norms)


def test_grey_by_hand():
    picture = torch.tensor([1.0, 0.5, 0.25]).reshape(1, 3, 1, 1)
    assert grey(picture).item() == pytest.approx(0.299 + 0.587 / 2 + 0.114 / 4)
