r"""The chains of `arithmetic` as multiple choice: four different digits to choose from, one of them the answer.

`Q:9+4+7-7?\n3=A 7=B 9=C 1=D\nA:` asks for A. As a problem or a prompt, a chain has one set of options, which its own
text decides. It stands on the side of the split on which it stands in `arithmetic`, so that no question is for
training here and for testing there.
"""

from __future__ import annotations

import hashlib
import random

from inward.tasks import arithmetic
from inward.tasks.arithmetic import Chain, Split
from inward.types import Choice, Problem, Prompt

__all__ = ["LABELS", "options", "problems", "prompts", "question"]

LABELS = ("A", "B", "C", "D")


def options(chain: Chain, rng: random.Random) -> tuple[int, ...]:
    """Draw the digits behind the labels, in their order: the answer and three others."""
    others = [digit for digit in range(10) if digit != chain.answer]
    digits = [chain.answer, *rng.sample(others, len(LABELS) - 1)]
    rng.shuffle(digits)
    return tuple(digits)


def question(chain: Chain, digits: tuple[int, ...]) -> str:
    """Give the text a model is asked, up to where its completion begins."""
    listed = " ".join(f"{digit}={label}" for label, digit in zip(LABELS, digits, strict=True))
    asked, _, begin = chain.question.rpartition("\n")
    return f"{asked}\n{listed}\n{begin}"


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
    return [_problem(chain, split) for chain in arithmetic.chains(num, seed, split)]


def _problem(chain: Chain, split: Split) -> Problem:
    digits = options(chain, random.Random(chain.question))
    text = question(chain, digits)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return Problem(
        prompt=Prompt(id=f"arithmetic_choice-{split}-{digest}", text=text, labels=LABELS),
        answer=LABELS[digits.index(chain.answer)],
        choices=tuple(Choice(label=label, text=str(d)) for label, d in zip(LABELS, digits, strict=True)),
    )
