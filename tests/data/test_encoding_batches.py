"""Batches for encoding: in order, without augmentation, faults reported."""

import numpy as np
import pytest
import torch

from cmah.data.encoding_batches import ImageBatches, PointBatches
from cmah.data.framing import PictureFile
from cmah.data.images import fit_square, load_image
from cmah.data.point_clouds import load_points_file, model_input


@pytest.mark.parametrize("workers", [0, 2])
def test_images_come_in_order_and_faults_are_reported(dataset, workers):
    paths = [dataset.root / image.path for image in dataset.images[:10]]
    paths[3] = dataset.root / "renders/none.png"
    paths[4] = paths[5] = dataset.root / "points/s0.npy"
    loader = ImageBatches([PictureFile(path) for path in paths], 12, 2, workers)
    for _ in range(2):
        parts = list(loader)
        assert [positions for _, positions in parts] == [[0, 1], [2], [6, 7], [8, 9]]
        for batch, positions in parts:
            for picture, position in zip(batch["image"], positions, strict=True):
                expected = fit_square(load_image(paths[position]), 12).transpose(2, 0, 1)
                np.testing.assert_array_equal(picture, expected)
        assert [path for path, _ in loader.skipped] == [str(path) for path in paths[3:6]]
        assert "no such file" in loader.skipped[0][1]


def test_clouds_come_in_order_and_faults_are_reported(dataset):
    paths = [dataset.root / shape.points for shape in dataset.shapes[:5]]
    paths[2] = dataset.root / "renders/s0_0.png"
    loader = PointBatches(paths, 24, 2)
    parts = list(loader)
    assert [positions for _, positions in parts] == [[0, 1], [3], [4]]
    assert loader.skipped[0][0] == str(paths[2])
    for batch, positions in parts:
        assert batch["points"].dtype == torch.float32
        for cloud, position in zip(batch["points"], positions, strict=True):
            np.testing.assert_array_equal(cloud, model_input(load_points_file(paths[position]), 24))
    assert next(iter(PointBatches(paths, 24, 2, colours=True)))[0]["points"].shape == (2, 24, 6)
