"""Scored groups in, preference pairs out. Pure: no model, no randomness but the seeded cap."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from inward.errors import NoPairsError, SettingsError
from inward.types import FinishReason, PreferencePair, ScoredGroup, ScoredTrace


@dataclass(frozen=True, kw_only=True)
class PairSettings:
    """Which traces become pairs. Defaults: RLSF's code (all ordered pairs, chosen at least gamma)."""

    rule: Literal["all", "best_worst"] = "all"
    """`all`: every ordered pair of a group. `best_worst`: the n surest against the n least sure, one to one."""
    gamma: float | None = 0.9
    """Least confidence of a chosen trace (RLSF: 0.9); null for none."""
    num_best: int = 4
    """The n of `best_worst`; at most half the group is used."""
    min_gap: float = 0.0
    """A pair needs a confidence difference above this."""
    different_answers: bool = False
    """Leave out pairs whose two answers are the same text."""
    keep_truncated: bool = True
    """Let traces cut at the length limit be chosen (RLSF's code does). They hold no end of sequence, so they do not
    teach the model to stop short, but they reward not finishing."""
    max_pairs_per_prompt: int | None = None
    """Keep the pairs of largest gap."""
    max_pairs: int | None = None
    """Keep a seeded random subset of all pairs."""

    def __post_init__(self) -> None:
        if self.gamma is not None and not -1 <= self.gamma <= 1:
            raise SettingsError(f"gamma must be in [-1, 1], or null for none; got {self.gamma}")
        if self.min_gap < 0:
            raise SettingsError(f"min_gap must be at least 0, got {self.min_gap}")
        for name in ("num_best", "max_pairs_per_prompt", "max_pairs"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SettingsError(f"{name} must be at least 1, got {value}")


def pairs(groups: Iterable[ScoredGroup], settings: PairSettings, *, seed: int) -> list[PreferencePair]:
    """All preference pairs of all groups. Their traces carry no signals: the scored groups keep those.

    Args:
        groups: scored groups, each naming the measure it is ranked by.
        settings: which pairs to keep.
        seed: of the subset kept under `max_pairs`.

    Raises:
        NoPairsError: nothing is left; the message says what share of traces reached gamma and what to change.
    """
    made: list[PreferencePair] = []
    num_traces = num_sure = num_prompts = 0
    surest = -float("inf")
    for group in groups:
        confidences = [_confidence(trace, group) for trace in group.traces]
        num_prompts += 1
        num_traces += len(confidences)
        num_sure += sum(settings.gamma is None or c >= settings.gamma for c in confidences)
        surest = max([surest, *confidences])
        made += _group_pairs(group, settings)
    if not made:
        raise NoPairsError(_why_none(settings, num_prompts, num_traces, num_sure, surest))
    if settings.max_pairs is not None and len(made) > settings.max_pairs:
        kept = sorted(random.Random(seed).sample(range(len(made)), settings.max_pairs))
        made = [made[i] for i in kept]
    return made


def _confidence(trace: ScoredTrace, group: ScoredGroup) -> float:
    return trace.measures[group.confidence]


def _group_pairs(group: ScoredGroup, settings: PairSettings) -> list[PreferencePair]:
    order = sorted(group.traces, key=lambda t: (-_confidence(t, group), t.trace.index))
    made: list[PreferencePair] = []
    for best, worst in _candidates(order, settings):
        gap = _confidence(best, group) - _confidence(worst, group)
        if gap > settings.min_gap and _allowed(best, worst, group, settings):
            made.append(
                PreferencePair(
                    prompt=group.prompt,
                    chosen=dataclasses.replace(best.trace, signals=None),
                    rejected=dataclasses.replace(worst.trace, signals=None),
                    chosen_answer=best.answer,
                    rejected_answer=worst.answer,
                    gap=gap,
                )
            )
    if settings.max_pairs_per_prompt is not None:
        made = sorted(made, key=lambda pair: -pair.gap)[: settings.max_pairs_per_prompt]
    return made


def _candidates(order: Sequence[ScoredTrace], settings: PairSettings) -> Iterator[tuple[ScoredTrace, ScoredTrace]]:
    if settings.rule == "best_worst":
        for k in range(min(settings.num_best, len(order) // 2)):
            yield order[k], order[-1 - k]
    else:
        for i, best in enumerate(order):
            for worst in order[i + 1 :]:
                yield best, worst


def _allowed(best: ScoredTrace, worst: ScoredTrace, group: ScoredGroup, settings: PairSettings) -> bool:
    if settings.gamma is not None and _confidence(best, group) < settings.gamma:
        return False
    if not settings.keep_truncated and best.trace.finish_reason is FinishReason.LENGTH:
        return False
    if settings.different_answers and best.answer == worst.answer:
        return False
    return best.trace.completion_ids != worst.trace.completion_ids


def _why_none(settings: PairSettings, num_prompts: int, num_traces: int, num_sure: int, surest: float) -> str:
    if not num_traces:
        return "there are no traces to rank; sample some first"
    share = f"{num_sure} of {num_traces} traces ({num_sure / num_traces:.1%}) of {num_prompts} prompts"
    threshold = "have a confidence" if settings.gamma is None else f"reach gamma = {settings.gamma:g}"
    return (
        f"no preference pair is left: {share} {threshold}, the surest has {surest:.3f}. Lower pairs.gamma, "
        "sample more traces (sampling.group_size, sampling.num_branches), check that answer.kind fits the answers, "
        "or, where completions are cut at the length limit, raise sampling.max_completion_tokens"
    )
