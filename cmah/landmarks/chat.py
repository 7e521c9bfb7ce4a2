"""One question to a language model behind any endpoint that speaks the chat protocol of OpenAI's interface.

POST {url}/chat/completions with {"model", "messages"}; the answer is choices[0].message.content. Local servers
(llama.cpp, Ollama, vLLM) speak it too, without a key.
"""

import http.client
import ipaddress
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Any

from cmah.errors import CmahError

TRIES = 5
FIRST_WAIT = 1.0  # seconds before the second try; doubled for each further one
LONGEST_WAIT = 60.0  # also where the server asks for more
LARGEST_ANSWER = 8 << 20  # bytes
PASSING = {408, 409, 425, 429, 500, 502, 503, 504, 529}  # what may be gone at the next try
FINAL = {401, 403, 404, 405}  # what is the same at every question


class ChatError(CmahError):
    """A question that got no answer; another may.

    Attributes:
        final: no question will be answered: a key that is refused, a model that does not exist.
    """

    def __init__(self, message: str, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is reported, not followed: the key must not go to another host."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> None:
        return None


@dataclass(frozen=True)
class Chat:
    """An endpoint, a model and a key.

    Attributes:
        url: the part before /chat/completions.
        model: the name the endpoint knows it by.
        key: sent to this host alone, and shown nowhere; empty for none.
        timeout: seconds to wait for each part of an answer.
    """

    url: str
    model: str
    key: str = field(default="", repr=False)
    timeout: float = 120.0

    def __post_init__(self) -> None:
        try:
            parts = urllib.parse.urlsplit(self.url)
            host, _ = parts.hostname or "", parts.port
            host.encode("idna")
        except ValueError:
            parts, host = urllib.parse.SplitResult("", "", "", "", ""), ""
        if parts.scheme not in ("http", "https") or not host:
            raise CmahError(
                "--endpoint: not such a URL, expected https://HOST/v1 or http://localhost:PORT/v1"
            )
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise CmahError(
                "--endpoint: expected a URL without a user name, `?` and `#`; a key goes in --key-env"
            )
        if self.key and parts.scheme == "http" and not _is_local(host):
            raise CmahError(
                f"--endpoint: http would send the key to {host} for all to read, expected https; where no key is "
                'needed give --key-env ""'
            )
        if not all("!" <= letter <= "~" for letter in self.key):
            raise CmahError("the key holds spaces or letters that no key has, expected printable ASCII")

    @classmethod
    def from_environment(
        cls, url: str, model: str, variable: str | None = None, timeout: float = 120.0
    ) -> "Chat":
        """With the key that an environment variable holds.

        Args:
            url: the part before /chat/completions.
            model: the name the endpoint knows it by.
            variable: its name; None takes OPENAI_API_KEY if there is one, "" no key.
            timeout: seconds to wait for each part of an answer.

        Raises:
            CmahError: if a variable was named and is not there, or the URL cannot be used.
        """
        key = (
            os.environ.get("OPENAI_API_KEY" if variable is None else variable, "").strip()
            if variable != ""
            else ""
        )
        if variable and not key:
            raise CmahError(f"--key-env: the environment variable {variable} is empty or not set")
        return cls(url, model, key, timeout)

    def ask(self, question: str) -> str:
        """The answer to one question; what may pass is tried again, up to TRIES times.

        Raises:
            ChatError: if there is none.
        """
        wait = FIRST_WAIT
        for left in reversed(range(TRIES)):
            try:
                return self._content(self._post(question))
            except urllib.error.HTTPError as error:
                fault = self._refusal(error)
                if error.code not in PASSING or not left:
                    raise fault from None
                asked = error.headers.get("Retry-After", "") if error.headers else ""
                wait = max(wait, float(asked)) if asked.isdecimal() else wait
            except (OSError, http.client.HTTPException) as error:
                if not left:
                    reason = getattr(error, "reason", None) or error
                    raise ChatError(
                        f"{self.url}: no answer ({self._hidden(str(reason)) or type(error).__name__})"
                    ) from None
            time.sleep(min(wait, LONGEST_WAIT))
            wait *= 2
        raise AssertionError("unreachable")

    def _post(self, question: str) -> bytes:
        url = self.url.rstrip("/")
        url = url if url.endswith("/chat/completions") else f"{url}/chat/completions"
        body = {"model": self.model, "messages": [{"role": "user", "content": question}]}
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "cmah"}
        request = urllib.request.Request(url, json.dumps(body).encode(), headers, method="POST")
        if self.key:
            request.add_unredirected_header("Authorization", f"Bearer {self.key}")
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=self.timeout) as answer:
            content: bytes = answer.read(LARGEST_ANSWER + 1)
        if len(content) > LARGEST_ANSWER:
            raise ChatError(
                f"{self.url}: an answer of more than {LARGEST_ANSWER} bytes, expected a chat completion"
            )
        return content

    def _content(self, answer: bytes) -> str:
        """The text of a chat completion, which some servers give in parts."""
        try:
            content = json.loads(answer)["choices"][0]["message"]["content"]
            if isinstance(content, list):
                content = "".join(part.get("text", "") for part in content)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            content = None
        if not isinstance(content, str):
            raise ChatError(f"{self.url}: the answer has no text at choices[0].message.content")
        return content

    def _refusal(self, error: urllib.error.HTTPError) -> ChatError:
        """What a status other than success means; a server may repeat the key in its words, so it is taken out."""
        with error:
            if 300 <= error.code < 400:
                target = urllib.parse.urlsplit(error.headers.get("Location", "")).hostname or "another place"
                return ChatError(
                    f"{self.url}: HTTP {error.code}, redirects to {target}, which is not followed; if that is right, "
                    "give its address with --endpoint",
                    final=True,
                )
            try:
                said = error.read(1 << 16).decode(errors="replace")
            except (OSError, http.client.HTTPException):
                said = ""
        if error.code in (401, 403):
            return ChatError(
                f"{self.url}: HTTP {error.code}, "
                + (
                    "the key is refused"
                    if self.key
                    else "a key is needed, expected one in the variable of --key-env"
                ),
                final=True,
            )
        with suppress(ValueError, LookupError, TypeError, RecursionError):
            said = str(json.loads(said)["error"]["message"])
        return ChatError(f"{self.url}: HTTP {error.code} ({self._hidden(said)})", final=error.code in FINAL)

    def _hidden(self, text: str) -> str:
        """The first words of a text, printable, without the key."""
        text = text.replace(self.key, "…") if self.key else text
        return "".join(letter for letter in " ".join(text.split()) if letter.isprintable())[:200]


def _is_local(host: str) -> bool:
    """Whether a host is this machine: by its address, for a name such as 127.example.com may be anyone's."""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"
