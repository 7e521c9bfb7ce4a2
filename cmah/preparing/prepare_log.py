"""The log of `prepare`, by which an interrupted run goes on: the parameters, then a line for each finished mesh.

`prepare.jsonl` holds one JSON object per line, in order of completion:

    {"format": "cmah-prepare-log", "version": 1, "parameters": {…}}
    {"folder": path, "prefix": …}                       the meshes of a folder are prepared from here on
    {"folder": path, "prefix": …, "was": [path, …]}     and it takes the place of others; "" = those that no line names
    {"folder": path, "prefix": …, "up": "y" or "z"}     where its up axis is not that of the parameters
    {"folder": path, "removed": true}                   none of its shapes is left
    {"shape_id": …, "size": …, "modified": …, "cameras": [[azimuth, elevation], …], "coloured": …, "remarks": […], …}
    {"shape_id": …, "size": …, "modified": …, "skipped": reason, "lost": whether a crash or a limit ended the worker, …}
    {"shape_id": …, "removed": true}

A point cloud has no cameras. The lines of meshes also have the `folder`, its absolute path, and the `path` of the file
within it; those of earlier versions of cmah have neither, and no lines of folders.
"""

import json
import math
import re
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cmah.data.mesh_sources import PREPARE_LOG
from cmah.errors import CmahError
from cmah.files import atomic_path, locked
from cmah.preparing.prepare_parameters import Parameters, as_options
from cmah.reading import parse_json, read_json, require_file
from cmah.workers import writing

# ids name the folders and files that are removed with a shape: a foreign log must lead nowhere else
SHAPE_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
LOG = PREPARE_LOG
FORMAT, VERSION = "cmah-prepare-log", 1


class PrepareLog:
    """What the lines of a log say, and the file to which more are added.

    Args:
        path: the log.
        lines: its lines after the header.

    Attributes:
        entries: what was last done with each mesh, by shape id.
        folders: the prefix of each folder of meshes, by its path, in the order in which they were first prepared.
        up: "y" or "z", the up axis of the parameters that it was begun with.
        ups: the up axis of each folder that has another, by its path.
        removed: ids of shapes that were removed and not made again.
        outdated: whether it was begun with other parameters, so that everything is to be made anew.
        changed: these parameters, with their values there, where they differ from those of this run.

    Examples:
        >>> entry = '{"shape_id": "seat.obj", "size": 9, "modified": 1, "cameras": [], "folder": "/old"}'
        >>> lines = ['{"folder": "/old", "prefix": ""}', entry, '{"folder": "/new", "prefix": "", "was": ["/old"]}']
        >>> log = PrepareLog(Path("prepare.jsonl"), lines)
        >>> log.folders, log.entries["seat.obj"]["folder"]
        ({'/new': ''}, '/new')
    """

    def __init__(self, path: Path, lines: Iterable[str] = ()) -> None:
        self.path = path
        self.outdated = False
        self.changed: dict[str, Any] = {}
        self.entries: dict[str, dict[str, Any]] = {}
        self.folders: dict[str, str] = {}
        self.up = "y"
        self.ups: dict[str, str] = {}
        self.removed: set[str] = set()
        for line in lines:
            with suppress(ValueError, KeyError, TypeError, AttributeError):  # a damaged line is passed over
                self._apply(parse_json(line))

    def _apply(self, line: dict[str, Any]) -> None:
        """Take note of a line."""
        if "shape_id" not in line:
            self._apply_folder(line)
        elif not SHAPE_ID.fullmatch(line["shape_id"]):
            return
        elif line.get("removed") is True:
            self.entries.pop(line["shape_id"], None)
            self.removed.add(line["shape_id"])
        elif _is_sound(line):
            self.entries[line["shape_id"]] = line
            self.removed.discard(line["shape_id"])

    def _apply_folder(self, line: dict[str, Any]) -> None:
        folder, was = line["folder"], line.get("was", [])
        if line.get("removed") is True:
            self.folders.pop(folder, None)
            return
        prefix = line["prefix"]
        if not (isinstance(folder, str) and isinstance(prefix, str) and isinstance(was, list)):
            return
        for entry in self.entries.values():
            if entry.get("folder", "") in was:
                entry["folder"] = folder
        if folder not in self.folders and any(
            old in self.folders for old in was
        ):  # in the place of the first of these
            named = [(folder if path in was else path, old) for path, old in self.folders.items()]
            self.folders = dict(named)
        for old in was:
            self.folders.pop(old, None)
        self.folders[folder] = prefix
        self.ups.pop(folder, None)
        if line.get("up") in ("y", "z"):
            self.ups[folder] = line["up"]

    def up_of(self, folder: str) -> str:
        """The axis that points up in the meshes of a folder, "y" or "z"."""
        return self.ups.get(folder, self.up)

    def add(self, line: dict[str, Any]) -> None:
        """Append a line, and take note of it.

        Raises:
            JobError: if it cannot be written.
        """
        rest = json.dumps(line).encode() + b"\n"
        # a line that is cut off ends the job; the next call passes over it
        with writing(self.path), open(self.path, "ab", buffering=0) as file:
            while rest:
                rest = rest[file.write(rest) :]
        self._apply(line)

    def restart(self, parameters: Parameters, keep: Container[str] = ()) -> None:
        """Begin the log anew with other parameters; folders stay, and whose each mesh is, but none counts as done.

        Args:
            parameters: of this run.
            keep: ids of shapes that are to be made anew; of others only those stay that were skipped.

        Raises:
            CmahError: if it cannot be written.
        """
        ups = {path: self.up_of(path) for path in self.folders}
        self.up, self.ups = parameters.up, {path: up for path, up in ups.items() if up != parameters.up}
        folders = [
            {"folder": path, "prefix": prefix, **({"up": self.ups[path]} if path in self.ups else {})}
            for path, prefix in self.folders.items()
        ]
        self.entries = {
            name: entry for name, entry in self.entries.items() if name in keep or "skipped" in entry
        }
        for entry in self.entries.values():
            for key in ("cameras", "coloured"):
                entry.pop(key, None)
            entry |= {"size": -1, "skipped": "not made anew yet", "lost": True}
        removed = [{"shape_id": shape_id, "removed": True} for shape_id in sorted(self.removed)]
        header = {"format": FORMAT, "version": VERSION, "parameters": parameters.to_json()}
        lines = [header, *folders, *self.entries.values(), *removed]
        with atomic_path(self.path) as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        self.outdated = False


def earlier_parameters(out: Path) -> dict[str, Any]:
    """The parameters that a dataset folder was prepared with; empty if it was not.

    Examples:
        >>> earlier_parameters(Path("demo/dataset"))["up"], earlier_parameters(Path("nothing"))
        ('y', {})
    """
    try:
        require_file(out / LOG)  # of a pipe nothing would ever come
        with open(out / LOG, encoding="utf-8", errors="replace") as file:
            header = _header(file.readline(), out)
        return Parameters.of({}, header).to_json()
    except (OSError, CmahError, TypeError, ValueError):  # reported where the log is opened
        return {}


@contextmanager
def open_log(out: Path, parameters: Parameters, overwrite: bool) -> Iterator[PrepareLog]:
    """Lock `out` and read its log, or start one.

    Args:
        out: the dataset folder; made if there is none.
        parameters: the parameters of this run.
        overwrite: accept a log of other parameters, which is then `outdated`.

    Raises:
        CmahError: if `out` holds something else, other parameters, or a dataset whose files lie elsewhere, cannot be
            written, or another process is at work in it.

    Examples:
        >>> parameters = Parameters(12, 224, 10_000, "y", elevations=(20.0,), jitter=0.0, seed=0)
        >>> entry = {"shape_id": "seat.obj", "size": 9, "modified": 1, "skipped": "no faces", "lost": False}
        >>> with open_log(Path("made"), parameters, overwrite=False) as log:
        ...     log.add(entry)
        >>> with open_log(Path("made"), parameters, overwrite=False) as log:
        ...     print(log.entries["seat.obj"]["skipped"])
        no faces
    """
    _refuse_outside_files(out)
    if out.exists() and not (out / LOG).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise CmahError(f"{out}: exists and was not made by prepare; choose a new folder")
    with locked(out):
        path = out / LOG
        with writing(path), open(path, "a+b") as file:
            file.seek(0)
            data = file.read()
            # a line without its end was being written when the process was killed
            file.truncate(data.rfind(b"\n") + 1)
        lines = data.decode("utf-8", "replace").split("\n")[:-1]
        log = PrepareLog(path, lines[1:])
        wanted = parameters.to_json()
        if not lines:
            log.restart(parameters)
            yield log
            return
        logged = _header(lines[0], out)
        log.up = str(logged.get("up", "y"))
        # each folder has an up axis of its own, which Preparation looks after
        if {**logged, "up": parameters.up} != wanted:
            log.changed = {
                key: logged.get(key)
                for key, value in wanted.items()
                if key != "up" and logged.get(key) != value
            }
            if not overwrite:
                changes = [f"{key} {value} -> {wanted[key]}" for key, value in log.changed.items()]
                raise CmahError(
                    f"{out}: was prepared with other parameters ({', '.join(changes)}); to add to it give "
                    f"{as_options(log.changed)}, or choose another folder, or --overwrite to make all of it anew"
                )
            log.outdated = True
        yield log


def _refuse_outside_files(out: Path) -> None:
    """Refuse a dataset folder whose points and pictures lie elsewhere: nothing is ever written there.

    Raises:
        CmahError: naming that folder.
    """
    header = None
    with suppress(CmahError):  # a file that cannot be read names no folder
        header = read_json(out / "dataset.json")
    if isinstance(header, dict) and "root" in header:
        raise CmahError(
            f"{out / 'dataset.json'}: 'root' is {header['root']!r}: the points and pictures lie there, where nothing "
            "is written; prepare into a new folder"
        )


def _is_sound(entry: dict[str, Any]) -> bool:
    """Whether a line of a mesh is as it was written; a damaged one is passed over, and its mesh is made again."""
    if "skipped" in entry:
        sound = isinstance(entry["skipped"], str) and isinstance(entry["lost"], bool)
    else:
        sound = all(
            math.isfinite(angle) for azimuth, elevation in entry["cameras"] for angle in (azimuth, elevation)
        )
    texts = all(isinstance(entry.get(key, ""), str) for key in ("folder", "path"))
    return sound and texts and isinstance(entry["size"], int) and isinstance(entry["modified"], int)


def _header(line: str, out: Path) -> dict[str, Any]:
    """The parameters in the first line of a log."""
    with suppress(ValueError, KeyError, TypeError):
        header = parse_json(line)
        if header["format"] == FORMAT and header["version"] == VERSION:
            return dict(header["parameters"])
    raise CmahError(f"{out / LOG}: not a log of this version of prepare; choose a new folder")
