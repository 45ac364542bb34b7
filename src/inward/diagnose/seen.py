"""What a probe keeps of the traces of an untrained model: no text, no signals, no labels."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from inward import answers
from inward.answers import AnswerSettings
from inward.diagnose.monitors import repetition
from inward.equivalence import canonical
from inward.equivalence.votes import majority_share, vote_share
from inward.types import FinishReason, ScoredGroup, ScoredTrace

SEQUENCE = "sequence_probability"
"""exp of the log-probability of the whole completion: RLSC's weight."""

VOTES = {"majority_vote": majority_share, "soft_vote": vote_share}
"""Measures that the samples of a prompt give each other, and how."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One trace."""

    answer: str | None
    """In the form that equal answers share; None where there is none."""
    announced: bool
    """Whether the answer is announced: `####`, a box, "answer is"."""
    length: int
    """Completion tokens."""
    finish: FinishReason
    repetition: float
    entropy: float
    """Sum over its tokens, nats; NaN where it is not known."""
    logprob: float
    """Of the whole completion, nats."""
    measures: dict[str, float]
    """What may rank or reward it: the confidence measures, `SEQUENCE`, and of samples `VOTES`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenGroup:
    """The traces of one prompt."""

    greedy: Seen
    samples: tuple[Seen, ...]

    @property
    def votes(self) -> Counter[str]:
        """Samples by answer."""
        return Counter(one.answer for one in self.samples if one.answer is not None)

    @property
    def voted(self) -> str | None:
        """The answer of most samples, the one given first on ties; None where no two samples agree."""
        votes = self.votes
        top = max(votes, key=lambda answer: votes[answer], default=None)
        return top if top is not None and votes[top] > 1 else None


def look(groups: Iterable[ScoredGroup], answer: AnswerSettings) -> list[SeenGroup]:
    """Keep what a probe needs of scored groups, each a greedy trace and then samples."""
    return [_group(group, answer.for_prompt(group.prompt)) for group in groups]


def _group(group: ScoredGroup, own: AnswerSettings) -> SeenGroup:
    greedy, *samples = (_seen(trace, own) for trace in group.traces)
    return SeenGroup(greedy=greedy, samples=voted(samples))


def voted(samples: Sequence[Seen]) -> tuple[Seen, ...]:
    """The samples with what their answers are worth by the votes of these samples, and of no others."""
    votes = Counter(one.answer for one in samples)
    return tuple(
        dataclasses.replace(
            one, measures=one.measures | {name: worth(votes, one.answer) for name, worth in VOTES.items()}
        )
        for one in samples
    )


def _seen(scored: ScoredTrace, own: AnswerSettings) -> Seen:
    trace, signals = scored.trace, scored.trace.signals
    logprob = math.fsum(signals.logprob) if signals else math.nan
    return Seen(
        answer=None if scored.answer is None else canonical(scored.answer, own.kind),
        announced=answers.find(trace.completion, own.kind, own.labels, strict=True) is not None,
        length=len(trace.completion_ids),
        finish=trace.finish_reason,
        repetition=repetition(trace.completion_ids),
        entropy=math.fsum(signals.entropy) if signals else math.nan,
        logprob=logprob,
        measures={**scored.measures, SEQUENCE: math.exp(logprob) if signals else math.nan},
    )


def share(flags: Sequence[bool]) -> float:
    """Share of flags that are set; NaN without any."""
    return sum(flags) / len(flags) if flags else math.nan
