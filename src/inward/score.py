"""Traces in, scored traces out: find each final answer and compute every measure.

Signals recorded while sampling are used as they are. Traces from elsewhere get theirs from one forward pass of a
model, which agrees with the recorded ones (a test holds the two to 1e-4 in float32).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence

from inward import answers
from inward.answers import AnswerSettings, FoundAnswer
from inward.batch import collate, span_mask, spread
from inward.confidence import CONFIDENCE
from inward.errors import DataError, SettingsError
from inward.forward import sequence_signals
from inward.models import Policy, evaluating
from inward.types import ScoredGroup, ScoredTrace, Trace, TraceGroup, TraceSignals


def score(
    groups: Iterable[TraceGroup],
    answer: AnswerSettings,
    *,
    confidence: str = "answer_disparity",
    policy: Policy | None = None,
) -> Iterator[ScoredGroup]:
    """Score every trace on every measure.

    Args:
        groups: traces, with or without signals.
        answer: what a final answer looks like.
        confidence: name of the measure that groups are ranked by, a key of `confidence.CONFIDENCE`.
        policy: the model for traces that carry no signals.

    Raises:
        DataError: a trace has no signals and no model was given, or its signals are not numbers.
    """
    check_confidence(confidence)
    for group in groups:
        traces = group.traces
        missing = [trace for trace in traces if trace.signals is None]
        if missing and policy is None:
            raise DataError(
                f"prompt {group.prompt.id}: trace {missing[0].index} has no signals; give a model to score it"
            )
        if missing and policy is not None:
            made = iter(forward_signals(missing, policy))
            traces = tuple(t if t.signals else dataclasses.replace(t, signals=next(made)) for t in traces)
        yield ScoredGroup(prompt=group.prompt, traces=tuple(_score_traces(traces, answer)), confidence=confidence)


def check_confidence(name: str) -> None:
    """Raise SettingsError unless `name` is a measure."""
    if name not in CONFIDENCE:
        raise SettingsError(f"confidence {name!r} is unknown; choose one of {', '.join(CONFIDENCE)}")


def _score_traces(traces: Sequence[Trace], settings: AnswerSettings) -> Iterator[ScoredTrace]:
    signals = collate([trace.signals for trace in traces if trace.signals])
    found = [_answer(trace, settings) for trace in traces]
    spans = [
        answers.token_span(one.chars, trace.token_ends) if one else None
        for trace, one in zip(traces, found, strict=True)
    ]
    mask = span_mask(spans, signals.mask.shape[1])
    measures = {name: measure(signals, mask).tolist() for name, measure in CONFIDENCE.items()}
    for row, (trace, one, span) in enumerate(zip(traces, found, spans, strict=True)):
        values = {name: float(column[row]) for name, column in measures.items()}
        if trace.completion_ids and not all(map(math.isfinite, values.values())):
            bad = ", ".join(name for name, value in values.items() if not math.isfinite(value))
            raise DataError(
                f"prompt {trace.prompt_id}, trace {trace.index}: {bad} is not finite, so {trace.policy} gave NaN or "
                "infinite logits; try model.dtype=float32"
            )
        yield ScoredTrace(
            trace=trace,
            answer=one.answer if one else None,
            answer_chars=one.chars if one else None,
            answer_tokens=span,
            answer_partial=one.partial if one else False,
            measures=values,
        )


def _answer(trace: Trace, settings: AnswerSettings) -> FoundAnswer | None:
    """The answer the model gave when asked, where it was; the one that can be read otherwise."""
    if trace.answer_probe is not None:
        found = answers.locate(trace.answer_probe, trace.completion, settings.kind, settings.labels)
        return None if found and found.partial and not settings.partial else found
    return answers.find(trace.completion, settings.kind, settings.labels, strict=settings.strict)


def forward_signals(traces: Sequence[Trace], policy: Policy) -> list[TraceSignals]:
    """Signals of given traces by one forward pass of `policy`."""
    sequences = [(trace.prompt_ids, trace.completion_ids) for trace in traces]
    with evaluating(policy.model):
        return spread(sequence_signals(policy.model, sequences, policy.pad_id))
