"""Files of any kind to codes and embeddings: read in whatever order is fastest, kept in the order of the files."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cmah.data.framing import WHOLE, Framing
from cmah.errors import CmahError
from cmah.features.shards import Piece, Shards, each_shard
from cmah.progress import progress
from cmah.runs.file_batches import FileBatches, Modality
from cmah.runs.kept_remarks import KeptRemarks
from cmah.runs.model_codes import ModelCodes
from cmah.runs.query_files import QueryFile


@dataclass
class EncodedFiles:
    """What a model made of files.

    Attributes:
        kept: position of the file of each row, ascending.
        kinds: "photo" or "shape" of each row.
        packed: codes, uint8 [n, bytes].
        vectors: embeddings, float32 [n, d], or real-valued codes, float32 [n, bits]; None where neither was asked for.
        skipped: (position, reason) of each file that has no row, ascending.
        remarks: (position, what was lost) of meshes that have one, ascending, a row for each thing.

    Examples:
        >>> EncodedFiles([1], ["photo"], np.zeros((1, 8), np.uint8), None, [(0, "a.jpg: no such file")], []).kept
        [1]
    """

    kept: list[int]
    kinds: list[str]
    packed: np.ndarray
    vectors: np.ndarray | None
    skipped: list[tuple[int, str]]
    remarks: list[tuple[int, str]]


def encoded_files(
    encoder: ModelCodes,
    files: Sequence[QueryFile],
    framing: Framing = WHOLE,
    up: str = "y",
    *,
    workers: int | None = None,
    label: str = "",
    embeddings: bool = False,
    real: bool = False,
    keep: Shards | None = None,
    prepared: Mapping[str, Any] | None = None,
) -> EncodedFiles:
    """Encode files; a part of their outputs is in memory at a time.

    Args:
        encoder: the model.
        files: as `query_files` lists them.
        framing: what of a picture is cut off and painted over.
        up: "y" or "z", the up axis of meshes and point clouds.
        workers: see `FileBatches`.
        label: of the progress bar; none without it.
        embeddings: give embeddings too.
        real: give real-valued codes in their place.
        keep: where outputs are kept while they are computed, and taken from if they are there; they must be of this
            model, these files and these settings.
        prepared: see `FileBatches`.

    Examples:
        >>> from pathlib import Path
        >>> from cmah.runs.encoder import Encoder
        >>> from cmah.runs.query_files import query_files
        >>> files, _, _ = query_files(["demo/none.jpg", "demo/meshes/chair/chair_000.obj"])
        >>> encoded = encoded_files(Encoder.load("demo/run"), files)
        >>> encoded.kept, encoded.kinds, encoded.packed.shape, len(encoded.skipped)
        ([1], ['shape'], (1, 8), 1)
    """
    model = encoder.model
    # in the order in which they are read: pictures, point clouds, meshes
    order = sorted(range(len(files)), key=lambda i: (files[i].kind != "picture", files[i].kind == "mesh"))
    paths, read_as = [files[i].path for i in order], [files[i].kind for i in order]
    roots = [files[i].root for i in order]
    pictures = read_as.count("picture")
    packed = np.zeros((len(files), (model.code_lengths[-1] + 7) // 8), np.uint8)
    width = model.embeddings(np.zeros((0, model.width), np.float32)).shape[1] if embeddings else 0
    width = model.code_lengths[-1] if real else width
    vectors = np.zeros((len(files), width), np.float32)
    skipped: list[tuple[int, str]] = []
    remarks = KeptRemarks(None if keep is None else keep.folder)

    def compute(begin: int, end: int) -> Iterator[Piece]:
        kinds = read_as[begin:end]
        batches = FileBatches(
            paths[begin:end], model, framing, up, workers, prepared, kinds, roots[begin:end]
        )
        told = 0
        for piece in _in_order(encoder, batches, begin, end):
            remarks.add([(begin + position, remark) for position, remark in batches.remarks[told:]])
            told = len(batches.remarks)
            yield piece

    bar = progress(range(len(files)), label, unit=" files") if label else None
    for first, count, rows, left_out in each_shard(keep, "file", len(files), model.width, compute, bar):
        missing = {position for position, _ in left_out}
        here = np.array([i for i in range(first, first + count) if i not in missing], np.int64)
        for modality, chosen in (("image", here < pictures), ("shape", here >= pictures)):
            if chosen.any():
                places = np.array(order)[here[chosen]]
                packed[places] = encoder.packed(rows[chosen], modality)
                if real:
                    vectors[places] = encoder.real_codes(rows[chosen], modality)
                elif embeddings:
                    vectors[places] = model.embeddings(rows[chosen])
        skipped += [(order[position], reason) for position, reason in left_out]
    lost = {position for position, _ in skipped}
    kept = [i for i in range(len(files)) if i not in lost]
    kinds = ["photo" if files[i].kind == "picture" else "shape" for i in kept]
    of_file = {order[position]: remarks.of(position) for position in range(pictures, len(files))}
    told = [(i, remark) for i in kept for remark in of_file.get(i, ())]
    return EncodedFiles(
        kept, kinds, packed[kept], vectors[kept] if embeddings or real else None, sorted(skipped), told
    )


def _in_order(encoder: ModelCodes, batches: FileBatches, begin: int, end: int) -> Iterator[Piece]:
    """The outputs of files in the order of the files; meshes are read in another, by several processes."""
    done: dict[int, np.ndarray | str] = {}
    at, told = begin, 0
    for modality, batch, positions in batches:
        bad: list[tuple[int, str]] = []
        for rows, outputs in _finite_outputs(encoder, modality, batch, positions, bad):
            done.update(zip(rows, outputs, strict=True))
        done.update([*bad, *batches.skipped[told:]])
        told = len(batches.skipped)
        stop = at
        while stop - begin in done:
            stop += 1
        yield _piece(done, begin, at, stop, encoder.model.width)
        at = stop
    done.update(batches.skipped[told:])
    yield _piece(done, begin, at, end, encoder.model.width)


def _piece(done: dict[int, np.ndarray | str], begin: int, at: int, stop: int, width: int) -> Piece:
    """What was made of the files from one position to another, which is taken out of `done`."""
    rows, left_out = [np.zeros((0, width), np.float32)], []
    for position in range(at, stop):
        made = done.pop(position - begin)
        if isinstance(made, str):
            left_out.append((position, made))
        else:
            rows.append(made[None])
    return np.concatenate(rows), left_out, stop


def _finite_outputs(
    encoder: ModelCodes, modality: Modality, batch: Any, positions: list[int], bad: list[tuple[int, str]]
) -> Iterator[tuple[list[int], np.ndarray]]:
    """Positions and outputs of a batch; a row whose outputs are not finite goes to `bad`, and costs itself only."""
    try:
        yield positions, encoder.outputs(modality, [batch])
    except CmahError as error:
        if len(positions) == 1:
            bad.append((positions[0], str(error)))
            return
        for row, position in enumerate(positions):
            one = slice(row, row + 1)
            part = (
                {name: values[one] for name, values in batch.items()} if modality == "shape" else batch[one]
            )
            yield from _finite_outputs(encoder, modality, part, [position], bad)
