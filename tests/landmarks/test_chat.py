"""One question to a chat endpoint: what leaves the machine, and what is taken in."""

import gzip
import sys

import pytest
from chat_endpoint import KEY, Endpoint, completion, served

from cmah.errors import CmahError
from cmah.landmarks import chat
from cmah.landmarks.chat import SENT_HEADERS, Chat, ChatError


@pytest.fixture
def endpoint(monkeypatch):
    with served(monkeypatch) as server:
        yield server


def test_answers_too_large_are_not_read(endpoint, monkeypatch):
    monkeypatch.setattr(chat, "LARGEST_ANSWER", 1000)
    endpoint.replies = [(200, "x" * 5000)]
    with pytest.raises(ChatError, match="more than 1000 bytes"):
        Chat(endpoint.url, "m").ask("?")


@pytest.mark.parametrize(
    ("url", "key", "message"),
    [
        ("ftp://host/v1", "", "not such a URL"),
        ("localhost:8080", "", "not such a URL"),
        ("http://[", "", "not such a URL"),
        ("https://user:word@host/v1", "", "without a user name"),
        ("https://host/v1?key=1", "", "without a user name"),
        ("http://host/v1", KEY, "expected https"),
        ("http://127.example.com/v1", KEY, "expected https"),
        ("http://127.0.0.1.example.com/v1", KEY, "expected https"),
        ("http://[2001:db8::1]/v1", KEY, "expected https"),
        ("https://host/v1", KEY + "\nX: y", "printable ASCII"),
    ],
)
def test_addresses_and_keys(url, key, message):
    with pytest.raises(CmahError, match=message) as caught:
        Chat(url, "m", key)
    assert KEY not in str(caught.value)
    assert "word" not in str(caught.value)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1:8080", "127.1.2.3", "[::1]:80"])
def test_this_machine_may_have_the_key_over_http(host):
    assert Chat(f"http://{host}/v1", "m", KEY).key == KEY


def test_the_key_is_not_shown():
    assert KEY not in repr(Chat("https://host/v1", "m", KEY))


def test_only_what_is_needed_leaves_the_machine(endpoint, monkeypatch):
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_ADMIN_KEY"):
        monkeypatch.setenv(name, "private")
    endpoint.replies = [(500, ""), completion("yes")]
    assert Chat.from_environment(endpoint.url, "m", "").ask("?") == "yes"
    for path, headers, body in endpoint.seen:
        assert path == "/v1/chat/completions"
        assert {name.lower() for name in headers} <= SENT_HEADERS | {"user-agent", "accept-encoding"}
        assert headers["Accept-Encoding"] == "identity"
        assert "private" not in str(headers) + str(body)
        assert body == {"model": "m", "messages": [{"role": "user", "content": "?"}]}


def test_compressed_answers_are_not_unpacked(endpoint, monkeypatch):
    monkeypatch.setattr(chat, "LARGEST_ANSWER", 100_000)
    bomb = gzip.compress(bytes(10 << 20))
    for status, message in ((200, "no text at choices"), (400, "HTTP 400")):
        endpoint.replies = [(status, bomb, {"Content-Encoding": "gzip"})]
        with pytest.raises(ChatError, match=message):
            Chat(endpoint.url, "m").ask("?")


def test_of_a_refusal_no_more_is_read_than_of_an_answer(endpoint, monkeypatch):
    monkeypatch.setattr(chat, "LARGEST_ANSWER", 1000)
    read = []
    monkeypatch.setattr(Chat, "_refusal", lambda self, response: read.append(response) or ChatError("no"))
    endpoint.replies = [(400, "x" * (8 << 20))]
    with pytest.raises(ChatError, match="no"):
        Chat(endpoint.url, "m").ask("?")
    assert len(read[0].content) < 1 << 20


def test_a_proxy_does_not_see_what_goes_to_this_machine(endpoint, monkeypatch):
    other = Endpoint()
    monkeypatch.setenv("http_proxy", other.url)
    monkeypatch.setenv("all_proxy", other.url)
    endpoint.replies = other.replies = [completion("yes")]
    assert Chat.from_environment(endpoint.url, "m").ask("?") == "yes"
    other.close()
    assert (len(endpoint.seen), other.seen) == (1, [])


def test_the_whole_address_may_be_given(endpoint):
    endpoint.replies = [completion("yes")]
    assert Chat(f"{endpoint.url}/chat/completions", "m").ask("?") == "yes"
    assert endpoint.seen[0][0] == "/v1/chat/completions"


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(CmahError, match=r'pip install "\.\[chat\]"'):
        Chat("http://localhost/v1", "m").ask("?")
