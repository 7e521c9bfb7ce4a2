"""Office-31 (Saenko et al., ECCV 2010) as dataset folders: labelled images of one domain, groups of images of another.

Imported by style_mixed_category.py; it has no command. The authors' layout is FOLDER/amazon/images/back_pack/*.jpg, and
the same of dslr and webcam, 31 classes each. No picture is copied: the dataset folders hold tables, whose paths lead to
FOLDER.

Up to four images of one class of the target stand for the views of a shape, so the grouping takes the classes of the
target. SC-IBSR's released code gives four consecutive lines of its lists one label, that of the first; the lists were
not at hand, so that the four are of one class is inferred.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from two_towers import percent, table

from cmah.data.dataset import Dataset, Image, Shape
from cmah.data.file_kinds import PICTURE_SUFFIXES
from cmah.errors import DatasetError

GROUP = 4  # images that stand for the views of a shape
# source-target, in the order of the usual table, and the learning rate of SC-IBSR's released code
PAIRS = {
    "amazon-webcam": 1e-4, "dslr-webcam": 1e-4, "webcam-dslr": 5e-4, "amazon-dslr": 1e-4, "dslr-amazon": 5e-4,
    "webcam-amazon": 5e-4,
}  # fmt: skip
Classes = Mapping[str, Sequence[str]]


def short(pair: str) -> str:
    """A pair of domains as tables have it: "A→W" of "amazon-webcam"."""
    return "→".join(domain[0].upper() for domain in pair.split("-"))


def write_office31(folder: Path, out: Path) -> None:
    """Write a dataset folder OUT/<source>-<target> for each ordered pair of domains.

    Raises:
        DatasetError: if a domain is missing, or its classes are not those of the others.
    """
    domains = {domain: images_by_class(folder, domain) for pair in PAIRS for domain in pair.split("-")}
    for domain, classes in domains.items():
        differ = sorted(set(classes) ^ set(domains["amazon"]))
        if differ:
            lacking = "amazon" if differ[0] in classes else domain
            raise DatasetError(
                [f"{folder / lacking / 'images'}: no class {differ[0]!r} (expected those of all domains)"]
            )
    for pair in PAIRS:
        source, target = pair.split("-")
        as_dataset(folder, pair, domains[source], domains[target]).write(out / pair)


def images_by_class(folder: Path, domain: str) -> dict[str, list[str]]:
    """The pictures of a domain by class, as paths relative to `folder`, in order of their names.

    Raises:
        DatasetError: if there are fewer than two classes.
    """
    classes: dict[str, list[str]] = {}
    for path in sorted((folder / domain / "images").glob("*/*")):
        if path.suffix.lower() in PICTURE_SUFFIXES:
            classes.setdefault(path.parent.name, []).append(path.relative_to(folder).as_posix())
    if len(classes) < 2:
        raise DatasetError(
            [f"{folder / domain / 'images'}: expected folders of pictures, one for each class"]
        )
    return classes


def as_dataset(folder: Path, name: str, source: Classes, target: Classes) -> Dataset:
    """Photos of the source, and "shapes" of the target, whose renders are up to four images of one class each.

    Every image of the target is a render of one shape; the last shape of a class may have fewer. All are of the split
    "train".

    Args:
        folder: of Office-31.
        name: of the dataset.
        source: paths of pictures relative to `folder`, by class.
        target: likewise.
    """
    images = [
        Image(f"source/{path}", "", category, "train", path, "photo")
        for category, paths in source.items()
        for path in paths
    ]
    shapes = []
    for category, paths in target.items():
        for first in range(0, len(paths), GROUP):
            shape = Shape(f"{category}-{first // GROUP:03d}", category, "train", "")
            shapes.append(shape)
            images += [
                Image(f"target/{path}", shape.shape_id, category, "train", path, "render", view=view)
                for view, path in enumerate(paths[first : first + GROUP])
            ]
    root = folder.resolve()
    return Dataset(root, name, 1, "y", 1, shapes, images, file_root=str(root))


def office31_tables(numbers: Mapping[str, Mapping[str, Any]], arms: Sequence[str], seeds: int) -> str:
    """The accuracy for groups of target images, that for single ones, and the times, of runs <pair>:<arm>:<seed>.

    Args:
        numbers: of each run "shapes named" and "images named", each a share and a count, and "seconds".
        arms: the rows.
        seeds: how many runs there are of each pair and arm.
    """
    text = [
        f"Office-31: classification of the target, in percent; mean ± standard deviation (seeds: {seeds}). No "
        "published value of SC-IBSR was at hand"
    ]
    titles = {"shapes named": f"groups of up to {GROUP} images of a class", "images named": "single images"}
    for what, title in titles.items():
        rows = {}
        for arm in arms:
            each = [[numbers[f"{pair}:{arm}:{seed}"][what][0] for seed in range(seeds)] for pair in PAIRS]
            rows[arm] = [*map(percent, each), percent(np.mean(each, axis=0).tolist())]
        text += [f"\n**{title}**\n", table("arm", (*map(short, PAIRS), "mean"), rows)]
    spent = {}
    for arm in arms:
        seconds = [[numbers[f"{pair}:{arm}:{seed}"]["seconds"] for seed in range(seeds)] for pair in PAIRS]
        spent[arm] = [f"{np.mean(each):.0f}" for each in seconds]
    return "\n".join([*text, "\n**training, seconds per run**\n", table("arm", [*map(short, PAIRS)], spent)])
