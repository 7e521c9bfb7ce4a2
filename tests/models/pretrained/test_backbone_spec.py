"""Names of image encoders and their options, and weights by file or by tag."""

import pytest

from cmah.errors import ConfigError
from cmah.models.pretrained import backbone_spec
from cmah.models.pretrained.backbone_spec import BackboneSpec, weights_file


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


def test_pixels_on_which_all_tags_agree():
    """SigLIP's file alone does not say that it takes pixels from -1 to 1; ViT-B-32's tags do not differ from CLIP's."""
    assert backbone_spec.usual_pixels("ViT-B-16-SigLIP")["mean"] == (0.5, 0.5, 0.5)
    assert backbone_spec.usual_pixels("ViT-B-32")["mean"][0] == pytest.approx(0.48145466)
    assert backbone_spec.usual_pixels("no-such-model") == {}
