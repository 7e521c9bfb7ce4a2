"""Files of any kind to codes and embeddings: read in whatever order is fastest, kept in the order of the files."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from cmah.data.framing import WHOLE, Framing
from cmah.errors import CmahError
from cmah.features.shards import Piece, Shards, each_shard
from cmah.progress import progress
from cmah.runs.file_batches import FileBatches, Modality
from cmah.runs.kept_remarks import KeptRemarks
from cmah.runs.model_codes import ModelCodes
from cmah.runs.query_files import QueryFile

Vectors = Literal["embeddings", "real", "views"]


@dataclass
class EncodedFiles:
    """What a model made of files.

    Attributes:
        kept: position of the file of each row, ascending.
        kinds: "photo" or "shape" of each row.
        packed: codes, uint8 [n, bytes].
        vectors: what else was asked for, by name, float32 [n, d] each.
        skipped: (position, reason) of each file that has no row, ascending.
        remarks: (position, what was lost) of meshes that have one, ascending, a row for each thing.

    Examples:
        >>> EncodedFiles([1], ["photo"], np.zeros((1, 8), np.uint8), {}, [(0, "a.jpg: no such file")], []).kept
        [1]
    """

    kept: list[int]
    kinds: list[str]
    packed: np.ndarray
    vectors: dict[Vectors, np.ndarray]
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
    vectors: Collection[Vectors] = (),
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
        vectors: what to give too: "embeddings"; "real", real-valued codes; "views", vectors to compare with those of
            `dataset_views`, of a shape one for all its views.
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
    behind = encoder.view_width if "views" in vectors else 0
    width = model.width + behind

    def given(rows: np.ndarray, modality: Modality) -> dict[Vectors, np.ndarray]:
        """What is asked for of the outputs of some files."""
        outputs, seen = rows[:, : model.width], rows[:, model.width :]
        make: dict[Vectors, Callable[[], np.ndarray]] = {
            "embeddings": lambda: model.embeddings(outputs),
            "real": lambda: encoder.real_codes(outputs, modality),
            "views": lambda: seen if behind else model.embeddings(outputs),
        }
        return {name: make[name]() for name in vectors}

    nothing = np.zeros((0, width), np.float32)
    columns = {
        name: np.zeros((len(files), rows.shape[1]), np.float32)
        for name, rows in given(nothing, "image").items()
    }
    skipped: list[tuple[int, str]] = []
    remarks = KeptRemarks(None if keep is None else keep.folder)

    def compute(begin: int, end: int) -> Iterator[Piece]:
        kinds = read_as[begin:end]
        batches = FileBatches(
            paths[begin:end], model, framing, up, workers, prepared, kinds, roots[begin:end]
        )
        told = 0
        for piece in _in_order(encoder, batches, begin, end, behind):
            remarks.add([(begin + position, remark) for position, remark in batches.remarks[told:]])
            told = len(batches.remarks)
            yield piece

    bar = progress(range(len(files)), label, unit=" files") if label else None
    for first, count, rows, left_out in each_shard(keep, "file", len(files), width, compute, bar):
        missing = {position for position, _ in left_out}
        here = np.array([i for i in range(first, first + count) if i not in missing], np.int64)
        parts: list[tuple[Modality, np.ndarray]] = [("image", here < pictures), ("shape", here >= pictures)]
        for modality, chosen in parts:
            if chosen.any():
                places = np.array(order)[here[chosen]]
                packed[places] = encoder.packed(rows[chosen, : model.width], modality)
                for name, values in given(rows[chosen], modality).items():
                    columns[name][places] = values
        skipped += [(order[position], reason) for position, reason in left_out]
    lost = {position for position, _ in skipped}
    kept = [i for i in range(len(files)) if i not in lost]
    kinds = ["photo" if files[i].kind == "picture" else "shape" for i in kept]
    of_file = {order[position]: remarks.of(position) for position in range(pictures, len(files))}
    told = [(i, remark) for i in kept for remark in of_file.get(i, ())]
    asked = {name: values[kept] for name, values in columns.items()}
    return EncodedFiles(kept, kinds, packed[kept], asked, sorted(skipped), told)


def _in_order(
    encoder: ModelCodes, batches: FileBatches, begin: int, end: int, behind: int
) -> Iterator[Piece]:
    """The outputs of files in the order of the files; meshes are read in another, by several processes."""
    done: dict[int, np.ndarray | str] = {}
    at, told = begin, 0
    for modality, batch, positions in batches:
        bad: list[tuple[int, str]] = []
        for rows, outputs in _finite_outputs(encoder, modality, batch, positions, bad, behind > 0):
            done.update(zip(rows, outputs, strict=True))
        done.update([*bad, *batches.skipped[told:]])
        told = len(batches.skipped)
        stop = at
        while stop - begin in done:
            stop += 1
        yield _piece(done, begin, at, stop, encoder.model.width + behind)
        at = stop
    done.update(batches.skipped[told:])
    yield _piece(done, begin, at, end, encoder.model.width + behind)


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
    encoder: ModelCodes,
    modality: Modality,
    batch: Any,
    positions: list[int],
    bad: list[tuple[int, str]],
    vectors: bool,
) -> Iterator[tuple[list[int], np.ndarray]]:
    """Positions and outputs of a batch; a row whose outputs are not finite goes to `bad`, and costs itself only."""
    try:
        outputs = encoder.outputs_with_vectors if vectors else encoder.outputs
        yield positions, outputs(modality, [batch])
    except CmahError as error:
        if len(positions) == 1:
            bad.append((positions[0], str(error)))
            return
        for row, position in enumerate(positions):
            one = slice(row, row + 1)
            part = (
                {name: values[one] for name, values in batch.items()} if modality == "shape" else batch[one]
            )
            yield from _finite_outputs(encoder, modality, part, [position], bad, vectors)
