"""Judge scored traces against gold answers and report accuracy and calibration. Pure; no torch.

An evaluation group holds one greedy trace and any number of sampled ones. What counts how:

- An answer that the grader could not decide is left out of accuracy and calibration, and counted.
- A missing answer is wrong, with confidence 0.
- A trace cut at the length limit keeps the answer found in it.
- A lenient outcome is that of the answer read off the completion without regard to format. The lenient accuracies
  rest on it and nothing else does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from inward.answers import LABELS, find
from inward.calibration import (
    auroc_statistic,
    brier_statistic,
    ece_statistic,
    equal_mass_bins,
    reliability_bins,
    risk_coverage,
)
from inward.equivalence import grade, majority
from inward.errors import DataError
from inward.stats import Statistic, bootstrap, mean_by_cluster, paired_bootstrap, pass_at_k, proportion
from inward.types import (
    AnswerKind,
    CalibrationReport,
    Estimate,
    EvalItem,
    EvalReport,
    FinishReason,
    JudgedTrace,
    Outcome,
    Problem,
    ScoredGroup,
    ScoredTrace,
    Source,
)

METRICS: dict[str, tuple[str, str, str]] = {
    "greedy_accuracy": ("Share of problems whose greedy answer is right.", "share", "higher"),
    "sampled_accuracy": ("Share of sampled answers that are right.", "share", "higher"),
    "greedy_accuracy_lenient": ("As `greedy_accuracy`, with answers read leniently.", "share", "higher"),
    "sampled_accuracy_lenient": ("As `sampled_accuracy`, with answers read leniently.", "share", "higher"),
    "majority_accuracy": (
        "Share of problems whose most frequent sampled answer is right.",
        "share",
        "higher",
    ),
    "pass_at_k": ("Chance that at least one of k samples is right; k is `pass_k`.", "share", "higher"),
    "ece": ("Expected calibration error of the greedy answers' probability, 10 bins.", "share", "lower"),
    "brier": ("Brier score of the greedy answers' probability.", "squared share", "lower"),
    "auroc": ("Chance that a right greedy answer is more probable than a wrong one.", "share", "higher"),
    "ece_disparity": ("As `ece`, with the answer disparity as confidence.", "share", "lower"),
    "brier_disparity": ("As `brier`, with the answer disparity as confidence.", "squared share", "lower"),
    "auroc_disparity": ("As `auroc`, with the answer disparity as confidence.", "share", "higher"),
    "ece_sampled": ("As `ece`, over the sampled answers.", "share", "lower"),
    "brier_sampled": ("As `brier`, over the sampled answers.", "squared share", "lower"),
    "auroc_sampled": ("As `auroc`, over the sampled answers.", "share", "higher"),
    "ece_answered": ("As `ece`, leaving out traces without an answer span.", "share", "lower"),
    "ece_equal_mass": ("As `ece`, with 10 bins of equally many answers.", "share", "lower"),
    "confidence": ("Mean probability of the greedy answers.", "share", "neither"),
    "entropy": ("Mean over the sampled traces of their mean token entropy.", "nats", "neither"),
    "length": ("Mean number of completion tokens of the sampled traces.", "tokens", "neither"),
    "answer_rate": ("Share of greedy traces with an answer.", "share", "higher"),
    "truncated_rate": ("Share of the sampled traces cut at the length limit.", "share", "lower"),
}
"""Every key of `EvalReport.metrics`: what it is, its unit, and which way is better."""

_MAPPINGS = {
    "answer_probability": "used as it is; 0 without an answer span",
    "answer_disparity": "negative values set to 0; 0 without an answer span",
}


def judge(
    groups: Iterable[ScoredGroup], problems: Sequence[Problem], kind: AnswerKind, labels: Sequence[str] = LABELS
) -> Iterator[EvalItem]:
    """Grade the answers of every group against the gold answer of the problem with the same prompt id.

    Each completion is also read leniently, by `answers.find`, and that answer graded; see `JudgedTrace.lenient`.

    Args:
        groups: Each with exactly one greedy trace and zero or more sampled ones, scored with the measures
            `answer_probability`, `answer_disparity` and `neg_entropy`.
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


def report(items: Iterable[EvalItem], task: str, checkpoint: str, *, seed: int = 0) -> EvalReport:
    """Summarise judged problems: every metric of `METRICS` with its 95% interval, and three calibrations.

    Metrics that need samples are NaN where there are none; `entropy`, `length` and `truncated_rate` then
    describe the greedy traces. The order of the items does not matter.

    Args:
        items: At least one; ids are unique.
        task: Name of the task, for the record.
        checkpoint: What was evaluated, for the record.
        seed: Of the bootstrap.

    Raises:
        DataError: There are no items, or two share a prompt id.
    """
    ordered = _ordered(items)
    table = _table(ordered)
    quantities = _quantities(table, table.smallest_group)
    estimates = {name: _estimate(q, table.num_prompts, seed) for name, q in quantities.items()}
    return EvalReport(
        task=task,
        checkpoint=checkpoint,
        metrics={key: estimates[key] for key in METRICS},
        pass_k=table.smallest_group,
        calibration=tuple(_calibration_report(answers, estimates) for answers in _answer_sets(table)),
        num_problems=table.num_prompts,
        num_truncated=int((table.sampled if table.smallest_group else table.greedy).truncated.sum()),
        num_no_answer=sum(item.greedy.outcome is Outcome.NO_ANSWER for item in ordered),
        num_unscored=int((~table.greedy.decided).sum() + (~table.sampled.decided).sum()),
    )


def compare(before: Sequence[EvalItem], after: Sequence[EvalItem], *, seed: int = 0) -> dict[str, Estimate]:
    """Estimate after - before for every metric of `METRICS`, on the same problems and the same resamples.

    Where the two have different numbers of samples, the smaller one is the k of `pass_at_k`; where one has
    none, `entropy`, `length` and `truncated_rate` compare the greedy traces.

    Raises:
        DataError: There are no items, two share a prompt id, or the two do not hold the same prompt ids.
    """
    first, second = _ordered(before), _ordered(after)
    odd = {item.prompt_id for item in first} ^ {item.prompt_id for item in second}
    if odd:
        raise DataError(
            f"{len(odd)} problems were judged on one side only, {min(odd)!r} among them: "
            "compare evaluations of the same problems."
        )
    old, new = _table(first), _table(second)
    pass_k = min(old.smallest_group, new.smallest_group)
    from_, to = _quantities(old, pass_k), _quantities(new, pass_k)
    return {
        key: paired_bootstrap(
            from_[key].statistic,
            to[key].statistic,
            old.num_prompts,
            seed=seed,
            n=min(from_[key].num_prompts, to[key].num_prompts),
        )
        for key in METRICS
    }


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

    def judged(scored: ScoredTrace) -> JudgedTrace:
        return _judged(scored, outcomes[scored.answer], outcomes[read[scored.trace.completion]])

    return EvalItem(
        prompt_id=group.prompt.id,
        gold=gold,
        greedy=judged(greedy[0]),
        samples=tuple(map(judged, samples)),
        majority=voted,
        majority_outcome=outcomes[voted],
    )


def _judged(scored: ScoredTrace, outcome: Outcome, lenient: Outcome) -> JudgedTrace:
    has_span = scored.answer_tokens is not None
    return JudgedTrace(
        index=scored.trace.index,
        answer=scored.answer,
        outcome=outcome,
        lenient=lenient,
        # Probabilities computed in single precision can end a hair above 1.
        probability=min(_measure(scored, "answer_probability"), 1.0) if has_span else 0.0,
        disparity=min(_measure(scored, "answer_disparity"), 1.0) if has_span else 0.0,
        has_span=has_span,
        entropy=-_measure(scored, "neg_entropy"),
        length=len(scored.trace.completion_ids),
        truncated=scored.trace.finish_reason is FinishReason.LENGTH,
    )


def _measure(scored: ScoredTrace, name: str) -> float:
    if name not in scored.measures:
        raise DataError(
            f"Trace {scored.trace.index} of {scored.trace.prompt_id!r} lacks the measure {name!r}: "
            f"score it again; it has {', '.join(sorted(scored.measures)) or 'none'}."
        )
    return scored.measures[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Traces:
    """N judged traces as columns."""

    prompt: NDArray[np.intp]
    decided: NDArray[np.bool_]
    correct: NDArray[np.bool_]
    lenient_decided: NDArray[np.bool_]
    lenient_correct: NDArray[np.bool_]
    answered: NDArray[np.bool_]
    has_span: NDArray[np.bool_]
    probability: NDArray[np.float64]
    disparity: NDArray[np.float64]
    entropy: NDArray[np.float64]
    length: NDArray[np.float64]
    truncated: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """P problems as columns."""

    num_prompts: int
    smallest_group: int
    greedy: _Traces
    sampled: _Traces
    majority_decided: NDArray[np.bool_]
    majority_correct: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answers:
    """The decided answers of one kind with one measure as confidence."""

    measure: str
    answers: str
    suffix: str
    prompt: NDArray[np.intp]
    confidence: NDArray[np.float64]
    correct: NDArray[np.bool_]
    has_span: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Quantity:
    """A statistic over the P problems, how many are behind it, and the successes where each counts 0 or 1."""

    statistic: Statistic
    num_prompts: int
    successes: int | None = None


def _ordered(items: Iterable[EvalItem]) -> list[EvalItem]:
    ordered = sorted(items, key=lambda item: item.prompt_id)
    if not ordered:
        raise DataError("There are no judged problems: evaluate at least one; check any limit set.")
    for one, other in pairwise(ordered):
        if one.prompt_id == other.prompt_id:
            raise DataError(f"Problem {one.prompt_id!r} was judged twice: keep one of the two.")
    return ordered


def _table(items: Sequence[EvalItem]) -> _Table:
    # The majority of no samples says nothing about the model.
    voted = [bool(i.samples) and i.majority_outcome is not Outcome.UNSCORED for i in items]
    return _Table(
        num_prompts=len(items),
        smallest_group=min(len(i.samples) for i in items),
        greedy=_traces([(p, item.greedy) for p, item in enumerate(items)]),
        sampled=_traces([(p, trace) for p, item in enumerate(items) for trace in item.samples]),
        majority_decided=np.array(voted, dtype=np.bool_),
        majority_correct=np.array([i.majority_outcome is Outcome.CORRECT for i in items], dtype=np.bool_),
    )


def _traces(traces: Sequence[tuple[int, JudgedTrace]]) -> _Traces:
    judged = [t for _, t in traces]

    def flags(of: Callable[[JudgedTrace], bool]) -> NDArray[np.bool_]:
        return np.fromiter(map(of, judged), dtype=np.bool_, count=len(judged))

    def floats(of: Callable[[JudgedTrace], float]) -> NDArray[np.float64]:
        return np.fromiter(map(of, judged), dtype=np.float64, count=len(judged))

    return _Traces(
        prompt=np.array([p for p, _ in traces], dtype=np.intp),
        decided=flags(lambda t: t.outcome is not Outcome.UNSCORED),
        correct=flags(lambda t: t.outcome is Outcome.CORRECT),
        lenient_decided=flags(lambda t: t.lenient is not Outcome.UNSCORED),
        lenient_correct=flags(lambda t: t.lenient is Outcome.CORRECT),
        answered=flags(lambda t: t.outcome is not Outcome.NO_ANSWER),
        has_span=flags(lambda t: t.has_span),
        probability=floats(lambda t: t.probability),
        disparity=floats(lambda t: t.disparity),
        entropy=floats(lambda t: t.entropy),
        length=floats(lambda t: t.length),
        truncated=flags(lambda t: t.truncated),
    )


def _answer_sets(table: _Table) -> tuple[_Answers, ...]:
    return (
        _answers(table.greedy, "answer_probability", "greedy", suffix=""),
        _answers(table.greedy, "answer_disparity", "greedy", suffix="_disparity"),
        _answers(table.sampled, "answer_probability", "sampled", suffix="_sampled"),
    )


def _answers(traces: _Traces, measure: str, answers: str, *, suffix: str) -> _Answers:
    values = traces.probability if measure == "answer_probability" else np.maximum(traces.disparity, 0.0)
    return _Answers(
        measure=measure,
        answers=answers,
        suffix=suffix,
        prompt=traces.prompt[traces.decided],
        confidence=np.where(traces.answered, values, 0.0)[traces.decided],
        correct=traces.correct[traces.decided],
        has_span=traces.has_span[traces.decided],
    )


def _quantities(table: _Table, pass_k: int) -> dict[str, _Quantity]:
    """Build every metric, and what the calibration reports hold beyond them."""
    num, greedy, sampled = table.num_prompts, table.greedy, table.sampled
    described = sampled if pass_k else greedy
    sets = _answer_sets(table)
    quantities = {
        "greedy_accuracy": _accuracy(greedy.correct, greedy.decided, greedy.prompt, num),
        "sampled_accuracy": _accuracy(sampled.correct, sampled.decided, sampled.prompt, num),
        "greedy_accuracy_lenient": _accuracy(greedy.lenient_correct, greedy.lenient_decided, greedy.prompt, num),
        "sampled_accuracy_lenient": _accuracy(sampled.lenient_correct, sampled.lenient_decided, sampled.prompt, num),
        "majority_accuracy": _accuracy(table.majority_correct, table.majority_decided, np.arange(num), num),
        "pass_at_k": _pass_at_k(sampled, num, pass_k),
        "confidence": _mean(sets[0].confidence, sets[0].prompt, num),
        "entropy": _mean(described.entropy, described.prompt, num),
        "length": _mean(described.length, described.prompt, num),
        "answer_rate": _share(greedy.answered, greedy.prompt, num),
        "truncated_rate": _share(described.truncated, described.prompt, num),
    }
    for answers in sets:
        quantities |= _calibration_quantities(answers, num)
    return quantities


def _calibration_quantities(answers: _Answers, num_prompts: int) -> dict[str, _Quantity]:
    span = answers.has_span
    everything = (answers.confidence, answers.correct, answers.prompt, num_prompts)
    with_span = (answers.confidence[span], answers.correct[span], answers.prompt[span], num_prompts)
    count = np.unique(answers.prompt).size
    statistics = {
        "ece": ece_statistic(*everything),
        "ece_equal_mass": ece_statistic(*everything, binning=equal_mass_bins),
        "brier": brier_statistic(*everything),
        "auroc": auroc_statistic(*everything),
    }
    quantities = {
        name + answers.suffix: _Quantity(statistic=statistic, num_prompts=count)
        for name, statistic in statistics.items()
    }
    quantities["ece_answered" + answers.suffix] = _Quantity(
        statistic=ece_statistic(*with_span), num_prompts=np.unique(answers.prompt[span]).size
    )
    return quantities


def _mean(values: NDArray[np.float64], prompt: NDArray[np.intp], num_prompts: int) -> _Quantity:
    return _Quantity(statistic=mean_by_cluster(values, prompt, num_prompts), num_prompts=np.unique(prompt).size)


def _accuracy(
    correct: NDArray[np.bool_], decided: NDArray[np.bool_], prompt: NDArray[np.intp], num_prompts: int
) -> _Quantity:
    return _share(correct[decided], prompt[decided], num_prompts)


def _share(values: NDArray[np.bool_] | NDArray[np.float64], prompt: NDArray[np.intp], num_prompts: int) -> _Quantity:
    """As `_mean`, with the successes where each problem is all right or all wrong and weighs the same."""
    sums = np.bincount(prompt, weights=values, minlength=num_prompts)
    counts = np.bincount(prompt, minlength=num_prompts)
    successes, total = int(np.count_nonzero(sums)), int(np.count_nonzero(counts))
    whole = np.all((sums == 0) | (sums == counts)) and successes * counts.sum() == sums.sum() * total
    return _Quantity(
        statistic=mean_by_cluster(values.astype(np.float64), prompt, num_prompts),
        num_prompts=total,
        successes=successes if whole else None,
    )


def _pass_at_k(sampled: _Traces, num_prompts: int, k: int) -> _Quantity:
    """Leave out problems with fewer than k decided samples; undefined when k is 0."""
    decided = np.bincount(sampled.prompt[sampled.decided], minlength=num_prompts)
    right = np.bincount(sampled.prompt[sampled.correct], minlength=num_prompts)
    enough = np.flatnonzero(decided >= k) if k else np.zeros(0, dtype=np.intp)
    values = [pass_at_k(int(decided[p]), int(right[p]), k) for p in enough]
    return _share(np.array(values, dtype=np.float64), enough, num_prompts)


def _estimate(quantity: _Quantity, num_prompts: int, seed: int) -> Estimate:
    if quantity.successes is not None:
        return proportion(quantity.successes, quantity.num_prompts)
    return bootstrap(quantity.statistic, num_prompts, seed=seed, n=quantity.num_prompts)


def _calibration_report(answers: _Answers, estimates: dict[str, Estimate]) -> CalibrationReport:
    return CalibrationReport(
        measure=answers.measure,
        mapping=_MAPPINGS[answers.measure],
        answers=answers.answers,
        ece=estimates["ece" + answers.suffix],
        ece_equal_mass=estimates["ece_equal_mass" + answers.suffix],
        ece_answered=estimates["ece_answered" + answers.suffix],
        brier=estimates["brier" + answers.suffix],
        auroc=estimates["auroc" + answers.suffix],
        bins=reliability_bins(answers.confidence, answers.correct),
        risk_coverage=risk_coverage(answers.confidence, answers.correct),
        num_without_span=int(np.count_nonzero(~answers.has_span)),
    )
