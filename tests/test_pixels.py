"""Pictures of every depth: the values that a slow reading of the file gives."""

import io
import struct
import zlib

import numpy as np
import PIL.Image
import pytest

from cmah.data.images import load_image, load_image_and_alpha
from cmah.errors import CmahError
from cmah.meshes.mesh_resources import open_texture, texture_texels
from cmah.pixels import eight_bits

GREY, RGB = 0, 2  # colour types of PNG
MODES = ("1", "L", "P", "RGB", "RGBA", "LA", "PA", "CMYK", "YCbCr", "LAB", "HSV", "La", "RGBa")


def png(values, depth, colour, transparent=None):
    """A PNG of numbers [h, w] or [h, w, 3] of `depth` bits, written by the specification."""
    height, width = values.shape[:2]

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b""
    for row in values.reshape(height, -1):
        bits = "".join(f"{int(value):0{depth}b}" for value in row)
        bits += "0" * (-len(bits) % 8)
        rows += b"\0" + int(bits, 2).to_bytes(len(bits) // 8, "big")
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    if transparent is not None:
        data += chunk(b"tRNS", b"".join(struct.pack(">H", each) for each in transparent))
    return data + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff(values, bits, photometric, pack="<u2", sample_format=1):
    """A grey TIFF of one strip, little endian."""
    data = values.astype(pack).tobytes()
    tags = [
        (256, values.shape[1]), (257, values.shape[0]), (258, bits), (259, 1), (262, photometric), (273, 0),
        (277, 1), (278, values.shape[0]), (279, len(data)), (339, sample_format),
    ]  # fmt: skip
    offset = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(
        struct.pack("<HHII", tag, 4, 1, offset if tag == 273 else value) for tag, value in tags
    )
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0) + data


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("transparent", [False, True])
@pytest.mark.parametrize("colour", [GREY, RGB])
def test_png_of_every_depth(depth, transparent, colour):
    if colour == RGB and depth < 8:
        pytest.skip("PNG has no such pictures")
    most = (1 << depth) - 1
    values = np.random.default_rng(depth).integers(0, most + 1, (5, 7) if colour == GREY else (5, 7, 3))
    key = np.atleast_1d(values[2, 3]).tolist() if transparent else None
    image = eight_bits(PIL.Image.open(io.BytesIO(png(values, depth, colour, key))))
    expected = values >> 8 if depth == 16 else values * (255 // most)
    rgb = np.repeat(expected[..., None], 3, axis=2) if colour == GREY else expected
    assert np.array_equal(np.asarray(image)[..., :3], rgb)
    assert image.mode == ("RGBA" if transparent else "RGB")
    if transparent:
        # of 16 bits a channel Pillow keeps 8, by which the transparent colour is found
        seen = expected != expected[2, 3] if colour == RGB else values != values[2, 3]
        alpha = np.where(seen.any(axis=2) if colour == RGB else seen, 255, 0)
        assert np.array_equal(np.asarray(image)[..., 3], alpha)


@pytest.mark.parametrize(("bits", "photometric"), [(16, 1), (16, 0)])
def test_tiff_of_sixteen_bits(bits, photometric):
    values = np.array([[0, 255, 256, 65535]])
    image = eight_bits(PIL.Image.open(io.BytesIO(tiff(values, bits, photometric))))
    expected = np.array([0, 0, 1, 255])
    assert np.asarray(image)[0, :, 0].tolist() == (expected if photometric else 255 - expected).tolist()


DARK = np.array([[0, 100, 255]])


@pytest.mark.parametrize(
    ("data", "white"),
    [
        (png(DARK, 16, GREY), 65535),
        (tiff(DARK, 16, 1), 65535),
        (tiff(DARK, 16, 1, "<i2", sample_format=2), 32767),
        (tiff(DARK, 32, 1, "<u4"), 255),  # no scale is stated
        (tiff(DARK, 32, 1, "<i4", sample_format=2), 255),
        (b"P5 3 1 65535\n" + DARK.astype(">u2").tobytes(), 65535),
        (b"P5 3 1 1023\n" + DARK.astype(">u2").tobytes(), 1023),
        (b"P2 3 1 4095\n0 100 255\n", 4095),
        (b"P2 3 1 255\n0 100 255\n", 255),
    ],
)
def test_dark_pictures_are_of_the_depth_that_their_file_states(data, white):
    image = PIL.Image.open(io.BytesIO(data))
    expected = (DARK[0] / white * 255).astype(int)
    assert np.abs(np.asarray(eight_bits(image))[0, :, 0] - expected).max() <= 1
    texels = texture_texels(open_texture(data, "x"), "blend")
    assert np.abs(texels[0, :, 0] - expected).max() <= 1


def test_whole_numbers_without_a_file_are_of_the_smallest_scale_that_holds_them():
    for highest, expected in ((255, [0, 100, 255]), (256, [0, 0, 1])):
        image = PIL.Image.fromarray(np.array([[0, 100, highest]], np.int32))
        assert np.asarray(eight_bits(image))[0, :, 0].tolist() == expected


def test_pixels_beyond_sixteen_bits_are_refused(tmp_path):
    for name, values in (
        ("wide.tif", np.array([[0, 70_000]], np.int32)),
        ("real.tif", np.zeros((1, 2), np.float32)),
    ):
        PIL.Image.fromarray(values).save(tmp_path / name)
        with pytest.raises(CmahError, match="expected 8 or 16 bits a channel"):
            load_image(tmp_path / name)


def test_a_grey_photo_of_sixteen_bits_with_a_transparent_value_is_not_white(tmp_path):
    ramp = np.linspace(0, 65535, 64).astype(int)[None].repeat(4, axis=0)
    (tmp_path / "ramp.png").write_bytes(png(ramp, 16, GREY, [0]))
    image, alpha = load_image_and_alpha(tmp_path / "ramp.png")
    assert image[0, 1:, 0].tolist() == (ramp[0, 1:] >> 8).tolist()
    assert image[0, 0].tolist() == [255, 255, 255]  # what is transparent lies on white
    assert alpha[0].tolist() == [0] + [255] * 63


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_of_pillow(mode):
    alpha = mode in ("RGBA", "LA", "PA", "La", "RGBa")
    image = PIL.Image.new("RGB", (4, 4), "white")
    via = {"La": "LA", "RGBa": "RGBA", "PA": "P"}.get(mode)
    if mode in ("LAB", "HSV"):
        image = PIL.Image.new(mode, (4, 4), (255, 128, 128) if mode == "LAB" else (0, 0, 255))
    else:
        image = (image.convert(via) if via else image).convert(mode)
    made = eight_bits(image)
    assert made.mode == ("RGBA" if alpha else "RGB")
    assert np.asarray(made).min() >= 254  # white; LAB is rounded


@pytest.mark.parametrize("turn", range(1, 9))
def test_every_turn_of_a_camera_is_undone(tmp_path, turn):
    pattern = np.random.default_rng(turn).integers(0, 256, (3, 5, 3)).astype(np.uint8)
    exif = PIL.Image.Exif()
    exif[0x0112] = turn
    PIL.Image.fromarray(pattern).save(tmp_path / "a.png", exif=exif)
    undo = {
        1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1), 6: lambda a: a[::-1].swapaxes(0, 1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1), 8: lambda a: a[:, ::-1].swapaxes(0, 1),
    }[turn]  # fmt: skip
    assert np.array_equal(load_image(tmp_path / "a.png"), undo(pattern))
