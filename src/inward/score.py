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
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from inward import answers
from inward.answers import AnswerSettings, FoundAnswer
from inward.batch import collate, span_mask, spread
from inward.confidence import CONFIDENCE, FULL_DISTRIBUTION, OPTION_CONFIDENCE
from inward.errors import DataError, ModelError, SettingsError
from inward.forward import sequence_signals, span_states
from inward.models import Policy, evaluating
from inward.signals import head_logits
from inward.types import AnswerKind, ScoredGroup, ScoredTrace, Span, Trace, TraceGroup, TraceSignals

BEFORE_LABEL = " \t\r\n([{*_`\"'“$:"
AFTER_LABEL = " \t\r\n)]}*_`\"'”$.,"
"""What a token may write beside a label and still stand for it: `(A`, ` A.` and `**A` are all option A."""


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
        DataError: a trace has no signals and no model was given, its signals are not numbers, or the confidence is one
            of options and the prompt has none.
        ModelError: the tokenizer has no token that writes some label, and options are to be compared.
    """
    check_confidence(confidence, answer.kind)
    ranks_options = confidence in OPTION_CONFIDENCE
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
            made = iter(forward_signals(missing, policy))
            traces = tuple(t if t.signals else dataclasses.replace(t, signals=next(made)) for t in traces)
        scored = list(_score_traces(traces, own))
        if policy is not None and own.kind == "choice":
            scored = _with_options(scored, own.labels, policy, required=ranks_options)
        yield ScoredGroup(prompt=group.prompt, traces=tuple(scored), confidence=confidence)


def check_confidence(name: str, kind: AnswerKind = "auto") -> None:
    """Raise SettingsError unless `name` is a measure, and one that answers of this kind can have."""
    known = (*CONFIDENCE, *OPTION_CONFIDENCE)
    if name not in known:
        raise SettingsError(f"confidence {name!r} is unknown; choose one of {', '.join(known)}")
    if name in OPTION_CONFIDENCE and kind not in ("choice", "auto"):
        raise SettingsError(
            f"confidence {name} compares options, and answers of kind {kind} have none; set answer.kind=choice, or "
            "confidence=answer_disparity"
        )


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


def forward_signals(traces: Sequence[Trace], policy: Policy) -> list[TraceSignals]:
    """Signals of given traces by one forward pass of `policy`."""
    sequences = [(trace.prompt_ids, trace.completion_ids) for trace in traces]
    with evaluating(policy.model):
        return spread(sequence_signals(policy.model, sequences, policy.pad_id))


def _with_options(
    scored: Sequence[ScoredTrace], labels: Sequence[str], policy: Policy, *, required: bool
) -> list[ScoredTrace]:
    """Add the measures of options; not where the tokenizer cannot write a label and nothing is ranked by them."""
    ids = label_ids(policy.tokenizer, tuple(labels))
    unwritten = [label for label, one in zip(labels, ids, strict=True) if not one]
    if unwritten and required:
        raise ModelError(
            f"no single token of {policy.name} writes the label {unwritten[0]!r}; set confidence=answer_disparity"
        )
    if unwritten:
        return list(scored)
    answered = [row for row, trace in enumerate(scored) if trace.answer_tokens]
    # A trace without a span keeps mass 0 on every option, and thus gets 0 for both measures.
    mass, chosen = torch.zeros(len(scored), len(labels)), torch.zeros(len(scored), dtype=torch.long)
    if answered:
        mass[answered] = option_mass([scored[row] for row in answered], ids, policy)
        chosen[answered] = torch.tensor([labels.index(scored[row].answer or "") for row in answered])
    columns = {name: measure(mass, chosen).tolist() for name, measure in OPTION_CONFIDENCE.items()}
    return [
        dataclasses.replace(trace, measures=trace.measures | {name: column[row] for name, column in columns.items()})
        for row, trace in enumerate(scored)
    ]


@lru_cache(maxsize=32)
def label_ids(tokenizer: PreTrainedTokenizerBase, labels: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
    """For each label, the tokens that write it and nothing more than white space, brackets or markup around it."""
    texts = tokenizer.batch_decode([[i] for i in range(len(tokenizer))], skip_special_tokens=True)
    written: dict[str, list[int]] = {label: [] for label in labels}
    for i, text in enumerate(texts):
        label = text.lstrip(BEFORE_LABEL).rstrip(AFTER_LABEL)
        if label in written:
            written[label].append(i)
    return tuple(tuple(written[label]) for label in labels)


@torch.no_grad()
def option_mass(traces: Sequence[ScoredTrace], ids: Sequence[Sequence[int]], policy: Policy) -> Float[Tensor, "N K"]:
    """Probability of each option at the token with which the answer begins, by one forward pass.

    Args:
        traces: those that have an answer span.
        ids: the tokens that write each of the K labels.
        policy: the model that wrote the traces.
    """
    spans = [
        Span(start=one.answer_tokens.start, end=one.answer_tokens.start + 1) for one in traces if one.answer_tokens
    ]
    sequences = [
        (one.trace.prompt_ids, one.trace.completion_ids[: span.end]) for one, span in zip(traces, spans, strict=True)
    ]
    with evaluating(policy.model):
        states, head = span_states(policy.model, sequences, spans, policy.pad_id)
    probabilities = (head_logits(states, head) if head else states.float()).softmax(-1)
    return torch.stack([probabilities[:, list(one)].sum(-1) for one in ids], dim=-1).cpu()
