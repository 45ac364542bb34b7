"""What a training shows of itself, step by step and without labels: numbers from the traces it samples anyway.

A `Sight` is what is kept of one trace. Sights of all processes are gathered before `monitors` sums them up, so that
groups which span processes count as one.
"""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

NGRAM = 4
"""Tokens in a row that must repeat to count as repetition."""

TRANSITIONS = (
    *("let me check", "let me verify", "double-check", "on second thought", "alternatively", "actually", "perhaps"),
    *("however", "suppose", "instead", "assume", "unless", "maybe", "wait", "hmm", "but"),
)
"""Transitional words. Those the RLIF paper names (but, wait, suppose, let me check), and a common list for the rest,
since the paper's whole list is not known. Counts are kept by word, so that another list can be applied."""

_TRANSITION = re.compile(r"\b(?:" + "|".join(map(re.escape, TRANSITIONS)) + r")\b", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """One trace of a training step."""

    group: str
    """Id of its prompt."""
    reward: float | None
    """None where it could not be scored."""
    answer: str | None
    """In the form that equal answers share; None where there is none."""
    entropy: float
    """Mean over its tokens, nats."""
    self_certainty: float
    mean_logprob: float
    length: int
    """Completion tokens."""
    truncated: bool
    repetition: float
    words: int
    transitions: Mapping[str, int] = field(default_factory=dict)
    """Occurrences by transitional word; words that do not occur are left out."""
    kl: float | None = None
    """Estimated KL divergence from the start model, nats per token; None where it was not measured."""


def repetition(ids: Sequence[int]) -> float:
    """Share of the token 4-grams that occurred before in the same completion; 0 for fewer than two of them."""
    grams = [tuple(ids[start : start + NGRAM]) for start in range(len(ids) - NGRAM + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


def transitions(text: str) -> dict[str, int]:
    """Count transitional words, whatever their case; a phrase counts once, and its words not again."""
    return dict(Counter(match.lower() for match in _TRANSITION.findall(text)))


def count_words(text: str) -> int:
    """Count runs of letters, inner apostrophes and hyphens included; numbers are no words."""
    return len(_WORD.findall(text))


def monitors(sights: Sequence[Sight]) -> dict[str, float]:
    """Sum up the traces of one step; see docs/metrics.md for every key.

    What no trace defines (the reward's spread without groups, an unmeasured KL) is NaN.
    """
    groups: dict[str, list[Sight]] = {}
    for sight in sights:
        groups.setdefault(sight.group, []).append(sight)
    written = [sight for sight in sights if sight.length]
    tokens = sum(sight.length for sight in written)
    rewards = [sight.reward for sight in sights if sight.reward is not None]
    answered = Counter(sight.answer for sight in sights if sight.answer is not None)
    votes = [Counter(one.answer for one in group if one.answer is not None) for group in groups.values()]
    measured = [(sight.kl, sight.length) for sight in written if sight.kl is not None]
    words = sum(sight.words for sight in sights)
    return {
        "entropy": _ratio(sum(sight.entropy * sight.length for sight in written), tokens),
        "self_certainty": _mean(sight.self_certainty for sight in written),
        "neg_entropy": _mean(-sight.entropy for sight in written),
        "mean_logprob": _mean(sight.mean_logprob for sight in written),
        "reward": _mean(rewards),
        "reward_std": _mean(_spreads(groups.values())),
        "answer_rate": _ratio(answered.total(), len(sights)),
        "agreement": _mean(max(v.values(), default=0) / len(g) for v, g in zip(votes, groups.values(), strict=True)),
        "distinct_answers": _mean(len(vote) for vote in votes),
        "top_answer_share": _ratio(max(answered.values(), default=0), answered.total()),
        "repetition": _mean(sight.repetition for sight in sights),
        "length": _mean(sight.length for sight in sights),
        "truncated_rate": _mean(sight.truncated for sight in sights),
        "transitional_ratio": _ratio(sum(sum(sight.transitions.values()) for sight in sights), words),
        "kl": _ratio(sum(kl * length for kl, length in measured), sum(length for _, length in measured)),
        "traces": float(len(sights)),
    }


def transitional_words(sights: Iterable[Sight]) -> dict[str, int]:
    """Occurrences by transitional word over the traces of one step, with all words counted under `words`."""
    total: Counter[str] = Counter()
    for sight in sights:
        total.update(sight.transitions)
        total["words"] += sight.words
    return dict(total)


def _spreads(groups: Iterable[Sequence[Sight]]) -> Iterable[float]:
    for group in groups:
        rewards = [sight.reward for sight in group if sight.reward is not None]
        if len(rewards) > 1:
            yield statistics.stdev(rewards)


def _mean(values: Iterable[int | float]) -> float:
    listed = list(values)
    return _ratio(sum(listed), len(listed))


def _ratio(numerator: int | float, denominator: int | float) -> float:
    return numerator / denominator if denominator else math.nan
