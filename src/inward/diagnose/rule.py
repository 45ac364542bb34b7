"""When is the gain over, and which checkpoint to keep: a decision without labels.

Training on certainty can only sharpen what the start model already knows, and what it knows shows in its votes. So
before training it answers a few of the training prompts several times; each checkpoint answers the same prompts, and
its *support* is the share of the start model's votes that its answers have, averaged over its greedy answer and its
samples. Which of the start model's traces vote says `ways.voters`. While training sharpens, support rises: answers that
were likely become more likely. Once the policy gives answers for which the start model hardly voted, nothing it knew
speaks for them, and support falls, whatever the reward does. A reward that brings knowledge from outside, such as gold
answers, may leave the votes behind and be right.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from inward.errors import SettingsError

ABSTAINED = "the start model's votes hold no answer that a checkpoint gives, so the rule abstains; the last is kept"


@dataclass(frozen=True, kw_only=True)
class StopSettings:
    """The label-free stop."""

    action: Literal["stop", "mark"] = "stop"
    """`stop` ends the training where the rule fires; `mark` goes on and keeps the same checkpoint."""
    prompts: int = 128
    """Training prompts that every checkpoint answers."""
    start_samples: int = 16
    """Votes of the start model per prompt."""
    samples: int = 4
    """Samples of a checkpoint per prompt, beside its greedy answer."""
    batch_rows: int = 256
    """Traces decoded at once; changes speed and memory only."""
    fall: float = 3.0
    """Standard errors (paired, over prompts) that support must lie below its best for the rule to fire."""

    def __post_init__(self) -> None:
        for name in ("prompts", "start_samples", "samples", "batch_rows"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.fall > 0:
            raise SettingsError(f"fall must be above 0, got {self.fall}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What one checkpoint answered to the prompts of the probe."""

    step: int
    support: tuple[float, ...]
    """[P] share of the start model's votes, mean of greedy and sampled answers; prompts in a fixed order. Empty where
    there were no votes."""
    metrics: Mapping[str, float]
    """Label-free numbers of its traces, keyed as the monitors are."""
    answers: tuple[str | None, ...] = ()
    """[P] its greedy answers, in the form that equal answers share; empty where they were not kept."""

    @property
    def mean(self) -> float:
        """Mean support over prompts; NaN without any."""
        return statistics.fmean(self.support) if self.support else math.nan


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Which checkpoint to keep, and whether training should have stopped."""

    kept_step: int
    stop_step: int | None
    """None where the rule did not fire."""
    stop_reason: str
    """In words; also where it did not fire."""


def support(
    start_votes: Sequence[Mapping[str, int]], greedy: Sequence[str | None], samples: Sequence[Sequence[str | None]]
) -> tuple[float, ...]:
    """Share of the start model's votes for a checkpoint's answers, prompt by prompt.

    An answer that is None or empty has no support.

    Args:
        start_votes: [P] votes of the start model by answer; what had no answer is under the empty text.
        greedy: [P] greedy answers of the checkpoint, in the form that equal answers share.
        samples: [P, k] sampled answers; k = 0 for the greedy answers alone.

    Returns:
        [P] mean of the greedy answer's share and the mean share of the samples, in [0, 1].
    """
    supports: list[float] = []
    for votes, one, several in zip(start_votes, greedy, samples, strict=True):
        total = sum(votes.values())

        def share(answer: str | None, votes: Mapping[str, int] = votes, total: int = total) -> float:
            return votes.get(answer, 0) / total if answer and total else 0.0

        sampled = statistics.fmean(map(share, several)) if several else share(one)
        supports.append((share(one) + sampled) / 2)
    return tuple(supports)


def votes(answers: Sequence[str | None]) -> dict[str, int]:
    """Count answers; those without one count under the empty text, so that shares are of all samples."""
    return dict(Counter(answer if answer is not None else "" for answer in answers))


def decide(probes: Sequence[Probe], settings: StopSettings) -> Decision:
    """Choose among the checkpoints probed so far, the start model (step 0) included.

    The rule fires at the first checkpoint whose support lies below the best one before it by more than
    `settings.fall` standard errors of the paired difference. Kept is the checkpoint of highest support up to there, the
    earliest on ties. A single prompt has no standard error, so on it the rule never fires.
    """
    ordered = sorted(probes, key=lambda probe: probe.step)
    if not any(value > 0 for probe in ordered for value in probe.support):
        last = ordered[-1].step if ordered else 0
        return Decision(kept_step=last, stop_step=None, stop_reason=ABSTAINED)
    best = ordered[0]
    for probe in ordered[1:]:
        change, error = paired_change(best.support, probe.support)
        if change < -settings.fall * error:
            reason = (
                f"at step {probe.step} the start model's votes support the answers less than at step {best.step}: "
                f"{probe.mean:.3f} against {best.mean:.3f}, {change:+.3f} with a standard error of {error:.3f}"
            )
            return Decision(kept_step=best.step, stop_step=probe.step, stop_reason=reason)
        best = max(best, probe, key=lambda one: one.mean)
    reason = f"support has not fallen clearly below its best, {best.mean:.3f} at step {best.step}"
    return Decision(kept_step=best.step, stop_step=None, stop_reason=reason)


def paired_change(before: Sequence[float], after: Sequence[float]) -> tuple[float, float]:
    """Mean difference over prompts, and its standard error; that of a single prompt is NaN."""
    changes = [b - a for a, b in zip(before, after, strict=True)]
    error = statistics.stdev(changes) / math.sqrt(len(changes)) if len(changes) > 1 else math.nan
    return statistics.fmean(changes), error
