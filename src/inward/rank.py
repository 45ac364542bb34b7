"""Scored groups in, preference pairs or the surest traces out. Pure: no model, no randomness but the seeded."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from inward.equivalence import canonical
from inward.errors import NoPairsError, SettingsError
from inward.types import AnswerKind, FinishReason, PreferencePair, ScoredGroup, ScoredTrace, Trace


@dataclass(frozen=True, kw_only=True)
class PairSettings:
    """Which traces become pairs. Defaults: RLSF's code (all ordered pairs, chosen at least gamma)."""

    source: Literal["confidence", "majority", "random"] = "confidence"
    """What ranks the traces of a group; the last two are baselines, as label-free as the first. `majority`: the share
    of the group that gives the same answer, and only traces whose answer no other outnumbers are chosen; `gamma`,
    `min_gap` and the gap are of these shares. `random`: a seeded number; a group gives as many pairs as its confidences
    would."""
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
        if self.source == "majority" and self.different_answers:
            raise SettingsError("different_answers does nothing with source=majority, whose pairs always differ in it")


def pairs(
    groups: Iterable[ScoredGroup], settings: PairSettings, *, seed: int, kind: AnswerKind = "auto"
) -> list[PreferencePair]:
    """All preference pairs of all groups. Their traces carry no signals: the scored groups keep those.

    Args:
        groups: scored groups, each naming the measure it is ranked by.
        settings: which pairs to keep.
        seed: of the subset kept under `max_pairs`, of the source `random`, and of ties of the source `majority`.
        kind: how answers are compared for the source `majority`.

    Raises:
        NoPairsError: nothing is left; the message says what share of traces reached gamma and what to change.
    """
    groups = groups if settings.max_pairs is None else list(groups)
    return list(each_pair(groups, settings, seed=seed, kind=kind))


def each_pair(
    groups: Iterable[ScoredGroup], settings: PairSettings, *, seed: int, kind: AnswerKind = "auto"
) -> Iterator[PreferencePair]:
    """The pairs of `pairs`, one after the other: no more than a group and its pairs are held.

    Arguments and errors are those of `pairs`; under `max_pairs` the groups are gone through twice, the first time to
    count the pairs.
    """
    made = _each(groups, settings, seed, kind)
    if settings.max_pairs is None:
        yield from made
        return
    num = sum(1 for _ in made)
    kept = {*random.Random(seed).sample(range(num), min(num, settings.max_pairs))}
    yield from (pair for i, pair in enumerate(_each(groups, settings, seed, kind)) if i in kept)


def _each(
    groups: Iterable[ScoredGroup], settings: PairSettings, seed: int, kind: AnswerKind
) -> Iterator[PreferencePair]:
    num_pairs = num_traces = num_sure = num_prompts = 0
    surest = -float("inf")
    for group in groups:
        values = _values(group, "majority" if settings.source == "majority" else "confidence", kind)
        num_prompts += 1
        num_traces += len(values)
        num_sure += sum(settings.gamma is None or value >= settings.gamma for value in values.values())
        surest = max([surest, *values.values()])
        # Of each group its own, so that one group more or less changes no other's.
        rng = random.Random(f"{seed}:{group.prompt.id}")
        rule = _random_pairs if settings.source == "random" else _group_pairs
        made = rule(group, values, settings, rng)
        num_pairs += len(made)
        yield from made
    if not num_pairs:
        raise NoPairsError(_why_none(settings, num_prompts, num_traces, num_sure, surest))


def surest(
    groups: Iterable[ScoredGroup], settings: PairSettings, *, num: int, seed: int, kind: AnswerKind = "auto"
) -> list[Trace]:
    """The `num` surest traces of every group, no completion twice, without their signals: what one may tune on.

    Args:
        groups: scored groups, each naming the measure it is ranked by.
        settings: `source` ranks, `gamma` is the least that a trace needs, and `keep_truncated` lets cut ones in; the
            rest is about pairs.
        num: most traces of a group.
        seed: of the source `random`, and of ties of the source `majority`.
        kind: how answers are compared for the source `majority`.

    Raises:
        NoPairsError: no trace is left.
    """
    return list(each_surest(groups, settings, num=num, seed=seed, kind=kind))


def each_surest(
    groups: Iterable[ScoredGroup], settings: PairSettings, *, num: int, seed: int, kind: AnswerKind = "auto"
) -> Iterator[Trace]:
    """The traces of `surest`, with its arguments and errors, one after the other: no more than a group is held."""
    num_left = 0
    for group in groups:
        rng = random.Random(f"{seed}:{group.prompt.id}")
        values = _values(group, "majority" if settings.source == "majority" else "confidence", kind)
        taken: dict[tuple[int, ...], Trace] = {}
        for one in _order(group, _drawn(group, rng) if settings.source == "random" else values, settings, rng):
            cut = not settings.keep_truncated and one.trace.finish_reason is FinishReason.LENGTH
            if not cut and (settings.gamma is None or values[one.trace.index] >= settings.gamma):
                taken.setdefault(one.trace.completion_ids, dataclasses.replace(one.trace, signals=None))
        num_left += len(taken)
        yield from list(taken.values())[:num]
    if not num_left:
        raise NoPairsError(
            "no trace is left to tune on: none reaches pairs.gamma, or all are cut at the length limit; lower "
            "pairs.gamma, or raise sampling.max_completion_tokens"
        )


Values = Mapping[int, float]
"""What ranks the traces of a group, by their index."""


def _values(group: ScoredGroup, source: Literal["confidence", "majority"], kind: AnswerKind) -> Values:
    if source == "confidence":
        return {one.trace.index: one.measures[group.confidence] for one in group.traces}
    answers = [None if one.answer is None else canonical(one.answer, kind) for one in group.traces]
    votes = Counter(answer for answer in answers if answer is not None)
    return {
        one.trace.index: 0.0 if answer is None else votes[answer] / len(answers)
        for one, answer in zip(group.traces, answers, strict=True)
    }


def _drawn(group: ScoredGroup, rng: random.Random) -> Values:
    return {one.trace.index: rng.random() for one in group.traces}


def _order(group: ScoredGroup, values: Values, settings: PairSettings, rng: random.Random) -> list[ScoredTrace]:
    """The surest first. Confidences hardly ever tie; votes do, and by index branches would stand behind samples."""
    ties = _drawn(group, rng) if settings.source == "majority" else {one.trace.index: 0.0 for one in group.traces}
    return sorted(group.traces, key=lambda t: (-values[t.trace.index], ties[t.trace.index], t.trace.index))


def _group_pairs(
    group: ScoredGroup, values: Values, settings: PairSettings, rng: random.Random
) -> list[PreferencePair]:
    made = [
        _pair(group, best, worst, gap)
        for best, worst in _candidates(_order(group, values, settings, rng), settings)
        if (gap := values[best.trace.index] - values[worst.trace.index]) > settings.min_gap
        and (settings.gamma is None or values[best.trace.index] >= settings.gamma)
        and (settings.source != "majority" or values[best.trace.index] == max(values.values()))
        and _allowed(best, worst, settings)
    ]
    if settings.max_pairs_per_prompt is not None:
        made = sorted(made, key=lambda pair: -pair.gap)[: settings.max_pairs_per_prompt]
    return made


def _random_pairs(
    group: ScoredGroup, values: Values, settings: PairSettings, rng: random.Random
) -> list[PreferencePair]:
    """As many pairs as the confidences of the group would give, of a random order of its traces."""
    num = len(_group_pairs(group, values, settings, rng))
    drawn = _drawn(group, rng)
    order = sorted(group.traces, key=lambda t: -drawn[t.trace.index])
    found = [
        _pair(group, best, worst, drawn[best.trace.index] - drawn[worst.trace.index])
        for i, best in enumerate(order)
        for worst in order[i + 1 :]
        if _allowed(best, worst, settings)
    ]
    return [found[i] for i in sorted(rng.sample(range(len(found)), min(num, len(found))))]


def _pair(group: ScoredGroup, best: ScoredTrace, worst: ScoredTrace, gap: float) -> PreferencePair:
    return PreferencePair(
        prompt=group.prompt,
        chosen=dataclasses.replace(best.trace, signals=None),
        rejected=dataclasses.replace(worst.trace, signals=None),
        chosen_answer=best.answer,
        rejected_answer=worst.answer,
        gap=gap,
    )


def _candidates(order: Sequence[ScoredTrace], settings: PairSettings) -> Iterator[tuple[ScoredTrace, ScoredTrace]]:
    if settings.rule == "best_worst":
        for k in range(min(settings.num_best, len(order) // 2)):
            yield order[k], order[-1 - k]
    else:
        for i, best in enumerate(order):
            for worst in order[i + 1 :]:
                yield best, worst


def _allowed(best: ScoredTrace, worst: ScoredTrace, settings: PairSettings) -> bool:
    if not settings.keep_truncated and best.trace.finish_reason is FinishReason.LENGTH:
        return False
    if settings.different_answers and best.answer == worst.answer:
        return False
    return best.trace.completion_ids != worst.trace.completion_ids


def _why_none(settings: PairSettings, num_prompts: int, num_traces: int, num_sure: int, surest: float) -> str:
    if not num_traces:
        return "there are no traces to rank; sample some first"
    share = f"{num_sure} of {num_traces} traces ({num_sure / num_traces:.1%}) of {num_prompts} prompts"
    what = "share of votes" if settings.source == "majority" else "confidence"
    threshold = f"have a {what}" if settings.gamma is None else f"reach gamma = {settings.gamma:g} as their {what}"
    return (
        f"no preference pair is left: {share} {threshold}, the surest has {surest:.3f}. Lower pairs.gamma, "
        "sample more traces (sampling.group_size, sampling.num_branches), check that answer.kind fits the answers, "
        "or, where completions are cut at the length limit, raise sampling.max_completion_tokens"
    )
