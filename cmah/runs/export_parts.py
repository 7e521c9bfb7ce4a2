"""What an export has encoded so far, beside its output, from which one that was stopped goes on when called again."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import cmah
from cmah.codes import BinaryCodes, Embeddings, write_codes
from cmah.codes.code_files import Format
from cmah.errors import CmahError
from cmah.features.shards import Shards
from cmah.files import atomic_paths, digest, locked

FOLDER = ".export"  # within the folder of the output, while an export is at work or was stopped


@contextmanager
def export_parts(out: Path, key: Any) -> Iterator[Shards]:
    """Lock the folder of an export, and give the place for what is encoded; it is removed when the block ends well.

    Parts of another key, of an export that was stopped, are removed.

    Args:
        out: the folder of the output, made if there is none.
        key: changes with whatever the encoded values depend on; JSON can hold it.

    Raises:
        CmahError: if the folder cannot be written, or another process is at work in it.

    Examples:
        >>> with export_parts(Path("codes"), ["run 1"]) as parts:
        ...     print(parts.folder.parent)
        codes/.export
        >>> list(Path("codes").iterdir())
        []
    """
    root = out / FOLDER
    folder = root / digest([cmah.__version__, key])
    with locked(out):
        try:
            for other in root.iterdir() if root.is_dir() else ():
                if other != folder:
                    shutil.rmtree(other) if other.is_dir() else other.unlink()
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CmahError(f"{out}: cannot be written to ({error.strerror})") from None
        try:
            yield Shards(folder, None)
        except BaseException:
            with suppress(OSError):  # they hold what the next call goes on from
                folder.rmdir()
                root.rmdir()
            raise
        shutil.rmtree(root, ignore_errors=True)


def write_together(files: Sequence[tuple[Path, BinaryCodes | Embeddings, Format]]) -> None:
    """Write files of codes, all of them or none.

    Args:
        files: path, rows and format of each.

    Raises:
        CmahError: if one cannot be written; then all are as they were.

    Examples:
        >>> codes = BinaryCodes.from_bits([[0, 1]])
        >>> write_together([(Path("image.npz"), codes, "npz"), (Path("shape.npz"), codes, "npz")])
        >>> Path("image.npz").read_bytes() == Path("shape.npz").read_bytes()
        True
    """
    with atomic_paths([path for path, _, _ in files]) as parts:
        for part, (_, rows, form) in zip(parts, files, strict=True):
            write_codes(rows, part, form)
