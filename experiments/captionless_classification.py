"""Classification without captions, zero-shot and fine-tuned: Table 1 of Sbrolli & Matteucci (arXiv 2406.02202).

A point encoder is aligned with a frozen CLIP image encoder on DATASET by InfoNCE, I2I, (I2L)² or AVG. Zero-shot: the
nearest of the category names of --target, in the paper's prompt and in that of its released code. Fine-tuned: the
same point encoder and a linear classifier, trained with cross-entropy on the split `train` of --target. Both are
measured on its --split.

    python experiments/captionless_classification.py DATASET --target MODELNET40 --split test --out OUT
        --image-weights download:laion2b_s34b_b79k --points 8192
    python experiments/captionless_classification.py --smoke --out OUT     (seconds, synthetic shapes, random weights)

The published values need the ShapeNet-55 of ULIP, with 30 renders of each shape, one every 12°
(github.com/mortorit/ShapeNetRenderer), open_clip's ViT-B-32 of laion2b_s34b_b79k, 500 epochs, and ModelNet40
(modelnet.cs.princeton.edu) or ScanObjectNN (hkust-vgl.github.io/scanobjectnn) as --target. The paper's landmarks, its
checkpoints and its way of fine-tuning were not published: the landmarks here are those that come with cmah, or
--set loss.negatives.landmarks=FILE; fine-tuning follows Point-MAE (AdamW, 5e-4, weight decay 0.05, cosine) with
label smoothing of 0.2, and the last epoch is measured, not the best on the test data.

Expected: the published values, printed beside the measured ones with --published. Tolerances are not known: the paper
gives one value each, and two of its tables differ by 0.3 for the same one.

Hardware, time: not measured; not run at full size.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
import torch
from torch import nn
from two_towers import (
    all_runs,
    kept,
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

from cmah.data.dataset import Dataset, Shape, without_points
from cmah.data.encoding_batches import PointBatches
from cmah.data.point_augmentation import PointAugmentation, augment_points
from cmah.data.point_clouds import fixed_subset, normalise, with_colours
from cmah.devices import full_float32
from cmah.errors import DatasetError
from cmah.files import write_json
from cmah.models.pretrained.text_towers import require_text
from cmah.recipes.resolving import make_config
from cmah.runs.classifying import classify
from cmah.runs.encoder import Encoder
from cmah.runs.run_folder import RunFolder

ARMS = {"InfoNCE": "", "I2I": "i2i", "(I2L)²": "i2l2", "AVG": "avg"}
PROMPTS = {"paper": "a point cloud of a {}", "released": "a point cloud model of a {}"}
COLUMNS = ("top-1 (paper's prompt)", "top-5", "top-1 (released code's prompt)", "top-5", "fine-tuned top-1")
SMOOTHING = 0.2
WEIGHT_DECAY = 0.05
BATCH = 32  # in evaluation
# zero-shot top-1 and top-5, fine-tuned top-1, in percent; the paper's prompt
PUBLISHED: dict[str, dict[str, tuple[float | None, ...]]] = {
    "ModelNet40": {
        "PointCLIP": (20.2, 43.7, 92.0),
        "CLIP2Point": (49.4, 66.5, 94.2),
        "ULIP-PointNet++": (58.4, 78.2, 93.5),
        "ULIP-PointBERT": (60.4, 84.0, 94.1),
        "ReCon": (61.7, 83.6, 94.7),
        "ULIP-2 PointNeXt": (64.5, 81.3, None),
        "ULIP-2 PointBERT": (66.4, 87.7, None),
        "I2I": (64.2, 87.1, 93.2),
        "(I2L)²": (63.7, 86.9, 94.3),
        "AVG": (65.9, 87.0, 93.7),
    },
    "ScanObjectNN": {
        "PointCLIP": (15.4, 33.9, 89.1),
        "CLIP2Point": (23.32, 57.5, 90.6),
        "ULIP-PointNet++": (49.9, 78.8, 89.7),
        "ULIP-PointBERT": (48.5, 79.9, 86.4),
        "ReCon": (30.5, 63.2, 91.3),
        "ULIP-2 PointNeXt": (None, None, 89.5),
        "ULIP-2 PointBERT": (None, None, 86.7),
        "I2I": (53.1, 82.4, 90.1),
        "(I2L)²": (54.8, 83.9, 88.9),
        "AVG": (55.7, 82.6, 90.2),
    },
}


def arm_option(command: Any) -> Any:
    """The option --arm."""
    return click.option(
        "--arm",
        "arms",
        multiple=True,
        default=list(ARMS),
        show_default=True,
        type=click.Choice(list(ARMS)),
        help="Train with this loss; may be repeated.",
    )(command)


def fine_tuning_options(command: Any) -> Any:
    """The options of zero-shot classification and fine-tuning."""
    for option in (
        click.option(
            "--points", default=0, help="Points per cloud in zero-shot; 0 takes as many as in training."
        ),
        click.option(
            "--tuning-epochs",
            default=100,
            show_default=True,
            type=click.IntRange(min=1),
            help="Epochs of fine-tuning.",
        ),
        click.option(
            "--tuning-batch",
            default=32,
            show_default=True,
            type=click.IntRange(min=2),
            help="Shapes per batch of fine-tuning.",
        ),
        click.option("--tuning-lr", default=5e-4, show_default=True, help="Learning rate of fine-tuning."),
    ):
        command = option(command)
    return command


@click.command(help=__doc__)
@shared_options
@arm_option
@fine_tuning_options
@click.option(
    "--published",
    type=click.Choice(sorted(PUBLISHED)),
    help="Name of the data set of --target: prints its published values beside.",
)
def main(**options: Any) -> None:
    """Run every arm with every seed, then print the tables."""
    o = SimpleNamespace(**options)
    with one_line_errors():
        if o.smoke:
            use_smoke_inputs(o)
            o.seeds, o.tuning_epochs, o.tuning_batch = 2, 2, 8
        require_data(o)
        if o.one:
            arm, seed = o.one.split(":")
            run, seconds = align(o, arm, int(seed))
            write_json(o.out / "numbers.json", {"seconds": seconds, **classification(o, run, int(seed))})
            return
        check_encoders(o, texts=True)
        names = [f"{arm}:{seed}" for seed in range(o.seeds) for arm in o.arms]
        numbers = all_runs(__file__, main, o, names)
        write_json(o.out / "captionless_classification.json", numbers)
        click.echo(tables(o, numbers))


def align(o: SimpleNamespace, arm: str, seed: int, more: Sequence[str] = ()) -> tuple[Path, float]:
    """Train the run of an arm; its folder and the seconds it took."""
    of_arm = [f"loss.negatives.kind={ARMS[arm]}", f"training.seed={seed}", *more]
    return trained(o, "captionless", [*model_settings(o), *of_arm])


def check_encoders(o: SimpleNamespace, texts: bool) -> None:
    """Refuse encoders that cannot do what is asked, and published values beside those of others.

    Args:
        o: the options.
        texts: whether texts are to be compared with shapes or images.

    Raises:
        click.UsageError: naming the encoders.
        ConfigError: for settings that are no good.
    """
    model = make_config("captionless", None, o.config, model_settings(o)).model
    if texts:
        require_text(model.image_encoder)
    if texts and model.joint_dim:
        raise click.UsageError(
            f"model.joint_dim = {model.joint_dim}: texts have no place in a space of its own"
        )
    pair = model.image_encoder.partition("?")[0], model.shape_encoder
    if o.published and pair != ("open_clip:ViT-B-32", "pointnext"):
        raise click.UsageError(
            f"--published {o.published}: its values are those of open_clip:ViT-B-32 and pointnext, not of "
            + " and ".join(pair)
        )


def classification(o: SimpleNamespace, run: Path, seed: int) -> dict[str, Any]:
    """Accuracies of a run on --target: {"paper": {top1, top5}, "released": {…}, "fine-tuned": top1}."""
    target = o.target or o.dataset
    settings = [f"model.points={o.points}"] if o.points else []

    def zero_shot() -> dict[str, Any]:
        reports = {
            name: classify(run, target, split=o.split, prompts=[prompt], device=o.device, settings=settings)
            for name, prompt in PROMPTS.items()
        }
        return {
            name: {key: report[key] for key in ("top1", "top5", "n", "candidates")}
            for name, report in reports.items()
        }

    numbers: dict[str, Any] = kept(o.out / "zero_shot.json", zero_shot)
    return numbers | kept(o.out / "fine_tuned.json", lambda: {"fine-tuned": fine_tuned(o, run, target, seed)})


def fine_tuned(o: SimpleNamespace, run: Path, target: Path, seed: int) -> float:
    """Top-1 accuracy on --split after fine-tuning on the split `train`, both of the dataset `target`."""
    folder, data = RunFolder(run), Dataset.read(target)
    encoder = Encoder.of(folder, o.device)
    model: Any = encoder.model
    if remark := without_points(data.shapes):
        click.echo(f"{remark}; they are left out", err=True)
    train, test = (
        [shape for shape in data.select(split).shapes if shape.category and shape.points]
        for split in ("train", o.split)
    )
    if len(train) < 2 or not test:
        raise DatasetError([f"{data.root}: fine-tuning needs shapes with categories to train and to test on"])
    categories = sorted({shape.category for shape in train})
    torch.manual_seed(seed)
    tower = model.shape_tower
    net = nn.Sequential(tower, nn.Linear(getattr(tower, "net", tower).dim, len(categories)))
    net.to(encoder.device)
    clouds = [data.load_points(shape) for shape in train]
    clouds = [with_colours(cloud) if model.colours else cloud[:, :3] for cloud in clouds]
    labels = np.array([categories.index(shape.category) for shape in train])
    _tune(net, clouds, labels, model.points, folder.config.point_augmentation, o, seed, encoder.device)
    predicted, read = _predict(net, data, test, model, encoder.device)
    # a category that training lacks is never right
    return float(np.mean([categories[p] == shape.category for p, shape in zip(predicted, read, strict=True)]))


def _tune(
    net: nn.Module,
    clouds: Sequence[np.ndarray],
    labels: np.ndarray,
    points: int,
    augmentation: PointAugmentation,
    o: SimpleNamespace,
    seed: int,
    device: torch.device,
) -> None:
    """Train all of a network with cross-entropy; incomplete last batches are dropped."""
    size = min(o.tuning_batch, len(clouds))
    batches = len(clouds) // size
    trained_ones = [parameter for parameter in net.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained_ones, lr=o.tuning_lr, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: (1 + math.cos(math.pi * step / (o.tuning_epochs * batches))) / 2
    )
    loss = nn.CrossEntropyLoss(label_smoothing=SMOOTHING)
    net.train()
    for epoch in range(o.tuning_epochs):
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(len(clouds))
        for batch in order[: batches * size].reshape(batches, size):
            drawn = np.stack([_drawn(clouds[i], points, augmentation, rng) for i in batch])
            logits = net(torch.from_numpy(drawn).to(device))
            optimizer.zero_grad(set_to_none=True)
            loss(logits, torch.from_numpy(labels[batch]).to(device)).backward()
            optimizer.step()
            schedule.step()


def _drawn(
    cloud: np.ndarray, points: int, augmentation: PointAugmentation, rng: np.random.Generator
) -> np.ndarray:
    """A random subset of a cloud, normalised, then augmented as in training: float32 [points, 3 or 6]."""
    enough = len(cloud) >= points
    chosen = rng.choice(len(cloud), points, replace=False) if enough else fixed_subset(len(cloud), points)
    return augment_points(normalise(cloud[chosen]), augmentation, rng)


def _predict(
    net: nn.Module, data: Dataset, shapes: Sequence[Shape], model: Any, device: torch.device
) -> tuple[list[int], list[Shape]]:
    """The predicted class of each shape that can be read, and these shapes."""
    paths = [data.file(shape.points) for shape in shapes]
    predicted: list[int] = []
    read: list[Shape] = []
    net.eval()
    with torch.inference_mode(), full_float32():
        for batch, rows in PointBatches(paths, model.points, BATCH, model.colours, data.up_axis):
            predicted += net(batch["points"].to(device)).argmax(dim=1).tolist()
            read += [shapes[i] for i in rows]
    return predicted, read


def cells(runs: Sequence[dict[str, Any]]) -> list[str]:
    """The cells of `COLUMNS` for the runs of an arm with all seeds."""
    zero_shot = [
        percent([run[prompt][key] for run in runs]) for prompt in PROMPTS for key in ("top1", "top5")
    ]
    return [*zero_shot, percent([run["fine-tuned"] for run in runs])]


def published_cells(values: tuple[float | None, ...]) -> tuple[float | None, ...]:
    """Published values in the order of `COLUMNS`."""
    return values[0], values[1], None, None, values[2]


def tables(o: SimpleNamespace, numbers: dict[str, Any]) -> str:
    """The measured table, then what is published."""
    rows = {arm: cells([numbers[f"{arm}:{seed}"] for seed in range(o.seeds)]) for arm in o.arms}
    first = next(iter(numbers.values()))["paper"]
    published = None
    if o.published:
        published = {label: published_cells(values) for label, values in PUBLISHED[o.published].items()}
    text = [
        f"{first['n']} shapes of split {o.split}, {first['candidates']} categories, percent, mean ± standard deviation "
        f"(seeds: {o.seeds})\n",
        table("arm", COLUMNS, rows, published),
    ]
    columns = ("zero-shot top-1", "top-5", "fine-tuned top-1")
    values = {f"{name}, {row}": cell for name, lines in PUBLISHED.items() for row, cell in lines.items()}
    text.append(reference_list("arXiv 2406.02202, Table 1", "data, method", columns, values))
    return "\n".join(text)


if __name__ == "__main__":
    main()
