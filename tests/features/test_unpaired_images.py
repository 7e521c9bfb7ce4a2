"""The shapes that unpaired images are to be near, against loops over all of them."""

import math

import numpy as np
import pytest
import torch
from PIL import Image as Picture

from cmah.data.dataset import Dataset, Image
from cmah.data.framing import Framing
from cmah.data.images import fit_square, load_image
from cmah.errors import RunError
from cmah.features import unpaired_images
from cmah.features.image_embedder import ImageEmbedder
from cmah.features.unpaired_images import averaged_looks, nearest_shapes


def cosine(a, b):
    return float(a @ b) / (math.hypot(*a) * math.hypot(*b))


def slow_nearest(images, shapes, count, temperature):
    """{shape: weight} of each image, term by term."""
    images, shapes = images.astype(float), shapes.astype(float)
    table = np.array([[cosine(image, shape) for shape in shapes] for image in images])
    table = table - table.mean(axis=1)[:, None]
    table *= 0.1 / table.std()
    for _ in range(3):
        said = []
        for i, image in enumerate(images):
            near = sorted((-cosine(image, other), j) for j, other in enumerate(images) if j != i)[:10]
            shares = [math.exp(-negative / 0.1) for negative, _ in near]
            said.append(
                sum(share / sum(shares) * table[j] for share, (_, j) in zip(shares, near, strict=True))
            )
        table = (table + np.array(said)) / 2
    weights = []
    for row in table:
        best = np.argsort(-row)[:count]
        raised = {int(j): math.exp(row[j] / temperature) for j in best}
        weights.append({j: weight / sum(raised.values()) for j, weight in raised.items()})
    mass = {j: sum(row.get(j, 0.0) for row in weights) for j in range(len(shapes))}
    spread = [{j: weight / mass[j] ** 0.25 for j, weight in row.items()} for row in weights]
    return [{j: weight / sum(row.values()) for j, weight in row.items()} for row in spread]


@pytest.mark.parametrize("chunk", [3, 1024])
@pytest.mark.parametrize("images", [8, 14])
def test_equal_the_definition(chunk, images, monkeypatch):
    monkeypatch.setattr(unpaired_images, "CHUNK", chunk)
    rng = np.random.default_rng(0)
    photos, shapes = rng.normal(size=(images, 6)).astype("f"), rng.normal(size=(15, 6)).astype("f")
    near = nearest_shapes(photos, shapes, count=4, temperature=0.05)
    for i, expected in enumerate(slow_nearest(photos, shapes, 4, 0.05)):
        got = dict(zip(near.shapes[i].tolist(), near.weights[i].tolist(), strict=True))
        assert got == pytest.approx(expected, rel=1e-3)


def test_rows_sum_to_one_and_the_most_alike_comes_first():
    rng = np.random.default_rng(1)
    near = nearest_shapes(rng.normal(size=(5, 4)).astype("f"), rng.normal(size=(9, 4)).astype("f"), count=9)
    assert near.shapes.shape == (5, 9)
    np.testing.assert_allclose(near.weights.sum(axis=1), 1, rtol=1e-6)
    alone = nearest_shapes(np.float32([[1, 0.1]]), np.float32([[1, 0], [0, 1], [1, 1]]))
    assert alone.shapes.tolist() == [[0, 2, 1]]
    assert (np.diff(alone.weights[0]) < 0).all()


def test_images_that_look_alike_are_asked_together():
    """Five photos of one thing; one of them is by itself nearer to another shape."""
    shapes = np.float32([[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    photos = np.float32([[1, 0.5, 0.1], [1, 0.4, 0.2], [1, 0.5, 0.2], [1, 0.6, 0.1], [0.9, 1, 0.1]])
    assert nearest_shapes(photos[4:], shapes).shapes[0, 0] == 1
    assert nearest_shapes(photos, shapes).shapes[:, 0].tolist() == [0] * 5


def test_fewer_shapes_than_wanted():
    near = nearest_shapes(np.float32([[1, 0]]), np.float32([[2, 0]]), count=20)
    assert near.shapes.tolist() == [[0]]
    assert near.weights.tolist() == [[1.0]]


@pytest.fixture
def encoder(tmp_path):
    from timm import create_model

    torch.manual_seed(0)
    torch.save(create_model("test_resnet").state_dict(), tmp_path / "weights.pt")

    def of(framing):
        return ImageEmbedder(
            "timm:test_resnet", str(tmp_path / "weights.pt"), cache=tmp_path / "cache", framing=framing
        )

    return of


@pytest.fixture
def photos(tmp_path):
    """A dataset of five photos of different forms and a picture."""
    rows = []
    for i, size in enumerate([(40, 30), (20, 50), (32, 32), (64, 16), (30, 31), (32, 32)]):
        pixels = np.random.default_rng(i).integers(0, 256, (*size, 3), dtype=np.uint8)
        Picture.fromarray(pixels).save(tmp_path / f"{i}.png")
        rows.append(Image(f"i{i}", "", "", "train", f"{i}.png", "photo" if i < 5 else "picture"))
    return Dataset(tmp_path, "photos", 1, "y", 32, [], rows)


@pytest.mark.parametrize("crop", ["none", "mask"])
def test_looks_are_means_over_four_ways_to_see_an_image(encoder, photos, crop):
    embedder = encoder(Framing(crop))
    kinds, width = np.array([2, 2, 2, 2, 2, 1]), 40
    expected = []
    for image in photos.images:
        whole = load_image(photos.file(image.path))
        h, w = whole.shape[:2]
        side = min(h, w)
        top, left = (h - side) // 2, (w - side) // 2
        ways = [whole, whole[:, ::-1]]
        if crop == "none":  # else the user said what is to be seen
            ways += [whole[top : top + side, left : left + side]]
            ways += [ways[-1][:, ::-1]]
        seen = np.stack([fit_square(np.ascontiguousarray(way), embedder.size) for way in ways])
        with torch.inference_mode():
            rows = embedder.backbone.eval()(torch.from_numpy(seen).permute(0, 3, 1, 2).float() / 255)
        expected.append(rows.numpy().mean(axis=0)[-width:])
    photographed = np.array(expected[:5])
    deviation = photographed.std(axis=0)
    standard = (photographed - photographed.mean(axis=0)) / np.where(deviation > 1e-6, deviation, 1)
    looks = averaged_looks(embedder, photos, photos.images, kinds, width)
    assert looks.shape == (6, width)
    np.testing.assert_allclose(looks[:5], standard, atol=0.01)
    assert np.abs(standard).max() > 1
    np.testing.assert_array_equal(looks[5], 0)  # the only one of its kind
    again = averaged_looks(encoder(Framing(crop)), photos, photos.images, kinds, width)  # from the cache
    np.testing.assert_array_equal(again, looks)


def test_a_photo_that_is_gone_is_named(encoder, photos):
    photos.file("1.png").unlink()
    with pytest.raises(RunError, match=r"1.png: could be read before, but not any more"):
        averaged_looks(encoder(Framing()), photos, photos.images, np.zeros(6, np.int64), 7)
