"""Views of shapes that are drawn from their points, in batches, by worker processes."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from cmah.data.encoding_batches import read_in_order
from cmah.data.point_clouds import load_points_file
from cmah.data.surfels import draw_views
from cmah.errors import CmahError
from cmah.skipped_files import Skipped


class DrawnBatches:
    """The views of clouds in order, drawn from all points of their files.

    Iterating yields ({"views": uint8 [b, views, 3, size, size]}, positions in `paths`). A cloud that cannot be read is
    left out and noted.

    Attributes:
        skipped: (path, reason) of each cloud left out so far.

    Examples:
        >>> clouds = [*sorted(Path("demo/dataset/points").glob("*.npy"))[:3], Path("none.npy")]
        >>> batches = DrawnBatches(clouds, views=2, size=32, batch_size=2)
        >>> [(tuple(batch["views"].shape), positions) for batch, positions in batches]
        [((2, 2, 3, 32, 32), [0, 1]), ((1, 2, 3, 32, 32), [2])]
        >>> batches.skipped
        [('none.npy', 'none.npy: no such file (expected ...)')]
    """

    def __init__(
        self,
        paths: Sequence[Path],
        views: int,
        size: int,
        batch_size: int,
        workers: int = 0,
        up_axis: str = "y",
    ) -> None:
        """Prepare; nothing is read yet.

        Args:
            paths: the .npy files.
            views: how many views of each cloud, see `draw_views`.
            size: their side in pixels.
            batch_size: clouds in a batch.
            workers: number of processes that draw; 0: this process does it.
            up_axis: "y" or "z", the axis that points up in the files.
        """
        self.paths, self.views, self.size, self.batch_size = paths, views, size, batch_size
        self.workers, self.up_axis = workers, up_axis
        self.skipped: Skipped = []

    def __iter__(self) -> Iterator[tuple[dict[str, torch.Tensor], list[int]]]:
        clouds = _Drawn(self.paths, self.views, self.size, self.up_axis)
        yield from read_in_order(clouds, "views", self.paths, self.batch_size, self.workers, self.skipped)


class _Drawn(torch.utils.data.Dataset):
    """(uint8 [views, 3, size, size] or None, reason) of each cloud."""

    def __init__(self, paths: Sequence[Path], views: int, size: int, up_axis: str) -> None:
        self.paths, self.views, self.size, self.up_axis = paths, views, size, up_axis

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, position: int) -> tuple[np.ndarray | None, str]:
        try:
            cloud = load_points_file(self.paths[position], self.up_axis)
        except CmahError as error:
            return None, str(error)
        return draw_views(cloud, self.views, self.size), ""
