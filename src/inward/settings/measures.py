"""What confidence measures are called, so that settings can be checked without torch."""

from __future__ import annotations

from inward.errors import SettingsError
from inward.types import AnswerKind

CERTAINTIES = ("self_certainty", "neg_entropy", "mean_logprob")
"""The keys of `confidence.CERTAINTY`: measures of a whole completion, which need no answer span."""

MEASURES = ("answer_disparity", "answer_probability", "mean_logprob", "neg_entropy", "self_certainty")
"""The keys of `confidence.CONFIDENCE`, as far as they are ours."""

OPTION_MEASURES = ("option_disparity", "option_probability")
"""The keys of `confidence.OPTION_CONFIDENCE`: measures of a multiple-choice answer."""

FULL_DISTRIBUTION = ("neg_entropy", "self_certainty")
"""Measures that need the probability of every token of the vocabulary, not only of the most probable ones."""


def check_confidence(name: str, kind: AnswerKind = "auto") -> None:
    """Raise SettingsError unless `name` is a measure, and one that answers of this kind can have."""
    known = (*MEASURES, *OPTION_MEASURES)
    if name not in known:
        from inward.confidence import CONFIDENCE  # which may hold more by now than ours

        known = (*CONFIDENCE, *OPTION_MEASURES)
    if name not in known:
        raise SettingsError(f"confidence {name!r} is unknown; choose one of {', '.join(known)}")
    if name in OPTION_MEASURES and kind not in ("choice", "auto"):
        raise SettingsError(
            f"confidence {name} compares options, and answers of kind {kind} have none; set answer.kind=choice, or "
            "confidence=answer_disparity"
        )
