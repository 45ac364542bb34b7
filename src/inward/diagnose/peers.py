"""Support by the other runs, where several runs answered the same prompts: each has one vote.

Runs that train one start model by different methods, or with different seeds, err in different ways, and what they
agree on is more often right. That two trainings of one model agree about as often as they are right is known of
classifiers (Jiang et al., arXiv 2106.13799). Where the start model scatters, its few samples say less.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

from inward.diagnose.choice import Answers, Candidate

MIN_RUNS = 3
"""Fewest runs that elect: with two, each would have the other's vote and the start model's."""


def by_peers(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates with the support of the other runs in place of that of the start model's votes.

    A run votes by the checkpoint that its own rule keeps, the start model by itself; a candidate never has the vote of
    its own run.

    Args:
        candidates: the start model first, all with their answers to the same prompts.
    """
    start, *others = candidates
    ballots = {"": start.answers} | {one.run: start.answers for one in others}
    ballots |= {one.run: one.answers for one in others if one.votes}
    cast = [Counter(given) for given in zip(*ballots.values(), strict=True)]

    def support(one: Candidate) -> list[float]:
        own: Answers = ballots[one.run]
        return [
            0.0 if answer is None else (votes[answer] - (answer == mine)) / (len(ballots) - 1)
            for answer, votes, mine in zip(one.answers, cast, own, strict=True)
        ]

    first = support(start)
    made: list[Candidate] = []
    for one in candidates:
        found = support(one)
        change = tuple(b - a for a, b in zip(first, found, strict=True))
        made.append(dataclasses.replace(one, change=change, support=sum(found) / max(1, len(found))))
    return made
