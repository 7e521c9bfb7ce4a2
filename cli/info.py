"""cmah info: what a path holds."""

import json
import math
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click


@click.command("info")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--verify", is_flag=True, help="Check every checksum of an index, which reads all of it.")
@click.option(
    "--check",
    is_flag=True,
    help="Open every file of points, picture and mask that a dataset names, and list what is wrong with them.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the description as JSON.")
def info(path: Path, verify: bool, check: bool, as_json: bool) -> None:
    """Describe PATH: a dataset folder, a run folder, a code or embedding file, or an index."""
    from cmah.errors import CmahError, DatasetError
    from cmah.files import require_file
    from cmah.search.index_file import is_index

    is_dataset = (path / "dataset.json").exists()
    if check and not is_dataset:
        raise click.UsageError(f"--check needs a dataset folder; {path} has no dataset.json")
    if is_dataset:
        description = _dataset(path, check)
    elif path.is_dir():
        if not (path / "config.json").exists():
            raise CmahError(f"{path}: neither a dataset (dataset.json) nor a run (config.json)")
        description = _run(path)
    else:
        require_file(path, "expected a dataset, a run, a code file or an index")
        description = _index(path, verify) if is_index(path) else _codes(path)
    if as_json:
        click.echo(json.dumps(description, indent=1))
    else:
        _print({name: value for name, value in description.items() if name != "faults"})
        for fault in description.get("faults", []):
            click.echo(fault, err=True)
        if check and not description["faults"]:
            click.echo("every file can be read")
    if description.get("faults"):
        raise DatasetError(description["faults"])


def _dataset(path: Path, check: bool) -> dict[str, Any]:
    from cmah.data.dataset import Dataset

    dataset = Dataset.read(path)
    categories = {shape.category for shape in dataset.shapes} | {image.category for image in dataset.images}
    description: dict[str, Any] = {
        "what": "dataset",
        "name": dataset.name,
        "shapes": len(dataset.shapes),
        "shapes by split": _counts(shape.split for shape in dataset.shapes),
        "categories": len(categories - {""}),
        "images": len(dataset.images),
        "images by kind": _counts(image.kind for image in dataset.images),
        "images by split": _counts(image.split for image in dataset.images),
        "images without a shape": sum(not image.shape_id for image in dataset.images),
        "points a shape": dataset.points_per_shape,
        "image size": dataset.image_size,
        "up axis": dataset.up_axis,
        "checksum": dataset.checksum(),
    }
    return description | ({"faults": dataset.check_files()} if check else {})


def _run(path: Path) -> dict[str, Any]:
    from cmah.errors import RunError
    from cmah.files import read_json
    from cmah.runs.metrics_log import read_metrics

    config = read_json(path / "config.json")
    if not isinstance(config, dict) or config.get("format") != "cmah-run":
        raise RunError(f"{path / 'config.json'}: not the configuration of a run")
    records = read_metrics(path)
    validated = [r for r in records if "validation" in r and math.isfinite(r["validation"]["score"])]
    best = max(validated, key=lambda record: record["validation"]["score"], default=None)
    weights = path / "model.safetensors"
    return {
        "what": "run",
        "weights": f"{weights.stat().st_size} bytes" if weights.exists() else "none yet",
        "epochs done": len(records),
        "best": best,
        "last": records[-1] if records else None,
        "config": config,
    }


def _codes(path: Path) -> dict[str, Any]:
    from cmah.codes import BinaryCodes, read_codes

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
    from cmah.search import HammingIndex

    index = HammingIndex.open(path, verify=verify)
    size = path.stat().st_size
    return {
        "what": "index",
        "kind": index.kind,
        "codes": len(index),
        "bits": index.bits,
        "ids": index.id_kind,
        "space": index.space or "unknown",
        "bytes": size,
        "bytes a code": round(size / max(len(index), 1), 2),
        "checksums": "all verified" if verify else "header and ids verified",
    }


def _counts(values: Iterable[str]) -> dict[str, int]:
    """How often each value occurs, the most frequent first."""
    return {value or "(none)": count for value, count in Counter(values).most_common()}


def _print(description: dict[str, Any], indent: str = "") -> None:
    """Names and values in two columns; nested dictionaries are indented, counts stay on one line."""
    width = max((len(name) for name in description), default=0)
    for name, value in description.items():
        if isinstance(value, dict) and value and all(isinstance(count, int) for count in value.values()):
            parts = [f"{key} {count}" for key, count in list(value.items())[:8]]
            more = f", … {len(value) - 8} more" if len(value) > 8 else ""
            click.echo(f"{indent}{name:<{width}}  {', '.join(parts)}{more}")
        elif isinstance(value, dict) and value:
            click.echo(f"{indent}{name}")
            _print(value, indent + "  ")
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list) else "-" if value is None else value
            click.echo(f"{indent}{name:<{width}}  {text}")
