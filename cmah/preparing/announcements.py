"""What prepare says of shapes that stay, go, move or wait, one line for each."""

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cmah.data.dataset import Dataset
from cmah.data.table_rows import Shape
from cmah.preparing.folder_claims import UNKNOWN, Claim, owner_of
from cmah.preparing.prepare_log import PrepareLog
from cmah.preparing.prepared_tables import Tables, is_view


def count_shapes(names: Sequence[str]) -> str:
    """How many shapes, in words.

    Examples:
        >>> count_shapes(["seat"]), count_shapes(["seat", "sofa"])
        ('1 shape', '2 shapes')
    """
    return f"{len(names)} shape{'s' * (len(names) != 1)}"


def lines_before(claim: Claim, missing: Sequence[str], where: str | Path, *, prune: bool) -> Iterator[str]:
    """What is said before the work: folders that have moved, and shapes whose meshes are gone.

    Args:
        claim: the folder of meshes.
        missing: ids of the shapes whose meshes are gone.
        where: the folder that they were in.
        prune: whether they are removed.

    Examples:
        >>> list(lines_before(Claim("/meshes", ""), ["seat", "sofa"], "/meshes", prune=False))
        ['2 shapes of /meshes are no longer there and stay; --prune removes them']
    """
    for old in claim.was:
        if old != UNKNOWN:
            yield f"{claim.path} takes the place of {old}, which is no longer there"
    if missing and prune:
        yield f"removing {count_shapes(missing)} of {where} whose meshes are no longer there"
    elif missing:
        one = len(missing) == 1
        stay, them = (
            ("is no longer there and stays", "it") if one else ("are no longer there and stay", "them")
        )
        yield f"{count_shapes(missing)} of {where} {stay}; --prune removes {them}"


def lines_of_spoilt(
    spoilt: Sequence[str], left: Sequence[str], folder: str, skipped: Path, *, prune: bool
) -> Iterator[str]:
    """What becomes of shapes whose meshes were usable before, and no longer are.

    Args:
        spoilt: their ids.
        left: those of them whose views and points are still there.
        folder: that of the meshes.
        skipped: the list of what was skipped.
        prune: whether they are removed.

    Examples:
        >>> list(lines_of_spoilt(["seat"], ["seat"], "/meshes", Path("out/skipped.csv"), prune=True))
        ['removing 1 shape of /meshes whose changed meshes can no longer be used (see out/skipped.csv)']
    """
    changed = f"whose changed meshes can no longer be used (see {skipped})"
    if left and prune:
        yield f"removing {count_shapes(left)} of {folder} {changed}"
    elif left:
        yield f"keeping {count_shapes(left)} of {folder} as before {changed}; --prune removes what is kept so"
    if len(spoilt) > len(left):
        lost = [name for name in spoilt if name not in set(left)]
        yield f"removing {count_shapes(lost)} of {folder} that could not be made anew (see {skipped})"


def lines_after(
    before: Tables, made: Mapping[str, Shape], dataset: Dataset, log: PrepareLog, folder: str
) -> Iterator[str]:
    """What is said at the end: what else is not as it was, and what waits.

    Args:
        before: the tables as they were.
        made: the shapes of the given meshes, by id.
        dataset: the tables as they are to be.
        log: of the dataset folder.
        folder: that was given.

    Examples:
        >>> seat, moved = (Shape("seat", "", split, "points/seat.npy") for split in ("train", "test"))
        >>> before, dataset = Tables("mine", {"seat": seat}, []), Dataset(Path("out"), "mine", 9, "y", 9, [moved], [])
        >>> list(lines_after(before, {"seat": moved}, dataset, PrepareLog(Path("log")), "/meshes"))
        ['1 of 1 shapes of /meshes are in another split or category than before']
    """
    there = {shape.shape_id for shape in dataset.shapes}
    old = [before.shapes.get(name, shape) for name, shape in made.items()]
    moved = sum(
        (a.split, a.category) != (b.split, b.category) for a, b in zip(old, made.values(), strict=True)
    )
    if moved:
        yield f"{moved} of {len(made)} shapes of {folder} are in another split or category than before"
    alone = sum(
        image.shape_id in before.shapes and image.shape_id not in there and not is_view(image)
        for image in before.images
    )
    if alone:
        yield f"{alone} images of removed shapes stay in images.csv, as images of no shape"
    owners = {shape.shape_id: owner_of(shape, log) for shape in dataset.shapes}
    for other in log.folders:
        owned = [name for name, owner in owners.items() if owner == other]
        if owned and other != folder and not os.path.isdir(other):
            # perhaps moved to where its shapes have other ids: they would be in the dataset twice
            command = shlex.join(["cmah", "prepare", other, str(dataset.root), "--prune"])
            stay = "stays" if len(owned) == 1 else "stay"
            yield f"{count_shapes(owned)} of {other} {stay}, although it is no longer there; {command} removes them"
        waiting = [
            name
            for name, entry in log.entries.items()
            if entry.get("folder") == other and "skipped" not in entry and name not in there
        ]
        if waiting:
            yield f"{count_shapes(waiting)} of {other} not added, where prepare was stopped; call it again to go on"
