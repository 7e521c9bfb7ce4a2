"""cmah eval: columns, the cost of hashing, distances between clouds, and what is refused; no torch."""

import json

import numpy as np
import pytest

from cmah.codes import BinaryCodes, Embeddings
from cmah.data.dataset import Dataset, Shape
from cmah.evaluation import evaluate
from cmah.evaluation.clouds import cloud_distances


@pytest.fixture
def files(tmp_path):
    """Codes of 8 and 16 bits, image.npz (9 renders, 3 photos) and shape.npz (6), and their floats."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((6, 16))
    for name, shown in (("image", np.arange(12) % 6), ("shape", np.arange(6))):
        floats = centres[shown] + 0.6 * random.standard_normal((len(shown), 16))
        known = {
            "ids": [f"{name[0]}{i}" for i in range(len(shown))],
            "shape_ids": [f"s{i}" for i in shown],
            "categories": np.array(["chair", "lamp"])[shown % 2],
            "kinds": ["render"] * 9 + ["photo"] * 3 if name == "image" else ["shape"] * 6,
            "modality": name,
        }
        signs = np.where(floats < 0, -1, 1).astype(np.int8)
        BinaryCodes.from_signs(signs, prefixes=(8, 16), **known).save(tmp_path / f"{name}.npz")
        Embeddings(floats.astype(np.float32), ids=known["ids"]).save(tmp_path / f"{name}-floats.npz")
        np.save(tmp_path / f"{name}-floats.npy", floats.astype(np.float32))
    return tmp_path


def test_columns(call, files):
    pair = ("--query", files / "image.npz", "--database", files / "shape.npz")
    status, out, _ = call("eval", *pair, "--metrics", "nn, FT,anmrr,p_radius2", "--bits", 16)
    assert status == 0
    head, _, row = out.splitlines()[:3]
    names = ("nn", "ft", "anmrr", "p_radius2")
    assert head.split()[-4:] == ["NN", "FT", "ANMRR", "P(r<=2)"]
    report = evaluate(BinaryCodes.load(files / "image.npz"), BinaryCodes.load(files / "shape.npz"))
    assert row.split()[-4:] == [f"{report[name]:.3f}" for name in names]
    status, _, err = call("eval", *pair, "--metrics", "nothing")
    assert (status, "metric 'nothing' is not known here" in err) == (2, True)


@pytest.mark.parametrize("suffix", ["npz", "npy"])
def test_cost_of_hashing(call, files, suffix):
    command = (
        "eval", "--query", files / "image.npz", "--database", files / "shape.npz", "--kind", "render",
        "--floats-query", files / f"image-floats.{suffix}", "--floats-database", files / f"shape-floats.{suffix}",
    )  # fmt: skip
    status, out, _ = call(*command, "--both", "--json", files / "e.json")
    assert status == 0
    record = json.loads((files / "e.json").read_text())
    rows = [
        (result["direction"], result["rules"]["ranking"], result["rules"]["width"])
        for result in record["results"]
    ]
    one_way = [("Hamming distance", 8), ("Hamming distance", 16), ("cosine", 16)]
    assert rows == [(way, *rest) for way in ("image -> shape", "shape -> image") for rest in one_way]
    assert [result["rules"]["queries"] for result in record["results"]] == [9, 9, 9, 6, 6, 6]
    maps = [result["values"]["map"] for result in record["results"]]
    costs = [maps[2] - maps[0], maps[2] - maps[1], maps[5] - maps[3], maps[5] - maps[4]]
    assert [cost["map"] for cost in record["costs"]] == pytest.approx(costs)
    assert f"cost of hashing, shape -> image, 8 bits: {costs[2]:+.3f} (float mAP - code mAP)" in out


def test_distance_between_clouds(call, files):
    random = np.random.default_rng(1)
    folder = files / "data"
    (folder / "points").mkdir(parents=True)
    points = {f"s{i}": random.uniform(-1, 1, (30, 3)).astype(np.float16) for i in range(6)}
    for name, cloud in points.items():
        np.save(folder / f"points/{name}.npy", cloud)
    Dataset(
        folder, "d", 30, "y", 16, [Shape(name, "", "", f"points/{name}.npy") for name in points], []
    ).write()
    pair = ("--query", files / "image.npz", "--database", files / "shape.npz")
    command = ("eval", *pair, "--bits", 8, "--dataset", folder)
    status, out, _ = call(*command, "--metrics", "hau", "--json", files / "e.json")
    assert status == 0
    codes = [BinaryCodes.load(files / f"{name}.npz").truncate(8) for name in ("image", "shape")]
    distances = (codes[0].signs()[:, None] != codes[1].signs()[None]).sum(axis=2)
    hits = codes[1].shape_ids[np.argsort(distances, axis=1, kind="stable")[:, 0]]
    assert (hits != codes[0].shape_ids).any()
    centred = {name: cloud - cloud.astype(np.float64).mean(axis=0) for name, cloud in points.items()}
    unit = {name: cloud / np.linalg.norm(cloud, axis=1).max() for name, cloud in centred.items()}
    expected = [cloud_distances(unit[a], unit[b])[0] for a, b in zip(codes[0].shape_ids, hits, strict=True)]
    value = json.loads((files / "e.json").read_text())["results"][0]["values"]["hau"]
    assert value == pytest.approx(np.mean(expected), rel=1e-4)
    assert f"{value:.4f}" in out.splitlines()[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--floats-query", "image-floats.npz"), "--floats-query and --floats-database go together"),
        (
            ("--floats-query", "shape-floats.npz", "--floats-database", "image-floats.npz"),
            "shape-floats.npz: 6 rows, expected 12 as in image.npz",
        ),
        (
            ("--floats-query", "other.npz", "--floats-database", "shape-floats.npz"),
            "other.npz: row 3 is 'x', but 'i3' in image.npz",
        ),
        (("--floats-query", "image.npz", "--floats-database", "shape.npz"), "image.npz: "),
        (("--dataset", "nothing"), "nothing"),
        (("--database", "far.npz"), "image.npz: none of the 12 queries has a relevant item in far.npz"),
    ],
)
def test_mistakes_end_with_one_line(call, files, monkeypatch, arguments, message):
    monkeypatch.chdir(files)
    names = [f"i{i}" if i != 3 else "x" for i in range(12)]
    Embeddings(np.ones((12, 4), dtype=np.float32), ids=names).save("other.npz")
    shapes = BinaryCodes.load("shape.npz")
    BinaryCodes.from_signs(shapes.signs(), prefixes=(8, 16), categories=["moon"] * 6).save("far.npz")
    status, _, err = call("eval", "--query", "image.npz", "--database", "shape.npz", *arguments)
    assert status == 2
    assert message in err.splitlines()[-1]
    assert "Traceback" not in err


def test_a_file_against_itself_leaves_each_query_out_without_ids_too(call, tmp_path):
    rng = np.random.default_rng(0)
    codes = BinaryCodes.from_bits(rng.random((12, 16)) < 0.5, categories=["a", "b", "c"] * 4)
    codes.save(tmp_path / "own.npz")
    status, out, _ = call(
        *("eval", "--query", tmp_path / "own.npz", "--database", tmp_path / "." / "own.npz"),
        *("--bootstrap", 0, "--json", "-"),
    )
    result = json.loads(out)["results"][0]
    assert (status, result["rules"]["self_left_out"]) == (0, 12)
    signs = codes.signs().astype(int)
    distances = (signs[:, None] != signs[None]).sum(axis=2)
    np.fill_diagonal(distances, 99)
    same = codes.categories[:, None] == codes.categories[None]
    first = distances == distances.min(
        axis=1, keepdims=True
    )  # of ties at the first place each may come first
    expected = ((first & same).sum(axis=1) / first.sum(axis=1)).mean()
    assert result["values"]["nn"] == pytest.approx(expected)


def test_nothing_that_is_read_or_foreign_is_written_over(call, files):
    common = ("eval", "--query", files / "image.npz", "--database", files / "shape.npz", "--bootstrap", 0)
    before = (files / "image.npz").read_bytes()
    status, _, err = call(*common, "--json", files / "image.npz")
    assert (status, "is read here" in err, err.count("\n")) == (2, True, 1)
    assert (files / "image.npz").read_bytes() == before
    (files / "site").mkdir()
    (files / "site" / "index.html").write_text("<h1>mine</h1>")
    status, _, err = call(*common, "--report", files / "site")
    assert (status, "exists and is not such a file" in err) == (2, True)
    assert (files / "site" / "index.html").read_text() == "<h1>mine</h1>"
    for _ in range(2):  # its own record it does replace
        assert call(*common, "--json", files / "own.json")[0] == 0
