"""Choosing the checkpoint: mAP both ways on shapes held out of the training split."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import torch

from cmah.config.schema import Config
from cmah.data.dataset import Dataset
from cmah.data.shape_views import described
from cmah.errors import DatasetError
from cmah.evaluation import evaluate
from cmah.models.encoder_model import EncoderModel, draws_views
from cmah.runs.encoder import Encoder


def hold_out(dataset: Dataset, part: float, kinds: Sequence[str]) -> tuple[Dataset, Dataset | None]:
    """Split a dataset by shape, by a hash of the shape id: the same shape always falls on the same side.

    Returns:
        (the rest, the held-out part or None where it would have fewer than two shapes with images).

    Examples:
        Eight shapes with one image each:

        >>> from pathlib import Path
        >>> from cmah.data.dataset import Image, Shape
        >>> shapes = [Shape(f"s{i}", "", "train", f"{i}.npy") for i in range(8)]
        >>> images = [Image(f"i{i}", f"s{i}", "", "train", f"{i}.png", "render") for i in range(8)]
        >>> dataset = Dataset(Path(), "eight", 64, "y", 64, shapes, images)
        >>> rest, held_out = hold_out(dataset, 0.3, ["render"])
        >>> [image.image_id for image in held_out.images], len(rest.shapes)
        (['i3', 'i5', 'i7'], 5)
    """
    if not part:
        return dataset, None
    pictured = {image.shape_id for image in dataset.images if image.shape_id and image.kind in kinds}
    if not pictured:
        raise DatasetError([f"{dataset.root}: no shape has an image of kind {' or '.join(kinds)}"])
    held = {shape.shape_id for shape in dataset.shapes if unit_hash(shape.shape_id) < part} & pictured
    if len(held) < 2 or len(held) == len(pictured):
        return dataset, None

    def only(inside: bool) -> Dataset:
        return replace(
            dataset,
            shapes=[shape for shape in dataset.shapes if (shape.shape_id in held) == inside],
            images=[image for image in dataset.images if (image.shape_id in held) == inside],
        )

    return only(False), only(True)


def unit_hash(text: str) -> float:
    """A number in [0, 1) that depends on `text` alone.

    Examples:
        >>> [round(unit_hash(name), 2) for name in ("chair", "table")]
        [0.24, 0.05]
    """
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big") / 2**48


class Validator:
    """Measures retrieval between the held-out images and shapes at every code length.

    Relevance is the category where the shapes have categories and the method is chosen by them, else the shape
    itself. Categories are used for nothing but this choice.

    Examples:
        >>> from cmah.runs.run_folder import RunFolder
        >>> folder, cpu = RunFolder("demo/run"), torch.device("cpu")
        >>> dataset = Dataset.read("demo/dataset").select("test")
        >>> validator = Validator(folder.load_recipe(cpu).model, dataset, folder.config, cpu)
        >>> sorted(validator.measure())
        ['16', '32', '64', 'relevance', 'score']
        >>> validator.describe({"64": [0.75, 0.5]})
        'held-out mAP image→shape 0.750, shape→image 0.500 at 64 bits'
    """

    def __init__(
        self,
        model: EncoderModel,
        held_out: Dataset,
        config: Config,
        device: torch.device,
        chosen_by: Literal["category", "instance"] = "category",
    ) -> None:
        self.model, self.dataset = model, held_out
        self.encoder = Encoder(model, device, space="validation", framing=config.data.framing)
        queries = held_out
        if model.views and not draws_views(model):
            # a render that describes a shape is no query for it: every second one describes
            views = described(held_out, held_out.shapes, model.views, "even")
            describing = {image.image_id for images in views for image in images}
            asking = [image for image in held_out.images if image.image_id not in describing]
            queries = replace(held_out, images=asking)
        self.images = queries.some_views(held_out.shapes, config.data.kinds, config.training.validation_views)
        self.relevant = " (same shape)" if chosen_by == "instance" else ""
        self.labelled = chosen_by == "category" and all(shape.category for shape in held_out.shapes)

    def measure(self) -> dict[str, Any]:
        """Tie-aware mAP by code length and direction; `score`, their mean, chooses the checkpoint.

        Where the model learns no codes, its embeddings are measured, under the name "floats".
        """
        embeddings = not self.model.learned_codes
        image, _ = self.encoder.dataset_images(
            self.dataset, self.images, label="validation: images", embeddings=embeddings
        )
        shape, _ = self.encoder.dataset_shapes(
            self.dataset,
            self.dataset.shapes,
            label="validation: shapes",
            embeddings=embeddings,
            views_from="even",
        )
        results: dict[str, Any] = {"relevance": "category" if self.labelled else "instance"}
        pairs = {"floats": (image, shape)}
        if not embeddings:
            lengths = self.model.code_lengths
            pairs = {str(bits): (image.truncate(bits), shape.truncate(bits)) for bits in lengths}
        for name, (a, b) in pairs.items():
            a_labels, b_labels = (a.categories, b.categories) if self.labelled else (a.shape_ids, b.shape_ids)
            image_to_shape = evaluate(a, b, a_labels, b_labels, bootstrap=0)["map"]
            shape_to_image = evaluate(b, a, b_labels, a_labels, bootstrap=0)["map"]
            results[name] = [round(image_to_shape, 5), round(shape_to_image, 5)]
            mean = (image_to_shape + shape_to_image) / (2 * len(pairs))
            results["score"] = results.get("score", 0.0) + mean
        return results

    def describe(self, results: dict[str, Any]) -> str:
        """The longest code's two numbers, or those of the embeddings, as text."""
        name = str(self.model.code_lengths[-1]) if self.model.learned_codes else "floats"
        image_to_shape, shape_to_image = results[name]
        what = f"at {name} bits" if self.model.learned_codes else "of embeddings"
        return f"held-out mAP{self.relevant} image→shape {image_to_shape:.3f}, shape→image {shape_to_image:.3f} {what}"
