"""Which very shape does an image show? SC-IBSR (Song et al., TOMM 2024) and CMIC (Lin et al., ICCV 2021) in parts.

Arms: the form of CMIC, that is without style, L_kl and L_con; with mixed style; with consistency or contrast beside
it; with all. Beside them captionless (with negatives weighted by I2I over all pairs, which reads no labels) and cmah,
over a frozen image encoder, with shapes seen by the same views. Of each run the database is ranked five ways: by the
attention over views (the method's own score), by the cosine of pooled vectors, by its longest codes, and by these with
the first 100 re-ranked by either.

    python experiments/style_mixed_instance.py DATASET --out OUT --image-encoder timm:resnet50 --image-weights FILE
    python experiments/style_mixed_instance.py --smoke --out OUT      (seconds, synthetic shapes, random weights)

Without --config, networks and schedule are those of a CPU: MobileNetV2, one epoch (configs/style_mixed.toml; for the
baselines style_mixed_captionless.toml and style_mixed_cmah.toml). The
published form is that of `cmah train --recipe style_mixed` as it is: 400 epochs of ResNet-50 at 224 pixels.

No render is a query for a shape that it describes: every second one describes, the others ask (model.views_from=even).
What the published values need: Pix3D (github.com/xingyuansun/pix3d), StanfordCars or CompCars with 12 grey renders of
each shape and masks of the images. Not known: views and renderer, HAU and IoU, every ablation. A killed experiment,
started again, resumes where it was.

Expected: the table in docs/results.md (41 categories, 1,567 training and 271 measured shapes, three seeds).

Hardware, time: 2 cores of an Intel Xeon with AVX-512; the times of each run are printed.
"""

from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
from common import SMOKE as SMOKE_CMAH
from common import of_kind, smoke_dataset
from two_towers import (
    SMOKE,
    all_runs,
    one_line_errors,
    percent,
    reference_list,
    require_data,
    shared_options,
    table,
    trained,
)

from cmah.codes import BinaryCodes, Embeddings
from cmah.data.cloud_lookup import cloud_lookup
from cmah.data.dataset import Dataset
from cmah.evaluation.clouds import first_hit_distances
from cmah.files import write_json
from cmah.runs.encoder import Encoder
from cmah.runs.exporting import export
from cmah.search import HammingIndex
from cmah.search.item_vectors import ItemVectors
from cmah.search.reranking import RerankBy, Reranking, rerank

NO_STYLE = ("model.style_stage=0", "loss.consistency=0", "loss.contrast=0")
ARMS: dict[str, tuple[str, tuple[str, ...]]] = {
    "CMIC form": ("style_mixed", NO_STYLE),
    "+ style": ("style_mixed", ("loss.consistency=0", "loss.contrast=0")),
    "+ style, consistency": ("style_mixed", ("loss.contrast=0",)),
    "+ style, contrast": ("style_mixed", ("loss.consistency=0",)),
    "all (SC-IBSR)": ("style_mixed", ()),
    "captionless": ("captionless", ("loss.negatives.kind=i2i_all", "loss.negatives.views=all_pairs")),
    "cmah": ("cmah", ()),
}
CONFIGS = Path(__file__).parent / "configs"
RANKINGS = {
    "attention": "attention over views",
    "real": "cosine of pooled vectors",
    "codes": "codes",
    "codes, attention": "codes, first {n} re-ranked by attention",
    "codes, real": "codes, first {n} re-ranked by cosine",
}
MEASURES = ("acc@1", "acc@10", "hau")
KINDS = ("render", "picture", "photo")
FIRST = 100  # hits that are re-ranked
# arXiv 2603.06982 prints them beside its own; the papers' tables were not at hand
PUBLISHED = {
    "Pix3D, CMIC": (78.9, 96.1), "Pix3D, SC-IBSR": (80.2, 96.9), "CompCars, SC-IBSR": (78.7, 94.2),
    "StanfordCars, CMIC": (83.4, 96.4), "StanfordCars, SC-IBSR": (84.3, 97.1),
}  # fmt: skip
TINY_NET = (
    "model.image_size=32", "model.bits=8,16", "model.views=2", "training.batch_size=8", "training.epochs=1",
    "training.workers=0", "training.held_out=0",
)  # fmt: skip


@click.command(help=__doc__)
@shared_options
@click.option(
    "--views",
    default=12,
    show_default=True,
    type=click.IntRange(min=1),
    help="Number of renders that describe a shape when it is measured, if it has so many that do not ask.",
)
@click.option("--arms", "arms", multiple=True, type=click.Choice([*ARMS]), help="Run these arms only.")
def main(**options: Any) -> None:
    """Run every arm with every seed, then print the tables."""
    o = SimpleNamespace(**options)
    o.arms = o.arms or tuple(ARMS)
    with one_line_errors():
        if o.smoke:
            smoke_inputs(o)
        require_data(o)
        if o.one:
            measure(o)
            return
        names = [f"{arm}:{seed}" for seed, arm in product(range(o.seeds), o.arms)]
        numbers = all_runs(__file__, main, o, names)
        write_json(o.out / "style_mixed_instance.json", numbers)
        click.echo(tables(numbers, o))


def smoke_inputs(o: SimpleNamespace) -> None:
    """A few synthetic shapes and an image encoder of random weights."""
    import timm
    import torch
    from safetensors.torch import save_file

    o.dataset, o.target, o.split, o.jobs, o.seeds = smoke_dataset(o.out / "data"), None, "val", 0, 1
    o.image_encoder, o.image_weights = "timm:test_resnet", str(o.out / "image.safetensors")
    if not Path(o.image_weights).exists():
        torch.manual_seed(0)
        save_file(timm.create_model("test_resnet").state_dict(), o.image_weights)
    o.settings = (*o.settings, *TINY_NET)


def settings_of(o: SimpleNamespace, recipe: str, seed: str) -> list[str]:
    """What a run is trained with beside its arm and its configuration file."""
    given = [
        f"model.{name}={getattr(o, name)}" for name in ("image_encoder", "image_weights") if getattr(o, name)
    ]
    smoke: list[str] = []
    if o.smoke:
        baseline = {"cmah": SMOKE_CMAH, "captionless": (*SMOKE, "model.joint_dim=16"), "style_mixed": ()}
        smoke = [setting for setting in baseline[recipe] if not setting.startswith("model.points=")]
    return [*given, *smoke, *o.settings, "model.views_from=even", f"training.seed={seed}"]


def measure(o: SimpleNamespace) -> None:
    """One run: train, encode, rank in each way, write numbers.json."""
    arm, seed = o.one.rsplit(":", 1)
    recipe, of_arm = ARMS[arm]
    config = o.config or CONFIGS / f"{recipe if recipe == 'style_mixed' else 'style_mixed_' + recipe}.toml"
    run_options = SimpleNamespace(**{**vars(o), "config": config})
    run, seconds = trained(run_options, recipe, [*settings_of(o, recipe, seed), *of_arm])
    numbers: dict[str, Any] = {"seconds": seconds, **rankings(o, run)}
    write_json(o.out / "numbers.json", numbers)


def rankings(o: SimpleNamespace, run: Path) -> dict[str, Any]:
    """Measures of each ranking for the queries of each kind."""
    dataset = Dataset.read(o.target or o.dataset).select(o.split)
    shown = ["model.views_from=even", f"model.views={o.views}"]

    def files(name: str, **options: Any) -> tuple[Path, Path]:
        image, shape, _ = export(run, dataset, o.out / name, split="all", settings=shown, **options)
        return image, shape

    codes = [BinaryCodes.load(path) for path in files("codes")]
    real = [Embeddings.load(path) for path in files("real", embeddings=True)]
    views = Embeddings.load(files("views", embeddings=True, per_view=True)[1])
    weight = None
    encoder = Encoder.load(run)
    if getattr(encoder.model, "attention", None) is not None:
        weight = encoder.attention_weight()
    index = HammingIndex(codes[1].bits)
    index.add(codes[1])
    cloud_of = cloud_lookup(dataset)
    numbers: dict[str, Any] = {"shapes": len(index), "bits": index.bits}
    for kind in KINDS:
        queries, vectors = (of_kind(rows[rows.shape_ids != ""], [kind]) for rows in (codes[0], real[0]))
        if not len(queries):
            continue
        hits = index.search(queries, min(FIRST, len(index)))
        ranked = {"real": by_score(ItemVectors.of_items(real[1]), vectors, None), "codes": hits.ids}
        again: list[tuple[RerankBy, Embeddings, np.ndarray | None]] = [("real", real[1], None)]
        if weight is not None:
            ranked["attention"] = by_score(ItemVectors.of_shapes(views), vectors, weight)
            again.append(("attention", views, weight))
        for by, table_of_items, w in again:
            reranking = Reranking.of(table_of_items, FIRST, by, w)
            ranked[f"codes, {by}"] = rerank(hits, vectors, reranking).ids
        numbers[kind] = {
            name: measures(queries.shape_ids, ids.astype(str), cloud_of) for name, ids in ranked.items()
        }
        numbers[kind]["queries"] = len(queries)
    return numbers


def by_score(items: ItemVectors, queries: Embeddings, weight: np.ndarray | None) -> np.ndarray:
    """The ids of all items for each query, the greatest score first: text [q, n]."""
    scores = items.scores(queries.embeddings, weight)
    assert items.names is not None
    return items.names[np.argsort(-scores, axis=1, kind="stable")]


def measures(shown: np.ndarray, ranked: np.ndarray, cloud_of: Any) -> dict[str, float]:
    """Whether the shape shown is the first hit, whether it is among the first 10, and how far the first hit lies.

    Args:
        shown: text [q], the shapes that the queries show.
        ranked: text [q, n], the hits.
        cloud_of: as in `first_hit_distances`.
    """
    right = ranked == shown[:, None]
    hau = first_hit_distances(shown, ranked[:, 0], cloud_of, threads=1)[0]
    return {
        "acc@1": float(right[:, 0].mean()),
        "acc@10": float(right[:, :10].any(axis=1).mean()),
        "hau": float(np.nanmean(hau)),
    }


def tables(numbers: dict[str, dict[str, Any]], o: SimpleNamespace) -> str:
    """A table for each kind of query, times, and what is published."""
    one = next(iter(numbers.values()))
    text = [
        f"split {o.split}, {one['shapes']} shapes, codes of {one['bits']} bits; Acc in percent, HAU in units of the "
        f"normalised cloud, × 100; mean ± standard deviation (seeds: {o.seeds})"
    ]
    for kind in KINDS:
        if kind not in one:
            continue
        for ranking, title in RANKINGS.items():
            rows = {}
            for arm in o.arms:
                runs = [numbers[f"{arm}:{seed}"][kind].get(ranking) for seed in range(o.seeds)]
                if all(runs):
                    rows[arm] = [percent([run[name] for run in runs]) for name in MEASURES]
            if rows:
                heading = title.format(n=min(FIRST, one["shapes"]))
                text += [f"\n**{kind} ({one[kind]['queries']}): {heading}**\n"]
                text.append(table("arm", ("Acc@1", "Acc@10", "HAU"), rows))
    seconds = {arm: [numbers[f"{arm}:{seed}"]["seconds"] for seed in range(o.seeds)] for arm in o.arms}
    spent = {arm: [f"{np.mean(each):.0f}"] for arm, each in seconds.items()}
    text += ["\n**training**\n", table("arm", ("seconds per run",), spent)]
    text.append(reference_list("arXiv 2603.06982", "data, method", ("Acc@1", "Acc@10"), PUBLISHED))
    return "\n".join(text)


if __name__ == "__main__":
    main()
