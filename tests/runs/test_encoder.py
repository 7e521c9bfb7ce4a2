"""Encoding with a run: the same input gives the same code, bit for bit, whatever is encoded beside it."""

from dataclasses import replace

import numpy as np
import PIL.Image
import pytest
import torch

from cmah.data.dataset import Dataset
from cmah.data.images import load_image
from cmah.errors import CmahError, ConfigError
from cmah.features.inference import BATCH
from cmah.models.view_attention import ViewAttention
from cmah.runs.encoder import Encoder


@pytest.fixture(scope="module")
def encoder(toy_run):
    return Encoder.load(toy_run)


@pytest.mark.parametrize("modality", ["image", "shape"])
def test_company_and_order_do_not_matter(toy, encoder, modality):
    data = Dataset.read(toy)
    rng = np.random.default_rng(0)
    if modality == "image":
        inputs = [load_image(toy / image.path) for image in data.images]
        encode = encoder.encode_images
    else:
        inputs = [data.load_points(shape).astype(np.float32) for shape in data.shapes]
        encode = encoder.encode_points
    together = encode(inputs)
    assert len(inputs) % BATCH  # an incomplete batch among them
    alone = np.concatenate([encode([one]).packed for one in inputs])
    assert np.array_equal(together.packed, alone)
    order = rng.permutation(len(inputs))
    assert np.array_equal(encode([inputs[i] for i in order]).packed, together.packed[order])


def test_outputs_are_bit_equal_in_any_place(encoder):
    """Not only the signs: the real outputs too, so that no sign can ever flip."""
    cloud = torch.randn(1, 32, 3, generator=torch.Generator().manual_seed(1))
    others = torch.randn(BATCH, 32, 3, generator=torch.Generator().manual_seed(2))
    alone = encoder.outputs("shape", [{"points": cloud}])[0]
    for place in (0, 1, 7, BATCH - 1):
        batch = others.clone()
        batch[place] = cloud[0]
        assert np.array_equal(encoder.outputs("shape", [{"points": batch}])[place], alone)


def test_files_and_dataset_give_the_same_codes(toy, encoder):
    data = Dataset.read(toy)
    images, shapes = data.images[:3], data.shapes[:3]
    paths = [toy / image.path for image in images] + [toy / shape.points for shape in shapes]
    codes, skipped = encoder.encode_files(paths)
    assert skipped == []
    assert codes.kinds.tolist() == ["photo"] * 3 + ["shape"] * 3
    from_images, _ = encoder.dataset_images(data, images)
    from_shapes, _ = encoder.dataset_shapes(data, shapes)
    assert np.array_equal(codes.packed, np.concatenate([from_images.packed, from_shapes.packed]))


def test_codes_and_embeddings_are_of_the_same_outputs(toy, encoder, monkeypatch, tmp_path):
    data = Dataset.read(toy)
    images, shapes = data.images[:2], data.shapes[:2]
    paths = [toy / image.path for image in images] + [toy / shape.points for shape in shapes]
    runs, outputs = [], Encoder.outputs
    monkeypatch.setattr(Encoder, "outputs", lambda *given: runs.append(given) or outputs(*given))
    codes, embeddings, skipped = encoder.codes_and_embeddings([*paths, tmp_path / "nothing.png"])
    assert len(runs) == 2  # the pictures at once, and the shapes
    assert [path for path, _ in skipped] == [str(tmp_path / "nothing.png")]
    assert np.array_equal(codes.packed, encoder.encode_files(paths)[0].packed)
    assert (codes.ids.tolist(), codes.kinds.tolist()) == (embeddings.ids.tolist(), embeddings.kinds.tolist())
    parts = (
        encoder.dataset_images(data, images, embeddings=True),
        encoder.dataset_shapes(data, shapes, embeddings=True),
    )
    assert np.array_equal(embeddings.embeddings, np.concatenate([part.embeddings for part, _ in parts]))
    assert {embeddings.space} == {codes.space, *(part.space for part, _ in parts)}
    nothing = encoder.codes_and_embeddings([tmp_path / "nothing.png"])[1]
    assert nothing.embeddings.shape == (0, embeddings.embeddings.shape[1])


def test_attention_of_a_model_that_has_it():
    network = torch.nn.Module()
    network.attention = ViewAttention(5)
    weight = Encoder(network, "cpu", "s").attention_weight()
    assert (weight.dtype, weight.shape) == (np.float32, (5, 5))
    assert np.array_equal(weight, network.attention.projection.weight.detach().numpy())
    network.attention = torch.nn.MultiheadAttention(4, 2)  # another kind
    for without in (network, torch.nn.Module()):
        with pytest.raises(ConfigError, match=r"has learned no attention .*; expected real or views"):
            Encoder(without, "cpu", "s").attention_weight()


def test_a_dataset_with_z_up_gives_the_codes_of_one_with_y_up(toy, encoder, tmp_path):
    data = Dataset.read(toy)
    (tmp_path / "points").mkdir()
    for shape in data.shapes[:5]:
        x, y, z = np.load(toy / shape.points, allow_pickle=False).T
        np.save(tmp_path / shape.points, np.stack([x, -z, y], axis=1))
    turned = replace(data, root=tmp_path, up_axis="z", shapes=data.shapes[:5])
    codes, _ = encoder.dataset_shapes(turned, turned.shapes)
    assert np.array_equal(codes.packed, encoder.dataset_shapes(data, data.shapes[:5])[0].packed)
    assert np.array_equal(turned.load_points(data.shapes[0]), data.load_points(data.shapes[0]))
    queried, _ = encoder.encode_files([tmp_path / data.shapes[0].points], up="z")
    assert np.array_equal(queried.packed, codes.packed[:1])


def test_one_bad_file_costs_itself_only(toy, encoder, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    (tmp_path / "notes.txt").write_text("hello")
    good = toy / Dataset.read(toy).images[0].path
    codes, skipped = encoder.encode_files([tmp_path / "broken.jpg", good, tmp_path / "notes.txt"])
    assert codes.ids.tolist() == [str(good)]
    assert [name for name, _ in skipped] == [str(tmp_path / "broken.jpg"), str(tmp_path / "notes.txt")]


def test_a_model_with_masks_gets_them_of_files_datasets_and_arrays(toy, toy_run, tmp_path):
    """Here the model sees black where the mask says is no object."""
    encoder = Encoder.load(toy_run)
    of_pixels = encoder.model.encode_images
    encoder.model.masks = True
    encoder.model.encode_images = lambda images: of_pixels(images[:, :3] * (images[:, 3:] > 127))
    data = Dataset.read(toy)
    left = np.zeros((32, 32), np.uint8)
    left[:, :16] = 255
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    PIL.Image.fromarray(noise).save(tmp_path / "noise.png")
    PIL.Image.fromarray(left).save(tmp_path / "left.png")
    PIL.Image.fromarray(np.dstack([noise, left])).save(tmp_path / "clear.png")
    image = replace(data.images[0], path="noise.png", mask="left.png")
    known = encoder.encode_images([np.dstack([noise, left])]).packed
    rows, skipped = encoder.dataset_images(replace(data, root=tmp_path), [image])
    assert skipped == []
    assert np.array_equal(rows.packed, known)
    whole = encoder.encode_images([noise]).packed  # nothing known, no plain background: all is object
    assert np.array_equal(whole, Encoder.load(toy_run).encode_images([noise]).packed)
    assert not np.array_equal(whole, known)
    assert np.array_equal(encoder.encode_files([tmp_path / "noise.png"])[0].packed, whole)
    shown = noise.copy()
    shown[left == 0] = 255  # what is transparent shows white, and is no object
    of_file = encoder.encode_files([tmp_path / "clear.png"])[0].packed
    assert np.array_equal(of_file, encoder.encode_images([np.dstack([shown, left])]).packed)


def test_a_picture_gives_one_code_by_every_way(encoder, tmp_path):
    """As a file, as Pillow opens it, and as the array of its pixels; one or many; beside others or alone."""
    random = np.random.default_rng(3)
    kinds = {
        "RGB": random.integers(0, 256, (40, 52, 3)),
        "L": random.integers(0, 256, (31, 40)),
        "RGBA": random.integers(0, 256, (40, 33, 4)),
    }
    paths, arrays, opened = [], [], []
    for mode, values in kinds.items():
        pixels = values.astype(np.uint8)
        path = tmp_path / f"{mode}.png"
        PIL.Image.fromarray(pixels).save(path)
        paths.append(path)
        arrays.append(pixels)
        opened.append(PIL.Image.open(path))
    codes = encoder.encode_files(paths)[0].packed
    assert len(np.unique(codes, axis=0)) == 3
    for given in (
        paths, list(map(str, paths)), iter(paths), arrays, opened, [array / 255 for array in arrays],
        [array.astype(np.float32) / 255 for array in arrays], [paths[0], arrays[1], opened[2]],
        [arrays[0], arrays[1][..., None], arrays[2]],
    ):  # fmt: skip
        assert np.array_equal(encoder.encode_images(given).packed, codes)
    for number, ways in enumerate(zip(paths, map(str, paths), arrays, opened, strict=True)):
        for one in ways:
            assert np.array_equal(encoder.encode_images(one).packed, codes[number : number + 1])
        assert np.array_equal(encoder.encode_files(str(paths[number]))[0].packed, codes[number : number + 1])
    together = encoder.encode_images(np.stack([arrays[0], arrays[0][::-1]]))
    assert np.array_equal(together.packed[:1], codes[:1])


def test_a_photo_on_its_side_gives_one_code_by_every_way(encoder, tmp_path):
    pixels = np.random.default_rng(4).integers(0, 256, (40, 52, 3)).astype(np.uint8)
    image = PIL.Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = 6  # turned by 90 degrees
    image.save(tmp_path / "turned.png", exif=exif)
    code = encoder.encode_files(tmp_path / "turned.png")[0].packed
    assert np.array_equal(encoder.encode_images(PIL.Image.open(tmp_path / "turned.png")).packed, code)
    assert np.array_equal(encoder.encode_images(np.rot90(pixels, -1)).packed, code)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (7, "images are int, expected pictures: path, picture of Pillow, or array"),
        (b"bytes", "images are bytes, expected pictures"),
        ([None], "image 0 is NoneType, expected one of path"),
        ([np.zeros((2, 2, 3), np.uint8), [[0]]], "image 1 is list, expected one of path"),
        (np.zeros((2, 2, 2), np.uint8), r"image 0: a picture of shape \[2, 2, 2\], expected \[h, w\]"),
        (np.zeros((0, 2, 3), np.uint8), r"image 0: a picture of shape \[0, 2, 3\]"),
        (np.zeros((2, 2), np.int64), "image 0: a picture of int64, expected uint8, or floats from 0 to 1"),
        (np.full((2, 2), 255.0), "image 0: a picture of float64 from 255 to 255, expected 0 to 1, or uint8"),
        (np.full((2, 2), np.nan), "image 0: a picture of float64 from nan"),
        ("none.jpg", "none.jpg: no such file"),
        ("https://example.org/a.jpg", "a URL, expected a path; download it first"),
    ],
)
def test_what_is_no_picture_is_refused(encoder, wrong, message):
    with pytest.raises(CmahError, match=message):
        encoder.encode_images(wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("cloud.npy", "clouds are str, expected arrays"),
        ([[0, 1, 2]], "cloud 0 is list, expected an array of numbers"),
        ([np.zeros((4, 3)), np.zeros((4, 2))], r"cloud 1 has shape \[4, 2\], expected \[n, 3 or more\]"),
        (np.full((4, 3), np.inf), "cloud 0 has values that are not finite"),
        ([np.array([["a", "b", "c"]])], "cloud 0 is <U1, expected an array of numbers"),
    ],
)
def test_what_is_no_cloud_is_refused(encoder, wrong, message):
    with pytest.raises(CmahError, match=message):
        encoder.encode_points(wrong)


def test_one_cloud_or_many(encoder):
    clouds = np.random.default_rng(5).standard_normal((3, 50, 3))
    many = encoder.encode_points(clouds).packed
    assert np.array_equal(encoder.encode_points(list(clouds)).packed, many)
    assert np.array_equal(encoder.encode_points(clouds[1]).packed, many[1:2])


@pytest.mark.slow
def test_many_files_give_the_codes_of_each_alone(toy, encoder, tmp_path):
    """More than a batch of pictures, clouds and meshes in turn, with broken ones, read by processes or by none."""
    tetrahedron = "v 0 0 0\nv {} 0 0\nv 0 1 0\nv 0 0 1\nf 1 2 3\nf 1 2 4\nf 1 3 4\nf 2 3 4\n"
    data = Dataset.read(toy)
    paths = []
    for number, image in enumerate(data.images[:40]):
        paths.append(toy / image.path)
        if number % 8 == 0:
            mesh = tmp_path / f"mesh{number}.obj"
            mesh.write_text(tetrahedron.format(number + 1))
            paths += [
                mesh,
                toy / data.shapes[number % len(data.shapes)].points,
                tmp_path / f"none{number}.png",
            ]
        if number % 16 == 1:
            (tmp_path / f"broken{number}.obj").write_text("f 1 2 3")
            paths.append(tmp_path / f"broken{number}.obj")
    codes, skipped = encoder.encode_files(paths, workers=0)
    bad = [str(path) for path in paths if path.name.startswith(("none", "broken"))]
    assert [name for name, _ in skipped] == bad
    assert codes.ids.tolist() == [str(path) for path in paths if str(path) not in bad]
    by_processes = encoder.encode_files(paths, workers=2)
    assert by_processes[0] == codes
    assert by_processes[1] == skipped
    alone = [encoder.encode_files(name)[0].packed for name in codes.ids.tolist()[:9]]
    assert np.array_equal(np.concatenate(alone), codes.packed[:9])


def test_ids_of_meshes_are_those_of_prepare(encoder, tmp_path, monkeypatch):
    mesh = "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 2 3\nf 1 2 4\nf 1 3 4\nf 2 3 4\n"
    for name in ("a/chair/x.obj", "b/chair/x.obj"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(mesh)
    assert encoder.encode_files(tmp_path / "a")[0].ids.tolist() == ["chair.x.obj"]
    folders = [{"path": str(tmp_path.resolve()), "prefix": "all"}]
    monkeypatch.setattr(encoder, "prepared", {"folders": folders})
    assert encoder.encode_files(tmp_path / "a/chair/x.obj")[0].ids.tolist() == ["all.a.chair.x.obj"]
    monkeypatch.setattr(encoder, "prepared", {})
    with pytest.raises(CmahError, match=r"x\.obj and .*x\.obj both have the id chair\.x\.obj"):
        encoder.encode_files([tmp_path / "a", tmp_path / "b"])


def test_a_row_that_is_not_finite_costs_itself_only(toy, encoder, monkeypatch):
    paths = [toy / image.path for image in Dataset.read(toy).images[:9:4]]
    expected = encoder.encode_files(paths)[0]
    encode = encoder.model.encode_images
    bad = torch.from_numpy(load_image(paths[1]).transpose(2, 0, 1).copy())

    def broken(images):
        return torch.where((images == bad).all(dim=(1, 2, 3))[:, None], torch.nan, encode(images))

    monkeypatch.setattr(encoder.model, "encode_images", broken)
    codes, skipped = encoder.encode_files(paths)
    assert np.array_equal(codes.packed, expected.packed[[0, 2]])
    assert [name for name, _ in skipped] == [str(paths[1])]
    assert "not finite" in skipped[0][1]
