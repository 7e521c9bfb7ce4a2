"""One call of prepare on a dataset folder: what is to be made, making it, and the tables at the end."""

import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from cmah.data.dataset import Dataset, Image, Shape
from cmah.data.mesh_sources import printable, source_of
from cmah.errors import CmahError
from cmah.meshes.mesh_arrays import followed
from cmah.preparing.announcements import count_shapes, lines_after, lines_before, lines_of_spoilt
from cmah.preparing.folder_claims import UNKNOWN, Claim, check_ids, claim_folder, owner_of
from cmah.preparing.mesh_remarks import remarks_of, write_remarks
from cmah.preparing.prepare_log import LOG, PrepareLog
from cmah.preparing.prepare_parameters import Parameters
from cmah.preparing.prepared_tables import ASIDE, earlier_fractions, is_view, merged, read_tables, rows_of
from cmah.preparing.shape_ids import Source, find_meshes, split_of, with_prefix
from cmah.progress import progress
from cmah.skipped_files import counts_of_reasons, general_reason, write_skipped
from cmah.workers import run_isolated, writing

TASK = "cmah.preparing.shape_task:prepare_shape"


class Preparation:
    """The state of one call; `plan`, `make` and `write` are called once each, in this order.

    Args:
        meshes: the folder of meshes, or one mesh file.
        out: the dataset folder.
        log: its log, see `open_log`.
        parameters: of views and points.
        report: called with a line for people on what stays, is removed or has moved.
        up: the up axis of the given meshes; None: as that of their folder was before, or as the parameters say.
        overwrite: whether another axis than before may be given, which makes all anew.

    Examples:
        >>> from cmah.preparing.prepare_log import open_log
        >>> settings = Parameters(2, 24, 64, "y", (20.0,), jitter=0.0, seed=0)
        >>> with open_log(Path("made"), settings, overwrite=False) as log:
        ...     preparation = Preparation(Path("demo/meshes/mug"), Path("made"), log, settings, report=print)
        ...     preparation.plan(find_meshes("demo/meshes/mug"), prefix="mug", prune=False)
        ...     preparation.make(jobs=1, time_limit=60, memory_limit=4)
        ...     dataset = preparation.write((1.0, 0.0, 0.0))
        >>> dataset.shapes[0].shape_id
        'mug.mug_000.obj'
    """

    def __init__(
        self,
        meshes: Path,
        out: Path,
        log: PrepareLog,
        parameters: Parameters,
        report: Callable[[str], None],
        *,
        up: str | None = None,
        overwrite: bool = False,
    ) -> None:
        self.meshes, self.out, self.log = meshes, out, log
        self.parameters, self.report = parameters, report
        self.up, self.overwrite = up, overwrite
        self.before = read_tables(out)
        self.anew = log.outdated or (out / ASIDE).is_file()
        self.claim = Claim("", "")
        self.prune = False
        self.missing: list[str] = []
        self.given: list[tuple[str, Source]] = []  # each mesh with its folder

    def plan(self, found: list[Source], prefix: str | None, *, prune: bool) -> None:
        """Find out which meshes are to be made and which shapes have lost theirs; nothing is made or removed yet.

        Args:
            found: the meshes given, with ids without a prefix.
            prefix: asked for; None = as before, or none.
            prune: remove the shapes that have lost their meshes.

        Raises:
            CmahError: if an id is taken, the prefix cannot be changed, or not all can be made anew that is to be.
        """
        log, shapes = self.log, self.before.shapes
        self.prune = prune
        self.claim = claim = claim_folder(self.meshes, prefix, found, log, shapes.values())
        if not found and claim.path not in log.folders:
            find_meshes(self.meshes, self.out)  # refuses it
        turned = self._choose_up()
        own = [replace(source, shape_id=with_prefix(claim.prefix, source.shape_id)) for source in found]
        one_case = (self.out / LOG.upper()).exists()
        check_ids(claim, own, log, shapes, one_case=one_case)
        owners = {
            shape_id: owner_of(shape, log)
            for shape_id, shape in shapes.items()
            if shape_id not in log.removed
        }
        owners = {name: claim.path if owner in claim.was else owner for name, owner in owners.items()}
        self.given = [(claim.path, source) for source in own]
        whole = not self.meshes.is_file()
        if self.anew:
            self._add_other_folders(owners)
        ids = {source.shape_id for _, source in self.given}
        self.missing = [
            name
            for name, owner in owners.items()
            if name not in ids and ((self.anew and owner is not None) or (whole and owner == claim.path))
        ]
        self._check_what_is_lost(owners)
        where = self.out if self.anew else claim.path
        self._say(lines_before(claim, self.missing, where, prune=prune))
        if claim.was or claim.path not in log.folders or turned:
            was = {"was": list(claim.was)} if claim.was else {}
            up = {"up": self.up} if self.up != log.up else {}
            log.add({"folder": claim.path, "prefix": claim.prefix, **was, **up})
        if log.outdated:
            self._start_anew()

    def _choose_up(self) -> bool:
        """Settle the up axis of the given meshes; whether it is another than that of their folder before.

        Raises:
            CmahError: if it is, and may not be.
        """
        claim, log = self.claim, self.log
        known = [path for path in (claim.path, *claim.was) if path in log.folders or path == UNKNOWN]
        before = log.up_of(known[0]) if known else None
        self.up = self.up or before or log.up
        if before in (None, self.up):
            return False
        if not self.overwrite:
            raise CmahError(
                f"{claim.path}: was prepared with --up {before}, got --up {self.up}; --overwrite makes all of "
                f"{self.out} anew"
            )
        log.outdated = self.anew = True
        return True

    def _add_other_folders(self, owners: dict[str, str | None]) -> None:
        """All shapes of the dataset are to be made anew: find their meshes."""
        ids = {source.shape_id for _, source in self.given}
        folders = {**self.log.folders, self.claim.path: self.claim.prefix}
        for folder, prefix in folders.items():
            if folder in self.claim.was:
                continue
            for source in find_meshes(folder, self.out, empty=True):
                name = with_prefix(prefix, source.shape_id)
                entry = self.log.entries.get(name, {})
                skipped = "skipped" in entry and entry.get("folder") == folder
                if name not in ids and (owners.get(name) == folder or skipped):
                    self.given.append((folder, replace(source, shape_id=name)))

    def _check_what_is_lost(self, owners: dict[str, str | None]) -> None:
        """Refuse to lose more than was asked for.

        Raises:
            CmahError: if shapes cannot be made anew, or none would be left.
        """
        out, missing = self.out, self.missing
        unknown = [name for name, owner in owners.items() if owner == UNKNOWN]
        if self.anew and unknown:
            raise CmahError(
                f"{out}: {count_shapes(unknown)} of a folder that was not recorded cannot be made anew; "
                "choose another folder"
            )
        if self.anew and missing and not self.prune:
            raise CmahError(
                f"{out}: {count_shapes(missing)} cannot be made anew, as their meshes are gone (first: "
                f"{self.before.shapes[missing[0]].extra.get('source', missing[0])}); --prune removes them, or choose "
                "another folder"
            )
        if self.log.outdated and "points" in self.log.changed:
            by_hand = [
                name for name, owner in owners.items() if owner is None and self.before.shapes[name].points
            ]
            if by_hand:
                wanted = f"{self.parameters.points} points as the others"
                raise CmahError(
                    f"{out}: {count_shapes(by_hand)} that prepare did not make would not have {wanted}; "
                    "choose another folder"
                )
        if self.prune and missing and len(missing) == len(owners) and not self.given:
            raise CmahError(f"{out}: no shape would be left; delete the folder instead")

    def _start_anew(self) -> None:
        """Set dataset.json aside, remove what other parameters have made, and begin the log with these."""
        with writing(self.out / ASIDE):
            if (self.out / "dataset.json").is_file():
                os.replace(self.out / "dataset.json", self.out / ASIDE)
        _remove_files(self.out, self.log.entries)
        self.log.restart(self.parameters, self.before.shapes)

    def make(self, jobs: int, *, time_limit: float, memory_limit: float) -> None:
        """Render the views and sample the points of every mesh that the log does not have as done.

        Args:
            jobs: number of worker processes.
            time_limit: seconds after which a mesh is skipped.
            memory_limit: GiB beyond which a mesh is skipped.

        Raises:
            CmahError: if the results or the log cannot be written.
        """
        todo = []
        for folder, source in self.given:
            entry = self.log.entries.get(source.shape_id)
            place = {"folder": folder, "path": _within(source)}
            if not _is_finished(self.out, source, entry):
                todo.append((source, place))
            elif entry is not None and not place.items() <= entry.items():  # of an earlier version, or moved
                self.log.add({**entry, **place})
        shared = {"out": str(self.out.resolve()), **self.parameters.to_json()}
        tasks = [
            {
                **shared,
                "path": str(followed(source.path)),
                "shape_id": source.shape_id,
                "up": self.log.up_of(place["folder"]),
                "root": os.path.realpath(place["folder"]),
            }
            for source, place in todo
        ]
        skipped = 0
        outcomes = run_isolated(TASK, tasks, jobs=jobs, time_limit=time_limit, memory_limit=memory_limit)
        with closing(outcomes):  # so that an error or Ctrl-C ends the workers at once
            bar = progress(outcomes, "prepare", len(todo), " meshes")
            for outcome in bar:
                (source, place), task = todo[outcome.index], tasks[outcome.index]
                entry = {"shape_id": source.shape_id, "size": source.size, "modified": source.modified}
                if outcome.value is None:
                    entry["skipped"] = outcome.reason.removeprefix(f"{task['path']}: ")
                    entry["lost"] = outcome.lost
                    skipped += 1
                    bar.set_postfix_str(f"{skipped} skipped")
                else:
                    entry |= outcome.value
                self.log.add({**entry, **place})

    def write(self, fractions: tuple[float, ...] | None = None) -> Dataset:
        """Write the tables, skipped.csv and remarks.csv, and remove what is to be removed.

        Args:
            fractions: parts of train, val and test, for the meshes whose folders name no split; None: as before.

        Raises:
            CmahError: if none of the given meshes can be used, or something cannot be written.
        """
        out, log, before = self.out, self.log, self.before
        fractions = fractions or earlier_fractions(before.extra)
        made: dict[str, tuple[Shape, list[Image]]] = {}
        viewed = {image.shape_id for image in before.images if is_view(image)}
        spoilt, left = [], []  # changed so that they cannot be used; of these, shapes whose files are left
        for folder, source in self.given:
            name, entry = source.shape_id, log.entries[source.shape_id]
            if "skipped" not in entry:
                split = source.split or split_of(name, fractions)
                made[name] = rows_of(source, folder, split, entry, before)
            elif name in before.shapes:
                spoilt.append(name)
                whole = name not in viewed or (out / "renders" / name).is_dir()
                if (out / "points" / f"{name}.npy").is_file() and whole:
                    left.append(name)
        write_skipped(out, self._left_out())
        if self.given and not made and not left:
            raise CmahError(
                f"{self.meshes}: none of the {len(self.given)} meshes can be used: {self._commonest_reason()}; see "
                f"{out / 'skipped.csv'}"
            )
        self._say(lines_of_spoilt(spoilt, left, self.claim.path, out / "skipped.csv", prune=self.prune))
        for name in self.missing if self.prune else ():
            log.add({"shape_id": name, "removed": True})
        gone = [
            name for name in log.removed if name in before.shapes and before.shapes[name].extra.get("source")
        ]
        gone += [name for name in spoilt if self.prune or name not in left]
        before.name = before.name or os.path.basename(os.path.abspath(self.meshes))
        dataset = merged(out, before, made, gone, log, self.parameters, fractions)
        shapes = {name: shape for name, (shape, _) in made.items()}
        self._say(lines_after(before, shapes, dataset, log, self.claim.path))
        write_remarks(out, remarks_of(dataset, log.entries))
        dataset.write()
        (out / ASIDE).unlink(missing_ok=True)
        there = {shape.shape_id for shape in dataset.shapes}
        skipped = {name for name, entry in log.entries.items() if "skipped" in entry}
        _remove_files(out, (log.removed | skipped) - there)
        listed = {os.path.dirname(image.path) for image in dataset.images}
        for name, (_, views) in made.items():  # views that a mesh has left whose place a cloud has taken
            if not views and f"renders/{name}" not in listed:
                shutil.rmtree(out / "renders" / name, ignore_errors=True)
        used = {log.entries[name].get("folder") for name in log.entries.keys() - skipped}
        for folder in [path for path in log.folders if path not in used and not os.path.isdir(path)]:
            log.add({"folder": folder, "removed": True})
        return dataset

    def _commonest_reason(self) -> str:
        """Why most of the given meshes were skipped, as it is said of the first of these; and how many they are."""
        reasons = [self.log.entries[source.shape_id]["skipped"] for _, source in self.given]
        ((commonest, count), *_) = counts_of_reasons(reasons)
        first = next(reason for reason in reasons if general_reason(reason) == commonest)
        return printable(first) + (f" ({count} of {len(reasons)})" if count < len(reasons) else "")

    def _left_out(self) -> list[tuple[str, str]]:
        """Path and reason of every mesh that was skipped; paths within the folder, or absolute if there are several."""
        several = len(self.log.folders) > 1
        rows = []
        for folder, source in self.given:
            entry = self.log.entries[source.shape_id]
            if "skipped" in entry:
                rows.append(
                    (source_of(folder, source.relative) if several else source.relative, entry["skipped"])
                )
        given = {source.shape_id for _, source in self.given}
        others = []
        for name, entry in self.log.entries.items():
            folder, path = entry.get("folder", ""), entry.get("path", "")
            other = name not in given and folder in self.log.folders and path and "skipped" in entry
            if other and os.path.exists(os.path.join(folder, path)):
                others.append((source_of(folder, path) if several else printable(path), entry["skipped"]))
        return sorted([*rows, *others]) if several else rows

    def _say(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.report(printable(line))  # one line, whatever the folders are called


def _within(source: Source) -> str:
    """The path within the folder, as it is: `relative` has characters replaced, one for one."""
    return str(source.path)[-len(source.relative) :]


def _is_finished(out: Path, source: Source, entry: dict[str, Any] | None) -> bool:
    """Whether the log lists this file, unchanged, as done, and its views and points still exist."""
    if entry is None or entry["size"] != source.size or entry["modified"] != source.modified:
        return False
    if "skipped" in entry:
        # earlier versions of cmah refused point clouds
        cloud = entry["skipped"].startswith("no faces") and source.path.suffix.lower() == ".ply"
        return not (entry["lost"] or cloud)
    if not (out / "points" / f"{source.shape_id}.npy").is_file():
        return False
    views = len(entry["cameras"])  # none of a point cloud
    return not views or (out / "renders" / source.shape_id / f"{views - 1:02d}_mask.png").is_file()


def _remove_files(out: Path, names: Iterable[str]) -> None:
    """Remove views and points of shapes."""
    for name in names:
        shutil.rmtree(out / "renders" / name, ignore_errors=True)
        (out / "points" / f"{name}.npy").unlink(missing_ok=True)
