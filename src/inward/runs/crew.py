"""The processes that work on one run: the first of them leads and alone writes its folder, the others help it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, final

Input = TypeVar("Input")
R = TypeVar("R")


def _own(value: Any) -> Any:
    return value


def _only(values: list[Any]) -> list[list[Any]]:
    return [values]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Crew:
    """Several processes, or one alone. Every process makes the same calls in the same order."""

    rank: int = 0
    size: int = 1
    told: Callable[[Any], Any] = _own
    """What the leader gave to the same call; the argument of the others is not read."""
    gathered: Callable[[list[Any]], list[list[Any]]] = _only
    """For the leader: the lists of all processes, by rank; nothing for the others."""

    @property
    def leads(self) -> bool:
        """Whether this process leads."""
        return self.rank == 0

    def agree(self, make: Callable[[], R]) -> R:
        """What the leader makes; the others make nothing and wait for it."""
        return self.told(make() if self.leads else None)

    def share(self, inputs: Sequence[Input], make: Callable[[Sequence[Input]], Iterable[R]]) -> list[R]:
        """What all processes make of the inputs, each of its share, in the order of the inputs; [] but for the leader.

        Args:
            inputs: The same in every process.
            make: Gives the records of a slice of the inputs; not called with none.
        """
        ends = [len(inputs) * rank // self.size for rank in range(self.size + 1)]
        own = inputs[ends[self.rank] : ends[self.rank + 1]]
        return [record for made in self.gathered([*make(own)] if own else []) for record in made]


ALONE = Crew()
