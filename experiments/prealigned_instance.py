"""Instance-level retrieval with pre-aligned encoders and hard negatives (Kühn et al., arXiv 2603.06982).

Queries are pictures, the database is shapes. Arms: the encoders as published (zero-shot, where they share a space), and
the shape encoder trained on DATASET with InfoNCE or with the hard contrastive loss (HCL), each from random weights and
from --shape-weights. Beside the floats stand the codes of the same runs: by ITQ, or learned with
--set model.head=tanh; 64 bits are 8 bytes a shape.

    python experiments/prealigned_instance.py DATASET --target PHOTOS --split all --kind photo --out OUT
        --image-encoder open_clip:ViT-bigG-14 --image-weights download:laion2b_s39b_b160k
        --shape-encoder openshape_g14 --shape-weights FILE
    python experiments/prealigned_instance.py --smoke --out OUT        (seconds, synthetic shapes, random weights)

An image's split is its own: where test photos show shapes that are trained on too, as in Pix3D, the shapes state no
split (dataset folder, version 2), or the photos make a folder of their own, --target. What the published values need:
Pix3D (github.com/xingyuansun/pix3d), CompCars, StanfordCars or ModelNet40 (modelnet.cs.princeton.edu) with 12 renders
of each shape (elevation 30°, azimuth every 30°), 10,000 coloured points, OpenCLIP ViT-bigG-14, and Point-BERT(L) as
pre-trained by OpenShape, whose weights are not public: the public checkpoint is openshape_g14, of another size.
Point-BERT(S) and (L) are openshape_s1 and openshape_s5. Not known: the paper's databases and queries, its learning
rate, batch, epochs and temperature, β after 0.5, its definition of mAP@10 and its tolerances. Ours is the mean average
precision of the first 10 ranks where only the very shape is relevant (so the mean reciprocal rank, 0 beyond 10), its
expected value over ties.

Expected: the published values, printed beside the measured ones with --published; tolerances are not known.

Hardware, time: not measured; not run at full size.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
from two_towers import (
    all_runs,
    model_settings,
    one_line_errors,
    percent,
    reference_list,
    require_data,
    shared_options,
    table,
    trained,
    use_smoke_inputs,
)

from cmah.data.dataset import Dataset
from cmah.data.table_rows import KINDS
from cmah.errors import DatasetError
from cmah.evaluation import evaluate
from cmah.files import write_json
from cmah.models.pretrained.encoder_table import find
from cmah.recipes.resolving import make_config
from cmah.runs.encoder import Encoder
from cmah.runs.run_folder import RunFolder

ARMS = {"InfoNCE": ("loss.beta=0", "loss.beta_end=0"), "HCL": ()}
STARTS = {"scratch": "scratch", "pre-aligned": "finetune"}  # and the preset of each
ZERO_SHOT = "zero-shot:pre-aligned:0"
MEASURES = ("acc@1", "acc@10", "mAP@10")
COLUMNS = ("Acc@1", "Acc@10", "mAP@10")
# values in percent, of Point-BERT(S) = openshape_s1 and (L) = openshape_s5; those of the first three data sets are
# taken to be of HCL after pre-alignment
PUBLISHED: dict[tuple[str, str], dict[str, tuple[float | None, ...]]] = {
    ("Pix3D", "openshape_s5"): {"HCL, pre-aligned": (80.7, 98.5, 87.8)},
    ("CompCars", "openshape_s5"): {"HCL, pre-aligned": (97.7, 100.0, 98.8)},
    ("StanfordCars", "openshape_s5"): {"HCL, pre-aligned": (95.8, 99.9, 97.7)},
    ("ModelNet40", "openshape_s1"): {
        "InfoNCE, scratch": (34.0, None, None),
        "HCL, scratch": (37.4, None, None),
    },
    ("ModelNet40", "openshape_s5"): {
        "InfoNCE, scratch": (30.6, None, None),
        "HCL, scratch": (38.0, None, None),
        "InfoNCE, pre-aligned": (57.3, 92.5, 69.1),
        "HCL, pre-aligned": (58.7, None, None),
    },
}
OTHERS: dict[str, tuple[float | None, ...]] = {
    "Pix3D, LFD": (60.7, 86.3, None),
    "Pix3D, HEG-TS": (74.9, 95.0, None),
    "Pix3D, CMIC": (78.9, 96.1, None),
    "Pix3D, SC-IBSR": (80.2, 96.9, None),
    "CompCars, SC-IBSR": (78.7, 94.2, None),
    "StanfordCars, CMIC": (83.4, 96.4, None),
    "StanfordCars, SC-IBSR": (84.3, 97.1, None),
}


@click.command(help=__doc__)
@shared_options
@click.option(
    "--shape-weights",
    help="Weights file that the pre-aligned arms start from; without it these arms are left out.",
)
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    default=["render"],
    show_default=True,
    type=click.Choice(KINDS),
    help="Use images of this kind as queries; may be repeated.",
)
@click.option("--bits", default=64, show_default=True, help="Code length in bits.")
@click.option(
    "--zero-shot/--no-zero-shot",
    default=None,
    help="Measure the pre-aligned encoders without training.  [default: if cmah encoders lists them as aligned]",
)
@click.option(
    "--published",
    type=click.Choice(sorted({name for name, _ in PUBLISHED})),
    help="Name of the data set: prints its published values beside.",
)
def main(**options: Any) -> None:
    """Run every arm from every start with every seed, then print the tables."""
    o = SimpleNamespace(**options)
    with one_line_errors():
        if o.smoke:
            use_smoke_inputs(o, width=1792)  # as PointNet's, so that the two may pass for aligned
            o.shape_encoder, o.shape_weights, o.bits, o.seeds = "pointnet", smoke_weights(o.out), 16, 2
            o.zero_shot, o.settings = True, ("model.head=tanh", "model.head_hidden=16", *o.settings)
        require_data(o)
        if o.one:
            measure(o)
            return
        names = run_names(o)
        numbers = all_runs(__file__, main, o, names)
        write_json(o.out / "prealigned_instance.json", numbers)
        click.echo(tables(o, numbers))


def run_names(o: SimpleNamespace) -> list[str]:
    """ARM:START:SEED of every run; zero-shot once, where weights are given and the encoders share a space.

    Raises:
        click.UsageError: if values of other encoders are to be shown as published.
        ConfigError: for settings that are no good.
    """
    model = make_config("prealigned", None, o.config, [*model_settings(o), f"model.bits={o.bits}"]).model
    o.shape_encoder = model.shape_encoder
    if o.published and (o.published, o.shape_encoder) not in PUBLISHED:
        encoders = " or ".join(encoder for name, encoder in PUBLISHED if name == o.published)
        raise click.UsageError(
            f"--published {o.published}: its values are those of --shape-encoder {encoders}"
        )
    starts = [start for start in STARTS if start == "scratch" or o.shape_weights]
    names = [f"{arm}:{start}:{seed}" for seed in range(o.seeds) for start in starts for arm in ARMS]
    entry = find(model.shape_encoder)
    aligned = (
        entry.aligned_with == model.image_encoder.partition("?")[0] if o.zero_shot is None else o.zero_shot
    )
    return [ZERO_SHOT, *names] if o.shape_weights and aligned else names


def measure(o: SimpleNamespace) -> None:
    """One run: train, encode queries and shapes, write numbers.json."""
    arm, start, seed = o.one.split(":")
    settings = [*model_settings(o), f"model.bits={o.bits}", f"training.seed={seed}"]
    if start == "pre-aligned":
        settings.append(f"model.shape_weights={o.shape_weights}")
    # heads that nothing has trained would give random codes
    settings += ["training.epochs=0", "model.head=itq"] if arm == "zero-shot" else ARMS[arm]
    run, seconds = trained(o, "prealigned", settings, STARTS[start])
    folder, data = RunFolder(run), Dataset.read(o.target or o.dataset).select(o.split)
    encoder, workers = Encoder.of(folder, o.device), folder.config.training.workers
    numbers: dict[str, Any] = {"seconds": seconds}
    for kind in o.kinds:
        images = [image for image in data.images if image.kind == kind and image.shape_id]
        if not images:
            raise DatasetError([f"{data.root}: split {o.split!r} has no image of kind {kind} with a shape"])
        for floats in (True, False):
            queries, _ = encoder.dataset_images(
                data, images, workers=workers, embeddings=floats, label="images"
            )
            database, _ = encoder.dataset_shapes(data, data.shapes, embeddings=floats, label="shapes")
            report = evaluate(queries, database, relevance="instance", map_depth=10, bootstrap=0)
            values = {"acc@1": report["acc@1"], "acc@10": report["acc@10"], "mAP@10": report["map"]}
            values |= {"queries": len(queries), "items": len(database)}
            numbers[f"{kind} {'floats' if floats else 'codes'}"] = values
    write_json(o.out / "numbers.json", numbers)


def tables(o: SimpleNamespace, numbers: dict[str, Any]) -> str:
    """A table for each kind of query, of floats and of codes; then what is published."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for name, run in numbers.items():
        arm, start, _ = name.split(":")
        rows.setdefault(f"{arm}, {start}", []).append(run)
    text = [
        f"instance level, image → shape, split {o.split}, percent, mean ± standard deviation (seeds: {o.seeds}); "
        "mAP@10: only the very shape is relevant"
    ]
    first = next(iter(numbers.values()))
    for kind in o.kinds:
        sizes = first[f"{kind} floats"]
        for output, title in (("floats", "floats"), ("codes", f"{o.bits} bits")):
            cells = {
                label: [percent([run[f"{kind} {output}"][key] for run in runs]) for key in MEASURES]
                for label, runs in rows.items()
            }
            published = (
                PUBLISHED[o.published, o.shape_encoder] if o.published and output == "floats" else None
            )
            text.append(f"\n**{kind}, {title}** ({sizes['queries']} queries, {sizes['items']} shapes)\n")
            text.append(table("arm, start", COLUMNS, cells, published))
    of_encoders = {
        f"{name}, Point-BERT({'S' if encoder == 'openshape_s1' else 'L'}), {label}": values
        for (name, encoder), lines in PUBLISHED.items()
        for label, values in lines.items()
    }
    text.append(reference_list("arXiv 2603.06982", "data, method", COLUMNS, OTHERS | of_encoders))
    return "\n".join(text)


def smoke_weights(out: Path) -> str:
    """A weights file of a PointNet with random numbers."""
    import torch
    from safetensors.torch import save_file

    from cmah.models.pretrained import point_encoder

    path = out / "shape.safetensors"
    if not path.exists():
        torch.manual_seed(0)
        save_file(point_encoder("pointnet").state_dict(), path)
    return str(path)


if __name__ == "__main__":
    main()
