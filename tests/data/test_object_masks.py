"""Masks of objects: what is known counts, plain backgrounds are told from objects, new ones leave no halo."""

import numpy as np
import pytest
from batch_dataset import disc

from cmah.data.images import fit_square
from cmah.data.object_masks import object_mask, picture_mask, replace_background, square_picture


def rng(seed=0):
    return np.random.default_rng(seed)


def test_the_mask_of_an_object_before_a_plain_background_is_found():
    for back in (255, 0, 90):
        picture, opacity = disc(back=back, colour=(180, 120, 30))
        found = object_mask(picture) / 255
        assert (found[opacity == 0] == 0).all()
        inside = np.hypot(*(np.mgrid[:64, :64] - 31.5)) < 18
        assert (found[inside & (opacity == 1)] > 0.9).all()
        assert np.abs(found - opacity).mean() < 0.03
    assert object_mask(rng().integers(0, 256, (20, 20, 3)).astype(np.uint8)) is None


def test_a_part_as_bright_as_the_background_belongs_to_the_object():
    picture, _ = disc()
    picture[20:28, 20:28] = 248
    assert (object_mask(picture)[21:27, 21:27] == 255).all()


def test_a_new_background_leaves_the_object_and_no_halo():
    picture, opacity = disc(colour=(40, 60, 20))
    for seed in range(20):
        exact = (opacity * 255).round().astype(np.uint8)
        changed = replace_background(picture, exact, rng(seed))
        np.testing.assert_array_equal(changed[opacity == 1], picture[opacity == 1])
        background = changed[opacity == 0]
        assert not np.array_equal(background, picture[opacity == 0])
        # a partly covered pixel lies between the object and the new background, never towards the old white one
        outline = (opacity > 0.1) & (opacity < 0.9)
        assert changed[outline].max() <= max(60, int(background.max())) + 12
        guessed = replace_background(picture, None, rng(seed))
        assert np.abs(guessed.astype(int) - changed).mean() < 6
    textured = rng().integers(0, 256, (64, 64, 3)).astype(np.uint8)
    np.testing.assert_array_equal(replace_background(textured, None, rng()), textured)
    np.testing.assert_array_equal(replace_background(textured, np.zeros((3, 3), np.uint8), rng()), textured)


def test_what_is_known_counts_then_the_guess_then_everything():
    picture, _ = disc()
    noise = rng().integers(0, 256, (20, 30, 3)).astype(np.uint8)
    known = rng().integers(0, 256, (64, 64)).astype(np.uint8)
    np.testing.assert_array_equal(picture_mask(picture, known), known)
    np.testing.assert_array_equal(picture_mask(picture), object_mask(picture))
    np.testing.assert_array_equal(picture_mask(noise), np.full((20, 30), 255))
    with pytest.raises(ValueError, match=r"mask \[64, 64\]: expected the size of its picture \[20, 30, 3\]"):
        picture_mask(noise, known)


@pytest.mark.parametrize("shape", [(40, 40), (60, 30), (17, 41)])
def test_a_mask_is_scaled_and_placed_as_its_picture(shape):
    mask = np.zeros(shape, np.uint8)
    mask[2:-2, 3:-3] = rng().integers(0, 256, (shape[0] - 4, shape[1] - 6))
    picture = np.dstack([mask] * 3)
    square = square_picture(np.dstack([picture, mask]), 24, masks=True)
    assert square.shape == (24, 24, 4)
    np.testing.assert_array_equal(square[..., 3], square[..., 0])
    np.testing.assert_array_equal(square[..., :3], fit_square(picture, 24))
    np.testing.assert_array_equal(square_picture(picture, 24), fit_square(picture, 24))
    guessed = square_picture(picture, 24, masks=True)[..., 3]
    np.testing.assert_array_equal(guessed, fit_square(picture_mask(picture), 24))


@pytest.mark.parametrize(
    ("shape", "masks"), [((4, 4), True), ((4, 4, 5), True), ((4, 4, 1), False), ((4, 4, 4), False)]
)
def test_other_shapes_are_refused(shape, masks):
    expected = r"expected \[h, w, 3\]" + (r" or, with its mask, \[h, w, 4\]" if masks else "$")
    with pytest.raises(ValueError, match=expected):
        square_picture(np.zeros(shape, np.uint8), 4, masks=masks)
