"""The preset `towers` beside objectives of published unsupervised hashing methods, on the same frozen features.

    python experiments/hashing_peers.py DATASET --out OUT --image-encoder timm:NAME --image-weights FILE \
        --shape-encoder pointnet --shape-weights FILE
    python experiments/hashing_peers.py DATASET --out OUT2 ... --held-out     (the choice of the peers' settings)
    python experiments/hashing_peers.py --smoke --out OUT                     (seconds, synthetic shapes)

These are not runs of the published methods, which train networks of their own on images, or images and texts. Taken
from the authors' released code are the objectives (peer_objectives.py) and the values of their hyperparameters, but for
those marked in peer_recipes.py. All else is that of `towers`: frozen features with their statistics, hash heads, AdamW
and its learning rate, batches of 256, number of steps, averaged weights, pairs of renders and pictures. In the place of
texts stand shapes; of CIBHash's two augmentations of an image, an image and its shape. A peer learns each code length
in a run of its own, since its objective is for one.

None of the three objectives, as they are here, takes images without a pair: photos reach the peers by the statistics
that standardise them alone, as they reach `towers` "without photos", and the same with one-hot targets, a plain nested
InfoNCE.

ITQ, PCA and LSH are fitted to floats of the training split: the 128 that `towers` learned, or frozen ones, which are
the standardised features of the image encoder, of an image and in the mean of the six views that are drawn of a shape.

--held-out trains each setting of each peer at 32 bits without a tenth of the training shapes, and prints the mAP on
these; the first setting of each is the one that was chosen so, and is used in the table. The learning rate is not among
them. Nothing of the peers is chosen on the split that is measured on. For what is measured, see towers_table.py.

A killed experiment, started again, keeps the runs that were done; a peer's run that was stopped begins anew.

Expected: the table in docs/results.md, which is of one seed; another moves mAP by a point or two.

Hardware and time: see there.
"""

import shutil
from dataclasses import asdict
from functools import partial
from itertools import product
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import click
import numpy as np
import torch
from common import markdown
from peer_recipes import PEERS, WithoutPhotos
from towers_table import METHODS, floats_of, measured, shape_weights_of, use_smoke_towers
from two_towers import all_runs, model_settings, one_line_errors, require_data, shared_options, trained

from cmah.codes import BinaryCodes, Embeddings
from cmah.codes.posthoc import fit_hash
from cmah.config.schema import Config
from cmah.data.dataset import Dataset
from cmah.features.frozen_shapes import frozen_shape_features
from cmah.features.image_embedder import ImageEmbedder
from cmah.files import write_json
from cmah.models.frozen_towers import IMAGE_KINDS
from cmah.recipes.resolving import build_recipe, make_config
from cmah.recipes.towers import TowersRecipe
from cmah.runs.exporting import export
from cmah.runs.metrics_log import read_metrics

BITS = (16, 32, 64)
NESTED = (16, 32, 64, 128)  # code lengths of a run of towers
CHOICE = 32  # bits at which the peers' settings are chosen


OURS = {
    "towers": "towers",
    "without-photos": "towers without photos",
    "one-hot": "towers without photos, one-hot targets",
}


@click.command(help=__doc__)
@shared_options
@click.option("--shape-weights", type=click.Path(), help="Weights file of the point encoder.")
@click.option("--held-out", is_flag=True, help="Compare the peers' settings on held-out training shapes.")
def main(**options: Any) -> None:
    """Run every method with every seed, then print the table."""
    o = SimpleNamespace(**options)
    with one_line_errors():
        if o.smoke:
            use_smoke_towers(o)
            o.settings += ("training.held_out=0.4",) if o.held_out else ()
        require_data(o)
        if o.one:
            choose(o) if o.held_out else measure(o)
            return
        numbers = all_runs(__file__, main, o, names_of(o))
        click.echo(held_out_table(numbers) if o.held_out else peers_table(numbers, o))


def names_of(o: SimpleNamespace) -> list[str]:
    """The runs, METHOD:BITS:SEED, or METHOD:SETTING:SEED with --held-out; seed after seed."""
    if o.held_out:
        return [f"{method}:{i}:0" for method, (_, _, settings) in PEERS.items() for i in range(len(settings))]
    runs = [f"{method}:{bits}" for bits in BITS for method in PEERS]
    runs = ["towers:0", *runs, "frozen:0", "without-photos:0", "one-hot:0"]
    return [f"{run}:{seed}" for seed in range(o.seeds) for run in runs]


def settings_of(o: SimpleNamespace, bits: tuple[int, ...], seed: str) -> list[str]:
    """The settings of a run of towers on a command line."""
    return [
        f"model.bits={','.join(map(str, bits))}",
        f"training.seed={seed}",
        *model_settings(o),
        *shape_weights_of(o),
    ]


def peer_trained(o: SimpleNamespace, recipe: Any, chosen: list[str]) -> tuple[Any, float]:
    """Train a recipe of this file in OUT/run, from the beginning; see `trained`."""
    shutil.rmtree(o.out / "run", ignore_errors=True)  # UCCH's bank is not saved with a run that was stopped
    with patch("cmah.training.loop.build_recipe", recipe):
        return trained(o, "towers", chosen, preset="towers")


def choose(o: SimpleNamespace) -> None:
    """Train one setting of a peer without the held-out shapes, and write their mAP."""
    method, number, seed = o.one.split(":")
    _, objective, settings = PEERS[method]
    chosen = ["training.held_out=0.1", "training.validate_every=1000", *settings_of(o, (CHOICE,), seed)]
    run, _ = peer_trained(o, partial(objective, settings=settings[int(number)]), chosen)
    validation = read_metrics(run)[-1]["validation"]
    write_json(
        o.out / "numbers.json", {"map": validation[str(CHOICE)], "settings": asdict(settings[int(number)])}
    )


def measure(o: SimpleNamespace) -> None:
    """One run: train, export, write numbers.json."""
    method, bits, seed = o.one.split(":")
    dataset = Dataset.read(o.target or o.dataset)
    if method == "frozen":
        write_json(o.out / "numbers.json", {"rows": frozen_rows(o, dataset, int(seed)), "seconds": 0.0})
        return
    lengths = (int(bits),) if method in PEERS else NESTED
    chosen = settings_of(o, lengths, seed)
    if method in PEERS:
        _, objective, settings = PEERS[method]
        run, seconds = peer_trained(o, partial(objective, settings=settings[0]), chosen)
    elif method == "towers":
        run, seconds = trained(o, "towers", chosen, preset="towers")
    else:
        chosen += ["loss.soft.share=0", "loss.soft.by_length=0"] if method == "one-hot" else []
        run, seconds = peer_trained(o, WithoutPhotos, chosen)
    paths = export(run, dataset, o.out / "codes", split=o.split)[:2]
    images, shapes = (BinaryCodes.load(path) for path in paths)
    name = PEERS[method][0] if method in PEERS else OURS[method]
    rows = {f"{name}:{n}": measured(images.truncate(n), shapes.truncate(n)) for n in BITS if n in lengths}
    if method == "towers":
        floats = floats_of(run, dataset, o.out / "floats", o.split)
        training = floats_of(run, Dataset.read(o.dataset), o.out / "training", "train")
        rows |= hashed_rows(training, floats, "towers' floats", int(seed))
    write_json(o.out / "numbers.json", {"rows": rows, "seconds": seconds})


Floats = tuple[Embeddings, Embeddings]  # of images and of shapes


def hashed_rows(training: Floats, floats: Floats, what: str, seed: int) -> dict[str, Any]:
    """Measures of ITQ, PCA and LSH, fitted to the training floats of images and shapes."""
    rows = {}
    for method, bits in product(METHODS, BITS):
        fitted = fit_hash(training, bits, method, seed=seed)
        pair = [fitted.encode(part, which) for which, part in enumerate(floats)]
        rows[f"{method.upper()} on {what}:{bits}"] = measured(*pair)
    return rows


def frozen_rows(o: SimpleNamespace, dataset: Dataset, seed: int) -> dict[str, Any]:
    """The same on frozen floats, for which nothing is trained."""
    config = make_config("towers", "towers", o.config, settings_of(o, NESTED, str(seed)))
    training = Dataset.read(o.dataset)
    config = TowersRecipe.for_data(config, training)
    recipe = build_recipe(config)
    part = training.select(config.data.split)
    recipe.batches(part, config)  # learns the statistics
    recipe.network.eval()
    fitted_to, floats = (frozen_floats(recipe, each, config) for each in (part, dataset.select(o.split)))
    return hashed_rows(fitted_to, floats, "frozen floats", seed)


@torch.no_grad()
def frozen_floats(recipe: Any, dataset: Dataset, config: Config) -> tuple[Embeddings, Embeddings]:
    """What the frozen image encoder makes of images, and of the drawn views of shapes in the mean, standardised."""
    network, cpu = recipe.network, torch.device("cpu")
    embedder = ImageEmbedder.of(network.frozen_images, cpu, config.data.framing)
    table = embedder.embed(dataset, dataset.images)
    images = [dataset.images[i] for i in table.kept]
    kinds = torch.tensor([IMAGE_KINDS.index(image.kind) for image in images])
    seen = network.image_norm(torch.from_numpy(table.rows(range(len(table)))), kinds)
    features, kept, _ = frozen_shape_features(network, dataset, dataset.shapes, cpu, embedder=embedder)
    drawn = network.shape_norm(torch.from_numpy(features))[:, -seen.shape[1] :]
    shapes = [dataset.shapes[i] for i in kept]
    return (
        embeddings_of(seen.numpy(), images, [image.image_id for image in images], "image"),
        embeddings_of(drawn.numpy(), shapes, [shape.shape_id for shape in shapes], "shape"),
    )


def embeddings_of(values: np.ndarray, rows: Any, ids: list[str], modality: str) -> Embeddings:
    """Floats with the columns that are measured by."""
    columns: dict[str, Any] = {
        "ids": ids,
        "shape_ids": [row.shape_id for row in rows],
        "categories": [row.category for row in rows],
        "kinds": [getattr(row, "kind", "shape") for row in rows],
        "splits": [row.split for row in rows],
    }
    return Embeddings(embeddings=values, modality=modality, **columns)


def held_out_table(numbers: dict[str, Any]) -> str:
    """The mAP on held-out shapes of each setting."""
    rows = []
    for name, run in numbers.items():
        settings = ", ".join(f"{key} {value}" for key, value in run["settings"].items())
        rows.append([PEERS[name.partition(":")[0]][0], settings, *(f"{value:.3f}" for value in run["map"])])
    return markdown(["objective", "settings", f"{CHOICE} bits: image → shape", "shape → image"], rows)


def peers_table(numbers: dict[str, Any], o: SimpleNamespace) -> str:
    """A row for each method and length; mean and deviation over seeds of both ways, and Acc@10 of renders."""
    of_row: dict[str, list[Any]] = {}
    for run in numbers.values():
        for name, values in run["rows"].items():
            of_row.setdefault(name, []).append(values)
    labels = list(dict.fromkeys(name.rpartition(":")[0] for name in of_row))
    labels.sort(key=lambda label: (" on " in label, label not in OURS.values()))
    kinds = list(next(iter(of_row.values()))[0])
    rows = []
    for label, bits in product(labels, BITS):
        runs = of_row[f"{label}:{bits}"]
        cells = [over_seeds([run[kind]["map"] for run in runs]) for kind in kinds]
        cells.append(over_seeds([run["render"]["acc@10"][:1] for run in runs]))
        photos = "yes" if label == "towers" or " on " in label else "no"
        rows.append([f"{bits} bits, {label}", photos, *cells])
    head = ["", "photos", *(f"{kind}s: mAP" for kind in kinds), "renders: Acc@10"]
    seeds = "one seed" if o.seeds == 1 else f"mean ± standard deviation over {o.seeds} seeds"
    return f"split {o.split}, {seeds}\n\n{markdown(head, rows)}"


def over_seeds(values: list[list[float]]) -> str:
    """Measures such as image → shape / shape → image, of each seed: mean ± standard deviation; of one seed as it is."""
    rows = np.array(values)
    means = " / ".join(f"{value:.3f}" for value in rows.mean(axis=0))
    if len(rows) < 2:
        return means
    return f"{means} ± {' / '.join(f'{value:.3f}' for value in rows.std(axis=0, ddof=1))}"


if __name__ == "__main__":
    main()
