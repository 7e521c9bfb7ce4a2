"""Colours of mesh files as float32 in 0..1: on which scale they are written is decided for a whole file."""

from collections.abc import Sequence

import numpy as np


def colours_in_01(tables: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Colours as RGBA in 0..1, of all tables of a file together.

    Whole numbers beyond 1 mean 0..255 (or 0..65535, if they go beyond that); so does anything beyond 4. What is a
    little larger than 1 is light that is too bright, and is cut. Opacity has a scale of its own: exporters write 1
    beside colours up to 255.

    Args:
        tables: float [n, 3] or [n, 4] each, NaN for what is not known.

    Returns:
        float32 [n, 4] for each table; NaN becomes 1.

    Examples:
        >>> colours_in_01([np.array([[255, 0, 51, 1.0]]), np.array([[0, 1, 0]])])[0].tolist()
        [[1.0, 0.0, 0.20000000298023224, 1.0]]
    """
    colour_scale = full_scale(np.concatenate([np.ravel(table[:, :3]) for table in tables]))
    opacity_scale = full_scale(np.concatenate([np.ravel(table[:, 3:4]) for table in tables]))
    result = []
    for table in tables:
        rgba = np.ones((len(table), 4), np.float32)
        rgba[:, :3] = table[:, :3] / colour_scale
        if table.shape[1] > 3:
            rgba[:, 3] = table[:, 3] / opacity_scale
        result.append(np.nan_to_num(rgba, nan=1.0, posinf=1.0, neginf=0.0).clip(0, 1))
    return result


def full_scale(values: np.ndarray) -> float:
    """What stands for full colour among all values of a file: 1, 255 or 65535; see `colours_in_01`.

    Examples:
        >>> full_scale(np.array([0.0, 1.0])), full_scale(np.array([0, 12, 255]))
        (1.0, 255.0)
    """
    values = values[np.isfinite(values)]
    highest = float(values.max(initial=0))
    if highest <= 1 or (highest <= 4 and (values != np.round(values)).any()):
        return 1.0
    return 255.0 if highest <= 255 else 65535.0
