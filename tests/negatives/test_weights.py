"""Weights of a batch's negatives: landmarks, the cache, and the numbers against loops."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from shapes_with_views import (
    CATEGORIES,
    FakeEmbedder,
    close,
    similarity_by_loops,
    some_pairs,
    vector,
    views_of,
)

from cmah.data.dataset import Dataset
from cmah.data.training_batches import TrainingPairs
from cmah.errors import ConfigError
from cmah.features.image_embedder import ImageEmbedder
from cmah.landmarks import landmarks_of, read_landmarks
from cmah.losses.weighted import batch_weights, released_weights
from cmah.negatives.negatives_config import NegativesConfig
from cmah.negatives.similarities import i2i, i2i_all_pairs, i2l2, i2l2_all_pairs
from cmah.negatives.weights import NegativeWeights, landmark_texts, make_negative_weights


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
    expected = similarity_by_loops(measure, views_of(), alpha=0.1)[INDEX][:, INDEX]
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
        similarity_by_loops(
            i2l2 if corresponding else i2l2_all_pairs, views_of(), landmarks=texts
        ),
        similarity_by_loops(i2i if corresponding else i2i_all_pairs, views_of()),
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


@pytest.mark.slow
def test_clusters_stand_in_for_labels(tmp_path):
    names = ["abc", "xyz", "abc", "xyz", "abc", "xyz"]
    shapes = np.stack([[vector(f"{name}{i}{v}") for v in range(2)] for i, name in enumerate(names)])
    config = NegativesConfig("i2i", categories="clusters", clusters=2)
    weights = NegativeWeights(config, lambda p: shapes[p], [""] * 6, None, tmp_path)
    close(weights(torch.arange(6))[0], batch_weights(similarity_by_loops(i2i, shapes, names))[0])


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
    close(given(INDEX)[0], batch_weights(similarity_by_loops(i2i, views_of())[INDEX][:, INDEX])[0])


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
    rows = embedder.embed(pairs.dataset, images).rows(np.arange(len(images)))
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


def test_categories_that_a_file_lacks_come_from_those_shipped(landmarks):
    texts = landmark_texts(
        NegativesConfig("i2l2", landmarks=landmarks[0]), ["chair", "chair", "sofa", "sofa"]
    )
    assert texts["chair"] == ["a chair one", "a chair two", "a chair three"]
    assert texts["sofa"] == landmarks_of("sofa", read_landmarks())[:3]
