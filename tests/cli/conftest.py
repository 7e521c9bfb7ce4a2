"""What the tests of the commands share."""

import json
import signal

import numpy as np
import pytest

from cmah.codes import BinaryCodes, Embeddings


@pytest.fixture(autouse=True)
def no_progress(monkeypatch):
    """What a command prints does not depend on how busy the machine is."""
    monkeypatch.setattr("cmah.progress.INTERVALS", ((float("inf"), 30.0),))


@pytest.fixture(autouse=True)
def own_signals():
    """A command that is stopped leaves Ctrl-C to the system, as its process ends."""
    before = signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in tests that run in the background
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def call(capsys):
    """Run a command: (exit status, standard output, standard error)."""
    from cmah.cli.main import main

    def run(*arguments):
        with pytest.raises(SystemExit) as caught:
            main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return caught.value.code or 0, out, err

    return run


@pytest.fixture
def files(tmp_path):
    """image.npz (12 renders, 3 photos) and shape.npz (6 shapes of 2 categories), nested codes of 16 and 40 bits."""
    random = np.random.default_rng(0)
    base = random.choice([-1, 1], (6, 40))
    categories = np.array(["chair", "lamp"])

    def noisy(rows):
        return (base[rows] * np.where(random.random((len(rows), 40)) < 0.1, -1, 1)).astype(np.int8)

    shown = np.r_[np.arange(12) % 6, 0, 1, 2]
    shape_ids = [f"s{i}" for i in shown[:12]] + [""] * 3
    kinds = ["render"] * 12 + ["photo"] * 3
    known = {"prefixes": (16, 40), "space": "run1", "splits": None}
    BinaryCodes.from_signs(
        noisy(shown),
        ids=[f"i{i}" for i in range(15)],
        shape_ids=shape_ids,
        categories=categories[shown % 2],
        kinds=kinds,
        modality="image",
        **known,
    ).save(tmp_path / "image.npz")
    BinaryCodes.from_signs(
        noisy(np.arange(6)),
        ids=[f"s{i}" for i in range(6)],
        shape_ids=[f"s{i}" for i in range(6)],
        categories=categories[np.arange(6) % 2],
        kinds=["shape"] * 6,
        modality="shape",
        **known,
    ).save(tmp_path / "shape.npz")
    return tmp_path


@pytest.fixture
def real_codes(files):
    """The same files, with the real-valued codes of both beside them."""
    for name in ("image", "shape"):
        codes = BinaryCodes.load(files / f"{name}.npz")
        sizes = np.random.default_rng(2).uniform(0.1, 1, (len(codes), codes.bits))
        rows = (codes.signs() * sizes).astype(np.float32)
        Embeddings(rows, ids=codes.ids, space=codes.space).save(files / f"{name}_real.npz")
    return files


@pytest.fixture
def dataset(tmp_path):
    """A dataset folder with the six shapes, a render of each but the last, and a photo."""
    from PIL import Image

    root = tmp_path / "data"
    (root / "points").mkdir(parents=True)
    header = {"format": "cmah-dataset", "version": 1, "name": "six", "points_per_shape": 50, "up_axis": "y"}
    (root / "dataset.json").write_text(json.dumps({**header, "image_size": 8}))
    shapes, images = ["shape_id,category,split,points"], ["image_id,shape_id,category,split,path,kind"]
    for i in range(6):
        category = ("chair", "lamp")[i % 2]
        np.save(
            root / "points" / f"s{i}.npy",
            np.random.default_rng(i).standard_normal((50, 3)).astype(np.float32),
        )
        shapes.append(f"s{i},{category},val,points/s{i}.npy")
        if i < 5:
            Image.new("RGB", (8, 8), (40 * i, 0, 0)).save(root / f"i{i}.png")
            images.append(f"i{i},s{i},{category},val,i{i}.png,render")
    Image.new("RGB", (9, 5)).save(root / "photo.png")
    images.append("i12,,chair,val,photo.png,photo")
    (root / "shapes.csv").write_text("\n".join(shapes) + "\n")
    (root / "images.csv").write_text("\n".join(images) + "\n")
    return root
