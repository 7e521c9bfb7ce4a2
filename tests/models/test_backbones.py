"""Foreign towers: names, strict loading, freezing, and real weights where they are at hand."""

import pytest
import torch
from safetensors.torch import save_file

from cmah.errors import ConfigError, RunError
from cmah.models.backbones import Frozen, Tuned
from cmah.models.pretrained.checkpoints import load_strictly, read_weights
from cmah.models.pretrained.images import BackboneSpec, ImageBackbone
from cmah.models.pretrained.pointnet import PointNet


def test_spec_parses():
    spec = BackboneSpec.parse("timm:mobilenetv2_100?pad_type=same&mean=0.5")
    assert (spec.family, spec.name, spec.options) == (
        "timm",
        "mobilenetv2_100",
        {"pad_type": "same", "mean": 0.5},
    )
    assert BackboneSpec.parse("open_clip:ViT-B-32").name == "ViT-B-32"


@pytest.mark.parametrize(
    "text", ["resnet50", "timm:", "pointnet", "pointnet:x", "clip:ViT", "timm:x?pad", "timm:hf-hub:a/b", ""]
)
def test_bad_specs(text):
    with pytest.raises(ConfigError, match="expected"):
        BackboneSpec.parse(text)


@pytest.mark.parametrize("option", ["pretrained=True", "checkpoint_path=x.pt", "weights_only=False"])
def test_options_bring_no_weights(option):
    with pytest.raises(ConfigError, match="weights are a setting of their own"):
        BackboneSpec.parse(f"timm:resnet18?{option}")


@pytest.mark.parametrize(
    "name", ["no_such_model", "test_vit?foo=1", "test_vit?in_chans=1", "test_vit?mean=x"]
)
def test_models_that_cannot_be_made(name):
    with pytest.raises(ConfigError, match=name.partition("?")[0]):
        ImageBackbone(BackboneSpec.parse(f"timm:{name}"), 160)


def test_weights_must_fit(tmp_path):
    net = torch.nn.Linear(2, 3)
    good = {key: value.half() for key, value in net.state_dict().items()}
    load_strictly(net, good, "f")
    for bad, what in (
        ({"weight": good["weight"]}, "misses 'bias'"),
        ({**good, "extra": good["bias"]}, "unexpected 'extra'"),
        ({**good, "bias": torch.zeros(4)}, "another shape for 'bias'"),
    ):
        with pytest.raises(RunError, match=what):
            load_strictly(net, bad, "f")


def test_unreadable_weights(tmp_path):
    (tmp_path / "garbage.pt").write_bytes(b"\x80\x04nonsense")
    (tmp_path / "garbage.safetensors").write_bytes(b"\xff" * 40)
    for name in ("garbage.pt", "garbage.safetensors", "missing.pt"):
        with pytest.raises(RunError, match=name):
            read_weights(tmp_path / name)


def test_pickles_are_never_run(shared, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match="pickle_checkpoint"):
        read_weights(shared / "data/hostile/codes/pickle_checkpoint.pt")
    assert not list(tmp_path.glob("cmah_pickle*"))


def test_frozen_stays_and_tuned_keeps_statistics():
    net = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3))
    frozen, tuned = Frozen(net), Tuned(torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3)))
    frozen.train()
    tuned.train()
    assert not frozen.net[1].training
    assert not frozen(torch.randn(4, 3)).requires_grad
    before = tuned.net[1].running_mean.clone()
    tuned(torch.randn(4, 3) + 5).sum().backward()
    assert torch.equal(tuned.net[1].running_mean, before)
    assert tuned.net[0].weight.grad is not None


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


def test_real_weights_see_what_they_should(shared):
    """PointNet's features of two resamplings of a shape are closer than those of two shapes."""
    import numpy as np

    tower = PointNet()
    tower.load(str(shared / "weights/pointnet_modelnet40.safetensors"))
    tower.eval()
    files = sorted((shared / "data/shapes41/points").glob("*.npy"))[:6]
    clouds = np.stack([np.load(f, allow_pickle=False)[:, :3].astype(np.float32) for f in files])
    with torch.no_grad():
        a, b = (
            torch.nn.functional.normalize(tower(torch.tensor(clouds[:, s])))
            for s in (slice(0, 1024), slice(1024, 2048))
        )
    assert (a @ b.T).argmax(dim=1).tolist() == list(range(6))


def test_pointnet_ignores_the_order_of_points():
    tower = PointNet().eval()
    points = torch.randn(2, 50, 3)
    with torch.no_grad():
        assert torch.allclose(tower(points), tower(points[:, torch.randperm(50)]), atol=1e-6)
