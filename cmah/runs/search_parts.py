"""What a search has encoded of its files, in the cache folder, from which one that was stopped goes on."""

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import cmah
from cmah.cache import cache_folder, tell_not_kept
from cmah.data.file_states import state_of
from cmah.errors import CmahError
from cmah.features.shards import Shards
from cmah.files import digest, locked

FOLDER = "searches"  # within the cache folder
DAYS, MOST = 7, 8  # how long the parts of a search that was stopped are kept, and of how many searches


class SearchParts:
    """The place of the parts of one search.

    Attributes:
        folder: where they are; None while none can be kept.

    Examples:
        >>> import numpy as np
        >>> parts = SearchParts()
        >>> with parts.of(["run 1"], [Path("a.jpg"), Path("b.jpg")]) as shards:
        ...     shards.put("file-000000000", np.eye(2, dtype=np.float32))
        ...     parts.kept
        True
        >>> parts.kept  # the search has succeeded
        False
    """

    def __init__(self) -> None:
        self.folder: Path | None = None

    @property
    def kept(self) -> bool:
        """Whether a search that stops now leaves parts, from which the same one goes on."""
        return self.folder is not None and any(self.folder.glob("*.np[yz]"))

    @contextmanager
    def of(self, key: Any, files: Sequence[Path]) -> Iterator[Shards | None]:
        """Give the place for what is encoded of files; it is removed when the block ends well.

        None is given where the cache folder cannot be written, which a line on standard error says, and while another
        process searches for the same files.

        Args:
            key: changes with whatever else the encoded values depend on; JSON can hold it.
            files: those that are encoded, in their order, and others that these may name; their paths, sizes and times
                count.
        """
        states = [state_of(os.path.abspath(path), path) for path in files]
        root = cache_folder() / FOLDER
        folder = root / digest([cmah.__version__, key, states])
        with ExitStack() as stack:
            try:
                stack.enter_context(locked(folder))
                self.folder = folder
            except CmahError as error:
                if not os.path.isdir(folder):
                    tell_not_kept(str(error))
            if self.folder is None:
                yield None
                return
            _remove_old(root)
            yield Shards(folder, None, unwritable=lambda error: tell_not_kept(str(error)))
            shutil.rmtree(folder, ignore_errors=True)
            self.folder = None


def _remove_old(root: Path) -> None:
    """Remove the parts of searches that were stopped long ago, or before many others."""
    with suppress(OSError):
        folders = sorted(root.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for place, folder in enumerate(folders):
            if place >= MOST or time.time() - folder.stat().st_mtime > DAYS * 86400:
                with suppress(CmahError), locked(folder):  # of those that are at work none
                    shutil.rmtree(folder, ignore_errors=True)
