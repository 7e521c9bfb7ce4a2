"""Encoding with a run: the same input gives the same code, bit for bit, whatever is encoded beside it."""

from dataclasses import replace

import numpy as np
import PIL.Image
import pytest
import torch

from cmah.data.dataset import Dataset
from cmah.data.images import load_image
from cmah.errors import ConfigError
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
