"""From files to a comparison, in one call: rows, directions, rules and the record."""

import json

import numpy as np
import pytest

from cmah.codes import BinaryCodes
from cmah.errors import CmahError, CodesError
from cmah.evaluation import Protocol, evaluate
from cmah.evaluation.comparing import compare_folders, evaluate_before, evaluate_files, refuse_to_replace

WAYS = ("image -> shape", "shape -> image")


@pytest.fixture
def folders(tmp_path):
    """Codes of 4 and 8 bits of two methods, for nine images and nine shapes of three categories."""
    for seed, method in enumerate(("one", "two")):
        rng = np.random.default_rng(seed)
        (tmp_path / method).mkdir()
        for modality in ("image", "shape"):
            labels = {"ids": [f"{modality}{i}" for i in range(9)], "categories": ["a", "b", "c"] * 3}
            codes = BinaryCodes.from_bits(rng.integers(0, 2, (9, 8)), (4, 8), modality=modality, **labels)
            codes.save(tmp_path / method / f"{modality}.npz")
    return tmp_path / "one", tmp_path / "two"


@pytest.mark.slow
def test_files_both_ways(folders):
    files = folders[0] / "image.npz", folders[0] / "shape.npz"
    protocol = Protocol(ties="position", bootstrap=0)
    result = evaluate_files(*files, protocol=protocol, both=True)
    assert [(each.direction, each.width) for each in result.evaluations] == [
        (way, f"{bits} bits") for way in WAYS for bits in (4, 8)
    ]
    image, shape = map(BinaryCodes.load, files)
    assert result.evaluations[1].report.values == evaluate(image, shape, protocol=protocol).values
    record = result.record()
    assert list(record) == ["query", "database", "kind", "warnings", "results", "costs"]
    assert (record["query"], record["database"]) == tuple(map(str, files))
    assert [each["direction"] for each in record["results"]] == [WAYS[0], WAYS[0], WAYS[1], WAYS[1]]
    assert evaluate_files(*map(str, files), protocol=protocol, both=True).record() == record
    assert "image -> shape  8 bits" in result.text()


def test_folders_stand_side_by_side(folders):
    result = compare_folders(folders, protocol=Protocol(bootstrap=0), bits=(4,))
    assert [each.label for each in result.evaluations] == [
        f"{m}: {way}" for way in WAYS for m in ("one", "two")
    ]
    assert result.record()["folders"] == [str(folder) for folder in folders]
    assert result.warnings == ["only 9 queries and 9 items: the numbers say little"]
    with pytest.raises(CodesError, match="the folder is given twice"):
        compare_folders([folders[0], folders[0]])


def test_before_training_follows_what_came_after(folders):
    after = evaluate_files(
        folders[0] / "image.npz", folders[0] / "shape.npz", protocol=Protocol(bootstrap=3), bits=(8,)
    )
    before = evaluate_before(folders[1] / "image.npz", folders[1] / "shape.npz", after)
    assert [(each.direction, each.width) for each in before.evaluations] == [(WAYS[0], "8 bits")]
    assert before.protocol == after.protocol


def test_a_file_against_itself_leaves_queries_out_unless_the_protocol_says_so(folders):
    file = folders[0] / "image.npz"
    assert [e.report.rules.self_left_out for e in evaluate_files(file, file).evaluations] == [9, 9]
    kept = evaluate_files(file, file, protocol=Protocol(exclude_self=False))
    assert [e.report.rules.self_left_out for e in kept.evaluations] == [0, 0]


def test_only_records_are_replaced(folders, tmp_path):
    files = folders[0] / "image.npz", folders[0] / "shape.npz"
    result = evaluate_files(*files, protocol=Protocol(bootstrap=0))
    refuse_to_replace(tmp_path / "record.json")
    result.write(tmp_path / "record.json")
    assert json.loads((tmp_path / "record.json").read_text()) == result.record()
    refuse_to_replace(tmp_path / "record.json")
    with pytest.raises(CmahError, match="is read here"):
        refuse_to_replace(files[0], files)
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(CmahError, match="exists and is not such a file"):
        refuse_to_replace(tmp_path / "other.json")
