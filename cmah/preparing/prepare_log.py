"""The log of `prepare`, by which an interrupted run goes on: the parameters, then a line for each finished mesh.

`prepare.jsonl` holds one JSON object per line, in order of completion:

    {"format": "cmah-prepare-log", "version": 1, "parameters": {…}}
    {"shape_id": …, "size": …, "modified": …, "cameras": [[azimuth, elevation], …], "coloured": …}
    {"shape_id": …, "size": …, "modified": …, "skipped": reason, "lost": whether a crash or a limit ended the worker}
"""

import json
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from cmah.checks import shown
from cmah.errors import CmahError
from cmah.files import locked, parse_json, read_json

LOG = "prepare.jsonl"
FORMAT, VERSION = "cmah-prepare-log", 1


@dataclass(frozen=True)
class Parameters:
    """What the views and points depend on, beside the mesh files.

    Attributes:
        views: cameras around each shape.
        image_size: side of a view, pixels.
        points: points of each shape.
        up: "y" or "z", the axis that points up in the files.
        elevations: elevations of the cameras, degrees, taken in turn.
        jitter: largest random deviation of azimuth and elevation, degrees.
        seed: seed of points and jitter, together with the shape id.

    Raises:
        CmahError: if a value is out of range.

    Examples:
        >>> parameters = Parameters(12, 224, 10_000, "y", elevations=(20.0,), jitter=0.0, seed=0)
        >>> parameters.to_json()["elevations"]
        [20.0]
        >>> Parameters(12, 224, 10_000, "x", elevations=(20.0,), jitter=0.0, seed=0)
        Traceback (most recent call last):
        cmah.errors.CmahError: up must be y or z, got 'x'
    """

    views: int
    image_size: int
    points: int
    up: str
    elevations: tuple[float, ...]
    jitter: float
    seed: int

    def __post_init__(self) -> None:
        for name in ("views", "image_size", "points"):
            if getattr(self, name) < 1:
                raise CmahError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.up not in {"y", "z"}:
            raise CmahError(f"up must be y or z, got {self.up!r}")
        check_elevations(self.elevations)

    def to_json(self) -> dict[str, Any]:
        """The parameters as the log, the dataset and the workers get them."""
        return {**asdict(self), "elevations": list(self.elevations)}


def check_elevations(elevations: tuple[float, ...]) -> None:
    """Refuse what cannot be the elevations of cameras.

    Raises:
        CmahError: unless there is one or more, each between -90 and 90 degrees.

    Examples:
        >>> check_elevations((10.0, 35.0))
        >>> check_elevations((10.0, 90.0))
        Traceback (most recent call last):
        cmah.errors.CmahError: elevations must lie between -90 and 90 degrees, got 10.0, 90.0
    """
    if not elevations or any(not -90 < value < 90 for value in elevations):
        raise CmahError(f"elevations must lie between -90 and 90 degrees, got {shown(list(elevations))}")


@contextmanager
def open_log(
    out: Path, parameters: Parameters, overwrite: bool
) -> Iterator[tuple[IO[str], dict[str, dict[str, Any]]]]:
    """Lock `out` and read its log, or start one; yields the file to append to and the entries by shape id.

    Args:
        out: the dataset folder; made if there is none.
        parameters: the parameters of this run.
        overwrite: remove what other parameters have made.

    Raises:
        CmahError: if `out` holds something else, other parameters, or a dataset whose files lie elsewhere, or another
            process is at work in it.

    Examples:
        >>> parameters = Parameters(12, 224, 10_000, "y", elevations=(20.0,), jitter=0.0, seed=0)
        >>> entry = {"shape_id": "seat.obj", "size": 9, "modified": 1, "skipped": "no faces", "lost": False}
        >>> with open_log(Path("made"), parameters, overwrite=False) as (log, done):
        ...     print(json.dumps(entry), file=log)
        >>> with open_log(Path("made"), parameters, overwrite=False) as (log, done):
        ...     print(done["seat.obj"]["skipped"])
        no faces
    """
    _refuse_outside_files(out)
    if out.exists() and not (out / LOG).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise CmahError(f"{out}: exists and was not made by prepare; choose a new folder")
    with locked(out), open(out / LOG, "a+", encoding="utf-8") as log:
        log.seek(0)
        lines = log.read().split("\n")[
            :-1
        ]  # a line without its end was being written when the process was killed
        wanted = parameters.to_json()
        if lines and (logged := _header(lines[0], out)) != wanted and not overwrite:
            changes = [f"{k} {logged.get(k)} -> {v}" for k, v in wanted.items() if logged.get(k) != v]
            raise CmahError(
                f"{out}: was prepared with other parameters ({', '.join(changes)}); "
                "choose another folder, or --overwrite to start anew"
            )
        if overwrite or not lines:
            for name in ("renders", "points"):
                shutil.rmtree(out / name, ignore_errors=True)
            for name in ("dataset.json", "shapes.csv", "images.csv", "skipped.csv"):
                (out / name).unlink(missing_ok=True)
            lines = []
            log.truncate(0)
            log.write(json.dumps({"format": FORMAT, "version": VERSION, "parameters": wanted}) + "\n")
        else:
            log.truncate(sum(len(line.encode()) + 1 for line in lines))
        log.flush()
        yield log, dict(entries(lines[1:]))


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


def entries(lines: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The finished meshes by shape id; a damaged line is passed over, and its mesh is made again.

    Examples:
        >>> whole = '{"shape_id": "seat.obj", "size": 9, "modified": 1, "skipped": "no faces", "lost": false}'
        >>> [shape_id for shape_id, entry in entries([whole, whole[:40]])]
        ['seat.obj']
    """
    for line in lines:
        with suppress(ValueError, KeyError, TypeError):
            entry = parse_json(line)
            if "skipped" in entry:
                sound = isinstance(entry["skipped"], str) and isinstance(entry["lost"], bool)
            else:
                sound = all(
                    math.isfinite(angle)
                    for azimuth, elevation in entry["cameras"]
                    for angle in (azimuth, elevation)
                )
            if sound and isinstance(entry["size"], int) and isinstance(entry["modified"], int):
                yield str(entry["shape_id"]), entry


def _header(line: str, out: Path) -> dict[str, Any]:
    """The parameters in the first line of a log."""
    with suppress(ValueError, KeyError, TypeError):
        header = parse_json(line)
        if header["format"] == FORMAT and header["version"] == VERSION:
            return dict(header["parameters"])
    raise CmahError(f"{out / LOG}: not a log of this version of prepare; choose a new folder")
