"""Judge scored traces against gold answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from inward.answers import LABELS, find
from inward.equivalence import canonical, grade, majority
from inward.errors import DataError
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


def judge(
    groups: Iterable[ScoredGroup], problems: Sequence[Problem], kind: AnswerKind, labels: Sequence[str] = LABELS
) -> Iterator[EvalItem]:
    """Grade the answers of every group against the gold answer of the problem with the same prompt id.

    Each completion is also read leniently, by `answers.find`, and that answer graded; see `JudgedTrace.lenient`.

    Args:
        groups: Each with exactly one greedy trace and zero or more sampled ones, scored with the measures
            `answer_probability`, `answer_disparity`, `neg_entropy` and `mean_logprob`.
        problems: May hold problems that no group belongs to.
        kind: How answers are compared, and read leniently.
        labels: Of the options, for reading leniently: those that the groups were scored with.

    Yields:
        One item per group, in order. Without a sampled answer the majority is None and NO_ANSWER.

    Raises:
        DataError: A group has no problem, comes twice, or lacks its one greedy trace or a measure.
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
        yield _item(group, by_id[prompt_id].answer, kind, labels)


def _item(group: ScoredGroup, gold: str, kind: AnswerKind, labels: Sequence[str]) -> EvalItem:
    greedy = [t for t in group.traces if t.trace.source is Source.GREEDY]
    samples = [t for t in group.traces if t.trace.source is Source.SAMPLE]
    if len(greedy) != 1 or len(greedy) + len(samples) != len(group.traces):
        raise DataError(
            f"Group {group.prompt.id!r} has {len(greedy)} greedy, {len(samples)} sampled and "
            f"{len(group.traces) - len(greedy) - len(samples)} other traces: "
            "evaluate groups of one greedy trace and any number of samples."
        )
    voted = majority([t.answer for t in samples], kind)
    found = {text: find(text, kind, labels) for text in {t.trace.completion for t in group.traces}}
    read = {text: one.answer if one else None for text, one in found.items()}
    # Comparing expressions is slow and answers agree often: each different one is graded once.
    answers = {voted, *read.values(), *(t.answer for t in group.traces)}
    outcomes = {answer: grade(answer, gold, kind) for answer in answers}

    forms = {answer: None if answer is None else canonical(answer, kind) for answer in answers}

    def judged(scored: ScoredTrace) -> JudgedTrace:
        lenient = outcomes[read[scored.trace.completion]]
        return _judged(scored, forms[scored.answer], outcomes[scored.answer], lenient)

    return EvalItem(
        prompt_id=group.prompt.id,
        gold=gold,
        greedy=judged(greedy[0]),
        samples=tuple(map(judged, samples)),
        majority=voted,
        majority_outcome=outcomes[voted],
    )


def _judged(scored: ScoredTrace, form: str | None, outcome: Outcome, lenient: Outcome) -> JudgedTrace:
    has_span, length = scored.answer_tokens is not None, len(scored.trace.completion_ids)
    return JudgedTrace(
        index=scored.trace.index,
        answer=scored.answer,
        canonical=form,
        outcome=outcome,
        lenient=lenient,
        # Probabilities computed in single precision can end a hair above 1.
        probability=min(_measure(scored, "answer_probability"), 1.0) if has_span else 0.0,
        disparity=min(_measure(scored, "answer_disparity"), 1.0) if has_span else 0.0,
        has_span=has_span,
        entropy=-_measure(scored, "neg_entropy"),
        # The mean over no tokens is not defined; the sum over none is 0.
        logprob=min(_measure(scored, "mean_logprob") * length, 0.0) if length else 0.0,
        length=length,
        truncated=scored.trace.finish_reason is FinishReason.LENGTH,
    )


def _measure(scored: ScoredTrace, name: str) -> float:
    if name not in scored.measures:
        raise DataError(
            f"Trace {scored.trace.index} of {scored.trace.prompt_id!r} lacks the measure {name!r}: "
            f"score it again; it has {', '.join(sorted(scored.measures)) or 'none'}."
        )
    return scored.measures[name]
