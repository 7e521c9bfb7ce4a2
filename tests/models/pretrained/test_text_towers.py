"""Text towers beside open_clip's own, their company, ensembles, and what is missing."""

import numpy as np
import pytest
import torch

from cmah.errors import ConfigError, RunError
from cmah.models.pretrained.backbone_spec import BackboneSpec
from cmah.models.pretrained.image_towers import ImageBackbone
from cmah.models.pretrained.text_towers import TextEncoder, ensembled, has_text


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
