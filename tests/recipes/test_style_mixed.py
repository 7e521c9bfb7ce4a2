"""SC-IBSR and CMIC as a recipe: the terms, their gradients, what is read of labels, and the way from data to codes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from small_towers import image_weights
from toy_dataset import make_toy

from cmah.codes import BinaryCodes, Embeddings
from cmah.data.dataset import Dataset, Image
from cmah.errors import CmahError, ConfigError
from cmah.losses.instance_retrieval import instance_loss
from cmah.losses.pair_contrast import instance_contrast
from cmah.models.view_pooling import ViewPooling
from cmah.recipes.resolving import build_recipe, make_config
from cmah.runs.encoder import Encoder
from cmah.runs.exporting import export
from cmah.runs.searching import search_files
from cmah.search import HammingIndex
from cmah.search.reranking import Reranking
from cmah.training.starting import train

SMALL = [
    "model.image_encoder=timm:test_resnet", "model.image_size=32", "model.dim=8", "model.bits=8,16", "model.views=4",
    "model.views_as=colour", "training.batch_size=6", "training.workers=0",
]  # fmt: skip
CATEGORIES = ("flat", "tall")
INSTANCE_TERMS = ("instance", "category", "consistency", "contrast", "codes")
CATEGORY_TERMS = ("classes", "domain", "nuclear", "centres", "orthogonal", "consistency", "contrast", "codes")


def recipe_of(preset="instance", *settings):
    given = [*SMALL, *settings]
    if preset == "cmic":
        given.append("model.shape_encoder=")
    config = make_config("style_mixed", preset, assignments=given)
    if preset == "unsupervised_category":
        config = replace(config, model=replace(config.model, categories=CATEGORIES))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_recipe(config)


def a_batch(recipe, images=5, shapes=4, views=4):
    """Two of the images show the first shape."""
    generator = torch.Generator().manual_seed(0)
    channels = 4 if recipe.network.masks else 3

    def pixels(*shape):
        return torch.randint(0, 256, (*shape, 32, 32), dtype=torch.uint8, generator=generator)

    batch = {
        "image": pixels(images, channels),
        "views": pixels(shapes, views, 3),
        "view_mask": torch.ones(shapes, views, dtype=torch.bool),
    }
    if recipe.by_category:
        return batch | {"label": torch.tensor([0, 1, 1, 0, 1])}
    return batch | {
        "instance": torch.tensor([0, 1, 0, 2, 3]),
        "category": torch.tensor([0, 1, 0, 1, -1]),
        "shape_category": torch.tensor([0, 1, 1, -1]),
    }


def gradients(recipe, term):
    """Whether a term by itself has a gradient in the network of the images, and in that of the views."""
    recipe.network.train()
    recipe.network.zero_grad()
    _, parts = recipe.loss(a_batch(recipe), torch.Generator().manual_seed(0))
    parts[term].backward()
    return [
        any(p.grad is not None and bool((p.grad != 0).any()) for p in net.first.parameters())
        for net in (recipe.network.image_net, recipe.network.view_net)
    ]


@pytest.mark.parametrize("term", INSTANCE_TERMS)
@pytest.mark.parametrize("form", ["four grey", "colour"])
def test_each_term_of_the_instance_level_reaches_both_networks(term, form):
    recipe = recipe_of("instance", f"model.views_as={form}")
    assert gradients(recipe, term) == [True, True]


@pytest.mark.parametrize("term", CATEGORY_TERMS)
def test_each_term_of_the_category_level_reaches_the_network(term):
    """There is one network; that both kinds of pictures reach it is tested below."""
    recipe = recipe_of("unsupervised_category", "loss.orthogonal_from=0")
    recipe.network.steps += 1000  # the adversary's gradient is reversed more and more
    assert gradients(recipe, term) == [True, True]


@pytest.mark.parametrize("term", ["domain", "nuclear", "centres", "contrast", "consistency", "codes"])
def test_terms_of_the_category_level_have_gradients_from_the_shapes(term):
    recipe = recipe_of("unsupervised_category", "loss.orthogonal_from=0")
    net, batch = recipe.network.train(), a_batch(recipe)
    net.steps += 1000
    maps = []
    plain = net.view_maps

    def kept(shapes):
        views, there = plain(shapes)
        views.retain_grad()
        maps.append(views)
        return views, there

    net.view_maps = kept
    recipe.loss(batch, torch.Generator().manual_seed(0))[1][term].backward()
    assert (maps[0].grad != 0).any()


def test_the_instance_level_by_its_parts():
    """Terms from the network's own vectors, without dropout, by the losses that are tested elsewhere."""
    recipe = recipe_of("instance", "model.dropout=0", "loss.code_weight=0")
    net, s, batch = recipe.network.eval(), recipe.settings, a_batch(recipe)
    with torch.no_grad():
        total, parts = recipe.loss(batch, torch.Generator())
        vectors, there = net.view_vectors(*net.view_maps(batch))
        queries = net.image_vectors(net.image_maps(batch["image"]))  # in evaluation no style is mixed
        scores = net.attention(queries, vectors, there)
        largest = ViewPooling(8, "max")(vectors, there)
    torch.testing.assert_close(parts["instance"], instance_loss(scores, batch["instance"], 0.1))
    torch.testing.assert_close(parts["contrast"], instance_contrast(queries, largest, batch["instance"], 0.5))
    assert parts["consistency"].item() == pytest.approx(0, abs=1e-6)
    expected = parts["instance"] + 0.2 * parts["category"] + parts["consistency"] + parts["contrast"]
    torch.testing.assert_close(total, expected)
    assert s.temperature == 0.1


def test_the_style_is_mixed_in_training_only():
    recipe = recipe_of("instance", "model.dropout=0")
    batch = a_batch(recipe)
    recipe.network.train()
    parts = [recipe.loss(batch, torch.Generator().manual_seed(seed))[1] for seed in (0, 0, 1)]
    assert parts[0]["instance"] == parts[1]["instance"] != parts[2]["instance"]
    assert parts[0]["consistency"] > 1e-6


def test_cmic_has_no_style_parts():
    recipe = recipe_of("cmic")
    parts = recipe.loss(a_batch(recipe), torch.Generator())[1]
    assert [*parts] == ["instance", "category", "codes"]
    assert recipe.settings.category == 0.2


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    return [*SMALL, f"model.image_weights={image_weights(tmp_path_factory.mktemp('weights'))}"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_toy(tmp_path_factory.mktemp("toy") / "data", shapes=16, views=4)


@pytest.fixture(scope="module")
def run(data, settings, tmp_path_factory):
    chosen = [*settings, "training.epochs=2", "training.held_out=0.3", "training.validate_every=1"]
    return train(data, tmp_path_factory.mktemp("run") / "run", recipe="style_mixed", settings=chosen)


def test_a_run_gives_codes_and_embeddings(run, data, tmp_path):
    image, shape, skipped = export(
        run, data, tmp_path / "codes", split="all", workers=0, settings=["model.views_from=even"]
    )
    images, shapes = BinaryCodes.load(image), BinaryCodes.load(shape)
    assert not skipped
    assert (len(images), len(shapes), shapes.prefixes) == (32, 16, (8, 16))
    _, views, _ = export(
        run, data, tmp_path / "views", split="all", workers=0, per_view=True, embeddings=True
    )
    assert len(Embeddings.load(views)) == 64


def test_groups_of_views_are_rows_of_their_own(data, settings, tmp_path):
    four = ["model.views_as=four grey", "training.epochs=1"]
    run = train(data, tmp_path / "run", recipe="style_mixed", settings=[*settings, *four])
    _, path, _ = export(run, data, tmp_path / "views", split="all", workers=0, per_view=True, embeddings=True)
    rows = Embeddings.load(path)
    assert len(rows) == 16  # four views of each shape are one picture
    assert all(name.endswith("_0") for name in rows.ids)


@pytest.mark.parametrize("views", [3, 5, 6])
def test_the_vectors_of_groups_are_those_of_the_shape(settings, tmp_path, views):
    """Also where the views are no multiple of four: the mean of a shape's rows is its own vector."""
    data = make_toy(tmp_path / "data", shapes=8, views=views)
    chosen = [*settings, "model.views_as=four grey", "model.views=12", "training.epochs=1"]
    run = train(data, tmp_path / "run", recipe="style_mixed", settings=[*chosen, "training.held_out=0"])
    _, whole, _ = export(run, data, tmp_path / "whole", split="all", workers=0, embeddings=True)
    _, each, _ = export(run, data, tmp_path / "each", split="all", workers=0, embeddings=True, per_view=True)
    shapes, rows = Embeddings.load(whole), Embeddings.load(each)
    assert len(rows) == 8 * -(-views // 4)
    for name, vector in zip(shapes.ids, shapes.embeddings, strict=True):
        mean = rows.embeddings[rows.shape_ids == name].mean(axis=0)
        np.testing.assert_allclose(mean / np.linalg.norm(mean), vector, atol=1e-5)


def test_company_does_not_matter(run, data):
    """A shape with fewer views than those beside it has the same code alone, to the bit."""
    encoder, dataset = Encoder.load(run), Dataset.read(data)
    dataset.images = [image for image in dataset.images if image.shape_id != "box02" or image.view < 2]
    together, _ = encoder.dataset_shapes(dataset, dataset.shapes[:5], embeddings=True)
    alone, _ = encoder.dataset_shapes(dataset, dataset.shapes[2:3], embeddings=True)
    assert alone.ids.tolist() == ["box02"]
    assert together.embeddings[2].tolist() == alone.embeddings[0].tolist()


def test_shapes_without_views_are_listed_per_view_too(run, data, tmp_path):
    dataset = Dataset.read(data)
    dataset.images = [image for image in dataset.images if image.shape_id != "box01"]
    _, skipped = Encoder.load(run).dataset_shapes(dataset, dataset.shapes, per_view=True)
    assert [name for name, _ in skipped] == ["box01"]


def test_a_run_resumes_to_the_same_bytes(data, settings, tmp_path, monkeypatch):
    from cmah.training.loop import TrainingLoop

    chosen = [*settings, "training.epochs=2"]
    for preset in ("instance", "unsupervised_category"):
        given = {"recipe": "style_mixed", "preset": preset, "settings": chosen}
        dataset = of_categories(data, None)
        whole = train(dataset, tmp_path / f"{preset}-whole", **given)
        steps = iter(range(100))
        step = TrainingLoop.step

        def stopping(self, batch, step=step, steps=steps):
            if next(steps) == 3:
                self.save()
                raise KeyboardInterrupt
            return step(self, batch)

        with monkeypatch.context() as patch:
            patch.setattr(TrainingLoop, "step", stopping)
            with pytest.raises(KeyboardInterrupt):
                train(dataset, tmp_path / f"{preset}-part", **given)
        part = train(dataset, tmp_path / f"{preset}-part", **given, resume=True)
        assert (whole / "model.safetensors").read_bytes() == (part / "model.safetensors").read_bytes()


def of_categories(data, seed):
    """With photos with labels that show no shape, and shapes whose categories are permuted at random."""
    dataset = Dataset.read(data)
    rng = np.random.default_rng(seed)
    names = [shape.category for shape in dataset.shapes]
    names = names if seed is None else [names[i] for i in rng.permutation(len(names))]
    photos = [
        Image(f"photo-{image.image_id}", "", image.category, image.split, image.path, "photo")
        for image in dataset.images
    ]
    own = {shape.shape_id: name for shape, name in zip(dataset.shapes, names, strict=True)}
    dataset.shapes = [replace(shape, category=own[shape.shape_id]) for shape in dataset.shapes]
    renders = [replace(image, category=own[image.shape_id]) for image in dataset.images]
    dataset.images = [*renders, *photos]
    return dataset


@pytest.mark.parametrize("head", ["tanh", "itq"])
def test_no_label_of_a_shape_is_read_at_the_category_level(data, settings, tmp_path, head):
    """Whatever the categories of the shapes and of their renders, every number of the run is the same."""
    bits = ["model.bits=8", "model.head=itq"] if head == "itq" else []
    weights = []
    for seed in (None, 1, 2):
        dataset = of_categories(data, seed)
        run = train(
            dataset, tmp_path / str(seed), recipe="style_mixed", preset="unsupervised_category",
            settings=[*settings, *bits, "training.epochs=2", "loss.orthogonal_from=0.5"],
        )  # fmt: skip
        files = ["model.safetensors"] + ["hash.npz"] * (head == "itq")
        weights.append([(run / file).read_bytes() for file in files])
    assert {*CATEGORIES} == {image.category for image in dataset.images}
    assert weights[0] == weights[1] == weights[2]


def test_the_permuted_labels_do_differ(data):
    first, second = ([shape.category for shape in of_categories(data, seed).shapes] for seed in (None, 1))
    assert first != second


def test_labels_of_images_are_read_at_the_category_level(data, settings, tmp_path):
    weights = []
    for swap in (False, True):
        dataset = of_categories(data, None)
        if swap:
            other = dict(zip(CATEGORIES, reversed(CATEGORIES), strict=True))
            dataset.images = [
                replace(image, category=other[image.category]) if i % 3 and image.kind == "photo" else image
                for i, image in enumerate(dataset.images)
            ]
        run = train(
            dataset, tmp_path / str(swap), recipe="style_mixed", preset="unsupervised_category",
            settings=[*settings, "training.epochs=1"],
        )  # fmt: skip
        weights.append((run / "model.safetensors").read_bytes())
    assert weights[0] != weights[1]


def test_classes_that_no_image_has_are_refused(data, settings, tmp_path):
    with pytest.raises(
        ConfigError, match=r"no image has the category 'bed' \(expected some of 'flat', 'tall'\)"
    ):
        train(
            of_categories(data, None), tmp_path / "run", recipe="style_mixed", preset="unsupervised_category",
            settings=[*settings, "model.categories=bed,tall"],
        )  # fmt: skip


def test_choosing_by_labels_of_shapes_is_refused(data, settings, tmp_path):
    with pytest.raises(ConfigError, match="would choose the checkpoint by categories of shapes"):
        train(
            of_categories(data, None), tmp_path / "run", recipe="style_mixed", preset="unsupervised_category",
            settings=[*settings, "training.held_out=0.1"],
        )  # fmt: skip


def test_renders_are_no_labelled_images_at_the_category_level():
    with pytest.raises(ConfigError, match=r"data\.kinds = render: shapes are seen by their renders"):
        recipe_of("unsupervised_category", "data.kinds=photo,render")


def test_opl_sets_in_after_its_part_of_the_training(data, settings, tmp_path):
    from cmah.runs.metrics_log import read_metrics

    run = train(
        of_categories(data, None), tmp_path / "run", recipe="style_mixed", preset="unsupervised_category",
        settings=[*settings, "training.epochs=2", "loss.orthogonal_from=0.5"],
    )  # fmt: skip
    assert ["orthogonal" in record for record in read_metrics(run)] == [False, True]


def test_the_checkpoint_is_chosen_by_instance(run):
    from cmah.runs.metrics_log import read_metrics

    assert {record["validation"]["relevance"] for record in read_metrics(run)} == {"instance"}


def test_an_untrained_model_is_refused(data, settings, tmp_path):
    with pytest.raises(ConfigError, match="layers that have to be trained"):
        train(data, tmp_path / "run", recipe="style_mixed", settings=[*settings, "training.epochs=0"])


def test_a_file_is_encoded_with_its_mask(run, data):
    encoder = Encoder.load(run)
    assert encoder.model.masks
    path = data / "renders" / "box00_0.png"
    codes, skipped = encoder.encode_files([path])
    assert not skipped
    dataset = Dataset.read(data)
    image = next(image for image in dataset.images if image.path == "renders/box00_0.png")
    same, _ = encoder.dataset_images(dataset, [image])
    assert codes.packed.tolist() == same.packed.tolist()


def test_without_images_that_show_shapes(data, settings, tmp_path):
    with pytest.raises(CmahError, match="kind photo"):
        train(data, tmp_path / "run", recipe="style_mixed", settings=[*settings, "data.kinds=photo"])


def test_hits_are_re_ranked_by_attention(run, data, tmp_path):
    """Codes first, then the score of the network itself, computed here by torch for every pair."""
    shown = {"split": "all", "workers": 0, "settings": ["model.views_from=even"]}
    _, shapes, _ = export(run, data, tmp_path / "codes", **shown)
    _, views, _ = export(run, data, tmp_path / "views", **shown, embeddings=True, per_view=True)
    codes = BinaryCodes.load(shapes)
    index = HammingIndex(codes.bits)
    index.add(codes)
    index.save(tmp_path / "shapes.cmah")
    photos = [data / "renders" / f"box{i:02d}_1.png" for i in range(3)]
    reranking = Reranking.read(views, first=len(codes), by="attention")
    records, skipped = search_files(tmp_path / "shapes.cmah", run, photos, k=5, reranking=reranking)
    assert not skipped
    encoder = Encoder.load(run)
    model, rows = encoder.model, Embeddings.load(views)
    _, queries, _ = encoder.codes_and_embeddings(photos)
    for record, query in zip(records, queries.embeddings, strict=True):
        scores = {}
        for name in codes.ids:
            own = torch.from_numpy(rows.embeddings[rows.shape_ids == name])[None]
            with torch.no_grad():
                scores[name] = model.attention(torch.from_numpy(query)[None], own).item()
        best = sorted(scores, key=scores.get, reverse=True)[:5]
        assert [round(hit["score"], 4) for hit in record["hits"]] == [round(scores[name], 4) for name in best]
