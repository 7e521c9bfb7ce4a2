"""cmah eval of code and embedding files, as a user calls it; no torch."""

import json
from dataclasses import replace

import numpy as np
import pytest

from cmah.codes import BinaryCodes, Embeddings
from cmah.evaluation import evaluate


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
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
    ],
)
def test_mistakes_end_with_one_line(call, files, monkeypatch, arguments, message):
    monkeypatch.chdir(files)
    call("index", "shape.npz", "s.cmah")
    status, _, err = call(*arguments)
    assert status == 2
    assert message in err.splitlines()[-1]
    assert "Traceback" not in err


@pytest.fixture
def split_files(files):
    """The same files with splits: the shapes s0 to s3 are for training, s4 for validation, s5 for tests."""
    splits = {**dict.fromkeys(("s0", "s1", "s2", "s3"), "train"), "s4": "val", "s5": "test"}
    for name in ("image", "shape"):
        codes = BinaryCodes.load(files / f"{name}.npz")
        replace(codes, splits=[splits.get(shape, "") for shape in codes.shape_ids]).save(
            files / f"{name}.npz"
        )
    return files


def test_splits(call, split_files):
    pair = ("--query", split_files / "image.npz", "--database", split_files / "shape.npz", "--bootstrap", 0)
    pair = (*pair, "--relevance", "instance", "--bits", 16)
    status, out, _ = call("eval", *pair, "--json", split_files / "e.json")
    # two renders show s5, three photos are of no known shape and so of every split
    line = (
        "measured: 5 of 15 queries, 1 of 6 items (split test); 10 queries and 5 items of other splits left out; "
        "--splits all measures everything"
    )
    assert (status, out.splitlines()[-1]) == (0, line)
    record = json.loads((split_files / "e.json").read_text())
    assert record["splits"]["measured"] == ["test"]
    assert record["results"][0]["rules"]["queries"] == 5
    status, out, _ = call("eval", *pair, "--kind", "render", "--splits", "val, test")
    assert (status, out.splitlines()[-1].partition(";")[0]) == (
        0,
        "measured: 4 of 15 queries, 2 of 6 items (splits val, test)",
    )
    status, out, _ = call("eval", *pair, "--splits", "all")
    assert out.splitlines()[-1] == (
        "measured: 15 of 15 queries, 6 of 6 items (all splits); among these are 8 queries and 4 items that were "
        "trained on (split train)"
    )


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ("train,test", "items that were trained on and others do not mix"),
        ("all,test", "all stands for every split, expected it alone"),
        ("", "expected names such as test, or all"),
        ("Test", "no row is of split 'Test' (image.npz: 8 train, 2 val, 2 test, 3 without a split; shape.npz: 4 tra"),
    ],
)  # fmt: skip
def test_splits_that_cannot_be_measured(call, split_files, monkeypatch, splits, message):
    monkeypatch.chdir(split_files)
    status, out, err = call("eval", "--query", "image.npz", "--database", "shape.npz", "--splits", splits)
    assert (status, out) == (2, "")
    assert message in err.splitlines()[-1]


def test_eval_reranked(call, real_codes):
    files = real_codes
    pair = ("eval", "--query", files / "image.npz", "--database", files / "shape.npz", "--both")
    status, out, _ = call(*pair, "--rerank", 3, "--rerank-by", "real", "--json", files / "e.json")
    assert status == 0
    assert "the first 3 of each query, by (distance, position in the database), are ranked anew" in out
    record = json.loads((files / "e.json").read_text())
    images, shapes = BinaryCodes.load(files / "image.npz"), BinaryCodes.load(files / "shape.npz")
    real = Embeddings.load(files / "image_real.npz")
    report = evaluate(images, shapes, real=real, rerank=3)
    assert record["results"][1]["values"] == report.to_dict()["values"]
    gain = report["map"] - evaluate(images, shapes)["map"]
    assert f"gain of re-ranking, image -> shape, 40 bits: {gain:+.3f} (re-ranked mAP - code mAP)" in out
    assert len(record["gains"]) == 4
    (files / "image_real.npz").rename(files / "other.npz")
    status, _, err = call(*pair, "--rerank", 3, "--rerank-by", "real")
    assert (status, err.count("\n"), "image_real.npz: no such file (expected the real-valued" in err) == (
        2,
        1,
        True,
    )
    named = ("--rerank", 3, "--rerank-by", "real", "--rerank-queries", files / "other.npz")
    assert call(*pair, *named)[1] == out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--rerank 3", "--rerank needs --rerank-by, the score"),
        ("--rerank-by real", "--rerank-by needs --rerank N"),
        ("--rerank-queries image_real.npz", "--rerank-queries needs --rerank N"),
        ("--rerank 0 --rerank-by real", "0 is not in the range"),
        ("--rerank 3 --rerank-by attention", "'attention' is not one of"),
        ("--rerank 3 --rerank-by views", "image_views.npz: no such file (expected the vectors of"),
        ("--rerank 3 --rerank-by real+views", "image_views.npz: no such file (expected the vectors of"),
        (
            "--rerank 3 --rerank-by views --rerank-queries image_real.npz",
            "--rerank-queries has real-valued codes",
        ),
        (
            "--rerank 3 --rerank-by real --rerank-queries image.npz",
            "image.npz: binary codes, expected embeddings",
        ),
        (
            "--rerank 3 --rerank-by real --rerank-queries shape_real.npz",
            "shape_real.npz: 6 rows, expected 15",
        ),
        (
            "--rerank 3 --rerank-by real --json image_real.npz --rerank-queries image_real.npz",
            "image_real.npz: ",
        ),
    ],
)
def test_mistakes_of_reranking(call, real_codes, monkeypatch, arguments, message):
    monkeypatch.chdir(real_codes)
    status, _, err = call("eval", "--query", "image.npz", "--database", "shape.npz", *arguments.split())
    assert (status, "Traceback" in err) == (2, False)
    assert message in err.splitlines()[-1]


def test_folders_compared_reranked(call, real_codes):
    import shutil

    folder = real_codes / "again"
    folder.mkdir()
    for file in real_codes.glob("*.npz"):
        shutil.copy(file, folder)
    command = ("eval", "--compare", real_codes, folder, "--rerank", 3, "--rerank-by", "real")
    status, out, _ = call(*command)
    assert (status, out.count("gain of re-ranking, again: ")) == (0, 4)
    status, _, err = call(*command, "--rerank-queries", real_codes / "image_real.npz")
    assert (status, "--rerank-queries is for one pair of files" in err) == (2, True)
    (folder / "shape_real.npz").unlink()
    status, _, err = call(*command)
    assert (status, "again/shape_real.npz: no such file" in err) == (2, True)
