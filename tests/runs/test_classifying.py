"""Zero-shot classification: ranks against a plain loop, and a whole run with a tiny CLIP model."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from cmah.data.dataset import Dataset
from cmah.errors import CmahError, ConfigError, DatasetError, RunError
from cmah.models.pretrained.backbone_spec import BackboneSpec
from cmah.models.pretrained.image_towers import ImageBackbone
from cmah.models.pretrained.text_towers import TextEncoder
from cmah.runs.classifying import IMAGE_PROMPTS, PROMPTS, category_names, classify, top_k
from cmah.runs.encoder import Encoder
from cmah.training.starting import train

SMALL = (
    "model.shape_encoder=pointnet", "model.points=32", "model.bits=16", "training.epochs=1", "training.batch_size=8",
    "training.workers=0", "training.warmup_epochs=0", "training.validation_views=1",
)  # fmt: skip


@pytest.fixture(scope="module")
def aligned(toy, tiny_clip, tmp_path_factory):
    """A run of the recipe prealigned in the space of the tiny CLIP model."""
    encoder, weights = tiny_clip
    settings = [*SMALL, f"model.image_encoder={encoder}", f"model.image_weights={weights}"]
    return train(
        toy, tmp_path_factory.mktemp("aligned") / "run", recipe="prealigned", settings=settings, device="cpu"
    )


def slow_top_k(embeddings, texts, labels):
    """One row at a time, in Python numbers."""

    def cosine(a, b):
        norms = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
        return sum(x * y for x, y in zip(a, b, strict=True)) / norms

    hits = []
    for row, label in zip(embeddings.tolist(), labels, strict=True):
        similar = [np.float32(cosine(row, text)) for text in texts.tolist()]
        order = sorted(range(len(texts)), key=lambda i: (-similar[i], i))
        hits.append([label in order[:k] for k in (1, 5)])
    each = {
        label: [hit for hit, own in zip(hits, labels, strict=True) if own == label] for label in set(labels)
    }
    return hits, each


@pytest.mark.parametrize(("n", "categories"), [(60, 12), (30, 3), (1, 1)])
def test_top_k_equals_the_loop(n, categories, monkeypatch):
    monkeypatch.setattr("cmah.runs.classifying.ROWS", 7)
    rng = np.random.default_rng(n)
    texts = rng.standard_normal((categories, 8)).astype(np.float32)
    labels = rng.integers(categories, size=n)
    embeddings = (texts[labels] + 1.5 * rng.standard_normal((n, 8))).astype(np.float32) * 7
    report = top_k(embeddings, texts, labels)
    hits, each = slow_top_k(embeddings, texts, labels.tolist())
    assert report["n"] == n
    for place, k in enumerate((1, 5)):
        assert report[f"top{k}"] == pytest.approx(np.mean([hit[place] for hit in hits]))
        means = [np.mean([hit[place] for hit in own]) for own in each.values()]
        assert report[f"mean_top{k}"] == pytest.approx(np.mean(means))
        for row in report["categories"]:
            assert row[f"top{k}"] == pytest.approx(np.mean([hit[place] for hit in each[row["category"]]]))
    assert [(row["category"], row["n"]) for row in report["categories"]] == [
        (i, len(each[i])) for i in sorted(each)
    ]


def test_ties_go_by_the_order_of_the_texts():
    """Seven equal texts: the first is right at once, the sixth never; length does not count."""
    rng = np.random.default_rng(0)
    texts = np.tile(rng.standard_normal((1, 33)), (7, 1)) * np.array([[1, 2, 3, 4, 5, 6, 7.0]]).T
    report = top_k(rng.standard_normal((7, 33)), texts, np.arange(7))
    assert [row["top1"] for row in report["categories"]] == [1, 0, 0, 0, 0, 0, 0]
    assert [row["top5"] for row in report["categories"]] == [1, 1, 1, 1, 1, 0, 0]


def test_nothing_to_rank():
    report = top_k(np.zeros((0, 3)), np.ones((2, 3)), np.zeros(0))
    assert report == {
        "n": 0,
        "top1": None,
        "top5": None,
        "mean_top1": None,
        "mean_top5": None,
        "categories": [],
    }


def test_names(tmp_path):
    path = tmp_path / "names.json"
    path.write_text(json.dumps({"b_c": ["bee", "sea"], "d": "dee"}))
    assert category_names(["a_x", "b_c", "d"], path) == [["a x"], ["bee", "sea"], ["dee"]]
    for text, message in (
        ("[]", "expected an object"),
        ('{"zz": "z"}', "'zz': no such category .*a_x, b_c"),
        ('{"d": []}', "'d': expected a name"),
        ('{"d": " "}', "'d': expected a name"),
        ("{", "not a readable JSON"),
    ):
        path.write_text(text)
        with pytest.raises(CmahError, match=message):
            category_names(["a_x", "b_c", "d"], path)


@pytest.mark.parametrize("modality", ["shape", "image"])
def test_a_whole_run(aligned, toy, tiny_clip, modality):
    """Against embeddings and texts put together by hand."""
    dataset = Dataset.read(toy)
    start = "a point cloud model of a" if modality == "shape" else "a photo of a"
    lines = []
    report = classify(aligned, toy, split="val", modality=modality, device="cpu", report=lines.append)
    told = "6 shapes of split val; 18" if modality == "shape" else "12 images of split val; 36"
    assert lines == [f"{told} of other splits are left out"]
    part, encoder = dataset.select("val"), Encoder.load(aligned)
    if modality == "shape":
        found, _ = encoder.dataset_shapes(part, part.shapes, embeddings=True)
    else:
        found, _ = encoder.dataset_images(part, part.images, embeddings=True)
    texts = TextEncoder(*tiny_clip).encode([f"{start} flat", f"{start} tall"])
    labels = [["flat", "tall"].index(name) for name in found.categories]
    wanted = top_k(found.embeddings, texts, np.array(labels))
    assert report["n"] == len(found) == (6 if modality == "shape" else 12)
    for key in ("top1", "top5", "mean_top1", "mean_top5"):
        assert report[key] == wanted[key]
    assert [row["category"] for row in report["categories"]] == ["flat", "tall"]
    assert report["prompts"] == list(PROMPTS if modality == "shape" else IMAGE_PROMPTS)
    assert report["candidates"] == 2
    assert report["skipped"] == []
    json.dumps(report)


def test_shapes_at_their_texts_are_all_found(aligned, toy, tiny_clip, monkeypatch):
    """With embeddings that are the texts' own vectors, for several prompts and names at once."""
    names = {"flat": ["plate", "sheet"], "tall": "tower"}
    (aligned / "names.json").write_text(json.dumps(names))
    encode = TextEncoder(*tiny_clip).encode
    vectors = {
        "flat": encode(["a plate", "the plate", "a sheet", "the sheet"]).mean(axis=0),
        "tall": encode(["a tower", "the tower"]).mean(axis=0),
    }
    original = Encoder.dataset_shapes

    def dataset_shapes(self, *arguments, **options):
        found, skipped = original(self, *arguments, **options)
        return replace(found, embeddings=np.stack([vectors[name] for name in found.categories])), skipped

    monkeypatch.setattr(Encoder, "dataset_shapes", dataset_shapes)
    asked = {"prompts": ("a {}", "the {}"), "names": aligned / "names.json", "device": "cpu"}
    report = classify(aligned, toy, split="all", **asked)
    assert (report["n"], report["top1"], report["mean_top1"]) == (24, 1, 1)
    assert [row["names"] for row in report["categories"]] == [["plate", "sheet"], ["tower"]]


def test_rows_without_category_and_broken_ones(aligned, toy):
    dataset = Dataset.read(toy)
    shapes = [replace(dataset.shapes[0], category=""), replace(dataset.shapes[1], points="points/none.npy")]
    lines = []
    changed = replace(dataset, shapes=[*shapes, *dataset.shapes[2:]])
    report = classify(aligned, changed, split="all", device="cpu", report=lines.append)
    assert report["without_category"] == 1
    assert lines == ["1 shapes without a category are left out"]
    assert report["n"] == 22
    assert "none.npy" in report["skipped"][0][0]
    nothing = replace(dataset, shapes=[replace(shape, category="") for shape in dataset.shapes], images=[])
    with pytest.raises(DatasetError, match="no shape or image has a category"):
        classify(aligned, nothing, split="all", device="cpu")
    with pytest.raises(DatasetError, match="no image of split 'all' with a category"):
        classify(aligned, dataset, split="all", modality="image", kind="photo", device="cpu")


@pytest.mark.slow
def test_runs_that_texts_cannot_be_compared_with(toy, toy_run, tiny_clip, tmp_path, aligned):
    with pytest.raises(
        RunError, match=r"not in the space of an image encoder \(its recipe has one of its own\)"
    ):
        classify(toy_run, toy, split="val", device="cpu")
    encoder, weights = tiny_clip
    settings = [*SMALL, "model.joint_dim=32"]
    settings += [f"model.image_encoder={encoder}", f"model.image_weights={weights}"]
    projected = train(toy, tmp_path / "projected", recipe="prealigned", settings=settings, device="cpu")
    with pytest.raises(RunError, match=r"model\.joint_dim = 32"):
        classify(projected, toy, split="val", device="cpu")
    torch.save(ImageBackbone(BackboneSpec.parse("timm:test_vit")).net.state_dict(), tmp_path / "vit.pt")
    settings = [*SMALL, "model.image_encoder=timm:test_vit", f"model.image_weights={tmp_path / 'vit.pt'}"]
    textless = train(toy, tmp_path / "textless", recipe="prealigned", settings=settings, device="cpu")
    with pytest.raises(ConfigError, match="test_vit' has no text tower"):
        classify(textless, toy, split="val", device="cpu")
    for prompts, message in ((("a chair",), "expected {} where"), ((), "expected at least one")):
        with pytest.raises(ConfigError, match=message):
            classify(aligned, toy, prompts=prompts)


def test_another_width_is_not_aligned(aligned, toy, monkeypatch):
    original = Encoder.dataset_shapes

    def dataset_shapes(self, *arguments, **options):
        found, skipped = original(self, *arguments, **options)
        return replace(found, embeddings=found.embeddings[:, :8]), skipped

    monkeypatch.setattr(Encoder, "dataset_shapes", dataset_shapes)
    with pytest.raises(RunError, match="have 8 numbers, those of texts 32"):
        classify(aligned, toy, split="val", device="cpu")
