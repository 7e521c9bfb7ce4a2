"""Shapes of a dataset in batches, shown to a model as it takes them: by their points, their views, or both."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from cmah.data.dataset import Dataset, Image, Shape
from cmah.data.drawn_batches import DrawnBatches
from cmah.data.encoding_batches import ImageBatches, PointBatches
from cmah.data.framing import WHOLE, Framing
from cmah.features.drawn_views import drawn_features
from cmah.features.image_embedder import ImageEmbedder
from cmah.features.inference import BATCH
from cmah.models.encoder_model import EncoderModel, draws_views
from cmah.skipped_files import Skipped

NO_VIEW = "no render that may be a view of it"


class ShapeBatches:
    """Shapes in order, without augmentation.

    Iterating yields (named tensors as `EncoderModel.encode_shapes` takes them, positions in `shapes`). A shape that
    lacks what the model takes, or whose files cannot be read, is left out and noted.

    Attributes:
        skipped: (path or shape id, reason) of each shape or view left out so far.

    Examples:
        >>> from cmah.runs.run_folder import RunFolder
        >>> dataset = Dataset.read("demo/dataset").select("test")
        >>> model = RunFolder("demo/run").load_recipe(torch.device("cpu")).model
        >>> batches = ShapeBatches(dataset, dataset.shapes[:2], model)
        >>> [(tuple(shapes["points"].shape), positions) for shapes, positions in batches]
        [((2, 512, 3), [0, 1])]
    """

    def __init__(
        self,
        dataset: Dataset,
        shapes: Sequence[Shape],
        model: EncoderModel,
        *,
        views: Sequence[Sequence[Image]] = (),
        drawn: Sequence[int] = (),
        embedder: ImageEmbedder | None = None,
        framing: Framing = WHOLE,
        workers: int = 0,
    ) -> None:
        """Prepare; nothing is read yet.

        Args:
            dataset: the folder.
            shapes: rows of its shapes.csv; one may occur several times.
            model: what they are made ready for.
            views: the views of each shape, where the model takes views that are not drawn.
            drawn: of each shape the number of the one drawn view that shows it; none: all of them do.
            embedder: keeps what the model's frozen image encoder makes of the views; None where it has none.
            framing: what of each view is cut off and painted over, where there is no embedder.
            workers: processes that decode images, or draw views.
        """
        self.dataset, self.shapes, self.model, self.views = dataset, shapes, model, views
        self.drawn = drawn
        self.embedder, self.framing, self.workers = embedder, framing, workers
        self.skipped: Skipped = []

    def __iter__(self) -> Iterator[tuple[dict[str, Tensor], list[int]]]:
        self.skipped.clear()
        if self.model.shape_input == "points":
            yield from self._points(range(len(self.shapes)))
            return
        if draws_views(self.model):
            seen = self._drawn_features() if self.embedder is not None else self._drawn()
        else:
            seen = self._features() if self.embedder is not None else self._pictures()
        held: list[tuple[int, np.ndarray]] = []
        for item in seen:
            held.append(item)
            if len(held) == BATCH:
                yield from self._with_points(held)
                held = []
        if held:
            yield from self._with_points(held)

    def _points(self, positions: Sequence[int]) -> Iterator[tuple[dict[str, Tensor], list[int]]]:
        """The clouds of some of the shapes."""
        paths = [self.dataset.file(self.shapes[position].points) for position in positions]
        batches = PointBatches(paths, self.model.points, BATCH, self.model.colours, self.dataset.up_axis)
        told = 0
        for batch, rows in batches:
            self.skipped += batches.skipped[told:]
            told = len(batches.skipped)
            yield batch, [positions[row] for row in rows]
        self.skipped += batches.skipped[told:]

    def _with_points(
        self, held: list[tuple[int, np.ndarray]]
    ) -> Iterator[tuple[dict[str, Tensor], list[int]]]:
        """The views of some shapes as tensors, with their clouds where the model takes both."""
        views = dict(held)
        if self.model.shape_input == "views":
            yield self._stacked(list(views.values())), list(views)
            return
        for batch, positions in self._points(list(views)):
            yield {**batch, **self._stacked([views[position] for position in positions])}, positions

    def _stacked(self, views: list[np.ndarray]) -> dict[str, Tensor]:
        """Views of several shapes with the same number of places each, and which places hold one."""
        count = self.model.views
        there = np.array([[place < len(each) for place in range(count)] for each in views])
        filled = np.stack(
            [np.concatenate([each, np.repeat(each[:1], count - len(each), axis=0)]) for each in views]
        )
        name = "views" if self.embedder is None else "view_features"
        return {name: torch.from_numpy(filled), "view_mask": torch.from_numpy(there)}

    def _features(self) -> Iterator[tuple[int, np.ndarray]]:
        """Position and features of the views, float32 [v, d], of each shape with at least one readable view."""
        assert self.embedder is not None
        images = [image for views in self.views for image in views]
        table = self.embedder.embed(self.dataset, images, workers=self.workers, label="views")
        self.skipped += table.skipped
        rows = dict(zip(table.kept, range(len(table)), strict=True))
        first = 0
        for position, views in enumerate(self.views):
            wanted = [rows[i] for i in range(first, first + len(views)) if i in rows]
            first += len(views)
            if wanted:
                yield position, table.rows(wanted)
            else:
                self._unseen(position)

    def _drawn_features(self) -> Iterator[tuple[int, np.ndarray]]:
        """Position and features of the drawn views, float32 [v, d], of each shape whose points can be read."""
        assert self.embedder is not None
        shapes, views = self._each_once(), self.model.views
        table = drawn_features(
            self.embedder, self.dataset, shapes, views, workers=self.workers, label="views"
        )
        self.skipped += table.skipped
        positions = self._positions()
        for row, number in enumerate(table.kept):
            features = table.rows([row]).reshape(views, -1)
            for position in positions[shapes[number].shape_id]:
                yield position, self._shown(features, position)

    def _drawn(self) -> Iterator[tuple[int, np.ndarray]]:
        """Position and drawn views, uint8 [v, 3, size, size], of each shape whose points can be read."""
        shapes, model, told = self._each_once(), self.model, 0
        paths = [self.dataset.file(shape.points) for shape in shapes]
        batches = DrawnBatches(
            paths, model.views, model.image_size, BATCH, self.workers, self.dataset.up_axis
        )
        positions = self._positions()
        for batch, numbers in batches:
            self.skipped += batches.skipped[told:]
            told = len(batches.skipped)
            for number, views in zip(numbers, batch["views"].numpy(), strict=True):
                for position in positions[shapes[number].shape_id]:
                    yield position, self._shown(views, position)
        self.skipped += batches.skipped[told:]

    def _each_once(self) -> list[Shape]:
        return list({shape.shape_id: shape for shape in self.shapes}.values())

    def _positions(self) -> dict[str, list[int]]:
        """The positions of each shape, by its id."""
        positions: dict[str, list[int]] = {}
        for position, shape in enumerate(self.shapes):
            positions.setdefault(shape.shape_id, []).append(position)
        return positions

    def _shown(self, views: np.ndarray, position: int) -> np.ndarray:
        """Of the drawn views of a shape those that its row shows: all, or one."""
        return views[self.drawn[position]][None] if self.drawn else views

    def _pictures(self) -> Iterator[tuple[int, np.ndarray]]:
        """Position and pictures, uint8 [v, 3, size, size], of each shape with at least one readable view."""
        owners = [position for position, views in enumerate(self.views) for _ in views]
        images = [image for views in self.views for image in views]
        size = self.model.image_size
        batches = ImageBatches.of(self.dataset, images, size, BATCH, self.workers, self.framing)
        pictures: list[np.ndarray] = []
        current = 0
        for batch, rows in batches:
            for row, picture in zip(rows, batch["image"].numpy(), strict=True):
                while current < owners[row]:
                    yield from self._ended(current, pictures)
                    pictures, current = [], current + 1
                pictures.append(picture)
        while current < len(self.shapes):
            yield from self._ended(current, pictures)
            pictures, current = [], current + 1
        self.skipped += batches.skipped

    def _ended(self, position: int, pictures: list[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
        """The pictures of a shape, or a note that there are none."""
        if pictures:
            yield position, np.stack(pictures)
        else:
            self._unseen(position)

    def _unseen(self, position: int) -> None:
        """Note that a shape has no view."""
        name = self.shapes[position].shape_id
        reason = "no view that can be read" if self.views[position] else NO_VIEW
        self.skipped.append((name, f"shape {name!r}: {reason} (the run sees shapes by their views)"))
