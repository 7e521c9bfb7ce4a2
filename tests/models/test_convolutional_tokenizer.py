"""The convolutional stem: what reaches a token, which statistics it learns from, and the model with it."""

import pytest
import torch

from cmah.errors import ConfigError
from cmah.models.cmah_config import ModelConfig
from cmah.models.cmah_network import Cmah
from cmah.models.convolutional_tokenizer import ConvolutionalTokenizer, ResidualBlock, painted_over

SMALL = {
    "bits": (8, 16), "width": 16, "depth": 1, "heads": 2, "image_size": 32, "patch_size": 8, "points": 32,
    "groups": 8, "group_size": 4, "token_width": 8, "decoder_width": 16, "decoder_depth": 1, "decoder_heads": 2,
}  # fmt: skip


def model(**settings):
    torch.manual_seed(0)
    return Cmah(ModelConfig(**SMALL | settings))


def test_a_block_begins_as_its_shortcut():
    block, maps = ResidualBlock(2, 4), torch.randn(3, 2, 8, 8)
    torch.testing.assert_close(block(maps), torch.relu(block.shortcut(maps)))


@pytest.mark.parametrize("patch", [4, 8, 16])
def test_one_token_for_each_patch(patch):
    tokenizer = ConvolutionalTokenizer(32, patch, width=12, channels=4)
    assert tokenizer(torch.rand(2, 3, 32, 32)).shape == (2, (32 // patch) ** 2, 12)


def test_painted_over_is_a_loop_over_patches():
    images, masked = torch.randn(3, 3, 12, 12), torch.tensor([[0, 4], [8, 1], [3, 5]])
    expected = images.clone()
    for item, row in enumerate(masked.tolist()):
        for number in row:
            top, left = number // 3 * 4, number % 3 * 4
            expected[item, :, top : top + 4, left : left + 4] = 0
    torch.testing.assert_close(painted_over(images, masked, patch=4), expected)


def test_statistics_are_learned_from_whole_images_only():
    network, masked = (
        model(stem_channels=4, standardise=True).train(),
        model(stem_channels=4, standardise=True).train(),
    )
    images, points = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8), torch.randn(8, 32, 3)
    network(images, points, torch.Generator().manual_seed(0), masked=0)
    masked(images, points, torch.Generator().manual_seed(0), masked=8)
    assert network.image_tokenizer.stages[1].running_mean.abs().sum() > 0
    for name, value in network.state_dict().items():
        if name.endswith(("running_mean", "running_var")) and not name.startswith("masked_"):
            torch.testing.assert_close(value, masked.state_dict()[name], rtol=0, atol=0, msg=name)
    assert masked.image_tokenizer.stages[1].momentum == 0.1


def test_masked_patches_do_not_reach_the_masked_stream():
    """Two images that differ in what is masked only have the same masked codes."""
    network = model(stem_channels=4, standardise=True).eval()
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    points = torch.randn(2, 32, 3)
    first = network(images, points, torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(1)
    torch.randint(32, (2,), generator=generator)  # the first points of the groups are drawn before the masks
    order = torch.rand(2, 16, generator=generator).argsort(dim=1)
    other = images.clone()
    for item, row in enumerate(order[:, :12].tolist()):  # of 16 patches 12 are masked
        for number in row:
            top, left = number // 4 * 8, number % 4 * 8
            other[item, :, top : top + 8, left : left + 8] = 7
    second = network(other, points, torch.Generator().manual_seed(1))
    torch.testing.assert_close(second.masked_image, first.masked_image, rtol=0, atol=0)
    assert (second.full_image != first.full_image).any()


def test_standardised_features_have_mean_0_and_masked_streams_other_statistics():
    network = model(standardise=True).train()
    images = torch.randint(0, 256, (8, 3, 32, 32), dtype=torch.uint8)
    seen = {}
    for name in ("image_norm", "shape_norm", "masked_image_norm", "masked_shape_norm"):
        norm = getattr(network, name)
        norm.register_forward_hook(lambda module, inputs, output, name=name: seen.update({name: output}))
    network(images, torch.randn(8, 32, 3), torch.Generator().manual_seed(0))
    assert len(seen) == 4
    assert all(output.mean(dim=0).abs().max() < 1e-5 for output in seen.values())
    assert (network.image_norm.running_mean != network.masked_image_norm.running_mean).any()


def test_without_the_settings_the_weights_are_those_of_before():
    new = ("image_norm", "shape_norm", "view_norm", "masked_", "image_tokenizer.stages")
    assert not any(name.startswith(new) for name in model().state_dict())


def test_patches_that_no_halving_gives_are_refused():
    with pytest.raises(ConfigError, match=r"model\.patch_size = 12"):
        ModelConfig(stem_channels=4, image_size=24, patch_size=12)
