"""Reading foreign mesh files: one reader a format, confined to a folder, with remarks on what is lost.

The files may be hostile: call this in a worker process (cmah.workers).
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from cmah.errors import CmahError
from cmah.meshes import MESH_SUFFIXES
from cmah.meshes.gltf import read_gltf
from cmah.meshes.mesh_resources import ConfinedResolver
from cmah.meshes.obj import read_obj
from cmah.meshes.off import read_off
from cmah.meshes.part import Part
from cmah.meshes.ply import read_ply
from cmah.meshes.stl import read_stl

# longer remarks are cut, and more of them from one file are not kept
REMARK_LENGTH = 120
MOST_REMARKS = 40
# the first bytes of formats, by which a file is read whatever it is called
STARTS = {b"glTF": ".glb", b"ply\n": ".ply", b"ply\r": ".ply", b"solid ": ".stl",
          **dict.fromkeys([b"OFF\n", b"OFF\r", b"OFF ", b"COFF", b"NOFF", b"STOFF", b"CNOFF"], ".off")}  # fmt: skip


def read_parts(
    path: str | Path, *, root: str | Path | None = None, remarks: list[str] | None = None
) -> list[Part]:
    """Read a mesh file into its parts, with the transforms of its scene applied.

    Args:
        path: an .obj, .off, .ply, .stl, .glb or .gltf file.
        root: the folder outside which no file that the mesh names is read; by default the one in which it lies.
        remarks: takes a line for each thing that the file has and that is lost, such as
            "texture not found (wood.png)"; what stands in brackets differs from file to file.

    Raises:
        CmahError: if it cannot be read, with the reason.
        MemoryError: if it needs more memory than the process may take.

    Examples:
        >>> from cmah.synthetic.solids import Model
        >>> from cmah.synthetic.writing import write_glb
        >>> model = Model()
        >>> model.box(centre=(0, 0, 0), size=(1, 1, 1), colour=(1, 0, 0))
        >>> model.box(centre=(2, 0, 0), size=(1, 1, 1), colour=(0, 0, 1))
        >>> write_glb(model, Path("boxes.glb"))
        >>> [(len(part.faces), part.face_rgba[0].tolist()) for part in read_parts("boxes.glb")]
        [(12, [1.0, 0.0, 0.0, 1.0]), (12, [0.0, 0.0, 1.0, 1.0])]
    """
    path = Path(path)
    if not path.is_file():
        raise CmahError(f"{path}: no such file")
    suffix = _format_of(path)
    if suffix not in MESH_SUFFIXES:
        raise CmahError(f"{path}: not a mesh file that can be read (expected {', '.join(MESH_SUFFIXES)})")
    if path.stat().st_size == 0:
        raise CmahError(f"{path}: the file is empty")
    reader = {".obj": read_obj, ".off": read_off, ".ply": read_ply, ".stl": read_stl}.get(suffix, read_gltf)
    noted: list[str] = [] if remarks is None else remarks
    files, remark = ConfinedResolver(path.parent, root), _short_remarks(noted)
    try:
        with np.errstate(all="ignore"):  # numbers beyond what a type holds are refused where they count
            parts = reader(path, path.read_bytes(), files, remark)
        for name in files.outside:
            remark(f"file outside the folder is not read ({name})")
        return parts
    except CmahError as error:
        names = ", ".join(files.outside)[:200]
        outside = f"; not read, as it lies outside the folder: {names}" if names else ""
        if str(error).startswith(f"{path}: ") and not outside:
            raise
        raise CmahError(f"{path}: {str(error).removeprefix(f'{path}: ')}{outside}") from None
    except MemoryError:
        raise
    except IndexError:
        raise CmahError(f"{path}: a face or object refers to something that is not in the file") from None
    except Exception as error:  # foreign data: the decoders below raise nearly anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise CmahError(f"{path}: not readable as {suffix[1:].upper()} ({reason})") from None


def _format_of(path: Path) -> str:
    """The suffix of the format: by the first bytes where these tell, whatever the file is called."""
    with open(path, "rb") as file:
        start = file.read(20)
    if start.startswith(b"version https://git-"):
        raise CmahError(f"{path}: a Git LFS pointer in place of the file (git lfs pull fetches it)")
    return next((suffix for first, suffix in STARTS.items() if start.startswith(first)), path.suffix.lower())


def _short_remarks(remarks: list[str]) -> Callable[[str], None]:
    """A function that adds lines to a list, each once, without what cannot be printed, and not without end."""

    def remark(text: str) -> None:
        line = " ".join("".join(letter if letter.isprintable() else "?" for letter in text[:1000]).split())
        if len(line) > REMARK_LENGTH:
            line = line[: REMARK_LENGTH - 2] + "…" + (")" if line.endswith(")") else "")
        if line not in remarks and len(remarks) < MOST_REMARKS:
            remarks.append(line)

    return remark
