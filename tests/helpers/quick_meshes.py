"""Meshes that are prepared in no time, for tests of what prepare keeps and says: texts for meshes and views."""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cmah.data.dataset import Dataset
from cmah.preparing.prepare_log import LOG
from cmah.workers import Outcome

SETTINGS: dict[str, Any] = {"views": 2, "image_size": 8, "points": 4, "jobs": 1}


def put(root: Path, **meshes: str) -> Path:
    """Write files ROOT/<category>/<name>.obj for names <category>_<name>.

    The text "broken" is refused; one that begins with "cloud" has points and no views.
    """
    for name, text in meshes.items():
        path = root / f"{name.replace('_', '/')}.obj"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


class QuickWorkers:
    """Takes the place of `run_isolated`; `made` lists the ids of the shapes that were made, in order."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def __call__(self, target: str, tasks: Iterable[dict[str, Any]], **limits: float) -> Iterator[Outcome]:
        for index, task in enumerate(tasks):
            text = Path(task["path"]).read_text()
            if text == "broken":
                yield Outcome(index, None, f"{task['path']}: no faces")
                continue
            self.made.append(task["shape_id"])
            yield Outcome(index, write_shape(task, text))


def write_shape(task: dict[str, Any], text: str) -> dict[str, Any]:
    """The files of a shape, of a text and the settings; and what a worker answers."""
    renders, points = Path(task["out"], "renders", task["shape_id"]), Path(task["out"], "points")
    if text.startswith("cloud"):
        os.makedirs(points, exist_ok=True)
        np.save(points / f"{task['shape_id']}.npy", np.full((task["points"], 3), len(text), np.float16))
        return {"cameras": [], "coloured": False}
    for folder in (renders, points):
        os.makedirs(folder, exist_ok=True)
    for file in renders.iterdir():
        file.unlink()
    for view in range(task["views"]):
        for name in (f"{view:02d}.jpg", f"{view:02d}_mask.png"):
            (renders / name).write_text(f"{text} {task['image_size']} {view}")
    np.save(points / f"{task['shape_id']}.npy", np.full((task["points"], 3), len(text), np.float16))
    return {"cameras": [[90.0 * view, 20.0] for view in range(task["views"])], "coloured": False}


def tree(root: Path) -> dict[str, bytes]:
    """Every file of a folder with its bytes."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def as_before_folders_were_recorded(out: Path, *folders: Path) -> None:
    """Change a dataset into one of the version of cmah that recorded none."""
    lines = [json.loads(line) for line in (out / LOG).read_text().splitlines()]
    old = [{key: value for key, value in line.items() if key not in ("folder", "path")} for line in lines]
    (out / LOG).write_text("".join(json.dumps(line) + "\n" for line in old if "prefix" not in line))
    dataset = Dataset.read(out)
    del dataset.extra["prepared"]["folders"]
    for folder in folders:
        within = [shape.extra["source"].removeprefix(f"{folder}/") for shape in dataset.shapes]
        pairs = zip(dataset.shapes, within, strict=True)
        dataset.shapes = [replace(shape, extra={"source": path}) for shape, path in pairs]
    dataset.write()
