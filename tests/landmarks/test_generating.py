"""What `cmah landmarks` does, called from Python."""

import json

import pytest

from cmah.errors import CmahError
from cmah.landmarks import (
    ask_endpoint,
    landmark_coverage,
    prompts,
    read_landmarks,
    take_answers,
    write_landmarks,
)
from cmah.landmarks.chat import ChatError


class Model:
    """Answers each question with two new descriptions, but for the categories it does not like."""

    def __init__(self, *disliked):
        self.disliked, self.asked = disliked, 0

    def ask(self, question):
        name = question.partition('category "')[2].partition('"')[0]
        self.asked += 1
        if name in self.disliked:
            raise ChatError("no")
        return json.dumps([f"a {name} with {self.asked} legs and a {part}" for part in ("tail", "horn")])


def test_an_endpoint_is_asked_for_what_is_missing(tmp_path):
    out, model = tmp_path / "mine.json", Model("gnu")
    write_landmarks(out, {"elk": ["an elk with wide antlers"]}, {"moose": "elk"})
    done = ask_endpoint(model, out, ["Elk", "gnu", "moose"], count=3)
    assert (done.categories, done.failed) == (["elk", "gnu", "moose"], {"gnu": "no"})
    assert {name: len(texts) for name, texts in done.landmarks.items()} == {"elk": 3, "moose": 3}
    assert read_landmarks(out) == done.landmarks
    assert read_landmarks(out).aliases == {}  # a category has taken the name
    asked = model.asked
    assert ask_endpoint(model, out, ["elk"], count=3).failed == {}
    assert model.asked == asked


def test_an_endpoint_that_is_down_is_not_asked_on_and_on(tmp_path):
    names = ["a", "b", "c", "d", "e"]
    model = Model(*names)
    with pytest.raises(CmahError, match=r"no category got its landmarks; a: no \(and 4 more categories\)"):
        ask_endpoint(model, tmp_path / "mine.json", names)
    assert model.asked == 3


def test_answers_are_taken(tmp_path):
    out, answers = tmp_path / "mine.json", tmp_path / "answers.json"
    answers.write_text('{"Elk": ["an elk with wide antlers", "an elk"], " ": [], "\\ud800": []}', "utf-8")
    done = take_answers(answers, out, ["emu"])
    assert (done.categories, done.landmarks) == (["elk"], {"elk": ["an elk with wide antlers"]})
    assert done.dropped == [("an elk", "2 words, expected 4 to 40")]
    assert done.failed.keys() == {" ", "'\\ud800'", "emu"}
    with pytest.raises(CmahError, match="not a landmark file"):
        take_answers(answers, answers)
    with pytest.raises(CmahError, match="is read here"):
        take_answers(out, out)


def test_coverage_and_prompts(tmp_path):
    write_landmarks(tmp_path / "mine.json", {"wombat": ["a wombat on four legs"]})
    found = landmark_coverage(["Wombat", "TV", "gnu"], tmp_path / "mine.json")
    assert (found.covered["wombat"], found.missing) == (1, ["gnu"])
    assert found.covered["tv"] >= 32
    assert len(landmark_coverage().covered) == 85
    assert list(prompts(["Sofa_Bench", "sofa bench"], 3)) == ["sofa bench"]
    for call in (prompts, landmark_coverage):
        with pytest.raises(CmahError, match="empty"):
            call(["_"])
    with pytest.raises(CmahError, match="of which categories"):
        prompts([])
