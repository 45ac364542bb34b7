"""A small HTTP server in the schema of vLLM's completions endpoint, with a real model behind it and faults on demand.

It decodes without a cache, one request after the other, by code of its own: nothing of `inward.sample` is used.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch

Fault = str | None
"""`500`, `429` and other codes, `slow`, `drip`, `cut`, `refuse`, or `schema:WHAT`; see `_Handler`."""

NO_JSON = {"schema:html": b"<html>", "schema:deep": b"[" * 100_000}
"""What is sent in place of a reply."""


@dataclass
class Served:
    """The state of a running server; tests read it and set its faults."""

    model: Any
    tokenizer: Any
    eos_ids: Sequence[int]
    names: list[str]
    key: str | None = None
    texts: bool = False
    """Answer in SGLang's way: texts in `logprobs`, ids in `token_ids`."""
    fault: Callable[[int, dict[str, Any]], Fault] = lambda number, request: None
    """Given the number of the request, from 0, and the request itself."""
    retry_after: str = "0"
    seconds: float = 0.0
    """Of the faults `slow` and `drip`, and before every reply where `delay` is set."""
    delay: float = 0.0
    requests: list[dict[str, Any]] = field(default_factory=list)
    answered: list[dict[str, Any]] = field(default_factory=list)
    """Requests whose reply was sent whole."""
    most_at_once: int = 0
    at_once: int = 0
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)
    thinking: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def serve(folder: Path, **given: Any) -> Iterator[Served]:
    """Serve a model on a free port of this machine."""
    from inward import models
    from inward.models import ModelSettings

    policy = models.load(folder, ModelSettings(device="cpu"))
    served = Served(policy.model, policy.tokenizer, policy.eos_ids, ["the-model"], **given)
    handler = type("Handler", (_Handler,), {"served": served})
    server = _Server(("127.0.0.1", 0), handler)
    served.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that has gone: what is on stderr is the command's."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    served: Served
    inside = False

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            self._send(200, {"object": "list", "data": [{"id": name} for name in self.served.names]})
        else:
            self._send(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        served = self.served
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        if len(body) < length:
            return  # the client has gone
        request = json.loads(body)
        self.inside = True
        with served.lock:
            number = len(served.requests)
            served.requests.append(request)
            served.at_once += 1
            served.most_at_once = max(served.most_at_once, served.at_once)
        try:
            with suppress(ConnectionError):
                self._answer(served.fault(number, request), request)
        finally:
            self._leave()

    def _leave(self) -> None:
        """Count the request as answered: before the reply goes out, upon which the next one may come at once."""
        with self.served.lock:
            self.served.at_once -= self.inside
            self.inside = False

    def _answer(self, fault: Fault, request: dict[str, Any]) -> None:
        served = self.served
        time.sleep(served.delay)
        if served.key is not None and self.headers.get("Authorization") != f"Bearer {served.key}":
            self._send(401, {"error": {"message": f"bad key {self.headers.get('Authorization')}", "code": 401}})
        elif self.path != "/v1/completions" or request["model"] not in served.names:
            self._send(404, {"error": {"message": f"no model {request['model']} at {self.path}"}})
        elif fault and fault.isdigit():
            self._send(int(fault), {"error": {"message": "as the test wants"}})
        elif fault == "refuse":
            self.connection.shutdown(socket.SHUT_RDWR)
        elif fault == "slow":
            time.sleep(served.seconds)
        else:
            self._reply(fault, request)

    def _reply(self, fault: Fault, request: dict[str, Any]) -> None:
        served = self.served
        with served.thinking:
            payload = completion(served, request)
        if fault and fault.startswith("schema:"):
            spoil(payload, fault.removeprefix("schema:"))
        self._leave()
        data = NO_JSON.get(fault or "") or json.dumps(payload).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if fault == "cut":
            self.wfile.write(data[: len(data) // 2])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        if fault == "drip":
            for byte in data:
                self.wfile.write(bytes([byte]))
                time.sleep(served.seconds)
        self.wfile.write(data)
        with served.lock:
            served.answered.append(request)

    def _send(self, status: int, payload: dict[str, Any]) -> None:
        self._leave()
        data = json.dumps(payload).encode()
        self.send_response(status)
        if status == 429:
            self.send_header("Retry-After", self.served.retry_after)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@torch.no_grad()
def completion(served: Served, request: dict[str, Any]) -> dict[str, Any]:
    """The reply to a request: greedy at temperature 0, otherwise drawn from the seed."""
    ids, prompt = [], request["prompt"]
    generator = torch.Generator().manual_seed(request.get("seed", 0))
    values, tops = [], []
    while len(ids) < request["max_tokens"]:
        logits = served.model(torch.tensor([[*prompt, *ids]])).logits[0, -1].float()
        logprobs = logits.log_softmax(-1)
        if request["temperature"] == 0:
            token = int(logits.argmax())
        else:
            token = int(torch.multinomial((logits / request["temperature"]).softmax(-1), 1, generator=generator))
        ids.append(token)
        values.append(float(logprobs[token]))
        tops.append([token, *logprobs.topk(request["logprobs"]).indices.tolist()])
        tops[-1] = {one: float(logprobs[one]) for one in tops[-1]}
        if token in request["stop_token_ids"]:
            break
    return _payload(served, request, ids, values, tops)


def _payload(
    served: Served, request: dict[str, Any], ids: list[int], values: list[float], tops: list[dict[int, float]]
) -> dict[str, Any]:
    def name(token: int) -> str:
        return served.tokenizer.decode([token]) if served.texts else f"token_id:{token}"

    stopped = ids[-1] in request["stop_token_ids"]
    choice = {
        "index": 0,
        "text": served.tokenizer.decode(ids, skip_special_tokens=True),
        "token_ids": ids,
        "prompt_token_ids": request["prompt"],
        "logprobs": {
            "tokens": [name(token) for token in ids],
            "token_logprobs": values,
            "top_logprobs": [{name(token): value for token, value in top.items()} for top in tops],
            "text_offset": [0] * len(ids),
        },
        "finish_reason": "stop" if stopped else "length",
        "stop_reason": None,
    }
    usage = {"prompt_tokens": len(request["prompt"]), "completion_tokens": len(ids)}
    return {"id": "cmpl-1", "object": "text_completion", "model": request["model"], "choices": [choice], "usage": usage}


def spoil(payload: dict[str, Any], what: str) -> None:
    """Change one thing of a reply: remove a field given by its path, or as `SPOILS` names it."""
    if what in SPOILS:
        SPOILS[what](payload["choices"][0], payload)
    elif f"schema:{what}" not in NO_JSON:
        *path, last = what.split(".")
        table: Any = payload
        for part in path:
            table = table[int(part)] if part.isdigit() else table[part]
        del table[last]


def _text_tokens(choice: dict[str, Any], payload: dict[str, Any]) -> None:
    choice["logprobs"]["tokens"][0] = "7"
    del choice["token_ids"]


def _one_token_less(choice: dict[str, Any], payload: dict[str, Any]) -> None:
    choice["logprobs"]["tokens"].pop()


def _beyond_the_vocabulary(choice: dict[str, Any], payload: dict[str, Any]) -> None:
    choice["logprobs"]["tokens"][0] = "token_id:99999"
    choice["token_ids"][0] = 99999


def _another_id(choice: dict[str, Any], payload: dict[str, Any]) -> None:
    choice["token_ids"][0] += 1


def _positive(choice: dict[str, Any], payload: dict[str, Any]) -> None:
    choice["logprobs"]["token_logprobs"][0] = 0.5


def _aborted(choice: dict[str, Any], payload: dict[str, Any]) -> None:
    choice["finish_reason"] = "abort"


def _other_prompt(choice: dict[str, Any], payload: dict[str, Any]) -> None:
    choice["prompt_token_ids"] = [1, *choice["prompt_token_ids"]]


def _prompt_counted_otherwise(choice: dict[str, Any], payload: dict[str, Any]) -> None:
    del choice["prompt_token_ids"]
    payload["usage"]["prompt_tokens"] += 1


def _one_top(choice: dict[str, Any], payload: dict[str, Any]) -> None:
    tops = choice["logprobs"]["top_logprobs"]
    tops[0] = dict(list(tops[0].items())[:1])


def _stopped_elsewhere(choice: dict[str, Any], payload: dict[str, Any]) -> None:
    choice["finish_reason"], choice["stop_reason"] = "stop", "\n"


SPOILS: dict[str, Callable[[dict[str, Any], dict[str, Any]], None]] = {
    "text tokens": _text_tokens,
    "one token less": _one_token_less,
    "beyond the vocabulary": _beyond_the_vocabulary,
    "another id": _another_id,
    "positive": _positive,
    "aborted": _aborted,
    "other prompt": _other_prompt,
    "prompt counted otherwise": _prompt_counted_otherwise,
    "one top": _one_top,
    "stopped elsewhere": _stopped_elsewhere,
}
