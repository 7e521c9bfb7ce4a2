"""Time to train published point encoders, and the share of it that the point operations take.

A step is that of the recipe `prealigned`: clouds of the encoder's usual number of points through the encoder,
contrast with image embeddings that were computed beforehand, gradients, AdamW. An epoch has --shapes / --batch steps.
Point operations are farthest-point sampling, neighbours and ball queries; on CUDA, pointnet2_ops is used where it is
installed and supports the operation, else torch.

    python experiments/bench_encoders.py --device cuda --precision bfloat16 --batch 64
    python experiments/bench_encoders.py --smoke

Expected, hardware, time: not measured, in particular not on a GPU yet.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click
import torch
from common import markdown

from cmah import point_ops
from cmah.devices import chosen_device
from cmah.losses.hard_contrastive import hard_info_nce
from cmah.models.pretrained import point_encoder

ENCODERS = ("ulip1_pointbert", "ulip2", "openshape_s1", "openshape_s5", "ulip1_pointnext", "pointnext")
OPERATIONS = ("farthest_points", "nearest", "ball_query")


@click.command(help=__doc__)
@click.option(
    "--encoder",
    "encoders",
    multiple=True,
    default=ENCODERS,
    show_default=True,
    help="Measure this encoder; may be repeated.",
)
@click.option("--device", default="auto", show_default=True, help="Device: auto, cpu, cuda or cuda:N.")
@click.option(
    "--precision",
    default="bfloat16",
    type=click.Choice(["bfloat16", "float32"]),
    show_default=True,
    help="Precision of the encoder's forward pass.",
)
@click.option("--batch", default=64, show_default=True, help="Number of clouds per step.")
@click.option("--points", default=0, help="Points per cloud; 0 takes as many as the encoder was trained on.")
@click.option(
    "--steps",
    default=10,
    show_default=True,
    help="Steps measured, after two of warm-up; the median is shown.",
)
@click.option("--shapes", default=52_000, show_default=True, help="Number of shapes in an epoch.")
@click.option("--json", "as_json", is_flag=True, help="Print the numbers as JSON.")
@click.option("--smoke", is_flag=True, help="Use the smallest sizes and one step.")
def main(
    encoders: tuple[str, ...],
    device: str,
    precision: str,
    batch: int,
    points: int,
    steps: int,
    shapes: int,
    as_json: bool,
    smoke: bool,
) -> None:
    """Measure each encoder and print a table."""
    if smoke:
        encoders, batch, points, steps = ("openshape_s1", "pointnext"), 2, 256, 1
    chosen, rows, numbers = chosen_device(device), [], []
    for name in encoders:
        result = measure(name, chosen, precision == "bfloat16", batch, points, steps)
        result["epoch"] = result["step"] * shapes / batch
        numbers.append(
            {"encoder": name, "device": str(chosen), "precision": precision, "batch": batch, **result}
        )
        cells = [f"{result['points']:,}", f"{1e3 * result['step']:.0f} ms", f"{result['epoch'] / 60:.1f} min"]
        rows.append([name, *cells, f"{100 * result['point_operations'] / result['step']:.0f} %"])
    if as_json:
        click.echo(json.dumps(numbers))
        return
    click.echo(f"{chosen}, {precision}, batches of {batch}, an epoch of {shapes:,} shapes\n")
    click.echo(markdown(["encoder", "points", "a step", "an epoch", "point operations"], rows))


def measure(
    name: str, device: torch.device, half: bool, batch: int, points: int, steps: int
) -> dict[str, float]:
    """Median seconds of a step and of the point operations in it."""
    torch.manual_seed(0)
    encoder = point_encoder(name).to(device).train()
    optimizer = torch.optim.AdamW(encoder.parameters(), lr=1e-5)
    count = points or encoder.points
    clouds = torch.randn(batch, count, 3, device=device)
    clouds /= clouds.norm(dim=2).amax(dim=1)[:, None, None]
    images = torch.randn(batch, encoder.dim, device=device)
    totals, parts = [], []
    for number in range(steps + 2):
        with timed_point_operations(device) as spent:
            start = now(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                shape = encoder(clouds)
            loss = hard_info_nce(images, shape.float(), 0.07, 0.5) + hard_info_nce(
                shape.float(), images, 0.07, 0.5
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if number >= 2:
                totals.append(now(device) - start)
                parts.append(sum(spent))
    middle = sorted(range(steps), key=totals.__getitem__)[steps // 2]
    return {"points": count, "step": totals[middle], "point_operations": parts[middle]}


@contextmanager
def timed_point_operations(device: torch.device) -> Iterator[list[float]]:
    """The seconds of each point operation called within the block (which waits for the device)."""
    spent: list[float] = []
    original = {name: getattr(point_ops, name) for name in OPERATIONS}

    def timed(run: Callable) -> Callable:
        def call(*args: object, **options: object) -> object:
            start = now(device)
            result = run(*args, **options)
            spent.append(now(device) - start)
            return result

        return call

    for name, run in original.items():
        setattr(point_ops, name, timed(run))
    try:
        yield spent
    finally:
        for name, run in original.items():
            setattr(point_ops, name, run)


def now(device: torch.device) -> float:
    """The clock in seconds, once the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


if __name__ == "__main__":
    main()
