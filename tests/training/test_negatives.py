"""Weights of a batch's negatives: settings, cameras, landmarks, the cache, and the numbers against loops."""

import dataclasses
import hashlib
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cmah.config.parsing import as_dictionary, build
from cmah.data.dataset import Dataset, Image, Shape
from cmah.data.training_batches import TrainingPairs
from cmah.errors import ConfigError
from cmah.features.image_embedder import EmbeddingTable, ImageEmbedder
from cmah.landmarks import landmarks_of, read_landmarks
from cmah.losses.weighted import batch_weights, released_weights
from cmah.negatives.similarities import i2i, i2i_all_pairs, i2l2, i2l2_all_pairs
from cmah.negatives.weights import (
    NegativesConfig,
    NegativeWeights,
    landmark_texts,
    make_negative_weights,
)

CATEGORIES = ["chair", "lamp", "chair", "", "lamp", "chair", "", "table"]
WIDTH, VIEWS = 12, 3


class FakeEmbedder:
    """Random rows for pictures, by name, and for texts; those in `broken` cannot be read."""

    key = "fake"

    def __init__(self, folder, broken=(), texts=True):
        self.folder = folder / "embeddings" / self.key
        self.broken, self.texts, self.calls = broken, texts, 0

    def embed(self, root, images, *, workers=0, label=""):
        self.calls += 1
        kept = [i for i, image in enumerate(images) if image.image_id not in self.broken]
        rows = np.stack([vector(images[i].image_id) for i in kept])
        name = hashlib.sha256(" ".join(image.image_id for image in images).encode()).hexdigest()
        path = self.folder / f"{name[:8]}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, rows)
        skipped = [(images[i].path, "broken") for i in range(len(images)) if i not in kept]
        return EmbeddingTable(WIDTH, [(path, len(rows))], kept, skipped)

    def embed_texts(self, texts):
        if not self.texts:
            raise ConfigError("has no text tower")
        return np.stack([vector(text) for text in texts]) if len(texts) else np.zeros((0, WIDTH), np.float32)


def vector(name):
    """The same random direction for a name, near a direction for its first letters."""
    seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") for text in (name, name[:3])]
    own, common = (np.random.default_rng(seed).normal(size=WIDTH) for seed in seeds)
    return (0.5 * own + common).astype(np.float32)


def some_pairs(categories=CATEGORIES, views=VIEWS, drop=()):
    """Shapes with numbered views; the images named in `drop` are not there."""
    shapes = [Shape(f"s{i}", name, "train", "") for i, name in enumerate(categories)]
    images = [
        [
            Image(f"s{i}_{view}", f"s{i}", name, "train", f"s{i}_{view}.png", "render", view=view)
            for view in range(views)
            if f"s{i}_{view}" not in drop
        ]
        for i, name in enumerate(categories)
    ]
    return SimpleNamespace(shapes=shapes, images=images, root=None, skipped=[])


def views_of(count=8):
    return np.stack([[vector(f"s{i}_{view}") for view in range(VIEWS)] for i in range(count)])


def slow_similarity(measure, views, categories=CATEGORIES, alpha=0.25, landmarks=None):
    """α, but for pairs of one category."""
    out = np.full((len(views), len(views)), alpha, np.float32)
    np.fill_diagonal(out, 1)
    for name in set(categories) - {""}:
        own = np.array([i for i, category in enumerate(categories) if category == name])
        more = (np.stack([vector(text) for text in landmarks[name]]),) if landmarks else ()
        out[np.ix_(own, own)] = measure(views[own], *more)
    return torch.from_numpy(out)


def close(got, expected):
    torch.testing.assert_close(got, expected.float(), rtol=2e-3, atol=0)  # of float16 on disk, twice


@pytest.fixture
def landmarks(tmp_path):
    """A landmark file of our own, and what it says."""
    known = {"chair": ["a chair one", "a chair two", "a chair three"], "lamp": ["a lamp one", "a lamp two"]}
    path = tmp_path / "own.json"
    path.write_text(json.dumps({"format": "cmah-landmarks", "version": 1, "categories": known}))
    return str(path), {name: own[:2] for name, own in known.items()}


INDEX = torch.tensor([5, 1, 3, 0, 4, 7])


@pytest.mark.parametrize("diagonal", ["one", "eq6"])
@pytest.mark.parametrize("views", ["corresponding", "all_pairs"])
def test_i2i_within_categories_and_alpha_across(diagonal, views, tmp_path):
    config = NegativesConfig("i2i", views=views, diagonal=diagonal, alpha=0.1)
    weights = make_negative_weights(config, some_pairs(), FakeEmbedder(tmp_path))
    measure = i2i if views == "corresponding" else i2i_all_pairs
    expected = slow_similarity(measure, views_of(), alpha=0.1)[INDEX][:, INDEX]
    got = weights(INDEX)
    for mine, other in zip(got, batch_weights(expected, diagonal), strict=True):
        close(mine, other)
        assert mine.dtype == torch.float32
        assert mine.device == INDEX.device


@pytest.mark.parametrize("views", ["corresponding", "all_pairs"])
@pytest.mark.parametrize("kind", ["i2l2", "avg"])
@pytest.mark.parametrize("variant", ["paper", "released"])
def test_landmarks_and_the_average_of_both_weights(views, kind, variant, tmp_path, landmarks):
    path, texts = landmarks
    config = NegativesConfig(kind, views=views, landmarks=path, variant=variant)
    weights = make_negative_weights(config, some_pairs(), FakeEmbedder(tmp_path))
    corresponding = views == "corresponding"
    texts = {**texts, "table": ["unused"]}
    both = [
        slow_similarity(
            i2l2 if corresponding else i2l2_all_pairs, views_of(), landmarks=texts
        ),
        slow_similarity(i2i if corresponding else i2i_all_pairs, views_of()),
    ]  # fmt: skip
    make = released_weights if variant == "released" else batch_weights
    parts = [make(each[INDEX][:, INDEX])[0] for each in (both if kind == "avg" else both[:1])]
    for got in weights(INDEX):
        close(got, sum(parts) / len(parts))


@pytest.mark.parametrize("views", ["corresponding", "all_pairs"])
def test_i2i_all_knows_no_categories_and_keeps_nothing(views, tmp_path):
    pairs = some_pairs([""] * 8)
    weights = make_negative_weights(NegativesConfig("i2i_all", views=views), pairs, FakeEmbedder(tmp_path))
    measure = i2i if views == "corresponding" else i2i_all_pairs
    expected = torch.from_numpy(measure(views_of()))[INDEX][:, INDEX]
    close(weights(INDEX)[0], batch_weights(expected)[0])
    assert not (tmp_path / "similarities").exists()


def test_shapes_without_category_are_alone(tmp_path):
    weights = make_negative_weights(NegativesConfig("i2i"), some_pairs(), FakeEmbedder(tmp_path))
    similarity = weights.stores[0].batch(np.arange(8), 0.25)
    assert (np.delete(similarity[3], 3) == 0.25).all()
    assert similarity[3, 6] == 0.25
    assert similarity[0, 2] != 0.25


def test_clusters_stand_in_for_labels(tmp_path):
    names = ["abc", "xyz", "abc", "xyz", "abc", "xyz"]
    shapes = np.stack([[vector(f"{name}{i}{v}") for v in range(2)] for i, name in enumerate(names)])
    config = NegativesConfig("i2i", categories="clusters", clusters=2)
    weights = NegativeWeights(config, lambda p: shapes[p], [""] * 6, None, tmp_path)
    close(weights(torch.arange(6))[0], batch_weights(slow_similarity(i2i, shapes, names))[0])


def test_what_was_computed_is_read_again(tmp_path, monkeypatch):
    embedder, config = FakeEmbedder(tmp_path), NegativesConfig("i2i")
    first = make_negative_weights(config, some_pairs(), embedder)
    folders = list((tmp_path / "similarities").iterdir())
    with monkeypatch.context() as patch:
        patch.setattr("cmah.negatives.similarity_store._write_block", None)
        again = make_negative_weights(config, some_pairs(), embedder)
    assert torch.equal(first(INDEX)[0], again(INDEX)[0])
    # anything that changes the numbers changes the folder
    other = some_pairs(["lamp", *CATEGORIES[1:]])
    for changed, pairs in ((dataclasses.replace(config, views="all_pairs"), some_pairs()), (config, other)):
        make_negative_weights(changed, pairs, embedder)
        folders.append(None)
        assert len(list((tmp_path / "similarities").iterdir())) == len(folders)
    # α does not: it is not stored
    make_negative_weights(dataclasses.replace(config, alpha=0.9), some_pairs(), embedder)
    assert len(list((tmp_path / "similarities").iterdir())) == len(folders)


def test_other_landmarks_are_another_store(tmp_path, landmarks):
    path, _ = landmarks
    for count in (1, 2):
        config = NegativesConfig("i2l2", landmarks=path, landmarks_per_category=count)
        make_negative_weights(config, some_pairs(), FakeEmbedder(tmp_path))
    assert len(list((tmp_path / "similarities").glob("*/i2l2-*"))) == 2


def test_embeddings_at_hand_are_used(tmp_path):
    embedder, pairs = FakeEmbedder(tmp_path), some_pairs()
    images = [image for own in pairs.images for image in own]
    order = np.random.default_rng(0).permutation(len(images))
    table = embedder.embed(None, [images[i] for i in order])
    rows = np.argsort(order)
    given = make_negative_weights(NegativesConfig("i2i"), pairs, embedder, embedded=(table, rows))
    assert embedder.calls == 1
    close(given(INDEX)[0], batch_weights(slow_similarity(i2i, views_of())[INDEX][:, INDEX])[0])


# Cameras


@pytest.mark.parametrize("how", ["unreadable", "left out"])
def test_a_picture_that_cannot_be_read_costs_its_view_only(how, tmp_path):
    lost = ("s2_1",)
    if how == "unreadable":  # by the embedder, now
        pairs, embedder = some_pairs(), FakeEmbedder(tmp_path, broken=lost)
    else:  # by whoever made the pairs, and said so
        pairs, embedder = some_pairs(drop=lost), FakeEmbedder(tmp_path)
        pairs.skipped.append(("s2_1.png", "broken"))
    weights = make_negative_weights(NegativesConfig("i2i"), pairs, embedder)
    views = views_of()
    views[2, 1] = 0
    close(weights(INDEX)[0], batch_weights(slow_similarity(i2i, views)[INDEX][:, INDEX])[0])
    ragged = make_negative_weights(NegativesConfig("i2i", views="all_pairs"), pairs, embedder)
    close(ragged(INDEX)[0], batch_weights(slow_similarity(i2i_all_pairs, views)[INDEX][:, INDEX])[0])


@pytest.mark.parametrize("fault", ["missing", "unnumbered", "twice"])
def test_cameras_that_do_not_correspond_are_told(fault, tmp_path):
    pairs = some_pairs(drop=("s4_0",) if fault == "missing" else ())
    if fault != "missing":
        view = None if fault == "unnumbered" else 1
        pairs.images[4][2] = dataclasses.replace(pairs.images[4][2], view=view)
    embedder = FakeEmbedder(tmp_path)
    with pytest.raises(ConfigError, match=r"shape 's4' has .*corresponding.*views = \"all_pairs\"$"):
        make_negative_weights(NegativesConfig("i2i"), pairs, embedder)
    make_negative_weights(NegativesConfig("i2i", views="all_pairs"), pairs, embedder)


# Settings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "i2x"}, r'kind = .*expected "" or i2i or i2l2 or avg or i2i_all'),
        ({"views": "same"}, "views"),
        ({"variant": "new"}, "variant"),
        ({"diagonal": "two"}, "diagonal"),
        ({"categories": "names"}, "categories"),
        ({"alpha": 1.5}, "from 0 to 1"),
        ({"alpha": -0.5}, "a number from 0"),
        ({"kind": "avg", "categories": "clusters", "clusters": 5}, "needs the names"),
        ({"kind": "i2i", "categories": "clusters"}, "at least 2"),
        ({"variant": "released"}, "needs a kind"),
        ({"kind": "i2i", "variant": "released", "diagonal": "eq6"}, "diagonal = one"),
        ({"kinds": "i2i"}, "nearest known one is kind"),
    ],
)
def test_impossible_settings_are_told(values, message):
    with pytest.raises(ConfigError, match=message):
        build(NegativesConfig, values)


def test_settings_are_plain_values():
    config = NegativesConfig("avg", alpha=0.5)
    assert build(NegativesConfig, as_dictionary(config)) == config


def test_landmarks_are_as_many_of_each_category(landmarks):
    path, texts = landmarks
    assert landmark_texts(NegativesConfig("i2l2", landmarks=path), CATEGORIES) == texts
    one = landmark_texts(NegativesConfig("i2l2", landmarks=path, landmarks_per_category=1), CATEGORIES)
    assert one == {name: own[:1] for name, own in texts.items()}
    with pytest.raises(ConfigError, match="per_category = 3: the category 'lamp' has 2"):
        landmark_texts(NegativesConfig("i2l2", landmarks=path, landmarks_per_category=3), CATEGORIES)


def test_missing_landmarks_and_texts_are_told_before_anything_is_embedded(tmp_path, landmarks):
    embedder, config = FakeEmbedder(tmp_path), NegativesConfig("avg", landmarks=landmarks[0])
    categories = ["chair", "chair", "gizmo", "gizmo", "doodah", "doodah", "lamp", "rug"]
    with pytest.raises(ConfigError, match=r"'doodah'.*none for gizmo\)"):
        make_negative_weights(config, some_pairs(categories), embedder)
    with pytest.raises(ConfigError, match="no text tower"):
        make_negative_weights(config, some_pairs(), FakeEmbedder(tmp_path, texts=False))
    with pytest.raises(ConfigError, match="needs an encoder of texts"):
        NegativeWeights(config, lambda p: views_of()[p], CATEGORIES, None, tmp_path)
    assert embedder.calls == 0


def test_no_kind_gives_no_weights(tmp_path):
    with pytest.raises(ConfigError, match="expected i2i or i2l2 or avg or i2i_all"):
        make_negative_weights(NegativesConfig(), some_pairs(), FakeEmbedder(tmp_path))


def test_no_categories_at_all_is_told(tmp_path):
    with pytest.raises(ConfigError, match="no shape has a category; set kind = i2i_all"):
        make_negative_weights(NegativesConfig("i2i"), some_pairs([""] * 3), FakeEmbedder(tmp_path))


def test_a_dataset_and_a_real_encoder(toy, tiny_clip, tmp_path):
    pairs = TrainingPairs(Dataset.read(toy), 16, 32)
    categories = [shape.category for shape in pairs.shapes]
    embedder = ImageEmbedder(*tiny_clip, cache=tmp_path / "cache")
    path = tmp_path / "own.json"
    texts = {name: [f"a {name} box with {i} parts" for i in range(3)] for name in ("flat", "tall")}
    path.write_text(json.dumps({"format": "cmah-landmarks", "version": 1, "categories": texts}))
    weights = make_negative_weights(NegativesConfig("avg", landmarks=str(path)), pairs, embedder)
    images = [image for own in pairs.images for image in own]
    rows = embedder.embed(pairs.root, images).rows(np.arange(len(images)))
    views = rows.reshape(len(pairs), -1, rows.shape[1])
    index, expected = torch.arange(len(pairs)), []
    for measure, more in ((i2i, False), (i2l2, True)):
        similarity = np.full((len(pairs), len(pairs)), 0.25, np.float32)
        for name in ("flat", "tall"):
            own = np.array([i for i, category in enumerate(categories) if category == name])
            marks = (embedder.embed_texts(texts[name]),) if more else ()
            similarity[np.ix_(own, own)] = measure(views[own], *marks)
        expected.append(batch_weights(torch.from_numpy(similarity))[0])
    close(weights(index)[0], sum(expected) / 2)
    assert sorted(path.name[:4] for path in (tmp_path / "cache").iterdir()) == ["embe", "simi"]


@pytest.mark.parametrize(
    "given",
    [
        {"image_encoder": "timm:x"},
        {"kind": "i2i", "landmarks": "file.json"},
        {"kind": "i2i_all", "landmarks_per_category": 8},
        {"kind": "i2i_all", "clusters": 4},
        {"kind": "i2i", "clusters": 4},
    ],
)
def test_a_setting_without_effect_is_refused(given):
    with pytest.raises(ConfigError, match="has no effect"):
        NegativesConfig(**given)


def test_categories_that_a_file_lacks_come_from_those_shipped(landmarks):
    texts = landmark_texts(
        NegativesConfig("i2l2", landmarks=landmarks[0]), ["chair", "chair", "sofa", "sofa"]
    )
    assert texts["chair"] == ["a chair one", "a chair two", "a chair three"]
    assert texts["sofa"] == landmarks_of("sofa", read_landmarks())[:3]
