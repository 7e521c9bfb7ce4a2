"""What the first version made, from dataset to hits, is read, resumed, encoded and searched with the same answers.

tests/golden/whole_way was written by commit a4418c1: a toy dataset, a run of six epochs (run) and the same run stopped
after three (stopped), and everything that the commands make of them.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from cmah.cli.main import run as cmah
from cmah.codes import BinaryCodes, read_codes
from cmah.runs.encoder import Encoder
from cmah.runs.exporting import export
from cmah.runs.metrics_log import read_metrics
from cmah.runs.tensor_files import load_tensors
from cmah.search import HammingIndex, MultiIndex
from cmah.training.starting import train

GOLDEN = Path(__file__).parent / "golden" / "whole_way"
NUMBERS = 1e-3  # processors round differently; one and the same gives equal bits


def printed(capsys, *arguments):
    """What a command prints."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as ending:
        cmah([str(argument) for argument in arguments])
    assert ending.value.code == 0
    return capsys.readouterr().out


@pytest.mark.slow
def test_a_stopped_run_resumes_to_what_the_uninterrupted_one_gave(tmp_path):
    run = tmp_path / "run"
    shutil.copytree(GOLDEN / "stopped", run)
    train(GOLDEN / "dataset", run, resume=True, device="cpu")
    found, expected = read_metrics(run), read_metrics(GOLDEN / "run")
    assert [record["epoch"] for record in found] == [1, 2, 3, 4, 5, 6]
    for new, old in zip(found, expected, strict=True):
        assert new.keys() == old.keys()
        assert new["loss"] == pytest.approx(old["loss"], rel=NUMBERS)
        assert new["validation"]["score"] == pytest.approx(old["validation"]["score"], abs=0.02)
    weights, old = (
        load_tensors(run / "model.safetensors")[0],
        load_tensors(GOLDEN / "run/model.safetensors")[0],
    )
    assert weights.keys() == old.keys()
    for name, value in weights.items():
        np.testing.assert_allclose(value.float(), old[name].float(), atol=NUMBERS, err_msg=name)


def test_a_run_exports_the_same_codes_of_the_same_space(tmp_path):
    export(GOLDEN / "run", GOLDEN / "dataset", tmp_path, split="all", device="cpu", workers=0)
    export(
        GOLDEN / "run", GOLDEN / "dataset", tmp_path, split="all", device="cpu", workers=0, embeddings=True
    )
    for name in ("image", "shape"):
        old, new = (read_codes(folder / f"{name}.npz") for folder in (GOLDEN / "codes", tmp_path))
        vectors = [
            read_codes(folder / f"{name}_embeddings.npz").embeddings
            for folder in (GOLDEN / "codes", tmp_path)
        ]
        np.testing.assert_allclose(vectors[1], vectors[0], atol=NUMBERS)
        clear = np.abs(vectors[0]) > NUMBERS  # a bit may turn where its number is all but zero
        np.testing.assert_array_equal(new.signs()[clear], old.signs()[clear])
        assert (new.space, new.prefixes, new.bits, new.modality) == (old.space, old.prefixes, old.bits, name)
        for column in ("ids", "shape_ids", "categories", "kinds", "splits"):
            assert getattr(new, column).tolist() == getattr(old, column).tolist()


@pytest.mark.parametrize(("kind", "name"), [(HammingIndex, "flat.cmah"), (MultiIndex, "multi.cmah")])
def test_the_same_codes_give_the_same_index_file(kind, name, tmp_path):
    """The files of the first version are of version 1 of the format, which is read and no longer written."""
    codes = BinaryCodes.load(GOLDEN / "codes/shape.npz")
    index = kind(codes.bits)
    index.add(codes)
    index.save(tmp_path / name)
    assert (tmp_path / name).read_bytes() == (GOLDEN / f"v2_{name}").read_bytes()
    old = HammingIndex.open(GOLDEN / name, verify=True)
    assert type(old) is kind
    assert (old.codes, old.ids.tolist()) == (index.codes, index.ids.tolist())
    old.save(tmp_path / name)
    assert (tmp_path / name).read_bytes() == (GOLDEN / f"v2_{name}").read_bytes()


def test_hashing_embeddings_gives_the_same_codes(tmp_path, capsys):
    inputs = [GOLDEN / f"codes/{name}_embeddings.npz" for name in ("image", "shape")]
    printed(capsys, "hash", *inputs, "--method", "itq", "--bits", "12", "--out", tmp_path)
    for name in ("image", "shape"):
        old, new = (read_codes(folder / f"{name}_embeddings.npz") for folder in (GOLDEN / "hashed", tmp_path))
        assert (new.signs() == old.signs()).mean() > 0.99
    # the fitted hash of the first version encodes as it did
    applied = tmp_path / "applied"
    printed(capsys, "hash", *inputs, "--with", GOLDEN / "hashed/hash.npz", "--out", applied)
    for name in ("image", "shape"):
        old, new = (read_codes(folder / f"{name}_embeddings.npz") for folder in (GOLDEN / "hashed", applied))
        np.testing.assert_array_equal(new.packed, old.packed)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("golden", "arguments"),
    [
        ("search.json", ("flat.cmah", "--codes", "codes/image.npz", "-k", "5")),
        ("search.json", ("v2_flat.cmah", "--codes", "codes/image.npz", "-k", "5")),
        ("search.json", ("v2_multi.cmah", "--codes", "codes/image.npz", "-k", "5")),
        ("search.json", ("multi.cmah", "--codes", "codes/image.npz", "-k", "5")),
        ("radius.json", ("multi.cmah", "--codes", "codes/image.npz", "--radius", "3")),
        ("radius.json", ("flat.cmah", "--codes", "codes/image.npz", "--radius", "3")),
        (
            "files.json",
            (
                "flat.cmah",
                "--run",
                "run",
                "dataset/renders/box00_0.png",
                "dataset/points/box03.npy",
                "-k",
                "3",
            ),
        ),
    ],
)
def test_a_search_prints_the_same_json(golden, arguments, capsys, monkeypatch):
    monkeypatch.chdir(GOLDEN)
    # that dataset is gone, as it is on another machine, unless something lies at its path
    monkeypatch.setattr("cmah.runs.item_search.dataset_of_run", lambda run: "")
    assert printed(capsys, "search", *arguments, "--json") == (GOLDEN / golden).read_text()


def test_an_evaluation_gives_the_same_numbers(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(GOLDEN)
    files = ("--query", "codes/image.npz", "--database", "codes/shape.npz")
    more = ("--both", "--splits", "all", "--dataset", "dataset", "--json", tmp_path / "eval.json")
    printed(capsys, "eval", *files, *more)
    new, old = (json.loads(path.read_text()) for path in (tmp_path / "eval.json", GOLDEN / "eval.json"))
    # the first version measured whatever the files held, however few
    assert new.keys() - {"splits", "warnings"} == old.keys()
    for one, other in zip(new["results"], old["results"], strict=True):
        assert one["rules"] == other["rules"]
        assert one["curves"] == other["curves"]
        assert one["per_class"] == other["per_class"]
        assert list(one["values"]) == list(other["values"])
        assert one["values"] == pytest.approx(other["values"], abs=1e-9)


def test_the_space_of_a_run_is_what_its_codes_say():
    assert Encoder.load(GOLDEN / "run").space == BinaryCodes.load(GOLDEN / "codes/image.npz").space
