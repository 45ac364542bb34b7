"""Replies of a server kept on disk as they come, so that a killed run asks for none of them again."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import operator
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import final

from inward.parsing import parse_json
from inward.runs.files import append_line
from inward.sample.completions import Reply


@final
class Replies:
    """Verified replies by request, one line of JSON each; may be used from many threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._kept = _read(path)

    def get(self, key: str) -> Reply | None:
        """The reply to a request, where it has come already."""
        return self._kept.get(key)

    def put(self, key: str, reply: Reply) -> None:
        """Keep a reply."""
        with self._lock:
            self._kept[key] = reply
            tops = [list(top.items()) for top in reply.tops]
            append_line(self._path, json.dumps({"key": key, **dataclasses.asdict(reply), "tops": tops}))

    def clear(self) -> None:
        """Forget all of them: what they went into is on disk."""
        with self._lock:
            self._kept.clear()
            self._path.unlink(missing_ok=True)


def key_of(body: Mapping[str, object]) -> str:
    """What tells requests apart."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _read(path: Path) -> dict[str, Reply]:
    """The replies of a file; a line torn by a kill, or edited since, is passed over and asked for anew."""
    found: dict[str, Reply] = {}
    if not path.exists():
        return found
    for line in path.read_bytes().splitlines():
        try:
            one = parse_json(line)
            found[one["key"]] = Reply(
                ids=tuple(map(operator.index, one["ids"])),
                logprob=tuple(map(float, one["logprob"])),
                tops=tuple({operator.index(token): float(value) for token, value in top} for top in one["tops"]),
                stopped=bool(one["stopped"]),
            )
        except (ValueError, LookupError, TypeError, OverflowError):
            continue
    return found
