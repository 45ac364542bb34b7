"""Traces in, scored traces out: find each final answer and compute every measure.

Signals recorded while sampling are used as they are; where a server sent top log-probabilities alone, the measures of
the full distribution are left out. Traces from elsewhere get theirs from one forward pass of a model, which agrees with
the recorded ones (a test holds the two to 1e-4 in float32). The measures of options take one more forward pass, since
no signal keeps the probabilities of the options that were not chosen.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from inward import answers
from inward.answers import AnswerSettings, FoundAnswer
from inward.batch import SIGNALS, collate, span_mask
from inward.confidence import CONFIDENCE
from inward.errors import DataError, SettingsError
from inward.settings.measures import FULL_DISTRIBUTION, OPTION_MEASURES, check_confidence
from inward.types import ScoredGroup, ScoredTrace, Trace, TraceGroup, TraceSignals

if TYPE_CHECKING:
    from inward.models import Policy


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
        confidence: name of the measure that groups are ranked by, a key of `confidence.CONFIDENCE`, or of
            `confidence.OPTION_CONFIDENCE` where answers are choices.
        policy: the model that wrote the traces: for those that carry no signals, and for the measures of options, which
            choices get where it is given.

    Raises:
        SettingsError: the confidence is unknown, or is one of options and there is no model, or no choice.
        DataError: a trace has no signals and no model was given, its signals are not numbers or not one for each token,
            or the confidence is one of options and the prompt has none.
        ModelError: the tokenizer has no token that writes some label, and options are to be compared.
    """
    check_confidence(confidence, answer.kind)
    ranks_options = confidence in OPTION_MEASURES
    if ranks_options and policy is None:
        raise SettingsError(
            f"{confidence} needs the distribution over the options: give the model that wrote the traces"
        )
    for group in groups:
        traces, own = group.traces, answer.for_prompt(group.prompt)
        if ranks_options and own.kind != "choice":
            raise DataError(
                f"prompt {group.prompt.id}: {confidence} compares options, and none are known; give the row "
                "`choices`, or set answer.kind=choice and answer.labels"
            )
        missing = [trace for trace in traces if trace.signals is None]
        if missing and policy is None:
            raise DataError(
                f"prompt {group.prompt.id}: trace {missing[0].index} has no signals; give a model to score it"
            )
        if missing and policy is not None:
            from inward.score.by_model import forward_signals

            made = iter(forward_signals(missing, policy))
            traces = tuple(t if t.signals else dataclasses.replace(t, signals=next(made)) for t in traces)
        scored = list(_score_traces(traces, own))
        if policy is not None and own.kind == "choice":
            from inward.score.by_model import with_options

            scored = with_options(scored, own.labels, policy, required=ranks_options)
        yield ScoredGroup(prompt=group.prompt, traces=tuple(scored), confidence=confidence)


def _score_traces(traces: Sequence[Trace], settings: AnswerSettings) -> Iterator[ScoredTrace]:
    for trace in traces:
        if trace.signals and any(len(getattr(trace.signals, name)) != len(trace.completion_ids) for name in SIGNALS):
            raise DataError(
                f"prompt {trace.prompt_id}, trace {trace.index}: its signals are not one for each of its "
                f"{len(trace.completion_ids)} tokens; sample it again"
            )
    signals = collate([trace.signals for trace in traces if trace.signals])
    found = [_answer(trace, settings) for trace in traces]
    spans = [
        answers.token_span(one.chars, trace.token_ends) if one else None
        for trace, one in zip(traces, found, strict=True)
    ]
    mask = span_mask(spans, signals.mask.shape[1])
    measures = {name: measure(signals, mask).tolist() for name, measure in CONFIDENCE.items()}
    for row, (trace, one, span) in enumerate(zip(traces, found, spans, strict=True)):
        partial = trace.signals is not None and _is_partial(trace.signals)
        values = {
            name: float(column[row]) for name, column in measures.items() if not (partial and name in FULL_DISTRIBUTION)
        }
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


def _is_partial(signals: TraceSignals) -> bool:
    """Whether only top log-probabilities are known: a server sends no more. NaN logits leave no logprob either."""
    unknown = (*signals.entropy, *signals.self_certainty)
    return bool(unknown) and all(map(math.isnan, unknown)) and all(map(math.isfinite, signals.logprob))


def _answer(trace: Trace, settings: AnswerSettings) -> FoundAnswer | None:
    """The answer the model gave when asked, where it was; the one that can be read otherwise."""
    if trace.answer_probe is not None:
        found = answers.locate(trace.answer_probe, trace.completion, settings.kind, settings.labels)
        if found and found.partial:
            return found if settings.partial else None
    else:
        found = answers.find(trace.completion, settings.kind, settings.labels, strict=settings.strict)
    if found and settings.occurrence == "first":
        return answers.earliest(found, trace.completion, settings.kind)
    return found
