"""Files of several splits: one split is measured as a file of it alone would be, and all counts are told."""

import json

import numpy as np
import pytest

from cmah.codes import BinaryCodes, Embeddings
from cmah.errors import CodesError
from cmah.evaluation import Protocol, evaluate
from cmah.evaluation.comparing import compare_folders, evaluate_before, evaluate_files

SPLITS = np.array(["train"] * 12 + ["val"] * 4 + ["test"] * 4)
RULES = Protocol(bootstrap=0)


def make(folder, seed=0, splits=SPLITS, photos=False):
    """image.npz (two per shape, the second a photo if asked) and shape.npz, of 20 shapes."""
    rng = np.random.default_rng(seed)
    folder.mkdir(exist_ok=True)
    for modality in ("image", "shape"):
        shape = np.repeat(np.arange(20), 2) if modality == "image" else np.arange(20)
        kinds = ["shape"] * 20 if modality == "shape" else ["render", "photo" if photos else "render"] * 20
        BinaryCodes.from_bits(
            rng.integers(0, 2, (len(shape), 8)),
            ids=[f"{modality}{i}" for i in range(len(shape))],
            shape_ids=[f"s{i}" for i in shape],
            categories=np.array(["a", "b"])[shape % 2],
            kinds=kinds,
            splits=None if splits is None else splits[shape],
            modality=modality,
        ).save(folder / f"{modality}.npz")
    return folder / "image.npz", folder / "shape.npz"


@pytest.mark.parametrize(("splits", "name"), [(None, "test"), ("val", "val"), (["val"], "val")])
def test_one_split_is_measured_as_if_it_were_alone(tmp_path, splits, name):
    query, database = make(tmp_path / "all")
    result = evaluate_files(query, database, protocol=RULES, both=True, splits=splits)
    image, shape = (BinaryCodes.load(path) for path in (query, database))
    image, shape = image[image.splits == name], shape[shape.splits == name]
    expected = [evaluate(*pair, protocol=RULES).to_dict() for pair in ((image, shape), (shape, image))]
    assert [each.report.to_dict() for each in result.evaluations] == expected
    for rows, path in ((image, "i.npz"), (shape, "s.npz")):
        rows.save(tmp_path / path)
    alone = evaluate_files(tmp_path / "i.npz", tmp_path / "s.npz", protocol=RULES, both=True)
    assert alone.record()["results"] == result.record()["results"]
    assert alone.measured() == []
    (line,) = result.measured()
    assert line == (
        f"measured: 8 of 40 queries, 4 of 20 items (split {name}); 32 queries and 16 items of other splits left out; "
        "--splits all measures everything"
    )
    assert result.text().endswith(line)
    assert result.record()["splits"] == {
        "measured": [name],
        "files": [
            {"file": str(query), "rows": 40, "measured": 8, "other_splits": 32, "other_kinds": 0, "training": 0},
            {"file": str(database), "rows": 20, "measured": 4, "other_splits": 16, "other_kinds": 0, "training": 0},
        ],
    }  # fmt: skip
    json.dumps(result.record())


def test_all_and_train_say_what_was_trained_on(tmp_path):
    files = make(tmp_path / "all")
    whole = evaluate_files(*files, protocol=RULES, splits="all")
    assert whole.measured() == [
        "measured: 40 of 40 queries, 20 of 20 items (all splits); among these are 24 queries and 12 items that were "
        "trained on (split train)"
    ]
    image, shape = map(BinaryCodes.load, files)
    assert whole.evaluations[0].report.to_dict() == evaluate(image, shape, protocol=RULES).to_dict()
    (line,) = evaluate_files(*files, protocol=RULES, splits="train").measured()
    assert (
        "24 of 40 queries, 12 of 20 items (split train); 16 queries and 8 items of other splits left out"
        in line
    )
    assert "24 queries and 12 items that were trained on" in line


def test_kind_and_splits_both_restrict(tmp_path):
    query, database = make(tmp_path / "all", photos=True)
    rows = BinaryCodes.load(query)
    chosen = (rows.kinds == "photo") & (rows.splits == "test")
    result = evaluate_files(query, database, protocol=RULES, kind="photo")
    assert result.evaluations[0].query.ids.tolist() == rows.ids[chosen].tolist()
    assert result.measured() == [
        "measured: 4 of 40 queries, 4 of 20 items (split test); 16 queries and 16 items of other splits left out; "
        "20 queries of other kinds left out; --splits all measures everything"
    ]
    # the default is chosen among the images of the kind: here no photo is of the split test
    splits = np.where((rows.kinds == "photo") & (rows.splits == "test"), "val", rows.splits)
    known = {"kinds": rows.kinds, "categories": rows.categories, "modality": "image"}
    BinaryCodes.from_bits(rows.unpacked(), splits=splits, **known).save(query)
    assert evaluate_files(query, database, protocol=RULES, kind="photo").files[0][0].splits == ("val",)


def test_rows_without_a_split_belong_to_every_split(tmp_path):
    query, database = make(tmp_path / "all")
    shapes = BinaryCodes.load(database)
    splits = np.where(np.arange(20) % 5 == 0, "", SPLITS)
    known = {"ids": shapes.ids, "categories": shapes.categories, "modality": "shape"}
    BinaryCodes.from_bits(shapes.unpacked(), splits=splits, **known).save(database)
    result = evaluate_files(query, database, protocol=RULES)
    assert (
        result.evaluations[0].database.ids.tolist()
        == shapes.ids[(splits == "test") | (splits == "")].tolist()
    )


def test_files_without_splits_are_measured_whole_and_without_a_word(tmp_path):
    for splits in (None, np.full(20, "")):
        files = make(tmp_path / "plain", splits=splits)
        result = evaluate_files(*files, protocol=RULES, splits=None)
        assert result.evaluations[0].report.rules.queries == 40
        assert (result.measured(), "splits" in result.record()) == ([], False)
        with pytest.raises(
            CodesError, match=r"splits test: neither .*image.npz nor .*shape.npz names splits"
        ):
            evaluate_files(*files, splits="test")
        assert evaluate_files(*files, protocol=RULES, splits="all").measured() == []


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (["train", "test"], "do not mix"),
        ("tset", "no row is of split 'tset' .*24 train, 8 val, 8 test; .*shape.npz: 12 train, 4 val, 4 test"),
    ],
)
def test_what_is_refused(tmp_path, splits, message):
    with pytest.raises(CodesError, match=message):
        evaluate_files(*make(tmp_path / "all"), splits=splits)


def test_a_side_that_is_left_with_nothing_is_named(tmp_path):
    query, _ = make(tmp_path / "all")
    _, database = make(tmp_path / "train", splits=np.full(20, "train"))
    message = (
        r"train/shape.npz: none of its 20 rows is measured, split test \(there are: 20 train\); --splits all"
    )
    with pytest.raises(CodesError, match=message):
        evaluate_files(query, database)
    with pytest.raises(CodesError, match="nothing but what was trained on"):
        evaluate_files(database, database)


def test_floats_are_chosen_alike(tmp_path):
    files = make(tmp_path / "all")
    floats = [tmp_path / "fi.npy", tmp_path / "fs.npy"]
    for path, file in zip(floats, files, strict=True):
        np.save(path, BinaryCodes.load(file).signs().astype(np.float32))
    result = evaluate_files(*files, protocol=RULES, unhashed=tuple(floats))
    codes, vectors = result.evaluations
    assert isinstance(vectors.query, Embeddings)
    np.testing.assert_array_equal(vectors.query.embeddings, codes.query.signs())
    np.testing.assert_array_equal(vectors.database.embeddings, codes.database.signs())
    assert vectors.report["nn"] == pytest.approx(codes.report["nn"])


def test_folders_must_end_with_the_same_splits(tmp_path):
    make(tmp_path / "one")
    make(tmp_path / "two", seed=1)
    make(tmp_path / "plain", seed=2, splits=None)
    result = compare_folders([tmp_path / "one", tmp_path / "two"], protocol=RULES)
    assert result.measured()[0].startswith("measured: 8 of 40 queries")
    assert {each.report.rules.queries for each in result.evaluations} == {8, 4}
    assert len(result.record()["splits"]["files"]) == 4
    # files that know no splits are measured whole, which the warning about other items tells
    mixed = compare_folders([tmp_path / "one", tmp_path / "plain"], protocol=RULES, splits="test")
    assert mixed.warnings[1:] == ["plain holds other items than one: their numbers do not compare"]
    assert [line.partition(":")[0] for line in mixed.measured()] == ["measured, one"]
    make(tmp_path / "three", splits=np.where(SPLITS == "test", "val", SPLITS))
    with pytest.raises(
        CodesError, match="three would be measured on split val, one on split test; say which"
    ):
        compare_folders([tmp_path / "one", tmp_path / "three"])
    assert (
        compare_folders([tmp_path / "one", tmp_path / "three"], protocol=RULES, splits="val").warnings != []
    )


def test_before_training_is_measured_on_the_same_splits(tmp_path):
    after = evaluate_files(*make(tmp_path / "one"), protocol=RULES, splits="val")
    before = evaluate_before(*make(tmp_path / "two", seed=1), after)
    assert before.evaluations[0].query.splits.tolist() == ["val"] * 8
    assert before.warnings == []
    other = evaluate_before(*make(tmp_path / "plain", splits=None), after)
    assert other.warnings == ["the codes from before training hold other items: their numbers do not compare"]
    whole = evaluate_files(*make(tmp_path / "one"), protocol=RULES, splits="all")
    assert evaluate_before(*make(tmp_path / "two"), whole).evaluations[0].report.rules.queries == 40


def test_what_measures_nothing_is_said(tmp_path):
    rng = np.random.default_rng(0)

    def save(name, n, bits, **columns):
        BinaryCodes.from_bits(bits, ids=[f"{name}{i}" for i in range(n)], **columns).save(
            tmp_path / f"{name}.npz"
        )
        return tmp_path / f"{name}.npz"

    kinds = np.array(["mug", "cup"])
    one = save("one", 12, rng.integers(0, 2, (12, 16)), categories=["mug"] * 12)
    two = save("two", 12, rng.integers(0, 2, (12, 16)), categories=kinds[np.arange(12) % 2])
    few = save("few", 3, rng.integers(0, 2, (3, 16)), categories=["mug", "cup", "cup"])
    same = save("same", 49, np.eye(3, 16, dtype=int)[np.arange(49) % 3], categories=kinds[np.arange(49) % 2])
    nothing = "all 12 items are of one category, so that every ranking is right: nothing is measured"
    for query, database, both, expected in [
        (two, two, True, []),
        (two, one, False, [nothing]),
        (one, two, False, []),
        (one, two, True, [nothing]),
        (few, two, False, ["only 3 queries and 12 items: the numbers say little"]),
        (two, few, False, ["only 12 queries and 3 items: the numbers say little"]),
        (two, same, False, ["3 different codes among 49 items"]),
        (same, two, False, []),
    ]:
        result = evaluate_files(query, database, protocol=RULES, both=both)
        assert result.warnings == expected
        assert result.record().get("warnings", []) == expected
