"""The landmarks that come with cmah, the strict reading of landmark files, and what is taken from answers."""

import csv
import json
import re
from collections import Counter

import pytest

from cmah.errors import CmahError
from cmah.landmarks import (
    FORBIDDEN,
    Landmarks,
    clean,
    landmarks_of,
    normal_name,
    read_landmarks,
    write_landmarks,
)

SHAPENET = """02691156 airplane, 02747177 trash bin, 02773838 bag, 02801938 basket, 02808440 bathtub, 02818832 bed,
02828884 bench, 02843684 birdhouse, 02871439 bookshelf, 02876657 bottle, 02880940 bowl, 02924116 bus,
02933112 cabinet, 02942699 camera, 02946921 can, 02954340 cap, 02958343 car, 02992529 cellphone, 03001627 chair,
03046257 clock, 03085013 keyboard, 03207941 dishwasher, 03211117 display, 03261776 earphone, 03325088 faucet,
03337140 file cabinet, 03467517 guitar, 03513137 helmet, 03593526 jar, 03624134 knife, 03636649 lamp,
03642806 laptop, 03691459 loudspeaker, 03710193 mailbox, 03759954 microphone, 03761084 microwave,
03790512 motorbike, 03797390 mug, 03928116 piano, 03938244 pillow, 03948459 pistol, 03991062 flowerpot,
04004475 printer, 04074963 remote control, 04090263 rifle, 04099429 rocket, 04225987 skateboard, 04256520 sofa,
04330267 stove, 04379243 table, 04401088 telephone, 04460130 tower, 04468005 train, 04530566 watercraft,
04554684 washer"""
OTHERS = """airplane bag_suitcase bathtub bed bird boat bottle building cabinet car chair chess clock_watch computer
cup_mug cutlery door face fish gun hat_helmet helicopter insect lamp oven_stove person piano plant_tree quadruped
refrigerator shelf shoe sofa_bench sword table toilet tool trash_bin truck_bus vase_jar window"""


@pytest.fixture(scope="module")
def shipped():
    return read_landmarks()


def words(text):
    return re.findall(r"[a-z0-9]+", text.lower())


def test_every_category_has_at_least_32(shipped):
    assert {name: len(texts) for name, texts in shipped.items() if len(texts) < 32} == {}
    assert len(shipped) == 85


def test_the_names_of_both_lists_are_found(shipped):
    pairs = [pair.strip().split(" ", 1) for pair in SHAPENET.split(",")]
    assert len(pairs) == 55
    for synset, name in pairs:
        assert landmarks_of(synset, shipped) is landmarks_of(name, shipped) is shipped[name]
    assert len(OTHERS.split()) == 41
    for name in OTHERS.split():
        assert landmarks_of(name, shipped) is shipped[name.replace("_", " ")]
    assert set(shipped) == {name for _, name in pairs} | {normal_name(name) for name in OTHERS.split()}


def test_the_categories_of_the_benchmark_are_covered(shared, shipped):
    with open(shared / "data/shapes41/shapes.csv", encoding="utf-8") as file:
        categories = {row["category"] for row in csv.DictReader(file)}
    assert categories
    assert all(landmarks_of(category, shipped) for category in categories)


def test_no_two_are_the_same(shipped):
    counts = Counter(" ".join(words(text)) for texts in shipped.values() for text in texts)
    assert [text for text, count in counts.items() if count > 1] == []


def test_no_two_of_a_category_differ_in_little_more_than_numbers(shipped):
    numbers = {
        *["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"],
        *["a", "an", "the", "and", "with", "of", "in", "on"],
    }
    for texts in shipped.values():
        bare = Counter(frozenset(words(text)) - numbers for text in texts)
        assert max(bare.values()) == 1


def test_all_are_about_structure(shipped):
    for name, texts in shipped.items():
        for text in texts:
            assert 4 <= len(words(text)) <= 30, text
            assert not set(words(text)) & FORBIDDEN.keys(), text
            assert text == " ".join(text.split()).rstrip("."), text
        assert clean(texts) == (texts, []), name


def test_names_in_any_spelling_and_aliases():
    mine = Landmarks({"sofa bench": ["a"], "wombat": ["b"]}, {"vombatus": "wombat"})
    assert landmarks_of("Sofa_Bench", mine) == landmarks_of(" sofa-bench", mine) == ["a"]
    assert landmarks_of("Vombatus", mine) == ["b"]
    assert landmarks_of("TV", read_landmarks()) is read_landmarks()["display"]
    assert landmarks_of("couch", {"sofa": ["c"]}) == ["c"]  # an alias of cmah's own file
    with pytest.raises(CmahError, match=r"'wombats' \(near: wombat\); `cmah landmarks"):
        landmarks_of("wombats", mine)


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "mine.json"
    write_landmarks(path, {"Vase_Jar": ["a vase with a wide foot"]}, {"Urn": "vase jar"})
    read = read_landmarks(path)
    assert (read, read.aliases) == ({"vase jar": ["a vase with a wide foot"]}, {"urn": "vase jar"})
    write_landmarks(path, read)
    assert read_landmarks(path).aliases == read.aliases
    with pytest.raises(CmahError, match="expected a list"):
        write_landmarks(path, {"chair": []})
    assert read_landmarks(path) == read


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ([], "not a landmark file"),
        ({"format": "other"}, "not a landmark file"),
        ({"version": 2}, "version 2, expected 1"),
        ({"colours": {}}, "unknown key 'colours'"),
        ({"categories": ["chair"]}, "categories: expected an object"),
        ({"aliases": ["chair"]}, "aliases: expected an object"),
        ({"categories": {"chair": []}}, "category 'chair': expected a list of one or more"),
        ({"categories": {"chair": "a chair"}}, "category 'chair': expected a list"),
        ({"categories": {"chair": ["a", 3]}}, "category 'chair': description 2: expected a text of 1 to 500"),
        ({"categories": {"chair": [" "]}}, "description 1: expected a text"),
        ({"categories": {"chair": ["a" * 501]}}, "description 1: expected a text"),
        ({"categories": {"chair": ["a", "b", "a"]}}, "'a' is a duplicate"),
        ({"categories": {"a b": ["a"], "A_b": ["b"]}}, "category 'A_b': there already"),
        ({"categories": {"_": ["a"]}}, "category '_': empty"),
        ({"categories": {"ch\ud800air": ["a"]}}, "letters that cannot be printed"),
        ({"categories": {"ch\x1b[2Jair": ["a"]}}, "letters that cannot be printed"),
        (
            {"categories": {"chair": ["a", "\udc00"]}},
            "category 'chair': description 2: a lone surrogate",
        ),
        ({"aliases": {"seat": "stool"}}, "alias 'seat': expected the name of a category"),
        ({"aliases": {"seat": 1}}, "alias 'seat': expected the name of a category"),
        ({"aliases": {"Chair": "chair"}}, "alias 'Chair': expected a name that is not"),
    ],
)
def test_faults_are_named(tmp_path, change, message):
    whole = {"format": "cmah-landmarks", "version": 1, "categories": {"chair": ["a chair"]}, "aliases": {}}
    path = tmp_path / "file.json"
    path.write_text(json.dumps(whole | change if change else change), encoding="utf-8")
    with pytest.raises(CmahError, match=f"file.json: .*{re.escape(message)}") as caught:
        read_landmarks(path)
    assert "\n" not in str(caught.value)


def test_other_files_are_refused(tmp_path, monkeypatch):
    with pytest.raises(CmahError, match="no such file"):
        read_landmarks(tmp_path / "none.json")
    (tmp_path / "text.json").write_text("chairs", encoding="utf-8")
    with pytest.raises(CmahError, match="not a readable JSON file"):
        read_landmarks(tmp_path / "text.json")
    monkeypatch.setattr("cmah.landmarks.landmark_file.LARGEST_FILE", 5)
    with pytest.raises(CmahError, match="6 bytes, expected"):
        read_landmarks(tmp_path / "text.json")
