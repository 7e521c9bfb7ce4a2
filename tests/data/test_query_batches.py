"""Batches of queries and of shapes by their views: who shows whom, and what is left out."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from batch_dataset import SHAPES, VIEWS, make_dataset

from cmah.data.augmented_pictures import AugmentedPictures
from cmah.data.dataset import Image
from cmah.data.query_batches import ImageQueries, QueryBatches
from cmah.errors import CmahError, DatasetError

SIZE = 16


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    dataset = make_dataset(tmp_path_factory.mktemp("data"))
    dataset.shapes = [
        replace(shape, category="even" if i % 2 == 0 else "") for i, shape in enumerate(dataset.shapes)
    ]
    return dataset


def queries_of(dataset, **settings):
    pictures = AugmentedPictures(dataset, SIZE)
    settings = {"batch_size": 6, "views": 2, **settings}
    return ImageQueries(dataset, pictures, pictures, **settings)


def shade(pixels):
    """The grey value of a plain picture; shape i has 20 i + view (see `batch_dataset`)."""
    return int(pixels[0, SIZE // 2, SIZE // 2])


def test_an_epoch_goes_over_every_image(dataset):
    queries = queries_of(dataset, batch_size=3)
    assert len(queries) == SHAPES * VIEWS
    seen = []
    for number in range(SHAPES):
        seen += [shade(picture) for picture in queries.batch(0, number)["image"]]
    assert sorted(seen) == [20 * i + view for i in range(SHAPES) for view in range(VIEWS)]


@pytest.mark.parametrize("which", ["all", "even", "odd"])
def test_rows_say_which_shape_an_image_shows(dataset, which):
    queries = queries_of(dataset, views_from=which)
    repeated = 0
    for number in range(5):
        batch = queries.batch(number, 0)
        shapes = [shade(views[0]) // 20 for views in batch["views"]]
        assert len({*shapes}) == len(shapes) == 6
        images = [shade(picture) for picture in batch["image"]]
        assert [shapes[row] for row in batch["instance"]] == [value // 20 for value in images]
        repeated += len({value // 20 for value in images}) < len(images)
        assert batch["category"].tolist() == [-1 if (value // 20) % 2 else 0 for value in images]
        assert batch["shape_category"].tolist() == [-1 if shape % 2 else 0 for shape in shapes]
        for views, there in zip(batch["views"], batch["view_mask"], strict=True):
            own = [shade(view) for view in views]
            # a query is not among the views of its own shape, unless the shape has no other render
            others = [20 * (own[0] // 20) + view for view in range(VIEWS)]
            free = [value for value in others if value not in images]
            assert {*own} <= {*(free or others)}
            assert there[0]
    assert repeated or which == "even"  # several images of a batch show one shape


def test_views_are_those_that_describe(dataset):
    """Where even ones describe, the views are the first and third render, and the second ones ask."""
    queries = queries_of(dataset, views_from="even")
    assert len(queries) == SHAPES
    batch = queries.batch(0, 0)
    assert {shade(picture) % 20 for picture in batch["image"]} == {1}
    for views in batch["views"]:
        own = [shade(view) for view in views]
        assert own == [own[0] // 20 * 20, own[0] // 20 * 20 + 2]


def test_a_batch_is_the_same_whenever_it_is_drawn(dataset):
    first, again = queries_of(dataset, seed=3), queries_of(dataset, seed=3)
    for key in ((0, 1), (2, 0)):
        one, two = first.batch(*key), again.batch(*key)
        assert all(np.array_equal(one[name], two[name]) for name in one)
    assert not np.array_equal(first.batch(0, 0)["image"], first.batch(1, 0)["image"])
    assert not np.array_equal(first.batch(0, 0)["image"], queries_of(dataset, seed=4).batch(0, 0)["image"])


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_and_resuming_change_nothing(dataset, workers):
    queries = queries_of(dataset)
    batches = QueryBatches(queries, workers)
    assert len(batches) == 5
    got = [*batches.epoch(1, first_batch=2)]
    assert len(got) == 3
    for number, batch in enumerate(got, start=2):
        expected = queries.batch(1, number)
        assert {*batch} == {*expected}
        assert all(np.array_equal(batch[name].numpy(), expected[name]) for name in batch)


def test_with_labels_shapes_are_drawn_whatever_queries_show(dataset):
    """And categories of shapes are not read."""
    labelled = replace(
        dataset,
        images=[*dataset.images, *(replace(p, image_id=f"{p.image_id}p", shape_id="", category="even", kind="photo")
                                   for p in dataset.images[:8])],
    )  # fmt: skip
    queries = queries_of(labelled, kinds=["photo"], labels=["odd", "even"], batch_size=4)
    other = replace(labelled, shapes=[replace(shape, category="other") for shape in labelled.shapes])
    batch = queries.batch(0, 1)
    assert {*batch} == {"image", "views", "view_mask", "label"}
    assert batch["label"].tolist() == [1] * 4
    assert len(batch["views"]) == 4
    same = queries_of(other, kinds=["photo"], labels=["odd", "even"], batch_size=4).batch(0, 1)
    assert all(np.array_equal(batch[name], same[name]) for name in batch)


def test_shapes_without_renders_are_listed(dataset):
    images = [image for image in dataset.images if image.shape_id != "s4"]
    images.append(Image("s4_p", "s4", "", "train", "renders/s0_0.png", "picture"))
    queries = queries_of(replace(dataset, images=images), kinds=["render", "picture"])
    assert [name for name, _ in queries.skipped] == ["s4", "1 image of kind render or picture"]
    assert all(image.shape_id != "s4" for image in queries.images)


def test_shapes_whose_renders_all_ask_are_listed(dataset):
    images = [image for image in dataset.images if image.image_id not in ("s4_1", "s4_2")]
    queries = queries_of(replace(dataset, images=images), views_from="odd")
    assert queries.skipped[0] == ("s4", "too few renders for views_from=odd, as which its views are seen")
    assert all(image.shape_id != "s4" for image in queries.images)


def test_images_that_show_a_shape_are_no_labelled_queries(dataset):
    """The shape's category would be read with theirs."""
    photos = [
        replace(image, image_id=f"{image.image_id}p", shape_id="" if i % 2 else image.shape_id, category="even",
                kind="photo")
        for i, image in enumerate(dataset.images[:8])
    ]  # fmt: skip
    labelled = replace(dataset, images=[*dataset.images, *photos])
    queries = queries_of(labelled, kinds=["photo"], labels=["even"])
    assert [image.image_id for image in queries.images] == ["s0_1p", "s1_0p", "s1_2p", "s2_1p"]
    name, reason = queries.skipped[-1]
    assert (name, "show a shape of the data" in reason) == ("5 images of kind photo", True)


def test_unreadable_files_give_way(dataset, tmp_path):
    images = [
        replace(image, path="none.png") if image.image_id in ("s0_0", "s1_0", "s1_1", "s1_2") else image
        for image in dataset.images
    ]
    queries = queries_of(replace(dataset, images=images), batch_size=11)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        batches = [queries.batch(0, number) for number in range(3)]
    text = " ".join(str(each.message) for each in caught)
    assert "the next image takes its place" in text
    assert "the shape has fewer views" in text
    for batch in batches:
        shades = {shade(views[0]) // 20 for views in batch["views"]}
        assert 1 not in shades  # none of its views can be read
        assert len(batch["image"]) == len(batch["instance"]) == 11


@pytest.mark.filterwarnings("ignore")
def test_nothing_to_read_is_an_error(dataset):
    images = [replace(image, path="none.png") for image in dataset.images]
    queries = queries_of(replace(dataset, images=images))
    with pytest.raises(CmahError, match=r"none\.png: no such file"):
        queries.batch(0, 0)


def test_too_little_is_refused(dataset):
    one = replace(dataset.images[0], image_id="x", kind="photo")
    few = replace(dataset, images=[*dataset.images[:-1], one])
    with pytest.raises(DatasetError, match="11 shapes with renders and 1 images of kind photo"):
        queries_of(few, kinds=["photo"])
