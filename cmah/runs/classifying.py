"""Zero-shot classification: which category's text lies nearest to a shape or an image.

Embeddings of a run whose space is that of a CLIP-like image encoder are compared, by cosine, with what the encoder's
text tower makes of each category's name in a prompt (ULIP, OpenShape, Uni3D; arXiv 2406.02202 for the default prompt).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from cmah.data.dataset import Dataset, without_points
from cmah.errors import CmahError, ConfigError, DatasetError, RunError
from cmah.models.pretrained.text_towers import TextEncoder, ensembled, require_text
from cmah.models.two_towers import TowersConfig
from cmah.reading import read_json
from cmah.runs.encoder import Encoder
from cmah.runs.run_folder import RunFolder
from cmah.vectors import unit_rows

PROMPTS = ("a point cloud model of a {}",)  # of shapes
IMAGE_PROMPTS = ("a photo of a {}",)
ROWS = 4096  # similarities held at a time
DEPTHS = (1, 5)


def top_k(embeddings: np.ndarray, texts: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Top-1 and top-5 accuracy of the nearest texts.

    Args:
        embeddings: float [n, d], of any norm.
        texts: float [categories, d], of any norm.
        labels: int [n], the row of `texts` that is right for each embedding.

    Returns:
        n; top1 and top5, parts of all rows; mean_top1 and mean_top5, the mean over the categories that occur; and
        categories, a list with category (row of `texts`), n, top1, top5 of each of these. Equal similarities (as
        float32) go by the order of the texts. Accuracies are None where n is 0.

    Examples:
        The second row is nearer to the first text than to its own.

        >>> report = top_k(np.array([[1.0, 0.1], [1.0, 0.2]]), texts=np.eye(2), labels=np.array([0, 1]))
        >>> report["top1"], report["top5"]
        (0.5, 1.0)
        >>> report["categories"][1]
        {'category': 1, 'n': 1, 'top1': 0.0, 'top5': 1.0}
    """
    labels = np.asarray(labels, np.int64)
    place = np.concatenate(
        [
            _places(embeddings[first : first + ROWS], texts, labels[first : first + ROWS])
            for first in range(0, len(labels), ROWS)
        ]
        or [np.zeros(0, np.int64)]
    )
    report: dict[str, Any] = {"n": len(labels)}
    occurring = np.unique(labels)
    rows = [
        {"category": int(label), "n": int((labels == label).sum())}
        | {f"top{k}": float((place[labels == label] < k).mean()) for k in DEPTHS}
        for label in occurring
    ]
    for k in DEPTHS:
        report[f"top{k}"] = float((place < k).mean()) if len(labels) else None
    for k in DEPTHS:
        report[f"mean_top{k}"] = float(np.mean([row[f"top{k}"] for row in rows])) if rows else None
    return {**report, "categories": rows}


def _places(embeddings: np.ndarray, texts: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many texts come before the right one, int [n]."""
    # rounded to float32, the last bits of float64 do not tell equal texts apart
    similar = (unit_rows(embeddings) @ unit_rows(texts).T).astype(np.float32)
    right = similar[np.arange(len(labels)), labels][:, None]
    before = np.arange(len(texts))[None] < labels[:, None]
    return ((similar > right) | ((similar == right) & before)).sum(axis=1)


def classify(
    run: str | Path,
    dataset: str | Path | Dataset,
    *,
    split: str = "test",
    modality: Literal["shape", "image"] = "shape",
    kind: str | None = None,
    prompts: Sequence[str] | None = None,
    names: str | Path | None = None,
    device: str = "auto",
    workers: int = 0,
    settings: Sequence[str] = (),
    verify: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Classify a split by the texts of all category names of the dataset.

    Args:
        run: folder that `train` wrote, of a recipe that keeps to its image encoder's space.
        dataset: folder, or a `Dataset`; rows without a category are left out.
        split: of the dataset, or "all". The candidates are the categories of the whole dataset, in alphabetical order.
        modality: what is classified.
        kind: of the images, only these.
        prompts: texts with {} for the name; with several, the mean of their unit vectors is compared. By default
            `PROMPTS`, of images `IMAGE_PROMPTS`.
        names: JSON file {category: name or list of names} for those whose own name, with spaces in place of
            underscores, does not say what they are.
        device: "auto", "cpu" or "cuda".
        workers: processes that decode images.
        settings: changes such as "model.image_weights=FILE".
        verify: read weights files anew instead of trusting the digests that the cache remembers.
        report: called with a line for what is left out: other splits and kinds, without a category or points.

    Returns:
        what `top_k` gives, with category names, and run, dataset, split, modality, kind, prompts, candidates, encoder,
        without_category (how many rows were left out) and skipped ((path, reason) of what could not be read).

    Raises:
        CmahError: if the image encoder has no text tower, the run is not in its space, or there is nothing to classify.

    Examples:
        The demo's run has a space of its own, in which no texts lie.

        >>> classify("demo/run", "demo/dataset", prompts=["a {}", "a model of a {}"])
        Traceback (most recent call last):
        cmah.errors.RunError: demo/run: its embeddings are not in the space of an image encoder (its recipe has one
        of its own), so that texts cannot be compared with them; train with --recipe prealigned or captionless
    """
    if prompts is None:
        prompts = PROMPTS if modality == "shape" else IMAGE_PROMPTS
    check_prompts(prompts)
    data = dataset if isinstance(dataset, Dataset) else Dataset.read(dataset)
    labels = {shape.category for shape in data.shapes} | {image.category for image in data.images}
    categories = sorted(labels - {""})
    if not categories:
        raise DatasetError(
            [f"{data.root}: no shape or image has a category, expected their names to choose from"]
        )
    called = category_names(categories, names)
    part = data.select(split)
    whole, chosen = (data.images, part.images) if modality == "image" else (data.shapes, part.shapes)
    if len(chosen) < len(whole):
        report(
            f"{len(chosen)} {modality}s of split {split}; {len(whole) - len(chosen)} of other splits are left out"
        )
    folder = RunFolder(run, settings=settings, verify=verify)
    model = _of_image_space(folder)
    encoder = Encoder.of(folder, device)
    texts = _texts(
        model,
        encoder.device,
        [[p.replace("{}", name) for name in names for p in prompts] for names in called],
    )
    if modality == "image":
        images = [image for image in part.images if image.category and kind in (None, image.kind)]
        left_out = sum(not image.category for image in part.images)
        if other := sum(kind not in (None, image.kind) for image in part.images):
            report(f"{other} images of other kinds than {kind} are left out")
        rows, skipped = encoder.dataset_images(part, images, workers=workers, label="images", embeddings=True)
    else:
        shapes = [shape for shape in part.shapes if shape.category]
        left_out = len(part.shapes) - len(shapes)
        if remark := without_points(shapes):
            report(remark)
        rows, skipped = encoder.dataset_shapes(part, shapes, label="shapes", embeddings=True)
    if left_out:
        report(f"{left_out} {modality}s without a category are left out")
    if not len(rows):
        reason = f"; the first: {skipped[0][1]}" if skipped else ""
        raise DatasetError(
            [f"{data.root}: no {modality} of split {split!r} with a category can be read{reason}"]
        )
    if rows.embeddings.shape[1] != texts.shape[1]:
        raise RunError(
            f"{run}: its embeddings have {rows.embeddings.shape[1]} numbers, those of texts {texts.shape[1]}: "
            "it is not aligned with its image encoder"
        )
    place = {category: number for number, category in enumerate(categories)}
    found = top_k(rows.embeddings, texts, np.array([place[name] for name in rows.categories]))
    for row in found["categories"]:
        row["names"] = called[row["category"]]
        row["category"] = categories[row["category"]]
    query = {"run": str(run), "dataset": str(data.root), "split": split, "modality": modality, "kind": kind}
    setup = {
        "encoder": model.image_encoder,
        "prompts": list(prompts),
        "candidates": len(categories),
    }
    return {**query, **setup, **found, "without_category": left_out, "skipped": skipped}


def _of_image_space(folder: RunFolder) -> TowersConfig:
    """The model's settings of a run that keeps to its image encoder's space.

    Raises:
        RunError: for other runs.
    """
    model = folder.config.model
    if not isinstance(model, TowersConfig) or model.joint_dim:  # 0 is the image encoder's own space
        reason = (
            f"model.joint_dim = {model.joint_dim}"
            if isinstance(model, TowersConfig)
            else "its recipe has one of its own"
        )
        raise RunError(
            f"{folder.path}: its embeddings are not in the space of an image encoder ({reason}), so that texts cannot "
            "be compared with them; train with --recipe prealigned or captionless"
        )
    return model


def _texts(model: TowersConfig, device: torch.device, texts: Sequence[Sequence[str]]) -> np.ndarray:
    """One unit vector for each list of texts, by the text tower of the run's image encoder."""
    require_text(model.image_encoder)
    return ensembled(TextEncoder(model.image_encoder, model.image_weights, device).encode, texts)


def check_prompts(prompts: Sequence[str]) -> None:
    """Refuse prompts without a place for the name.

    Raises:
        ConfigError: naming the first.

    Examples:
        >>> check_prompts(["a photo of a {}", "a chair"])
        Traceback (most recent call last):
        cmah.errors.ConfigError: prompt 'a chair': expected {} where the category's name goes
    """
    for prompt in prompts:
        if "{}" not in prompt:
            raise ConfigError(f"prompt {prompt!r}: expected {{}} where the category's name goes")
    if not prompts:
        raise ConfigError("no prompt: expected at least one")


def category_names(categories: Sequence[str], path: str | Path | None) -> list[list[str]]:
    """What each category is called in prompts: its own name with spaces for underscores, or what a file says.

    Raises:
        CmahError: if the file is not {category: name or list of names}, or names a category there is not.

    Examples:
        >>> _ = Path("names.json").write_text('{"tv": ["television", "TV set"]}')
        >>> category_names(["night_stand", "tv"], "names.json")
        [['night stand'], ['television', 'TV set']]
    """
    given: dict[str, list[str]] = {}
    if path is not None:
        stored = read_json(path)
        if not isinstance(stored, dict):
            raise CmahError(f"{path}: expected an object, {{category: name or list of names}}")
        for category, names in stored.items():
            options = [names] if isinstance(names, str) else names
            if (
                not isinstance(options, list)
                or not options
                or not all(isinstance(n, str) and n.strip() for n in options)
            ):
                raise CmahError(f"{path}: {category!r}: expected a name or a list of names")
            if category not in categories:
                raise CmahError(
                    f"{path}: {category!r}: no such category (there are: {', '.join(categories)})"
                )
            given[category] = options
    return [given.get(category, [category.replace("_", " ")]) for category in categories]
