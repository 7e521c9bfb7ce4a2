"""The numeric pieces of the experiments over two towers, and how their runs are started and kept."""

from pathlib import Path
from types import SimpleNamespace

import click
import numpy as np
import pytest
from click.testing import CliRunner

CLIP = ["--image-encoder", "open_clip:RN50"]
EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"


@pytest.fixture(autouse=True)
def _modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXPERIMENTS))


def slow_within_batches(images: np.ndarray, shapes: np.ndarray, size: int, seed: int, draws: int) -> dict:
    """The same by sorting, equal rows in a random order, again and again."""
    order = np.random.default_rng(seed).permutation(len(images))
    random, hits = np.random.default_rng(1), {}
    for first in range(0, len(order), size):
        batch = order[first : first + size]
        for way, query, items in (("image→shape", images, shapes), ("shape→image", shapes, images)):
            for row in batch:
                near = [
                    round(
                        float(query[row] @ items[i] / np.linalg.norm(query[row]) / np.linalg.norm(items[i])),
                        6,
                    )
                    for i in batch
                ]
                for _ in range(draws):
                    mixed = random.permutation(len(batch))
                    ranked = sorted(mixed, key=lambda i, near=near: -near[i])
                    place = [batch[i] for i in ranked].index(row)
                    for k in (1, 5):
                        hits.setdefault((way, k), []).append(place < k)
    return {key: np.mean(values) for key, values in hits.items()}


@pytest.mark.parametrize("equal", [False, True])
def test_within_batches_are_ranked_as_by_sorting(equal: bool) -> None:
    from captionless_retrieval import within_batches

    rng = np.random.default_rng(0)
    shapes = rng.normal(size=(30, 6)).astype(np.float32)
    if equal:
        shapes[10:20] = shapes[:10]  # several images of one shape
    images = shapes * rng.uniform(0.5, 2, (30, 1)) + rng.normal(size=shapes.shape)
    found = within_batches(images, shapes, size=12, seed=3)
    expected = slow_within_batches(images, shapes, 12, 3, draws=400 if equal else 1)
    for (way, k), value in expected.items():
        assert found[way][f"top{k}"] == pytest.approx(value, abs=0.02 if equal else 1e-9)


def test_within_batches_a_second_row_of_the_shape_is_a_miss() -> None:
    from captionless_retrieval import within_batches

    shapes = np.eye(4, dtype=np.float32)[[0, 0, 1, 2]]
    found = within_batches(shapes, shapes, size=128)
    assert found["image→shape"] == {"top1": 0.75, "top5": 1.0}  # of the two equal rows, either may come first
    # each row alone in its batch
    assert within_batches(shapes, -shapes, size=1)["image→shape"] == {"top1": 1.0, "top5": 1.0}


@pytest.mark.slow
def test_fine_tuning_learns_what_can_be_learned() -> None:
    import torch
    from captionless_classification import _tune

    from cmah.data.point_augmentation import NO_POINT_AUGMENTATION
    from cmah.data.point_clouds import normalise
    from cmah.models.pretrained import point_encoder

    rng = np.random.default_rng(0)
    labels = np.arange(24) % 2
    clouds = [(rng.normal(size=(80, 3)) * (1, 1, 0.05 + label)).astype(np.float16) for label in labels]
    options = SimpleNamespace(tuning_epochs=12, tuning_batch=8, tuning_lr=1e-3)
    results = []
    for _ in range(2):
        torch.manual_seed(0)
        net = torch.nn.Sequential(point_encoder("pointnet"), torch.nn.Linear(1792, 2))
        _tune(net, clouds, labels, 64, NO_POINT_AUGMENTATION, options, 0, torch.device("cpu"))
        with torch.no_grad():
            found = net.eval()(torch.from_numpy(np.stack([normalise(cloud[:64]) for cloud in clouds])))
        results.append(found.numpy())
    assert (results[0].argmax(axis=1) == labels).mean() > 0.9
    assert np.array_equal(*results)


def test_percent() -> None:
    from two_towers import percent

    assert percent([0.25, 0.35]) == f"30.0 ± {np.std([25, 35], ddof=1):.1f}"
    assert percent([0.5]) == "50.0"
    assert percent([0.5, None]) == percent([float("nan")]) == percent([]) == "–"


def test_published_values_stand_beside_measured_ones_only_when_asked() -> None:
    from two_towers import table

    rows, known = {"a": ["1.0", "2.0"], "b": ["3.0", "4.0"]}, {"a": (9.0, None)}
    assert "published" not in table("arm", ["x", "y"], rows)
    lines = table("arm", ["x", "y"], rows, known).splitlines()
    assert lines[0] == "| arm | x | published | y | published |"
    assert lines[2:] == ["| a | 1.0 | 9.0 | 2.0 | – |", "| b | 3.0 | – | 4.0 | – |"]


@pytest.mark.parametrize(
    ("name", "more", "expected"),
    [
        ("captionless_classification", [], "'timm:resnet18' has no text tower"),
        ("captionless_retrieval", ["--arm", "AVG"], "'timm:resnet18' has no text tower"),
        ("captionless_retrieval", ["--split", "nope"], "no shape or image of split 'nope'"),
        ("prealigned_instance", ["--published", "Pix3D"], "values are those of --shape-encoder openshape_s5"),
        (
            "captionless_retrieval",
            ["--arm", "I2I", "--published", "Pix3D"],
            "not of timm:resnet18 and pointnet",
        ),
        (
            "captionless_classification",
            ["--published", "ModelNet40", *CLIP],
            "not of open_clip:RN50 and pointnet",
        ),
        ("captionless_landmarks", ["--published", *CLIP], "not of open_clip:RN50 and pointnet"),
        ("captionless_landmarks", ["--count", "9999", *CLIP], "no --count up to"),
    ],
)
def test_what_cannot_be_is_refused_before_training(
    name: str, more: list[str], expected: str, tmp_path: Path, toy: Path
) -> None:
    import importlib

    if "--count" in more:  # its categories must have landmarks
        text = (toy / "shapes.csv").read_text().replace(",flat,", ",chair,").replace(",tall,", ",table,")
        toy = tmp_path / "data"
        toy.mkdir()
        (toy / "shapes.csv").write_text(text)
        (toy / "images.csv").write_text("image_id,shape_id,category,split,path,kind\n")
        header = (
            '{"format": "cmah-dataset", "version": 1, "name": "t", "points_per_shape": 64, "up_axis": "y"'
        )
        (toy / "dataset.json").write_text(header + ', "image_size": 16}')
    command = importlib.import_module(name).main
    encoders = ["--image-encoder", "timm:resnet18", "--image-weights", "x", "--shape-encoder", "pointnet"]
    done = CliRunner().invoke(command, [str(toy), "--out", str(tmp_path / "out"), *encoders, *more])
    assert done.exit_code in (1, 2)
    assert expected in " ".join(done.stderr.split())
    assert not (tmp_path / "out").exists()


SCRIPT = """
import json, os, click
from pathlib import Path
@click.command()
@click.argument("dataset")
@click.option("--out", type=Path)
@click.option("--one")
@click.option("--set", "settings", multiple=True)
def main(dataset, out, one, settings):
    if one == "bad":
        raise SystemExit(3)
    out.mkdir(parents=True)
    (out / "numbers.json").write_text(json.dumps([dataset, one, *settings, os.getpid()]))
if __name__ == "__main__":
    main()
"""


def experiment(tmp_path: Path, jobs: int) -> tuple[str, click.Command, SimpleNamespace]:
    import runpy

    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    o = SimpleNamespace(dataset="D", out=tmp_path / "out", one=None, settings=("a=1", "b=2"), jobs=jobs)
    return str(script), runpy.run_path(str(script))["main"], o


@pytest.mark.parametrize("jobs", [0, 2])
def test_runs_are_made_once(jobs: int, tmp_path: Path) -> None:
    from two_towers import all_runs

    script, command, o = experiment(tmp_path, jobs)
    found = all_runs(script, command, o, ["(I2L)²:0", "I2I:0"])
    assert {name: values[:-1] for name, values in found.items()} == {
        "(I2L)²:0": ["D", "(I2L)²:0", "a=1", "b=2"],
        "I2I:0": ["D", "I2I:0", "a=1", "b=2"],
    }
    processes = {values[-1] for values in found.values()}
    assert len(processes) == (1 if jobs == 0 else 2)
    # a new name is made, the others are read; other options are another experiment
    more = all_runs(script, command, o, ["(I2L)²:0", "I2I:0", "I2I:1"])
    assert more.items() >= found.items()
    assert len(more) == 3
    o.settings = ("a=2",)
    with pytest.raises(click.UsageError, match="other options"):
        all_runs(script, command, o, ["I2I:0"])


def test_a_failed_run_is_told(tmp_path: Path) -> None:
    from two_towers import all_runs

    script, command, o = experiment(tmp_path, 1)
    with pytest.raises(click.ClickException, match="a run failed"):
        all_runs(script, command, o, ["bad"])


@pytest.mark.parametrize(
    ("image", "shape", "zero_shot", "expected"),
    [
        ("open_clip:ViT-bigG-14", "openshape_g14", None, True),
        ("open_clip:ViT-bigG-14?image_std=1", "ulip2", None, True),
        ("open_clip:ViT-B-32", "openshape_g14", None, False),
        ("open_clip:ViT-bigG-14", "openshape_s5", None, False),  # no public weights
        ("open_clip:ViT-bigG-14", "openshape_s5", True, True),
        ("open_clip:ViT-bigG-14", "openshape_g14", False, False),
    ],
)
def test_zero_shot_needs_a_common_space(
    image: str, shape: str, zero_shot: bool | None, expected: bool
) -> None:
    from prealigned_instance import ZERO_SHOT, run_names

    given = SimpleNamespace(
        image_encoder=image, image_weights="I", shape_encoder=shape, shape_weights="S", config=None, settings=(),
        bits=64, published=None, seeds=2, zero_shot=zero_shot,
    )  # fmt: skip
    names = run_names(given)
    assert (ZERO_SHOT in names) == expected
    assert len(names) == 8 + expected
    given.shape_weights = None
    assert run_names(given) == ["InfoNCE:scratch:0", "HCL:scratch:0", "InfoNCE:scratch:1", "HCL:scratch:1"]


def test_options_reach_a_single_run(tmp_path: Path) -> None:
    """Every option that changes a run's numbers comes back the same from the arguments made of it."""
    from captionless_landmarks import main
    from two_towers import passed_on

    given = [
        "D", "--out", str(tmp_path), "--target", "T", "--set", "a=1", "--set", "b=2", "--kind", "photo", "--points",
        "7", "--tuning-lr", "0.5", "--seeds", "9", "--retrieval", "R", "--landmarks", "L", "--count", "3",
    ]  # fmt: skip
    first = main.make_context("x", given).params
    second = main.make_context("x", ["D", "--out", str(tmp_path), *passed_on(main, first)]).params
    assert {key for key in first if first[key] != second[key]} == {"seeds", "counts"}
