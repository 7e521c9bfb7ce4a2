"""What a model's frozen encoders make of the shapes of a dataset, computed once and kept in the cache.

In the cache folder (`cmah.cache`), `shapes/<key>/` belongs to one model's frozen part, one dataset folder and the
states of its point files; its shards hold up to 4,096 rows each.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from cmah.cache import cache_folder, tell_not_kept
from cmah.data.dataset import Dataset, Shape
from cmah.data.file_states import file_states
from cmah.features.image_embedder import ImageEmbedder
from cmah.features.inference import in_batches
from cmah.features.shape_batches import ShapeBatches
from cmah.features.shards import Piece, Shards, in_shards, pieces
from cmah.features.tower_features import tower_key
from cmah.files import digest
from cmah.models.backbones import Frozen
from cmah.models.frozen_towers import FrozenTowers
from cmah.progress import progress
from cmah.skipped_files import Skipped

VERSION = 1


def frozen_shape_features(
    model: FrozenTowers,
    dataset: Dataset,
    shapes: Sequence[Shape],
    device: torch.device,
    *,
    embedder: ImageEmbedder | None = None,
    label: str = "",
) -> tuple[np.ndarray, list[int], Skipped]:
    """Features of shapes, read from the cache as far as they are there.

    Args:
        model: a network in evaluation or training mode, on the device.
        dataset: the folder.
        shapes: rows of its shapes.csv.
        device: where the network is.
        embedder: keeps what the model's frozen image encoder makes of drawn views, for other models too.
        label: of the progress bar; none without it.

    Returns:
        float32 [n, shape_width], the position of each row's shape, (file, reason) of those that could not be read.
        Where the cache cannot be written, they are computed all the same, and a line on standard error says so.

    Examples:
        An image encoder of random weights, and two views drawn of each shape:

        >>> from timm import create_model
        >>> from cmah.models.frozen_towers import FrozenTowersConfig
        >>> torch.save(create_model("test_resnet").state_dict(), "weights.pt")
        >>> towers = {"image_encoder": "timm:test_resnet", "image_weights": "weights.pt", "image_stages": 0}
        >>> model = FrozenTowers(FrozenTowersConfig(**towers, image_size=32, shape_input="views", views=2))
        >>> dataset = Dataset.read("demo/dataset")
        >>> rows, kept, skipped = frozen_shape_features(model, dataset, dataset.shapes[:3], torch.device("cpu"))
        >>> rows.shape, kept, skipped
        ((3, 96), [0, 1, 2], [])
    """
    states = [str(dataset.file("").resolve()), dataset.up_axis]
    states += file_states(dataset, [shape.points for shape in shapes])
    towers = [tower_key(module) for module in model.modules() if isinstance(module, Frozen)]
    key = digest([VERSION, towers, model.frozen_settings, device.type, states])
    shards = Shards(
        cache_folder() / "shapes" / key,
        model.shape_width,
        unwritable=lambda error: tell_not_kept(str(error)),
    )

    def compute(begin: int, end: int) -> Iterator[Piece]:
        def encode(batch: dict[str, Tensor]) -> np.ndarray:
            return in_batches(
                model.shape_features, [batch], device, model.shape_width, model, "features of shapes"
            )

        return pieces(ShapeBatches(dataset, shapes[begin:end], model, embedder=embedder), begin, end, encode)

    bar = progress(range(len(shapes)), label, unit="shape") if label else None
    rows, left_out = in_shards(shards, "shapes", len(shapes), model.shape_width, compute, bar)
    missing = dict(left_out)
    kept = [position for position in range(len(shapes)) if position not in missing]
    return rows, kept, [(str(dataset.file(shapes[i].points)), reason) for i, reason in left_out]
