"""A model as an encoder of datasets: codes or embeddings of their images and shapes, with what their tables say."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from cmah.codes import BinaryCodes, Embeddings
from cmah.codes.posthoc import PostHocHash
from cmah.data.dataset import Dataset, Image, Shape
from cmah.data.framing import WHOLE, Framing
from cmah.data.shape_views import ViewsFrom, described
from cmah.data.surfels import VERSION
from cmah.errors import ConfigError
from cmah.features.image_embedder import ImageEmbedder
from cmah.features.shards import Shards
from cmah.models.encoder_model import EncoderModel, draws_views
from cmah.runs.dataset_outputs import ShapeRows, image_outputs, shape_outputs
from cmah.runs.model_codes import ModelCodes
from cmah.skipped_files import Skipped


class DatasetEncoder(ModelCodes):
    """A model that encodes datasets.

    Attributes:
        framing: what was cut off and painted over of the images that it was trained on.

    Examples:
        >>> from cmah.runs.encoder import Encoder
        >>> isinstance(Encoder.load("demo/run"), DatasetEncoder)
        True
    """

    def __init__(
        self,
        model: EncoderModel,
        device: torch.device | str,
        space: str,
        fitted: PostHocHash | None = None,
        framing: Framing = WHOLE,
    ) -> None:
        super().__init__(model, device, space, fitted)
        self.framing = framing
        self._embedders: dict[Framing, ImageEmbedder] = {}

    @property
    def key(self) -> list[Any]:
        """What the outputs depend on, beside what is encoded and how that is framed; JSON can hold it."""
        model = self.model
        settings: list[Any] = [
            model.views,
            model.views_from,
            model.view_group,
            model.points,
            model.image_size,
        ]
        settings += [VERSION] if draws_views(model) else []
        return [self.space, self.device.type, self.framing.key, settings]

    def dataset_images(
        self,
        dataset: Dataset,
        images: Sequence[Image],
        *,
        workers: int = 0,
        label: str = "",
        embeddings: bool = False,
        real: bool = False,
        framing: Framing | None = None,
        keep: Shards | None = None,
    ) -> tuple[Any, Skipped]:
        """Codes (or embeddings) of a dataset's images, and (file, reason) of those that could not be read.

        Args:
            dataset: the folder.
            images: rows of its images.csv.
            workers: processes that decode images.
            label: of the progress bar; none without it.
            embeddings: give `Embeddings` in place of `BinaryCodes`.
            real: give a pair in their place: the codes, and `Embeddings`, their real-valued codes.
            framing: what of each image is cut off and painted over; None: as in training.
            keep: where outputs are kept while they are computed, and taken from if they are there; they must be of this
                model, these images and these settings. The embeddings of a frozen encoder lie in the cache already.
        """
        framing = self.framing if framing is None else framing
        outputs, kept, skipped = image_outputs(
            self,
            dataset,
            images,
            framing=framing,
            embedder=self.embedder(framing),
            workers=workers,
            label=label,
            keep=keep,
        )
        rows = [images[i] for i in kept]
        columns = {
            "ids": [image.image_id for image in rows],
            "shape_ids": [image.shape_id for image in rows],
            "kinds": [image.kind for image in rows],
            "modality": "image",
        }
        return self._rows(outputs, rows, columns, embeddings, real), skipped

    def dataset_shapes(
        self,
        dataset: Dataset,
        shapes: Sequence[Shape],
        *,
        workers: int = 0,
        label: str = "",
        embeddings: bool = False,
        real: bool = False,
        views_from: ViewsFrom | None = None,
        per_view: bool = False,
        keep: Shards | None = None,
    ) -> tuple[Any, Skipped]:
        """Codes (or embeddings) of a dataset's shapes, and (file or id, reason) of those that could not be read.

        Args:
            dataset: the folder.
            shapes: rows of its shapes.csv; those without points are left out, with the reason `NO_POINTS`, if the model
                sees points or draws its views from them.
            workers: processes that decode or draw the views.
            label: of the progress bar; none without it.
            embeddings: give `Embeddings` in place of `BinaryCodes`.
            real: as in `dataset_images`.
            views_from: which renders are views; None: those that the model says. For a model that draws its views it
                means nothing.
            per_view: give one row for each view, with the image's id, in place of one for each shape; for a model that
                sees several views as one picture, one row for each of these groups, with the first image's id. Drawn
                views are named SHAPE_view0, SHAPE_view1, ….
            keep: as in `dataset_images`.

        Raises:
            ConfigError: for `per_view` with a model that sees no views.

        Examples:
            >>> from cmah.runs.encoder import Encoder
            >>> encoder, dataset = Encoder.load("demo/run"), Dataset.read("demo/dataset").select("test")
            >>> codes, skipped = encoder.dataset_shapes(dataset, dataset.shapes[:3])
            >>> codes.bits, codes.splits.tolist()
            (64, ['test', 'test', 'test'])
        """
        if per_view:
            self.require_views()
        given = ShapeRows.of(self.model, dataset, shapes, views_from, per_view=per_view)
        embedder = self.embedder(self.framing) if self.model.views else None
        outputs, kept, skipped = shape_outputs(
            self,
            dataset,
            given,
            framing=self.framing,
            embedder=embedder,
            workers=workers,
            label=label,
            keep=keep,
        )
        rows = [given.shapes[i] for i in kept]
        columns = {
            "ids": [given.ids[i] for i in kept],
            "shape_ids": [shape.shape_id for shape in rows],
            "kinds": ["shape"] * len(rows),
            "modality": "shape",
        }
        if per_view:  # a shape whose other views were read is not left out
            shown = {shape.shape_id for shape in rows}
            skipped = [entry for entry in dict.fromkeys(skipped) if entry[0] not in shown]
        return self._rows(outputs, rows, columns, embeddings, real), given.lacking + skipped

    def require_views(self, what: str = "one code per view") -> None:
        """Refuse what needs a run that sees shapes by their views.

        Args:
            what: it is, for the message.

        Raises:
            ConfigError: if it does not.
        """
        if not self.model.views:
            raise ConfigError(f"{what}: this run sees shapes by their points (model.shape_input)")

    def describing(self, dataset: Dataset) -> set[str]:
        """The ids of the renders of a dataset that describe its shapes, and so are no queries for them.

        Examples:
            A run that sees shapes by their points leaves all of them as queries.

            >>> from cmah.runs.encoder import Encoder
            >>> Encoder.load("demo/run").describing(Dataset.read("demo/dataset"))
            set()
        """
        which = self.model.views_from
        if not self.model.views or which == "points":
            return set()
        views = described(dataset, dataset.shapes, self.model.views, which)
        return {image.image_id for images in views for image in images}

    def _rows(
        self,
        outputs: np.ndarray,
        rows: Sequence[Image | Shape],
        columns: dict[str, Any],
        embeddings: bool,
        real: bool,
    ) -> BinaryCodes | Embeddings | tuple[BinaryCodes, Embeddings]:
        """Codes or embeddings of rows of a dataset, or codes with the real-valued ones."""
        columns["categories"] = [row.category for row in rows]
        columns["splits"] = [row.split for row in rows]
        if embeddings:
            return Embeddings(embeddings=self.model.embeddings(outputs), space=self.space, **columns)
        codes = self.codes(outputs, **columns)
        if not real:
            return codes
        numbers = self.real_codes(outputs, columns["modality"])
        return codes, Embeddings(embeddings=numbers, space=self.space, **columns)

    def embedder(self, framing: Framing) -> ImageEmbedder | None:
        """What keeps the embeddings of the frozen image encoder that the model begins with; None if it does not.

        Args:
            framing: what of each image is cut off and painted over.

        Examples:
            >>> from cmah.runs.encoder import Encoder
            >>> Encoder.load("demo/run").embedder(WHOLE) is None
            True
        """
        frozen = self.model.frozen_images
        if frozen is not None and framing not in self._embedders:
            self._embedders[framing] = ImageEmbedder.of(frozen, self.device, framing)
        return self._embedders.get(framing)
