"""Pictures and shapes seen by their views: vectors, their pooling and attention, places without a view."""

import numpy as np
import pytest
import torch

from cmah.errors import ConfigError
from cmah.models.staged_backbone import grey
from cmah.models.style_mixed_config import StyleMixedConfig
from cmah.models.style_mixed_network import StyleMixed
from cmah.models.view_attention import attention_scores

SMALL = {"image_encoder": "timm:test_resnet", "image_size": 32, "dim": 8, "bits": (8, 16)}
CATEGORY = {
    "level": "category", "shared": True, "masks": False, "views_as": "colour", "view_pooling": "max",
    "categories": ("bed", "car", "cup"),
}  # fmt: skip
FORMS = [
    {},
    {"views_as": "grey"},
    {"views_as": "colour", "masks": False, "view_pooling": "max"},
    {"views_as": "colour", "head": "itq", "bits": (8,)},
    CATEGORY,
]


def network(**settings):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return StyleMixed(StyleMixedConfig(**{**SMALL, **settings})).eval()


def some_shapes(views=6, seed=0):
    """Three shapes, of which the second has three views."""
    generator = torch.Generator().manual_seed(seed)
    there = torch.ones(3, views, dtype=torch.bool)
    there[1, 3:] = False
    pictures = torch.randint(0, 256, (3, views, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return {"views": pictures, "view_mask": there}


@pytest.mark.parametrize("form", FORMS)
def test_a_shape_is_the_pool_of_its_views(form):
    net, shapes = network(**form), some_shapes()
    with torch.no_grad():
        vectors, there = net.view_vectors(*net.view_maps(shapes))
        outputs = net.encode_shapes(shapes)
    for row, mask, output in zip(vectors, there, outputs, strict=True):
        views = row[mask]
        pooled = views.mean(dim=0) if net.config.view_pooling == "mean" else views.amax(dim=0)
        if net.config.level == "instance":
            np.testing.assert_allclose(views.norm(dim=1), 1, atol=1e-5)
            pooled = pooled / pooled.norm()
        torch.testing.assert_close(output[:8], pooled, rtol=1e-4, atol=1e-5)
    embeddings = net.embeddings(outputs.numpy())
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-6)
    assert outputs.shape == (3, net.width)


@pytest.mark.parametrize("form", FORMS)
def test_places_without_a_view_change_nothing(form):
    net, shapes = network(**form), some_shapes()
    other = {**shapes, "views": shapes["views"].clone()}
    other["views"][1, 3:] = 255 - other["views"][1, 3:]
    with torch.no_grad():
        torch.testing.assert_close(net.encode_shapes(other), net.encode_shapes(shapes))


def test_views_in_fours_by_loops():
    """Group g has the views 4 g to 4 g + 3; where these end, it goes on with the first ones again."""
    net, shapes = network(), some_shapes(views=6)
    got, there = net._as_channels(shapes["views"], shapes["view_mask"])
    assert there.tolist() == [[True, True], [True, False], [True, True]]
    for s, count in enumerate((6, 3, 6)):
        for g in range(2):
            for c in range(4):
                expected = grey(shapes["views"][s, (4 * g + c) % count].float())
                torch.testing.assert_close(got[s, g, c], expected)


def test_attention_reads_the_vectors_of_views_alone():
    """So the score can be computed from exported embeddings: of queries, and of each view by itself."""
    net, shapes = network(views_as="colour"), some_shapes()
    pictures = torch.randint(0, 256, (2, 4, 32, 32), dtype=torch.uint8)
    with torch.no_grad():
        vectors, there = net.view_vectors(*net.view_maps(shapes))
        queries = net.image_vectors(net.image_maps(pictures))
        expected = net.attention(queries, vectors, there)
        alone = [
            net.encode_shapes({"views": shapes["views"][:, v : v + 1], "view_mask": torch.ones(3, 1) > 0})
            for v in range(6)
        ]
        rows = torch.stack([torch.from_numpy(net.embeddings(each.numpy())) for each in alone], dim=1)
        outputs = torch.from_numpy(net.embeddings(net.encode_images(pictures).numpy()))
        weight = net.attention.projection.weight
        got = attention_scores(outputs, rows, weight, shapes["view_mask"])
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


def test_views_that_lack_take_no_part_in_statistics():
    """In training the batch norm sees the views that are there only."""
    net = network(views_as="colour").train()
    net.own_neck[0].p = 0.0
    maps, there = net.view_maps(some_shapes())
    features = torch.randn(3, 6, net.view_net.cut_dim, *maps.shape[3:])
    other = torch.where(there[..., None, None, None], features, features + 100)
    first, _ = net.view_vectors(features, there)
    second, _ = net.view_vectors(other, there)
    torch.testing.assert_close(first[there], second[there])


def test_codes_are_nested_signs():
    net, shapes = network(), some_shapes()
    with torch.no_grad():
        outputs = net.encode_shapes(shapes)
    assert net.code_outputs(outputs.numpy()).shape == (3, 16)
    assert net.code_lengths == (8, 16)
    assert net.relaxed(outputs).abs().max() <= 1


def test_classes_by_the_classifier():
    net = network(**CATEGORY)
    rows = np.random.default_rng(0).normal(size=(5, net.width)).astype(np.float32)
    weight, bias = net.classifier.weight.detach().numpy(), net.classifier.bias.detach().numpy()
    expected = [CATEGORY["categories"][(weight @ row[:8] + bias).argmax()] for row in rows]
    assert net.classes(rows).tolist() == expected
    with pytest.raises(ConfigError, match="has no classifier"):
        network().classes(rows)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shared": True}, "must be alike"),
        ({**CATEGORY, "shape_encoder": "timm:resnet18"}, "leaves no place"),
        ({"head": "itq", "bits": (8, 16)}, "codes by ITQ are not nested"),
        ({"head": "itq", "bits": (64,)}, r"at most model.dim = 8 bits"),
        ({"categories": ("bed", "car")}, "at model.level=category only"),
        ({**CATEGORY, "categories": ("bed", "bed")}, "expected each class once"),
        ({"shape_encoder": "pointnext"}, r"model.shape_encoder = 'pointnext': expected timm:NAME"),
        ({"style_stage": 4}, "expected a number from 0 to 3"),
        ({**CATEGORY, "categories": ("bed",)}, "expected two or more"),
        ({"shape_encoder": "timm:test_efficientnet"}, "have 48 and 32 channels there"),
        ({"image_encoder": "timm:test_vit"}, "cannot be cut|convolutional network"),
    ],
)
def test_what_does_not_go_together(settings, message):
    with pytest.raises(ConfigError, match=message):
        network(**settings)


def test_without_mixing_the_networks_may_differ():
    net = network(shape_encoder="timm:test_efficientnet", style_stage=0)
    assert net.remarks[0] == (
        "timm:test_efficientnet for views starts from random weights (model.shape_weights)"
    )
