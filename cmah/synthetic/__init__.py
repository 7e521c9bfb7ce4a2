"""Synthetic shapes for the demo and the tests: 14 categories of parametric objects as mesh files."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from cmah.errors import CmahError
from cmah.preparing.shape_ids import stable_hash
from cmah.synthetic import furniture, household, vehicles, vessels
from cmah.synthetic.solids import Model
from cmah.synthetic.style import Style
from cmah.synthetic.writing import write_glb, write_obj, write_off, write_ply

BUILDERS: dict[str, Callable[[Style], Model]] = {
    "airplane": vehicles.airplane,
    "bed": furniture.bed,
    "bottle": vessels.bottle,
    "car": vehicles.car,
    "chair": furniture.chair,
    "guitar": household.guitar,
    "lamp": household.lamp,
    "mug": vessels.mug,
    "plant": household.plant,
    "shelf": household.shelf,
    "ship": vehicles.ship,
    "sofa": furniture.sofa,
    "table": furniture.table,
    "vase": vessels.vase,
}
CATEGORIES: tuple[str, ...] = tuple(BUILDERS)
# half of the files are OBJ, the only one of these formats with patterns; the others exercise the other readers
WRITERS = (
    (".obj", write_obj),
    (".glb", write_glb),
    (".obj", write_obj),
    (".ply", write_ply),
    (".obj", write_obj),
    (".off", write_off),
)


def make_model(category: str, number: int, seed: int = 0) -> Model:
    """Make an object; the same arguments always give the same one.

    Args:
        category: one of `CATEGORIES`.
        number: number of the object within its category, from 0.
        seed: another seed gives other objects.

    Raises:
        CmahError: if there is no such category.

    Examples:
        >>> len(make_model("mug", number=0).solids)  # outside, inside and handle
        3
    """
    if category not in BUILDERS:
        raise CmahError(f"no synthetic category {category!r}; there are {', '.join(CATEGORIES)}")
    return BUILDERS[category](Style(np.random.default_rng([seed, stable_hash(category), number])))


def make_shapes(
    out: str | Path, per_category: int = 20, categories: Sequence[str] | None = None, seed: int = 0
) -> list[Path]:
    """Write synthetic objects as mesh files, y up.

    Args:
        out: folder; the files are OUT/<category>/<category>_000.obj (or .glb, .ply, .off).
        per_category: number of objects in each category.
        categories: some of `CATEGORIES`; None: all.
        seed: another seed gives other objects.

    Returns:
        The mesh files, by category and number.

    Raises:
        CmahError: if a category is unknown.

    Examples:
        >>> [path.as_posix() for path in make_shapes("toys", per_category=2, categories=["mug"])]
        ['toys/mug/mug_000.obj', 'toys/mug/mug_001.glb']
    """
    paths = []
    for category in CATEGORIES if categories is None else categories:
        for number in range(per_category):
            model = make_model(category, number, seed)
            suffix, write = WRITERS[number % len(WRITERS)]
            path = Path(out) / category / f"{category}_{number:03d}{suffix}"
            write(model, path)
            paths.append(path)
    return paths
