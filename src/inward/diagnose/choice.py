"""Which checkpoint, method or mix to keep among several runs, without labels, and how sure that is.

The criterion is that of `rule`: what a checkpoint's answers have of the start model's votes, against what the start
model's own answers have. Runs are compared where they share the start model. Checkpoints from the one on at which the
stop rule fires are out. Among those that cannot be told from the best, the votes of the other runs decide where several
runs answered the same prompts (`peers`). Where even so the best cannot be told from an earlier checkpoint of its run,
or from the start model, the earlier one is kept: nothing speaks for more training.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from inward.types import Estimate

NUM_RESAMPLES = 4000

Draws = Float[NDArray[np.float64], " R"]
Answers = tuple[str | None, ...]
Voters = Literal["start model", "other runs"]
Place = tuple[str, float]
"""Names a candidate: its run, and its position in it."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One checkpoint of a run."""

    run: str
    """Name of the run; empty for the start model."""
    label: str
    """As `step 20`, `ratio 0.5` or `start model`."""
    position: float
    """How far from the start model in its run: optimizer steps, or the ratio of a mix; 0 for the start model."""
    asked: str
    """Which prompts it answered: candidates with the same are compared prompt by prompt."""
    change: tuple[float, ...]
    """[P] its support minus the start model's."""
    support: float
    """Mean over prompts."""
    stopped: bool = False
    """Whether the stop rule fired at it, or before."""
    answers: Answers = ()
    """[P] its greedy answers, in the form that equal answers share; empty where they are not known."""
    votes: bool = False
    """Whether it is the checkpoint that its own run's rule keeps, by which the run votes on others."""

    @property
    def place(self) -> Place:
        """Its run and position."""
        return self.run, self.position


@dataclass(frozen=True, kw_only=True)
class Weighed:
    """A candidate and what the bootstrap over prompts says of it."""

    candidate: Candidate
    change: Estimate
    """Of its support against the start model's."""
    probability_best: float
    """Share of the resamples in which no other has more support."""
    separable: bool
    """Whether the best one is better by more than chance: the interval of the difference leaves 0 out."""
    out: bool
    """Whether it may not be kept: the stop rule fired, or it is none of those that are chosen `among`."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What to keep."""

    kept: Weighed
    best: Weighed
    """Of the highest support; `kept` may be an earlier one that cannot be told from it."""
    weighed: tuple[Weighed, ...]
    abstains: bool
    """Whether no candidate has any support, the start model included: then nothing can be said."""
    reason: str

    @property
    def tied(self) -> list[Weighed]:
        """The best, and what cannot be told from it."""
        return [one for one in self.weighed if not (one.separable or one.out)]


def choose(
    candidates: Sequence[Candidate],
    *,
    voters: Voters = "start model",
    among: Collection[Place] | None = None,
    seed: int = 0,
) -> Choice:
    """Weigh candidates, the start model first.

    Args:
        candidates: at least the start model, whose change is 0 on every prompt.
        voters: whose votes their support is made of.
        among: which of them may be kept; all that the stop rule leaves where None.
        seed: of the bootstrap; candidates with the same prompts meet the same resamples.
    """
    draws = _draws(candidates, seed)
    able = [i for i, one in enumerate(candidates) if not one.stopped and (among is None or one.place in among)]
    means = [float(np.mean(one.change)) if one.change else 0.0 for one in candidates]
    top = max(able, key=lambda i: means[i])
    most = np.max([draws[i] for i in able], axis=0)
    weighed = [
        Weighed(
            candidate=one,
            change=_estimate(one, draws[i]),
            probability_best=float(np.mean(draws[i] >= most)) if i in able else 0.0,
            separable=i != top and float(np.percentile(draws[top] - draws[i], 2.5)) > 0,
            out=i not in able,
        )
        for i, one in enumerate(candidates)
    ]
    best = weighed[top]
    kept = _earliest(weighed, able, best)
    abstains = not any(one.support > 0 for one in candidates)
    return Choice(
        kept=kept,
        best=best,
        weighed=tuple(weighed),
        abstains=abstains,
        reason=_reason(kept, best, weighed, voters if not abstains else None),
    )


def _draws(candidates: Sequence[Candidate], seed: int) -> list[Draws]:
    """Mean change of each candidate in every resample of its prompts."""
    weights: dict[str, NDArray[np.float64]] = {}
    made: list[Draws] = []
    for one in candidates:
        size = len(one.change)
        if one.asked not in weights and size:
            rng = np.random.default_rng([seed, len(weights)])
            weights[one.asked] = rng.multinomial(size, np.full(size, 1 / size), NUM_RESAMPLES) / size
        made.append(weights[one.asked] @ np.array(one.change) if size else np.zeros(NUM_RESAMPLES))
    return made


def _estimate(one: Candidate, draws: Draws) -> Estimate:
    low, high = np.percentile(draws, [2.5, 97.5])
    value = float(np.mean(one.change)) if one.change else 0.0
    return Estimate(value=value, low=min(float(low), value), high=max(float(high), value), n=len(one.change))


def _earliest(weighed: Sequence[Weighed], able: Sequence[int], best: Weighed) -> Weighed:
    """The best, or before it in its run, or the start model, the first that cannot be told from it."""
    alike = [
        weighed[i] for i in able if not weighed[i].separable and weighed[i].candidate.run in ("", best.candidate.run)
    ]
    return min(alike, key=lambda one: abs(one.candidate.position))


def _reason(kept: Weighed, best: Weighed, weighed: Sequence[Weighed], voters: Voters | None) -> str:
    if voters is None:
        return "the votes hold no answer that a checkpoint gives, so nothing can be said"
    if len(weighed) == 1:
        return "there is no checkpoint beside the start model"
    name, change = name_of(best.candidate), best.change
    by = " by the other runs" if voters == "other runs" else ""
    if any(one.out and not one.candidate.stopped for one in weighed):
        by += " among what the start model's votes cannot tell apart"
    most = f"{name} has the highest support{by}, {best.candidate.support:.3f}"
    if best.candidate.run:
        most += f", {change.value:+.3f} [{change.low:+.3f}, {change.high:+.3f}] against the start model"
    if kept is best:
        return most
    return f"{most}; no difference to {name_of(kept.candidate)} can be told, so the earlier one is kept"


def name_of(one: Candidate) -> str:
    """As `step 20 of runs/a`."""
    return f"{one.label} of {one.run}" if one.run else one.label
