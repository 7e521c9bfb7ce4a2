"""IoU of voxels made of point clouds beside that of the meshes' solids: how well they agree, and what IoU costs.

    cmah prepare MESHES DATASET --points 10000 --views 1
    python experiments/bench_voxels.py DATASET MESHES [--pairs 300]
    python experiments/bench_voxels.py --smoke                                  (seconds, synthetic shapes)

Pairs of shapes of one category, at most --pairs and as many of each category as can be, drawn with seed 0. For clouds
of 1,024, 2,048 and 10,000 points (the first of the stored ones) and several radii around each point, in mean distances
of neighbours, IoU on 128^3 cells against that of the solids: correlation, rank correlation and mean difference over
the pairs; and IoU of two halves of the points of one shape, which would be 1 but for sampling. Then the time of
`first_hit_iou` for 1,000 queries.

Expected for 361 models of 30 categories, mean IoU of the solids 0.176: at the default radius of 2.5 correlations 0.890,
0.916 and 0.958, of ranks 0.903, 0.925 and 0.966; 16 s for 1,000 queries by clouds of 10,000 points, 17 s by meshes,
over all 361 shapes (docs/benchmarks.md). Tolerance: not measured.

Hardware: 2 cores of an AMD EPYC, busy with other work.

Time: 3 minutes.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np

SIZES = (1024, 2048, 10_000)
FACTORS = (2.0, 2.5, 3.0, 4.0)
QUERIES = 1000


def pairs_of(dataset: Any, count: int) -> list[tuple[str, str]]:
    """Pairs of shapes of one category, category by category in turn."""
    random = np.random.default_rng(0)
    by_category: dict[str, list[str]] = {}
    for shape in dataset.shapes:
        by_category.setdefault(shape.category, []).append(shape.shape_id)
    waiting = []
    for names in by_category.values():
        pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
        waiting.append([pairs[j] for j in random.permutation(len(pairs))])
    chosen: list[tuple[str, str]] = []
    while len(chosen) < count and any(waiting):
        chosen += [pairs.pop() for pairs in waiting if pairs]
    return chosen[:count]


def ranks(values: np.ndarray) -> np.ndarray:
    """The rank of each value, from 0."""
    return np.argsort(np.argsort(values))


def agreement(dataset: Any, pairs: list[tuple[str, str]], solids: Any) -> list[str]:
    """A line for each number of points and radius."""
    from cmah.data.cloud_lookup import cloud_lookup
    from cmah.evaluation.voxels import Voxels, cloud_grid, intersection_over_union, point_spacing

    cloud_of = cloud_lookup(dataset)
    names = sorted({name for pair in pairs for name in pair})
    truth = np.array([solids.iou(*pair) for pair in pairs])
    known = ~np.isnan(truth)
    lines = [
        f"{known.sum()} pairs of {len(names)} shapes; mean IoU of the meshes' solids {truth[known].mean():.3f}"
    ]
    for n in [n for n in SIZES if n <= dataset.points_per_shape] or [dataset.points_per_shape]:
        for factor in FACTORS:

            def grid_of(name: str, part: slice = slice(n), factor: float = factor) -> np.ndarray:
                cloud = cloud_of(name)
                assert cloud is not None, name
                points = cloud[part]
                return cloud_grid(points, radius=min(factor * point_spacing(points), 1.0))

            voxels = Voxels.of(grid_of, "")
            voxels.make(names)
            values = np.array([voxels.iou(*pair) for pair in pairs])[known]
            halves = [
                intersection_over_union(grid_of(name, slice(0, n, 2)), grid_of(name, slice(1, n, 2)))
                for name in names[:: max(1, len(names) // 40)]
            ]
            lines.append(
                f"{n:6} points, radius {factor:.1f}: correlation {np.corrcoef(values, truth[known])[0, 1]:.3f}, "
                f"of ranks {np.corrcoef(ranks(values), ranks(truth[known]))[0, 1]:.3f}, mean {values.mean():.3f}, "
                f"mean difference {np.abs(values - truth[known]).mean():.3f}, two halves {np.mean(halves):.3f}"
            )
    return lines


def cost(dataset: Any, make: Any, what: str) -> str:
    """The time of IoU for queries and hits drawn among all shapes."""
    from cmah.evaluation.voxels import first_hit_iou

    random = np.random.default_rng(1)
    names = np.array([shape.shape_id for shape in dataset.shapes])
    truth, hit = random.choice(names, (2, QUERIES))
    voxels = make()
    start = time.perf_counter()
    voxels.make(sorted({*truth.tolist(), *hit.tolist()}))
    made = time.perf_counter() - start
    first_hit_iou(truth, hit, voxels, 2)
    whole = time.perf_counter() - start
    return (
        f"{what}: {QUERIES} queries over {len(names)} shapes {whole:.1f} s, of which {made:.1f} s for the grids, "
        f"{1000 * made / len({*truth.tolist(), *hit.tolist()}):.0f} ms each"
    )


@click.command(help=__doc__)
@click.argument("dataset", required=False, type=click.Path(path_type=Path))
@click.argument("meshes", required=False, type=click.Path(path_type=Path))
@click.option("--pairs", default=300, type=click.IntRange(min=2))
@click.option("--smoke", is_flag=True, help="24 synthetic shapes.")
def main(dataset: Path | None, meshes: Path | None, pairs: int, smoke: bool) -> None:
    """See the head of this file."""
    from cmah.data.cloud_lookup import cloud_lookup
    from cmah.data.dataset import Dataset
    from cmah.data.voxel_lookup import voxel_lookup
    from cmah.evaluation.voxels import Voxels

    if not smoke and (dataset is None or meshes is None):
        raise click.UsageError("name a dataset and the folder of its meshes, or --smoke")
    with tempfile.TemporaryDirectory() as folder:
        if smoke or dataset is None or meshes is None:
            from common import smoke_dataset

            dataset = smoke_dataset(Path(folder) / "dataset")
            meshes, pairs = dataset.with_name("meshes"), min(pairs, 20)
        data = Dataset.read(dataset)
        chosen = pairs_of(data, pairs)
        solids = voxel_lookup(data, [meshes])
        solids.make({name for pair in chosen for name in pair})
        for line in agreement(data, chosen, solids):
            click.echo(line)
        click.echo(cost(data, lambda: Voxels.of_clouds(cloud_lookup(data)), "clouds"))
        click.echo(cost(data, lambda: voxel_lookup(data, [meshes]), "meshes"))


if __name__ == "__main__":
    main()
