r"""What a method would teach, without labels: the likeliest traces of the favoured way against the greedy answer.

A policy that was moved to one way of answering says greedily about what its likeliest traces of that way say now. The
samples of a prompt are split in halves, and the likeliest trace of each is taken, by the mean log-probability of its
tokens. Where two such picks, drawn apart, agree with one another more often than with the greedy answer, that way knows
something that greedy decoding does not say. In numbers: let a pick be known with chance a and a guess otherwise, the
greedy answer known with chance g, and let guesses agree as often as answers to different prompts do, C. Then

    P(pick = other pick) = a^2 + (1 - a^2) C,    P(pick = greedy) = a g + (1 - a g) C,

which gives a and g, and the gain in accuracy of a model that answers greedily what these traces say, (a - g)(1 - C).
The reward decides which way that is (`ways`), and nothing else; nothing is fitted. It assumes that what agrees is
known: a wrong answer that every trace of a prompt gives counts as known, and so does the habit of guessing alike.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from inward.diagnose.seen import Seen, SeenGroup
from inward.stats import Statistic, bootstrap
from inward.types import Estimate

LIKELIEST = "mean_logprob"
"""The measure by which a trace is the likeliest of its way; of whole completions the shortest would be."""

SPLITS = 8
"""Random splits of the samples that are averaged over."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How picks agree, prompt by prompt."""

    picks: Float[NDArray[np.float64], "P K"]
    """Share of the picks of a prompt that gave each answer."""
    greedy: Float[NDArray[np.float64], "P K"]
    """1 at the greedy answer; all 0 where there is none."""
    together: Float[NDArray[np.float64], " P"]
    """Share of the splits whose two picks agree."""
    with_greedy: Float[NDArray[np.float64], " P"]
    """Share of the picks that agree with the greedy answer."""


def surest(traces: Sequence[Seen], measure: str) -> str | None:
    """The answer of the surest trace that has one; of equals the first."""
    able = [one for one in traces if one.answer is not None and math.isfinite(one.measures.get(measure, math.nan))]
    return max(able, key=lambda one: one.measures[measure]).answer if able else None


def agreement(groups: Sequence[SeenGroup], measure: str) -> Agreement:
    """Compare the picks of both halves of each split with one another and with the greedy answer."""
    splits = [[_picks(group.samples, measure, split) for split in range(SPLITS)] for group in groups]
    given = [group.greedy.answer for group in groups]
    known = {one for pairs in splits for pair in pairs for one in pair} | set(given)
    index = {answer: k for k, answer in enumerate(sorted(known - {None}, key=str))}
    picks, greedy = np.zeros((len(groups), len(index))), np.zeros((len(groups), len(index)))
    together, with_greedy = np.zeros(len(groups)), np.zeros(len(groups))
    for p, pairs in enumerate(splits):
        for first, second in pairs:
            together[p] += (first is not None and first == second) / SPLITS
            for one in (first, second):
                if one is not None:
                    picks[p, index[one]] += 1 / (2 * SPLITS)
                    with_greedy[p] += (one == given[p]) / (2 * SPLITS)
        if given[p] is not None:
            greedy[p, index[given[p]]] = 1
    return Agreement(picks=picks, greedy=greedy, together=together, with_greedy=with_greedy)


def _picks(samples: Sequence[Seen], measure: str, split: int) -> tuple[str | None, str | None]:
    order = list(samples)
    random.Random(split).shuffle(order)
    half = len(order) // 2
    return surest(order[:half], measure), surest(order[half : 2 * half], measure)


def gain(of: Agreement) -> Estimate:
    """Expected gain in greedy accuracy, a share of prompts; NaN where picks agree no more than chance would have it."""
    return bootstrap(_statistic(of), len(of.together))


def _statistic(of: Agreement) -> Statistic:
    def statistic(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        total, squares = weights.sum(1), weights**2
        chance = chance_of(weights @ of.picks, weights @ of.picks, squares @ (of.picks**2).sum(1), total, squares)
        chance_greedy = chance_of(weights @ of.picks, weights @ of.greedy, squares @ of.with_greedy, total, squares)
        with np.errstate(divide="ignore", invalid="ignore"):
            known = _above(weights @ of.together / total, chance)
            picks = np.sqrt(np.where(known > 0, known, np.nan))
            greedy = np.clip(_above(weights @ of.with_greedy / total, chance_greedy) / picks, 0, 1)
            return (picks - greedy) * (1 - chance)

    return statistic


def chance_of(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    same: NDArray[np.float64],
    total: NDArray[np.float64],
    squares: NDArray[np.float64],
) -> NDArray[np.float64]:
    """How often answers to two different prompts agree: all pairs of prompts without those of a prompt with itself."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return ((first * second).sum(1) - same) / (total**2 - squares.sum(1))


def _above(agreed: NDArray[np.float64], chance: NDArray[np.float64]) -> NDArray[np.float64]:
    return (agreed - chance) / (1 - chance)
