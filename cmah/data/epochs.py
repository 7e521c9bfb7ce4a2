"""The epochs of some training data in batches, drawn by worker processes that live as long as the batches.

What a batch holds is a function of the seed and its place in the run, so that the batches are the same with any number
of workers, and a resumed run sees what an uninterrupted one would have seen.
"""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Sampler

from cmah.errors import CmahError
from cmah.skipped_files import Skipped

PREFETCH = 2  # batches that a worker prepares in advance
# Random streams of one seed, so that the order of an epoch does not depend on what its samples draw
ORDER_STREAM, SAMPLE_STREAM = 0, 1
Arrays = dict[str, np.ndarray]


class Pairs(Protocol):
    """What batches are made of: what is trained on, and what was left out.

    Examples:
        >>> from cmah.data.dataset import Dataset
        >>> from cmah.data.training_batches import TrainingPairs
        >>> pairs: Pairs = TrainingPairs(Dataset.read("demo/dataset").select("test"), image_size=32, points=64)
        >>> pairs.unit, pairs.skipped
        ('shapes', [])
    """

    unit: str
    skipped: Skipped

    def __len__(self) -> int: ...


class Batches(Protocol):
    """What training reads: the epochs of some pairs in batches, and how many batches an epoch has.

    Examples:
        >>> from cmah.data.dataset import Dataset
        >>> from cmah.data.training_batches import TrainingBatches, TrainingPairs
        >>> dataset = Dataset.read("demo/dataset").select("test")
        >>> batches: Batches = TrainingBatches(TrainingPairs(dataset, image_size=32, points=64), batch_size=2)
        >>> len(batches) == len(batches.pairs) // 2
        True
    """

    @property
    def pairs(self) -> Pairs:
        """What the batches are made of."""

    def __len__(self) -> int: ...

    def epoch(self, number: int, first_batch: int = 0) -> Iterator[dict[str, torch.Tensor]]:
        """See `EpochLoader.epoch`."""


class EpochOrder(Sampler[list[tuple[int, int]]]):
    """The keys of each batch of one epoch, (epoch, position) of its samples: a permutation by (seed, epoch) only.

    Attributes:
        batches: in a whole epoch. An incomplete last batch is dropped, unless it is the only one.
        epoch: the one that is iterated over.
        first_batch: number of the batch to begin with.

    Examples:
        >>> order = EpochOrder(count=5, batch_size=2, seed=0)
        >>> [len(keys) for keys in order], order.batches
        ([2, 2], 2)
    """

    def __init__(self, count: int, batch_size: int, seed: int) -> None:
        self.count, self.batch_size, self.seed = count, min(batch_size, count), seed
        self.batches = count // self.batch_size
        self.epoch = self.first_batch = 0

    def __len__(self) -> int:
        return self.batches - self.first_batch

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = self._permutation(self.epoch)
        for number in range(self.first_batch, self.batches):
            yield [(self.epoch, int(position)) for position in self._part(order, number)]

    def positions(self, epoch: int, number: int) -> np.ndarray:
        """The positions of the samples of a batch, int64 [batch_size].

        Args:
            epoch: number of the epoch.
            number: of the batch.
        """
        return self._part(self._permutation(epoch), number)

    def _permutation(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, ORDER_STREAM, epoch]).permutation(self.count)

    def _part(self, order: np.ndarray, number: int) -> np.ndarray:
        return order[number * self.batch_size : (number + 1) * self.batch_size]


class EpochLoader:
    """The epochs of a torch dataset in batches.

    Examples:
        >>> class Squares(torch.utils.data.Dataset):
        ...     def __getitem__(self, key):
        ...         return {"square": np.array(key[1] ** 2)}
        >>> loader = EpochLoader(Squares(), EpochOrder(count=4, batch_size=4, seed=0), batch_bytes=32)
        >>> [sorted(batch["square"].tolist()) for batch in loader.epoch(0)]
        [[0, 1, 4, 9]]
    """

    def __init__(
        self,
        samples: "torch.utils.data.Dataset[Arrays]",
        order: EpochOrder,
        *,
        workers: int = 0,
        batch_bytes: int,
        together: Callable[[list[Arrays]], Arrays] | None = None,
    ) -> None:
        """Prepare; the workers start with the first epoch.

        Args:
            samples: gives the named arrays of a key (epoch, position).
            order: the keys of each batch.
            workers: number of processes that draw the samples; 0: this process does it.
            batch_bytes: of one batch.
            together: makes a batch of its samples; None stacks them.
        """
        self.order = order
        shared = workers > 0 and fits_shared(workers, batch_bytes)
        self._loader = DataLoader(
            samples,
            batch_sampler=order,
            num_workers=workers,
            collate_fn=partial(_collated, together=together or _stacked, shared=shared),
            pin_memory=torch.cuda.is_available(),
            persistent_workers=workers > 0,
            prefetch_factor=PREFETCH if workers else None,
            worker_init_fn=quiet_worker,
            # a generator for the loader alone, so that drawing batches leaves torch's global random state as it is
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        """Number of batches in a whole epoch."""
        return self.order.batches

    def epoch(self, number: int, first_batch: int = 0) -> Iterator[dict[str, torch.Tensor]]:
        """The batches of an epoch, as named tensors.

        An epoch may be left early; starting the next one ends it.

        Args:
            number: the epoch, which determines order and augmentation.
            first_batch: number of the batch to begin with, where a run is resumed within an epoch.

        Raises:
            CmahError: if nothing of what a sample needs can be read.
        """
        self.order.epoch, self.order.first_batch = number, first_batch
        try:
            for batch in self._loader:
                yield {key: torch.as_tensor(value) for key, value in batch.items()}
        except CmahError as error:  # the message of an error in a worker is its whole traceback
            raise CmahError(
                str(error).strip().splitlines()[-1].removeprefix("cmah.errors.CmahError: ")
            ) from None


def _stacked(samples: list[Arrays]) -> Arrays:
    return {key: np.stack([sample[key] for sample in samples]) for key in samples[0]}


def _collated(
    samples: list[Arrays], together: Callable[[list[Arrays]], Arrays], shared: bool
) -> dict[str, Any]:
    """A batch: tensors, which a worker passes in shared memory, or arrays, which go through a pipe."""
    batch = together(samples)
    return {key: torch.from_numpy(value) for key, value in batch.items()} if shared else dict(batch)


def fits_shared(workers: int, batch_bytes: int) -> bool:
    """Whether the prefetched batches fit into shared memory, of which containers often have 64 MB only.

    Args:
        workers: processes that prepare batches.
        batch_bytes: of one batch.

    Examples:
        >>> fits_shared(2, 1 << 60)
        False
    """
    try:
        state = os.statvfs("/dev/shm")
    except (OSError, AttributeError):  # no such file system: torch shares memory in another way
        return True
    return workers * (PREFETCH + 1) * batch_bytes < state.f_bavail * state.f_frsize // 2


def quiet_worker(_: int) -> None:
    """Ignore Ctrl-C in a worker, which the main process handles, and end the worker if the main process is killed.

    Examples:
        >>> before = signal.getsignal(signal.SIGINT)
        >>> quiet_worker(0)
        >>> signal.signal(signal.SIGINT, before).name  # what it was; back to the one before
        'SIG_IGN'
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None:
        threading.Thread(target=_end_after, args=(parent.pid,), daemon=True).start()


def _end_after(parent: int) -> None:
    """End this process within a second of its parent's end, even while it waits for somebody to take a batch."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)
