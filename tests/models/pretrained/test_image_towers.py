"""Image towers: their own files, sizes, pixels, and activation."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cmah.errors import ConfigError
from cmah.models.pretrained.backbone_spec import BackboneSpec
from cmah.models.pretrained.image_towers import ImageBackbone
from cmah.models.pretrained.text_towers import TextEncoder


@pytest.mark.parametrize(
    "name", ["no_such_model", "test_vit?foo=1", "test_vit?in_chans=1", "test_vit?mean=x"]
)
def test_models_that_cannot_be_made(name):
    with pytest.raises(ConfigError, match=name.partition("?")[0]):
        ImageBackbone(BackboneSpec.parse(f"timm:{name}"), 160)


def test_timm_tower_loads_its_own_file(tmp_path):
    spec = BackboneSpec.parse("timm:test_vit?img_size=64")
    first, second = ImageBackbone(spec, 64).eval(), ImageBackbone(spec, 64).eval()
    path = tmp_path / "weights.safetensors"
    # a published file has the classifier too
    save_file({**first.net.state_dict(), "head.weight": torch.zeros(10, first.dim)}, path)
    second.load(str(path))
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(first(images), second(images))


def test_open_clip_tower_takes_any_size():
    tower = ImageBackbone(BackboneSpec.parse("open_clip:ViT-S-32-alt"), 48).eval()
    with torch.no_grad():
        assert tower(torch.rand(2, 3, 48, 48)).shape == (2, tower.dim)


@pytest.mark.slow
def test_containers_of_published_files(tiny_clip, tmp_path):
    """With module. and without a container, as half precision, and with a custom text tower's file for a plain one."""
    state = torch.load(tiny_clip[1], weights_only=True)["state_dict"]
    wanted = TextEncoder(*tiny_clip).encode(["a chair"])
    torch.save({f"module.{key}": value for key, value in state.items()}, tmp_path / "ddp.pt")
    save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / "plain.safetensors")
    for name in ("ddp.pt", "plain.safetensors"):
        ImageBackbone(BackboneSpec.parse(tiny_clip[0])).load(str(tmp_path / name))
        assert np.array_equal(TextEncoder(tiny_clip[0], str(tmp_path / name)).encode(["a chair"]), wanted)
    # the same text tower where the model keeps it apart, from a file that does not
    custom = TextEncoder(tiny_clip[0] + "?force_custom_text=True", tiny_clip[1])
    assert np.array_equal(custom.encode(["a chair"]), wanted)


def test_a_tag_brings_its_pixel_statistics(tiny_clip, monkeypatch):
    tag = {"hf_hub": "a/b/", "mean": (0.1, 0.2, 0.3), "std": (1, 1, 1), "interpolation": "bilinear"}
    monkeypatch.setattr("open_clip.get_pretrained_cfg", lambda name, _: tag if name == "tiny-clip" else {})
    monkeypatch.setattr("open_clip.download_pretrained", lambda _: tiny_clip[1])
    plain = ImageBackbone(BackboneSpec.parse(tiny_clip[0]))
    plain.load(tiny_clip[1])
    tagged, own = (
        ImageBackbone(BackboneSpec.parse(tiny_clip[0] + options), 64) for options in ("", "?mean=0.5&std=0.5")
    )
    tagged.load("download:some")
    own.load("download:some")
    assert tagged.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert tagged.interpolation == "bilinear"
    assert own.mean.flatten().tolist() == [0.5] * 3
    texts = {tower.preprocessing for tower in (plain, tagged, own)}
    assert len(texts) == 3
    assert "32 px (bicubic), mean 0.48145" in plain.preprocessing
    assert "64 px (bicubic) resized to 32 px (bilinear), mean 0.1" in tagged.preprocessing


def test_quick_gelu_must_fit(monkeypatch, tiny_clip):
    tag = {"hf_hub": "a/b/", "mean": (0.5,), "std": (0.5,), "quick_gelu": True}
    monkeypatch.setattr("open_clip.get_pretrained_cfg", lambda *_: tag)
    monkeypatch.setattr("open_clip.download_pretrained", lambda _: tiny_clip[1])
    with pytest.raises(ConfigError, match=r"with QuickGELU; name the encoder .*\?force_quick_gelu=True"):
        ImageBackbone(BackboneSpec.parse(tiny_clip[0])).load("download:some")
    ImageBackbone(BackboneSpec.parse(tiny_clip[0] + "?force_quick_gelu=True")).load("download:some")
