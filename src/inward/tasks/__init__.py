"""Problems with gold answers, by task name: the only home of gold answers, met by evaluation alone."""

from __future__ import annotations

from collections.abc import Callable

from inward.tasks import arithmetic
from inward.types import Problem

__all__ = ["TASKS", "arithmetic"]

TASKS: dict[str, Callable[[int, int], list[Problem]]] = {"arithmetic": arithmetic.problems}
"""`TASKS[name](num, seed)` gives `num` test problems."""
