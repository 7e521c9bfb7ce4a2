"""What one photo costs: a cold `cmah search INDEX --run RUN PHOTO` beside `python -c "import torch"`.

   python experiments/bench_cold_search.py [--run RUN INDEX PHOTO] [--rounds 9] [--json FILE]
   python experiments/bench_cold_search.py --smoke                      (one round)

Without --run, a model of the recipe cmah (preset tiny) is made on the spot, of random weights: what is measured is what
is imported and read. The two are started in turn, and the medians compared, so that what else runs meets both.

Expected: at most 1.8 times as long for a run of the recipe cmah (about 1.2 on an idle machine). Where the image encoder
is one of timm's or open_clip's, importing that library takes as long as importing torch again: it draws in torchvision
and torch's compiler, and its models cannot be imported one by one.

Hardware: 2 cores of an AMD EPYC.

Time: a minute.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import click

import cmah
from cmah.files import write_json

AT_MOST = 1.8
TORCH = [sys.executable, "-c", "import torch"]
SEARCH = [sys.executable, "-c", "from cmah.cli.main import main; main()", "search"]


@click.command(help=__doc__)
@click.option(
    "--run", "given", type=(str, str, str), metavar="RUN INDEX PHOTO", help="Measure a search with this run."
)
@click.option("--rounds", default=9, show_default=True, type=click.IntRange(min=1), help="Starts of each.")
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path), help="Write the seconds to this JSON file."
)
@click.option("--smoke", is_flag=True, help="One round; the ratio then means little.")
def main(given: tuple[str, str, str] | None, rounds: int, json_path: Path | None, smoke: bool) -> None:
    """Measure and print the medians and their ratio."""
    with tempfile.TemporaryDirectory() as folder:
        run, index, photo = given or made(Path(folder))
        search = [*SEARCH, index, "--run", run, photo]
        seconds(search)  # files come into the cache of the system, digests into that of cmah
        times = [(seconds(TORCH), seconds(search)) for _ in range(1 if smoke else rounds)]
    torch, whole = (statistics.median(column) for column in zip(*times, strict=True))
    click.echo(f"import torch {torch:.2f} s, cmah search {whole:.2f} s: {whole / torch:.2f} times as long")
    click.echo(f"expected at most {AT_MOST}; medians of {len(times)} starts, in turn")
    if json_path:
        write_json(json_path, {"import_torch": [t for t, _ in times], "search": [s for _, s in times]})


def seconds(command: Sequence[str]) -> float:
    """How long a process takes from its start to its end."""
    home = str(Path(cmah.__file__).parents[1])
    path = os.pathsep.join(part for part in (home, os.environ.get("PYTHONPATH", "")) if part)
    begin = time.perf_counter()
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise click.ClickException(done.stderr.strip().rpartition("\n")[2])
    return time.perf_counter() - begin


def made(folder: Path) -> tuple[str, str, str]:
    """A run of random weights, an index of its codes, and a photo: their paths."""
    import numpy as np
    import PIL.Image
    import torch

    from cmah.recipes.resolving import build_recipe, make_config
    from cmah.runs.encoder import Encoder
    from cmah.runs.run_folder import RunFolder
    from cmah.runs.tensor_files import own_state, save_tensors
    from cmah.search import HammingIndex

    config, run = make_config("cmah", "tiny"), folder / "run"
    torch.manual_seed(0)
    network = build_recipe(config).network
    created = RunFolder.create(run, config, {"path": "", "name": "none", "checksum": ""})
    save_tensors(created.weights, own_state(network), {})
    random = np.random.default_rng(0)
    PIL.Image.fromarray(random.integers(0, 256, (480, 640, 3)).astype(np.uint8)).save(folder / "photo.jpg")
    encoder = Encoder.load(run)
    codes = encoder.encode_points(list(random.standard_normal((20, 600, 3)).astype(np.float32)))
    index = HammingIndex(codes.bits)
    index.add(codes, ids=[f"shape {i}" for i in range(len(codes))])
    index.save(folder / "shapes.cmah")
    return str(run), str(folder / "shapes.cmah"), str(folder / "photo.jpg")


if __name__ == "__main__":
    main()
