"""From a trained run and a dataset to files of codes or embeddings."""

import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cmah.checks import as_int, shown
from cmah.codes import BinaryCodes, Embeddings
from cmah.codes.code_files import Format, refuse_to_replace
from cmah.codes.real_codes import real_file_of
from cmah.config.schema import DataConfig
from cmah.data.dataset import NO_POINTS, Database, Dataset, without_points
from cmah.data.file_states import file_states, image_states
from cmah.data.framing import Background, Crop, Framing
from cmah.errors import CmahError, DatasetError
from cmah.file_names import as_path
from cmah.models.encoder_model import needs_points
from cmah.runs.dataset_views import dataset_views
from cmah.runs.encoder import Encoder
from cmah.runs.export_parts import export_parts, write_together
from cmah.runs.run_folder import MODALITIES
from cmah.search.row_vectors import views_file_of
from cmah.skipped_files import Skipped, refuse_to_replace_skipped, write_skipped

FEW = 10  # shapes, below which equal codes say little


def export(
    run: str | Path,
    dataset: str | Path | Dataset,
    out: str | Path,
    *,
    split: str = "all",
    database: Database = "split",
    format: Format = "npz",
    embeddings: bool = False,
    device: str = "auto",
    workers: int = 2,
    settings: Sequence[str] = (),
    crop: Crop | None = None,
    crop_margin: float | None = None,
    background: Background | None = None,
    per_view: bool = False,
    real: bool = False,
    views: bool = False,
    verify: bool = False,
    report: Callable[[str], None] = lambda line: None,
) -> tuple[Path, Path, Skipped]:
    """Encode the images and shapes of a split and write image.npz and shape.npz.

    Where the run sees shapes by their views, the renders that describe them are no queries for them, and are not
    among the images. An export that was stopped goes on when it is called again with the same arguments.

    Args:
        run: folder that `train` wrote.
        dataset: folder, or a `Dataset`.
        out: folder for the two files.
        split: name of one, of the images; "all" takes everything that a search should find.
        database: "split" encodes the shapes of the split (see `Dataset.select`), "all" every shape of the dataset.
        format: "npz", a code file at every trained length; "pm1", .npy of ±1; "packed", .npy of packed bytes;
            "faiss", a binary flat index that FAISS reads. The last three are written beside the code file.
        embeddings: write real vectors (image_embeddings.npz, shape_embeddings.npz) in place of codes.
        device: "auto", "cpu" or "cuda".
        workers: processes that decode images.
        settings: changes such as "model.image_weights=FILE".
        crop: "box" or "mask" crops images to their boxes or masks, "square" to their middle, "none" does not; None: as
            the run was trained.
        crop_margin: kept on each side of such a box, as a part of its width and height; None: as the run was trained.
        background: "remove" paints black what an image's mask says is not the object; None: as the run was trained.
        per_view: write a row for each view of a shape, with the shape's id beside the image's, in place of one for
            each shape.
        real: write real-valued codes too, whose signs are the codes: image_real.npz, shape_real.npz.
        views: write vectors of the images and of single views of the shapes too, to put hits in order by:
            image_views.npz, shape_views.npz (see `dataset_views`).
        verify: read weights files anew instead of trusting the digests that the cache remembers.
        report: called with each line on what is encoded, and how.

    Returns:
        (path of the image file, path of the shape file, (path or id, reason) of what could not be read); the last is
        written to skipped.csv too.

    Raises:
        CmahError: if a setting, the run or the dataset is no good, or nothing of a modality that has files can be read.

    Examples:
        >>> image, shape, skipped = export("demo/run", "demo/dataset", "exported", device="cpu", workers=0)
        >>> str(image), str(shape), skipped
        ('exported/image.npz', 'exported/shape.npz', [])
    """
    out = as_path(out)
    _check_types(format, workers)
    _check_beside(real, views, embeddings)
    data = dataset if isinstance(dataset, Dataset) else Dataset.read(dataset)
    whole, data = data, data.select(split, database)
    encoder = Encoder.load(run, device, settings, verify=verify)
    framing = _framing(encoder.framing, crop, crop_margin, background)
    skipped: Skipped = []
    targets = {m: out / f"{m}{'_embeddings' if embeddings else ''}.npz" for m in MODALITIES}
    beside = ".faiss" if format == "faiss" else f".{format}.npy"
    if per_view or views:
        encoder.require_views("one code per view" if per_view else "vectors of views")
    # before hours of encoding, not after
    _refuse_to_replace(out, targets.values(), beside, format, embeddings, real, views)
    describing = encoder.describing(data)
    images = [image for image in data.images if image.image_id not in describing]
    lacking = without_points(data.shapes) if needs_points(encoder.model) else ""
    for line in (covered(data, split, database), left_out(whole, data), framing.remark(data.images), lacking):
        if line:
            report(line)
    if describing:
        report(
            f"{len(describing)} renders describe their shapes and are no queries (model.views_from="
            f"{encoder.model.views_from}); {len(images)} images are left"
        )
        if not images:
            report(
                "no image is left as a query: add photos, or let every second render ask (--set model.views_from=even)"
            )
    files: list[tuple[Path, BinaryCodes | Embeddings, Format]] = []
    folder = str(data.root.resolve())
    folder = folder if folder.isprintable() else ""  # a code file holds text of one line
    with export_parts(out, _key(encoder, data, framing, per_view=per_view)) as parts:
        for modality in MODALITIES:
            if modality == "image":
                codes, unreadable = encoder.dataset_images(
                    data,
                    images,
                    workers=workers,
                    label="images",
                    embeddings=embeddings,
                    real=real,
                    framing=framing,
                    keep=parts,
                )
            else:
                codes, unreadable = encoder.dataset_shapes(
                    data,
                    data.shapes,
                    workers=workers,
                    label="shapes",
                    embeddings=embeddings,
                    real=real,
                    per_view=per_view,
                    keep=parts,
                )
            codes, *numbers = codes if real else (codes,)
            files += [
                (real_file_of(targets[modality]), replace(rows, dataset=folder), "npz") for rows in numbers
            ]
            codes = replace(codes, dataset=folder)
            broken = [reason for _, reason in unreadable if reason != NO_POINTS]
            if broken and not len(codes):
                raise DatasetError([f"{data.root}: no {modality} could be read; the first: {broken[0]}"])
            skipped += unreadable
            if modality == "shape":
                _remark_on_shapes(codes, encoder.model.view_group, per_view, report)
            files.append((targets[modality], codes, "npz"))
            if format != "npz":
                files.append((targets[modality].with_suffix(beside), codes, format))
        if views:
            looks = dataset_views(
                encoder, data, images, data.shapes, framing=framing, workers=workers, keep=parts
            )
            files += _beside(targets, looks, folder)
        write_together(files)
        write_skipped(out, skipped)
    paths = [
        targets[modality] if format == "npz" else targets[modality].with_suffix(beside)
        for modality in MODALITIES
    ]
    return paths[0], paths[1], skipped


def _beside(
    targets: Mapping[str, Path], looks: Sequence[Embeddings], folder: str
) -> Iterator[tuple[Path, Embeddings, Format]]:
    """The files of vectors of images and views, as `write_together` takes them."""
    for modality, rows in zip(MODALITIES, looks, strict=True):
        yield views_file_of(targets[modality]), replace(rows, dataset=folder), "npz"


def covered(data: Dataset, split: str, database: Database) -> str:
    """Which images and which shapes of a dataset are encoded, in words.

    Args:
        data: what `Dataset.select` gave.
        split: as it was selected.
        database: as it was selected.

    Examples:
        >>> data = Dataset.read("demo/dataset")
        >>> covered(data.select("test"), "test", "split"), covered(data.select("test", "all"), "test", "all")
        ('... images of split test, ... shapes of split test', '... images of split test, all ... shapes of any split')
    """
    if split == "all":
        return f"all {len(data.images)} images and {len(data.shapes)} shapes, of any split"
    shapes = f"{len(data.shapes)} shapes of"
    shapes = f"all {shapes} any split" if database == "all" else f"{shapes} split {split}"
    return f"{len(data.images)} images of split {split}, {shapes}"


def left_out(whole: Dataset, data: Dataset) -> str:
    """How many images and shapes of other splits are not encoded, in words; "" if all are.

    Args:
        whole: the dataset.
        data: what `Dataset.select` gave of it.

    Examples:
        >>> data = Dataset.read("demo/dataset")
        >>> left_out(data, data.select("test")), left_out(data, data.select("all"))
        ('... images and ... shapes of other splits are left out', '')
    """
    counts = (
        (len(whole.images) - len(data.images), "images"),
        (len(whole.shapes) - len(data.shapes), "shapes"),
    )
    parts = [f"{count} {what}" for count, what in counts if count]
    return f"{' and '.join(parts)} of other splits are left out" if parts else ""


def _key(encoder: Encoder, data: Dataset, framing: Framing, *, per_view: bool) -> list[Any]:
    """What changes with whatever the outputs of an export depend on."""
    shapes = [[*vars(shape).values(), *file_states(data, [shape.points])] for shape in data.shapes]
    return [
        *encoder.key,
        framing.key,
        per_view,
        [[*vars(image).values()] for image in data.images],
        image_states(data, data.images),
        shapes,
    ]


def _refuse_to_replace(
    out: Path, paths: Iterable[Path], beside: str, format: Format, embeddings: bool, real: bool, views: bool
) -> None:
    """Refuse to write over anything but what an earlier export wrote."""
    if out.exists() and not out.is_dir():
        raise CmahError(f"{out}: is a file, expected a folder to write to")
    for path in paths:
        refuse_to_replace(path, embeddings=embeddings)
        if format != "npz":
            refuse_to_replace(path.with_suffix(beside), format=format)
        if real:
            refuse_to_replace(real_file_of(path), embeddings=True)
        if views:
            refuse_to_replace(views_file_of(path), embeddings=True)
    refuse_to_replace_skipped(out)


def _check_types(format: object, workers: object) -> None:
    """Refuse what is no format or number before anything is read."""
    formats = typing.get_args(Format)
    if format not in formats:
        raise CmahError(f"format is {shown(format)}, expected one of {', '.join(formats)}")
    as_int(workers, "workers", CmahError)


def _check_beside(real: bool, views: bool, embeddings: bool) -> None:
    """Refuse what is written beside codes without them."""
    if views and embeddings:
        raise CmahError("vectors of views are written beside codes, expected no embeddings in place of these")
    if real and embeddings:
        raise CmahError(
            "real-valued codes are written beside codes, expected no embeddings in place of these"
        )


def _framing(
    trained: Framing, crop: Crop | None, margin: float | None, background: Background | None
) -> Framing:
    """The framing of the training with the changes asked for, checked as settings are."""
    return DataConfig(
        crop=trained.crop if crop is None else crop,
        crop_margin=trained.margin if margin is None else margin,
        background=trained.background if background is None else background,
    ).framing


def _remark_on_shapes(
    codes: BinaryCodes | Embeddings, view_group: int, per_view: bool, report: Callable[[str], None]
) -> None:
    """Say what the rows of shapes are where that is not plain, and where many are alike."""
    if per_view and view_group > 1 and codes.shape_ids is not None:
        report(f"{view_group} views give one vector: {len(codes)} rows of {len(set(codes.shape_ids))} shapes")
    if isinstance(codes, BinaryCodes):
        _remark_on_equal_codes(codes, "views of shapes" if per_view else "shapes", report)


def _remark_on_equal_codes(codes: BinaryCodes, what: str, report: Callable[[str], None]) -> None:
    """Say so where many rows have one code although there are codes enough."""
    different = len(np.unique(codes.packed, axis=0))
    if len(codes) >= FEW and 2 * different < len(codes) and 2.0**codes.bits > 4 * len(codes):
        report(
            f"warning: {len(codes)} {what} have only {different} different codes, so many will be found together; "
            "longer training or more shapes to train on help"
        )
