"""The targets of `scripts/fuzz`, without atheris: each takes its seeds, and sees a promise that is broken."""

import sys
import tempfile
from collections.abc import Callable
from contextlib import nullcontext
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from inward.equivalence import expressions

ROOT = Path(__file__).parents[2]
TARGETS = ("answers", "equivalence", "config", "shards")


class Provider:
    """What is used of `FuzzedDataProvider`: numbers come from the end of the data, all else from its front."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def ConsumeBytes(self, count: int) -> bytes:
        taken, self.data = self.data[:count], self.data[count:]
        return taken

    def ConsumeUnicode(self, count: int) -> str:
        return self.ConsumeBytes(count).decode(errors="replace")

    def ConsumeIntInRange(self, low: int, high: int) -> int:
        number, self.data = self.data[-1:], self.data[:-1]
        return low + (number[0] % (high - low + 1) if number else 0)

    def ConsumeBool(self) -> bool:
        return bool(self.ConsumeIntInRange(0, 1))


@pytest.fixture
def fuzz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The script, with atheris as far as its targets use it."""
    atheris = SimpleNamespace(FuzzedDataProvider=Provider, instrument_imports=lambda include: nullcontext())
    monkeypatch.setitem(sys.modules, "atheris", atheris)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(expressions, "_compared", expressions._compared)  # put back, since a target replaces it
    monkeypatch.chdir(ROOT)
    spec = spec_from_file_location("fuzz", ROOT / "scripts/fuzz.py")
    assert spec and spec.loader
    script = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "fuzz", script)
    spec.loader.exec_module(script)
    return script


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_takes_its_seeds_and_what_becomes_of_them(fuzz: Any, target: str):
    assert tuple(fuzz.TARGETS) == TARGETS
    one, seeds = fuzz.TARGETS[target]()
    for seed in seeds:
        one(seed)
        one(seed[: len(seed) // 2])
    one(b"")


def no_setting(*given: object) -> None:
    raise KeyError


@pytest.mark.parametrize(
    ("target", "promise", "broken"),
    [
        ("answers", "inward.answers.find", lambda *given, **more: SimpleNamespace(answer="")),
        ("equivalence", "inward.equivalence.same", lambda *given: False),
        ("config", "inward.config.run_config", no_setting),
        ("shards", "inward.runs.shards.checked_count", lambda *given: -1),
    ],
)
def test_a_target_sees_a_broken_promise(
    fuzz: Any, monkeypatch: pytest.MonkeyPatch, target: str, promise: str, broken: Callable[..., object]
):
    monkeypatch.setattr(promise, broken)
    one, seeds = fuzz.TARGETS[target]()
    with pytest.raises((AssertionError, KeyError)):
        for seed in seeds:
            one(seed)


def test_a_whole_file_of_traces_is_damaged_and_not_only_made_up(fuzz: Any, monkeypatch: pytest.MonkeyPatch):
    from inward.runs import shards

    seen: list[int | None] = []
    counted = shards.checked_count

    def count(path: Path, span: tuple[int, int]) -> int | None:
        seen.append(counted(path, span))
        return seen[-1]

    monkeypatch.setattr(shards, "checked_count", count)
    one, _ = fuzz.shards()
    one(b"\0\0")
    assert seen == [3]
