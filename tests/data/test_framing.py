"""What is cut off and painted over of a picture, beside a slow second way to do it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image as Picture

from cmah.data.augmentation import NO_IMAGE_AUGMENTATION
from cmah.data.dataset import Dataset, Image, Shape
from cmah.data.framing import Framing, PictureFile, box_of_mask, check_box, open_picture, with_margin
from cmah.data.images import load_image, load_mask
from cmah.data.training_batches import TrainingPairs
from cmah.errors import CmahError


@pytest.fixture
def picture(tmp_path):
    """A picture of 20 x 16 pixels with a mask and a box, which are not about the same part of it."""
    rng = np.random.default_rng(0)
    Picture.fromarray(rng.integers(1, 256, (16, 20, 3)).astype(np.uint8)).save(tmp_path / "picture.png")
    mask = np.zeros((16, 20), np.uint8)
    mask[4:9, 10:16] = 255
    mask[5, 11] = 0
    Picture.fromarray(mask).save(tmp_path / "mask.png")
    return PictureFile(tmp_path / "picture.png", tmp_path / "mask.png", (2, 3, 8, 4))


def slow_mask_box(mask):
    inside = [(x, y) for y in range(mask.shape[0]) for x in range(mask.shape[1]) if mask[y, x] > 0]
    if not inside:
        return None
    left, top = min(x for x, _ in inside), min(y for _, y in inside)
    return left, top, max(x for x, _ in inside) - left + 1, max(y for _, y in inside) - top + 1


@given(
    arrays(
        np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6)), elements=st.sampled_from([0, 0, 1, 255])
    )
)
def test_the_box_of_a_mask(mask):
    assert box_of_mask(mask) == slow_mask_box(mask)


@given(
    st.integers(0, 20), st.integers(0, 20), st.integers(1, 20), st.integers(1, 20), st.floats(0, 1), st.data()
)
def test_a_margin_keeps_the_box_and_stays_in_the_picture(x, y, width, height, margin, data):
    size = data.draw(st.tuples(st.integers(y + height, 50), st.integers(x + width, 50)))
    check_box((x, y, width, height), size)
    left, top, right, bottom = with_margin((x, y, width, height), margin, size)
    assert 0 <= left <= x < x + width <= right <= size[1]
    assert 0 <= top <= y < y + height <= bottom <= size[0]
    assert x - left <= round(margin * width)
    assert right == size[1] or right - x - width == round(margin * width)
    assert with_margin((x, y, width, height), 0, size) == (x, y, x + width, y + height)


def test_a_whole_picture_is_as_it_was_read(picture):
    pixels, mask = open_picture(picture)
    np.testing.assert_array_equal(pixels, load_image(picture.path))
    np.testing.assert_array_equal(mask(), load_mask(picture.mask))
    assert open_picture(replace(picture, mask=None))[1]() is None


@pytest.mark.parametrize("background", ["keep", "remove"])
@pytest.mark.parametrize(
    ("crop", "margin", "rows", "columns"),
    [
        ("none", 0.5, slice(0, 16), slice(0, 20)),
        ("box", 0.0, slice(3, 7), slice(2, 10)),
        ("box", 0.25, slice(2, 8), slice(0, 12)),
        ("box", 1.0, slice(0, 11), slice(0, 18)),
        ("mask", 0.0, slice(4, 9), slice(10, 16)),
        ("mask", 0.5, slice(2, 11), slice(7, 19)),
        ("square", 0.5, slice(0, 16), slice(2, 18)),  # the margin is that of boxes
    ],
)
def test_pixels_and_mask_are_cut_alike(picture, crop, margin, rows, columns, background):
    pixels, mask = open_picture(picture, Framing(crop, margin, background))
    whole, whole_mask = load_image(picture.path), load_mask(picture.mask)
    if background == "remove":
        whole = whole.copy()
        whole[whole_mask == 0] = 0
    np.testing.assert_array_equal(pixels, whole[rows, columns])
    np.testing.assert_array_equal(mask(), whole_mask[rows, columns])


def test_opacity_stands_for_a_mask_and_what_has_neither_stays_whole(picture, tmp_path):
    whole, mask = load_image(picture.path), load_mask(picture.mask)
    Picture.fromarray(np.dstack([whole, mask])).save(tmp_path / "clear.png")
    clear = PictureFile(tmp_path / "clear.png")
    plain = replace(picture, mask=None, bbox=None)
    framing = Framing("mask", 0, "remove")
    np.testing.assert_array_equal(open_picture(clear, framing)[0], open_picture(picture, framing)[0])
    np.testing.assert_array_equal(open_picture(plain, framing)[0], whole)
    for file in (clear, plain):  # neither has a box
        assert open_picture(file, Framing("box"))[0].shape == whole.shape


def test_faults_name_the_file(picture, tmp_path):
    Picture.new("L", (3, 3), 255).save(tmp_path / "small.png")
    Picture.new("L", (20, 16), 0).save(tmp_path / "black.png")
    small, black = (replace(picture, mask=tmp_path / f"{name}.png") for name in ("small", "black"))
    for file, framing, message in (
        (replace(picture, bbox=(13, 3, 8, 4)), Framing("box"), "picture.png: bbox 13,3,8,4 leaves the picture of 20"),
        (replace(picture, bbox=(2, 13, 8, 4)), Framing("box"), "picture.png: bbox 2,13,8,4 leaves the picture of 20"),
        (replace(picture, bbox=(2, 3, 0, 4)), Framing("box"), "picture.png: bbox 2,3,0,4 leaves the picture of 20"),
        (replace(picture, bbox=(-1, 3, 8, 4)), Framing("box"), "picture.png: bbox -1,3,8,4 leaves the picture of 20"),
        (small, Framing("mask"), "small.png: not of the size of .*picture.png"),
        (small, Framing(background="remove"), "picture.png: the mask is 3 x 3 pixels, .*small.png"),
        (black, Framing("mask"), r"black.png: no pixel belongs to the object \(expected some, to crop to\)"),
        (replace(picture, mask=tmp_path / "none.png"), Framing("mask"), "none.png: no such file"),
    ):  # fmt: skip
        with pytest.raises(CmahError, match=message):
            open_picture(file, framing)
    _, mask = open_picture(small, Framing("box"))
    with pytest.raises(CmahError, match=r"small.png: not of the size of"):
        mask()
    # what is not used is not read
    unread = replace(picture, mask=tmp_path / "none.png", bbox=(90, 90, 9, 9))
    assert open_picture(unread)[0].shape == (16, 20, 3)


def test_keys_of_what_was_there_before_stay():
    assert Framing().key == "keep"
    assert Framing("none", 0.7, "remove").key == "remove"
    others = [
        Framing(crop, margin, background)
        for crop in ("box", "mask")
        for margin in (0.0, 0.1)
        for background in ("keep", "remove")
    ]
    assert len({framing.key for framing in (Framing(), Framing(background="remove"), *others)}) == 10
    assert Framing("square", 0.3).key == "keep, crop square"


def test_training_sees_what_is_framed(picture, tmp_path):
    np.save(tmp_path / "points.npy", np.eye(3))
    image = Image("a", "s", "", "train", "picture.png", "photo", mask="mask.png", bbox=picture.bbox)
    shape = Shape("s", "", "train", "points.npy")
    dataset = Dataset(tmp_path, "one", 3, "y", 8, [shape], [image])
    always = replace(NO_IMAGE_AUGMENTATION, background=1)
    framing = Framing("mask", 0, "remove")
    for augmentation in (NO_IMAGE_AUGMENTATION, always):  # a background that is removed is not replaced
        pairs = TrainingPairs(dataset, 6, 3, augmentation, kinds=("photo",), framing=framing)
        seen = pairs[0, 0]["image"].transpose(1, 2, 0)
        assert seen.shape == (6, 6, 3)
        # 6 x 5 pixels, above and below which lies the colour of their border, nearly
        np.testing.assert_array_equal(seen[0:5], open_picture(picture, framing)[0])
    pairs = TrainingPairs(dataset, 8, 3, kinds=("photo",), framing=Framing("box", 0))
    np.testing.assert_array_equal(
        pairs[0, 0]["image"].transpose(1, 2, 0)[2:6], load_image(picture.path)[3:7, 2:10]
    )
