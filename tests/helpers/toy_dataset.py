"""A toy dataset that trains in a second: boxes of different proportions and flat pictures of them."""

from dataclasses import replace

import numpy as np
from PIL import Image as Picture

from cmah.data.dataset import Dataset, Image, Shape

MICRO = (
    "model.width=32", "model.depth=1", "model.heads=2", "model.image_size=16", "model.patch_size=8",
    "model.points=32", "model.groups=6", "model.group_size=8", "model.token_width=16", "model.decoder_width=16",
    "model.decoder_heads=2", "model.bits=8,16", "training.batch_size=8", "training.workers=0",
    "training.warmup_epochs=0", "training.validation_views=1",
)  # fmt: skip


def make_toy(root, shapes=24, views=2, seed=0):
    """Shapes are boxes; a view shows a rectangle of the box's width and height in the box's colour."""
    rng = np.random.default_rng(seed)
    (root / "points").mkdir(parents=True)
    (root / "renders").mkdir()
    rows, images = [], []
    for i in range(shapes):
        name, size = f"box{i:02d}", rng.uniform(0.2, 1.0, 3)
        category = ("flat", "tall")[int(size[1] > size[0])]
        split = "val" if i % 4 == 3 else "train"
        points = (rng.uniform(-1, 1, (64, 3)) * size).astype(np.float16)
        np.save(root / f"points/{name}.npy", points)
        rows.append(Shape(name, category, split, f"points/{name}.npy"))
        for v in range(views):
            pixels = np.full((16, 16, 3), 255, np.uint8)
            half = (size[:2] * 7).astype(int)
            pixels[8 - half[1] : 8 + half[1], 8 - half[0] : 8 + half[0]] = (size * 200).astype(np.uint8)
            Picture.fromarray(pixels).save(root / f"renders/{name}_{v}.png")
            images.append(
                Image(f"{name}_{v}", name, category, split, f"renders/{name}_{v}.png", "render", view=v)
            )
    Dataset(root, "toy", 64, "y", 16, rows, images).write()
    return root


def make_cars(folder, shapes=16, seed=0):
    """The toy as a folder of version 2 whose files lie elsewhere, its images of three kinds of splits.

    The first view of each shape is to train on and the second to test on, as in StanfordCars. Shapes have no split of
    their own, but box00, which is for tests only, and box01, which is for training only; box02 has no points. Every
    image has a box, but the first.
    """
    toy = Dataset.read(make_toy(folder / "files", shapes, seed=seed))
    own = {"box00": "test", "box01": "train"}
    rows = [
        replace(
            shape, split=own.get(shape.shape_id, ""), points="" if shape.shape_id == "box02" else shape.points
        )
        for shape in toy.shapes
    ]
    images = [
        replace(image, split="test" if image.view else "train", bbox=(4, 4, 8, 8) if i else None)
        for i, image in enumerate(toy.images)
    ]
    root = folder / "cars"
    replace(toy, root=root, name="cars", shapes=rows, images=images, file_root="../files").write()
    return root
