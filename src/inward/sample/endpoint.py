"""Completions endpoints over HTTP: retries with backoff, bounded concurrency, and health, over one or many of them.

The standard library's client carries this: a request is one connection, no redirect is followed (it would carry the key
elsewhere) and no proxy is used. The key comes from an environment variable and is held in memory alone.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import socket
import ssl
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar, final
from urllib.parse import urlsplit

from inward.errors import ServerError, SettingsError
from inward.parsing import parse_json
from inward.settings import ServerSettings

T = TypeVar("T")

SICK = 3
"""Failures in a row after which an endpoint is set aside."""
AWAY_SECONDS = 30.0
"""How long it is, where another can serve."""
LONGEST_PAUSE = 60.0
"""Seconds between two attempts at one request, at most; a `Retry-After` may be longer."""
CONNECT_SECONDS = 10.0
"""For a connection to be made."""
MAX_BYTES = 64 * 2**20
"""Of a reply."""
AGAIN = (408, 425, 429)
"""Refusals that pass; every 5xx does, too."""


def read_key(settings: ServerSettings) -> str | None:
    """The key from its environment variable.

    Raises:
        SettingsError: The variable is not set, or holds what no header can carry.
    """
    name = settings.api_key_env
    if name is None:
        return None
    key = os.environ.get(name, "").strip()
    if not key:
        raise SettingsError(f"server.api_key_env: the environment variable {name} is not set; put the key there")
    if not re.fullmatch(r"[!-~]+", key):
        raise SettingsError(f"server.api_key_env: {name} holds spaces or characters beyond ASCII, which no key has")
    return key


class Unreadable(Exception):
    """A reply that is not what was asked for; the message names the field."""


class _Failed(Exception):
    """An attempt that may go well the next time."""

    def __init__(self, reason: str, *, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.pause = pause


@dataclass(slots=True, kw_only=True)
class _Endpoint:
    url: str
    model: str | None
    busy: int = 0
    failures: int = 0
    """In a row."""
    proven: bool = False
    """Whether it has given a reply that could be read."""
    rest_until: float = 0.0
    """It said itself, by `Retry-After`, when to come again."""
    aside_until: float = 0.0
    error: str = ""


@final
class Endpoints:
    """The endpoints of one run; may be used from many threads. Close it to cut what is under way."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._key = read_key(settings)
        self._all = [_Endpoint(url=url.rstrip("/"), model=settings.model) for url in settings.endpoints]
        self._changed = threading.Condition()
        self._closed = threading.Event()
        self._cause: ServerError | None = None
        self._live: set[socket.socket] = set()

    def close(self) -> None:
        """Stop: requests under way are cut, and those that wait give up."""
        self._closed.set()
        with self._changed:
            for one in self._live:
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            self._changed.notify_all()

    def post(self, body: Mapping[str, object], read: Callable[[Any], T]) -> T:
        """Send a completion request until a reply comes that can be read.

        Args:
            body: the request, without the model's name.
            read: what is wanted of the reply's JSON; raises `Unreadable` where it is not as asked for.

        Raises:
            ServerError: Every attempt failed, or an endpoint refused the request or gave a reply of another schema.
                It closes the endpoints, so that no thread sends more of what cannot go well.
        """
        try:
            return self._post(body, read)
        except ServerError as error:
            self._cause = self._cause or error
            self.close()
            raise

    def _post(self, body: Mapping[str, object], read: Callable[[Any], T]) -> T:
        for attempt in range(self._settings.retries + 1):
            with self._turn() as endpoint:
                try:
                    value = read(self._complete(endpoint, body))
                except _Failed as error:
                    self._note_failure(endpoint, str(error), error.pause)
                except Unreadable as error:
                    if not endpoint.proven:
                        raise ServerError(f"{endpoint.url}: {error}") from None
                    self._note_failure(endpoint, str(error), 0.0)
                else:
                    endpoint.failures, endpoint.aside_until, endpoint.proven = 0, 0.0, True
                    return value
            if attempt < self._settings.retries:
                self._pause(attempt)
        raise ServerError(self._why())

    def _pause(self, attempt: int) -> None:
        longest = min(self._settings.backoff_seconds * 2.0**attempt, LONGEST_PAUSE)
        self._closed.wait(longest * random.uniform(0.5, 1.0))

    @contextmanager
    def _turn(self) -> Iterator[_Endpoint]:
        """The least busy of the healthy endpoints, once it has room."""
        with self._changed:
            while (endpoint := self._free()) is None:
                ends = [max(one.rest_until, one.aside_until) - time.monotonic() for one in self._all]
                self._changed.wait(min((end for end in ends if end > 0), default=None))
            endpoint.busy += 1
        try:
            yield endpoint
        finally:
            with self._changed:
                endpoint.busy -= 1
                self._changed.notify_all()

    def _free(self) -> _Endpoint | None:
        if self._closed.is_set():
            raise self._cause or ServerError("stopped")
        now = time.monotonic()
        awake = [one for one in self._all if one.rest_until <= now]
        # Where all are set aside, they are all that there is.
        able = [one for one in awake if one.aside_until <= now] or awake
        free = [one for one in able if one.busy < self._settings.concurrency]
        return min(free, key=lambda one: (one.busy, one.failures), default=None)

    def _note_failure(self, endpoint: _Endpoint, reason: str, pause: float) -> None:
        with self._changed:
            now = time.monotonic()
            endpoint.error = reason
            endpoint.failures += 1
            if pause > 0:
                endpoint.rest_until = now + min(pause, self._settings.timeout_seconds)
            others = any(one.failures < SICK for one in self._all if one is not endpoint)
            if endpoint.failures >= SICK:
                endpoint.aside_until = now + AWAY_SECONDS
        if endpoint.failures == SICK and others and not self._closed.is_set():
            warnings.warn(f"{endpoint.url} keeps failing ({reason}) and is set aside; others serve", stacklevel=3)

    def _why(self) -> str:
        each = "; ".join(f"{one.url}: {one.error}" for one in self._all if one.error)
        attempts = self._settings.retries + 1
        return (
            f"a request failed {attempts} times (server.retries={self._settings.retries}): {each}. What was sampled is "
            "kept: mend the endpoints, or name others with --endpoint, and run the same command again to go on"
        )

    def _complete(self, endpoint: _Endpoint, body: Mapping[str, object]) -> Any:
        if endpoint.model is None:
            endpoint.model = self._only_model(endpoint)
        return self._call(endpoint, "POST", "/completions", {"model": endpoint.model, **body})

    def _only_model(self, endpoint: _Endpoint) -> str:
        listed = self._call(endpoint, "GET", "/models", None)
        try:
            names = [str(one["id"]) for one in listed["data"]]
        except (KeyError, TypeError):
            raise Unreadable("the reply to /models has no data[].id; set server.model") from None
        if len(names) != 1:
            shown = ", ".join(names[:8]) or "no model"
            raise ServerError(f"{endpoint.url} lists {shown}; name the one that is the start model in server.model")
        return names[0]

    def _call(self, endpoint: _Endpoint, method: str, path: str, body: Mapping[str, object] | None) -> Any:
        headers = {"Accept": "application/json", "Connection": "close"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        data = None if body is None else json.dumps(body, allow_nan=False).encode()
        status, retry_after, content = self._exchange(endpoint, method, path, data, headers)
        if status in AGAIN or status >= 500:
            raise _Failed(f"HTTP {status}{self._said(content)}", pause=_seconds(retry_after))
        if not 200 <= status < 300:
            raise ServerError(
                f"{endpoint.url} refused the request: HTTP {status}{self._said(content)}; {_advice(status)}"
            )
        try:
            return parse_json(content)
        except ValueError:
            raise Unreadable(f"the reply to {path} is no JSON; is this an OpenAI-compatible endpoint?") from None

    def _exchange(
        self, endpoint: _Endpoint, method: str, path: str, data: bytes | None, headers: Mapping[str, str]
    ) -> tuple[int, str | None, bytes]:
        parts, limit = urlsplit(endpoint.url), self._settings.timeout_seconds
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "", parts.port, timeout=min(limit, CONNECT_SECONDS))
        end = time.monotonic() + limit
        try:
            link = _connected(connection)
            link.settimeout(limit)
            with self._watched(link):
                connection.request(method, parts.path + path, body=data, headers=dict(headers))
                response = connection.getresponse()
                return response.status, response.getheader("Retry-After"), _read(response, link, end)
        except TimeoutError:
            raise _Failed(f"no whole reply within {limit:g} s (server.timeout_seconds)") from None
        except ssl.SSLCertVerificationError as error:
            raise ServerError(f"{endpoint.url}: its certificate is not trusted: {error.verify_message}") from None
        except http.client.HTTPException as error:
            raise _Failed(f"the connection was cut ({type(error).__name__})") from None
        except OSError as error:
            raise _Failed(f"no connection: {error.strerror or error}") from None
        finally:
            connection.close()

    @contextmanager
    def _watched(self, one: socket.socket) -> Iterator[None]:
        with self._changed:
            if self._closed.is_set():
                raise _Failed("stopped")
            self._live.add(one)
        try:
            yield
        finally:
            with self._changed:
                self._live.discard(one)

    def _said(self, content: bytes) -> str:
        """What the server says of an error, in one line, without the key."""
        text = content[:4096].decode("utf-8", errors="replace")
        with suppress(ValueError, AttributeError):
            found = parse_json(content)
            error = found.get("error") or found
            text = str(error.get("message") or error.get("detail") or text) if isinstance(error, dict) else str(error)
        line = " ".join(text.split())
        if self._key is not None:
            line = line.replace(self._key, "***")
        return f": {line[:300]}" if line else ""


def _connected(connection: http.client.HTTPConnection) -> socket.socket:
    try:
        connection.connect()
    except TimeoutError:
        raise _Failed(f"no connection within {connection.timeout:g} s") from None
    return connection.sock


def _read(response: http.client.HTTPResponse, link: socket.socket, end: float) -> bytes:
    """The body, up to a moment: a server that sends a byte now and then would never time out otherwise."""
    parts: list[bytes] = []
    size = 0
    while True:
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        link.settimeout(left)
        part = response.read1(2**16)
        if not part:
            break
        parts.append(part)
        size += len(part)
        if size > MAX_BYTES:
            raise Unreadable(f"the reply is longer than {MAX_BYTES // 2**20} MiB; is this a completions endpoint?")
    if response.length:
        raise http.client.IncompleteRead(b"", response.length)
    return b"".join(parts)


def _seconds(retry_after: str | None) -> float:
    """Of a `Retry-After`, which is a number of seconds or a date."""
    if retry_after is None:
        return 0.0
    with suppress(ValueError):
        return max(float(retry_after), 0.0)
    with suppress(ValueError, TypeError):
        return max((parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds(), 0.0)
    return 0.0


def _advice(status: int) -> str:
    if status in (401, 403):
        return "name the environment variable that holds the key in server.api_key_env"
    if status == 404:
        return "an address mostly ends in /v1, and server.model must be a name that the server lists"
    if 300 <= status < 400:
        return "give the address that it redirects to"
    return (
        "the server must take token ids as prompts, prompt and sampling.max_completion_tokens must fit its context, "
        "and its limit of log-probabilities (vLLM: --max-logprobs) must be above sampling.num_branches"
    )
