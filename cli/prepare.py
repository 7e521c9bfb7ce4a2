"""cmah prepare: a dataset folder from a folder of meshes."""

import json
from collections import Counter
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

import click

from cmah.cli import options

if TYPE_CHECKING:
    from cmah.data.dataset import Dataset


class Fractions(click.ParamType):
    """Numbers separated by commas."""

    name = "numbers"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """Turn "0,20,40" into (0.0, 20.0, 40.0)."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(float(word) for word in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of numbers separated by commas", param, ctx)


def _check_elevations(elevations: tuple[float, ...]) -> None:
    from cmah.preparing.prepare_parameters import check_elevations

    check_elevations(elevations)


def _check_fractions(fractions: tuple[float, ...]) -> None:
    from cmah.preparing.shape_ids import check_fractions

    check_fractions(fractions)


def _check_prefix(prefix: str) -> None:
    from cmah.preparing.shape_ids import check_prefix

    check_prefix(prefix)


def _check_sheet(sheet: Path) -> None:
    from cmah.preparing import contact_sheet

    contact_sheet.check_sheet_name(sheet)
    contact_sheet.refuse_to_replace(sheet)


@click.command("prepare", context_settings={"show_default": True})
@click.argument("meshes", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--up", type=click.Choice(["y", "z"]), help="Axis that points up in the mesh files.  [default: y]"
)
@click.option(
    "--views",
    type=click.IntRange(1, 1000),
    help="Number of views to render of each shape, evenly spaced all round.  [default: 12]",
)
@click.option("--image-size", type=click.IntRange(8, 4096), help="Side of a view in pixels.  [default: 224]")
@click.option(
    "--points",
    type=click.IntRange(1, 10_000_000),
    help="Number of points to sample from each shape.  [default: 10000]",
)
@click.option(
    "--elevation",
    "elevations",
    type=Fractions(),
    callback=options.checked(_check_elevations),
    help="Elevation of the cameras in degrees; several, such as 0,20,40, are taken in turn.  [default: 20]",
)
@click.option(
    "--jitter",
    type=click.FloatRange(0, 180),
    help="Largest random deviation of a camera in degrees; 0 turns it off.  [default: 0]",
)
@click.option(
    "--seed", type=click.IntRange(0), help="Random seed of the points and the jitter.  [default: 0]"
)
@click.option(
    "--split-fractions",
    type=Fractions(),
    callback=options.checked(_check_fractions),
    help="Fractions of the shapes that go to train, val and test, unless folders of these names decide.  [default: "
    "0.8,0.1,0.1]",
)
@click.option(
    "--jobs", "-j", type=click.IntRange(1), help="Number of worker processes.  [default: one for each core]"
)
@click.option(
    "--time-limit",
    type=click.FloatRange(0.1),
    default=60.0,
    help="Seconds after which a mesh is skipped.",
)
@click.option(
    "--memory-limit",
    type=click.FloatRange(0.5),
    default=4.0,
    help="GiB of memory beyond which a mesh is skipped.",
)
@click.option(
    "--prefix",
    callback=options.checked(_check_prefix),
    help="Word that the ids of the shapes of this folder begin with, where another folder has the same ids; it is "
    "remembered.",
)
@click.option(
    "--prune",
    is_flag=True,
    help="Remove the shapes of this folder whose meshes are no longer there, or are broken now.",
)
@click.option(
    "--overwrite",
    is_flag=True,
    help="Start anew if the dataset folder was made with other parameters; all folders that it was made from are "
    "prepared again.",
)
@click.option(
    "--sheet",
    type=click.Path(path_type=Path),
    callback=options.checked(_check_sheet),
    help="Picture (.png, .jpg) of all shapes to write as well.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def prepare(
    meshes: Path,
    out: Path,
    up: str | None,
    views: int | None,
    image_size: int | None,
    points: int | None,
    elevations: tuple[float, ...] | None,
    jitter: float | None,
    seed: int | None,
    split_fractions: tuple[float, ...] | None,
    jobs: int | None,
    time_limit: float,
    memory_limit: float,
    prefix: str | None,
    prune: bool,
    overwrite: bool,
    sheet: Path | None,
    as_json: bool,
) -> None:
    """Render views and sample points from a folder of meshes.

    MESHES/<category>/**.{obj,off,ply,stl,glb,gltf}, a folder without categories, or one file. Folders named
    train, val or test below the category (as in ModelNet) set the split. Called again, it goes on where it
    stopped, or adds what is new. Called for another folder, it adds its shapes to those of OUT, with the views
    and points that OUT was prepared with. Nothing leaves OUT without --prune. A .ply file without faces is a
    cloud of points: a shape with points and no views. Meshes that cannot be used are listed in
    OUT/skipped.csv, and what others lost, such as a texture that was not found, in OUT/remarks.csv.
    """
    import cmah
    from cmah.preparing.prepared_tables import earlier_fractions, ids_in_table
    from cmah.skipped_files import read_skipped

    before = ids_in_table(out)
    dataset = cmah.prepare(
        meshes,
        out,
        views=views,
        image_size=image_size,
        points=points,
        up=up,
        jobs=jobs,
        elevations=elevations,
        jitter=jitter,
        seed=seed,
        split_fractions=split_fractions,
        time_limit=time_limit,
        memory_limit=memory_limit,
        overwrite=overwrite,
        prefix=prefix,
        prune=prune,
        report=lambda line: click.echo(line, err=True),
    )
    skipped = read_skipped(out)
    if sheet is not None:
        from cmah.preparing.contact_sheet import write_contact_sheet

        write_contact_sheet(dataset, sheet)
    if as_json:
        click.echo(json.dumps(_summary(dataset, out, before, skipped), indent=1, ensure_ascii=False))
    else:
        fractions = earlier_fractions(dataset.extra)
        _print_summary(dataset, out, before, skipped, sheet, evaluated=any(fractions[1:]))


def _summary(
    dataset: "Dataset", out: Path, before: set[str], skipped: list[tuple[str, str]]
) -> dict[str, object]:
    from cmah.data.mesh_sources import split_source
    from cmah.preparing.mesh_remarks import read_remarks

    folders = dataset.mesh_folders
    homes = [split_source(shape.extra.get("source", ""), folders)[0] for shape in dataset.shapes]
    counts = Counter(home["path"] for home in homes if home is not None)
    now = {shape.shape_id for shape in dataset.shapes}
    clouds = _count_clouds(dataset)
    return {
        "dataset": str(out),
        "shapes": len(dataset.shapes),
        "images": len(dataset.images),
        **({"points_only": clouds} if clouds else {}),
        "categories": len({shape.category for shape in dataset.shapes} - {""}),
        "splits": dict(sorted(Counter(shape.split for shape in dataset.shapes).items())),
        "added": len(now - before),
        "kept": len(now & before),
        "removed": len(before - now),
        "folders": [{**folder, "shapes": counts[folder["path"]]} for folder in folders],
        "skipped": [{"path": path, "reason": reason} for path, reason in skipped],
        "remarks": [{"path": path, "remark": remark} for path, remark in read_remarks(out)],
    }


def _count_clouds(dataset: "Dataset") -> int:
    """The number of shapes without any image."""
    views = dataset.views()
    return sum(bool(shape.points) and not views[shape.shape_id] for shape in dataset.shapes)


def _print_summary(
    dataset: "Dataset",
    out: Path,
    before: set[str],
    skipped: list[tuple[str, str]],
    sheet: Path | None,
    *,
    evaluated: bool,
) -> None:
    from cmah.preparing.mesh_remarks import counts_of, how_many, read_remarks
    from cmah.skipped_files import counts_of_reasons

    splits = Counter(shape.split for shape in dataset.shapes)
    parts = ", ".join(f"{splits[name]} {name}" for name in ("train", "val", "test") if splits[name])
    categories = len({shape.category for shape in dataset.shapes} - {""})
    clouds = _count_clouds(dataset)
    alone = f"; {clouds} shape{' has' if clouds == 1 else 's have'} points only" if clouds else ""
    click.echo(
        f"{out}: {len(dataset.shapes)} shapes ({parts}) of {categories} categories, {len(dataset.images)} views{alone}"
    )
    if before:
        now = {shape.shape_id for shape in dataset.shapes}
        added, removed = len(now - before), len(before - now)
        gone = f", removed {removed}" if removed else ""
        click.echo(f"added {added} shape{'s' * (added != 1)} to {len(before)}{gone}")
    if skipped:
        click.echo(f"{len(skipped)} skipped, listed in {out / 'skipped.csv'}:")
        for reason, count in counts_of_reasons(reason for _, reason in skipped):
            click.echo(f"  {count:5d}  {reason}")
    remarks = read_remarks(out)
    if remarks:
        click.echo(f"{how_many(remarks, len(dataset.shapes), 'shapes')}, listed in {out / 'remarks.csv'}:")
        for remark, count in counts_of(remarks):
            click.echo(f"  {count:5d}  {remark}")
    if sheet is not None:
        click.echo(f"picture of the shapes: {sheet}")
    if not splits["val"] and not splits["test"] and evaluated:
        click.echo(
            "no shapes to test on, as so few all fell to train; --split-fractions 0.5,0,0.5 gives more",
            err=True,
        )
    if dataset.images:
        click.echo(f"next: cmah train {quote(str(out))} --out RUN (--preset tiny without a GPU)")
    else:
        click.echo(
            "no shape has a view to train on: encode them by a run that was trained on other shapes, which"
        )
        click.echo(f"sees points: cmah export RUN {quote(str(out))} --out CODES")
