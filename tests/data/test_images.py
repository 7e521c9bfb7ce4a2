"""Pictures: modes, broken files, letterbox."""

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmah.data import images
from cmah.data.images import border_colour, fit_square, load_image, load_image_and_alpha, load_mask
from cmah.errors import CmahError


@pytest.fixture
def pattern():
    return np.random.default_rng(0).integers(0, 256, (12, 9, 3)).astype(np.uint8)


def outcome(path):
    """The picture, or None and the reason."""
    try:
        return load_image(path), ""
    except CmahError as error:
        return None, str(error)


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.ppm", "a.tiff", "a.webp", "wrong_name.jpg"])
def test_lossless_formats_come_back_as_they_were(tmp_path, pattern, name):
    kind = {"a.webp": "WEBP", "wrong_name.jpg": "PNG"}.get(name)
    PIL.Image.fromarray(pattern).save(tmp_path / name, format=kind, lossless=True)
    loaded = load_image(tmp_path / name)
    assert loaded.dtype == np.uint8
    np.testing.assert_array_equal(loaded, pattern)


def test_transparency_is_laid_over_white(tmp_path, pattern):
    alpha = np.random.default_rng(1).integers(0, 256, (12, 9)).astype(np.uint8)
    alpha[:3], alpha[3:6] = 0, 255
    PIL.Image.fromarray(np.dstack([pattern, alpha])).save(tmp_path / "a.png")
    loaded, found = load_image_and_alpha(tmp_path / "a.png")
    np.testing.assert_array_equal(found, alpha)
    a = alpha[..., None] / 255
    assert np.abs(loaded - (pattern * a + 255 * (1 - a))).max() <= 1
    assert load_image_and_alpha(tmp_path / "a.png")[0].flags.c_contiguous
    grey = PIL.Image.fromarray(np.dstack([pattern[..., 0], alpha]), mode="LA")
    grey.save(tmp_path / "la.png")
    np.testing.assert_array_equal(load_image(tmp_path / "la.png")[3:6, :, 1], pattern[3:6, :, 0])


def test_palette_grey_one_bit_and_sixteen_bits(tmp_path, pattern):
    PIL.Image.fromarray(pattern[..., 0]).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(load_image(tmp_path / "grey.png"), pattern[..., :1].repeat(3, 2))
    deep = pattern[..., 0].astype(np.uint16) * 257
    PIL.Image.fromarray(deep).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(load_image(tmp_path / "deep.png"), pattern[..., :1].repeat(3, 2))
    PIL.Image.fromarray(pattern[..., 0] > 127).save(tmp_path / "bit.png")
    np.testing.assert_array_equal(load_image(tmp_path / "bit.png")[..., 0] > 0, pattern[..., 0] > 127)
    palette = PIL.Image.fromarray(pattern).quantize(8)
    palette.save(tmp_path / "palette.png", transparency=0)
    expected = np.asarray(palette.convert("RGB")).copy()
    expected[np.asarray(palette) == 0] = 255
    np.testing.assert_array_equal(load_image(tmp_path / "palette.png"), expected)


def test_the_camera_turn_is_obeyed_and_the_first_frame_counts(tmp_path, pattern):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # the camera was held upright, the sensor is on its side
    PIL.Image.fromarray(pattern).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(load_image(tmp_path / "turned.png"), np.rot90(pattern, -1))
    frames = [PIL.Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert load_image(tmp_path / "a.gif")[0, 0].tolist() == [255, 0, 0]


def test_what_is_no_picture_is_one_clear_line(tmp_path, pattern, monkeypatch):
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "empty.png").touch()
    PIL.Image.fromarray(pattern).save(tmp_path / "whole.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "whole.png").read_bytes()[:-60])
    PIL.Image.fromarray(pattern[..., 0].astype(np.float32)).save(tmp_path / "float.tiff")
    for name, message in {
        "text.jpg": "not a picture",
        "empty.png": "empty file",
        "half.png": "cannot be decoded",
        "float.tiff": "floating-point",
        "none.png": "no such file",
        "": "not a file",
    }.items():
        with pytest.raises(CmahError, match=message) as caught:
            load_image(tmp_path / name)
        assert "\n" not in str(caught.value)
    monkeypatch.setattr(images, "MAX_PIXELS", 100)
    with pytest.raises(CmahError, match="9 x 12 pixels"):
        load_image(tmp_path / "whole.png")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_files_give_a_picture_or_a_clean_error(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damaged")
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"]))
    path = folder / "a"
    PIL.Image.fromarray(np.arange(300, dtype=np.uint8).reshape(10, 10, 3)).save(path, format=kind)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    loaded, reason = outcome(path)
    if loaded is None:
        assert "\n" not in reason
    else:
        assert loaded.dtype == np.uint8
        assert loaded.shape[2] == 3


def test_hostile_pictures(shared):
    refused = {"decompression_bomb.png", "empty.jpg", "text.jpg", "truncated.jpg"}
    for path in sorted((shared / "data/hostile/images").iterdir()):
        loaded, reason = outcome(path)
        assert (loaded is None) == (path.name in refused), reason
        assert "\n" not in reason
        assert loaded is None or fit_square(loaded, 32).shape == (32, 32, 3)
    # the same picture in four guises
    first, *others = (
        load_image(shared / "data/hostile/images" / name).astype(int)
        for name in ("animated.gif", "palette.png", "cmyk.jpg")
    )
    assert all(np.abs(first.mean((0, 1)) - other.mean((0, 1))).max() < 3 for other in others)


def test_masks_are_grey(tmp_path):
    mask = np.zeros((5, 6), np.uint8)
    mask[1:3] = 255
    PIL.Image.fromarray(mask).save(tmp_path / "mask.png")
    np.testing.assert_array_equal(load_mask(tmp_path / "mask.png"), mask)


def test_fit_square_centres_on_the_border_colour():
    wide = np.full((20, 80, 3), 30, np.uint8)
    wide[3:17, 20:60] = 200
    fitted = fit_square(wide, 40)
    assert fitted.shape == (40, 40, 3)
    assert border_colour(wide) == (30, 30, 30)
    assert (fitted[:15] == 30).all()
    assert (fitted[25:] == 30).all()
    assert (fitted[19:21, 15:25] == 200).all()
    assert fit_square(np.full((3, 4000, 3), 7, np.uint8), 16).tolist() == np.full((16, 16, 3), 7).tolist()
    square = np.random.default_rng(0).integers(0, 256, (20, 20, 3)).astype(np.uint8)
    np.testing.assert_array_equal(fit_square(square, 20), square)
    assert fit_square(square[:1, :1], 5).shape == (5, 5, 3)
