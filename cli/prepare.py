"""cmah prepare: a dataset folder from a folder of meshes."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from cmah.data.dataset import Dataset


class Numbers(click.ParamType):
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


@click.command(context_settings={"show_default": True})
@click.argument("meshes", type=click.Path(exists=True, path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--up", type=click.Choice(["y", "z"]), default="y", help="Which axis of the files points up.")
@click.option("--views", type=click.IntRange(1, 1000), default=12, help="Views a shape, all round.")
@click.option("--image-size", type=click.IntRange(8, 4096), default=224, help="Side of a view in pixels.")
@click.option("--points", type=click.IntRange(1, 10_000_000), default=10_000, help="Points a shape.")
@click.option(
    "--elevation", type=Numbers(), default="20", help="Of the cameras in degrees; 0,20,40 are taken in turn."
)
@click.option(
    "--jitter", type=click.FloatRange(0, 180), default=0.0, help="Largest deviation of a camera, degrees."
)
@click.option("--seed", type=click.IntRange(0), default=0, help="Of points and jitter.")
@click.option(
    "--split-fractions",
    type=Numbers(),
    default="0.8,0.1,0.1",
    help="Of train, val, test, where no folder of these names says the split.",
)
@click.option("--jobs", "-j", type=click.IntRange(1), help="Worker processes.  [default: one a core]")
@click.option("--time-limit", type=click.FloatRange(0.1), default=60.0, help="Seconds a mesh.")
@click.option("--memory-limit", type=click.FloatRange(0.5), default=4.0, help="GiB a mesh.")
@click.option("--overwrite", is_flag=True, help="Start anew where OUT was made with other parameters.")
@click.option("--sheet", type=click.Path(path_type=Path), help="Write a picture (PNG, JPG) of all shapes.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def command(
    meshes: Path,
    out: Path,
    up: str,
    views: int,
    image_size: int,
    points: int,
    elevation: tuple[float, ...],
    jitter: float,
    seed: int,
    split_fractions: tuple[float, ...],
    jobs: int | None,
    time_limit: float,
    memory_limit: float,
    overwrite: bool,
    sheet: Path | None,
    as_json: bool,
) -> None:
    """Render views and sample points from a folder of meshes.

    MESHES/<category>/**.{obj,off,ply,stl,glb,gltf}, a folder without categories, or one file. Folders named
    train, val or test below the category (as in ModelNet) set the split. Called again, it goes on where it
    stopped, or adds what is new. What cannot be used is listed in OUT/skipped.csv.
    """
    if len(split_fractions) != 3 or min(split_fractions) < 0 or not abs(sum(split_fractions) - 1) < 1e-6:
        raise click.BadParameter("expected three numbers that sum to 1", param_hint="--split-fractions")
    if any(not -90 < value < 90 for value in elevation):
        raise click.BadParameter("expected degrees between -90 and 90", param_hint="--elevation")
    for name, value in (("--jitter", jitter), ("--time-limit", time_limit), ("--memory-limit", memory_limit)):
        if not value < 1e6:  # nor is NaN
            raise click.BadParameter("expected a number below 1,000,000", param_hint=name)
    if sheet is not None and sheet.suffix.lower() not in {".png", ".jpg", ".jpeg"}:
        raise click.BadParameter("expected a name that ends in .png or .jpg", param_hint="--sheet")
    from cmah.files import read_skipped
    from cmah.preparing.preparing import prepare

    try:
        dataset = prepare(
            meshes,
            out,
            views=views,
            image_size=image_size,
            points=points,
            up=up,
            jobs=jobs,
            elevations=elevation,
            jitter=jitter,
            seed=seed,
            split_fractions=(split_fractions[0], split_fractions[1], split_fractions[2]),
            time_limit=time_limit,
            memory_limit=memory_limit,
            overwrite=overwrite,
        )
    except KeyboardInterrupt:
        click.echo(f"Stopped; the same command goes on from here ({out}).", err=True)
        raise
    skipped = read_skipped(out)
    if sheet is not None:
        from cmah.preparing.contact_sheet import write_contact_sheet

        write_contact_sheet(dataset, sheet)
    if as_json:
        click.echo(json.dumps(_summary(dataset, out, skipped), indent=1, ensure_ascii=False))
    else:
        _print_summary(dataset, out, skipped, sheet)


def _summary(dataset: "Dataset", out: Path, skipped: list[tuple[str, str]]) -> dict[str, object]:
    return {
        "dataset": str(out),
        "shapes": len(dataset.shapes),
        "images": len(dataset.images),
        "categories": len({shape.category for shape in dataset.shapes}),
        "splits": dict(sorted(Counter(shape.split for shape in dataset.shapes).items())),
        "skipped": [{"path": path, "reason": reason} for path, reason in skipped],
    }


def _print_summary(dataset: "Dataset", out: Path, skipped: list[tuple[str, str]], sheet: Path | None) -> None:
    splits = Counter(shape.split for shape in dataset.shapes)
    parts = ", ".join(f"{splits[name]} {name}" for name in ("train", "val", "test") if splits[name])
    categories = len({shape.category for shape in dataset.shapes})
    click.echo(
        f"{out}: {len(dataset.shapes)} shapes ({parts}) of {categories} categories, {len(dataset.images)} views"
    )
    if skipped:
        click.echo(f"{len(skipped)} skipped, listed in {out / 'skipped.csv'}:")
        # numbers and quoted text differ from file to file: the kind of fault is what groups
        kinds = Counter(re.sub(r"\s*(\(|, got).*", "", re.sub(r"\d+", "N", reason)) for _, reason in skipped)
        for reason, count in kinds.most_common():
            click.echo(f"  {count:5d}  {reason}")
    if sheet is not None:
        click.echo(f"picture of the shapes: {sheet}")
    if not splits["val"] and not splits["test"]:
        click.echo(
            "no shapes to test on: so few all fell to train; --split-fractions 0.5,0,0.5 gives more", err=True
        )
    click.echo(f"next: cmah train {out} --recipe cmah --out RUN")
