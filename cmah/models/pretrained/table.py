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
        aligned_with: the image encoder whose space it shares, as in `--image-encoder` (in plain words where that
            knows no name for it); "" for none.
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


UNI3D = "huggingface.co/BAAI/Uni3D, code under MIT"
EVA = "open_clip:EVA02-E-14-plus"

ENCODERS: tuple[Entry, ...] = (
    Entry(
        "ulip1_pointnext", "pointnext", "ULIP, PointNeXt-S (xyz and height)", 512, 8192, False, 1_494_336,
        "SLIP ViT-B/16", "github.com/salesforce/ULIP, code under BSD-3-Clause",
    ),
    Entry("uni3d_ti", "uni3d", "Uni3D, EVA-02 tiny", 1024, 10_000, True, 6_221_824, EVA, UNI3D),
    Entry("uni3d_s", "uni3d", "Uni3D, EVA-02 small", 1024, 10_000, True, 22_498_432, EVA, UNI3D),
    Entry("uni3d_b", "uni3d", "Uni3D, EVA-02 base", 1024, 10_000, True, 86_951_296, EVA, UNI3D),
    Entry("uni3d_l", "uni3d", "Uni3D, EVA-02 large", 1024, 10_000, True, 304_671_552, EVA, UNI3D),
    Entry("uni3d_g", "uni3d", "Uni3D, EVA giant", 1024, 10_000, True, 1_012_864_128, EVA, UNI3D),
    Entry(
        "pointnext", "pointnext", "PointNeXt-S (xyz), as in captionless training", 256, 2048, False, 1_363_232,
        "", "not published; to be trained",
    ),
    Entry(
        "pointnet", "pointnet", "PointNet without transforms, a ModelNet40 classifier", 1792, 1024, False, 809_344,
        "", "not published by the paper's authors; any state dict of this layout is read",
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
