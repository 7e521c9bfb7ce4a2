"""The commands over codes, as a user calls them; no torch."""

import json

import numpy as np
import pytest
from PIL import Image

from cmah.codes import BinaryCodes, Embeddings
from cmah.evaluation import evaluate
from cmah.search import HammingIndex


@pytest.fixture
def files(tmp_path):
    """image.npz (12 renders, 3 photos) and shape.npz (6 shapes of 2 categories), nested codes of 16 and 40 bits."""
    random = np.random.default_rng(0)
    base = random.choice([-1, 1], (6, 40))
    categories = np.array(["chair", "lamp"])

    def noisy(rows):
        return (base[rows] * np.where(random.random((len(rows), 40)) < 0.1, -1, 1)).astype(np.int8)

    shown = np.r_[np.arange(12) % 6, 0, 1, 2]
    shape_ids = [f"s{i}" for i in shown[:12]] + [""] * 3
    kinds = ["render"] * 12 + ["photo"] * 3
    known = {"prefixes": (16, 40), "space": "run1", "splits": None}
    BinaryCodes.from_signs(
        noisy(shown),
        ids=[f"i{i}" for i in range(15)],
        shape_ids=shape_ids,
        categories=categories[shown % 2],
        kinds=kinds,
        modality="image",
        **known,
    ).save(tmp_path / "image.npz")
    BinaryCodes.from_signs(
        noisy(np.arange(6)),
        ids=[f"s{i}" for i in range(6)],
        shape_ids=[f"s{i}" for i in range(6)],
        categories=categories[np.arange(6) % 2],
        kinds=["shape"] * 6,
        modality="shape",
        **known,
    ).save(tmp_path / "shape.npz")
    return tmp_path


@pytest.fixture
def dataset(tmp_path):
    """A dataset folder with the six shapes, a render of each but the last, and a photo."""
    root = tmp_path / "data"
    (root / "points").mkdir(parents=True)
    header = {"format": "cmah-dataset", "version": 1, "name": "six", "points_per_shape": 50, "up_axis": "y"}
    (root / "dataset.json").write_text(json.dumps({**header, "image_size": 8}))
    shapes, images = ["shape_id,category,split,points"], ["image_id,shape_id,category,split,path,kind"]
    for i in range(6):
        category = ("chair", "lamp")[i % 2]
        np.save(
            root / "points" / f"s{i}.npy",
            np.random.default_rng(i).standard_normal((50, 3)).astype(np.float32),
        )
        shapes.append(f"s{i},{category},val,points/s{i}.npy")
        if i < 5:
            Image.new("RGB", (8, 8), (40 * i, 0, 0)).save(root / f"i{i}.png")
            images.append(f"i{i},s{i},{category},val,i{i}.png,render")
    Image.new("RGB", (9, 5)).save(root / "photo.png")
    images.append("i12,,chair,val,photo.png,photo")
    (root / "shapes.csv").write_text("\n".join(shapes) + "\n")
    (root / "images.csv").write_text("\n".join(images) + "\n")
    return root


def test_index_and_search(call, files):
    status, out, _ = call("index", files / "shape.npz", files / "s.cmah", "--bits", 16)
    assert (status, "6 codes of 16 bits" in out) == (0, True)
    status, out, _ = call("search", files / "s.cmah", "--codes", files / "image.npz", "-k", 2, "--json")
    assert status == 0
    record = json.loads(out)
    queries = BinaryCodes.load(files / "image.npz").truncate(16)
    expected = HammingIndex.open(files / "s.cmah").search(queries, 2)
    assert [entry["query"] for entry in record["queries"]] == queries.ids.tolist()
    for entry, ids, distances in zip(record["queries"], expected.ids, expected.distances, strict=True):
        assert [hit["id"] for hit in entry["hits"]] == ids.tolist()
        assert [hit["distance"] for hit in entry["hits"]] == distances.tolist()
        assert [hit["rank"] for hit in entry["hits"]] == [1, 2]


def test_search_prints_a_table_with_categories(call, files):
    call("index", files / "shape.npz", files / "s.cmah")
    common = ("search", files / "s.cmah", "--codes", files / "image.npz", "--database", files / "shape.npz")
    status, out, _ = call(*common, "-k", 1)
    lines = out.splitlines()
    assert (status, len(lines)) == (0, 30)
    assert lines[0] == "i0  (chair)"
    assert lines[1].split()[:2] == ["1", "s0"]
    assert lines[1].endswith("chair")
    status, out, _ = call(*common, "--csv", "--radius", 40)
    lines = out.splitlines()
    assert lines[0] == "query,rank,id,distance,category"
    assert len(lines) == 1 + 15 * 6
    status, out, _ = call(*common, "--radius", 0)
    assert "no hit" in out


def test_sheet(call, files, dataset):
    call("index", files / "shape.npz", files / "s.cmah")
    status, _, err = call(
        "search",
        files / "s.cmah",
        "--codes",
        files / "image.npz",
        "--dataset",
        dataset,
        "--sheet",
        files / "o.html",
    )
    assert (status, "o.html" in err) == (0, True)
    page = (files / "o.html").read_text(encoding="utf-8")
    assert page.count('class="search"') == 15
    assert page.count("<li>") == 15 * 6
    assert "http" not in page.replace("http-equiv", "")
    assert 'class="tile good"' in page
    assert 'class="tile bad"' in page
    assert "data:image/png" in page  # s5 has no render: its points are drawn


def test_search_with_a_run_skips_bad_files(call, files, monkeypatch):
    """The encoder is replaced: what matters here is what becomes of its answer."""
    import sys
    from types import ModuleType

    images = BinaryCodes.load(files / "image.npz")

    class Encoder:
        @classmethod
        def load(cls, run, device):
            return cls()

        def encode_files(self, paths, up):
            good = [path for path in paths if "good" in path]
            named = BinaryCodes.from_packed(images[: len(good)].packed, 40, (16, 40), ids=good, space="run1")
            return named, [(path, f"{path}: not a picture") for path in paths if path not in good]

    module = ModuleType("cmah.runs.encoder")
    module.Encoder = Encoder
    monkeypatch.setitem(sys.modules, "cmah.runs.encoder", module)
    call("index", files / "shape.npz", files / "s.cmah", "--bits", 16)
    status, out, err = call(
        "search", files / "s.cmah", "--run", "R", "good1.jpg", "bad.jpg", "good2.jpg", "-k", 1
    )
    assert status == 0
    assert [line for line in out.splitlines() if not line.startswith(" ")] == ["good1.jpg", "good2.jpg"]
    assert "skipped bad.jpg: not a picture" in err
    assert "1 of 3 files were skipped" in err
    _, out, _ = call("search", files / "s.cmah", "--run", "R", "good1.jpg", "bad.jpg", "--json")
    assert json.loads(out)["skipped"] == [{"file": "bad.jpg", "reason": "bad.jpg: not a picture"}]
    status, _, err = call("search", files / "s.cmah", "--run", "R", "bad.jpg")
    assert (status, err.splitlines()[-1]) == (2, "Error: none of the 1 files could be read")


def test_eval(call, files):
    status, out, _ = call(
        "eval", "--query", files / "image.npz", "--database", files / "shape.npz", "--both", "--kind", "render",
        "--json", files / "e.json",
    )  # fmt: skip
    assert status == 0
    rows = [line.split() for line in out.splitlines()[2:6]]
    assert [(row[0], row[2], row[3]) for row in rows] == [
        ("image", "shape", "16"), ("image", "shape", "40"), ("shape", "image", "16"), ("shape", "image", "40"),
    ]  # fmt: skip
    for rule in (
        "the paired item stays",
        "expectation over all orders",
        "12 queries, 6 items",
        "same category",
    ):
        assert rule in out
    record = json.loads((files / "e.json").read_text())
    images = BinaryCodes.load(files / "image.npz")
    expected = evaluate(
        images[images.kinds == "render"].truncate(16), BinaryCodes.load(files / "shape.npz").truncate(16)
    )
    assert record["results"][0]["values"] == expected.to_dict()["values"]
    assert [entry["direction"] for entry in record["results"]] == ["image -> shape"] * 2 + [
        "shape -> image"
    ] * 2
    _, out, _ = call(
        "eval", "--query", files / "image.npz", "--database", files / "image.npz", "--bits", 40, "-k", "1,3",
        "--relevance", "instance", "--ties", "position", "--map-depth", 5, "--denominator", "hits", "--json", "-",
    )  # fmt: skip
    result = json.loads(out)["results"][0]
    assert result["rules"]["self_left_out"] == 15
    assert result["rules"]["map_depth"] == 5
    assert {"p@1", "p@3", "map"} < set(result["values"])


def test_eval_of_embeddings(call, files):
    codes = BinaryCodes.load(files / "shape.npz")
    floats = Embeddings(
        codes.signs().astype(np.float32), ids=codes.ids, categories=codes.categories, modality="shape"
    )
    floats.save(files / "floats.npz")
    status, out, _ = call("eval", "--query", files / "floats.npz", "--database", files / "floats.npz")
    assert status == 0
    assert "ranking by cosine" in out
    assert "the query itself is left out" in out


def test_info(call, files, dataset):
    call("index", files / "shape.npz", files / "s.cmah")
    run = files / "run"
    run.mkdir()
    (run / "config.json").write_text(
        json.dumps({"format": "cmah-run", "version": 1, "recipe": "cmah", "model": {"width": 8}})
    )
    lines = [{"epoch": n, "loss": 1.0, "validation": {"score": 1 / n}} for n in (1, 2)]
    (run / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"epoch": 3, "vali')
    found = {}
    for path in (files / "image.npz", files / "s.cmah", dataset, run):
        status, out, _ = call("info", path, "--json")
        assert status == 0
        found[path.name] = json.loads(out)
        status, text, _ = call("info", path)
        assert status == 0
        assert text.startswith("what")
    assert found["image.npz"]["kinds"] == {"render": 12, "photo": 3}
    assert found["image.npz"]["lengths that are codes"] == [16, 40]
    assert found["s.cmah"]["codes"] == 6
    assert (found["data"]["shapes"], found["data"]["images without a shape"]) == (6, 1)
    assert (found["run"]["epochs done"], found["run"]["best"]["epoch"]) == (2, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("index", "nothing.npz", "o.cmah"), "nothing.npz: no such file"),
        (("index", "shape.npz", "o.cmah", "--bits", "24"), "shape.npz: these codes cannot be cut to 24 bits"),
        (("search", "nothing.cmah", "--codes", "image.npz"), "nothing.cmah: no such file"),
        (("search", "shape.npz", "--codes", "image.npz"), "shape.npz: not an index file"),
        (("search", "s.cmah", "--codes", "nothing.npz"), "nothing.npz: no such file"),
        (("search", "s.cmah"), "either as --codes"),
        (("search", "s.cmah", "photo.jpg"), "either as --codes"),
        (("search", "s.cmah", "--run", "R"), "--run needs files"),
        (("search", "s.cmah", "photo.jpg", "--codes", "image.npz"), "files need --run"),
        (("search", "s.cmah", "--codes", "image.npz", "-k", "3", "--radius", "2"), "exclude each other"),
        (("search", "s.cmah", "--codes", "image.npz", "--sheet", "o.html"), "--sheet needs --dataset"),
        (("search", "s.cmah", "--codes", "image.npz", "-k", "0"), "0 is not in the range"),
        (
            ("eval", "--query", "image.npz", "--database", "shape.npz", "--bits", "32"),
            "cannot be cut to 32 bits",
        ),
        (
            ("eval", "--query", "image.npz", "--database", "shape.npz", "--bits", "x"),
            "expected whole numbers",
        ),
        (
            ("eval", "--query", "image.npz", "--database", "shape.npz", "--kind", "picture"),
            "image.npz: has no picture",
        ),
        (("eval", "--query", "shape.npz", "--database", "shape.npz", "--kind", "photo"), "holds images"),
        (("eval", "--query", "image.npz", "--database", "shape.npz", "--seed", "-1"), "not in the range"),
        (("eval", "--query", "image.npz", "--database", "shape.npz", "-k", "9" * 30), "expected 1 to 2^63"),
        (
            ("eval", "--query", "image.npz", "--database", "shape.npz", "--json", "."),
            ".: cannot be written",
        ),
        (("index", "shape.npz", "image.npz"), "image.npz: exists and is not an index"),
        (("index", "shape.npz", "."), ".: cannot be written"),
        (
            ("search", "s.cmah", "--codes", "image.npz", "--dataset", "data", "--sheet", "a.png"),
            "ends in .html",
        ),
        (("info", "/dev/null"), "/dev/null: not a file"),
        (("info", "nothing"), "nothing: no such file"),
        (("info", "."), "neither a dataset"),
    ],
)
def test_mistakes_end_with_one_line(call, files, monkeypatch, arguments, message):
    monkeypatch.chdir(files)
    call("index", "shape.npz", "s.cmah")
    status, _, err = call(*arguments)
    assert status == 2
    assert message in err.splitlines()[-1]
    assert "Traceback" not in err


def test_codes_of_another_space_are_refused(call, files):
    call("index", files / "shape.npz", files / "s.cmah")
    codes = BinaryCodes.load(files / "image.npz")
    BinaryCodes.from_packed(codes.packed, 40, space="run2").save(files / "other.npz")
    status, _, err = call("search", files / "s.cmah", "--codes", files / "other.npz")
    assert (status, "codes of space run2, expected run1" in err) == (2, True)
