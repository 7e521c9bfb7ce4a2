"""The point-cloud encoders that `--shape-encoder` knows. Imports nothing heavy."""

from dataclasses import dataclass

from cmah.errors import ConfigError


@dataclass(frozen=True)
class Entry:
    """One encoder as published.

    Attributes:
        name: as in `--shape-encoder`.
        module: file of this package with `build(name)`.
        method: what it is, for people.
        dim: width of its embedding.
        points: points of a cloud that it was trained on.
        colours: whether it takes colours.
        parameters: number of its parameters.
        aligned_with: the image encoder whose space it shares, as in `--image-encoder`; "" for none.
        weights: where its weights are published, and under what licence as far as it is stated.
    """

    name: str
    module: str
    method: str
    dim: int
    points: int
    colours: bool
    parameters: int
    aligned_with: str
    weights: str


ENCODERS: tuple[Entry, ...] = (
    Entry(
        "pointnet", "pointnet", "PointNet without transforms, a ModelNet40 classifier", 1792, 1024, False, 808_000,
        "", "",
    ),
)  # fmt: skip


def find(name: str) -> Entry:
    """The entry of a name.

    Raises:
        ConfigError: if there is none, with the names there are.
    """
    for entry in ENCODERS:
        if entry.name == name:
            return entry
    raise ConfigError(
        f"shape encoder {name!r}: expected one of {', '.join(entry.name for entry in ENCODERS)}"
    )
