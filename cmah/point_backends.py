"""Which backend computes a point operation: torch, the Numba kernels, or the CUDA extension pointnet2_ops."""

from functools import lru_cache
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor

from cmah.errors import CmahError


def chosen_backend(name: str, xyz: Tensor, suits_pointnet2: bool = False) -> str:
    """The backend of a point operation.

    Args:
        name: "auto", "torch", "numba" or "pointnet2".
        xyz: the points, of which device and precision are read.
        suits_pointnet2: whether pointnet2_ops computes exactly what is asked.

    Raises:
        ValueError: for an unknown backend, or one that does not support the call.

    Examples:
        >>> chosen_backend("auto", torch.zeros(1, 8, 3))  # points on the CPU
        'numba'
        >>> chosen_backend("keops", torch.zeros(1, 8, 3))
        Traceback (most recent call last):
        ValueError: expected backend auto, torch, numba or pointnet2, got 'keops'
    """
    if name == "auto":
        if xyz.device.type == "cpu":
            return "numba"
        suits = suits_pointnet2 and xyz.is_cuda and xyz.dtype == torch.float32
        return "pointnet2" if suits and find_spec("pointnet2_ops") else "torch"
    if name not in ("torch", "numba", "pointnet2"):
        raise ValueError(f"expected backend auto, torch, numba or pointnet2, got {name!r}")
    if name == "numba" and xyz.device.type != "cpu":
        raise ValueError(f"the numba backend works on the CPU, the points are on {xyz.device}")
    if name == "pointnet2" and not (suits_pointnet2 and xyz.is_cuda):
        raise ValueError(
            "the pointnet2 backend works on CUDA and does farthest points with start=0 and skip_origin=True, "
            "and ball queries that are not inclusive"
        )
    return name


@lru_cache(maxsize=1)
def pointnet2_utils() -> Any:
    """The module of pointnet2_ops.

    Raises:
        CmahError: if it cannot be imported.

    Examples:
        The name of the module, or why there is none.

        >>> try:
        ...     print(pointnet2_utils().__name__)
        ... except CmahError as error:
        ...     print(error)
        pointnet2_ops...
    """
    try:
        from pointnet2_ops import pointnet2_utils as module
    except ImportError as error:
        raise CmahError(f"pointnet2_ops cannot be imported ({error})") from None
    return module
