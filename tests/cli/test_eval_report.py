"""cmah eval --report and --compare: what they write, say and refuse; without torch."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image as Picture

from cmah.codes import BinaryCodes, Embeddings
from cmah.codes import write_codes as write_code_file
from cmah.data.dataset import Dataset, Image, Shape
from cmah.evaluation import evaluate

FEW = "Warning: only 6 queries and 6 items: the numbers say little\n"


def write_codes(folder, seed, names="abcdef", prefixes=(4, 8)):
    rng = np.random.default_rng(seed)
    folder.mkdir()
    for modality in ("image", "shape"):
        known = {
            "ids": [f"{name}_0" if modality == "image" else name for name in names],
            "shape_ids": list(names),
            "categories": ["chair", "lamp"] * (len(names) // 2),
            "kinds": ["render" if modality == "image" else "shape"] * len(names),
        }
        signs = rng.choice([-1, 1], (len(names), prefixes[-1]))
        BinaryCodes.from_signs(signs, prefixes, modality=modality, space=f"space{seed}", **known).save(
            folder / f"{modality}.npz"
        )


@pytest.fixture
def files(tmp_path):
    """A dataset of six shapes with a picture each; codes of two methods for them, and of one for other shapes."""
    for part in ("points", "renders"):
        (tmp_path / "data" / part).mkdir(parents=True)
    rng = np.random.default_rng(0)
    shapes, images = [], []
    for i, name in enumerate("abcdef"):
        np.save(tmp_path / f"data/points/{name}.npy", rng.uniform(-1, 1, (20, 3)).astype(np.float16))
        Picture.new("RGB", (16, 16), (40 * i, 80, 120)).save(tmp_path / f"data/renders/{name}.png")
        category = ("chair", "lamp")[i % 2]
        shapes.append(Shape(name, category, "val", f"points/{name}.npy"))
        images.append(Image(f"{name}_0", name, category, "val", f"renders/{name}.png", "render"))
    Dataset(tmp_path / "data", "six", 20, "y", 16, shapes, images).write()
    for folder, seed in (("one", 1), ("two", 2)):
        (tmp_path / folder).mkdir()
        write_codes(tmp_path / folder / "codes", seed)
    write_codes(tmp_path / "other", 3, "uvwxyz")
    (tmp_path / "run").mkdir()
    config = {"format": "cmah-run", "recipe": "cmah", "cmah": "0.0", "model": {"width": 31}}
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    return tmp_path


def pair(folder):
    return "--query", folder / "image.npz", "--database", folder / "shape.npz"


@pytest.mark.slow
def test_report(call, files):
    status, out, _ = call(
        "eval", *pair(files / "one/codes"), "--both", "--dataset", files / "data", "--report", files / "out",
        "--before", *(files / "two/codes" / f"{name}.npz" for name in ("image", "shape")),
        "--run", files / "run", "--json", files / "e.json",
    )  # fmt: skip
    assert status == 0
    assert out.splitlines()[-1] == f"report: {files / 'out/index.html'}"
    record = json.loads((files / "out/report.json").read_text())
    assert record == json.loads((files / "e.json").read_text())
    assert [result["rules"]["width"] for result in record["results"]] == [4, 8, 4, 8]
    page = (files / "out/index.html").read_text(encoding="utf-8")
    for part in (
        "Retrieval on six",
        "6 images and 6 shapes",
        "before training",
        "&#34;width&#34;: 31",
        "space1",
    ):
        assert part in page
    assert Dataset.read(files / "data").checksum() in page
    assert page.count("SHA-256") == 5  # four code files and the dataset
    # 2 directions, 3 kinds of queries (5, 5 and 5 of them), each with 6 hits; every one has its picture
    assert page.count("<img") == 2 * 15 * 7
    assert 'class="empty"' not in page
    before = [BinaryCodes.load(files / f"two/codes/{name}.npz") for name in ("image", "shape")]
    assert f"<td>{evaluate(*before, bootstrap=0)['map']:.3f}</td>" in page


@pytest.mark.slow
def test_json_alone_on_standard_output(call, files):
    status, out, err = call("eval", *pair(files / "one/codes"), "--report", files / "out", "--json", "-")
    assert status == 0
    assert json.loads(out) == json.loads((files / "out/report.json").read_text())
    assert err.startswith(f"{FEW}report: ")
    assert "<img" not in (files / "out/index.html").read_text(encoding="utf-8")  # no dataset, no pictures


def test_compare(call, files):
    folders = files / "one/codes", files / "two/codes"
    status, out, err = call("eval", "--compare", *folders, "--bootstrap", 0, "--json", files / "c.json")
    assert (status, err) == (0, FEW)
    record = json.loads((files / "c.json").read_text())
    assert record["folders"] == [str(folder) for folder in folders]
    rows = [(r["name"], r["direction"], r["rules"]["width"]) for r in record["results"]]
    ways = ("image -> shape", "shape -> image")
    assert rows == [(name, way, bits) for way in ways for bits in (4, 8) for name in ("one", "two")]
    for result in record["results"]:
        image, shape = (
            BinaryCodes.load(files / result["name"] / "codes" / f"{name}.npz").truncate(
                result["rules"]["width"]
            )
            for name in ("image", "shape")
        )
        sides = (image, shape) if result["direction"] == ways[0] else (shape, image)
        assert result["values"]["map"] == evaluate(*sides, bootstrap=0)["map"]
    assert re.search(r"^two: shape -> image +8 ", out, re.MULTILINE)


def test_a_comparison_is_written_anew(call, files):
    folders = (files / "one/codes", files / "two/codes")
    for _ in range(2):
        command = ("eval", "--compare", *folders, "--bootstrap", 0, "--json", files / "c.json")
        assert call(*command)[0] == 0


def test_compare_with_embeddings(call, files):
    (files / "floats").mkdir()
    for modality in ("image", "shape"):
        codes = BinaryCodes.load(files / "one/codes" / f"{modality}.npz")
        known = {key: getattr(codes, key) for key in ("ids", "shape_ids", "categories", "kinds", "modality")}
        write_code_file(
            Embeddings(codes.signs().astype(np.float32), **known),
            files / "floats" / f"{modality}_embeddings.npz",
        )
    status, out, err = call("eval", "--compare", files / "one/codes", files / "floats", "--bootstrap", 0)
    assert (status, err) == (0, FEW)
    assert re.search(r"^floats: image -> shape +8 floats ", out, re.MULTILINE)


def test_compare_warns_of_other_items(call, files):
    status, _, err = call("eval", "--compare", files / "one/codes", files / "other", "--bootstrap", 0)
    assert status == 0
    assert err == FEW + "Warning: other holds other items than codes: their numbers do not compare\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--compare", "one/codes"), "--compare needs two or more folders"),
        (("--compare", "one/codes", "one"), "one/image.npz"),
        (("--compare", "one/codes", "run"), "run: a run; give a folder of its codes: cmah export"),
        (("--compare", "one/codes", "one/../one/codes"), "the folder is given twice"),
        (("--compare", "one/codes", "two/codes", "--query", "x.npz"), "--compare takes folders"),
        (("--compare", "one/codes", "two/codes", "--run", "run"), "--before and --run are for the --report"),
        (("one/codes",), "one/codes: folders are for --compare"),
        (("--query", "one/codes/image.npz"), "Missing option '--database'"),
        (
            ("--query", "one/codes/image.npz", "--database", "one/codes/shape.npz", "--report", "o", "--run", "one"),
            "one/config.json",
        ),
        (
            ("--query", "one/codes/image.npz", "--database", "one/codes/shape.npz", "--before", "a", "b"),
            "--before and --run are for the --report",
        ),
    ],
)  # fmt: skip
def test_mistakes_end_with_one_line(call, files, monkeypatch, arguments, message):
    monkeypatch.chdir(files)
    status, _, err = call("eval", *arguments)
    assert status == 2
    assert message in err.splitlines()[-1]
    assert "Traceback" not in err
    assert not (files / "o").exists()


@pytest.mark.slow
def test_report_does_not_load_torch(files):
    code = (
        "import sys\nfrom cmah.cli.main import run\n"
        "run(sys.argv[1:])\nassert not {'torch', 'trimesh', 'safetensors'} & set(sys.modules)"
    )
    arguments = ["eval", *pair(files / "one/codes"), "--dataset", files / "data", "--report", files / "out"]
    command = [sys.executable, "-c", code, *map(str, arguments), "--bits", "8", "--bootstrap", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
