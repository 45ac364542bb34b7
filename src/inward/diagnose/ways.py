"""The way of answering that a reward favours: long traces or short ones, told apart by the lengths themselves.

A model that can answer in two ways, by working and by a guess, learns from the first steps which of them pays, on all
prompts at once. What it will say after training is then what the traces of that way say, however few they are now.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from inward.diagnose.pushes import advantages
from inward.diagnose.seen import SeenGroup
from inward.stats import bootstrap, mean_by_cluster, ratio
from inward.types import Estimate


def boundary(lengths: Sequence[int]) -> float | None:
    """The length above which traces are long: where log lengths fall into two groups with the least variance within.

    None where all lengths are equal. (Otsu 1979, on log(1 + length).)
    """
    known = np.sort(np.log1p(np.array(lengths, float)))
    cuts = [int(cut) for cut in np.flatnonzero(np.diff(known)) + 1]
    if not cuts:
        return None
    best = min(cuts, key=lambda cut: float(known[:cut].var() * cut + known[cut:].var() * (known.size - cut)))
    return float(np.expm1((known[best - 1] + known[best]) / 2))


@dataclass(frozen=True, kw_only=True)
class Way:
    """The way of answering that a small step makes likelier."""

    groups: list[SeenGroup]
    """Reduced to its traces, those with two of them or more; whole where no way is favoured."""
    push: Estimate
    """Change of the share of long traces per unit step, as `pushes` has it; NaN where there is one way only."""
    share: Estimate
    """Of the samples, those of this way."""


def favoured(groups: Sequence[SeenGroup], measure: str) -> Way:
    """Find the way that a reward favours: none where the interval of the push holds 0."""
    cut, push = leaning(
        [[one.length for one in group.samples] for group in groups],
        [[one.measures.get(measure, math.nan) for one in group.samples] for group in groups],
    )
    if cut is None or not _decided(push):
        return Way(groups=list(groups), push=push, share=_share(groups, groups))
    long = push.value > 0
    kept = [
        SeenGroup(greedy=group.greedy, samples=tuple(one for one in group.samples if (one.length > cut) == long))
        for group in groups
    ]
    return Way(groups=[group for group in kept if len(group.samples) > 1], push=push, share=_share(kept, groups))


def voters(lengths: Sequence[Sequence[int]], sure: Sequence[Sequence[float]]) -> list[list[bool]]:
    """Which samples speak for what a model knows: those of the way in which it is surer of its answers.

    A model that guesses out of habit agrees with its guesses. Where its own confidence favours the other way of
    answering, that way's traces vote, and the habit does not. All vote where confidence favours neither.

    Args:
        lengths: [P, G] completion tokens of the samples of each prompt.
        sure: [P, G] how sure the model is of each answer; prompts with a number that is not known are passed over.
    """
    cut, push = leaning(lengths, sure)
    if cut is None or not _decided(push):
        return [[True] * len(row) for row in lengths]
    return [[(length > cut) == (push.value > 0) for length in row] for row in lengths]


def leaning(lengths: Sequence[Sequence[int]], rewards: Sequence[Sequence[float]]) -> tuple[float | None, Estimate]:
    """The length that tells long traces from short ones, and the change of the share of long ones per unit step."""
    cut = boundary([length for row in lengths for length in row])
    rows = zip(lengths, rewards, strict=True)
    moved = [row for one in rows if cut is not None and (row := _moved(*one, cut)) is not None]
    if not moved:
        return cut, Estimate(value=math.nan, low=math.nan, high=math.nan, n=0)
    return cut, bootstrap(mean_by_cluster(np.array(moved), np.arange(len(moved)), len(moved)), len(moved))


def _decided(push: Estimate) -> bool:
    return push.low > 0 or push.high < 0


def _share(kept: Sequence[SeenGroup], groups: Sequence[SeenGroup]) -> Estimate:
    parts, wholes = (np.array([float(len(one.samples)) for one in some]) for some in (kept, groups))
    return bootstrap(ratio(parts, wholes), len(groups))


def _moved(lengths: Sequence[int], rewards: Sequence[float], cut: float) -> float | None:
    """Change of the share of long traces of one prompt; None where a reward is not known."""
    if len(rewards) < 2 or not all(map(math.isfinite, rewards)):
        return None
    pulled = zip(advantages(rewards), lengths, strict=True)
    return sum(advantage for advantage, length in pulled if length > cut) / len(rewards)
