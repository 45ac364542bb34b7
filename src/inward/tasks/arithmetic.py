"""Chains of two to five operations on single digits, worked left to right, the running total kept modulo 10.

`Q:9+4+7-7?` asks for 3: 9+4=3, 3+7=0, 0-7=3. Multiplication binds no tighter than addition. A hash of the
question decides whether it belongs to training or to testing, so the two can never share a question,
whatever the seeds.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from inward.errors import DataError
from inward.types import SECOND_PHRASING, Problem, Prompt

__all__ = [
    "OPERATORS",
    "Chain",
    "Split",
    "apply",
    "chains",
    "problems",
    "prompts",
    "prompts_in_two_phrasings",
    "random_chain",
    "rephrased",
    "split_of",
]

Split = Literal["train", "test"]

OPERATORS = ("+", "-", "*")
MIN_STEPS = 2
MAX_STEPS = 5
_TEST_ONE_IN = 5


def apply(left: int, operator: str, right: int) -> int:
    """Give the last digit of `left operator right`, in 0..9; 0-7 gives 3."""
    match operator:
        case "+":
            return (left + right) % 10
        case "-":
            return (left - right) % 10
        case "*":
            return (left * right) % 10
        case _:
            raise ValueError(f"unknown operator {operator!r}: use one of {', '.join(OPERATORS)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A first digit and the (operator, digit) steps applied to it in turn."""

    start: int
    steps: tuple[tuple[str, int], ...]

    @property
    def answer(self) -> int:
        """The running total after the last step, in 0..9."""
        total = self.start
        for operator, digit in self.steps:
            total = apply(total, operator, digit)
        return total

    @property
    def question(self) -> str:
        """The text a model is asked, up to where its completion begins: `Q:9+4?` and, on a new line, `A:`."""
        operations = "".join(f"{operator}{digit}" for operator, digit in self.steps)
        return f"Q:{self.start}{operations}?\nA:"


def split_of(chain: Chain) -> Split:
    """Give the side of the split a chain is on: one question in five is for testing."""
    return "test" if int(_digest(chain)[:8], 16) % _TEST_ONE_IN == 0 else "train"


def random_chain(rng: random.Random, split: Split) -> Chain:
    """Draw one chain from one side of the split, its number of steps uniform over 2..5."""
    while True:
        num_steps = rng.randint(MIN_STEPS, MAX_STEPS)
        start = rng.randint(0, 9)
        steps = tuple((rng.choice(OPERATORS), rng.randint(0, 9)) for _ in range(num_steps))
        chain = Chain(start=start, steps=steps)
        if split_of(chain) == split:
            return chain


def chains(num: int, seed: int, split: Split) -> list[Chain]:
    """Draw `num` different chains from one side of the split, always the same ones for one seed.

    Raises:
        DataError: `num` is below 1.
    """
    if num < 1:
        raise DataError(f"asked for {num} arithmetic questions: ask for at least 1")
    rng = random.Random(seed)
    found: dict[Chain, None] = {}
    while len(found) < num:
        found[random_chain(rng, split)] = None
    return list(found)


def prompts(num: int, seed: int) -> list[Prompt]:
    """Draw `num` different prompts from the training side, in an order fixed by the seed.

    Raises:
        DataError: `num` is below 1.
    """
    return [problem.prompt for problem in problems(num, seed, "train")]


def problems(num: int, seed: int, split: Split = "test") -> list[Problem]:
    """Draw `num` different problems from one side of the split, in an order fixed by the seed.

    Raises:
        DataError: `num` is below 1.
    """
    return [Problem(prompt=_prompt(chain, split), answer=str(chain.answer)) for chain in chains(num, seed, split)]


def prompts_in_two_phrasings(num: int, seed: int) -> list[Prompt]:
    """The prompts of `prompts`, each followed by the same question in other words, its id ending in `~2`.

    Raises:
        DataError: `num` is below 1.
    """
    asked: list[Prompt] = []
    for chain in chains(num, seed, "train"):
        first, second = _prompt(chain, "train"), rephrased(chain)
        asked += [first, Prompt(id=first.id + SECOND_PHRASING, text=second.question)]
    return asked


def rephrased(chain: Chain) -> Chain:
    """Ask the same in other words, on the same side of the split: the fewest changes that lead there.

    A change is, in this order of preference: the first digit swapped with that of one of the additions, or
    multiplications, the chain begins with; two neighbouring steps swapped that are both multiplications or both none; d
    added in place of 10-d subtracted, or the other way round; a step that changes nothing put in.

    Raises:
        DataError: there is no such chain.
    """
    known, waiting = {chain}, deque([chain])
    while waiting:
        for other in _same_answer(waiting.popleft()):
            if other not in known and split_of(other) == split_of(chain):
                return other
            if other not in known:
                known.add(other)
                waiting.append(other)
    raise DataError(f"{chain.question!r} cannot be asked in other words")


def _same_answer(chain: Chain) -> Iterator[Chain]:
    start, steps = chain.start, chain.steps
    for i, (operator, digit) in enumerate(steps):
        if operator == "-" or operator != steps[0][0]:
            break
        yield Chain(start=digit, steps=(*steps[:i], (operator, start), *steps[i + 1 :]))
    for i, (left, right) in enumerate(itertools.pairwise(steps)):
        if (left[0] == "*") == (right[0] == "*"):
            yield Chain(start=start, steps=(*steps[:i], right, left, *steps[i + 2 :]))
    for i, (operator, digit) in enumerate(steps):
        if operator != "*":
            turned = ("-" if operator == "+" else "+", -digit % 10)
            yield Chain(start=start, steps=(*steps[:i], turned, *steps[i + 1 :]))
    if len(steps) < MAX_STEPS:
        for i, idle in itertools.product(range(len(steps) + 1), (("+", 0), ("-", 0), ("*", 1))):
            yield Chain(start=start, steps=(*steps[:i], idle, *steps[i:]))


def _prompt(chain: Chain, split: Split) -> Prompt:
    return Prompt(id=f"arithmetic-{split}-{_digest(chain)[:12]}", text=chain.question)


def _digest(chain: Chain) -> str:
    return hashlib.sha256(chain.question.encode()).hexdigest()
