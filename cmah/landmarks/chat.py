"""One question to a language model behind any endpoint that speaks OpenAI's chat protocol.

The package `openai` (extra `chat`) asks, waits and tries again. This file decides what it leaves open: which
addresses may get a key, which headers leave the machine, how much of an answer is read, and what an error means.
Local servers (llama.cpp, Ollama, vLLM) speak the protocol too, without a key.
"""

import ipaddress
import os
import urllib.parse
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cmah.errors import CmahError
from cmah.reading import parse_json

if TYPE_CHECKING:
    import openai

TRIES = 5
LONGEST = 86_400  # seconds that may be waited for
LARGEST_ANSWER = 8 << 20  # bytes
FINAL = {401, 403, 404, 405}  # statuses that every further question would get as well
# The client adds headers that describe the machine or hold variables such as OPENAI_ORG_ID: only these are sent, and
# the key; by the last of them the client knows its own raw response again
SENT_HEADERS = {"host", "content-type", "content-length", "accept", "connection", "x-stainless-raw-response"}


class ChatError(CmahError):
    """A question that was not answered; the next one may be.

    Attributes:
        final: no question will be answered, as the key is refused or the address or model does not exist.

    Examples:
        >>> error = ChatError("https://HOST/v1: HTTP 401, the key is refused", final=True)
        >>> print(error, "- stop asking" if error.final else "- go on")
        https://HOST/v1: HTTP 401, the key is refused - stop asking
    """

    def __init__(self, message: str, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


@dataclass(frozen=True)
class Chat:
    """An endpoint, a model and a key.

    Attributes:
        url: the address without "/chat/completions", such as "https://HOST/v1".
        model: the name by which the endpoint knows the model.
        key: sent to this host alone, and shown nowhere; empty to send none.
        timeout: seconds to wait for the connection, and for each part of an answer.

    Raises:
        CmahError: if the URL or the key cannot be used, or the key would cross a network unencrypted.

    Examples:
        >>> Chat("http://localhost:8080/v1", "llama")
        Chat(url='http://localhost:8080/v1', model='llama', timeout=120.0)
        >>> Chat("http://example.com/v1", "llama", key="secret")
        Traceback (most recent call last):
        cmah.errors.CmahError: --endpoint: http would send the key to example.com unencrypted, ...
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
                f"--endpoint: http would send the key to {host} unencrypted, expected https; if no key is needed, "
                'give --key-env ""'
            )
        if not 0 < self.timeout <= LONGEST:
            raise CmahError(
                f"--timeout: {self.timeout:g} seconds, expected more than 0 and at most {LONGEST:,}"
            )
        if not all("!" <= letter <= "~" for letter in self.key):
            raise CmahError("the key has spaces or letters that no key has, expected printable ASCII")

    @classmethod
    def from_environment(
        cls, url: str, model: str, variable: str | None = None, timeout: float = 120.0
    ) -> "Chat":
        """Take the key from an environment variable.

        Args:
            url: the address without "/chat/completions".
            model: the name by which the endpoint knows the model.
            variable: name of the variable; None takes OPENAI_API_KEY if it is set, "" sends no key.
            timeout: seconds to wait for the connection, and for each part of an answer.

        Raises:
            CmahError: if the named variable is empty or not set, or the URL cannot be used.

        Examples:
            >>> Chat.from_environment("https://example.com/v1", "llama", "A_VARIABLE_NOT_SET")
            Traceback (most recent call last):
            cmah.errors.CmahError: --key-env: the environment variable A_VARIABLE_NOT_SET is empty or not set
        """
        key = "" if variable == "" else os.environ.get(variable or "OPENAI_API_KEY", "").strip()
        if variable and not key:
            raise CmahError(f"--key-env: the environment variable {variable} is empty or not set")
        return cls(url, model, key, timeout)

    def ask(self, question: str) -> str:
        """Ask one question; HTTP 408, 409, 429, 5xx and failed connections are tried again, TRIES times in all.

        Raises:
            CmahError: if the package `openai` is missing.
            ChatError: if there is no answer.
        """
        client = self._client
        import openai

        try:
            # the raw response: servers differ in content types and in how they give the text
            answer = client.chat.completions.with_raw_response.create(
                model=self.model, messages=[{"role": "user", "content": question}]
            )
        except openai.APIStatusError as error:
            raise self._refusal(error.response) from None
        except openai.OpenAIError as error:
            reason = self._without_key(str(error.__cause__ or error)) or type(error).__name__
            raise ChatError(f"{self.url}: no answer ({reason})") from None
        content = answer.http_response.content
        if len(content) > LARGEST_ANSWER:
            raise ChatError(
                f"{self.url}: an answer of more than {LARGEST_ANSWER} bytes, expected a chat completion"
            )
        return self._text(content)

    @cached_property
    def _client(self) -> "openai.OpenAI":
        """The client, which follows no redirect: the key must not go to another host."""
        try:
            import openai
        except ModuleNotFoundError:
            raise CmahError(
                '--endpoint: the package openai is not installed; pip install ".[chat]" (in the clone of cmah)'
            ) from None
        url = urllib.parse.urlsplit(self.url)
        # http is for this machine (or without a key): no proxy of the environment may read it
        direct = url.scheme == "http" and _is_local(url.hostname or "")
        try:
            http_client = openai.DefaultHttpxClient(
                follow_redirects=False,
                trust_env=not direct,
                event_hooks={"request": [self._restrict_headers], "response": [_bound_answer]},
            )
            return openai.OpenAI(
                base_url=self.url.rstrip("/").removesuffix("/chat/completions"),
                api_key=self.key or "none",  # an empty one is refused; see _restrict_headers
                max_retries=TRIES - 1,
                timeout=self.timeout,
                http_client=http_client,
            )
        except Exception as error:  # a proxy of the environment, or a URL, that the HTTP client refuses
            raise CmahError(f"--endpoint: {self._without_key(str(error))}") from None

    def _restrict_headers(self, request: Any) -> None:
        """Request hook: send what is needed, and neither the client's description of the machine nor its variables."""
        for name in set(request.headers) - SENT_HEADERS:
            del request.headers[name]
        request.headers.update({"User-Agent": "cmah", "Accept-Encoding": "identity"})
        if self.key:
            request.headers["Authorization"] = f"Bearer {self.key}"

    def _text(self, content: bytes) -> str:
        """The text of a chat completion, which some servers give in parts."""
        try:
            text = parse_json(content)["choices"][0]["message"]["content"]
            if isinstance(text, list):
                text = "".join(part.get("text", "") for part in text)
        except (ValueError, LookupError, TypeError, AttributeError):
            text = None
        if not isinstance(text, str):
            raise ChatError(f"{self.url}: the answer has no text at choices[0].message.content")
        return text

    def _refusal(self, response: Any) -> ChatError:
        """What a status other than success means; a server may repeat the key in its message, so it is taken out."""
        status = response.status_code
        if 300 <= status < 400:
            target = urllib.parse.urlsplit(response.headers.get("location", "")).hostname or "another place"
            return ChatError(
                f"{self.url}: HTTP {status}, redirects to {target}, which is not followed; if that is right, "
                "give its address with --endpoint",
                final=True,
            )
        if status in (401, 403):
            reason = "the key is refused"
            if not self.key:
                reason = "a key is needed, expected one in the variable of --key-env"
            return ChatError(f"{self.url}: HTTP {status}, {reason}", final=True)
        message = response.text
        with suppress(ValueError, LookupError, TypeError):
            message = str(parse_json(message)["error"]["message"])
        return ChatError(f"{self.url}: HTTP {status} ({self._without_key(message)})", final=status in FINAL)

    def _without_key(self, text: str) -> str:
        """The first 200 printable characters of a text, in one line, without the key."""
        text = text.replace(self.key, "…") if self.key else text
        return "".join(letter for letter in " ".join(text.split()) if letter.isprintable())[:200]


def _bound_answer(response: Any) -> None:
    """Response hook: read little more than LARGEST_ANSWER bytes of a body, and unpack nothing.

    A compressed body could unpack to any size. None was asked for; one that comes all the same is no JSON.
    """
    response.headers.pop("content-encoding", None)
    chunks = response.iter_bytes

    def bounded() -> Iterator[bytes]:
        size = 0
        for chunk in chunks():
            size += len(chunk)
            yield chunk
            if size > LARGEST_ANSWER:
                response.close()
                return

    response.iter_bytes = bounded


def _is_local(host: str) -> bool:
    """Whether a host is this machine: by its address, as a name such as 127.example.com may be anyone's."""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"
