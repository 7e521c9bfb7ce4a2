"""The point-cloud encoders that `--shape-encoder` knows. Imports nothing heavy."""

from dataclasses import dataclass
from difflib import get_close_matches

from cmah.errors import ConfigError


@dataclass(frozen=True)
class Entry:
    """One encoder as published.

    Attributes:
        name: as in `--shape-encoder`.
        module: file of this package with `build(name)`.
        method: the network and its variant, for people.
        dim: width of its embedding.
        points: number of points per cloud in its training.
        colours: whether it reads colours.
        parameters: number of its parameters.
        aligned_with: the image encoder whose space it shares, as in `--image-encoder`; "" for none.
        weights: where its weights are published, and under which licence as far as it is stated.
        image_weights: weights of the image encoder, as in `--image-weights` ("FILE" where they lie in the same file);
            "" for none.
        takes: how a cloud (y up, mean at the origin, largest norm 1) is converted before the network reads it.

    Examples:
        >>> entry = find("ulip2")
        >>> entry.dim, entry.points, entry.colours, entry.aligned_with
        (1280, 10000, True, 'open_clip:ViT-bigG-14')
        >>> [entry.name for entry in ENCODERS if not entry.published][:2]
        ['pointnext', 'openshape_s1']
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
    image_weights: str = ""
    takes: str = "xyz as it is"

    @property
    def published(self) -> bool:
        """Whether its weights were published."""
        return not self.weights.startswith(UNPUBLISHED)


UNPUBLISHED = "none published: to be trained"
ULIP = "hf.co/datasets/SFXX/ulip, code under BSD-3-Clause"
SLIP = "slip:ViT-B-16"
SAME = "FILE"  # the image encoder's weights lie in the point encoder's very file
BIG_G = ("open_clip:ViT-bigG-14", "download:laion2b_s39b_b160k")
EVA = ("open_clip:EVA02-E-14-plus", "download:laion2b_s9b_b144k")
OPENSHAPE = "hf.co/OpenShape/openshape-pointbert-{}-rgb, code under Apache-2.0"
READING = 'its image encoder is called "CLIP", which is taken to mean OpenAI\'s weights'
COLOURS = "xyz as it is, rgb in 0..1 (0.4 where a cloud has none)"
SWAPPED = (
    "columns y and z exchanged (a reflection, as its authors do with clouds that have y up), rgb in 0..1 (0.4 where a "
    "cloud has none)"
)


def _openshape(
    size: str,
    method: str,
    dim: int,
    parameters: int,
    space: tuple[str, str],
    weights: str,
    takes: str = SWAPPED,
) -> Entry:
    name, method = f"openshape_{size}", f"OpenShape, point patch transformer, {method}"
    return Entry(name, "openshape", method, dim, 10_000, True, parameters, space[0], weights, space[1], takes)


def _uni3d(size: str, method: str, parameters: int) -> Entry:
    return Entry(
        f"uni3d_{size}", "uni3d", f"Uni3D, {method}", 1024, 10_000, True, parameters, EVA[0],
        "hf.co/BAAI/Uni3D, code under MIT", EVA[1], COLOURS,
    )  # fmt: skip


ENCODERS: tuple[Entry, ...] = (
    Entry(
        "ulip1_pointbert", "pointbert", "ULIP, Point-BERT", 512, 8192, False, 22_252_032, SLIP, ULIP, SAME,
    ),
    Entry(
        "ulip1_pointnext", "pointnext", "ULIP, PointNeXt-S", 512, 8192, False, 1_494_336, SLIP, ULIP, SAME,
        "xyz as it is, and the height above the lowest point (y - min y)",
    ),
    Entry(
        "ulip2", "pointbert", "ULIP-2, Point-BERT with colours", 1280, 10_000, True, 33_482_112, BIG_G[0],
        ULIP, BIG_G[1], COLOURS,
    ),
    _openshape("g14", "scaling 4", 1280, 32_326_080, BIG_G, OPENSHAPE.format("vitg14")),
    _openshape(
        "l14", f"12 blocks of width 512; {READING}", 768, 25_691_712,
        ("open_clip:ViT-L-14-quickgelu", "download:openai"), OPENSHAPE.format("vitl14"), COLOURS,
    ),
    _openshape(
        "b32", f"12 blocks of width 512; {READING}", 512, 25_297_728,
        ("open_clip:ViT-B-32-quickgelu", "download:openai"), OPENSHAPE.format("vitb32"), COLOURS,
    ),
    _uni3d("ti", "EVA-02 tiny", 6_221_824),
    _uni3d("s", "EVA-02 small", 22_498_432),
    _uni3d("b", "EVA-02 base", 86_951_296),
    _uni3d("l", "EVA-02 large", 304_671_552),
    _uni3d("g", "EVA giant", 1_012_864_128),
    Entry(
        "pointbert", "pointbert", "Point-BERT, pre-trained or fine-tuned on ModelNet40 (either file is read)", 768,
        1024, False, 21_858_816, "", "github.com/Julie-tang00/Point-BERT, code under MIT",
    ),
    Entry(
        "pointmae", "pointmae", "Point-MAE, the pre-trained encoder; mean and maximum of its tokens", 768, 1024, False,
        21_825_024, "", "github.com/Pang-Yatian/Point-MAE, code under MIT",
    ),
    Entry(
        "pointnext", "pointnext", "PointNeXt-S, as trained without captions", 256, 2048, False, 1_363_232, "",
        UNPUBLISHED,
    ),
    Entry(
        "pointnet", "pointnet", "PointNet without transforms, a ModelNet40 classifier", 1792, 1024, False, 809_344, "",
        "none published by its authors, any state dict of this layout is read",
    ),
    *(
        _openshape(f"s{i}", f"scaling {i}", 1280, parameters, ("", ""), UNPUBLISHED)
        for i, parameters in ((1, 5_100_768), (2, 13_346_880), (3, 25_954_368))
    ),
    # the same network and file as openshape_g14, under the name that continues the authors' series of scalings
    _openshape("s4", "scaling 4 (same as openshape_g14)", 1280, 32_326_080, BIG_G, OPENSHAPE.format("vitg14")),
    *(
        _openshape(f"s{i}", f"scaling {i}", 1280, parameters, ("", ""), UNPUBLISHED)
        for i, parameters in ((5, 72_070_336), (6, 171_262_144))
    ),
)  # fmt: skip


def find(name: str) -> Entry:
    """The entry of a name.

    Raises:
        ConfigError: for an unknown name, with the nearest and all known ones.

    Examples:
        >>> find("openshape_b32").dim
        512
    """
    names = [entry.name for entry in ENCODERS]
    if name in names:
        return ENCODERS[names.index(name)]
    near = get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise ConfigError(f"shape encoder {name!r}: {hint}expected one of {', '.join(names)}")
