"""Batches for training: the same whatever the workers and wherever one resumes; faults are skipped and reported."""

import time
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest
import torch
from batch_dataset import POINTS, SHAPES

from cmah.data import epochs
from cmah.data.augmentation import NO_IMAGE_AUGMENTATION, ImageAugmentation
from cmah.data.dataset import Dataset, Image, Shape
from cmah.data.point_augmentation import PointAugmentation
from cmah.data.point_clouds import normalise
from cmah.data.training_batches import TrainingBatches, TrainingPairs
from cmah.errors import CmahError, DatasetError


def make_pairs(dataset, **options):
    augmentation = (ImageAugmentation(), PointAugmentation()) if options.pop("augmented", True) else ()
    return TrainingPairs(dataset, 12, 24, *augmentation, **options)


def same(first, second):
    return len(first) == len(second) and all(
        all(torch.equal(one[key], other[key]) for key in ("image", "points", "index"))
        for one, other in zip(first, second, strict=True)
    )


def test_a_pair_is_a_view_and_a_normalised_subset(dataset):
    pairs = make_pairs(dataset, augmented=False)
    assert len(pairs) == SHAPES
    seen = set()
    for epoch in range(20):
        sample = pairs[epoch, 4]
        assert sample["image"].dtype == np.uint8
        assert sample["image"].shape == (3, 12, 12)
        value = int(sample["image"][0, 0, 0])
        assert (sample["image"] == value).all()
        seen.add(value - 80)
        assert sample["index"] == 4
        assert sample["points"].dtype == np.float32
        assert sample["points"].shape == (24, 3)
        assert np.linalg.norm(sample["points"], axis=1).max() == pytest.approx(1, abs=1e-6)
    assert seen == {0, 1, 2}
    whole = TrainingPairs(dataset, 12, POINTS)[0, 3]["points"]
    stored = normalise(np.load(dataset.root / "points/s3.npy"))
    np.testing.assert_allclose(np.sort(whole, axis=0), np.sort(stored, axis=0), atol=1e-6)


def test_too_few_points_are_repeated_and_colours_are_grey_where_unknown(dataset):
    sample = TrainingPairs(dataset, 12, 100, colours=True)[0, 0]["points"]
    assert sample.shape == (100, 6)
    assert len(np.unique(sample, axis=0)) == POINTS
    np.testing.assert_allclose(sample[:, 3:], 0.4, atol=1e-3)


def test_many_views_differ_and_repeat_only_when_they_must(dataset):
    for views, distinct in ((2, 2), (3, 3), (5, 3)):
        drawn = make_pairs(dataset, augmented=False, views=views)[0, 7]["image"]
        assert drawn.shape == (views, 3, 12, 12)
        assert len(np.unique(drawn[:, 0, 0, 0])) == distinct


def test_kinds_choose_the_images(dataset):
    pairs = make_pairs(dataset, kinds=("picture",))
    assert [shape.shape_id for shape in pairs.shapes] == ["s0"]
    assert len(pairs.skipped) == SHAPES - 1
    assert pairs.skipped[0] == ("s1", "no image of kind picture")
    with pytest.raises(DatasetError, match="no shape to train on"):
        make_pairs(dataset, kinds=("photo",))


def test_an_epoch_is_a_permutation_that_depends_on_seed_and_epoch(dataset):
    pairs = make_pairs(dataset)
    loader = TrainingBatches(pairs, 3)
    assert len(loader) == 3
    orders = [torch.cat([batch["index"] for batch in loader.epoch(epoch)]).tolist() for epoch in range(3)]
    assert all(len(set(order)) == 9 for order in orders)  # the incomplete last batch is dropped
    assert len(set(map(tuple, orders))) == 3
    other = TrainingBatches(make_pairs(dataset, seed=1), 3)
    assert torch.cat([batch["index"] for batch in other.epoch(0)]).tolist() != orders[0]
    everything = list(TrainingBatches(pairs, 100).epoch(0))  # unless it is the only one
    assert sorted(everything[0]["index"].tolist()) == list(range(SHAPES))


def test_batches_do_not_depend_on_workers_or_on_where_one_resumes(dataset):
    pairs = make_pairs(dataset)
    expected = [list(TrainingBatches(pairs, 2).epoch(epoch)) for epoch in range(3)]
    assert expected[0][0]["image"].shape == (2, 3, 12, 12)
    assert not same(expected[0], expected[1])
    state = torch.random.get_rng_state()
    for workers in (1, 2):
        loader = TrainingBatches(make_pairs(dataset), 2, workers)
        assert same(list(loader.epoch(0)), expected[0])
        interrupted = loader.epoch(1)
        next(interrupted)
        del interrupted
        assert same(list(loader.epoch(2, first_batch=2)), expected[2][2:])
        assert same(list(loader.epoch(1, first_batch=5)), [])
    assert torch.equal(torch.random.get_rng_state(), state)


def test_batches_by_pipe_are_those_by_shared_memory(dataset, monkeypatch):
    expected = list(TrainingBatches(make_pairs(dataset), 4).epoch(0))
    assert not epochs.fits_shared(1, 10**15)
    monkeypatch.setattr(epochs, "fits_shared", lambda *_: False)
    assert same(list(TrainingBatches(make_pairs(dataset), 4, workers=1).epoch(0)), expected)


def test_unreadable_views_and_clouds_do_not_end_the_training(dataset, tmp_path):
    shapes = [*dataset.shapes[:2], Shape("bad", "", "train", "points/none.npy")]
    images = [image for image in dataset.images if image.shape_id in ("s0", "s1")]
    broken = [Image(f"b{k}", "s1", "", "train", "renders/none.png", "render") for k in range(30)]
    extra = Image("c", "bad", "", "train", "renders/s0_0.png", "render")
    part = Dataset(dataset.root, "part", POINTS, "y", 16, shapes, [*images, *broken, extra])
    pairs = make_pairs(part)
    assert [name for name, _ in pairs.skipped] == ["bad"]
    assert "no such file" in pairs.skipped[0][1]
    with pytest.warns(UserWarning, match="another view takes its place"):
        first = [pairs[epoch, 1]["image"] for epoch in range(3)]
    with pytest.warns(UserWarning, match="no such file"):
        assert all((pairs[epoch, 1]["image"] == image).all() for epoch, image in enumerate(first))
    pairs = make_pairs(Dataset(dataset.root, "part", POINTS, "y", 16, shapes[1:2], broken))
    with (
        pytest.warns(UserWarning, match="another view"),
        pytest.raises(CmahError, match="shape 's1': no view can be read"),
    ):
        pairs[0, 0]


def test_masks_guide_the_background(dataset, tmp_path):
    for name in ("points", "renders"):
        (tmp_path / name).symlink_to(dataset.root / name)
    mask = np.zeros((16, 20), np.uint8)
    mask[4:12, 5:15] = 255
    PIL.Image.fromarray(mask).save(tmp_path / "mask.png")
    image = Image("a", "s5", "", "train", "renders/s5_0.png", "render", mask="mask.png")
    part = Dataset(tmp_path, "part", POINTS, "y", 16, dataset.shapes[5:6], [image])
    config = replace(NO_IMAGE_AUGMENTATION, background=1)
    sample = TrainingPairs(part, 20, 24, config)[0, 0]["image"]
    assert (sample[:, 7:13, 7:13] == 100).all()
    assert not (sample[:, 3:17, :3] == 100).all()


@pytest.mark.slow
def test_real_data(shared):
    dataset = Dataset.read(shared / "data/shapes41").select("val")
    pairs = TrainingPairs(dataset, 128, 1024, ImageAugmentation(), PointAugmentation())
    assert (len(pairs), pairs.skipped) == (271, [])
    start = time.process_time()
    batch = next(TrainingBatches(pairs, 64).epoch(0))
    seconds = time.process_time() - start
    assert batch["image"].shape == (64, 3, 128, 128)
    assert batch["points"].shape == (64, 1024, 3)
    assert seconds / 64 < 0.01  # about 1.5 ms on an idle core


def test_a_shape_without_a_readable_view_gives_way_to_the_next(dataset):
    images = [
        replace(image, path="renders/nothing.png") if image.shape_id == "s1" else image
        for image in dataset.images
    ]
    pairs = make_pairs(replace(dataset, images=images))
    with pytest.warns(UserWarning, match="the next shape takes its place"):
        pair = pairs[0, 1]
    assert pair["index"] == 2
    for key, value in pairs[0, 2].items():
        assert np.array_equal(pair[key], value)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("workers", [0, 1])
def test_no_readable_view_at_all_is_one_line(dataset, workers):
    images = [replace(image, path="renders/nothing.png") for image in dataset.images]
    loader = TrainingBatches(make_pairs(replace(dataset, images=images)), 2, workers)
    with pytest.raises(CmahError, match=r"^shape 's\d+': no view can be read: .*$"):
        next(loader.epoch(0))
