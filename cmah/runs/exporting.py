"""From a trained run and a dataset to files of codes or embeddings."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from cmah.codes import BinaryCodes, write_codes
from cmah.codes.code_files import refuse_to_replace
from cmah.data.dataset import Dataset
from cmah.errors import DatasetError
from cmah.files import Skipped, refuse_to_replace_skipped, write_skipped
from cmah.runs.encoder import Encoder
from cmah.runs.run_folder import MODALITIES

FEW = 10  # shapes, below which equal codes say little


def export(
    run: str | Path,
    dataset: str | Path | Dataset,
    out: str | Path,
    *,
    split: str = "test",
    format: Literal["npz", "pm1", "packed", "faiss"] = "npz",
    embeddings: bool = False,
    device: str = "auto",
    workers: int = 2,
    settings: Sequence[str] = (),
    background: Literal["keep", "remove"] = "keep",
    per_view: bool = False,
    verify: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> tuple[Path, Path, Skipped]:
    """Encode the images and shapes of a split and write image.npz and shape.npz.

    Where the run sees shapes by their views, the renders that describe them are no queries for them, and are not
    among the images.

    Args:
        run: folder that `train` wrote.
        dataset: folder, or a `Dataset`.
        out: folder for the two files.
        split: of the dataset, or "all".
        format: "npz", a code file at every trained length; "pm1", .npy of ±1; "packed", .npy of packed bytes;
            "faiss", a binary flat index that FAISS reads. The last three are written beside the code file.
        embeddings: write real vectors (image_embeddings.npz, shape_embeddings.npz) in place of codes.
        device: "auto", "cpu" or "cuda".
        workers: processes that decode images.
        settings: changes such as "model.image_weights=FILE".
        background: "remove" paints black what an image's mask says is not the object.
        per_view: write a row for each view of a shape, with the shape's id beside the image's, in place of one for
            each shape.
        verify: read weights files anew instead of trusting the digests that the cache remembers.
        report: called with each line for people.

    Returns:
        (path of the image file, path of the shape file, (path, reason) of what could not be read); the last is
        written to skipped.csv too.

    Examples:
        >>> image, shape, skipped = export("demo/run", "demo/dataset", "exported", device="cpu", workers=0)
        >>> str(image), str(shape), skipped
        ('exported/image.npz', 'exported/shape.npz', [])
    """
    data = dataset if isinstance(dataset, Dataset) else Dataset.read(dataset)
    data = data.select(split)
    encoder = Encoder.load(run, device, settings, verify=verify)
    out = Path(out)
    skipped: Skipped = []
    targets = {m: out / f"{m}{'_embeddings' if embeddings else ''}.npz" for m in MODALITIES}
    beside = ".faiss" if format == "faiss" else f".{format}.npy"
    for path in targets.values():  # before hours of encoding, not after
        refuse_to_replace(path, embeddings=embeddings)
        if format != "npz":
            refuse_to_replace(path.with_suffix(beside), format=format)
    refuse_to_replace_skipped(out)
    describing = encoder.describing(data)
    images = [image for image in data.images if image.image_id not in describing]
    if describing:
        report(
            f"{len(describing)} renders describe their shapes and are no queries (model.views_from="
            f"{encoder.model.views_from}); {len(images)} images are left"
        )
    paths = []
    for modality in MODALITIES:
        if modality == "image":
            codes, unreadable = encoder.dataset_images(
                data,
                images,
                workers=workers,
                label="images",
                embeddings=embeddings,
                background=background,
            )
        else:
            codes, unreadable = encoder.dataset_shapes(
                data, data.shapes, workers=workers, label="shapes", embeddings=embeddings, per_view=per_view
            )
        if len(unreadable) and not len(codes):
            raise DatasetError([f"{data.root}: no {modality} could be read; the first: {unreadable[0][1]}"])
        skipped += unreadable
        if modality == "shape" and isinstance(codes, BinaryCodes):
            _remark_on_equal_codes(codes, report)
        path = targets[modality]
        write_codes(codes, path)
        if format != "npz":
            path = path.with_suffix(beside)
            write_codes(codes, path, format)
        paths.append(path)
    write_skipped(out, skipped)
    return paths[0], paths[1], skipped


def _remark_on_equal_codes(codes: BinaryCodes, report: Callable[[str], None]) -> None:
    """Say so where many shapes have one code although there are codes enough."""
    different = len(np.unique(codes.packed, axis=0))
    if len(codes) >= FEW and 2 * different < len(codes) and 2.0**codes.bits > 4 * len(codes):
        report(
            f"warning: {len(codes)} shapes have only {different} different codes, so many will be found together; "
            "longer training or more shapes to train on help"
        )
