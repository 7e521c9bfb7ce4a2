"""All stages from meshes to hits on synthetic shapes; what `cmah demo` runs."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cmah
from cmah.checks import as_int
from cmah.codes import BinaryCodes
from cmah.data.dataset import Dataset, Shape
from cmah.data.mesh_sources import split_source
from cmah.demo_page import DIRECTIONS, Maps, map_lines, write_page
from cmah.errors import CmahError
from cmah.evaluation import evaluate
from cmah.files import atomic_path, write_json
from cmah.reading import read_json
from cmah.search import HammingIndex

# What the preset `tiny` needs to learn these shapes within minutes: a shallower network and more, smaller steps.
# All synthetic shapes face the same way and stand before white, so there are no turns and backgrounds to learn;
# their colours say nothing about their form, so these vary freely.
SETTINGS = """\
# The settings of `cmah demo`, beside those of the preset tiny.

[model]
bits = [16, 32, 64]
depth = 2

[training]
epochs = {epochs}
batch_size = 32
lr = 2e-3
validate_every = 10
seed = {seed}

[image_augmentation]
crop = 0.7
flip = 0.0
hue = 0.5
greyscale = 0.3
background = 0.0

[point_augmentation]
rotation = 0.0
mirror = 0.0
"""


@dataclass(frozen=True)
class Scale:
    """How much the demo does.

    Attributes:
        per_category: synthetic shapes of each category.
        views: of each shape.
        epochs: of training.
        hits: shown for each query.

    Examples:
        >>> from cmah.synthetic import CATEGORIES
        >>> Scale().per_category * len(CATEGORIES)
        560
    """

    per_category: int = 40
    views: int = 8
    epochs: int = 50
    hits: int = 6


def run_demo(
    out: str | Path,
    *,
    seed: int = 0,
    scale: Scale | None = None,
    report: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Make shapes, prepare, train, export, index, evaluate and search; write OUT/report.html.

    Called again for the same folder it goes on where it was stopped. It always computes on the CPU: the same
    seed gives the same numbers on the same machine.

    Args:
        out: folder for everything: new, empty, or of an earlier demo with the same seed and scale.
        seed: of shapes, points, initialisation, order and augmentation, 0 to 2^32 - 1.
        scale: how much to do.
        report: called with each line of progress.

    Returns:
        Plain data, which OUT/summary.json holds too: "report" (path of the page), "seconds" by stage, "map"
        before and after training by direction and code length, "searches" (each query with its hits).

    Raises:
        CmahError: if `out` holds something else, or a demo with another seed or scale.

    Examples:
        >>> summary = read_json("demo/summary.json")  # what run_demo("demo") returned
        >>> sorted(summary), sorted(summary["map"]["after"]["image -> shape"])
        (['map', 'report', 'searches', 'seconds'], ['16', '32', '64'])
        >>> run_demo("demo", seed=5)
        Traceback (most recent call last):
        cmah.errors.CmahError: demo: holds a demo with ...seed 0...; choose another folder
    """
    if not 0 <= as_int(seed, "seed", CmahError) < 1 << 32:  # what training takes
        raise CmahError(f"seed is {seed}, expected 0 to 2^32 - 1")
    return _Demo(Path(out), seed, scale or Scale(), report).go()


class _Demo:
    """One demo: its folder, and how long each stage took."""

    def __init__(self, out: Path, seed: int, scale: Scale, report: Callable[[str], None]) -> None:
        self.out, self.seed, self.scale, self.report = out, seed, scale, report
        self.meshes, self.dataset, self.run = out / "meshes", out / "dataset", out / "run"
        self.codes, self.untrained = out / "codes", out / "untrained"
        self.page = out / "report.html"
        self.seconds: dict[str, float] = {}

    def go(self) -> dict[str, Any]:
        """All stages in order."""
        self.make_shapes()
        self.prepare()
        self.train()
        self.export()
        self.index()
        maps = self.evaluate()
        searches = self.search(maps)
        summary = {"report": str(self.page), "seconds": self.seconds, "map": maps, "searches": searches}
        write_json(self.out / "summary.json", summary)
        return summary

    @contextmanager
    def stage(self, name: str, what: str, *command: object) -> Iterator[None]:
        """Say what a stage does, which command does the same, and at its end how long it took."""
        start = time.perf_counter()
        self.report(f"{len(self.seconds) + 1}/7 {what}")
        if command:
            self.report(f"    $ cmah {' '.join(map(str, command))}")
        yield
        self.seconds[name] = round(time.perf_counter() - start, 1)
        self.report(f"    {self.seconds[name]:.1f} s")

    def make_shapes(self) -> None:
        """Write the meshes, once; demo.json keeps demos of different parameters apart."""
        from cmah.synthetic import CATEGORIES, make_shapes

        marker = self.out / "demo.json"
        wanted = {"cmah": cmah.__version__, "seed": self.seed, **asdict(self.scale)}
        stored = read_json(marker) if marker.is_file() else {}
        if stored:
            other = [f"{key} {stored.get(key)}" for key in wanted if stored.get(key) != wanted[key]]
            if other:
                raise CmahError(f"{self.out}: holds a demo with {', '.join(other)}; choose another folder")
        elif self.out.is_dir() and any(self.out.iterdir()):
            raise CmahError(f"{self.out}: is neither empty nor a demo's folder; choose another")
        count = self.scale.per_category * len(CATEGORIES)
        with self.stage("shapes", f"make {count} shapes of {len(CATEGORIES)} categories: {self.meshes}"):
            if not stored or "meshes" in stored:  # not begun, or stopped
                write_json(marker, {**wanted, "meshes": "not all made"})
                make_shapes(self.meshes, self.scale.per_category, seed=self.seed)
                write_json(marker, wanted)

    def prepare(self) -> None:
        """Render and sample; a fifth of the shapes is held out of training."""
        from cmah.preparing.preparing import prepare

        views = self.scale.views
        with self.stage(
            "prepare",
            f"render {views} views and sample 1,024 points of each",
            *("prepare", self.meshes, self.dataset, "--views", views, "--image-size 64 --points 1024"),
            *("--elevation 10,35 --split-fractions 0.8,0,0.2 --seed", self.seed),
        ):
            prepare(
                self.meshes,
                self.dataset,
                views=views,
                image_size=64,
                points=1024,
                elevations=(10.0, 35.0),
                split_fractions=(0.8, 0.0, 0.2),
                seed=self.seed,
            )

    def train(self) -> None:
        """The run, and one of no epochs to compare it with."""
        from cmah.training.starting import train

        file = self.out / "settings.toml"
        with atomic_path(file) as temporary:
            temporary.write_text(SETTINGS.format(epochs=self.scale.epochs, seed=self.seed), encoding="utf-8")
        settings: dict[str, Any] = {"preset": "tiny", "config": file, "device": "cpu", "resume": True}
        with self.stage(
            "train",
            "train CMAH on pairs of a view and a point cloud, without labels",
            *("train", self.dataset, "--out", self.run, "--preset tiny --config", file, "--device cpu"),
        ):
            train(self.dataset, self.untrained, settings=["training.epochs=0"], **settings)
            train(self.dataset, self.run, report=lambda line: self.report(f"    {line}"), **settings)

    def export(self) -> None:
        """Codes of the held-out shapes, by the run and by the untrained network."""
        from cmah.runs.exporting import export

        with self.stage(
            "export",
            "encode the shapes that training has not seen",
            *("export", self.run, self.dataset, "--split test --out", self.codes, "--device cpu"),
        ):
            export(self.run, self.dataset, self.codes, split="test", device="cpu")
            export(self.untrained, self.dataset, self.codes / "untrained", split="test", device="cpu")

    def index(self) -> None:
        """Index files of both modalities."""
        with self.stage(
            "index",
            "index their codes of 64 bits",
            *("index", self.codes / "shape.npz", self.out / "shapes.cmah"),
        ):
            for modality in ("image", "shape"):
                codes = BinaryCodes.load(self.codes / f"{modality}.npz")
                index = HammingIndex(codes.bits)
                index.add(codes)
                index.save(self.out / f"{modality}s.cmah")

    def evaluate(self) -> Maps:
        """Retrieval both ways at each code length, before and after training."""
        with self.stage(
            "eval",
            "measure retrieval between their views and shapes",
            *("eval --query", self.codes / "image.npz", "--database", self.codes / "shape.npz", "--both"),
        ):
            maps: Maps = {}
            details = []
            for when, folder in (("before", self.codes / "untrained"), ("after", self.codes)):
                image, shape = (BinaryCodes.load(folder / f"{name}.npz") for name in ("image", "shape"))
                maps[when] = {}
                for direction, a, b in zip(DIRECTIONS, (image, shape), (shape, image), strict=True):
                    reports = {n: evaluate(a.truncate(n), b.truncate(n)) for n in a.prefixes}
                    maps[when][direction] = {str(n): round(r["map"], 4) for n, r in reports.items()}
                    details += [
                        {"when": when, "direction": direction} | r.to_dict() for r in reports.values()
                    ]
            write_json(self.out / "evaluation.json", details)
        for line in map_lines(maps):
            self.report(f"    {line}")
        self.report(
            f"    ({len(image)} views, {len(shape)} shapes; relevant = same category; ties by expectation)"
        )
        return maps

    def search(self, maps: Maps) -> list[dict[str, Any]]:
        """Search by files of one unseen shape per category; the hits are printed and shown on the page."""
        from cmah.runs.encoder import Encoder

        dataset = Dataset.read(self.dataset).select("test")
        shapes = first_of_each_category(dataset.shapes)
        views = dataset.views()
        # seen from the left in front; the hits' portraits are seen from the right
        images = [views[shape.shape_id][-1] for shape in shapes]
        pictures = [dataset.file(image.path) for image in images]
        within = [split_source(shape.extra["source"], dataset.mesh_folders)[1] for shape in shapes]
        meshes = [self.meshes / path for path in within]
        searches = []
        with self.stage(
            "search",
            "find shapes by a picture, and pictures by a mesh",
            *("search", self.out / "shapes.cmah", "--run", self.run, "--dataset", self.dataset, pictures[0]),
        ):
            encoder = Encoder.load(self.run)
            # pictures and meshes take turns, so that each category is shown once
            for name, files, ids in (
                ("shapes", pictures[::2], [image.image_id for image in images[::2]]),
                ("images", meshes[1::2], [shape.shape_id for shape in shapes[1::2]]),
            ):
                queries, skipped = encoder.encode_files(files)
                if skipped:
                    raise CmahError(f"{skipped[0][0]}: {skipped[0][1]}")
                hits = HammingIndex.open(self.out / f"{name}.cmah").search(queries, self.scale.hits)
                searches += [
                    {
                        "file": str(file),
                        "id": ids[row],
                        "among": name,
                        "hits": hits.ids[row].tolist(),
                        "distances": hits.distances[row].tolist(),
                    }
                    for row, file in enumerate(files)
                ]
            for line in write_page(self.page, searches, maps, dataset, self.run):
                self.report(f"    {line}")
        return searches


def first_of_each_category(shapes: list[Shape]) -> list[Shape]:
    """The first shape of each category, in order of the categories.

    Examples:
        >>> names = ("mug 1", "mug 2", "chair 1")
        >>> shapes = [Shape(name, name.split()[0], "test", f"points/{name}.npy") for name in names]
        >>> [shape.shape_id for shape in first_of_each_category(shapes)]
        ['chair 1', 'mug 1']
    """
    first: dict[str, Shape] = {}
    for shape in shapes:
        first.setdefault(shape.category, shape)
    return [first[category] for category in sorted(first)]
