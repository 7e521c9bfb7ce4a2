"""Pictures for the tests of augmentation and batches: a disc, and a dataset of plain grey ones."""

import numpy as np
import PIL.Image

from cmah.data.dataset import Dataset, Image, Shape

SHAPES, VIEWS, POINTS = 11, 3, 40


def make_dataset(root):
    """Shape i has the grey value 20 i + view in its views, and points on a line of its own direction."""
    (root / "points").mkdir()
    (root / "renders").mkdir()
    rng = np.random.default_rng(0)
    shapes, images = [], []
    for i in range(SHAPES):
        shapes.append(Shape(f"s{i}", "", "train", f"points/s{i}.npy"))
        np.save(root / shapes[-1].points, rng.uniform(-1, 1, (POINTS, 3)).astype(np.float16))
        for view in range(VIEWS):
            image = Image(f"s{i}_{view}", f"s{i}", "", "train", f"renders/s{i}_{view}.png", "render", view)
            PIL.Image.new("RGB", (20, 16), (20 * i + view,) * 3).save(root / image.path)
            images.append(image)
    images.append(Image("p", "s0", "", "train", "renders/s0_0.png", "picture"))
    images.append(Image("q", "", "", "train", "renders/s0_0.png", "photo"))
    return Dataset(root, "toys", POINTS, "y", 16, shapes, images)


def disc(size=64, radius=20, colour=(200, 30, 40), back=255):
    """A smooth-edged disc with a square hole, its opacity, and the picture."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    opacity = np.clip(radius + 0.5 - np.hypot(x, y), 0, 1)
    opacity[(np.abs(x) < 4) & (np.abs(y) < 4)] = 0
    picture = opacity[..., None] * np.asarray(colour) + (1 - opacity[..., None]) * back
    return picture.round().astype(np.uint8), opacity
