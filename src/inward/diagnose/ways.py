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
    cut = boundary([one.length for group in groups for one in group.samples])
    moved = [row for group in groups if cut is not None and (row := _moved(group, measure, cut)) is not None]
    if cut is None or not moved:
        nothing = Estimate(value=math.nan, low=math.nan, high=math.nan, n=0)
        return Way(groups=list(groups), push=nothing, share=_share(groups, groups))
    push = bootstrap(mean_by_cluster(np.array(moved), np.arange(len(moved)), len(moved)), len(moved))
    if push.low <= 0 <= push.high:
        return Way(groups=list(groups), push=push, share=_share(groups, groups))
    long = push.value > 0
    kept = [
        SeenGroup(greedy=group.greedy, samples=tuple(one for one in group.samples if (one.length > cut) == long))
        for group in groups
    ]
    return Way(groups=[group for group in kept if len(group.samples) > 1], push=push, share=_share(kept, groups))


def _share(kept: Sequence[SeenGroup], groups: Sequence[SeenGroup]) -> Estimate:
    parts, wholes = (np.array([float(len(one.samples)) for one in some]) for some in (kept, groups))
    return bootstrap(ratio(parts, wholes), len(groups))


def _moved(group: SeenGroup, measure: str, cut: float) -> float | None:
    """Change of the share of long traces of one prompt; None where a reward is not known."""
    rewards = [one.measures.get(measure, math.nan) for one in group.samples]
    if len(rewards) < 2 or not all(map(math.isfinite, rewards)):
        return None
    pulled = zip(advantages(rewards), group.samples, strict=True)
    return sum(advantage for advantage, one in pulled if one.length > cut) / len(rewards)
