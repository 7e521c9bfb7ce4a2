"""Published encoders, one family a file, with loaders of their public weights."""

from importlib import import_module
from typing import TYPE_CHECKING

from cmah.models.pretrained.encoder_table import find

if TYPE_CHECKING:
    from cmah.models.pretrained.point_backbone import PointEncoder


def point_encoder(name: str, weights: str = "") -> "PointEncoder":
    """Make the point-cloud encoder of a name in `encoder_table.ENCODERS`.

    Args:
        name: as in `--shape-encoder`.
        weights: path of its public checkpoint; "" leaves it as initialised from the global random state.

    Raises:
        ConfigError: for an unknown name.
        RunError: see `PointEncoder.load`.

    Examples:
        >>> import torch
        >>> encoder = point_encoder("pointnet")
        >>> encoder.points, tuple(encoder(torch.rand(2, 100, 3)).shape)
        (1024, (2, 1792))
    """
    encoder: PointEncoder = import_module(f"cmah.models.pretrained.{find(name).module}").build(name)
    if weights:
        encoder.load(weights)
    return encoder
