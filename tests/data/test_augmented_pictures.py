"""Augmented images of a dataset: masks follow their pictures, colours come of others, faults cost one image each."""

from dataclasses import replace

import numpy as np
import PIL.Image
import pytest
from batch_dataset import SHAPES, VIEWS, disc

from cmah.data.augmentation import NO_IMAGE_AUGMENTATION, ImageAugmentation
from cmah.data.augmented_pictures import AugmentedPictures
from cmah.data.colour_transfer import transfer_colours
from cmah.data.dataset import Dataset, Image, Shape
from cmah.data.encoding_batches import ImageBatches, square_file
from cmah.data.framing import Framing
from cmah.data.images import fit_square, load_image, load_mask
from cmah.data.object_masks import object_mask
from cmah.data.training_batches import TrainingBatches, TrainingPairs
from cmah.errors import CmahError

TRANSFER = replace(NO_IMAGE_AUGMENTATION, colour_transfer=1)


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture
def masked(tmp_path):
    """Pictures of 30 x 20 pixels: with a mask that is its red, with that mask as opacity, plain, without either."""
    mask = np.zeros((20, 30), np.uint8)
    mask[4:15, 8:25] = rng().integers(1, 256, (11, 17))
    red = np.dstack([mask, np.full((20, 30), 50), np.full((20, 30), 50)]).astype(np.uint8)
    noise = rng(1).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    pictures = {
        "red": red,
        "clear": np.dstack([red, mask]),
        "opaque": np.dstack([disc(20, 6)[0], np.full((20, 20), 255)]).astype(np.uint8),
        "plain": disc(20, 6)[0],
        "noise": noise,
        "mask": mask,
        "small": mask[:5],
    }
    for name, pixels in pictures.items():
        PIL.Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    np.save(tmp_path / "points.npy", np.eye(3))
    images = [
        Image(name, "s", "", "train", f"{name}.png", "render", mask="mask.png" if name == "red" else "")
        for name in ("red", "clear", "opaque", "plain", "noise")
    ]
    return Dataset(tmp_path, "masks", 3, "y", 20, [Shape("s", "", "train", "points.npy")], images)


def test_training_and_encoding_see_the_same_masks(masked):
    drawn = AugmentedPictures(masked, 24, masks=True)
    ((batch, positions),) = ImageBatches.of(masked, masked.images, 24, 8, 0, Framing(), masks=True)
    assert positions == [0, 1, 2, 3, 4]
    for image, encoded in zip(masked.images, batch["image"].numpy(), strict=True):
        np.testing.assert_array_equal(drawn.draw(image, rng()), encoded)
        pixels = load_image(masked.file(image.path))
        np.testing.assert_array_equal(encoded[:3], fit_square(pixels, 24).transpose(2, 0, 1))
        expected = {
            "red": load_mask(masked.file("mask.png")),
            "clear": load_mask(masked.file("mask.png")),
            "opaque": object_mask(pixels),  # an opacity of 255 everywhere says nothing
            "plain": object_mask(pixels),
            "noise": np.full((20, 30), 255, np.uint8),
        }[image.image_id]
        np.testing.assert_array_equal(encoded[3], fit_square(expected, 24))
        square = square_file(masked.picture(image), 24, masks=True)
        np.testing.assert_array_equal(square.transpose(2, 0, 1), encoded)


@pytest.mark.parametrize("crop", ["box", "mask"])
def test_framing_cuts_masks_too(masked, crop):
    image = replace(masked.images[0], bbox=(5, 2, 20, 10))
    config = replace(NO_IMAGE_AUGMENTATION, crop=0.4, flip=0.5, stretch=1.5)
    pictures = AugmentedPictures(masked, 16, config, Framing(crop, 0.2), masks=True)
    for seed in range(10):
        drawn = pictures.draw(image, rng(seed))
        assert drawn[3].any()
        np.testing.assert_array_equal(drawn[3], drawn[0])
    # what is guessed is guessed of the whole picture: a crop may cut through the object
    plain = replace(masked.images[3], bbox=(8, 8, 5, 5))
    drawn = AugmentedPictures(masked, 5, framing=Framing("box", 0), masks=True).draw(plain, rng())
    whole = object_mask(load_image(masked.file("plain.png")))
    np.testing.assert_array_equal(drawn[3], whole[8:13, 8:13])


def test_masks_that_do_not_fit_are_faults(masked):
    pictures = AugmentedPictures(masked, 16, masks=True)
    for name, message in (
        ("small", "small.png: not of the size of .*red.png"),
        ("none", "none.png: no such file"),
    ):
        image = replace(masked.images[0], mask=f"{name}.png")
        with pytest.raises(CmahError, match=message):
            pictures.draw(image, rng())
        _, kept, skipped = pictures.draw_together([masked.images[1], image], rng())
        assert kept == [0]
        assert skipped[0][0] == str(masked.file("red.png"))
        batches = ImageBatches.of(masked, [image], 16, 1, 0, Framing(), masks=True)
        assert list(batches) == []
        assert len(batches.skipped) == 1


def test_pairs_have_masks(masked):
    pairs = TrainingPairs(masked, 12, 3, ImageAugmentation(), views=2, masks=True)
    assert pairs[0, 0]["image"].shape == (2, 4, 12, 12)
    assert next(TrainingBatches(pairs, 2).epoch(0))["image"].shape == (1, 2, 4, 12, 12)
    assert pairs.sample_bytes - TrainingPairs(masked, 12, 3, views=2).sample_bytes == 2 * 12 * 12


def test_colours_come_of_another_image(masked):
    """Of each of the others, in the end, and never of the image itself."""
    pictures = AugmentedPictures(masked, 30, TRANSFER)
    shown = [load_image(masked.file(image.path)) for image in masked.images]
    for image, pixels in zip(masked.images, shown, strict=True):
        possible = {
            fit_square(transfer_colours(pixels, style), 30).tobytes()
            for style in shown
            if style is not pixels
        }
        seen = {pictures.draw(image, rng(seed)).transpose(1, 2, 0).tobytes() for seed in range(60)}
        assert seen == possible


def test_without_another_image_colours_stay(masked):
    image = masked.images[4]
    for styles in ([], [image]):
        drawn = AugmentedPictures(masked, 30, TRANSFER, styles=styles).draw(image, rng())
        np.testing.assert_array_equal(
            drawn.transpose(1, 2, 0), fit_square(load_image(masked.file("noise.png")), 30)
        )


def test_a_style_that_cannot_be_read_is_told_and_nothing_is_taken_on(masked):
    broken = Image("broken", "s", "", "train", "none.png", "render")
    pictures = AugmentedPictures(masked, 30, TRANSFER, styles=[broken])
    with pytest.warns(UserWarning, match=r"none.png: no such file .*; its colours are not taken on"):
        drawn = pictures.draw(masked.images[4], rng())
    np.testing.assert_array_equal(drawn, AugmentedPictures(masked, 30).draw(masked.images[4], rng()))


def test_a_sample_with_colours_of_others_depends_on_its_key_alone(dataset):
    config = ImageAugmentation(colour_transfer=0.5)
    pairs = TrainingPairs(dataset, 12, 24, config)
    samples = [pairs[1, k]["image"] for k in range(SHAPES)]
    again = TrainingPairs(dataset, 12, 24, config)
    for k in reversed(range(SHAPES)):
        np.testing.assert_array_equal(again[1, k]["image"], samples[k])
    loaded = {
        int(index): image
        for batch in TrainingBatches(again, 2, workers=1).epoch(1)
        for index, image in zip(batch["index"], batch["image"].numpy(), strict=True)
    }
    for k, image in loaded.items():
        np.testing.assert_array_equal(image, samples[k])


def test_views_of_a_group_share_their_changes(dataset):
    """The greys of the views differ by one; the crop of a plain picture beside its border shows nothing else."""
    views = [image for image in dataset.images if image.shape_id == "s5"]
    config = replace(TRANSFER, flip=0.5, brightness=0.3)
    pictures = AugmentedPictures(dataset, 12, config, styles=[*views, dataset.images[0], dataset.images[1]])
    drawn, kept, skipped = pictures.draw_together([*views, replace(views[0], path="none.png")], rng())
    assert drawn.shape == (VIEWS, 3, 12, 12)
    assert kept == list(range(VIEWS))
    assert skipped[0][0] == str(dataset.file("none.png"))
    assert np.ptp(drawn) <= 1  # the colour of one and the same style
    assert drawn.max() < 5  # which is none of the views
    drawn, kept, skipped = pictures.draw_together([replace(views[0], path="none.png")], rng())
    assert (drawn.shape, kept, len(skipped)) == ((0, 3, 12, 12), [], 1)


def test_a_mask_that_cannot_be_read_leaves_the_others_of_its_group(masked):
    always = replace(NO_IMAGE_AUGMENTATION, background=1)
    images = [masked.images[3], replace(masked.images[0], mask="none.png"), masked.images[1]]
    drawn, kept, skipped = AugmentedPictures(masked, 16, always).draw_together(images, rng())
    assert (len(drawn), kept) == (2, [0, 2])
    assert "none.png: no such file" in skipped[0][1]
