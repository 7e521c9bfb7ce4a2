"""A real chat endpoint on this machine, which answers and misbehaves as a test asks."""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

KEY = "sk-very-secret-0123456789"


def completion(content):
    return 200, json.dumps({"choices": [{"message": {"role": "assistant", "content": content}}]})


def texts(category, start, number):
    return [f"a {category} with {index} legs and a back" for index in range(start, start + number)]


class Endpoint:
    """A server whose `replies` are given in turn, each (status, body) or (status, body, headers); the last stays.

    Attributes:
        seen: (path, headers, body) of each request.
        url: what --endpoint takes.
    """

    def __init__(self):
        self.replies, self.seen = [], []
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                endpoint.seen.append((self.path, dict(self.headers), body))
                reply = endpoint.replies.pop(0) if len(endpoint.replies) > 1 else endpoint.replies[0]
                if callable(reply):
                    reply = reply(body["messages"][0]["content"])
                status, text, *headers = reply
                self.send_response(status)
                for name, value in (headers[0] if headers else {}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text if isinstance(text, bytes) else text.encode())

            do_GET = do_POST

            def log_message(self, *arguments):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.handle_error = lambda *arguments: None  # of a client that did not wait
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        threading.Thread(
            target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
        ).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@contextmanager
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    """An endpoint, with a key in the environment, no proxies and short waits between tries."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server = Endpoint()
    yield server
    server.close()
