"""Foreign towers: names, strict loading, freezing, and real weights where they are at hand."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cmah.errors import ConfigError, RunError
from cmah.models.backbones import Frozen, Tuned
from cmah.models.pretrained import backbone_spec
from cmah.models.pretrained.backbone_spec import BackboneSpec, weights_file
from cmah.models.pretrained.foreign_weights import load_strictly, read_weights
from cmah.models.pretrained.image_towers import ImageBackbone
from cmah.models.pretrained.pointnet import PointNet
from cmah.models.pretrained.text_towers import TextEncoder, ensembled, has_text


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


def whole_model(tiny_clip):
    """The tiny model by open_clip itself."""
    import open_clip

    return open_clip.create_model("tiny-clip", pretrained=tiny_clip[1]).eval()


def test_both_towers_equal_open_clip(tiny_clip):
    import open_clip

    model, texts = whole_model(tiny_clip), ["a chair", "", "a table with " + "very " * 40 + "long legs"]
    tower = ImageBackbone(BackboneSpec.parse(tiny_clip[0])).eval()
    tower.load(tiny_clip[1])
    images = torch.rand(3, 3, 32, 32)
    normalise = open_clip.image_transform(32, is_train=False).transforms[-1]
    with torch.no_grad():
        assert torch.allclose(tower(images), model.encode_image(normalise(images)), atol=1e-6)
        tokens = open_clip.get_tokenizer("tiny-clip")(texts)
        wanted = torch.nn.functional.normalize(model.encode_text(tokens), dim=1).numpy()
    found = TextEncoder(*tiny_clip).encode(texts)
    assert found.dtype == np.float32
    assert found.shape == (3, tower.dim)
    np.testing.assert_allclose(found, wanted, atol=2e-6)


def test_texts_do_not_depend_on_their_company(tiny_clip):
    encoder, texts = TextEncoder(*tiny_clip), [f"a chair with {i} legs" for i in range(40)]
    together = encoder.encode(texts)
    assert np.array_equal(together[[37]], encoder.encode(texts[37:38]))
    assert np.array_equal(together[::-1], encoder.encode(texts[::-1]))
    assert encoder.encode([]).shape == (0, 32)


def test_ensembles_are_means_of_unit_vectors(tiny_clip):
    encoder = TextEncoder(*tiny_clip)
    found = ensembled(encoder.encode, [["a chair"], ["a table", "a desk", "tables"]])
    for row, texts in zip(found, (["a chair"], ["a table", "a desk", "tables"]), strict=True):
        mean = sum(encoder.encode([text])[0] for text in texts)
        np.testing.assert_allclose(row, mean / np.sqrt((mean**2).sum()), atol=1e-6)


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


def test_text_towers_that_are_not_there(tiny_clip, tmp_path):
    visual = {k: v for k, v in whole_model(tiny_clip).state_dict().items() if k.startswith("visual.")}
    torch.save(visual, tmp_path / "visual.pt")
    with pytest.raises(RunError, match=r"visual\.pt: holds no text tower"):
        TextEncoder(tiny_clip[0], str(tmp_path / "visual.pt"))
    state = torch.load(tiny_clip[1], weights_only=True)["state_dict"]
    del state["ln_final.bias"]
    torch.save(state, tmp_path / "less.pt")
    with pytest.raises(RunError, match=r"misses 'ln_final\.bias'"):
        TextEncoder(tiny_clip[0], str(tmp_path / "less.pt"))
    assert has_text(tiny_clip[0])
    assert not has_text("timm:resnet18")
    with pytest.raises(ConfigError, match="timm:resnet18' has no text tower"):
        TextEncoder("timm:resnet18", "w.pt")


def test_tokenizers_are_not_fetched_unasked(monkeypatch):
    """Where the library that reads it is missing, or the hub cannot be reached, one line says so."""
    asked = []

    def get_tokenizer(name, context_length=None, **options):
        asked.append(options)
        raise OSError("not in the cache\nnor anywhere")

    monkeypatch.setattr("open_clip.get_tokenizer", get_tokenizer)
    monkeypatch.setattr("open_clip.create_model", lambda *_, **__: torch.nn.Linear(1, 1))
    for weights, options in (("w.pt", {"local_files_only": True}), ("download:webli", {})):
        with pytest.raises(ConfigError, match=r"tokenizer, timm/ViT-B-16-SigLIP .* \(not in the cache nor"):
            TextEncoder("open_clip:ViT-B-16-SigLIP", weights)
        assert asked.pop() == options
    with pytest.raises(ConfigError, match="transformers library are not supported"):
        TextEncoder("open_clip:roberta-ViT-B-32", "w.pt")


def test_weights_are_files_or_asked_for_by_tag(monkeypatch, tmp_path):
    assert weights_file("timm:resnet18", "some/file.pt") == "some/file.pt"
    fetched = []

    def fetch(repository, filename, revision=None):
        from huggingface_hub.errors import EntryNotFoundError

        fetched.append((repository, filename))
        if filename == "model.safetensors" and "resnet18" in repository:
            raise EntryNotFoundError("404")
        return str(tmp_path / filename)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fetch)
    monkeypatch.setattr(
        "open_clip.pretrained.hf_hub_download", lambda **asked: fetch(asked["repo_id"], asked["filename"])
    )
    assert weights_file("timm:test_vit?img_size=64", "download:") == str(tmp_path / "model.safetensors")
    assert weights_file("timm:resnet18", "download:a1_in1k") == str(tmp_path / "pytorch_model.bin")
    weights_file("open_clip:ViT-B-32", "download:laion2b_s34b_b79k")
    assert [repository for repository, _ in fetched] == [
        "timm/test_vit.r160_in1k",
        "timm/resnet18.a1_in1k",
        "timm/resnet18.a1_in1k",
        "laion/CLIP-ViT-B-32-laion2B-s34B-b79K",
    ]


@pytest.mark.parametrize(
    ("encoder", "weights", "message"),
    [
        ("timm:resnet18", "download:nothing", "no weights are listed as download:nothing .*a1_in1k"),
        ("open_clip:ViT-B-32", "download:", "no weights are listed as download: .*laion2b_s34b_b79k"),
        ("timm:no_such_model", "download:", "there are: none"),
        ("pointnet", "download:x", "expected timm:NAME"),
        ("timm:resnet18", "download:", r"could not be fetched \(no network in here\)"),
        ("open_clip:ViT-B-32", "download:openai", r"could not be fetched \(.*no network in here\)"),
    ],
)
def test_weights_that_cannot_be_had(encoder, weights, message, monkeypatch):
    def fail(*_, **__):
        raise OSError("no network\nin here")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    monkeypatch.setattr("open_clip.pretrained.hf_hub_download", fail)
    with pytest.raises(ConfigError, match=message) as caught:
        weights_file(encoder, weights)
    assert "\n" not in str(caught.value)


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


def test_pixels_on_which_all_tags_agree():
    """SigLIP's file alone does not say that it takes pixels from -1 to 1; ViT-B-32's tags do not differ from CLIP's."""
    assert backbone_spec.usual_pixels("ViT-B-16-SigLIP")["mean"] == (0.5, 0.5, 0.5)
    assert backbone_spec.usual_pixels("ViT-B-32")["mean"][0] == pytest.approx(0.48145466)
    assert backbone_spec.usual_pixels("no-such-model") == {}


def test_quick_gelu_must_fit(monkeypatch, tiny_clip):
    tag = {"hf_hub": "a/b/", "mean": (0.5,), "std": (0.5,), "quick_gelu": True}
    monkeypatch.setattr("open_clip.get_pretrained_cfg", lambda *_: tag)
    monkeypatch.setattr("open_clip.download_pretrained", lambda _: tiny_clip[1])
    with pytest.raises(ConfigError, match=r"with QuickGELU; name the encoder .*\?force_quick_gelu=True"):
        ImageBackbone(BackboneSpec.parse(tiny_clip[0])).load("download:some")
    ImageBackbone(BackboneSpec.parse(tiny_clip[0] + "?force_quick_gelu=True")).load("download:some")
