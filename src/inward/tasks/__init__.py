"""Problems with gold answers, by task name: the only home of gold answers, met by evaluation alone.

A task either makes its problems (`TASKS`) or is a benchmark that is read from a file or the hub (`BENCHMARKS`).
"""

from __future__ import annotations

from collections.abc import Callable

from inward.tasks import arithmetic, choices
from inward.tasks.benchmarks import BENCHMARKS, Benchmark
from inward.types import Problem

__all__ = ["BENCHMARKS", "NAMES", "TASKS", "Benchmark", "answer_settings", "arithmetic", "choices"]

TASKS: dict[str, Callable[..., list[Problem]]] = {
    "arithmetic": arithmetic.problems,
    "arithmetic_choice": choices.problems,
}
"""`TASKS[name](num, seed)` gives `num` test problems, `TASKS[name](num, seed, "train")` ones to train on."""

NAMES = (*TASKS, *BENCHMARKS)
"""Of every task."""

_CHOICE = {"arithmetic_choice": choices.LABELS}


def answer_settings(name: str) -> dict[str, object]:
    """What the answers of a task look like, as settings of `answer`; nothing where the task says nothing of it."""
    if name in _CHOICE:
        return {"kind": "choice", "labels": _CHOICE[name]}
    if name not in BENCHMARKS:
        return {}
    kind, labels = BENCHMARKS[name].kind, BENCHMARKS[name].labels
    return {"kind": kind, "labels": labels} if labels else {"kind": kind}
