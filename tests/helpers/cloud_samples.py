"""Point clouds in PLY files, as scanners write them."""

from pathlib import Path

import numpy as np


def write_cloud(
    path: Path, xyz: np.ndarray, rgb: np.ndarray | None = None, *, faces: int | None = None
) -> Path:
    """A binary PLY file of points, with colours 0..255 if there are any; `faces` 0 declares that there are none."""
    types = [(name, "<f8") for name in "xyz"] + [
        (name, "u1") for name in ("red", "green", "blue") if rgb is not None
    ]
    rows = np.zeros(len(xyz), types)
    for column, name in enumerate("xyz"):
        rows[name] = np.asarray(xyz)[:, column]
    for column, name in enumerate(("red", "green", "blue") if rgb is not None else ()):
        rows[name] = np.asarray(rgb)[:, column]
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(xyz)}\n"
    header += "".join(f"property {'double' if kind == '<f8' else 'uchar'} {name}\n" for name, kind in types)
    if faces is not None:
        header += f"element face {faces}\nproperty list uchar int vertex_indices\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header.encode() + b"end_header\n" + rows.tobytes())
    return path
