"""cmah eval: columns, the cost of hashing, distances between clouds, and what is refused; no torch."""

import json
import re

import numpy as np
import pytest

from cmah.codes import BinaryCodes, Embeddings
from cmah.data.dataset import Dataset, Shape
from cmah.evaluation import evaluate
from cmah.evaluation.clouds import cloud_distances
from cmah.evaluation.mi3dor import mi3dor_measures
from cmah.evaluation.voxels import cloud_grid, intersection_over_union


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


def make_dataset(folder, names):
    """A dataset folder of shapes with random clouds, and the clouds as evaluated."""
    (folder / "points").mkdir(parents=True)
    clouds = {}
    for name in names:
        points = np.random.default_rng(sum(map(ord, name))).uniform(-1, 1, (30, 3)).astype(np.float16)
        np.save(folder / f"points/{name}.npy", points)
        centred = points - points.astype(np.float64).mean(axis=0)
        clouds[name] = centred / np.linalg.norm(centred, axis=1).max()
    Dataset(
        folder, folder.name, 30, "y", 16, [Shape(name, "", "", f"points/{name}.npy") for name in names], []
    ).write()
    return clouds


def first_hits(files, bits):
    codes = [BinaryCodes.load(files / f"{name}.npz").truncate(bits) for name in ("image", "shape")]
    distances = (codes[0].signs()[:, None] != codes[1].signs()[None]).sum(axis=2)
    return codes[0].shape_ids, codes[1].shape_ids[np.argsort(distances, axis=1, kind="stable")[:, 0]]


def test_distance_between_clouds(call, files):
    clouds = make_dataset(files / "data", [f"s{i}" for i in range(6)])
    pair = ("--query", files / "image.npz", "--database", files / "shape.npz")
    command = ("eval", *pair, "--bits", 8, "--dataset", files / "data")
    status, out, _ = call(*command, "--metrics", "hau", "--json", files / "e.json")
    assert status == 0
    shown, hits = first_hits(files, 8)
    assert (hits != shown).any()
    expected = [cloud_distances(clouds[a], clouds[b])[0] for a, b in zip(shown, hits, strict=True)]
    values = json.loads((files / "e.json").read_text())["results"][0]["values"]
    assert values["hau"] == pytest.approx(np.mean(expected), rel=1e-4)
    assert f"{values['hau']:.4f}" in out.splitlines()[2]
    assert "iou" not in values  # costs more, and was not asked for


def test_overlap_of_voxels(call, files):
    clouds = make_dataset(files / "data", [f"s{i}" for i in range(6)])
    pair = ("--query", files / "image.npz", "--database", files / "shape.npz")
    status, out, _ = call(
        "eval",
        *pair,
        "--bits",
        8,
        "--dataset",
        files / "data",
        "--metrics",
        "hau,iou",
        "--json",
        files / "e.json",
    )
    assert status == 0
    assert out.splitlines()[0].split()[-2:] == ["HAU", "IoU"]
    expected = [
        intersection_over_union(*(cloud_grid(clouds[name].astype(np.float32)) for name in names))
        for names in zip(*first_hits(files, 8), strict=True)
    ]
    result = json.loads((files / "e.json").read_text())["results"][0]
    assert result["values"]["iou"] == pytest.approx(np.mean(expected), rel=1e-2)
    assert result["rules"]["voxels"].startswith("128^3 cells; full: nearer to a point")
    assert f"voxels: {result['rules']['voxels']}" in out


@pytest.mark.slow
def test_voxels_of_meshes(call, files):
    make_dataset(files / "data", [f"s{i}" for i in range(6)])
    table = (files / "data/shapes.csv").read_text().splitlines()
    rows = [f"{row},{row[:2]}.off" for row in table[1:]]
    (files / "data/shapes.csv").write_text("\n".join([f"{table[0]},source", *rows]) + "\n")
    (files / "meshes").mkdir()
    for i in range(5):  # the last is missing
        corners = "0 0 0\n1 0 0\n0 1 0\n0 0 1\n" if i % 2 else "0 0 0\n2 0 0\n0 1 0\n0 0 1\n"
        (files / f"meshes/s{i}.off").write_text(f"OFF\n4 4 0\n{corners}3 0 1 2\n3 0 1 3\n3 0 2 3\n3 1 2 3\n")
    status, out, err = call(
        *("eval", "--query", files / "image.npz", "--database", files / "shape.npz", "--bits", 16),
        *("--dataset", files / "data", "--meshes", files / "meshes", "--metrics", "iou", "--json", "-"),
    )
    assert status == 0
    result = json.loads(out)["results"][0]
    assert 0.3 < result["values"]["iou"] <= 1
    assert result["rules"]["voxels"].startswith(
        "128^3 cells; full: where a line along an axis first meets the mesh"
    )
    assert result["rules"]["without_voxels"] > 0
    assert err.splitlines() == [
        f"no voxels of shape s5: {files / 'meshes/s5.off'}: no such file",
        "Warning: only 12 queries and 6 items: the numbers say little",
    ]


def test_measures_of_mi3dor(call, files):
    pair = ("--query", files / "image.npz", "--database", files / "shape.npz")
    status, out, _ = call(
        *("eval", *pair, "--both", "--bits", 8, "--metrics", "mi3dor", "--json", files / "e.json"),
        *("--floats-query", files / "image-floats.npz", "--floats-database", files / "shape-floats.npz"),
    )
    assert status == 0
    names = [f"MI3DOR {name}" for name in ("NN", "FT", "ST", "F@20", "DCG", "ANMRR", "AUC")]
    assert out.splitlines()[0].endswith("  ".join(names))
    for name in names:
        assert f"\n{name} = " in out
    sides = [BinaryCodes.load(files / f"{name}.npz") for name in ("image", "shape")]
    floats = [Embeddings.load(files / f"{name}-floats.npz").embeddings for name in ("image", "shape")]
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in floats]
    cosine = -np.round(unit[0].astype(np.float64) @ unit[1].T, 6)
    hamming = (sides[0].truncate(8).signs()[:, None] != sides[1].truncate(8).signs()[None]).sum(axis=2)
    results = json.loads((files / "e.json").read_text())["results"]
    for result, distances, ends in zip(
        results, (hamming, cosine, hamming.T, cosine.T), (sides, sides, sides[::-1], sides[::-1]), strict=True
    ):
        expected = mi3dor_measures(distances, *(side.categories for side in ends))
        got = {name: result["values"][f"mi3dor_{name}"] for name in expected}
        assert got == pytest.approx(expected, abs=1e-12), result["direction"]
    (files / "one").mkdir()
    for name in ("image", "shape"):
        (files / f"one/{name}.npz").write_bytes((files / f"{name}.npz").read_bytes())
    (files / "two").mkdir()
    for name in ("image", "shape"):
        (files / f"two/{name}.npz").write_bytes((files / f"{name}.npz").read_bytes())
    status, out, _ = call(
        "eval", "--compare", files / "one", files / "two", "--metrics", "mi3dor_nn,mi3dor_f", "--bits", 8
    )
    assert status == 0
    assert out.splitlines()[0].endswith("MI3DOR NN  MI3DOR F@20")
    assert f"{results[0]['values']['mi3dor_nn']:.3f}" in out.splitlines()[2]


@pytest.mark.slow
def test_transfer_to_shapes_of_another_dataset(call, files):
    """Only first hits are measured, among shapes of the query's category: truth and hit come from two datasets."""
    make_dataset(files / "shown", [f"s{i}" for i in range(6)])
    make_dataset(files / "held", [f"t{i}" for i in range(6)])
    shapes = BinaryCodes.load(files / "shape.npz")
    known = {"categories": shapes.categories, "ids": [f"t{i}" for i in range(6)], "modality": "shape"}
    BinaryCodes.from_signs(
        shapes.signs(), prefixes=(8, 16), shape_ids=[f"t{i}" for i in range(6)], **known
    ).save(files / "others.npz")
    pair = ("--query", files / "image.npz", "--database", files / "others.npz", "--bits", 16)
    rules = ("--candidates", "category", "--relevance", "instance")
    both = ("--dataset", files / "shown", "--dataset", files / "held")
    status, out, _ = call(
        *("eval", *pair, *rules, *both, "--metrics", "hau,iou"),
        *("--json", files / "e.json", "--report", files / "page"),
    )
    assert status == 0
    assert "among the items of the query's own category" in out
    result = json.loads((files / "e.json").read_text())["results"][0]
    assert (result["rules"]["candidates"], result["rules"]["without_cloud"]) == ("category", 0)
    values = result["values"]
    assert values["map"] is None
    assert 0 < values["iou"] < 1
    assert values["hau"] > 0
    table = result["shape_per_class"]
    assert (table["category"], table["queries"]) == (["chair", "lamp"], [6, 6])
    mean = np.mean(table["hau"])
    assert values["hau"] == pytest.approx(mean)
    page = (files / "page/index.html").read_text()
    assert "shown and held" in page
    assert not re.search(r"\bnan\b", page)
    # without what was measured of first hits there is nothing to tell
    status, _, err = call("eval", *pair, *rules)
    assert (status, "none of the 12 queries has a relevant item" in err) == (2, True)


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
        (("--metrics", "iou"), "--metrics iou needs --dataset"),
        (("--meshes", "nothing"), "--meshes is for --metrics iou"),
        (("--metrics", "iou", "--dataset", "a", "--meshes", "b", "--meshes", "c"), "as often as --dataset"),
        (
            ("--candidates", "category"),
            "every candidate would be relevant, expected relevance 'instance' with it",
        ),
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
