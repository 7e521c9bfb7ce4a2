"""What is asked of a language model, and what is taken from its answers."""

import json

import pytest

from cmah.landmarks import ask_for, clean, parse_answer, prompt


@pytest.mark.parametrize(
    "answer",
    [
        '["a b", "c \\"d\\""]',
        'Here:\n```json\n[\n "a b",\n "c \\"d\\""\n]\n```\nEnjoy [all of it].',
        'A list [of 2]: ["a b", "c \\"d\\""] and ["more"]',
        '{"chair": ["a b", "c \\"d\\""]}',
        'Sure!\n1. a b\n 2) c "d" \n',
        '["a b",\n"c \\"d\\"",\n"cut off',
    ],
)
def test_lists_are_found_in_answers(answer):
    assert [text.replace('"', "") for text in parse_answer(answer)] == ["a b", "c d"]


def test_answers_without_a_list_and_hostile_ones():
    assert parse_answer("I cannot help with that.") == []
    assert parse_answer('[1, 2] [] [["a"]]') == ["a"]
    assert parse_answer("- a b\n* c\n• d\nand that is all") == ["a b", "c", "d"]
    assert parse_answer("[" * 200_000) == []


def test_clean_says_why():
    kept, dropped = clean(
        [
            " a chair with  four legs. ",
            "A chair, with four legs",
            "a red chair with arms",
            "a Wooden-framed chair with arms",
            "a chair with shiny legs",
            "a chair",
            "a chair known of old",
            "",
            "a chair with " + "very " * 40 + "long legs",
            "a chair with four \ud800 legs",
            "a chair like an hourglass with a greenhouse canopy",
        ],
        known=["a chair known of OLD."],
    )
    assert kept == ["a chair with four legs", "a chair like an hourglass with a greenhouse canopy"]
    assert [reason for _, reason in dropped] == [
        *("duplicate", "colour: red", "material: wooden", "texture: shiny", "2 words, expected 4 to 40"),
        *("duplicate", "0 words, expected 4 to 40", "45 words, expected 4 to 40"),
        "lone surrogate",
    ]


def test_the_prompt_asks_for_structure():
    text = prompt("Sofa_Bench", 7, "scans\n of toys", ["a sofa that is there"])
    assert '7 different descriptions of single objects of the category "sofa bench"' in text
    assert all(
        word in text for word in ("structure", "colour", "material", "texture", "JSON list of 7 strings")
    )
    assert "scans of toys" in text
    assert '["a sofa that is there"]' in text
    assert '"an airplane with' in prompt("airplane", 1)


def test_a_category_is_asked_for_until_it_is_full():
    asked = []

    def ask(question):
        asked.append(question)
        first = len(asked) * 2
        texts = [f"a chair with {number} legs and arms" for number in (first, first + 1)]
        return json.dumps([*texts, "a red chair with legs"])

    rounds = list(ask_for(ask, "chair", 4, known=["a chair with 2 legs and arms"]))
    assert [len(kept) for kept, _ in rounds] == [1, 2]
    assert [len(dropped) for _, dropped in rounds] == [2, 1]
    assert [question[:8] for question in asked] == ["Write 3 ", "Write 2 "]
    assert "a chair with 3 legs" in asked[1]
    assert len(list(ask_for(lambda question: "no", "chair", 4))) == 5
