"""cmah landmarks: coverage, prompts, answers, and a real endpoint on this machine that misbehaves as asked."""

import json
import time

import pytest
from chat_endpoint import KEY, Endpoint, completion, served, texts

from cmah.landmarks import chat, read_landmarks, write_landmarks
from cmah.landmarks.chat import Chat, ChatError


@pytest.fixture
def endpoint(monkeypatch):
    with served(monkeypatch) as server:
        yield server


@pytest.fixture
def ask(call, endpoint, tmp_path):
    """Run the command on categories and see to it that the key shows up nowhere."""
    out = tmp_path / "mine.json"

    def run(*categories, count=4, more=()):
        names = [word for name in categories for word in ("--category", name)]
        status, text, err = call(
            *(
                "landmarks",
                *names,
                "--endpoint",
                endpoint.url,
                "--model",
                "m",
                "--count",
                count,
                "--out",
                out,
            ),
            *more,
        )
        assert KEY not in text + err
        assert "Traceback" not in err
        assert [path.name for path in tmp_path.iterdir()] in ([], ["mine.json"])  # nothing half written stays
        assert not out.exists() or KEY not in out.read_text(encoding="utf-8")
        return status, text, err, read_landmarks(out) if out.exists() else {}

    return run


def test_coverage(call, toy):
    status, out, _ = call("landmarks")
    assert (status, "airplane" in out, len(out.splitlines())) == (0, True, 85)
    status, out, _ = call("landmarks", "--category", "TV", "--category", "wombat", "--category", "wom_bat 2")
    assert (status, "1 of 3 categories" in out, "without: wombat, wom bat 2" in out) == (0, True, True)
    assert "--category wombat --category 'wom bat 2' --prompts" in out
    status, out, _ = call("landmarks", "--dataset", toy, "--json")
    found = json.loads(out)
    assert status == 0
    assert found["covered"].keys() | set(found["missing"])


def test_own_file(call, tmp_path):
    write_landmarks(tmp_path / "mine.json", {"wombat": ["a wombat on four legs"]})
    status, out, _ = call("landmarks", "--category", "wombat", "--landmarks", tmp_path / "mine.json")
    assert (status, "1 of 1" in out) == (0, True)


def test_prompts(call):
    status, out, _ = call("landmarks", "--category", "wombat", "--category", "Elk", "--prompts", "--count", 9)
    assert (status, out.count("Write 9 "), out.startswith("# wombat\n")) == (0, 2, True)
    status, out, _ = call("landmarks", "--category", "wombat", "--prompts", "--json")
    assert "Write 128 " in json.loads(out)["wombat"]


def test_answers(call, tmp_path):
    out = tmp_path / "mine.json"
    answers = {
        "Wom_bat": "1. a wombat sitting on its haunches\n2. a red wombat lying flat",
        "elk": ["an elk with wide antlers"],
        "gnu": "no",
        "yak": 3,
    }
    (tmp_path / "answers.json").write_text(json.dumps(answers), encoding="utf-8")
    call_it = ("landmarks", "--answers", tmp_path / "answers.json", "--out", out)
    status, text, err = call(*call_it, "--category", "emu")
    assert (status, "2 categories, 2 descriptions" in text) == (0, True)
    assert "gnu: no description" in err
    assert "yak: expected a list" in err
    assert "emu: no answer" in err
    assert "colour: red" in err
    first = read_landmarks(out)
    assert first == {"wom bat": ["a wombat sitting on its haunches"], "elk": ["an elk with wide antlers"]}
    assert call(*call_it)[0] == 0
    assert read_landmarks(out) == first  # the same again adds nothing
    (tmp_path / "answers.json").write_text('{"elk": ["an elk without any antlers"]}', encoding="utf-8")
    status, text, _ = call(*call_it, "--json")
    assert json.loads(text)["categories"] == {"elk": 2}
    assert read_landmarks(out)["wom bat"] == first["wom bat"]
    (tmp_path / "answers.json").write_text('{"gnu": "no"}', encoding="utf-8")
    before = out.read_bytes()
    status, _, err = call(*call_it)
    assert (status, "gnu: no description" in err, out.read_bytes() == before) == (2, True, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prompts"], "of which categories?"),
        (["--endpoint", "http://localhost/v1", "--out", "x"], "go together"),
        (["--endpoint", "http://localhost/v1", "--model", "m"], "--out is missing"),
        (["--answers", "a.json"], "--out is missing"),
        (["--out", "x"], "goes with"),
        (["--prompts", "--answers", "a.json"], "exclude each other"),
        (["--category", " _", "--prompts"], "--category: empty"),
        (["--answers", "none.json", "--out", "x"], "none.json: no such file"),
        (["--answers", "list.json", "--out", "x"], "list.json: expected a JSON object"),
        (["--answers", "a.json", "--out", "a.json"], "not a landmark file"),
        (["--answers", "a.json", "--out", "list.json"], "list.json: not a landmark file"),
        (["--dataset", "none", "--prompts"], "none: no such folder"),
        (["--landmarks", "a.json"], "a.json: not a landmark file"),
        (
            [
                "--category",
                "a",
                "--endpoint",
                "http://h/v1",
                "--model",
                "m",
                "--key-env",
                "NO_KEY",
                "--out",
                "x",
            ],
            "NO_KEY is empty or not set",
        ),
    ],
)
def test_one_line_for_what_is_wrong(call, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NO_KEY", raising=False)
    for name, content in (("a.json", '{"elk": ["an elk with antlers"]}'), ("list.json", "[1]")):
        (tmp_path / name).write_text(content, encoding="utf-8")
    status, _, err = call("landmarks", *arguments)
    assert (status, message in err, "Traceback" in err) == (2, True, False), err
    assert (tmp_path / "list.json").read_text(encoding="utf-8") == "[1]"
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
def test_asks_until_there_are_enough(ask, endpoint):
    endpoint.replies = [
        (429, "slow down", {"Retry-After": "1"}),
        (503, ""),
        completion("```json\n" + json.dumps([*texts("chair", 0, 3), "a red chair with legs"]) + "\n```"),
        completion("no idea"),
        completion([{"type": "text", "text": json.dumps(texts("chair", 2, 4))}]),
    ]
    status, out, err, found = ask("Chair", count=5)
    assert (status, "1 categories, 5 descriptions" in out) == (0, True)
    assert found["chair"] == texts("chair", 0, 5)
    assert "colour: red" in err
    assert len(endpoint.seen) == 5
    path, headers, body = endpoint.seen[-1]
    assert (path, headers["Authorization"], body["model"]) == ("/v1/chat/completions", f"Bearer {KEY}", "m")
    assert body["messages"][0]["content"].startswith("Write 2 ")
    assert ask("chair", count=5)[0] == 0
    assert len(endpoint.seen) == 5  # it has enough


def test_one_bad_category_does_not_end_the_job(ask, endpoint):
    def reply(question):
        name = question.partition('category "')[2].partition('"')[0]
        return {
            "gnu": (400, json.dumps({"error": {"message": f"no, {KEY}\nno"}})),
            "yak": completion("I do not know."),
            "emu": (200, "<html>"),
        }.get(name, completion(json.dumps(texts(name, 0, 4))))

    endpoint.replies = [reply]
    status, out, err, found = ask("gnu", "elk", "yak", "emu", "ibex")
    assert (status, list(found)) == (0, ["elk", "ibex"])
    assert "2 categories" in out
    assert f"gnu: {endpoint.url}: HTTP 400 (no, … no)" in err
    assert "yak: no answer held a description" in err
    assert f"emu: {endpoint.url}: the answer has no text at choices[0].message.content" in err
    status, _, err, found = ask("gnu", "yak")
    assert (status, "no category got its landmarks; gnu" in err, "1 more" in err) == (2, True, True)
    assert list(found) == ["elk", "ibex"]  # nothing is lost


def test_what_came_before_a_failure_is_kept(ask, endpoint):
    endpoint.replies = [completion(json.dumps(texts("elk", 0, 2))), (400, "enough")]
    status, _, err, found = ask("elk")
    assert (status, "HTTP 400 (enough)" in err, found["elk"]) == (2, True, texts("elk", 0, 2))
    endpoint.replies = [completion(json.dumps(texts("elk", 2, 2)))]
    status, _, _, found = ask("elk")
    assert (status, found["elk"]) == (0, texts("elk", 0, 4))
    assert texts("elk", 0, 1)[0] in endpoint.seen[-1][2]["messages"][0]["content"]


def test_a_refused_key_ends_the_job(ask, endpoint):
    endpoint.replies = [(401, json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}"}}))]
    status, _, err, found = ask("elk", "gnu")
    assert (status, "HTTP 401, the key is refused" in err, found) == (2, True, {})
    assert len(endpoint.seen) == 1


def test_no_key(ask, endpoint):
    endpoint.replies = [(401, "")]
    status, _, err, _ = ask("elk", more=("--key-env", ""))
    assert (status, "a key is needed" in err) == (2, True)
    assert "Authorization" not in endpoint.seen[0][1]


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(ask, endpoint, code):
    other = Endpoint()
    other.replies = [completion(json.dumps(texts("elk", 0, 4)))]
    endpoint.replies = [(code, "", {"Location": other.url + "/chat/completions"})]
    status, _, err, _ = ask("elk")
    other.close()
    assert (status, f"HTTP {code}, redirects to 127.0.0.1" in err, other.seen) == (2, True, [])
    assert len(endpoint.seen) == 1


@pytest.mark.slow
def test_an_endpoint_that_does_not_answer(ask, endpoint, monkeypatch):
    monkeypatch.setattr(chat, "TRIES", 2)

    def slow(question):
        time.sleep(0.5)
        return completion("late")

    endpoint.replies = [slow]
    status, _, err, _ = ask("a1", "a2", "a3", "a4", "a5", more=("--timeout", "0.25"))
    assert (status, "no answer (timed out)" in err, "4 more categories" in err) == (2, True, True)
    assert len(endpoint.seen) == 6  # two tries of each of three categories
    with pytest.raises(ChatError, match="no answer"):
        Chat("http://127.0.0.1:9", "m").ask("?")


@pytest.mark.parametrize("arguments", [["--prompts"], ["--category", " _", "--prompts"]])
def test_missing_categories_are_told_with_the_usage(call, arguments):
    status, _, err = call("landmarks", *arguments)
    assert (status, err.startswith("Usage: cmah landmarks")) == (2, True)
