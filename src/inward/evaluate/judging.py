"""Judge scored traces against gold answers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from inward.answers import LABELS, AnswerSettings, find
from inward.equivalence import canonical, grade, majority
from inward.errors import DataError
from inward.evaluate.decoding import Decoding, candidates, choose
from inward.types import (
    AnswerKind,
    EvalItem,
    FinishReason,
    JudgedTrace,
    Outcome,
    Problem,
    ScoredGroup,
    ScoredTrace,
    Source,
)

FROM_OUTSIDE = ("reference_probability", "recalibrated", "option_disparity")
"""Measures of scored traces that need more than the traces; judged where they are there."""


def judge(
    groups: Iterable[ScoredGroup],
    problems: Sequence[Problem],
    kind: AnswerKind,
    labels: Sequence[str] = LABELS,
    *,
    decoding: Decoding = "greedy",
) -> Iterator[EvalItem]:
    """Grade the answers of every group against the gold answer of the problem with the same prompt id.

    Each completion is also read leniently, by `answers.find`, and that answer graded; see `JudgedTrace.lenient`.

    Args:
        groups: Each with the traces that `decoding` chooses from and zero or more samples, scored with the measures
            `answer_probability`, `answer_disparity`, `neg_entropy` and `mean_logprob`; or with no measure at all, as
            completions are that were made elsewhere: what needs them is then NaN.
        problems: May hold problems that no group belongs to.
        kind: How answers are compared, and read leniently; `auto` is `choice` where a prompt has options of its own.
        labels: Of the options, for reading leniently, where a prompt has none of its own: those that the groups were
            scored with.
        decoding: How the answer to a problem is found from its traces.

    Yields:
        One item per group, in order. Without a sampled answer the majority is None and NO_ANSWER.

    Raises:
        DataError: A group has no problem, comes twice, or lacks the traces of the decoding or a measure.
        SettingsError: `labels` is empty, and `kind` needs them.
    """
    by_id = {problem.prompt.id: problem for problem in problems}
    if len(by_id) < len(problems):
        raise DataError(f"{len(problems) - len(by_id)} problems share a prompt id: give each its own.")
    seen: set[str] = set()
    for group in groups:
        prompt_id = group.prompt.id
        if prompt_id not in by_id:
            raise DataError(f"No problem has the prompt id {prompt_id!r}: evaluate on the task it was drawn from.")
        if prompt_id in seen:
            raise DataError(f"Two groups have the prompt id {prompt_id!r}: merge their traces into one.")
        seen.add(prompt_id)
        asked = AnswerSettings(kind=kind, labels=tuple(labels)).for_prompt(group.prompt)
        yield _item(group, by_id[prompt_id].answer, asked.kind, asked.labels, decoding)


def _item(group: ScoredGroup, gold: str, kind: AnswerKind, labels: Sequence[str], decoding: Decoding) -> EvalItem:
    own = candidates(group.traces, decoding, group.prompt.id)
    samples = [t for t in group.traces if t.trace.source is Source.SAMPLE]
    voted = majority([t.answer for t in samples], kind)
    found = {text: find(text, kind, labels) for text in {t.trace.completion for t in group.traces}}
    read = {text: one.answer if one else None for text, one in found.items()}
    # Comparing expressions is slow and answers agree often: each different one is graded once.
    answers = {voted, *read.values(), *(t.answer for t in group.traces)}
    outcomes = {answer: grade(answer, gold, kind) for answer in answers}

    forms = {answer: None if answer is None else canonical(answer, kind) for answer in answers}
    votes = [forms[t.answer] for t in samples]

    def judged(scored: ScoredTrace) -> JudgedTrace:
        lenient = outcomes[read[scored.trace.completion]]
        return _judged(scored, forms[scored.answer], outcomes[scored.answer], lenient, votes)

    ready = [judged(one) for one in own]
    lengths = [one.length for one in ready if one.length is not None]
    return EvalItem(
        prompt_id=group.prompt.id,
        gold=gold,
        greedy=ready[choose([one.canonical for one in ready], [one.disparity for one in ready], decoding)],
        tokens=sum(lengths) if len(lengths) == len(ready) else None,
        samples=tuple(map(judged, samples)),
        majority=voted,
        majority_outcome=outcomes[voted],
    )


def _judged(
    scored: ScoredTrace, form: str | None, outcome: Outcome, lenient: Outcome, votes: Sequence[str | None]
) -> JudgedTrace:
    has_span, length = scored.answer_tokens is not None, len(scored.trace.completion_ids)
    measured = bool(scored.measures)

    def mean_over_answer(name: str) -> float:
        if not measured:
            return math.nan
        # Probabilities computed in single precision can end a hair above 1.
        return min(_measure(scored, name), 1.0) if has_span else 0.0

    # The mean over no tokens is not defined; the sum over none is 0.
    logprob = min(_measure(scored, "mean_logprob") * length, 0.0) if measured and length else 0.0
    return JudgedTrace(
        index=scored.trace.index,
        answer=scored.answer,
        canonical=form,
        outcome=outcome,
        lenient=lenient,
        probability=mean_over_answer("answer_probability"),
        disparity=mean_over_answer("answer_disparity"),
        confidences=_confidences(scored, form, votes),
        has_span=has_span,
        entropy=-_measure(scored, "neg_entropy") if measured else math.nan,
        logprob=logprob if measured else math.nan,
        length=length if measured else None,
        truncated=scored.trace.finish_reason is FinishReason.LENGTH,
    )


def _confidences(scored: ScoredTrace, form: str | None, votes: Sequence[str | None]) -> dict[str, float]:
    """Return the measures of an answer beside its probability and its disparity; 0 where there is no answer."""
    found: dict[str, float] = {}
    if scored.measures:
        # The geometric mean of the tokens' probabilities; an empty completion has none.
        found["sequence_probability"] = math.exp(_measure(scored, "mean_logprob")) if form is not None else 0.0
    if votes:
        found["vote_share"] = votes.count(form) / len(votes)
    found |= {name: scored.measures[name] for name in FROM_OUTSIDE if name in scored.measures}
    known = {name: value for name, value in found.items() if not math.isnan(value)}
    return {name: 0.0 if form is None else min(max(value, 0.0), 1.0) for name, value in known.items()}


def _measure(scored: ScoredTrace, name: str) -> float:
    if name not in scored.measures:
        raise DataError(
            f"Trace {scored.trace.index} of {scored.trace.prompt_id!r} lacks the measure {name!r}: "
            f"score it again; it has {', '.join(sorted(scored.measures))}."
        )
    return scored.measures[name]
