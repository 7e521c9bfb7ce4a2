"""What a path holds: a dataset folder, a run folder, a code or embedding file, or an index."""

import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cmah.codes import BinaryCodes, read_codes
from cmah.data.mesh_sources import why_unfinished
from cmah.errors import CmahError, DatasetError, RunError
from cmah.reading import parse_json, read_json, require_file
from cmah.runs.metrics_log import read_metrics
from cmah.search import HammingIndex
from cmah.search.index_file import is_index

CODE_FILES = tuple(f"{modality}{of}.npz" for of in ("", "_embeddings") for modality in ("image", "shape"))


def describe(path: str | Path, *, verify: bool = False, check: bool = False) -> dict[str, Any]:
    """Describe a path in plain data, as `cmah info --json` prints it; loads no torch.

    Args:
        path: a dataset folder, a run folder, a code or embedding file or a folder of them as exporting writes it, or an
            index.
        verify: check every checksum of an index, which reads all of it.
        check: open every file that a dataset names, instead of only looking whether it is there.

    Returns:
        "what" ("dataset", "run", "binary codes", "embeddings", "folder of code files" or "index") and the entries of
        that format, of a folder of code files those of each file under its name; under
        "faults" all that is wrong with a dataset or a run, one line each, if anything is, or if `check` is on. Where
        the tables of a dataset have faults, there are no further entries.

    Raises:
        CmahError: if the path is none of these, or damaged codes or index, or `check` is asked of
            anything but a dataset.

    Examples:
        >>> dataset = describe("demo/dataset")
        >>> dataset["what"], dataset["categories"], dataset["points a shape"]
        ('dataset', 14, 1024)
        >>> codes = describe("demo/codes/shape.npz")
        >>> codes["what"], codes["bits"], codes["lengths that are codes"]
        ('binary codes', 64, [16, 32, 64])
    """
    path = Path(path)
    is_dataset = path.is_dir() and (path / "dataset.json").exists()
    if check and not is_dataset:
        raise CmahError(f"--check needs a dataset folder; {path} has no dataset.json")
    if is_dataset:
        return _dataset(path, check)
    if path.is_dir():
        files = [path / name for name in CODE_FILES if (path / name).exists()]
        if not (path / "config.json").exists():
            if unfinished := why_unfinished(path):
                raise CmahError(unfinished)
            if not files:
                raise CmahError(
                    f"{path}: neither a dataset (dataset.json), a run (config.json) nor a folder of code files "
                    f"({', '.join(CODE_FILES[:2])})"
                )
            return {"what": "folder of code files"} | {file.name: _codes(file) for file in files}
        return _run(path)
    require_file(path, "expected a dataset, a run, a code file or an index")
    return _index(path, verify) if is_index(path) else _codes(path)


def _dataset(path: Path, check: bool) -> dict[str, Any]:
    """Counts of a dataset folder, and its faults."""
    from cmah.data.dataset import Dataset  # needs Pillow, which code files and indexes do not

    try:
        dataset = Dataset.read(path)
    except DatasetError as error:
        return {"what": "dataset", "faults": error.faults}
    categories = {shape.category for shape in dataset.shapes} | {image.category for image in dataset.images}
    description: dict[str, Any] = {
        "what": "dataset",
        "version": dataset.version,
        "name": dataset.name,
        "root": dataset.file_root or None,
        "shapes": len(dataset.shapes),
        "shapes by split": _counts(shape.split for shape in dataset.shapes),
        "categories": len(categories - {""}),
        "images": len(dataset.images),
        "images by kind": _counts(image.kind for image in dataset.images),
        "images by split": _counts(image.split for image in dataset.images),
        "images without a shape": sum(not image.shape_id for image in dataset.images),
        "images whose split is not their shape's": len(dataset.images_apart()),
        "images with a mask": sum(bool(image.mask) for image in dataset.images),
        "images with a box": sum(image.bbox is not None for image in dataset.images),
        "shapes without points": sum(not shape.points for shape in dataset.shapes),
        "points a shape": dataset.points_per_shape,
        "image size": dataset.image_size,
        "up axis": dataset.up_axis,
        "checksum": dataset.checksum(),
    }
    views = dataset.views()
    if alone := sum(not views[shape.shape_id] for shape in dataset.shapes):
        description["shapes without images"] = alone
    faults = dataset.check_files() if check else dataset.absent_files()
    return description | ({"faults": faults} if check or faults else {})


def _run(path: Path) -> dict[str, Any]:
    """State and configuration of a run folder, and its faults."""
    config = read_json(path / "config.json")
    if not isinstance(config, dict) or config.get("format") != "cmah-run":
        raise RunError(f"{path / 'config.json'}: not the configuration of a run")
    weights = path / "model.safetensors"
    faults = [
        fault for file in (weights, path / "state" / "last.safetensors") for fault in _tensor_faults(file)
    ]
    try:
        records = read_metrics(path)
    except CmahError as error:
        records = []
        faults.append(str(error))
    validated = [r for r in records if "validation" in r and math.isfinite(r["validation"]["score"])]
    best = max(validated, key=lambda record: record["validation"]["score"], default=None)
    return {
        "what": "run",
        "weights": f"{weights.stat().st_size} bytes" if weights.exists() else "none yet",
        "epochs done": len(records),
        "best": best,
        "last": records[-1] if records else None,
        **_seen_by(config.get("model")),
        "config": config,
        **({"faults": faults} if faults else {}),
    }


def _tensor_faults(path: Path) -> list[str]:
    """What is wrong with a safetensors file, as far as its header and its size tell; nothing where there is none."""
    if not path.exists():
        return []
    try:
        require_file(path)
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            size = path.stat().st_size
            header: Any = parse_json(file.read(length)) if 8 + length <= size else None
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
        wanted = 8 + length + max(ends, default=0)
        return [] if wanted == size else [f"{path}: {size} bytes, expected {wanted}"]
    except CmahError as error:
        return [str(error)]
    except (ValueError, AttributeError, KeyError, TypeError, IndexError, OSError):
        return [f"{path}: not a readable safetensors file"]


def _seen_by(model: Any) -> dict[str, str]:
    """How many views show a shape to a run, and which; nothing for a run that sees points alone."""
    if not isinstance(model, dict) or model.get("shape_input", "points") == "points":
        return {}
    which = {"even": "every second render", "odd": "every second render, from the second on"}
    renders = which.get(str(model.get("views_from")), "all renders")
    points = "points and " if model["shape_input"] == "both" else ""
    if model.get("views_from") == "points":
        return {"a shape is seen by": f"{points}{model.get('views')} views that are drawn from its points"}
    return {"a shape is seen by": f"{points}up to {model.get('views')} views, of {renders}"}


def _codes(path: Path) -> dict[str, Any]:
    """Size and columns of a code or embedding file."""
    codes = read_codes(path)
    description: dict[str, Any] = {"what": "binary codes" if isinstance(codes, BinaryCodes) else "embeddings"}
    description["rows"] = len(codes)
    if isinstance(codes, BinaryCodes):
        description |= {"bits": codes.bits, "lengths that are codes": list(codes.prefixes)}
    else:
        description["width"] = codes.embeddings.shape[1]
    description |= {"modality": codes.modality or "unknown", "space": codes.space or "unknown"}
    description["ids"] = codes.ids is not None
    for name, values in (("kinds", codes.kinds), ("splits", codes.splits), ("categories", codes.categories)):
        if values is not None:
            description[name] = _counts(values.tolist())
    if codes.shape_ids is not None:
        description["shapes shown"] = len(set(codes.shape_ids.tolist()) - {""})
    return description


def _index(path: Path, verify: bool) -> dict[str, Any]:
    """Size and type of an index."""
    index = HammingIndex.open(path, verify=verify)
    size, file = path.stat().st_size, index.file
    known: dict[str, Any] = {}
    if index.shapes is not None:
        known["shapes"] = len(index.shapes.names)
    if index.dataset:
        known["dataset"] = index.dataset
    if file is not None and file.segments > 1:
        known["segments"] = (
            f"{file.segments}, with {file.removed} removed codes (cmah index --compact writes one)"
        )
    if file is not None and file.behind:
        known["interrupted"] = f"{file.behind} bytes of an append that was stopped, which do not count"
    return {
        "what": "index",
        "kind": index.kind,
        "codes": len(index),
        "bits": index.bits,
        "ids": index.id_kind,
        **known,
        "space": index.space or "unknown",
        "bytes": size,
        "bytes a code": round(size / max(len(index), 1), 2),
        "checksums": "all verified" if verify else "header and ids verified",
    }


def _counts(values: Iterable[str]) -> dict[str, int]:
    """How often each value occurs, the most frequent first."""
    return {value or "(none)": count for value, count in Counter(values).most_common()}
